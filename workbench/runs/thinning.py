"""Every so-manyth point of a table that grows, kept up to date as it grows.

A curve of a run of days is drawn from as many points as one of minutes, so it must cost no more time and no more
memory: records are looked at once, when they have come, and a choice that has become too large is thinned by half.
"""

from __future__ import annotations

import threading

import numpy as np

from workbench.core.records import Records

AT_ONCE = 2**14
"""Records that are looked at together, which bounds what the choosing itself takes."""


class Thinned:
    """The records of a table whose point is a multiple of a power of two, the smallest that leaves few enough."""

    def __init__(self, axis: str, most: int) -> None:
        """Nothing is chosen yet.

        Args:
            axis: the column that counts the points: 0, 1, 2 and so on, each with a record of every agent or more.
            most: points to keep at most.

        Raises:
            ValueError: ``most`` is below 1.
        """
        if most < 1:
            raise ValueError(f"most is {most}; at least one point must be kept")
        self._axis, self._most, self._every, self._seen = axis, most, 1, 0
        self._kept: Records | None = None
        self._lock = threading.Lock()

    def of(self, records: Records) -> Records:
        """Those of a table's records that are kept, in their order.

        Args:
            records: (n,), all records of the table so far: those of the last call and what was added since.
        """
        with self._lock:
            kept = records[:0] if self._kept is None else self._kept
            for start in range(self._seen, len(records), AT_ONCE):
                block = records[start : start + AT_ONCE]
                while int(block[self._axis].max()) >= self._most * self._every:
                    self._every *= 2
                    kept = self._chosen(kept)
                kept = np.concatenate([kept, self._chosen(block)])
            self._kept, self._seen = kept, max(self._seen, len(records))
            return kept

    def _chosen(self, records: Records) -> Records:
        chosen: Records = records[records[self._axis] % self._every == 0]
        return chosen

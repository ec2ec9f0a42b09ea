"""Rings of records: how a process tells the parent what happened, without a lock and without ever waiting.

One process writes, one reads. The writer stores a record and then raises the count, so a counted record is complete.
It never waits: when the reader is slow it overwrites the oldest records, and the reader counts them as lost. After
copying, the reader looks at the count a second time and drops what may have been overwritten meanwhile.

The order of the two stores is what makes this sound. x86-64 keeps it; on weakly ordered machines (Apple silicon, other
ARM) both sides need a ``fence``, see :class:`workbench.core.shared.layout.Counter`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from workbench.core.shared.layout import Counter
from workbench.runs.metrics import Records

Count = npt.NDArray[np.int64]
Fence = Callable[[], None]


class Ring:
    """The writer's side of a ring. A new writer over the same memory goes on where the last one ended."""

    def __init__(self, count: Count, records: Records, fence: Fence | None = None) -> None:
        """Take the given memory, shared or not; nothing is cleared.

        Args:
            count: (1,) int64, records written since the memory was zeroed.
            records: (capacity,) of any structured dtype; record number n lies in slot n mod capacity.
            fence: orders memory across processes; None where the machine does so itself.

        Raises:
            ValueError: the memory has another shape or dtype.
        """
        _check_memory(count, records)
        self._count, self._records, self._capacity = Counter(count, fence), records, len(records)
        self._written = self._count.get()

    def write(self, *values: float) -> None:
        """Store one record, its fields in the order of the dtype. Never waits.

        Raises:
            ValueError: the number of values is not the number of fields.
        """
        self._records[self._written % self._capacity] = values
        self._written += 1
        self._count.set(self._written)


class RingReader:
    """The reader's side of a ring."""

    def __init__(self, count: Count, records: Records, fence: Fence | None = None) -> None:
        """Take the same memory as the writer's :class:`Ring`; reading starts at record 0."""
        _check_memory(count, records)
        self._count, self._records, self._capacity = Counter(count, fence), records, len(records)
        self._read = 0

    def drain(self) -> tuple[Records, int]:
        """Everything written since the last drain, as far as it is still there.

        The slot after the newest record may be in the writer's hands, so at most ``capacity - 1`` records are
        delivered at a time.

        Returns:
            A copy of the records, (n,) in the order of writing, and the number of records lost before them.
        """
        end = self._count.get()
        start = max(self._read, end - self._capacity)
        copied = self._records[np.arange(start, end) % self._capacity]
        written = self._count.get()
        # While the count is `written`, the slot of record `written - capacity` may be half overwritten.
        intact = min(max(start, written - self._capacity + 1), end)
        lost = intact - self._read
        self._read = end
        return copied[intact - start :], lost


def _check_memory(count: Count, records: Records) -> None:
    if count.shape != (1,) or count.dtype != np.int64:
        raise ValueError(f"count is {count.dtype} of shape {count.shape}; it must be int64 of shape (1,)")
    if records.ndim != 1 or records.dtype.names is None or len(records) < 2:
        raise ValueError(
            f"records is {records.dtype} of shape {records.shape}; it must be a structured array of at least 2 records"
        )

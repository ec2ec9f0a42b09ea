"""Rings of records: how a process tells the parent what happened, without a lock and without ever waiting.

One process writes, one reads. The writer stores a record and then raises the count, so a counted record is complete.
It never waits: when the reader is slow it overwrites the oldest records, and the reader counts them as lost. After
copying, the reader looks at the count a second time and drops what may have been overwritten meanwhile.

The order of the two stores is what makes this sound; see :class:`workbench.core.shared.layout.Counter`.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from workbench.core.records import TABLES, Records, RecordTable
from workbench.core.sentences import did_you_mean
from workbench.core.shared.layout import Arrays, Counter, Field, Layout

_COUNT = "count of "


class Ring:
    """One table's ring, for its writer and its reader. A new writer over the same memory continues where one ended."""

    def __init__(self, count: npt.NDArray[np.int64], records: Records) -> None:
        """Take the given memory, shared or not; nothing is cleared, and reading starts at record 0.

        Args:
            count: (1,) int64, records written since the memory was zeroed.
            records: (capacity,) of any structured dtype; record number n lies in slot n mod capacity.
        """
        self._count, self._records, self._read = Counter(count), records, 0
        self._capacity, self._names, self._written = len(records), records.dtype.names or (), self._count.get()

    def write(self, **fields: float) -> None:
        """Store one record, every field by its name. Never waits; takes 2 to 3 microseconds.

        Raises:
            ValueError: a field is missing, is none of the table's, or holds no number; the message says which.
        """
        record = tuple([fields[name] for name in self._names if name in fields])
        if not len(record) == len(self._names) == len(fields):
            raise ValueError(self._wrong_names(fields))
        try:
            self._records[self._written % self._capacity] = record
        except (TypeError, ValueError, OverflowError) as error:
            odd = {name: value for name, value in fields.items() if not hasattr(value, "__float__")} or fields
            raise ValueError(f"the record cannot hold {odd}: {error}; give numbers of the table's kinds") from error
        self._written += 1
        self._count.set(self._written)

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
        lost, self._read = intact - self._read, end
        return copied[intact - start :], lost

    def _wrong_names(self, fields: Mapping[str, float]) -> str:
        missing = [name for name in self._names if name not in fields]
        unknown = [name for name in fields if name not in self._names]
        wrong = [f"the record has no field {name!r}: {did_you_mean(name, missing or self._names)}" for name in unknown]
        lacking = f"the record lacks {', '.join(missing)}; give every field of the table"
        return "; ".join([*wrong, lacking] if missing else wrong)


class Channel:
    """The rings of one process, by table: it writes ``channel["epochs"].write(agent=0, ...)``, the parent drains."""

    def __init__(self, arrays: Arrays) -> None:
        self._rings = {name: Ring(arrays[_COUNT + name], arrays[name]) for name in arrays if _COUNT + name in arrays}

    @staticmethod
    def layout(tables: Mapping[str, RecordTable] = TABLES) -> Layout:
        """The memory of one process's rings."""
        fields = []
        for name, table in tables.items():
            fields += [Field(_COUNT + name, (1,), "<i8", 0), Field(name, (table.capacity,), table.dtype, 0)]
        return Layout("telemetry", tuple(fields))

    def __getitem__(self, table: str) -> Ring:
        if table not in self._rings:
            raise KeyError(f"there is no ring for a table {table!r}; {did_you_mean(table, self._rings)}")
        return self._rings[table]

    def drain(self) -> dict[str, tuple[Records, int]]:
        """New records of each table, and how many were lost before them."""
        return {name: ring.drain() for name, ring in self._rings.items()}

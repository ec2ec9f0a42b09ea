"""The metrics of a run as NumPy arrays, while it runs and afterwards.

Records are only ever added, so what was read from a table stays as it was: a table can be read from any thread while
the parent appends to it. A run of days makes more records than memory should hold, so a table is read from its file
where there is one: as a map, which copies nothing and is gone when the array that was given out is.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from workbench.core.records import Records
from workbench.core.sentences import did_you_mean
from workbench.runs.files import plain_file
from workbench.runs.folder import RecordError, RunFolder, warn
from workbench.runs.metrics import Schema
from workbench.runs.sentences import said

Array = npt.NDArray[Any]
# Bytes of a table from which on it is mapped: of a small one, reading takes less time than the map.
MAPPED = 2**18


class History:
    """Every record of a run, one growing table per kind.

    ``history["values/mean_q"]`` is a metric as it was recorded, all agents in the order of arrival;
    :meth:`series` is a curve to draw; the tables themselves are structured arrays, read-only:
    ``history.updates["loss"]``, and ``history.table("spans")`` for one that a hook has brought.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        """Nothing is recorded yet in the tables of a schema, by default the core's."""
        self.schema = schema or Schema()
        self._tables = {name: _Table(name, table.dtype) for name, table in self.schema.tables.items()}
        self.lost = dict.fromkeys(self._tables, 0)
        """Records that were overwritten before the parent read them, or are gone from the run folder, per table."""

    @classmethod
    def of(cls, folder: RunFolder) -> Self:
        """What a run folder holds. A record cut off by a crash is dropped, with a :class:`RecordWarning`.

        Raises:
            RecordError: a file cannot be read.
        """
        history = cls(folder.schema)
        for table, about in folder.schema.tables.items():
            file, size = folder.path_of(table), about.dtype.itemsize
            history.read(table, folder)
            if rest := _size(file) % size:
                warn(said("history.cut", file=file, rest=rest, size=size, count=history.counts[table]))
        return history

    def append(self, table: str, records: Records, lost: int = 0, folder: RunFolder | None = None) -> None:
        """Add records to a table, and the number of records that were lost on the way to it.

        Args:
            table: name of the table.
            records: (n,) of the table's dtype; copied.
            lost: records counted as lost since the last call, by the one thread that appends.
            folder: holds the whole table by now, these records too, in a file that will only be added to; None if
                none does.

        Raises:
            KeyError: there is no such table.
            TypeError: the records have another dtype.
        """
        self._table(table).append(records, folder)
        self.lost[table] += lost

    def forget(self) -> None:
        """Count the records that lie in files as lost: their folder is gone."""
        for name, table in self._tables.items():
            self.lost[name] += table.forget()

    def read(self, table: str, folder: RunFolder) -> None:
        """Take a table to be what its file holds by now; a record that is just being written is left for later.

        Raises:
            KeyError: there is no such table.
            RecordError: the file cannot be read.
        """
        self._table(table).read(folder)

    def table(self, name: str) -> Records:
        """All records of a table so far, (n,), read-only.

        Raises:
            KeyError: the run has no such table; the nearest are named.
            RecordError: its file is gone, or has become shorter.
        """
        return self._table(name).filled

    @property
    def updates(self) -> Records:
        """One record per update: :data:`~workbench.core.records.UPDATES`."""
        return self.table("updates")

    @property
    def epochs(self) -> Records:
        """One record per epoch and agent: :data:`~workbench.core.records.EPOCHS`."""
        return self.table("epochs")

    @property
    def events(self) -> Records:
        """One record per publication and sync: :data:`~workbench.core.records.EVENTS`."""
        return self.table("events")

    @property
    def evaluations(self) -> Records:
        """One record per greedy evaluation and agent: :data:`~workbench.core.records.EVALUATIONS`."""
        return self.table("evaluations")

    @property
    def counts(self) -> dict[str, int]:
        """Records so far, per table."""
        return {name: table.count for name, table in self._tables.items()}

    @property
    def epochs_done(self) -> int:
        """Epochs that are recorded, in their order, and so the first of which nothing is."""
        epochs = self.epochs
        return int(epochs["epoch"][-1]) + 1 if len(epochs) else 0

    def __getitem__(self, name: str) -> Array:
        """All values of a metric, (n,), in the order of arrival; unknown names raise KeyError with the nearest."""
        chosen = self.schema.metric(name)
        return np.asarray(self.table(chosen.table)[chosen.field])

    def keys(self) -> Iterator[str]:
        """Names of all metrics, so that ``dict(history)`` works."""
        return iter(self.schema.metrics)

    __iter__ = keys

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def series(self, name: str, agent: int | None = None, over: str | None = None) -> tuple[Array, Array]:
        """A metric as a curve: of one agent, or of all agents together.

        The points are updates for what is recorded per update, epochs for the rest
        (:attr:`~workbench.core.records.RecordTable.axis`). A point recorded twice keeps its last record. Agents are
        averaged or summed as the metric says (:attr:`~workbench.core.records.Metric.over_agents`), and only points that
        every agent of the table has reached are kept, so that a sum never lacks an agent.

        Args:
            name: public name of the metric.
            agent: index of an agent; None for all together.
            over: another column of the same table for x, such as "time", "epoch" or "agent_steps"; of all agents
                together, the greatest value at the point.

        Returns:
            x (n,) and y (n,) float64, in the order of the points; both empty while nothing is recorded.

        Raises:
            KeyError: unknown metric, or no such column in its table.
        """
        chosen, axis = self.schema.metric(name), self.schema.axis(name)
        records = self.table(chosen.table)
        over = over or axis
        columns = records.dtype.names or ()
        if over not in columns:
            raise KeyError(f"the table of {name} has no column {over!r}; choose one of {', '.join(columns)}")
        if agent is not None:
            records = records[records["agent"] == agent]
        if len(records) == 0:
            return records[over], np.empty(0)

        kept = points_of_all_agents(records, axis)
        y = kept[chosen.field].astype(np.float64)
        combined = y.sum(axis=1) if chosen.over_agents == "sum" else y.mean(axis=1)
        return kept[over].max(axis=1), combined

    def _table(self, name: str) -> "_Table":
        if name not in self._tables:
            raise KeyError(f"the run has no table {name!r}; {did_you_mean(name, self._tables)}")
        return self._tables[name]

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lost = ", ".join(f"{count:,} {name}" for name, count in self.lost.items() if count)
        return f"History({counts}; lost: {lost or 'none'})"


def points_of_all_agents(records: Records, axis: str, agents: int | None = None) -> Records:
    """The last record of each point and agent, (points, agents), without the points that some agent lacks.

    Args:
        records: (n,) of a table.
        axis: its column that counts the points.
        agents: how many there are; None for those that have a record.
    """
    known, column = np.unique(records["agent"], return_inverse=True)
    points, row = np.unique(records[axis], return_inverse=True)
    last = np.full((len(points), agents or len(known)), -1)
    last[row, column] = np.arange(len(records))
    return np.asarray(records[last[(last >= 0).all(axis=1)]])


class _Table:
    """Records in a file that grows, and after them those that no file holds yet. What was given out stays as it is."""

    def __init__(self, name: str, dtype: np.dtype[np.void]) -> None:
        self._name, self._dtype, self._lock = name, dtype, threading.Lock()
        self.count = self._on_file = 0
        self._folder: RunFolder | None = None  # of the file, if there is one
        self._waiting: list[Records] = []
        self._read = _read_only(np.empty(0, dtype))  # what was read of the file last

    @property
    def filled(self) -> Records:
        """All records so far, (n,)."""
        with self._lock:
            # a small table is not read again before there is more, unless its file is shorter; a map holds a file open
            folder, read = self._folder, self._read
            if folder and (len(read) != self._on_file or _size(folder.path_of(self._name)) < read.nbytes):
                read = _mapped(folder.path_of(self._name), self._dtype, self._on_file)
                self._read = read if read.nbytes <= MAPPED else self._read[:0].copy()
            if self._waiting:
                self._waiting = [_read_only(np.concatenate(self._waiting))]
            parts = [read, *self._waiting] if folder else [*self._waiting]
        return parts[0] if len(parts) == 1 else _read_only(np.concatenate([np.empty(0, self._dtype), *parts]))

    def append(self, records: Records, folder: RunFolder | None) -> None:
        """Add records, (n,). If there is a folder, it holds them and all before them; else they are kept in memory.

        Raises:
            TypeError: they are records of another table.
        """
        if records.dtype != self._dtype:
            raise TypeError(f"the records are {records.dtype}; this table holds {self._dtype}")
        with self._lock:
            self.count += len(records)
            if folder is None:
                self._waiting.append(records.copy())
            else:
                self._folder, self._on_file, self._waiting = folder, self.count, []

    def forget(self) -> int:
        with self._lock:
            gone, self._folder, self._on_file, self._read = self._on_file, None, 0, self._read[:0].copy()
            self.count -= gone
        return gone

    def read(self, folder: RunFolder) -> None:
        with self._lock:
            self.count = _size(folder.path_of(self._name)) // self._dtype.itemsize
            self._folder, self._on_file, self._waiting, self._read = folder, self.count, [], self._read[:0].copy()


def _size(file: Path) -> int:
    try:
        with plain_file(file) as found:
            return os.fstat(found.fileno()).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def _mapped(file: Path, dtype: np.dtype[np.void], count: int) -> Records:
    try:
        if count * dtype.itemsize > MAPPED:
            return np.memmap(file, dtype, "r", shape=(count,)).view(np.ndarray)
        if len(records := np.fromfile(file, dtype, count)) < count:
            raise ValueError(f"it holds {len(records):,}")
        return _read_only(records)
    except (OSError, ValueError) as error:  # the second: it is shorter
        raise RecordError(f"cannot read {count:,} records from {file}: {error}; its run wrote them there") from None


def _read_only(records: Records) -> Records:
    records.flags.writeable = False
    return records

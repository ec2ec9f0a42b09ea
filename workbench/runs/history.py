"""The metrics of a run as NumPy arrays, while it runs and afterwards.

Records are only ever added, so a view of the filled part never changes: a table can be read from any thread while the
parent appends to it, and what was read stays as it was.

A run of days makes more records than memory should hold. A table that has grown to :data:`IN_MEMORY` bytes, and that
a file holds as well, is from then on a map of that file, whose pages the system may drop and read again.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.records import Records
from workbench.diagnose.measurements import measurement_number
from workbench.runs.metrics import AXES, METRICS, TABLES, metric
from workbench.runs.thinning import Thinned

Array = npt.NDArray[Any]

IN_MEMORY = 2**14
"""Bytes of a table above which it is read from its file, if there is one: so few that a run comes to hold all the
files that it will ever hold open within minutes, also of its evaluations, which are rare."""


class History:
    """Every record of a run, one growing table per kind.

    ``history["values/mean_q"]`` is a metric as it was recorded, all agents in the order of arrival;
    :meth:`series` is a curve to draw; the tables themselves are structured arrays, read-only:
    ``history.updates["loss"]``.
    """

    def __init__(self) -> None:
        self._tables = {name: _GrowingTable(dtype) for name, dtype in TABLES.items()}
        self._lost = dict.fromkeys(TABLES, 0)
        self._lock = threading.Lock()
        self._thinned: dict[tuple[str, int], Thinned] = {}

    def append(self, table: str, records: Records, lost: int = 0, file: Path | None = None) -> None:
        """Add records to a table, and the number of records that were lost on the way to it.

        Args:
            table: key of :data:`~workbench.runs.metrics.TABLES`.
            records: (n,) of the table's dtype; copied.
            lost: records counted as lost since the last call.
            file: holds the whole table by now, these records too, and will only be added to; None if there is none.

        Raises:
            KeyError: there is no such table.
            TypeError: the records have another dtype.
        """
        if table not in self._tables:
            raise KeyError(f"there is no table {table!r}; it must be one of {', '.join(TABLES)}")
        with self._lock:
            self._tables[table].append(records, file)
            self._lost[table] += lost

    @property
    def updates(self) -> Records:
        """One record per update: :data:`~workbench.core.records.UPDATES`."""
        return self._tables["updates"].filled

    @property
    def epochs(self) -> Records:
        """One record per epoch and agent: :data:`~workbench.core.records.EPOCHS`."""
        return self._tables["epochs"].filled

    @property
    def events(self) -> Records:
        """One record per publication and sync: :data:`~workbench.core.records.EVENTS`."""
        return self._tables["events"].filled

    @property
    def evaluations(self) -> Records:
        """One record per greedy evaluation and agent: :data:`~workbench.core.records.EVALUATIONS`."""
        return self._tables["evaluations"].filled

    @property
    def probes(self) -> Records:
        """One record per measurement of a probe: :data:`~workbench.diagnose.measurements.PROBES`."""
        return self._tables["probes"].filled

    @property
    def spans(self) -> Records:
        """One record per span of a process: :data:`~workbench.view.timeline.span_kinds.SPANS`."""
        return self._tables["spans"].filled

    def measured(self, name: str) -> Records:
        """Every record of one measurement, in the order of arrival.

        Raises:
            KeyError: there is no measurement of that name; the nearest are given.
        """
        probes = self.probes
        found: Records = probes[probes["measurement"] == measurement_number(name)]
        return found

    @property
    def lost(self) -> dict[str, int]:
        """Records that were overwritten before the parent read them, per table."""
        with self._lock:
            return dict(self._lost)

    def __getitem__(self, name: str) -> Array:
        """All values of a metric, (n,), in the order of arrival; unknown names raise KeyError with the nearest."""
        chosen = metric(name)
        values: Array = self._tables[chosen.table].filled[chosen.field]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(METRICS)

    def keys(self) -> Iterator[str]:
        """Names of all metrics, so that ``dict(history)`` works."""
        return iter(self)

    def _ipython_key_completions_(self) -> list[str]:
        return list(METRICS)

    def series(
        self, name: str, agent: int | None = None, over: str | None = None, most: int | None = None
    ) -> tuple[Array, Array]:
        """A metric as a curve: of one agent, or of all agents together.

        The points are updates for what is recorded per update, epochs for the rest
        (:data:`~workbench.runs.metrics.AXES`). A point recorded twice keeps its last record. Agents are averaged or
        summed as the metric says (:attr:`~workbench.core.records.Metric.over_agents`), and only points that every
        agent of the table has reached are kept, so that a sum never lacks an agent.

        Args:
            name: public name of the metric.
            agent: index of an agent; None for all together.
            over: another column of the same table for x, such as "time", "epoch" or "agent_steps"; of all agents
                together, the greatest value at the point.
            most: how many points to keep at most, every so-manyth one, where a curve is only looked at; None keeps
                them all. Every metric of a table keeps the same points.

        Returns:
            x (n,) and y (n,) float64, in the order of the points; both empty while nothing is recorded.

        Raises:
            KeyError: unknown metric, or no such column in its table.
        """
        chosen = metric(name)
        records = self._tables[chosen.table].filled if most is None else self._thin(chosen.table, most)
        over = over or AXES[chosen.table]
        columns = records.dtype.names or ()
        if over not in columns:
            raise KeyError(f"the table of {name} has no column {over!r}; choose one of {', '.join(columns)}")
        if agent is not None:
            records = records[records["agent"] == agent]
        if len(records) == 0:
            return records[over], np.empty(0)

        kept = _points_of_all_agents(records, AXES[chosen.table])
        y = kept[chosen.field].astype(np.float64)
        combined = y.sum(axis=1) if chosen.over_agents == "sum" else y.mean(axis=1)
        return kept[over].max(axis=1), combined

    def _thin(self, table: str, most: int) -> Records:
        """Records of a table that a curve of so many points is made of."""
        records = self._tables[table].filled
        if table == "evaluations":  # those are few, and have gaps
            return records
        with self._lock:
            thinned = self._thinned.setdefault((table, most), Thinned(AXES[table], most))
        return thinned.of(records)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(table.filled):,} {name}" for name, table in self._tables.items())
        lost = ", ".join(f"{count:,} {name}" for name, count in self.lost.items() if count)
        return f"History({counts}; lost: {lost or 'none'})"


def _points_of_all_agents(records: Records, axis: str) -> Records:
    """The last record of each point and agent, (points, agents), without the points that some agent lacks."""
    agents, column = np.unique(records["agent"], return_inverse=True)
    points, row = np.unique(records[axis], return_inverse=True)
    last = np.full((len(points), len(agents)), -1)
    last[row, column] = np.arange(len(records))
    complete: Records = records[last[(last >= 0).all(axis=1)]]
    return complete


class _GrowingTable:
    """An array that grows by doubling, or the map of a file that grows. What ``filled`` gave once stays as it is."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._dtype, self._count, self._lock = dtype, 0, threading.Lock()
        self._buffer = np.empty(256, dtype)
        self._filled = _read_only(self._buffer[:0])
        self._on_file = False  # whether the table is read from its file
        self._file: int | None = None  # descriptor, from the first time on; so deleting the file does no harm

    @property
    def filled(self) -> Records:
        """All records so far, (n,)."""
        with self._lock:
            if len(self._filled) < self._count:  # mapped when somebody looks, not whenever something comes
                self._filled = self._mapped()
            return self._filled

    def append(self, records: Records, path: Path | None) -> None:
        if records.dtype != self._dtype:
            raise TypeError(f"the records are {records.dtype}; this table holds {self._dtype}")
        with self._lock:
            count = self._count + len(records)
            if path is not None and count * self._dtype.itemsize > IN_MEMORY and self._rests_on(path, count):
                if len(self._buffer):
                    self._buffer = np.empty(0, self._dtype)
                    self._filled = _read_only(self._buffer)
                self._count, self._on_file = count, True
                return
            start, before = self._count, self._mapped() if self._on_file else self._filled
            if count > len(self._buffer):
                self._buffer = np.empty(max(count, 2 * start), self._dtype)
                self._buffer[:start] = before
            self._buffer[start:count] = records
            self._filled, self._count, self._on_file = _read_only(self._buffer[:count]), count, False

    def _rests_on(self, path: Path, count: int) -> bool:
        """Whether a file holds so many records, and can be read; it is kept open as long as the table lives."""
        try:
            file = os.open(path, os.O_RDONLY) if self._file is None else self._file
        except OSError:
            return False
        holds = os.fstat(file).st_size >= count * self._dtype.itemsize
        if holds and self._file is None:
            self._file = file
            weakref.finalize(self, os.close, file)
        elif self._file is None:
            os.close(file)
        return holds

    def _mapped(self) -> Records:
        assert self._file is not None
        size = self._count * self._dtype.itemsize
        records: Records = np.frombuffer(mmap.mmap(self._file, size, access=mmap.ACCESS_READ), self._dtype)
        return records


def _read_only(view: Records) -> Records:
    view.flags.writeable = False
    return view

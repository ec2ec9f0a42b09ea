"""What a process did when: the timeline's table of records, the kinds of its spans, and what these add up to.

A process does one thing at a time, so of two of its spans one lies within the other, or they do not overlap. A moment
belongs to the innermost span around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.core.records import Records, RecordTable, words_of
from workbench.runs.table import Table
from workbench.view.sentences import said

if TYPE_CHECKING:
    from workbench.runs.history import History

# One record per piece of work or of waiting of a process, written when it is over. Times are in nanoseconds.
#
# ``start`` is on the monotonic clock that the machine had when the run was launched, the same for all processes and
# lives of the run; its description has what to add for time since 1970, ``clock_offset_ns``. ``on_core`` says how much
# of ``duration`` the main thread was on a core; for the rest it waited, for another process, a device or a core.
# ``process`` is the place among the run's processes, whose names are in the description; ``agent`` and ``epoch`` are
# -1 where the work belongs to none.
SPANS = np.dtype([
    ("start", "<i8"), ("duration", "<i8"), ("on_core", "<i8"),
    ("process", "<i2"), ("kind", "<i2"), ("agent", "<i4"), ("epoch", "<i4"),
])  # fmt: skip


class SpanKind(IntEnum):
    """What a process did for a while. Of two spans, one within the other, the inner one says more exactly what.

    Attributes:
        STARTING: From the opening of its parts to the opening of the barrier that all processes start behind.
        WAITING: For another process: until an epoch may be collected, or updates may be made.
        ACTING: An epoch of the world: the sync, if one is due, then every turn, then the records of the epoch.
        SYNCING: Taking policies out of the weight stores.
        EVALUATING: Greedy epochs.
        LEARNING: A phase of learning of one agent: its updates, and the records of them.
        SAMPLING: Drawing a batch from the replay.
        UPDATING: One update, without the drawing of its batch; on a GPU the issuing of the work, which is waited for
            later.
        PUBLISHING: Putting a policy into its weight store.
        CHECKPOINTING: Saving what is needed to resume the run.
    """

    STARTING = 1
    WAITING = 2
    ACTING = 3
    SYNCING = 4
    EVALUATING = 5
    LEARNING = 6
    SAMPLING = 7
    UPDATING = 8
    PUBLISHING = 9
    CHECKPOINTING = 10


# Length of an axis that is indexed by :class:`SpanKind`; place 0 stays empty.
NUM_KINDS = max(SpanKind) + 1
# The table that a run with a timeline has beside the core's.
SPAN_TABLES = {"spans": RecordTable(SPANS, 32768, words={"kind": words_of(SpanKind)})}


def spans_of(history: "History") -> Records:
    """What the timeline of a run has recorded, (n,) of :data:`SPANS`; empty for a run without one."""
    return history.table("spans") if "spans" in history.schema.tables else np.empty(0, SPANS)


def of_process(spans: Records, process: int) -> Records:
    """The spans of one process, (n,), by start, the outer of two that start together first.

    Args:
        spans: (m,) of any processes, each one's in the order of writing: the inner one of two is written first.
        process: place of the process.
    """
    own = spans[spans["process"] == process]
    return np.asarray(own[np.lexsort((-np.arange(len(own)), -own["duration"], own["start"]))])


def depths(spans: Records) -> NDArray[np.int64]:
    """How many spans lie around each, (n,) int64.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
    """
    start, end = spans["start"], spans["start"] + spans["duration"]
    depth, left, level = np.zeros(len(spans), np.int64), np.arange(len(spans)), 0
    while len(left):
        earlier_end = np.maximum.accumulate(end[left])[:-1]
        inside = np.append(False, start[left][1:] < earlier_end)
        depth[left] = level
        left, level = left[inside], level + 1
    return depth


def time_of_kinds(spans: Records, edges: ArrayLike) -> NDArray[np.float64]:
    """How much of each interval between two edges went into each kind, the innermost span deciding.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
        edges: (m,) nanoseconds on the clock of the spans, rising.

    Returns:
        (NUM_KINDS, m - 1) float64, nanoseconds. What is missing to the length of an interval was not recorded.
    """
    depth, edges, ends = depths(spans), np.asarray(edges), spans["start"] + spans["duration"]
    turning = np.unique(np.concatenate([edges, spans["start"], ends]))  # between two of them nothing changes
    middle, kind = (turning[:-1] + turning[1:]) / 2, np.zeros(len(turning) - 1)
    for level in range(depth.max(initial=-1) + 1):
        here, its_ends = spans[depth == level], ends[depth == level]
        place = np.searchsorted(here["start"], middle) - 1
        inside = (place >= 0) & (middle < its_ends[place])
        kind[inside] = here["kind"][place[inside]]
    spent = np.histogram2d(kind, middle, (np.arange(NUM_KINDS + 1), edges), weights=np.diff(turning))[0]
    spent[0] = 0  # what was not recorded
    return spent


def time_on_core(spans: Records, start: float, end: float, left_out: Sequence[SpanKind]) -> float:
    """How much of a stretch of time a process was on a core while it did what is recorded, in nanoseconds.

    Of a span that lies in the stretch in part, the same part counts.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
        start: nanoseconds on the clock of the spans.
        end: the same.
        left_out: kinds that do not count.
    """
    outermost = spans[depths(spans) == 0]
    counted = outermost[~np.isin(outermost["kind"], left_out) & (outermost["duration"] > 0)]
    inside = np.minimum(counted["start"] + counted["duration"], end) - np.maximum(counted["start"], start)
    return float((counted["on_core"] * np.maximum(inside, 0) / counted["duration"]).sum())


# --- what share of a stretch of time each process worked, waited, or left unrecorded ---------------------------------

# Smallest share of time for which a kind of span gets a column; a smaller one would show as 0.0% in every row.
SEEN = 5e-5
# Kinds that do not count as working.
NO_WORK = (SpanKind.STARTING, SpanKind.WAITING)


@dataclass(frozen=True)
class Shares:
    """Shares of the time from ``start`` to ``end``; each process's row adds up to 1.

    Attributes:
        start: Seconds since the start of the run.
        kinds: (processes, NUM_KINDS): share of each kind by itself, without what lies within it.
        on_core: (processes,): share in which the process worked and was on a core.
    """

    processes: tuple[str, ...]
    start: float
    end: float
    kinds: NDArray[np.float64]
    on_core: NDArray[np.float64]

    def of(self, process: str) -> dict[str, float]:
        """A process's shares by name: working, on a core, waiting, other (not recorded), then of each kind.

        Raises:
            KeyError: the run has no process of that name.
        """
        if process not in self.processes:
            raise KeyError(f"there is no process {process!r}; there are {', '.join(self.processes)}")
        place = self.processes.index(process)
        own = self.kinds[place]
        named = {kind.name.lower(): float(own[kind]) for kind in SpanKind}
        recorded, idle = float(own.sum()), sum(float(own[kind]) for kind in NO_WORK)
        main = {"working": recorded - idle, "on a core": float(self.on_core[place]), "waiting": named["waiting"]}
        return main | {"other": max(0.0, 1 - recorded)} | named

    @property
    def words(self) -> str:
        """The main shares of every process in words."""
        return "; ".join(said("shares.process", name=name, of=self.of(name)) for name in self.processes)

    @property
    def table(self) -> Table:
        """A row for each process; kinds that did not occur are left out."""
        columns = columns_of([self])
        shares = {process: self.of(process) for process in self.processes}
        rows = ((process, *(f"{of[column]:.1%}" for column in columns)) for process, of in shares.items())
        return Table(("", *columns), tuple(rows), said("shares.caption", start=self.start, end=self.end))

    def __repr__(self) -> str:
        return self.table.text

    def _repr_html_(self) -> str:
        return self.table.html


def columns_of(shown: Sequence[Shares]) -> tuple[str, ...]:
    """Names of the shares that a table has: the main ones, and the kinds that occurred in some of those."""
    kinds = np.concatenate([shares.kinds for shares in shown]).max(axis=0) > SEEN
    named = (kind.name.lower() for kind in SpanKind if kinds[kind] and kind != SpanKind.WAITING)
    return ("working", "on a core", "waiting", "other", *named)

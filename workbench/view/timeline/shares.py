"""What share of a stretch of time each process worked, waited, or left unrecorded: a table for every kind of reader."""

import textwrap
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workbench.runs.table import Table
from workbench.view.sentences import said
from workbench.view.timeline.spans import SpanKind

# Letters in a line below the table.
WIDTH = 112
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
        own, on_core = self.kinds[place], float(self.on_core[place])
        named = {kind.name.lower(): float(own[kind]) for kind in SpanKind}
        recorded, idle = float(own.sum()), sum(float(own[kind]) for kind in NO_WORK)
        first = {"working": recorded - idle, "on a core": on_core, "waiting": named["waiting"]}
        first["other"] = max(0.0, 1 - recorded)
        return first | {name: share for name, share in named.items() if name != "waiting"}

    @property
    def words(self) -> str:
        """The main shares of every process in words."""
        return "; ".join(said("shares.process", name=name, of=self.of(name)) for name in self.processes)

    @property
    def table(self) -> Table:
        """A row for each process; kinds that did not occur are left out."""
        found = [
            kind.name.lower() for kind in SpanKind if kind != SpanKind.WAITING and (self.kinds[:, kind] > SEEN).any()
        ]
        columns = ("working", "on a core", "waiting", "other", *found)
        shares = {process: self.of(process) for process in self.processes}
        rows = ((process, *(f"{of[column]:.1%}" for column in columns)) for process, of in shares.items())
        return Table(("", *columns), tuple(rows), said("shares.caption", start=self.start, end=self.end))

    @property
    def text(self) -> str:
        """The table as text."""
        return replace(self.table, caption=textwrap.fill(self.table.caption, WIDTH)).text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.table.markdown

    def _repr_html_(self) -> str:
        return self.table.html

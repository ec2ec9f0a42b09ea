"""What share of a stretch of time each process worked, waited, or left unrecorded: a table for every kind of reader."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.view.timeline.span_kinds import SpanKind

WIDTH = 112
"""Letters in a line below the table."""
SEEN = 5e-5
"""Smallest share of a kind that has a column: less would be 0.0% in every row."""
NO_WORK = (SpanKind.STARTING, SpanKind.WAITING)
"""Kinds that do not count as working."""


@dataclass(frozen=True)
class Shares:
    """Shares of the time from ``start`` to ``end``; each process's row adds up to 1."""

    processes: tuple[str, ...]
    start: float
    """Seconds since the start of the run."""
    end: float
    kinds: NDArray[np.float64]
    """(processes, NUM_KINDS): share of each kind by itself, without what lies within it."""
    on_core: NDArray[np.float64]
    """(processes,): share in which the process worked and was on a core."""

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
        return "; ".join(
            f"{name} works {of['working']:.0%} of the time and is on a core for {of['on a core']:.0%} of it, "
            f"waits {of['waiting']:.0%}"
            for name, of in ((name, self.of(name)) for name in self.processes)
        )

    @property
    def text(self) -> str:
        """The table as text."""
        rows = list(self._rows())
        first = max(len(row[0]) for row in rows)
        widths = [max(len(row[column]) for row in rows) for column in range(1, len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))])
            for row in rows
        ]
        return "\n".join([*lines, "", *textwrap.wrap(self._caption, WIDTH)])

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        head, *rows = (f"| {' | '.join(row)} |" for row in self._rows())
        rule = f"|---|{'---:|' * (head.count('|') - 2)}"
        return "\n".join([head, rule, *rows, "", self._caption])

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        right = ' style="text-align: right"'
        lines = ["".join(f'<th scope="col"{right if name else ""}>{html.escape(name)}</th>' for name in head)]
        for name, *cells in rows:
            numbers = "".join(f"<td{right}>{cell}</td>" for cell in cells)
            lines.append(f'<th scope="row" style="text-align: left">{html.escape(name)}</th>{numbers}')
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f'<table><caption style="text-align: left">{html.escape(self._caption)}</caption>{body}</table>'

    @property
    def _caption(self) -> str:
        return (
            f"Shares of the time from {self.start:,.2f} s to {self.end:,.2f} s after the start. On a core is a part of "
            "working: for the rest the process waited for a core or a device. Other is neither recorded work nor "
            "waiting: probes, say, or a core that was lost between two pieces of work. The columns after it say what "
            "the work was, each without what lies within it."
        )

    def _rows(self) -> Iterator[list[str]]:
        """Cells of the table with its head; kinds that did not occur are left out."""
        found = [
            kind.name.lower() for kind in SpanKind if kind != SpanKind.WAITING and (self.kinds[:, kind] > SEEN).any()
        ]
        columns = ["working", "on a core", "waiting", "other", *found]
        yield ["", *columns]
        for process in self.processes:
            shares = self.of(process)
            yield [process, *(f"{shares[column]:.1%}" for column in columns)]

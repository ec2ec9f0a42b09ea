"""A small table of text that can be written in Markdown and in LaTeX: the numbers of a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.report.intervals import Estimate

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of text under a head. The first column holds names, the others numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"a row has another length than the head, which has {len(self.head)} cells")

    @property
    def markdown(self) -> str:
        """The table in Markdown, aligned so that it reads well as text too."""
        rows = [[cell.replace("|", r"\|") for cell in row] for row in (self.head, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        rule = "|".join([":" + "-" * (widths[0] + 1), *("-" * (width + 1) + ":" for width in widths[1:])])
        return "\n".join([lines[0], f"|{rule}|", *lines[1:], ""])

    @property
    def latex(self) -> str:
        """The table as a LaTeX ``tabular``; it needs ``\\usepackage{booktabs}``."""
        rows = [" & ".join(map(_latex, row)) + r" \\" for row in (self.head, *self.rows)]
        return "\n".join([
            "% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}", r"\toprule",
            rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", "",
        ])  # fmt: skip

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return f"<Table of {len(self.rows)} rows: {', '.join(self.head)}>"

    def __str__(self) -> str:
        return self.markdown


def number(value: float | None, like: float | None = None) -> str:
    """A number with four significant digits, or as a whole number if it is one; "-" where there is none.

    Args:
        value: the number.
        like: another number, to take as many decimals as that one has.
    """
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value if like is None else like)
    if 0 < size < 1e-3:
        return f"{value:.3g}"
    if size == 0 or (like is None and value == round(value)):
        return f"{value:,.0f}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(size)))}f}"


def interval(found: Estimate) -> str:
    """An estimate with its interval in brackets, if it has one, all with the same decimals."""
    if not math.isfinite(found.low):
        return number(found.value)
    largest = max(found.value, found.low, found.high, key=abs)
    value, low, high = (number(each, largest) for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return f"| {' | '.join(cells)} |"


def _latex(text: str) -> str:
    return re.sub(r"[\\&%$#_{}~^<>]", lambda found: _LATEX[found[0]], text)

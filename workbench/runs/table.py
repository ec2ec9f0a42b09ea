"""A small table of text, written for every kind of reader: as text, Markdown, LaTeX or HTML."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip


def plain(text: str) -> str:
    """Text for a terminal, a file or a figure: what would steer it, such as an escape sequence, is shown, not sent."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def tell(said: object, to: TextIO | None = None) -> None:
    """Print for a terminal: all that commands print is printed by this."""
    print(plain(str(said)), file=to, flush=True)


def escaped(text: object) -> str:
    """Text for HTML."""
    return html.escape(plain(str(text)))


@dataclass(frozen=True)
class Table:
    """Rows of text under a head.

    Attributes:
        caption: What stands below the text and the Markdown, and above the rows in HTML.
        numbers: Whether the columns after the first hold numbers, which are aligned to the right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: bool = True

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"a row has another length than the head, which has {len(self.head)} cells")

    @property
    def text(self) -> str:
        """Columns for a terminal."""
        rows = [[plain(cell).replace("\n", " ") for cell in row] for row in (self.head, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(self._aligned(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *self._below])

    @property
    def markdown(self) -> str:
        """Markdown, aligned so that it reads well as text too."""
        rows = [[cell.replace("|", r"\|") for cell in row] for row in (self.head, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"| {' | '.join(self._aligned(row, widths))} |" for row in rows]
        left, right = [f":{'-' * (width + 1)}" for width in widths], [f"{'-' * (width + 1)}:" for width in widths]
        rule = [left[0], *(right if self.numbers else left)[1:]]
        return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:], *self._below, ""])

    @property
    def latex(self) -> str:
        """A LaTeX ``tabular``; it needs ``\\usepackage{booktabs}``."""
        rows = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in (self.head, *self.rows)]
        columns = "l" + ("r" if self.numbers else "l") * (len(self.head) - 1)
        return "\n".join([
            "% needs \\usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
            rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", "",
        ])  # fmt: skip

    @property
    def html(self) -> str:
        """HTML, every cell escaped."""
        rows = (map(escaped, row) for row in self.rows)
        return html_table(list(map(escaped, self.head)), rows, escaped(self.caption), self.numbers)

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return f"<Table of {len(self.rows)} rows: {', '.join(self.head)}>"

    def __str__(self) -> str:
        return self.text

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        """The cells, each filled up to the width of its column."""
        fill = str.rjust if self.numbers else str.ljust
        return [row[0].ljust(widths[0]), *(fill(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True))]

    @property
    def _below(self) -> list[str]:
        return ["", self.caption] if self.caption else []


def html_table(head: Sequence[str], rows: Iterable[Iterable[str]], caption: str = "", numbers: bool = False) -> str:
    """A table of cells that are HTML already, such as those with marks in them.

    Args:
        head: a cell for each column.
        rows: as many cells each.
        caption: a line above; none if it is empty.
        numbers: whether the columns after the first are aligned to the right.
    """
    style = "text-align: {}; vertical-align: top; padding: 2px 14px 2px 0; white-space: normal"
    styles = [style.format("left"), *[style.format("right" if numbers else "left")] * (len(head) - 1)][: len(head)]

    def line(kind: str, scope: str, row: Iterable[str]) -> str:
        """A row of that kind of cells."""
        cells = (f'<{kind}{scope} style="{style}">{cell}</{kind}>' for style, cell in zip(styles, row, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    title = f'<caption style="text-align: left; padding: 4px 0; white-space: pre-line"><b>{caption}</b></caption>'
    top, body = line("th", ' scope="col"', head), "".join(line("td", "", row) for row in rows)
    inside = f"{title if caption else ''}<thead>{top}</thead><tbody>{body}</tbody>"
    return f'<table style="border-collapse: collapse; line-height: 1.35">{inside}</table>'


def markdown_rows(page: Path) -> list[tuple[str, ...]]:
    """The cells of all tables of a Markdown page, without their heads."""
    rows: list[tuple[str, ...]] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        if cells and set(cells[0]) <= set(":-"):
            rows.pop()  # what stands above the rule is the head
        elif cells:
            rows.append(cells)
    return rows


def number(value: float | None, like: float | None = None) -> str:
    """A number with four significant digits, or as a whole number if it is one; "-" where there is none.

    Of a very small or very large one, three digits and its power of ten.

    Args:
        value: the number.
        like: another number, to take as many decimals as that one has.
    """
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value if like is None else like)
    if 0 < size < 1e-3 or max(size, abs(value)) >= 1e15:
        return f"{value:.3g}"
    if size == 0 or (like is None and value == round(value)):
        return f"{value:,.0f}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(size)))}f}"


def fixed(value: float, decimals: int = 0) -> str:
    """A number with some decimals; of one that has run away, three digits and its power of ten."""
    return f"{value:.{decimals}f}" if abs(value) < 1e9 else f"{value:.3g}"


def order(value: object) -> tuple[bool, float, str]:
    """A key to sort settings by: numbers by size, and then words."""
    return (False, value, "") if isinstance(value, int | float) else (True, 0.0, str(value))

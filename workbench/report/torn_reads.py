"""Torn reads of weights and replay rows, out of ``data/reference/torn_reads.json``: a figure, tables, and counts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workbench.runs.table import Table
from workbench.view.picture import Picture
from workbench.view.style import GREY, INK, SMALL_SIZE, TEXT_SIZE, RunStyle, run_style, style_axes

# Width and height in inches.
SIZE = (11.0, 6.6)
Cells = list[dict[str, Any]]
Result = Mapping[str, Any]
HEAD = ("pause ms", "reads", "writes", "torn / million", "wrong / million", "retries", "us / read")


def torn_reads(result: Result) -> Picture:
    """Torn reads by size and pause, cost of a read by size, and torn or wrong rows.

    Args:
        result: what the campaign wrote, such as ``data/reference/torn_reads.json``.
    """
    picture = Picture(figsize=SIZE, dpi=110, facecolor="white")
    weights, rows = result["weights"], result["rows"]
    sizes, styles = sorted({cell["floats"] for cell in weights}), _styles(weights)
    grid = picture.add_gridspec(
        2, max(3, len(sizes)), left=0.075, right=0.985, top=0.94, bottom=0.165, wspace=0.28, hspace=0.46
    )
    for column, floats in enumerate(sizes):
        axes = picture.add_subplot(grid[0, column])
        style_axes(axes, f"Weights: {floats:,} floats", "pause of the writer, ms", "torn reads per million")
        chosen = [cell for cell in weights if cell["floats"] == floats]
        _rates(axes, [(styles[way], _of(chosen, way=way)) for way in styles], ("torn",))
    _costs(picture.add_subplot(grid[1, 0]), weights, styles)
    _row_rates(picture.add_subplot(grid[1, 1]), rows)
    corner = grid[1, 2].get_position(picture)
    handles = [_line(style, label=way) for way, style in styles.items()]
    picture.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(corner.x0 - 0.02, corner.y1 + 0.05), frameon=False,
        title="Ways to hand over weights", alignment="left", title_fontsize=TEXT_SIZE, fontsize=TEXT_SIZE,
        labelcolor=INK, handlelength=3.2, borderpad=0,
    )  # fmt: skip
    story = "\n".join(textwrap.wrap(killed_story(result["killed_writer"]), 50))
    picture.text(corner.x0 - 0.02, corner.y0, story, fontsize=SMALL_SIZE, color=INK, va="bottom", linespacing=1.3)
    picture.text(0.075, 0.02, _footer(result), fontsize=SMALL_SIZE, color=GREY)
    picture.alt = "Torn reads per million of six ways to hand over weights, cost of a read, and torn or wrong rows."
    return picture


def killed_story(killed: Mapping[str, Any]) -> str:
    """One sentence on what a writer leaves behind that is killed while it writes."""
    waited = f"{killed['waited_for_mutex_s']:g} s"
    mutex = "had the mutex back" if killed["mutex_given_back"] else f"still waited for the mutex after {waited}"
    store = "whole" if killed["weight_store_read_whole"] else "TORN"
    return f"Writer killed while it wrote: the reader {mutex}; its read of the weight store was {store}."


def weights_table(result: Result, pause_ms: float | None = None) -> Table:
    """The weights' cells at one pause of the writer (default: the shortest): a line per way and size."""
    pause = min(cell["pause_ms"] for cell in result["weights"]) if pause_ms is None else pause_ms
    cells = _of(result["weights"], pause_ms=pause)
    if not cells:
        known = ", ".join(f"{each:g}" for each in sorted({cell["pause_ms"] for cell in result["weights"]}))
        raise ValueError(f"pause_ms is {pause:g}; measured were {known}")
    return Table(("weights", "floats", *HEAD), tuple(_row(cell, "floats") for cell in cells))


def rows_table(result: Result) -> Table:
    """The rows' cells: a line per reader, spare epochs and pause of the writer."""
    return Table(("rows", "spare epochs", *HEAD), tuple(_row(cell, "spare_epochs") for cell in result["rows"]))


def count(result: Result, way: str, name: str = "torn") -> int:
    """Sum of one count over all cells of a way.

    Args:
        result: what the campaign wrote.
        way: a key of ``result["ways"]``.
        name: "torn" (two writes in one read), "wrong" (whole, but another write than its label says), "reads",
            "items", "retries", "refused" or "writes".

    Raises:
        ValueError: there is no such way.
    """
    if way not in result["ways"]:
        raise ValueError(f"way is {way!r}; measured were {', '.join(result['ways'])}")
    return sum(int(cell[name]) for cell in result["weights"] + result["rows"] if cell["way"] == way)


def _row(cell: Mapping[str, Any], size: str) -> tuple[str, ...]:
    names = ("reads", "writes", "torn_per_million", "wrong_per_million", "retries")
    cost = "none" if cell["read_us"] is None else f"{cell['read_us']:,.1f}"
    return (cell["way"], f"{cell[size]:,}", f"{cell['pause_ms']:g}", *(f"{cell[name]:,.0f}" for name in names), cost)


def _rates(axes: Axes, lines: Iterable[tuple[RunStyle, Cells]], names: tuple[str, ...]) -> None:
    """Rates per million over the pause, on an axis that is logarithmic and has a place for none at all."""
    lines = list(lines)
    pauses = sorted({cell["pause_ms"] for _, cells in lines for cell in cells})
    for place, (style, cells) in enumerate(lines):
        cells = sorted(cells, key=lambda cell: cell["pause_ms"])
        aside = 0.024 * len(pauses) * (place - (len(lines) - 1) / 2)  # so that marks at the same height are all seen
        x = [pauses.index(cell["pause_ms"]) + aside for cell in cells]
        y = [sum(cell[f"{name}_per_million"] for name in names) for cell in cells]
        axes.add_line(_line(style, x, y))
    axes.set_yscale("symlog", linthresh=10, linscale=0.6)
    axes.set_ylim(-3, 2e6)
    axes.set_xlim(-0.4, len(pauses) - 0.6)
    axes.yaxis.set_major_locator(FixedLocator([0, 10, 1e2, 1e3, 1e4, 1e5, 1e6]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_count))
    axes.xaxis.set_major_locator(FixedLocator(range(len(pauses))))
    axes.set_xticklabels([f"{pause:g}" for pause in pauses])


def _costs(axes: Axes, weights: Cells, styles: dict[str, RunStyle]) -> None:
    pause = max(cell["pause_ms"] for cell in weights)
    style_axes(axes, f"Cost of a read, writer pausing {pause:g} ms", "floats", "median, microseconds")
    for way, style in styles.items():
        cells = [cell for cell in _of(weights, way=way, pause_ms=pause) if cell["read_us"] is not None]
        cells.sort(key=lambda cell: cell["floats"])
        axes.add_line(_line(style, [cell["floats"] for cell in cells], [cell["read_us"] for cell in cells]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.autoscale_view()
    axes.xaxis.set_major_locator(FixedLocator(sorted({cell["floats"] for cell in weights})))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_count))


def _row_rates(axes: Axes, rows: Cells) -> None:
    style_axes(axes, "Rows: torn, or another than drawn", "pause of the writer, ms", "rows per million")
    pairs = sorted({(cell["way"], cell["spare_epochs"]) for cell in rows})
    lines = [(run_style(i), _of(rows, way=way, spare_epochs=spare)) for i, (way, spare) in enumerate(pairs)]
    _rates(axes, lines, ("torn", "wrong"))
    keys = [_line(run_style(i), label=f"{way}, {_spare(spare)}") for i, (way, spare) in enumerate(pairs)]
    axes.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=2, frameon=False, fontsize=SMALL_SIZE - 1,
        labelcolor=INK, handlelength=2.6, columnspacing=1.0, borderpad=0,
    )  # fmt: skip


def _spare(epochs: int) -> str:
    return f"{epochs} spare epoch" + ("" if epochs == 1 else "s")


def _styles(cells: Cells) -> dict[str, RunStyle]:
    """Style of each way, in the order in which they were measured."""
    return {way: run_style(index) for index, way in enumerate(dict.fromkeys(cell["way"] for cell in cells))}


def _line(style: RunStyle, x: Iterable[float] = (), y: Iterable[float] = (), label: str = "") -> Line2D:
    return Line2D(
        list(x), list(y), color=style.colour, linestyle=style.dashes, linewidth=1.5, marker=style.marker,
        markersize=5, markerfacecolor="white", markeredgewidth=1.3, label=label, clip_on=False, zorder=3,
    )  # fmt: skip


def _of(cells: Cells, **values: Any) -> Cells:
    return [cell for cell in cells if all(cell[name] == value for name, value in values.items())]


def _count(value: float, _: int) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if value >= 1e3 else f"{value:g}"


def _footer(result: Result) -> str:
    reads, machine = sum(cell["reads"] for cell in result["weights"] + result["rows"]), result["machine"]
    return (
        f"{reads:,} reads in {result['seconds']:.0f} s, {result['budget']} budget; "
        f"{machine['cpu']}, {machine['cores']} cores. Zero of n reads: below 3 / n at 95 % confidence."
    )

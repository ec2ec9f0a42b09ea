"""Torn reads of weights and replay rows, out of ``data/reference/torn_reads.json``: a figure, tables, and counts.

Notebook 04 shows them. ``python -m tests.campaigns.torn`` makes the file.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from workbench.runs.table import Table
from workbench.view.picture import Picture
from workbench.view.style import GREY, INK, SCREEN, own_settings, run_style, style_axes

# Width and height in inches.
SIZE = (11.0, 6.6)
Cells = list[dict[str, Any]]
Result = Mapping[str, Any]
KILLED = "Writer killed while it wrote: the reader {mutex}; its read of the weight store was {store}."
ALT = "Torn reads per million of six ways to hand over weights, cost of a read, and torn or wrong rows."
FOOTER = (
    "{reads:,} reads in {seconds:.0f} s, {budget} budget; {machine[cpu]}, {machine[cores]} cores. "
    "Zero of n reads: below 3 / n at 95 % confidence."
)
HEAD = ("pause ms", "reads", "writes", "torn / million", "wrong / million", "retries", "us / read")


@own_settings()
def torn_reads(result: Result) -> Picture:
    """Torn reads by size and pause, cost of a read by size, and torn or wrong rows.

    Args:
        result: what the campaign wrote, such as ``data/reference/torn_reads.json``.
    """
    weights, rows = result["weights"], result["rows"]
    sizes = sorted({cell["floats"] for cell in weights})
    picture = Picture(figsize=SIZE, dpi=110, facecolor="white", layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    above, (costs, row_rates, corner, *_) = picture.subplots(2, max(3, len(sizes)))
    for axes, floats in zip(above, sizes, strict=False):
        style_axes(axes, f"Weights: {floats:,} floats", "pause of the writer, ms", "torn reads per million")
        _rates(axes, _lines(weights, floats=floats), ("torn",))
    _costs(costs, weights)
    style_axes(row_rates, "Rows: torn, or another than drawn", "pause of the writer, ms", "rows per million")
    _rates(row_rates, _lines(rows), ("torn", "wrong"))
    look: dict[str, Any] = {"frameon": False, "labelcolor": INK, "borderpad": 0, "loc": "upper left"}
    row_rates.legend(bbox_to_anchor=(-0.02, -0.18), fontsize=SCREEN.small - 1, **look)
    corner.legend(
        *above[0].get_legend_handles_labels(), title="Ways to hand over weights", alignment="left", handlelength=3.2,
        title_fontsize=SCREEN.text, fontsize=SCREEN.text, **look,
    )  # fmt: skip
    story = "\n".join(textwrap.wrap(killed_story(result["killed_writer"]), 50))
    corner.text(0, 0, story, fontsize=SCREEN.small, color=INK, linespacing=1.3)
    for axes in picture.axes:
        if not axes.lines:
            axes.set_axis_off()
    reads = sum(cell["reads"] for cell in weights + rows)
    footer = FOOTER.format(reads=reads, **{name: result[name] for name in ("seconds", "budget", "machine")})
    picture.supxlabel(footer, x=0.01, ha="left", fontsize=SCREEN.small, color=GREY)
    picture.alt = ALT
    return picture


def killed_story(killed: Mapping[str, Any]) -> str:
    """One sentence on what a writer leaves behind that is killed while it writes."""
    waited = f"{killed['waited_for_mutex_s']:g} s"
    mutex = "had the mutex back" if killed["mutex_given_back"] else f"still waited for the mutex after {waited}"
    store = "whole" if killed["weight_store_read_whole"] else "TORN"
    return KILLED.format(mutex=mutex, store=store)


def weights_table(result: Result, pause_ms: float | None = None) -> Table:
    """The weights' cells at one pause of the writer (default: the shortest): a line per way and size."""
    known = sorted({cell["pause_ms"] for cell in result["weights"]})
    pause = known[0] if pause_ms is None else pause_ms
    if pause not in known:
        raise ValueError(f"pause_ms is {pause:g}; measured were {', '.join(f'{each:g}' for each in known)}")
    cells = _of(result["weights"], pause_ms=pause)
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


def _lines(cells: Cells, **values: Any) -> dict[str, Cells]:
    """The cells of each way, or of each way and number of spare epochs, that have some values."""
    lines: dict[str, Cells] = {}
    for cell in cells:
        spare = (
            f", {cell['spare_epochs']} spare epoch{'s' * (cell['spare_epochs'] != 1)}" if "spare_epochs" in cell else ""
        )
        lines.setdefault(cell["way"] + spare, []).extend(_of([cell], **values))
    return lines


def _rates(axes: Axes, lines: dict[str, Cells], names: tuple[str, ...]) -> None:
    """Rates per million over the pause, on an axis that is logarithmic and has a place for none at all."""
    pauses = sorted({cell["pause_ms"] for cells in lines.values() for cell in cells})
    for place, (label, cells) in enumerate(lines.items()):
        cells = sorted(cells, key=lambda cell: cell["pause_ms"])
        aside = 0.024 * len(pauses) * (place - (len(lines) - 1) / 2)  # so that marks at the same height are all seen
        x = [pauses.index(cell["pause_ms"]) + aside for cell in cells]
        _plot(axes, place, x, [sum(cell[f"{name}_per_million"] for name in names) for cell in cells], label)
    axes.set_yscale("symlog", linthresh=10, linscale=0.6)
    axes.set_ylim(-3, 2e6)
    axes.set_xlim(-0.4, len(pauses) - 0.6)
    axes.set_yticks([0, 10, 1e2, 1e3, 1e4, 1e5, 1e6])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xticks(range(len(pauses)), [f"{pause:g}" for pause in pauses])


def _costs(axes: Axes, weights: Cells) -> None:
    pause = max(cell["pause_ms"] for cell in weights)
    style_axes(axes, f"Cost of a read, writer pausing {pause:g} ms", "floats", "median, microseconds")
    for place, (label, cells) in enumerate(_lines(weights, pause_ms=pause).items()):
        known = sorted((cell["floats"], cell["read_us"]) for cell in cells if cell["read_us"] is not None)
        _plot(axes, place, [floats for floats, _ in known], [cost for _, cost in known], label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({cell["floats"] for cell in weights})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(places=1, sep=""))
    axes.yaxis.set_major_formatter("{x:g}")


def _plot(axes: Axes, place: int, x: list[float], y: list[float], label: str) -> None:
    style = run_style(place)
    axes.plot(
        x, y, color=style.colour, linestyle=style.dashes, linewidth=1.5, marker=style.marker,
        markersize=5, markerfacecolor="white", markeredgewidth=1.3, label=label, clip_on=False, zorder=3,
    )  # fmt: skip


def _of(cells: Cells, **values: Any) -> Cells:
    return [cell for cell in cells if all(cell[name] == value for name, value in values.items())]

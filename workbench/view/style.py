"""The look of every figure, set on each artist: the settings of whoever calls, and other threads, are left alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

INK, GREY, FAINT = "#222222", "#6b6b6b", "#dddddd"
WARNING = "#b00020"

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 10.5, 9.0, 8.0
"""Sizes of text in points."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
_DASHES: tuple[Any, ...] = ("solid", (0, (3.0, 1.6)), (0, (1.0, 1.2)), (0, (5.0, 1.5, 1.0, 1.5)))
_WIDTHS = (2.6, 1.5)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class RunStyle:
    """How the curves of one run are drawn."""

    colour: str
    dashes: Any
    width: float
    """In points. The first run is drawn wide and the others narrow and dashed on top, so equal curves are all seen."""
    marker: str


def run_style(index: int) -> RunStyle:
    """Style of the run at a place in the list; no two of the first 28 are alike."""
    return RunStyle(
        _COLOURS[index % len(_COLOURS)],
        _DASHES[index % len(_DASHES)],
        _WIDTHS[min(index, 1)],
        _MARKERS[index % len(_MARKERS)],
    )


def style_axes(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Title, labels, few ticks, a light grid, and no box."""
    axes.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK)
    axes.set_xlabel(xlabel, fontsize=TEXT_SIZE, color=GREY, labelpad=2)
    axes.set_ylabel(ylabel, fontsize=TEXT_SIZE, color=GREY, labelpad=3)
    axes.tick_params(labelsize=SMALL_SIZE, color=GREY, labelcolor=INK, length=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    few_ticks(axes.yaxis)
    axes.grid(True, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


def few_ticks(axis: Any) -> None:
    """At most five ticks at round numbers."""
    axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))


def log_ticks(axis: Any, decades: float) -> None:
    """Few ticks for a logarithmic axis that spans so many decades, with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0), numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())

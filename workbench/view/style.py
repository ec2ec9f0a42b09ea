"""The look of every figure, on the screen and in print.

Most of it is set on each artist. What matplotlib takes from its settings is set while a figure is made or saved, by
:func:`own_settings`: a figure looks the same whatever settings and style sheets its caller uses.
"""

import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter, StrMethodFormatter

from workbench.runs.sentences import beside

INK, GREY, FAINT = "#222222", "#6b6b6b", "#dddddd"
WARNING = "#b00020"
# Around text and lines that lie over others.
HALO = [withStroke(linewidth=2.5, foreground="white")]


@dataclass(frozen=True)
class Sizes:
    """Sizes of text, in points, and how wide lines are compared to those on the screen."""

    title: float
    text: float
    small: float
    line: float


SCREEN = Sizes(title=10.5, text=9.0, small=8.0, line=1.0)
# For figures that are printed at the size they are drawn in: text as large as that of a caption.
PRINT = Sizes(title=8.0, text=7.0, small=6.5, line=0.58)
# Widths of printed figures in inches: one column of a two-column page, or the whole page.
COLUMN_WIDTHS = {"single": 3.4, "double": 7.0}
# Dots per inch of a printed figure's PNG.
PRINT_DPI = 300
# What is set beside matplotlib's own defaults while a figure is drawn and saved, how a legend above axes looks, and how
# runs do, as ``style.toml`` says.
SETTINGS, LEGEND, _RUNS = (beside(__file__)[part] for part in ("settings", "legend", "runs"))

# How many runs look different; more are not drawn.
MOST_STYLES = len(_RUNS["colours"]) * len(_RUNS["dashes"])


@dataclass(frozen=True)
class RunStyle:
    """How the curves of one run are drawn.

    Attributes:
        width: In points. The first run is drawn wide and the others narrow and dashed on top, so equal curves are all
            seen.
        hatch: Pattern of its bars.
    """

    colour: str
    dashes: Any
    width: float
    marker: str
    hatch: str


def run_style(index: int) -> RunStyle:
    """Style of the run at a place in the list; no two of the first :data:`MOST_STYLES` are alike."""
    colour, dashes, marker = (_RUNS[look][index % len(_RUNS[look])] for look in ("colours", "dashes", "markers"))
    hatch = _RUNS["hatches"][(index + index // len(_RUNS["colours"])) % len(_RUNS["hatches"])]
    return RunStyle(colour, (0, tuple(dashes)) if dashes else "solid", _RUNS["widths"][min(index, 1)], marker, hatch)


def style_axes(axes: Axes, title: str, xlabel: str, ylabel: str, sizes: Sizes = SCREEN) -> None:
    """Title, labels, few ticks and a light grid; that there is no box is among :data:`SETTINGS`."""
    axes.set_title(title, loc="left", fontsize=sizes.title, color=INK)
    axes.set_xlabel(xlabel, fontsize=sizes.text, color=GREY, labelpad=2)
    axes.set_ylabel(ylabel, fontsize=sizes.text, color=GREY, labelpad=3)
    axes.tick_params(labelsize=sizes.small, color=GREY, labelcolor=INK, length=3, width=0.8 * sizes.line)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    few_ticks(axes.yaxis)
    axes.grid(True, color=FAINT, linewidth=0.7 * sizes.line)
    axes.spines[:].set(color=GREY, linewidth=0.8 * sizes.line)


def fitted(labels: Sequence[str], width: float, points: float, most: int = MOST_STYLES) -> tuple[list[str], int, float]:
    """The labels of a legend, wrapped to its width; how many columns it has, and how high it is, in inches.

    Args:
        labels: one or more.
        width: of the legend, in inches.
        points: size of its letters.
        most: columns.
    """
    letter, key = 0.6 * points / 72, 0.6  # inches, as of a mean letter of the font, and of what stands before a label
    wrapped = [textwrap.fill(label, max(12, int((width - key) / letter))) for label in labels]
    longest = max(len(line) for label in wrapped for line in label.split("\n"))
    columns = max(1, min(len(labels), most, int(width / (longest * letter + key))))
    lines = np.array_split([label.count("\n") + 1.4 for label in wrapped], columns)
    return wrapped, columns, max(map(sum, lines)) * 1.25 * points / 72


def legend_above(
    figure: Figure, handles: Sequence[Any], columns: int, sizes: Sizes = SCREEN, labels: Sequence[str] | None = None
) -> None:
    """One legend above all axes of a figure with a constrained layout; its labels are the handles' own if not given."""
    figure.legend(handles=list(handles), labels=labels, ncols=columns, fontsize=sizes.text, **LEGEND)


def reference_lines(axes: Axes, known: Sequence[tuple[float, str]], sizes: Sizes = SCREEN) -> None:
    """A dotted line at each value to compare curves with, lowest first, named where learning curves leave room."""
    halo = [withStroke(linewidth=2.5 * sizes.line, foreground="white")]
    for place, (value, name) in enumerate(known):
        left, below = place == len(known) - 1, place == 0
        axes.axhline(value, color=GREY, linewidth=0.9 * sizes.line, linestyle=(0, (1.5, 2.0)), zorder=1)
        axes.annotate(
            name, (0.0 if left else 1.0, value), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            xytext=(2 if left else -2, -2 if below else 2), ha="left" if left else "right",
            va="top" if below else "bottom", fontsize=sizes.small, color=GREY, path_effects=halo, zorder=9,
        )  # fmt: skip


# Held while anything is drawn: matplotlib's settings are one for all threads, and every panel has one.
DRAWING = threading.RLock()


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw and save with the project's settings, whatever those of the caller; a decorator too."""
    with DRAWING, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def few_ticks(axis: Any, most: int = 4) -> None:
    """Ticks at round numbers, so few that they bound at most this many intervals; as plain numbers."""
    axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ScalarFormatter(useOffset=False))


def log_ticks(axis: Any, decades: float) -> None:
    """Few ticks for a logarithmic axis that spans a number of decades, with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0), numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())

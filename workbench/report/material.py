"""What every figure of a report is drawn from, and what every figure is: a picture, a caption and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from workbench.report.intervals import LEVEL, MIN_RUNS, RESAMPLES
from workbench.report.selection import Group, ReportError, Selection
from workbench.runs.table import Table
from workbench.view.picture import Picture
from workbench.view.style import COLUMN_WIDTHS, PRINT, legend_above, print_settings, run_style, style_axes

# Width of a figure: one column of a two-column page, or the whole page.
Columns = Literal["single", "double"]


@dataclass(frozen=True)
class Material:
    """What the figures of one report may draw.

    Attributes:
        bands: Whether intervals over seeds are drawn; they need several.
        smoothing: Window of the moving average over what is noisy, as a share of a run's length.
        matrix: What ``python -m tests.campaigns.matrix`` wrote.
        bench: What ``python -m tests.campaigns.bench`` wrote.
        last: Seconds that a timeline shows; None for a few epochs.
        until: Where they end, in seconds since the start.
    """

    selection: Selection
    columns: Columns = "double"
    bands: bool = True
    smoothing: float = 0.05
    matrix: Mapping[str, Any] | None = None
    bench: Mapping[str, Any] | None = None
    last: float | None = None
    until: float | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of runs."""
        return self.selection.groups

    @property
    def width(self) -> float:
        """Width of a figure in inches."""
        return COLUMN_WIDTHS[self.columns]

    @property
    def normalised(self) -> bool:
        """Whether worlds are pooled, so that rewards must be put on one scale: random 0, scripted 1."""
        return any(name.startswith("world.") for name in self.selection.pooled)


@dataclass(frozen=True)
class ReportFigure:
    """One figure of a report.

    Attributes:
        caption: What is drawn, from which runs, with which settings, and the numbers.
        table: The numbers of the figure.
        of_runs: Whether it is about the runs, so that its caption ends with their settings and origin.
    """

    picture: Picture
    caption: str
    table: Table
    of_runs: bool = True

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        with print_settings():
            return self.picture._repr_png_()

    def __repr__(self) -> str:
        return f"<ReportFigure: {self.caption.partition('. ')[0]}>"


def new_picture(material: Material, height: float) -> Picture:
    """An empty figure of the report's width.

    Args:
        material: says how wide it is.
        height: in inches.
    """
    return Picture(figsize=(material.width, height), dpi=150, facecolor="white", layout="constrained")


def panels(material: Material, height: float, labels: Sequence[tuple[str, str, str]]) -> tuple[Picture, list[Axes]]:
    """A figure of some axes: beside each other on a wide page, below each other in a column.

    Args:
        material: says how wide it is.
        height: of one panel, in inches.
        labels: of each panel: its title, which gets a letter if there are several, and those of the x and the y axis.
    """
    rows, columns = (len(labels), 1) if material.columns == "single" else (1, len(labels))
    picture = new_picture(material, 0.35 + height * rows)
    all_axes: list[Axes] = list(picture.subplots(rows, columns, squeeze=False).ravel())
    for place, (axes, (title, xlabel, ylabel)) in enumerate(zip(all_axes, labels, strict=True)):
        style_axes(axes, panel_title(place, len(labels), title), xlabel, ylabel, PRINT)
    return picture, all_axes


def panel_title(place: int, count: int, text: str) -> str:
    """The title of a panel, with its letter if there are several."""
    return f"({chr(ord('a') + place)}) {text}" if count > 1 else text


def add_legend(picture: Picture, material: Material, key: Callable[[int, str], Artist]) -> None:
    """One legend above all panels.

    Args:
        picture: the figure.
        material: whose groups it names.
        key: makes the key of a group, given its place and label.
    """
    labels = [group.label for group in material.groups]
    longest = max(map(len, labels)) * 0.058 + 0.6  # inches
    columns = max(1, min(len(labels), int(material.width / longest)))
    legend_above(picture, [key(index, label) for index, label in enumerate(labels)], columns, PRINT)


def line_look(index: int) -> dict[str, Any]:
    """How the line of a group is drawn in print."""
    style = run_style(index)
    return {"color": style.colour, "linestyle": style.dashes, "linewidth": style.width * PRINT.line}


def bar_look(index: int) -> dict[str, Any]:
    """How the bars of a group are drawn: full where there is no hatch, white below one."""
    style = run_style(index)
    face = "white" if style.hatch else style.colour
    return {"facecolor": face, "hatch": style.hatch, "edgecolor": style.colour, "linewidth": 0.6}


def require_seeds(name: str, groups: tuple[Group, ...]) -> None:
    """Refuse an interval over too few seeds.

    Raises:
        ReportError: it names the figure, the group, its seeds and the remedy.
    """
    for group in groups:
        if len(group.runs) < MIN_RUNS:
            seeds = ", ".join(map(str, group.seeds))
            raise ReportError(
                f"figure {name} needs at least {MIN_RUNS} seeds of each group for its {100 * LEVEL:.0f} % bands; "
                f"{group.label} has {len(group.runs)} (seed {seeds}). Add runs with other seeds (`workbench run "
                f"--seed N`), or draw without bands (--no-bands, bands=False)"
            )


def group_sentence(groups: tuple[Group, ...]) -> str:
    """Which runs are drawn: each group with its seeds."""
    named = [
        f"{group.label} (seeds {', '.join(map(str, group.seeds))}; {len(group.runs)} run{'s' * (len(group.runs) > 1)})"
        for group in groups
    ]
    return f"Groups: {'; '.join(named)}."


def band_sentence(material: Material) -> str:
    """What line and band are."""
    if not material.bands:
        return "Lines are interquartile means over the runs of a group; no intervals are drawn."
    pooled = f" Strata: {', '.join(material.selection.pooled)}." if material.selection.pooled else ""
    return (
        f"Lines are interquartile means over the runs of a group; bands are {100 * LEVEL:.0f} % intervals by "
        f"stratified bootstrap over seeds (percentile, {RESAMPLES:,} resamples, resampling seed 0; Agarwal et al. "
        f"2021), which are too narrow where seeds are few.{pooled}"
    )

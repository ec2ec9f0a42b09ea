"""What every figure of a report is drawn from, and what every figure is: a picture, a caption and a table."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes

from workbench.report.intervals import ENOUGH_RUNS, LEVEL, RESAMPLES
from workbench.report.selection import Group, Selection, demand
from workbench.report.sentences import said
from workbench.runs.statistics import listed
from workbench.runs.table import Table
from workbench.view.picture import Picture
from workbench.view.sentences import counted
from workbench.view.style import COLUMN_WIDTHS, MOST_STYLES, PRINT, fitted, legend_above, run_style, style_axes

# Width of a figure: one column of a two-column page, or the whole page.
Columns = Literal["single", "double"]
# Height of a page of text in inches.
PAGE = 9.5
# Letters of a line of a row's name, beside a figure of each width.
ROW_LETTERS: dict[Columns, int] = {"single": 26, "double": 46}


@dataclass(frozen=True)
class Material:
    """What the figures of one report may draw.

    Attributes:
        bands: Whether intervals over seeds are drawn where there are seeds enough.
        curve_bands: Whether curves have them, for which every group must have seeds enough.
        smoothing: Window of the moving average over what is noisy, as a share of a run's length.
        matrix: What ``python -m tests.campaigns.matrix`` wrote.
        last: Seconds that a timeline shows; None for a few epochs.
        until: Where they end, in seconds since the start.
    """

    selection: Selection
    columns: Columns = "double"
    bands: bool = True
    curve_bands: bool = True
    smoothing: float = 0.05
    matrix: Mapping[str, Any] | None = None
    last: float | None = None
    until: float | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of runs."""
        return self.selection.groups

    @property
    def normalised(self) -> bool:
        """Whether worlds are pooled, so that rewards must be put on one scale: random 0, scripted 1."""
        return any(name.startswith("world.") for name in self.selection.pooled)

    @property
    def band_sentence(self) -> str:
        """What line and band are."""
        counts = [len(group.runs) for group in self.groups]
        few, many = min(counts) < ENOUGH_RUNS, max(counts) >= ENOUGH_RUNS
        kinds = [kind + " with bands" * self.curve_bands for kind, there in (("many", many), ("few", few)) if there]
        lines = "; or ".join(said(f"bands.{kind}", level=100 * LEVEL, resamples=RESAMPLES) for kind in kinds)
        mixed = said("bands.mixed", enough=ENOUGH_RUNS) if few and many else ""
        pooled = self.curve_bands and self.selection.pooled
        strata = said("bands.strata", pooled=", ".join(self.selection.pooled)) if pooled else ""
        return f"Lines are {lines}{mixed}{'' if self.curve_bands else '; no intervals are drawn'}.{strata}"

    def row_names(self, labels: Sequence[str]) -> list[str]:
        """The labels of rows, of long ones only what differs, wrapped to less than half of the figure's width."""
        width = ROW_LETTERS[self.columns]
        names = what_differs(labels) if len(labels) > 1 and max(map(len, labels)) > width else labels
        return [textwrap.fill(name, width) for name in names]


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
        return self.picture._repr_png_()

    def __repr__(self) -> str:
        return f"<ReportFigure: {self.caption.partition('. ')[0]}>"


def new_picture(columns: Columns, height: float) -> Picture:
    """An empty figure.

    Args:
        columns: says how wide it is.
        height: in inches.
    """
    return Picture(figsize=(COLUMN_WIDTHS[columns], height), dpi=150, layout="constrained")


def panels(material: Material, height: float, labels: Sequence[tuple[str, str, str]]) -> tuple[Picture, list[Axes]]:
    """A figure of some axes: beside each other on a wide page, below each other in a column.

    Args:
        material: says how wide it is.
        height: of one panel, in inches.
        labels: of each panel: its title, which gets a letter if there are several, and those of the x and the y axis.
    """
    rows, columns = (len(labels), 1) if material.columns == "single" else (1, len(labels))
    picture = new_picture(material.columns, 0.35 + height * rows)
    all_axes: list[Axes] = list(picture.subplots(rows, columns, squeeze=False).ravel())
    for place, (axes, (title, xlabel, ylabel)) in enumerate(zip(all_axes, labels, strict=True)):
        style_axes(axes, panel_title(place, len(labels), title), xlabel, ylabel, PRINT)
    return picture, all_axes


def row_height(names: Sequence[str], least: float) -> float:
    """Height of a row in inches, so that each has room for its name.

    Raises:
        ReportError: the rows do not fit on a page.
    """
    height = max(least, *(0.06 + 0.13 * (1 + name.count("\n")) for name in names))
    fit = int((PAGE - 1) / height)
    demand(len(names) <= fit, said("bands.crowded", count=len(names), fit=fit))
    return height


def panel_title(place: int, count: int, text: str) -> str:
    """The title of a panel, with its letter if there are several."""
    return f"({chr(ord('a') + place)}) {text}" if count > 1 else text


def add_legend(picture: Picture) -> None:
    """One legend above all panels, of what has a label in the first of them; the figure grows by what it needs."""
    handles, labels = picture.axes[0].get_legend_handles_labels()
    wrapped, columns, height = fitted(labels, picture.get_figwidth(), PRINT.text)
    if height > 0.6:
        wrapped, columns, height = fitted(what_differs(labels), picture.get_figwidth(), PRINT.text)
    grown = picture.get_figheight() + max(0.0, height - 0.35)
    fit = min(MOST_STYLES, int(len(labels) * (PAGE - grown + height) / height))
    demand(len(labels) <= fit, said("bands.crowded", count=len(labels), fit=fit))
    picture.set_figheight(grown)
    legend_above(picture, handles, columns, PRINT, wrapped)


def what_differs(labels: Sequence[str]) -> list[str]:
    """The labels of groups without what is in all of them, and settings without the names of their groups."""
    parts = [re.sub(r"[\w.]+\.(?=\w+ = )", "", label).split(", ") for label in labels]
    common = set(parts[0]).intersection(*parts[1:]) if len(parts) > 1 else set()
    return [", ".join(each for each in part if each not in common) or parts[0][0] for part in parts]


def line_look(index: int) -> dict[str, Any]:
    """How the line of a group is drawn in print."""
    style = run_style(index)
    return {"color": style.colour, "linestyle": style.dashes, "linewidth": style.width * PRINT.line}


def bar_look(index: int) -> dict[str, Any]:
    """How the bars of a group are drawn: full where there is no hatch, white below one."""
    style = run_style(index)
    face = "white" if style.hatch else style.colour
    return {"facecolor": face, "hatch": style.hatch, "edgecolor": style.colour, "linewidth": 0.6}


def group_sentence(groups: tuple[Group, ...]) -> str:
    """Which runs are drawn: each group with its seeds."""
    named = [f"{group.label} (seeds {listed(group.seeds)}; {counted(len(group.runs), 'run')})" for group in groups]
    return f"Groups: {'; '.join(named)}."

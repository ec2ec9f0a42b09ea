"""What every figure of a report is drawn from, and what every figure is: a picture, a caption and a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.report.intervals import LEVEL, MIN_RUNS, RESAMPLES
from workbench.report.selection import Group, ReportError, Selection
from workbench.runs.table import Table
from workbench.view.picture import Picture
from workbench.view.style import COLUMN_WIDTHS, INK, PRINT, print_settings, run_style

Columns = Literal["single", "double"]
"""Width of a figure: one column of a two-column page, or the whole page."""


@dataclass(frozen=True)
class Material:
    """What the figures of one report may draw."""

    selection: Selection
    columns: Columns = "double"
    bands: bool = True
    """Whether intervals over seeds are drawn; they need several."""
    smoothing: float = 0.05
    """Window of the moving average over what is noisy, as a share of a run's length."""
    matrix: Mapping[str, Any] | None = None
    """What ``python -m tests.campaigns.matrix`` wrote."""
    bench: Mapping[str, Any] | None = None
    """What ``python -m tests.campaigns.bench`` wrote."""
    last: float | None = None
    """Seconds that a timeline shows; None for a few epochs."""
    until: float | None = None
    """Where they end, in seconds since the start."""

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
    """One figure of a report."""

    picture: Picture
    caption: str
    """What is drawn, from which runs, with which settings, and the numbers."""
    table: Table
    """The numbers of the figure."""

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


def panels(material: Material, picture: Picture, count: int) -> list[Any]:
    """Axes beside each other on a wide page, below each other in a column."""
    rows, columns = (count, 1) if material.columns == "single" else (1, count)
    return list(picture.subplots(rows, columns, squeeze=False).ravel())


def panel_title(place: int, count: int, text: str) -> str:
    """The title of a panel, with its letter if there are several."""
    return f"({chr(ord('a') + place)}) {text}" if count > 1 else text


def add_legend(picture: Picture, handles: list[Any], columns: int) -> None:
    """One legend above all panels."""
    picture.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=PRINT.text, labelcolor=INK,
        handlelength=3.0, columnspacing=1.6, borderaxespad=0.2, borderpad=0.1,
    )  # fmt: skip


def legend_columns(material: Material, labels: list[str]) -> int:
    """Labels beside each other that a figure has room for."""
    longest = max(map(len, labels)) * 0.058 + 0.6  # inches
    return max(1, min(len(labels), int(material.width / longest)))


def printed(index: int) -> dict[str, Any]:
    """How the line of a group is drawn in print."""
    style = run_style(index)
    return {"color": style.colour, "linestyle": style.dashes, "linewidth": style.width * PRINT.line}


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
    named = [f"{group.label} (seeds {', '.join(map(str, group.seeds))}; {_runs(group)})" for group in groups]
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


def _runs(group: Group) -> str:
    return "1 run" if len(group.runs) == 1 else f"{len(group.runs)} runs"

"""What several processes gain: wall time of the sequential runs over that of the others, with what is ideal.

Ideal is one core's work for each process that can work at the same time, as far as the machine has cores: the learners
at lag 0, the learners and the actor at any other lag.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from workbench.report.intervals import ENOUGH_RUNS, Estimate, estimate, interval
from workbench.report.material import Material, ReportFigure, bar_look, panels, row_height
from workbench.report.selection import Group, demand
from workbench.report.sentences import said
from workbench.runs.loaded import LoadedRun
from workbench.runs.sentences import beside
from workbench.runs.table import Table, number
from workbench.view.style import GREY, INK, PRINT, few_ticks

HEAD = ("runs", "baseline", "speed-up", "ideal", "share of ideal", "median wall time, s", "baseline's, s", "pairs")
# How each part of the figure is drawn, as ``speedup.toml`` says.
LOOKS: dict[str, dict[str, Any]] = beside(__file__)


@dataclass(frozen=True)
class Bar:
    """One speed-up.

    Attributes:
        single: Each pair of runs.
        wall_s: Medians of the wall times, its own and the baseline's.
        style: Place of the group in the report, which has the same style in every figure.
    """

    label: str
    baseline: str
    found: Estimate
    single: tuple[float, ...]
    ideal: float
    wall_s: tuple[float, float]
    style: int


def speedup(material: Material) -> ReportFigure:
    """Speed-up of every group that has a sequential baseline.

    Raises:
        ReportError: no group has a baseline of the same settings.
    """
    bars = bars_of_runs(material)
    demand(len(bars) > 0, said("speedup.none", found="; ".join(group.label for group in material.groups)))
    narrow = material.columns == "single"
    names = _names(bars, material, "\n" if narrow else " ")
    height = 0.37 + row_height(names, 0.40 if narrow else 0.31) * len(bars)
    picture, (axes,) = panels(material, height, [("", "", "")])
    _draw(axes, bars, names)
    ends = [end for bar in bars for end in (bar.ideal, bar.found.value, bar.found.high, *bar.single)]
    axes.set_xlim(0, 1.12 * np.nanmax(ends))
    few_ticks(axes.xaxis, 6)
    axes.set_xlabel(said("speedup.axis"), fontsize=PRINT.text, color=GREY, loc="right" if narrow else "center")
    told = "; ".join(said("speedup.bar", bar=bar, found=interval(bar.found), ideal=number(bar.ideal)) for bar in bars)
    caption = said("speedup.caption") + said("speedup.bars" + " with bands" * material.bands, enough=ENOUGH_RUNS)
    picture.alt = f"Bars of speed-up with the ideal: {told}."
    return ReportFigure(picture, f"{caption} {told}.", Table(HEAD, tuple(map(_row, bars))))


def bars_of_runs(material: Material) -> list[Bar]:
    """A bar for each multiprocess group that has a baseline, over the seeds that both have."""
    bars = []
    for place, group in enumerate(material.groups):
        baseline = _baseline(group, material.groups)
        if baseline is not None and (walls := _pairs(group, baseline)):
            ratios = [its / own for own, its in walls]
            ideal, found = min(ideal_of(run) for run in group.runs), estimate(ratios, bands=material.bands)
            medians = tuple(np.median(walls, axis=0).tolist())
            bars.append(Bar(group.label, baseline.label, found, tuple(ratios), ideal, medians, place))
    return bars


def ideal_of(run: LoadedRun) -> float:
    """Processes of a run that can work at the same time on the cores of its machine."""
    cores, agents = int(run.description["machine"]["cores"]), run.config.num_agents
    learners = min(agents, cores) if run.config.processes.learners == "auto" else run.config.num_learners
    return float(min(cores, learners + (run.lag != 0)))


def _baseline(group: Group, groups: tuple[Group, ...]) -> Group | None:
    """The sequential group of the same faults and settings: of the same lag, else of the smallest."""
    own = group.first
    if own.mode == "sequential":
        return None
    alike = [each for each in groups if each.first.mode == "sequential" and _work(each) == _work(group)]
    return min(alike, key=lambda each: (each.first.lag != own.lag, each.first.lag or 0), default=None)


def _work(group: Group) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Faults, and settings that say what is computed, not by how many processes."""
    settings = {name: value for name, value in group.settings.items() if not name.startswith("processes.")}
    return group.first.faults, settings


def _pairs(group: Group, baseline: Group) -> list[tuple[float, float]]:
    """Wall times of the runs of both groups that are of the same task and seed."""
    own, its = ({_which(run): run.result.wall_s for run in each.runs} for each in (group, baseline))
    return [(own[which], its[which]) for which in sorted(own) if which in its]


def _which(run: LoadedRun) -> tuple[str, int]:
    return run.config.replace(seed=0, processes={"learners": "per_agent", "threads": 1}).to_json(), run.config.seed


def _draw(axes: Axes, bars: list[Bar], names: list[str]) -> None:
    thick = 0.58
    for row, bar in enumerate(bars):
        value = bar.found.value
        ends = [[value - bar.found.low], [bar.found.high - value]]  # nan where there is no interval
        axes.barh(row, value, thick, xerr=ends, error_kw=LOOKS["whiskers"], zorder=3, **bar_look(bar.style))
        if len(bar.single) > 1:
            axes.plot(bar.single, np.full(len(bar.single), row + 0.5 * thick - 0.1), **LOOKS["pairs"])
        axes.vlines(bar.ideal, row - 0.5, row + 0.5, color=INK, linewidth=1.1, linestyle=(0, (4, 1.5)), zorder=4)
        axes.text(0.03, row, f"{value:.2f}", fontsize=PRINT.small, **LOOKS["value"])
    axes.annotate("ideal", (bars[0].ideal, -0.5), fontsize=PRINT.small, **LOOKS["ideal"])
    axes.axvline(1.0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), names)
    axes.tick_params(axis="y", length=0, labelsize=PRINT.small)
    axes.grid(False, axis="y")


def _names(bars: list[Bar], material: Material, between: str) -> list[str]:
    """Of each bar its runs and its baseline, which has the same settings."""
    told = zip(material.row_names([_short(bar.label) for bar in bars]), bars, strict=True)
    return [f"{own}{between}/ {_short(', '.join(bar.baseline.split(', ')[:2]))}" for own, bar in told]


def _short(label: str) -> str:
    return label.replace("multiprocess, ", "").replace("sequential", "seq.")


def _row(bar: Bar) -> tuple[str, ...]:
    share, walls = f"{100 * bar.found.value / bar.ideal:.0f} %", map(number, bar.wall_s)
    return bar.label, bar.baseline, interval(bar.found), number(bar.ideal), share, *walls, str(len(bar.single))

"""Curves over seeds: rewards against agent steps and wall time, and loss and Q-values against updates."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from workbench.report.intervals import ENOUGH_RUNS, LEVEL, MIN_RUNS, Estimate, have_interval, interval, middle_and_ends
from workbench.report.material import Material, ReportFigure, add_legend, group_sentence, line_look, panels
from workbench.report.selection import Group, demand
from workbench.report.sentences import said
from workbench.runs.loaded import LoadedRun
from workbench.runs.metrics import METRICS
from workbench.runs.statistics import listed
from workbench.runs.table import Table, number
from workbench.view.curves import moving_average
from workbench.view.figures import references
from workbench.view.panel.charts import Chart, Curve, charts_of
from workbench.view.style import PRINT, few_ticks, reference_lines, run_style

# Points of a drawn curve.
POINTS = 200
# Where on the x axis the table gives numbers, beside its end.
SHARES = (0.25, 0.5, 0.75)
# Height of a panel in inches.
HEIGHT = 2.05
# A curve of so few points has a mark on each; any other has five, at other places than those of the next group.
FEW = 30
# Marks on a line, which tell groups apart in grey.
MARKS: dict[str, Any] = {"markersize": 2.8, "markeredgewidth": 0.6, "markerfacecolor": "white"}

Array = NDArray[np.float64]


X_LABELS = {"agent_steps": "agent steps, all agents", "time": "wall time, s", "update": "updates of each agent"}
X_NAMES = {"agent_steps": "agent steps", "time": "wall time", "update": "updates"}
HEAD = ("group", "curve", "over", "at", "value", "runs")


def greedy_reward(material: Material) -> ReportFigure:
    """Reward of greedy epochs against agent steps and against wall time."""
    return _reward("greedy_reward", "Greedy reward", material)


def reward(material: Material) -> ReportFigure:
    """Reward while exploring against agent steps and against wall time."""
    return _reward("reward", "Reward while exploring", material)


def loss_and_q(material: Material) -> ReportFigure:
    """Loss, and mean and largest Q-value, against updates."""
    known = charts_of(material.selection.runs)
    return draw("loss_and_q", said("curves.loss"), [known["loss"], known["q"]], material)


def _reward(name: str, title: str, material: Material) -> ReportFigure:
    unit = "normalised reward" if material.normalised else "reward per epoch"
    curves = (Curve(f"charts/{name}", noisy=name == "reward"),)
    titles = {over: f"{title} over {X_NAMES[over]}" for over in ("agent_steps", "time")}
    shown = [Chart(text, unit, curves, references=True, over=over) for over, text in titles.items()]
    scale = said("curves.normalised") if material.normalised else "summed over the agents"
    return draw(name, said("curves.reward", title=title, scale=scale), shown, material)


def draw(name: str, opening: str, shown: Sequence[Chart], material: Material) -> ReportFigure:
    """A figure of panels, one line and band per group and curve.

    Args:
        name: of the figure, for messages.
        opening: first sentence of the caption.
        shown: what each panel shows.
        material: what there is to draw.

    Raises:
        ReportError: a curve was not recorded, or a group has too few seeds for bands.
    """
    groups, rows, ends, notes = material.groups, list[tuple[str, ...]](), list[str](), set[str]()
    curves = [curve for chart in shown for curve in chart.curves]
    _require(name, curves, material)
    picture, all_axes = panels(material, HEIGHT, [(chart.title, X_LABELS[chart.over], chart.unit) for chart in shown])
    for axes, chart in zip(all_axes, shown, strict=True):
        for index, group in enumerate(groups):
            for curve in chart.curves:
                x, found, note = estimates_of(group, curve, chart.over, material)
                notes |= note
                _draw(axes, index, x, found, group.label, curve.weight)
                rows += _rows(group, curve, chart.over, x, found)
                ends.append(said("curves.end", row=rows[-1]))
        axes.set_xlim(left=0)
        axes.margins(y=0.08)
        if chart.over == "time":
            few_ticks(axes.xaxis)
        if chart.references:  # none where the runs are of several worlds, unless these have one scale
            known = [(0.0, "random"), (1.0, "scripted")] if material.normalised else references(material.selection.runs)
            reference_lines(axes, [(mean, name.replace("_", " ")) for mean, name in known], PRINT)
    add_legend(picture)
    at_the_end = f"At the end: {'; '.join(ends)}."
    noisy = any(curve.noisy for curve in curves) and material.smoothing > 0
    smooth = [said("curves.smooth", percent=100 * material.smoothing)] if noisy else []
    caption = [opening, group_sentence(groups), material.band_sentence, *smooth, *sorted(notes), at_the_end]
    picture.alt = f"{opening} {', '.join(group.label for group in groups)}. {at_the_end}"
    return ReportFigure(picture, " ".join(caption), Table(HEAD, tuple(rows)))


def estimates_of(group: Group, curve: Curve, over: str, material: Material) -> tuple[Array, Array, set[str]]:
    """What a group's runs say of a curve on one x axis, see :func:`aligned`.

    Returns:
        (points,) x; (3, points) the middle and both ends of its interval, see :func:`middle_and_ends`; and what the
        caption must say.
    """
    found = [_series(run, curve, over, material) for run in group.runs]
    pairs, axis = zip(group.runs, found, strict=True), group.runs[0].history.schema.axis(curve.metric)
    lost = [f"seed {run.config.seed} not from {axis} {bad} on" for run, (*_, bad) in pairs if bad is not None]
    about = {"finite": len(found) - len(lost), "count": len(found), "lost": ", ".join(lost[:3])}
    notes = {said("curves.not finite", **about)} if lost else set()
    x, y = aligned([(x, y) for x, y, _ in found], hold=over == "time")
    if not all(np.array_equal(own, x) for own, _, _ in found):
        notes.add(said("curves.held") if over == "time" else said("curves.cut"))
    return x, np.stack(middle_and_ends(y, group.strata, material.curve_bands)), notes


def wall_time(run: LoadedRun, times: Array) -> Array:
    """Wall time at some times, in seconds since 1970: what has passed since the ready barrier opened.

    From the end of a life of the run to its resumption nothing passes, as in the wall time of the result.
    """
    records = np.sort(np.concatenate([run.history.updates["time"], run.history.epochs["time"]]))
    passed: Array = times - records.max(initial=0) + run.result.wall_s
    for resumed in run.description.get("resumed", ()):
        place = np.searchsorted(records, when := resumed.get("time", 0.0))
        if 0 < place < len(records):
            passed[times < when] += records[place] - records[place - 1]
    return passed


def _series(run: LoadedRun, curve: Curve, over: str, material: Material) -> tuple[Array, Array, int | None]:
    """One run's curve, and the first update or epoch with a value that is not finite; None if all are."""
    points, y = run.history.series(curve.metric)
    if METRICS[curve.metric].table == "evaluations" and over == "agent_steps":
        x = (points + 1.0) * run.config.steps_per_epoch
    else:
        x = run.history.series(curve.metric, over=over)[0].astype(np.float64)
    if over == "agent_steps":
        x = x * run.config.num_agents
    elif over == "time":
        x = np.maximum.accumulate(wall_time(run, x))
    if material.normalised and curve.metric in ("charts/reward", "charts/greedy_reward"):
        low, high = _scale(run)
        y = (y - low) / (high - low)
    bad = next(iter(points[~np.isfinite(y)].tolist()), None)
    if curve.noisy:
        x, y = moving_average(x, y, round(material.smoothing * len(y)), POINTS)
    return x, y, bad


def _scale(run: LoadedRun) -> tuple[float, float]:
    """Rewards of the random and of the scripted policy in a run's world, which become 0 and 1."""
    low, high = (run.references.get(name, {}).get("mean", float("nan")) for name in ("random", "scripted"))
    demand(0 < abs(high - low) < float("inf"), said("curves.scale", run=run.name, low=low, high=high))
    return low, high


def aligned(curves: Sequence[tuple[Array, Array]], hold: bool) -> tuple[Array, Array]:
    """Curves on one x.

    Curves with the same x keep it. Others are interpolated linearly on evenly spread points, from where the last of
    them begins to where the first of them ends, or to where the last one ends.

    Args:
        curves: x and y of each, x in order.
        hold: whether a curve keeps its last value beyond its end, as a run does that has finished; else all are cut.

    Returns:
        (points,) and (runs, points).
    """
    first = np.asarray(curves[0][0], np.float64)
    if all(np.array_equal(x, first) for x, _ in curves):
        return first, np.stack([y for _, y in curves])
    low, ends = max(x[0] for x, _ in curves), [x[-1] for x, _ in curves]
    grid: Array = np.linspace(low, max(low, max(ends) if hold else min(ends)), POINTS)
    return grid, np.stack([np.interp(grid, x, y) for x, y in curves])


def _draw(axes: Axes, index: int, x: Array, found: Array, label: str, weight: float) -> None:
    style, count, (middle, low, high) = run_style(index), len(x), found
    marks = range(count) if count <= FEW else range(count * (2 + index % 5) // 25, count, count // 5)
    look = line_look(index) | MARKS | {"marker": style.marker, "markevery": list(marks)}
    look["linewidth"] *= weight
    axes.plot(x, middle, label=label, zorder=3 + index, **look)
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=style.colour, alpha=0.16, linewidth=0, zorder=2)
        for edge in (low, high):  # seen where bands overlap, and in grey
            axes.plot(x, edge, color=style.colour, linewidth=0.3, alpha=0.6, zorder=2)


def _rows(group: Group, curve: Curve, over: str, x: Array, found: Array) -> list[tuple[str, ...]]:
    """The points nearest to some shares of the axis, and the last one, each once."""
    places = dict.fromkeys([*(int(np.abs(x - share * x[-1]).argmin()) for share in SHARES), len(x) - 1])
    about = group.label, curve.metric.partition("/")[2].replace("_", " "), X_NAMES[over]
    where = [f"{number(each)} s" if over == "time" else f"{each:,.0f}" for each in x[[*places]].tolist()]
    values = [interval(Estimate(*each)) for each in found.T[[*places]].tolist()]
    return [(*about, at, value, str(len(group.runs))) for at, value in zip(where, values, strict=True)]


def _require(name: str, curves: Sequence[Curve], material: Material) -> None:
    """Refuse a curve that is missing in some run, and an interval over too few seeds."""
    for curve, run in itertools.product(curves, material.selection.runs):
        count, lost = len(run.history.series(curve.metric)[0]), run.history.lost[METRICS[curve.metric].table]
        about = {"name": name, "metric": curve.metric, "run": run.name, "count": count, "lost": lost}
        demand(count >= 2, said("curves.missing", config=run.config, **about))
    about = {"name": name, "least": MIN_RUNS, "enough": ENOUGH_RUNS, "level": 100 * LEVEL}
    pooled = " pooled" * bool(material.selection.pooled)
    for group in material.groups if material.curve_bands else ():
        told = {"group": group.label, "count": len(group.runs), "seeds": listed(group.seeds)}
        demand(have_interval(group.strata), said("curves.seeds" + pooled, **about, **told))

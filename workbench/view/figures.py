"""Charts of some runs as a figure: for reports, for the last cell of a notebook, and wherever no JavaScript runs.

:mod:`.panel.charts` says what can be drawn, and :mod:`.panel.feed` has the numbers, as for the live charts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workbench.runs import machine
from workbench.runs.compare import IDENTICAL, Comparison
from workbench.runs.loaded import RunView
from workbench.runs.naming import labels
from workbench.runs.table import fixed
from workbench.view import style
from workbench.view.curves import Points, moving_average
from workbench.view.panel.charts import AXIS_LABELS, SMOOTHING, STANDARD, Agents, Axis, Chart, Choices
from workbench.view.panel.feed import Feed, Line, axis_of
from workbench.view.picture import Picture
from workbench.view.sentences import beside, counted, said
from workbench.view.style import GREY, INK, SCREEN, fitted, log_ticks, own_settings, run_style, style_axes

# Rows of a line at most; each is drawn as two points.
MOST_ROWS = 300
# Greedy evaluations drawn per run; of more, the best and the worst of as many stretches at most.
MAX_MARKS = 40
# Width of the drawing and height that each row of charts adds, in inches.
WIDTH, ROW_HEIGHT = 11.0, 2.4
# Height in inches that legend, labels and footer take.
MARGIN = 1.2
# How each part of a chart is drawn, as ``figures.toml`` says.
LOOKS: dict[str, dict[str, Any]] = beside(__file__)
REFERENCES = {"random": "random", "random_no_wall": "random, never into a wall", "scripted": "scripted: nearest gem"}


def side_by_side(
    runs: RunView | Sequence[RunView], smoothing: float = SMOOTHING, charts: Sequence[str] = STANDARD,
    over: Axis = "own", agents: Agents = "together", log: bool = False,
) -> Picture:  # fmt: skip
    """The figure of one or more runs, live or loaded, as far as they are.

    Args:
        runs: the first is drawn solid and wide, the others dashed on top, so that equal curves are all seen.
        smoothing: window of the moving averages as a share of a run's length; 0 draws what was recorded alone.
        charts: names of :data:`workbench.view.panel.charts.CHARTS`.
        over: the x axis: "epoch", "agent_steps", "update", "time", or "own" for what each chart is recorded over.
        agents: "together", "each", or the index of an agent.
        log: whether charts whose values are all above 0 have a logarithmic y axis.

    Example:
        ``wb.side_by_side([run, wb.load("NAME")])``

    Raises:
        ValueError: there are no runs, or a choice cannot be drawn; the message says which.
    """
    return draw(runs, Choices(tuple(charts), smoothing, over, agents, log))


def comparison_figure(pair: Comparison, smoothing: float = SMOOTHING) -> Picture:
    """The figure of a comparison, with a line that says whether the runs are identical and how their times compare.

    Example:
        ``wb.comparison_figure(pair).save("pair.png")``
    """
    return draw(pair.runs, Choices(smoothing=smoothing), verdict(pair))


def verdict(pair: Comparison) -> str:
    """How a comparison ended, in one line."""
    if pair.speedup is None:
        return f"Not both finished: {', '.join(f'{run.label} {run.status}' for run in pair.runs)}."
    named = zip(pair.runs, labels(pair.runs), strict=True)
    walls = ", ".join(f"{run.result.wall_s:,.1f} s {name}" for run, name in named)
    threads = pair.sequential.config.processes.threads
    about = {"threads": counted(threads, "thread"), "cores": machine.cores(), "walls": walls}
    return said("figures.verdict", pair=pair, identical=IDENTICAL[pair.identical], **about)


@own_settings()
def draw(runs: RunView | Sequence[RunView], choices: Choices, caption: str = "") -> Picture:
    """The figure of some runs as far as they are, with a line below that the caller writes.

    Raises:
        ValueError: there are no runs or too many, or none has the agent that was chosen.
    """
    feed = Feed(runs, choices, MOST_ROWS, MAX_MARKS)
    if len(feed.runs) > style.MOST_STYLES:
        raise ValueError(said("figures.many", count=len(feed.runs), most=style.MOST_STYLES))
    feed.update()
    count = len(feed.charts)
    columns = count if count <= 3 else 2 if count == 4 else 3 if count <= 9 else 4
    rows = -(-count // columns)
    averaged = choices.smoothing > 0 and any(each.noisy for chart in feed.charts for each in chart.curves)
    keys = _keys(feed, averaged)
    wrapped, columns_of_keys, legend = fitted([str(key.get_label()) for key in keys], 0.94 * WIDTH, SCREEN.text, 4)
    height = MARGIN + rows * ROW_HEIGHT + max(0.0, legend - 0.6)
    figure = Picture(figsize=(WIDTH, height))
    for place in range(count):
        _draw_chart(figure.add_subplot(rows, columns, place + 1), feed, place)
    figure.legend(handles=keys, labels=wrapped, ncols=columns_of_keys, fontsize=SCREEN.text, **LOOKS["legend"])
    note = f" Lines are moving averages over {100 * choices.smoothing:.2g} % of the run." if averaged else ""
    alone = "One line for each agent." if choices.agents == "each" else f"Agent {choices.agents} alone."
    whose = said("figures.together") if choices.agents == "together" else alone
    figure.text(0.062, 0.108 / height, whose + note, fontsize=SCREEN.small, color=GREY)
    figure.text(0.062, 0.300 / height, caption, fontsize=SCREEN.text, color=INK)
    titles = "; ".join(chart.name for chart in feed.charts)
    figure.alt = f"Charts: {titles}. Runs: {'; '.join(labels(feed.runs))}. {caption}".strip()
    top = 1 - (0.45 + 0.24 * -(-len(keys) // 4) if legend < 0.6 else 0.45 + legend) / height
    figure.subplots_adjust(0.062, 0.93 / height, right=0.985, top=top, wspace=0.26, hspace=0.45)
    return figure


def _keys(feed: Feed, averaged: bool) -> list[Line2D]:
    """What the legend explains."""
    keys = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, linewidth=look.width, label=label)
        for look, label in zip(map(run_style, range(len(feed.runs))), labels(feed.runs), strict=True)
    ]
    if feed.choices.agents == "each":
        return [*keys, Line2D([], [], color=GREY, marker="$0$", linewidth=1.2, label="an agent, by its number")]
    if any(chart.marks for chart in feed.charts):
        keys.append(Line2D([], [], color=GREY, marker="o", fillstyle="none", linewidth=0, label="greedy evaluation"))
    if averaged:
        keys.append(Line2D([], [], color=GREY, alpha=0.5, linewidth=0.8, label="as recorded"))
    return keys


def _draw_chart(axes: Axes, feed: Feed, number: int) -> None:
    """One chart: its axes with the lines of every run."""
    chart, choices = feed.charts[number], feed.choices
    style_axes(axes, chart.title, AXIS_LABELS[axis_of(chart, choices.over)], chart.unit)
    lines = [line for line in feed.lines if line.chart == number]
    for line in lines:
        _draw_line(axes, line, choices)
    look = LOOKS["change"] | {"fontsize": SCREEN.small, "path_effects": style.HALO}
    for x, text, run in feed.changes(number):
        axes.axvline(x, color=run_style(run).colour, linewidth=1.0, linestyle=(0, (6, 2)), zorder=1)
        axes.annotate(text, (x, 1.0), xycoords=axes.get_xaxis_transform(), **look)
    if chart.references and choices.agents == "together":
        known = [(mean, f"{REFERENCES[name]}, {fixed(mean)}") for mean, name in references(feed.runs)]
        style.reference_lines(axes, known)
    axes.set_xlim(0, feed.end(number))
    empty = not any(len(line.rows) for line in lines if line.kind in ("curve", "marks"))
    _scale(axes, chart, choices.log, feed.note(number), empty)


def _draw_line(axes: Axes, line: Line, choices: Choices) -> None:
    """A line as recorded, faint where its moving average is drawn over it."""
    rows, curve, look = line.rows, line.curve, run_style(line.run)
    if line.kind == "due":
        axes.plot(rows[:, 0], rows[:, 3], color=INK, linewidth=1.1, linestyle=(0, (1.0, 2.2)), zorder=1)
        return
    recorded = np.repeat(rows[:, 0], 2), rows[:, 1:3].ravel()
    if line.buckets.size == 1 or curve.rate:
        recorded = rows[:, 0], rows[:, 3]
    if line.kind == "marks":
        size, own = 8 - 2.5 * min(line.run, 1), LOOKS["marks"] | {"color": look.colour, "marker": look.marker}
        axes.plot(*recorded, markersize=size, zorder=10 + line.run, **own)
        return
    strong: dict[str, Any] = {"linestyle": look.dashes, "linewidth": look.width * curve.weight, "zorder": 3 + line.run}
    each = choices.agents == "each"
    if each:  # the line carries the agent's number
        place = (0.07 * (line.agent or 0) % 0.4, 0.4)
        strong |= {"marker": f"${line.agent}$", "markevery": place, "linewidth": 0.9, "markersize": 6}
    if curve.noisy and choices.smoothing:
        if not each:
            _plot(axes, look.colour, recorded, {"alpha": 0.3, "linewidth": 0.8 * curve.weight, "zorder": 2})
        recorded = moving_average(rows[:, 0], rows[:, 3], round(choices.smoothing * line.span))
    _plot(axes, look.colour, recorded, strong)


def _plot(axes: Axes, colour: str, points: Points, look: dict[str, Any]) -> None:
    known = np.pad(np.isfinite(points[1]), 1)
    # a point alone is no line
    dot = {"marker": "o", "markevery": np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])}
    if np.isfinite(points).all(axis=0).any():  # matplotlib finds no place for a mark where there is no point
        axes.plot(*points, color=colour, **({"markersize": 4} | dot | look))


def _scale(axes: Axes, chart: Chart, wanted: bool, note: str, empty: bool) -> None:
    """Set scale and limits, and say so where there is nothing to see or not everything can be seen."""
    axes.relim()
    log = wanted and not empty and bool(0 < axes.dataLim.y0 < np.inf)  # infinite where no value is finite
    if log:
        axes.set_yscale("log")
    linear = "linear: some values are 0 or below" if wanted and not empty and axes.dataLim.y0 <= 0 else ""
    axes.margins(y=0.25 if note or linear else 0.12 if chart.references else 0.06)  # room for words and names of lines
    axes.autoscale_view(scalex=False)
    if log:
        log_ticks(axes.yaxis, float(np.ptp(np.log10(axes.get_ylim()))))
    look = LOOKS["note"] | {"color": style.WARNING if note and not empty else GREY, "path_effects": style.HALO}
    axes.text(0.5, 0.5 if empty else 0.93, note or linear, transform=axes.transAxes, fontsize=SCREEN.text, **look)


def references(runs: Sequence[RunView]) -> list[tuple[float, str]]:
    """Mean reward and name of each of :data:`REFERENCES`, lowest first; none if the runs are of different worlds."""
    if any(run.config.world != runs[0].config.world for run in runs):
        return []
    known = next((run.references for run in runs if run.references), {})
    return sorted((known[name]["mean"], name) for name in REFERENCES if name in known)

"""The numbers behind a curve: a metric of a run over epochs, agent steps, updates or wall time, and rates.

What is recorded per update knows its epoch and what is recorded per epoch knows its updates, so that every chart can be
drawn over every axis. All agents together are as :meth:`workbench.runs.history.History.series` joins them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents import schedules
from workbench.runs.live_settings import SettingsTimeline
from workbench.runs.loaded import RunView
from workbench.view.curves import MAX_POINTS, Points
from workbench.view.panel.charts import AXIS_LABELS, Axis, Chart, Curve

MOST = 2_000
"""Points of an agent that a curve is made of, at most: a run of hours has millions, and is drawn every second."""
RATE_WINDOW = 0.02
"""Points that a rate is measured over, as a share of the points there are."""


def axis_of(chart: Chart, over: Axis) -> Axis:
    """What a chart is drawn over when ``over`` was chosen."""
    own: Axis = "update" if chart.over == "update" else "epoch"
    return own if over == "own" else over


def axis_label(chart: Chart, over: Axis) -> str:
    """Label of the x axis."""
    return AXIS_LABELS[axis_of(chart, over)]


def series(run: RunView, metric: str, over: Axis, agent: int | None = None) -> Points:
    """A metric as a curve.

    Args:
        run: any run, live or loaded.
        metric: public name of the metric.
        over: the x axis; "own" is the metric's own.
        agent: one agent; None for all together.
    """
    history = run.history
    table, own = history.schema.metric(metric).table, history.schema.axis(metric)
    if over == "time":
        x, y = history.series(metric, agent, "time", MOST)
        return x - start_time(run), y
    if over == "own":
        over = "update" if own == "update" else "epoch"
    if over == "agent_steps" and table != "epochs":
        x, y = history.series(metric, agent, "epoch", MOST)
        return (x + 1.0) * run.config.steps_per_epoch, y
    if over == "update" and table == "epochs":  # what the learner had done when the epoch ended
        _, y = history.series(metric, agent, most=MOST)
        return _updates_at_epochs(run, agent), y
    x, y = history.series(metric, agent, over, MOST)
    return np.asarray(x, np.float64), y


def curve_points(run: RunView, curve: Curve, over: Axis, agent: int | None) -> Points:
    """What a curve of a chart shows: the values of its metric, or how many points come in a second."""
    x, y = series(run, curve.metric, over, agent)
    if not curve.rate:
        return x, y
    per_epoch = run.history.schema.metric(curve.metric).table == "epochs"
    count, _ = series(run, curve.metric, "agent_steps" if per_epoch else "own", agent)
    times, _ = series(run, curve.metric, "time", agent)
    share = run.config.num_agents if agent is None else 1
    return rate(x, share * count, times)


def rate(x: NDArray[Any], count: NDArray[Any], times: NDArray[Any]) -> Points:
    """Growth of a counter per second, over windows of :data:`RATE_WINDOW` of its points, 3 points at least.

    Args:
        x: (n,), where to draw each point.
        count: (n,), the counter.
        times: (n,) seconds.
    """
    window = max(2, round(RATE_WINDOW * len(x)))
    if len(x) <= window:
        return np.empty(0), np.empty(0)
    last = np.unique(np.linspace(window, len(x) - 1, min(len(x) - window, MAX_POINTS)).round().astype(np.intp))
    seconds = times[last] - times[last - window]
    grown = (count[last] - count[last - window]).astype(np.float64)
    return np.asarray(x[last], np.float64), np.divide(grown, seconds, out=np.full(len(last), np.nan), where=seconds > 0)


def due_points(run: RunView, chart: Chart, over: Axis) -> Points:
    """What the configuration says that a chart's curve should be, or must not pass, with the changes of the run."""
    metric = chart.curves[0].metric
    x, _ = series(run, metric, over)
    epochs, _ = run.history.series(metric, over="epoch", most=MOST)
    shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).astype(np.intp))
    settings = run.settings
    due = [_due(chart, settings, epoch) for epoch in epochs[shown].tolist()]
    return x[shown], np.array(due, np.float64)


def _due(chart: Chart, settings: SettingsTimeline, epoch: int) -> float:
    if chart.due == "epsilon":
        return schedules.epsilon(settings.at(epoch), epoch)
    if chart.due == "replay_ratio":  # of all epochs so far, as it is recorded
        return settings.updates_due(epoch + 1) / ((epoch + 1) * settings.config.steps_per_epoch)
    return settings.at(epoch).learning.grad_clip


def change_marks(run: RunView, chart: Chart, over: Axis) -> list[tuple[float, str]]:
    """Where to draw the changes that were made to a run while it went on, and what to write at each."""
    axis, marks = axis_of(chart, over), []
    for when, epoch, values in run.changes:
        if axis == "time":
            x = when - start_time(run)
        elif axis == "update":
            x = run.settings.updates_due(epoch)
        else:
            x = epoch * (run.config.steps_per_epoch if axis == "agent_steps" else 1.0)
        marks.append((float(x), change_text(values)))
    return marks


def change_text(values: dict[str, Any]) -> str:
    """A change in a few words: the last part of each name, and its new value."""
    return ", ".join(f"{name.rpartition('.')[2]} = {value:g}" for name, value in values.items())


def start_time(run: RunView) -> float:
    """When a run's first record was made, in seconds since 1970; 0 before there is one."""
    history = run.history
    firsts = [float(table["time"][0]) for table in (history.events, history.epochs, history.updates) if len(table)]
    return min(firsts, default=0.0)


def _updates_at_epochs(run: RunView, agent: int | None) -> NDArray[np.float64]:
    steps, ratio = run.history.series("charts/replay_ratio", agent, "agent_steps", MOST)
    return np.round(steps * ratio, 3)  # the ratio is kept in single precision

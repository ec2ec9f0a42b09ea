"""Figures for reports and for the last cell of a notebook: the panel's drawing, held still."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.runs import machine
from workbench.runs.compare import Comparison
from workbench.runs.loaded import RunView
from workbench.view.panel.charts import SMOOTHING, STANDARD, Agents, Axis, Choices
from workbench.view.panel.drawing import draw
from workbench.view.picture import Picture


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

    Raises:
        ValueError: there are no runs, or a choice cannot be drawn; the message says which.
    """
    return draw(runs, Choices(tuple(charts), smoothing, over, agents, log))


def comparison_figure(pair: Comparison, smoothing: float = SMOOTHING) -> Picture:
    """The figure of a comparison, with a line that says whether the runs are identical and how their times compare."""
    return draw(pair.runs, Choices(smoothing=smoothing), verdict(pair))


def verdict(pair: Comparison) -> str:
    """How a comparison ended, in one line."""
    if pair.speedup is None:
        return f"Not both finished: {', '.join(f'{run.label} {run.status}' for run in pair.runs)}."
    identical = {True: "yes", False: "NO", None: "does not apply"}[pair.identical]
    walls = ", ".join(f"{run.result.wall_s:,.1f} s {run.mode}" for run in pair.runs)
    threads = pair.sequential.config.processes.threads
    each = "1 thread" if threads == 1 else f"{threads} threads"
    return (
        f"Identical to the last bit: {identical}.  Speed-up {pair.speedup:.2f} ({walls}).  "
        f"{machine.cores()} cores, {each} per process, {pair.sequential.device}."
    )

"""Every figure that a report can hold. A new one is a function of the material, and a line in :data:`FIGURES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.report import curves
from workbench.report.fault_matrix import fault_matrix
from workbench.report.material import Material, ReportFigure
from workbench.report.speedup import speedup
from workbench.report.sync_lag import sync_lag
from workbench.report.timeline import timeline


@dataclass(frozen=True)
class Kind:
    """How a figure is made."""

    draw: Callable[[Material], ReportFigure]
    """Raises :class:`~workbench.report.selection.ReportError` where the material is not enough."""
    about: str
    """What it shows, in a few words."""
    of_runs: bool = True
    """Whether it is about the runs, so that its caption ends with their settings and origin."""


FIGURES: dict[str, Kind] = {
    "greedy_reward": Kind(curves.greedy_reward, "greedy reward against agent steps and wall time"),
    "reward": Kind(curves.reward, "reward while exploring against agent steps and wall time"),
    "loss_and_q": Kind(curves.loss_and_q, "loss and Q-values against updates"),
    "sync_lag": Kind(sync_lag, "histogram of the sync lag, in versions and in time"),
    "speedup": Kind(speedup, "speed-up over the sequential baseline, with the ideal"),
    "timeline": Kind(timeline, "what each process did when, and the shares of work and of waiting"),
    "fault_matrix": Kind(fault_matrix, "what each fault costs and who notices it", of_runs=False),
}
"""Name, which is also the file's, to how it is made, in the order of the report."""

"""The table of results: what every group of runs reached, how long it took, and how stale it was.

Groups are columns, so that the table of a few groups fits on a page.
"""

from __future__ import annotations

from collections.abc import Callable

from workbench.report.intervals import estimate, interval
from workbench.report.selection import Group, Selection
from workbench.runs.result import Result
from workbench.runs.statistics import not_finite
from workbench.runs.table import Table

# Name of each row, and the number of a run that it is about.
QUANTITIES: dict[str, Callable[[Result], float | None]] = {
    "greedy reward": lambda result: result.greedy_reward,
    "reward, last tenth": lambda result: result.reward["last_tenth"],
    "wall time, s": lambda result: result.wall_s,
    "agent steps/s": lambda result: result.agent_steps_per_s,
    "updates/s": lambda result: result.updates_per_s,
    "updates per agent step": lambda result: result.replay_ratio,
    "sync lag, versions": lambda result: result.sync_lag["versions"]["mean"],
    "sync lag, ms": lambda result: result.sync_lag["milliseconds"]["mean"],
}


def results_table(selection: Selection, bands: bool = True) -> Table:
    """A column per group: interquartile means over its runs, with 95 % intervals where there are enough runs.

    Args:
        selection: the groups.
        bands: False leaves the intervals out.
    """
    groups = selection.groups
    seeds = ("seeds", *(", ".join(map(str, group.seeds)) for group in groups))
    rows = ((name, *(_cell(group, value, bands) for group in groups)) for name, value in QUANTITIES.items())
    return Table(("", *(group.label for group in groups)), (seeds, *rows))


def _cell(group: Group, value: Callable[[Result], float | None], bands: bool) -> str:
    found = [value(result) for result in group.results]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return "-"
    lost = not_finite(known, [run.config.seed for run in group.runs])
    return lost or interval(estimate(known, group.strata, bands))

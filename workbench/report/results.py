"""The table of results: what every group of runs reached, how long it took, and how stale it was.

Groups are columns, so that the table of a few groups fits on a page.
"""

from collections.abc import Callable

from workbench.report.intervals import estimate, interval
from workbench.report.selection import QUANTITIES, Group, Selection
from workbench.runs.result import Result
from workbench.runs.statistics import listed, not_finite
from workbench.runs.table import Table


def results_table(selection: Selection, bands: bool = True) -> Table:
    """A column per group: what its runs say of each number, with 95 % intervals where there are enough runs.

    Args:
        selection: the groups.
        bands: False leaves the intervals out.
    """
    groups = selection.groups
    seeds = ("seeds", *(listed(group.seeds) for group in groups))
    rows = ((name, *(_cell(group, value, bands) for group in groups)) for name, value in QUANTITIES.items())
    return Table(("", *(group.label for group in groups)), (seeds, *rows))


def _cell(group: Group, value: Callable[[Result], float | None], bands: bool) -> str:
    found = [value(result) for result in group.results]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return "-"
    lost = not_finite(known, [run.config.seed for run in group.runs])
    return lost or interval(estimate(known, group.strata, bands))

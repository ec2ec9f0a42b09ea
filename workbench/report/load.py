"""How much memory the processes of a run take: a bar for each group of runs, in parts."""

import numpy as np
from numpy.typing import NDArray

from workbench.core.processes.supervisor import children_of
from workbench.report.material import Material, ReportFigure, add_legend, bar_look, group_sentence, panels, row_height
from workbench.report.selection import Group, demand
from workbench.report.sentences import said
from workbench.runs.table import Table, number

PARTS = {"acting": "the process that acts", "learning": "the learner processes"}
HEAD = ("group", "processes", *(f"{part}, MiB" for part in PARTS.values()), "together, MiB", "per agent, MiB")


def memory(material: Material) -> ReportFigure:
    """Memory of the children, the medians of each run, as means over the runs of a group.

    Raises:
        ReportError: no samples were taken in a run.
    """
    groups = material.groups
    parts = np.array([[_mean(group, part) for part in PARTS] for group in groups])
    names = material.row_names([group.label for group in groups])
    picture, (axes,) = panels(material, 0.3 + row_height(names, 0.3) * len(groups), [("", "MiB", "")])
    places, left = np.arange(len(groups)), np.zeros(len(groups))
    for look, (part, name) in enumerate(zip(parts.T, PARTS.values(), strict=True)):
        shown = np.where(part > 0, part, np.nan)  # a bar without a width would show its edge
        axes.barh(places, shown, 0.6, left=left, label=name, zorder=3, **bar_look(look))
        left = left + part
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    add_legend(picture)
    rows = tuple(_row(group, own) for group, own in zip(groups, parts, strict=True))
    told = "; ".join(f"{row[0]}: {row[4]} MiB in {row[1]} processes" for row in rows)
    caption = said("memory.caption", groups=group_sentence(groups), told=told)
    picture.alt = said("memory.alt", told=told)
    return ReportFigure(picture, caption, Table(HEAD, rows))


def _mean(group: Group, part: str) -> float:
    """MiB of one part, mean over the runs of a group; 0 where the runs have no such process."""
    medians = []
    for run in group.runs:
        name = f"system/{part}_memory"
        values = run.history.series(name)[1] if name in run.history.schema.metrics else np.empty(0)
        demand(part != "acting" or len(values) > 0, said("memory.none", run=run.name))
        medians.append(float(np.median(values)) if len(values) else 0.0)
    return float(np.mean(medians))


def _row(group: Group, parts: NDArray[np.float64]) -> tuple[str, ...]:
    run, together = group.first, float(parts.sum())
    count = len(children_of(run.config, run.mode))
    each = [number(float(part)) if part else "-" for part in parts]
    return group.label, str(count), *each, number(together), number(together / run.config.num_agents)

"""What a swept setting does to the outcome: final reward against each of them, and a heat map where there are two."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.report.material import Material, ReportFigure, group_sentence, line_look, panels
from workbench.report.selection import Group, demand, shown
from workbench.report.sentences import said
from workbench.runs.statistics import mean_and_half_width, with_interval
from workbench.runs.table import Table, number, order
from workbench.view.style import PRINT

# Fields that have a panel each.
MOST_FIELDS = 4
# Width of a letter in inches.
LETTER = 0.054


def sweep(material: Material) -> ReportFigure:
    """Greedy reward after training against every setting in which the groups differ.

    Raises:
        ReportError: they differ in none, or in too many.
    """
    groups = list(material.groups)
    names = dict.fromkeys(["mode", "lag", "faults", *(name for group in groups for name in group.settings)])
    fields = [name for name in names if len({_value(group, name) for group in groups}) > 1]
    demand(1 <= len(fields) <= MOST_FIELDS, said("sweep.fields", most=MOST_FIELDS, fields=", ".join(fields) or "none"))
    rewards = [[run.result.greedy_reward for run in group.runs] for group in groups]
    means, halves = np.transpose([mean_and_half_width(each) for each in rewards])
    bars = np.nan_to_num(halves) if material.bands else None
    unit = "greedy reward per epoch"
    heads = [("", field if material.columns == "single" else field.rpartition(".")[2], unit) for field in fields]
    picture, axes = panels(material, 2.0, [*heads, *([(unit, fields[1], fields[0])] if len(fields) == 2 else [])])
    width = picture.get_figwidth() / (1 if material.columns == "single" else len(axes)) - 0.55
    values = {field: [_value(group, field) for group in groups] for field in fields}
    ticks = {field: sorted(set(own), key=order) for field, own in values.items()}
    places = {field: np.array(list(map(ticks[field].index, own))) for field, own in values.items()}
    for (field, at), place in zip(places.items(), axes, strict=False):
        rank = [np.count_nonzero(at[:index] == own) for index, own in enumerate(at)]
        apart, look = 0.32 * ((np.array(rank) + 0.5) / np.bincount(at)[at] - 0.5), line_look(0)
        place.errorbar(at + apart, means, bars, fmt="o", markersize=3, capsize=2, color=look["color"], linewidth=0.9)
        place.plot(np.bincount(at, means) / np.bincount(at), **look)
        _name_ticks(place.xaxis, ticks[field], width)
    if len(fields) == 2:
        table = np.full([len(ticks[field]) for field in fields], np.nan)
        table[*places.values()] = means
        for row, column, mean in zip(*places.values(), means, strict=True):
            if len(number(mean)) * LETTER * len(ticks[fields[1]]) < width:
                axes[2].text(column, row, number(mean), ha="center", va="center", fontsize=PRINT.small, color="black")
        axes[2].imshow(np.ma.masked_invalid(table), aspect="auto", cmap="Blues", alpha=0.55)
        axes[2].grid(False)
        for axis, field in ((axes[2].xaxis, fields[1]), (axes[2].yaxis, fields[0])):
            _name_ticks(axis, ticks[field], width)
    seeds = [[run.config.seed for run in group.runs] for group in groups]
    told = [with_interval(each, own) for each, own in zip(rewards, seeds, strict=True)]
    told = told if material.bands else [text.partition(" ± ")[0] for text in told]
    cells = zip(*values.values(), told, rewards, strict=True)
    rows = tuple((*map(shown, own), text, str(len(each))) for *own, text, each in cells)
    picture.alt = "; ".join(f"{group.label}: {text}" for group, text in zip(groups, told, strict=True))
    about = {"fields": " and ".join(fields), "bands": said("sweep.bands") * material.bands}
    caption = said("sweep.caption", **about, groups=group_sentence(tuple(groups)))
    return ReportFigure(picture, caption, Table((*fields, unit, "runs"), rows))


def _name_ticks(axis: Any, values: Sequence[Any], width: float) -> None:
    """Name the places 0, 1, ... of an axis that is some inches wide; of too many values only some, evenly spread."""
    names = [text if len(text) <= 20 else f"…{text[-19:]}" for text in map(shown, values)]
    tight = axis.axis_name == "x" and sum(len(name) + 2 for name in names) * LETTER > width
    each = -(-len(names) // max(2, int(width / 0.14)))
    axis.set_ticks(range(0, len(names), each), names[::each], rotation=90 if tight else 0)


def _value(group: Group, field: str) -> float | str:
    """A setting of a group: a number, which has a place on an axis, or a word."""
    lag = "free" if group.first.lag is None else group.first.lag
    its = {"mode": group.first.mode, "lag": lag, "faults": " and ".join(group.first.faults) or "none"}
    value = {**its, **group.settings}.get(field)
    return value if isinstance(value, int | float) else shown(value)

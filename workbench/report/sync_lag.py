"""How far the policy in use was behind the newest one: a histogram over epochs and agents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from workbench.report.material import Material, ReportFigure, add_legend, bar_look, group_sentence, panels
from workbench.report.selection import Group, demand
from workbench.report.sentences import said
from workbench.runs.table import Table, number
from workbench.view.style import GREY, PRINT

Array = NDArray[np.float64]
MAX_BINS = 12
SHOWN = (("sync/lag_versions", "Sync lag in versions", "versions"), ("sync/lag_ms", "Sync lag in time", "ms"))
HEAD = ("group", "unit", "epochs x agents", "mean", "median", "95 % below", "largest")


def sync_lag(material: Material) -> ReportFigure:
    """Shares of epochs and agents by sync lag, in versions and in milliseconds, all seeds of a group together.

    Raises:
        ReportError: a run recorded no epochs.
    """
    groups, rows = material.groups, list[tuple[str, ...]]()
    picture, all_axes = panels(material, 1.9, [(title, f"{unit} behind", "share") for _, title, unit in SHOWN])
    for axes, (metric, _, unit) in zip(all_axes, SHOWN, strict=True):
        values = [_values(group, metric) for group in groups]
        edges = whole_bins(values) if unit == "versions" else even_bins(values)
        _draw(axes, groups, values, edges, whole=unit == "versions")
        rows += [_row(group, unit, own) for group, own in zip(groups, values, strict=True)]
    add_legend(picture)
    told = "; ".join(f"{row[0]}: mean {row[3]}, largest {row[6]} {row[1]}" for row in rows)
    caption = said("sync_lag.caption", groups=group_sentence(groups), told=told)
    picture.alt = said("sync_lag.alt", told=told)
    return ReportFigure(picture, caption, Table(HEAD, tuple(rows)))


def whole_bins(values: list[Array]) -> Array:
    """Edges of at most :data:`MAX_BINS` bins that each hold equally many whole numbers, from 0 to the largest value."""
    largest = max(int(own.max()) for own in values)
    width = -(-(largest + 1) // MAX_BINS)
    return np.arange(0, largest + width + 1, width, dtype=np.float64) - np.float64(0.5)


def even_bins(values: list[Array]) -> Array:
    """Edges of :data:`MAX_BINS` equal bins from 0, or from the smallest value below it, to what 98 % of all are below.

    The last bin takes everything above as well, so that a few stragglers do not press all others into one bin.
    """
    low = min(0.0, *(float(own.min()) for own in values))
    high = float(np.quantile(np.concatenate(values), 0.98))
    high = high if high > low + 1e-6 else low + 1.0  # a nanosecond is no lag
    return np.linspace(low, high, MAX_BINS + 1)


def _values(group: Group, metric: str) -> Array:
    for run in group.runs:
        demand(len(run.history.epochs) > 0, said("sync_lag.none", metric=metric, run=run.name))
    return np.concatenate([run.history[metric].astype(np.float64) for run in group.runs])


def _draw(axes: Axes, groups: Sequence[Group], values: list[Array], edges: Array, whole: bool) -> None:
    """Bars of all groups beside each other in each bin."""
    room = np.diff(edges) * 0.84
    for index, own in enumerate(values):
        share = np.histogram(np.minimum(own, edges[-1]), edges)[0] / len(own)
        left, there = edges[:-1] + np.diff(edges) * 0.08 + index * room / len(values), share > 0
        look = bar_look(index) | {"label": groups[index].label, "align": "edge", "zorder": 3}
        axes.bar(left[there], share[there], (room / len(values))[there], **look)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(False, axis="x")
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=MAX_BINS, integer=True))
    elif max(own.max() for own in values) > edges[-1]:
        at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "color": GREY, "rotation": 90}
        axes.annotate("and more", (1.0, 0.0), (0, 14), fontsize=PRINT.small - 1, ha="right", va="bottom", **at)
    axes.tick_params(axis="x", length=0 if whole else 3)


def _row(group: Group, unit: str, values: Array) -> tuple[str, ...]:
    numbers = values.mean(), np.median(values), np.quantile(values, 0.95), values.max()
    return group.label, unit, f"{len(values):,}", *(number(float(each)) for each in numbers)

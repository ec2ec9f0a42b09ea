"""What the spans of a process add up to: which of them lie within which, and how long each kind took by itself.

A process does one thing at a time, so of two of its spans one lies within the other, or they do not overlap. A moment
belongs to the innermost span around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.core.records import Records
from workbench.view.timeline.span_kinds import SpanKind

# Length of an axis that is indexed by :class:`~workbench.view.timeline.span_kinds.SpanKind`; place 0 stays empty.
NUM_KINDS = max(SpanKind) + 1


def of_process(spans: Records, process: int) -> Records:
    """The spans of one process, (n,), by start, the outer of two that start together first.

    Args:
        spans: (m,) of any processes, each one's in the order of writing: the inner one of two is written first.
        process: place of the process.
    """
    own = spans[spans["process"] == process]
    ordered: Records = own[np.lexsort((-np.arange(len(own)), -own["duration"], own["start"]))]
    return ordered


def depths(spans: Records) -> NDArray[np.int64]:
    """How many spans lie around each, (n,) int64.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
    """
    start, end = spans["start"], spans["start"] + spans["duration"]
    depth, left, level = np.zeros(len(spans), np.int64), np.arange(len(spans)), 0
    while len(left):
        earlier_end = np.maximum.accumulate(end[left])[:-1]
        inside = np.append(False, start[left][1:] < earlier_end)
        depth[left] = level
        left, level = left[inside], level + 1
    return depth


def time_of_kinds(spans: Records, edges: ArrayLike) -> NDArray[np.float64]:
    """How much of each interval between two edges went into each kind, the innermost span deciding.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
        edges: (m,) nanoseconds on the clock of the spans, rising.

    Returns:
        (NUM_KINDS, m - 1) float64, nanoseconds. What is missing to the length of an interval was not recorded.
    """
    depth, kinds = depths(spans), np.arange(NUM_KINDS)
    spent = np.zeros((NUM_KINDS, np.size(edges) - 1))
    for level in range(depth.max(initial=-1) + 1):
        here = spans[depth == level]
        for kind in kinds:
            spent[kind] += _time_within(here[here["kind"] == kind], edges)
        if level:
            around = spans[depth == level - 1]
            parent = around["kind"][np.searchsorted(around["start"], here["start"], "right") - 1]
            for kind in kinds:
                spent[kind] -= _time_within(here[parent == kind], edges)
    return spent


def time_on_core(spans: Records, start: float, end: float, left_out: Sequence[SpanKind]) -> float:
    """How much of a stretch of time a process was on a core while it did what is recorded, in nanoseconds.

    Of a span that lies in the stretch in part, the same part counts.

    Args:
        spans: (n,) of one process, in the order of :func:`of_process`.
        start: nanoseconds on the clock of the spans.
        end: the same.
        left_out: kinds that do not count.
    """
    outermost = spans[depths(spans) == 0]
    counted = outermost[~np.isin(outermost["kind"], left_out) & (outermost["duration"] > 0)]
    inside = np.minimum(counted["start"] + counted["duration"], end) - np.maximum(counted["start"], start)
    return float((counted["on_core"] * np.maximum(inside, 0) / counted["duration"]).sum())


def _time_within(apart: Records, edges: ArrayLike) -> NDArray[np.float64]:
    """How much of each interval lies in spans that do not overlap."""
    if len(apart) == 0:
        return np.zeros(np.size(edges) - 1)
    first = apart["start"][0]
    turning = np.column_stack([apart["start"], apart["start"] + apart["duration"]]).ravel() - first
    total = np.cumsum(apart["duration"])
    return np.diff(
        np.interp(np.asarray(edges) - first, turning, np.column_stack([total - apart["duration"], total]).ravel())
    )

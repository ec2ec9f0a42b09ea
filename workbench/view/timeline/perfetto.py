"""Spans as a trace in the JSON format of Chrome, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", Google, 2016: complete events (``ph`` X) with times in microseconds, and metadata events
(``ph`` M) that name the processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.core.records import Records
from workbench.view.timeline.span_kinds import SpanKind

NS_PER_US, NS_PER_MS = 1_000, 1_000_000


def chrome_trace(spans: Records, processes: Sequence[str], origin_ns: int, about: dict[str, Any]) -> dict[str, Any]:
    """The trace as a dictionary for :mod:`json`.

    Args:
        spans: (n,) of any processes, in any order.
        processes: name of each process, by its place.
        origin_ns: the moment that becomes time 0; earlier spans get negative times.
        about: what is kept of the run beside the events.
    """
    events: list[dict[str, Any]] = []
    for place, name in enumerate(processes):
        events += [
            {"ph": "M", "name": "process_name", "pid": place, "tid": place, "args": {"name": name}},
            {"ph": "M", "name": "process_sort_index", "pid": place, "tid": place, "args": {"sort_index": place}},
            {"ph": "M", "name": "thread_name", "pid": place, "tid": place, "args": {"name": name}},
        ]
    events += [_event(span, origin_ns) for span in spans.tolist()]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def _event(span: tuple[int, ...], origin_ns: int) -> dict[str, Any]:
    start, duration, on_core, process, kind, agent, epoch = span
    name = SpanKind(kind).name.lower()
    arguments: dict[str, float] = {key: value for key, value in (("agent", agent), ("epoch", epoch)) if value >= 0}
    arguments["on a core, ms"] = on_core / NS_PER_MS
    return {
        "ph": "X", "name": name, "cat": name, "ts": (start - origin_ns) / NS_PER_US, "dur": duration / NS_PER_US,
        "pid": process, "tid": process, "args": arguments,
    }  # fmt: skip

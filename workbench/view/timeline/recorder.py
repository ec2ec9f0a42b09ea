"""The stopwatch: records what each process does when, for the timeline of a run.

Thin wrappers around the parts of each side take the time of a call and pass everything through, so a run with a
stopwatch has the digests of a run without. A span costs some two microseconds. All that is watched is one table,
:data:`WATCHED`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from workbench.core.processes.worker import Parts
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.sentences import beside
from workbench.view.timeline.spans import SPAN_TABLES, SpanKind

# In place of the index of an agent or of an epoch that a span does not belong to.
NOBODY = -1
# The methods whose calls are recorded, by the part that has them, as ``recorder.toml`` says: kind of span, arguments.
WATCHED: dict[str, dict[str, Sequence[str]]] = beside(__file__)


class Stopwatch(Hook):
    """Records every process's spans. Give it after faults, whose time belongs to the run, and before probes."""

    tables = SPAN_TABLES

    def __init__(self, clock: int = 0) -> None:
        """``clock`` is the ``clock_offset_ns`` of the run's first life, whose clock goes on; 0 for this start's."""
        self._ahead_ns = time.time_ns() - time.monotonic_ns() - clock if clock else 0

    def on_parts(self, parts: Parts) -> None:
        """Watch the waiting, and the start: from here to the end of ``parts.ready``."""
        self._watch(parts, "wakeup", parts.wakeup)
        began = time.monotonic_ns(), time.thread_time_ns()
        parts.ready = self._timed(parts.ready, SpanKind.STARTING, parts, began=began)  # type: ignore[method-assign]

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Watch the acting side."""
        self._watch(parts, "collector", collector)
        self._watch(parts, "evaluator", collector.evaluator)
        self._watch(parts, "keeper", collector.keeper)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Watch the learning side."""
        self._watch(parts, "trainer", trainer)
        for index, agent in trainer.agents.items():
            self._watch(parts, "replay", trainer.replays[index], index)
            self._watch(parts, "agent", agent, index)
            self._watch(parts, "keeper", trainer.keepers[index], index)

    def _watch(self, parts: Parts, name: str, part: object, agent: int = NOBODY) -> None:
        """Put a wrapper around every watched method of this one object."""
        for method, (kind, *takes) in WATCHED[name].items():
            if hasattr(part, method):  # a keeper that keeps nothing leaves no checkpoint
                timed = self._timed(getattr(part, method), SpanKind[kind.upper()], parts, takes, agent)
                setattr(part, method, timed)

    def _timed(
        self, method: Callable[..., Any], kind: SpanKind, parts: Parts, takes: Sequence[str] = (),
        agent: int = NOBODY, began: tuple[int, int] | None = None,
    ) -> Callable[..., Any]:  # fmt: skip
        """The method, with a span written after every call, also after one that raises.

        Args:
            method: called with all its arguments.
            kind: what the span says.
            parts: of the process.
            takes: names of the first arguments, as in :data:`WATCHED`.
            agent: whose work it is, if the arguments do not say.
            began: when the span starts, on the clock and on this thread's; None for each call.
        """
        now, on_core, write = time.monotonic_ns, time.thread_time_ns, parts.channel["spans"].write
        code, process, ahead = int(kind), parts.job.index, self._ahead_ns

        def call(*arguments: Any, **named: Any) -> Any:
            """The method, and a record of the time that it took."""
            start, core_start = began or (now(), on_core())
            try:
                return method(*arguments, **named)
            finally:
                took, took_on_core = now() - start, on_core() - core_start
                about = dict(zip(takes, arguments, strict=False)) | named
                write(
                    start=start + ahead, duration=took, on_core=took_on_core, process=process, kind=code,
                    agent=about.get("index", agent), epoch=about.get("epoch", NOBODY),
                )  # fmt: skip

        return call

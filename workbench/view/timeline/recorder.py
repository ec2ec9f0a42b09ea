"""The stopwatch: records what each process does when, for the timeline of a run.

Thin wrappers around the parts of each side take the time of a call and pass everything through, so a run with a
stopwatch has the digests of a run without. A span costs some two microseconds. All that is watched is one table,
:data:`WATCHED`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.core.processes.worker import Parts
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.sentences import beside
from workbench.view.timeline.spans import SPAN_TABLES, SpanKind

# In place of the index of an agent or of an epoch that a span does not belong to.
NOBODY = -1


@dataclass(frozen=True)
class Watched:
    """A method whose calls are recorded.

    Attributes:
        part: What has it: "wakeup", "collector", "evaluator", "trainer"; "replay" and "agent", of which a trainer has
            one per agent; or "keeper", of which each agent has one, and the collector.
        takes: Its first arguments by name; "index" is that of an agent, "epoch" that of an epoch.
    """

    part: str
    method: str
    kind: SpanKind
    takes: tuple[str, ...] = ()


# Every method that is watched, besides the start of a process, as ``recorder.toml`` says.
WATCHED = [
    Watched(each["part"], each["method"], SpanKind[each["kind"].upper()], tuple(each.get("takes", ())))
    for each in beside(__file__)["watched"]
]


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
        for each in WATCHED:
            if each.part == name and hasattr(part, each.method):  # a keeper that keeps nothing leaves no checkpoint
                setattr(part, each.method, self._timed(getattr(part, each.method), each.kind, parts, each.takes, agent))

    def _timed(
        self, method: Callable[..., Any], kind: SpanKind, parts: Parts, takes: tuple[str, ...] = (),
        agent: int = NOBODY, began: tuple[int, int] | None = None,
    ) -> Callable[..., Any]:  # fmt: skip
        """The method, with a span written after every call, also after one that raises.

        Args:
            method: called with all its arguments.
            kind: what the span says.
            parts: of the process.
            takes: names of the first arguments, as in :class:`Watched`.
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

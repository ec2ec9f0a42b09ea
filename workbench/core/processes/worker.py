"""What a child process is given when it is started, and how it puts its parts together from that.

This is where hooks come in: the roles (``roles.py``) take what :class:`Parts` hands them, and no part knows how another
was made.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from workbench.core.agents.staging import resolve_device
from workbench.core.processes.blocks import Plan, Shared
from workbench.core.processes.shared_memory import Block, Descriptor
from workbench.core.processes.wakeup import Wakeup
from workbench.core.shared.record_ring import Channel
from workbench.core.train.hooks import unchanged
from workbench.core.train.learners import Learner
from workbench.core.train.loop import Collector, Trainer
from workbench.core.train.pacing import Pacing

Role = Literal["sequential", "actor", "learner"]

TRIM_INTERVAL_S = 5.0  # between two times that a child gives memory back; what it needs of it comes back slowly
_malloc_trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", int)  # only the GNU C library has it


@dataclass
class Job:
    """One child's work. It can be sent to a child, and only when that is started.

    Attributes:
        name: of the process in messages and logs: "actor", "learner 2", "sequential".
        index: place among the run's processes.
        agents: those whose updates this process makes.
        plan: the whole run.
        blocks: all memory of the run, by name.
        wakeups: one per process, by index.
        logs: the folder of the file that takes whatever the process prints.
        learner: what makes the updates.
        restarts: how often this process has been restarted.
    """

    name: str
    role: Role
    index: int
    agents: tuple[int, ...]
    plan: Plan
    blocks: dict[str, Block]
    wakeups: list[Wakeup]
    logs: Descriptor
    learner: type[Learner] = Learner
    restarts: int = 0


class Parts(Shared):
    """A child's parts, made from its job. What it shares is opened; the sides are built when they are asked for.

    Attributes:
        settings: looks the settings up.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job.plan, job.blocks)
        self.job, self.settings = job, unchanged(self.config)
        self.channel = Channel(self.blocks[f"channel {job.index}"].open())
        self.wakeup = job.wakeups[job.index]
        # the actor waits for learners, and they wait for it alone
        self.other_wakeups = job.wakeups[1:] if job.index == 0 else job.wakeups[:1]
        self._next_trim = 0.0
        for hook in self.job.plan.hooks:
            hook.on_parts(self)

    def pacing(self) -> Pacing:
        """Who may do what when."""
        return Pacing(self.config, self.lag, self.progress, self.settings)

    def collector(self) -> Collector:
        """The acting side, over all agents."""
        collector = Collector(self.config, self.replays, self.stores, self.progress, self.channel)
        collector.settings, collector.heartbeat = self.settings, self.heartbeat
        for hook in self.job.plan.hooks:
            hook.on_collector(collector, self)
        return collector

    def trainer(self) -> Trainer:
        """The learning side of this job's agents."""
        agents, device = self.job.agents, resolve_device(self.config.device)
        replays, stores = [self.replays[index] for index in agents], [self.stores[index] for index in agents]
        learner = self.job.learner(self.config, agents, replays, device)
        trainer = Trainer(self.config, learner, stores, self.progress, self.channel)
        trainer.settings, trainer.heartbeat = self.settings, self.heartbeat
        for hook in self.job.plan.hooks:
            hook.on_trainer(trainer, self)
        return trainer

    def heartbeat(self) -> None:
        """Tell the parent that this process is at work."""
        self.progress.beat(self.job.index)

    def ready(self) -> None:
        """Report that this child is ready and wait at the barrier for the others."""
        self.trim_memory()
        gc.freeze()  # what is there now stays: a collection need not look at it again
        self.progress.report_ready(self.job.index)
        self.wakeup.wait_until(lambda: self.progress.started, self.progress)
        if self.job.restarts:
            self.notify_others()  # the process before it may have died between a report and this

    def notify_others(self) -> None:
        """Wake every process that may be waiting for what this one has just done."""
        for wakeup in self.other_wakeups:
            wakeup.notify()
        self.trim_memory()

    def trim_memory(self) -> None:
        """Now and then give back what Python keeps of tuples, and what the C library keeps between pieces in use."""
        if time.monotonic() >= self._next_trim:
            gc.collect()
            _malloc_trim(0)
            self._next_trim = time.monotonic() + TRIM_INTERVAL_S

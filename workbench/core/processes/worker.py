"""What a child process is given when it is spawned, and how it puts its parts together from that.

This is where hooks come in: the roles (``actor.py``, ``learner.py``, ``sequential.py``) take what :class:`Parts` hands
them, and no part knows how another was made.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.agents.iqn import build_network
from workbench.core.agents.iqn_agent import Agent
from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.processes import trim_memory
from workbench.core.processes.shared_memory import Block, machine_fence
from workbench.core.processes.wakeup import Wakeup
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Field, Layout
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import Hook, unchanged
from workbench.core.train.loop import Collector, Trainer
from workbench.core.train.pacing import Pacing

T = TypeVar("T")
Role = Literal["sequential", "actor", "learner"]

TRIM_INTERVAL_S = 1.0
"""Seconds between two times that a child gives freed memory back; each takes less than a millisecond."""


@dataclass
class Job:
    """One child's work. Every field can be sent to a spawned process, and only at spawn."""

    name: str
    """Name of the process in messages and logs: "actor", "learner 2", "sequential"."""
    role: Role
    index: int
    """Place among the run's processes."""
    config: Config
    lag: int | None
    """The dial; None runs free."""
    agents: tuple[int, ...]
    """Agents whose updates this process makes."""
    progress: Block
    replays: list[Block]
    stores: list[Block]
    blocks: dict[str, Block]
    """What hooks brought, see :meth:`Hook.layouts`."""
    channel: Block
    wakeups: list[Wakeup]
    """One per process, by index."""
    log: str
    """File that takes whatever the process prints."""
    weights: Block | None
    """Warm start, see :func:`warm_start_layout`; None for fresh weights."""
    hooks: tuple[Hook, ...]
    """What comes in from outside, in this order."""
    restarts: int = 0
    """How often this process has been restarted."""


class Parts:
    """A child's parts, made from its job."""

    def __init__(self, job: Job) -> None:
        """Open what the child shares.

        Attributes:
            settings: looks the settings up.
            blocks: what hooks brought, by name.
        """
        config, fence = job.config, machine_fence()
        num_processes = len(job.wakeups)
        self.job, self.blocks, self.settings = job, job.blocks, unchanged(config)
        self.progress = Progress(job.progress.open(Progress.layout(config.num_agents, num_processes)), fence)
        self.replays = [
            Replay(config, spec, block.open(Replay.layout(config, spec)), fence)
            for spec, block in zip(config.spec.agents, job.replays, strict=True)
        ]
        layout = weight_store_layout(config, job.lag)
        self.stores = [WeightStore(block.open(layout), fence) for block in job.stores]
        self.channel = Channel(job.channel.open(), fence)
        self.wakeup = job.wakeups[job.index]
        self.other_wakeups = [wakeup for index, wakeup in enumerate(job.wakeups) if index != job.index]
        self._next_trim = 0.0
        for hook in job.hooks:
            hook.on_parts(self)

    def pacing(self) -> Pacing:
        """Who may do what when."""
        return Pacing(self.job.config, self.job.lag, self.progress, self.settings)

    def collector(self) -> Collector:
        """The acting side, over all agents."""
        job = self.job
        collector = Collector(job.config, self.replays, self.stores, self.progress, self.channel)
        collector.settings, collector.heartbeat = self.settings, self.heartbeat
        for hook in job.hooks:
            hook.on_collector(collector, self)
        return collector

    def trainer(self) -> Trainer:
        """The learning side of this job's agents."""
        job, device = self.job, resolve_device(self.job.config.device)
        weights = None if job.weights is None else job.weights.open()["weights"]
        agents = [Agent(job.config, i, device, None if weights is None else weights[i]) for i in job.agents]
        replays, stores = _pick(self.replays, job.agents), _pick(self.stores, job.agents)
        trainer = Trainer(job.config, agents, replays, stores, self.progress, self.channel)
        trainer.settings, trainer.heartbeat = self.settings, self.heartbeat
        for hook in job.hooks:
            hook.on_trainer(trainer, self)
        return trainer

    def heartbeat(self) -> None:
        """Tell the parent that this process is at work."""
        self.progress.beat(self.job.index)

    def ready(self) -> None:
        """Report that this child is ready and wait at the barrier for the others."""
        gc.collect()
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
        """Free what Python keeps of objects after a piece of work, and now and then give freed memory back.

        Python keeps up to 2,000 tuples of each length, and every backward pass leaves one more. What was there before
        the run is frozen, so this takes microseconds.
        """
        gc.collect()
        if time.monotonic() >= self._next_trim:
            trim_memory.give_back()
            self._next_trim = time.monotonic() + TRIM_INTERVAL_S


def weight_store_layout(config: Config, lag: int | None) -> Layout:
    """The weight store of one agent: two slots for the newest version, ``lag`` more for older ones."""
    parameters = ParameterLayout.of(build_network(config))
    return WeightStore.layout(2 * parameters.size, parameters.fingerprint, 2 + (lag or 0))


def warm_start_layout(weights: NDArray[np.float32]) -> Layout:
    """The block of the weights to start from, (agents, vector size) float32: too much to send to every child."""
    return Layout("weights to start from", (Field("weights", weights.shape, np.float32, 0),))


def _pick(items: Sequence[T], indices: Sequence[int]) -> list[T]:
    return [items[index] for index in indices]

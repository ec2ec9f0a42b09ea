"""What a child process is given when it is spawned, and how it puts its parts together from that.

This is the place where a part can be wrapped or replaced: the roles (``actor.py``, ``learner.py``, ``sequential.py``)
take what :class:`Parts` hands them, and the parts know nothing of each other's making.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.config import Config
from workbench.exchange.layout import Layout
from workbench.exchange.mailbox import Mailbox
from workbench.exchange.progress import Progress
from workbench.exchange.replay import Replay
from workbench.learning.agent import Agent
from workbench.learning.device import resolve_device
from workbench.learning.iqn import build_network
from workbench.learning.parameters import ParameterLayout
from workbench.loop import Collector, Trainer
from workbench.processes.bell import Bell
from workbench.processes.memory import Block, machine_fence
from workbench.record.channel import Channel
from workbench.world.treasurehunt import Treasurehunt

T = TypeVar("T")
Role = Literal["sequential", "actor", "learner"]


class Modifier:
    """Wraps or replaces parts where a child puts them together: the one way in for faults and probes.

    It is made in the parent and sent to every child at spawn. Each method is called once per child that has such a
    part; it may replace the attributes of what it is given. The default changes nothing.
    """

    def on_parts(self, parts: Parts) -> None:
        """Called when progress, replays, mailboxes and channel are open."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Called with the acting side, before the ready barrier."""

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Called with the learning side of a group of agents, before the ready barrier."""


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
    mailboxes: list[Block]
    channel: Block
    bells: list[Bell]
    """One bell per process, by index."""
    errors: Connection
    """Where a traceback goes."""
    log: str
    """File that takes whatever the process prints."""
    world: type[Treasurehunt]
    """Class of the world; it must be importable in the child."""
    weights: NDArray[np.float32] | None
    """Warm start: (agents, vector size) float32, or None for fresh weights."""
    modifiers: tuple[Modifier, ...]
    """What wraps or replaces parts, in this order."""


class Parts:
    """A child's parts, made from its job."""

    def __init__(self, job: Job) -> None:
        config, fence = job.config, machine_fence()
        num_processes = len(job.bells)
        self.job = job
        self.progress = Progress(job.progress.open(Progress.layout(config.world.num_agents, num_processes)), fence)
        self.replays = [Replay(config, block.open(Replay.layout(config)), fence) for block in job.replays]
        layout = mailbox_layout(config, job.lag)
        self.mailboxes = [Mailbox(block.open(layout), fence) for block in job.mailboxes]
        self.channel = Channel(job.channel.open(Channel.layout()), fence)
        self.bell = job.bells[job.index]
        self.other_bells = [bell for index, bell in enumerate(job.bells) if index != job.index]
        for modifier in job.modifiers:
            modifier.on_parts(self)

    def collector(self) -> Collector:
        """The acting side, over all agents."""
        job = self.job
        collector = Collector(job.config, job.world, self.replays, self.mailboxes, self.progress, self.channel)
        for modifier in job.modifiers:
            modifier.on_collector(collector, self)
        return collector

    def trainer(self) -> Trainer:
        """The learning side of this job's agents."""
        job, device = self.job, resolve_device(self.job.config.device)
        agents = [Agent(job.config, i, device, None if job.weights is None else job.weights[i]) for i in job.agents]
        trainer = Trainer(
            job.config,
            agents,
            _pick(self.replays, job.agents),
            _pick(self.mailboxes, job.agents),
            self.progress,
            self.channel,
        )
        for modifier in job.modifiers:
            modifier.on_trainer(trainer, self)
        return trainer

    def ready(self) -> None:
        """Report that this child is ready and wait at the barrier for the others."""
        self.progress.report_ready(self.job.index)
        self.bell.wait_until(lambda: self.progress.started, self.progress)

    def ring_others(self) -> None:
        """Wake every process that may be waiting for what this one has just done."""
        for bell in self.other_bells:
            bell.ring()


def mailbox_layout(config: Config, lag: int | None) -> Layout:
    """The mailbox of one agent: two slots for the newest version, ``lag`` more for older ones."""
    parameters = ParameterLayout.of(build_network(config))
    return Mailbox.layout(2 * parameters.size, parameters.fingerprint, 2 + (lag or 0))


def _pick(items: Sequence[T], indices: Sequence[int]) -> list[T]:
    return [items[index] for index in indices]

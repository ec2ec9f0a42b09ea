"""What a child process is given when it is spawned, and how it puts its parts together from that.

This is the place where a part can be wrapped or replaced: the roles (``actor.py``, ``learner.py``, ``sequential.py``)
take what :class:`Parts` hands them, and the parts know nothing of each other's making.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.agents.iqn import build_network
from workbench.core.agents.iqn_agent import Agent
from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.processes import trim_memory as heap
from workbench.core.processes.shared_memory import Block, machine_fence
from workbench.core.processes.wakeup import Bell
from workbench.core.records import Metric, RecordTable, tables_with
from workbench.core.seeding import stream
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Field, Layout
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.loop import Collector, Trainer
from workbench.core.train.pacing import Pacing
from workbench.runs.live_settings import Changes
from workbench.runs.recovery.journal import Journal, State
from workbench.runs.recovery.state_keeper import Recovery

T = TypeVar("T")
Role = Literal["sequential", "actor", "learner"]

GIVE_BACK_INTERVAL_S = 1.0
"""Seconds between two times that a child gives freed memory back; each takes it less than a millisecond."""


class Modifier:
    """Wraps or replaces parts where a child puts them together: the one way in for faults and probes.

    It is made in the parent and sent to every child at spawn. Each method is called once per child that has such a
    part; it may replace the attributes of what it is given. The default changes nothing.
    """

    tables: ClassVar[Mapping[str, RecordTable]] = {}
    """Tables of records that it brings, by name: ``parts.channel[name].write(...)`` adds a record to one of them."""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """Curves: a field of a table each, its own or the core's; one that the table lacks is added to it, as float32."""

    def on_parts(self, parts: Parts) -> None:
        """Called when progress, replays, weight stores and channel are open."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Called with the acting side, before the ready barrier."""

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Called with the learning side of a group of agents, before the ready barrier."""


def record_tables(modifiers: Sequence[Modifier]) -> dict[str, RecordTable]:
    """The tables of a run: the core's, and what its modifiers bring."""
    return tables_with([each.tables for each in modifiers], metrics_of(modifiers))


def metrics_of(modifiers: Sequence[Modifier]) -> list[Metric]:
    """The metrics that modifiers bring."""
    return [metric for modifier in modifiers for metric in modifier.metrics]


@dataclass
class Journals:
    """Where the actor and each agent's learner keep their states, and where they copy their parts of a checkpoint."""

    actor: Block
    agents: list[Block]
    actor_checkpoint: Block | None
    """None, as are the next, in a run that writes no checkpoints."""
    agent_checkpoints: list[Block] | None

    @classmethod
    def create(
        cls, config: Config, replays: list[Block], stores: list[Block],
        create: Callable[[Layout], Block],
    ) -> Journals:  # fmt: skip
        """Take the memory for a run, whose replays and weight stores belong to its checkpoints."""
        actor, agent, agents = actor_state(config), agent_state(config), range(config.num_agents)
        # one table for all agents: a child is sent it once, and what it is sent must fit into a pipe
        kept = Journal.layout("journal of an agent", agent)
        first = create(Journal.layout("journal of the actor", actor)), [create(kept) for _ in agents]
        if not config.checkpoint.keep:
            return cls(*first, None, None)
        copied = Journal.layout("checkpoint of the actor", {**actor, **_bytes_of_replays(replays)}, slots=1)
        copied_of_agent = Journal.layout("checkpoint of an agent", {**agent, "weight store": stores[0].bytes}, slots=1)
        return cls(*first, create(copied), [create(copied_of_agent) for _ in agents])


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
    journals: Journals
    changes: Block
    """Settings that are changed while the run goes on."""
    channel: Block
    bells: list[Bell]
    """One bell per process, by index."""
    errors: Connection
    """Where a traceback goes."""
    log: str
    """File that takes whatever the process prints."""
    weights: Block | None
    """Warm start, see :func:`warm_start_layout`; None for fresh weights."""
    modifiers: tuple[Modifier, ...]
    """What wraps or replaces parts, in this order."""
    restarts: int = 0
    """How often this process was started before."""


class Parts:
    """A child's parts, made from its job."""

    def __init__(self, job: Job) -> None:
        config, fence = job.config, machine_fence()
        num_processes = len(job.bells)
        self.job = job
        self.progress = Progress(job.progress.open(Progress.layout(config.num_agents, num_processes)), fence)
        self.replays = [Replay(config, block.open(Replay.layout(config)), fence) for block in job.replays]
        layout = weight_store_layout(config, job.lag)
        self.stores = [WeightStore(block.open(layout), fence) for block in job.stores]
        self.channel = Channel(job.channel.open(), fence)
        self.changes = Changes(config, job.changes.open(Changes.layout()), fence)
        self.bell = job.bells[job.index]
        self._next_give_back = 0.0
        self.other_bells = [bell for index, bell in enumerate(job.bells) if index != job.index]
        for modifier in job.modifiers:
            modifier.on_parts(self)

    def pacing(self) -> Pacing:
        """Who may do what when, with the changes that are made while the run goes on."""
        return Pacing(self.job.config, self.job.lag, self.progress, lambda: self.changes.course)

    def collector(self) -> Collector:
        """The acting side, over all agents."""
        job = self.job
        journals, shared = job.journals, _bytes_of_replays(job.replays)
        collector = Collector(
            job.config, self.replays, self.stores, self.progress, self.channel,
            self._recovery(journals.actor, journals.actor_checkpoint, shared),
        )  # fmt: skip
        collector.course, collector.alive = self.changes.course, self.alive
        collector.restore()
        for modifier in job.modifiers:
            modifier.on_collector(collector, self)
        return collector

    def trainer(self) -> Trainer:
        """The learning side of this job's agents."""
        job, device = self.job, resolve_device(self.job.config.device)
        weights = None if job.weights is None else job.weights.open()["weights"]
        agents = [Agent(job.config, i, device, None if weights is None else weights[i]) for i in job.agents]
        trainer = Trainer(
            job.config,
            agents,
            _pick(self.replays, job.agents),
            _pick(self.stores, job.agents),
            self.progress,
            self.channel,
            [self._recovery_of(index) for index in job.agents],
        )
        trainer.course, trainer.alive = self.changes.course, self.alive
        trainer.restore()
        for modifier in job.modifiers:
            modifier.on_trainer(trainer, self)
        return trainer

    def _recovery_of(self, agent: int) -> Recovery:
        journals, copies = self.job.journals, self.job.journals.agent_checkpoints
        shared = {"weight store": self.job.stores[agent].bytes}
        return self._recovery(journals.agents[agent], None if copies is None else copies[agent], shared)

    def _recovery(self, journal: Block, copy: Block | None, shared: dict[str, NDArray[np.uint8]]) -> Recovery:
        fence = machine_fence()
        return Recovery(Journal(journal.open(), fence), None if copy is None else Journal(copy.open(), fence), shared)

    def alive(self) -> None:
        """Give a sign of life."""
        self.progress.report_alive(self.job.index)

    def ready(self) -> None:
        """Report that this child is ready and wait at the barrier for the others."""
        gc.collect()
        gc.freeze()  # what is there now stays: a collection need not look at it again
        self.progress.report_ready(self.job.index)
        self.bell.wait_until(lambda: self.progress.started, self.progress)
        if self.job.restarts:
            self.ring_others()  # its predecessor may have died between a report and the ring

    def ring_others(self) -> None:
        """Wake every process that may be waiting for what this one has just done."""
        for bell in self.other_bells:
            bell.ring()
        self.tidy()

    def tidy(self) -> None:
        """Free what Python keeps of objects after a piece of work, and now and then give freed memory back.

        Python keeps up to 2,000 tuples of each length, and every backward pass leaves one more. What was there before
        the run is frozen, so this takes microseconds.
        """
        gc.collect()
        if time.monotonic() >= self._next_give_back:
            heap.give_back()
            self._next_give_back = time.monotonic() + GIVE_BACK_INTERVAL_S


def weight_store_layout(config: Config, lag: int | None) -> Layout:
    """The weight store of one agent: two slots for the newest version, ``lag`` more for older ones."""
    parameters = ParameterLayout.of(build_network(config))
    return WeightStore.layout(2 * parameters.size, parameters.fingerprint, 2 + (lag or 0))


def warm_start_layout(weights: NDArray[np.float32]) -> Layout:
    """The block of the weights to start from, (agents, vector size) float32: too much to send to every child."""
    return Layout("weights to start from", (Field("weights", weights.shape, np.float32, 0),))


def actor_state(config: Config) -> State:
    """A state such as the collector keeps, for its shapes and dtypes."""
    agents = config.num_agents
    return {
        **{
            f"world_{name}": np.zeros(6, np.uint64) if name == "rng" else value
            for name, value in config.world.make(stream(config.seed, "world")).get_state().items()
        },
        "streams": np.zeros((3 * agents + 1, 6), np.uint64),
        "versions": np.zeros(agents, np.int64),
        "rewards": np.zeros((agents, 32), np.uint8),
        "evaluated": 0,
    }


def agent_state(config: Config) -> State:
    """A state such as the trainer keeps of one agent, for its shapes and dtypes."""
    size = ParameterLayout.of(build_network(config)).size
    return {
        "vector": np.zeros(2 * size, np.float32),
        **{name: np.zeros(size, np.float32) for name in ("exp_avg", "exp_avg_sq")},
        **dict.fromkeys(("step", "updates", "target_updates"), 0),
        "rng": np.zeros(6, np.uint64),
        "sampling": np.zeros(6, np.uint64),
        "losses": np.zeros(32, np.uint8),
        **dict.fromkeys(("version", "learned"), 0),
    }


def _bytes_of_replays(replays: Sequence[Block]) -> dict[str, NDArray[np.uint8]]:
    return {f"replay {agent}": block.bytes for agent, block in enumerate(replays)}


def _pick(items: Sequence[T], indices: Sequence[int]) -> list[T]:
    return [items[index] for index in indices]

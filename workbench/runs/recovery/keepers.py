"""What a process leaves for the one that takes its place: its state at every step, now and then a copy for the disk.

A checkpoint is the state of every process after the same epoch. The actor begins one before it reports that epoch, so
each learner sees what is due before it can get there, and copies its part when it does. No process waits for another;
the parent writes the file when every part is there (:mod:`workbench.runs.recovery.gathering`). Free-running learners
copy their part at their next publication.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.processes.blocks import Plan, Shared, weight_store_layout
from workbench.core.processes.worker import Parts
from workbench.core.seeding import rng_words, set_rng_words, stream
from workbench.core.shared.layout import Arrays, Counter, Field, Layout
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStoreError
from workbench.core.train.hooks import FixedSettings, Hook, Keeper
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.own_classes import state_of
from workbench.runs.recovery.journal import Journal, State

# Titles of the blocks that keep states, and of those that take copies.
JOURNALS, COPIES = "journals", "copies for checkpoints"
# The bytes of the blocks that an owner writes, by name.
Written = dict[str, NDArray[np.uint8]]


class Recovery(Hook):
    """Keeps every process's state, so that another can take its place and the run can be resumed.

    Give it before every other hook: what it restores is restored before anything is wrapped.
    """

    def layouts(self, plan: Plan) -> dict[str, Layout]:
        """A journal for each owner; if checkpoints are wanted, also a place for a copy of its state and its blocks."""
        found = {"checkpoint counters": CheckpointCounters.layout()}
        found |= _layouts("journal of", JOURNALS, example_states(plan), slots=2)
        if plan.config.checkpoint.keep:
            found |= _layouts("copy of", COPIES, parts_of_checkpoint(plan), slots=1)
        return found

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Keep the states of the acting side, and continue from the newest that was kept before, if there is one."""
        journal, *_ = places = places_of("actor", parts)
        collector.keeper = ActorKeeper(partial(collector_state, collector), *places, collector.settings)
        if journal.step >= 0:
            restore_collector(collector, journal.load())
            collector.show(journal.step)
        else:  # a process before it may have died between the rewards of the first epoch and the state behind them
            collector.progress.restore_rewards(np.zeros_like(collector.progress.digests()["rewards"]))

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """The same for each agent of the learning side."""
        for index in trainer.agents:
            journal, *_ = places = places_of(f"agent {index}", parts)
            trainer.keepers[index] = AgentKeeper(partial(agent_state, trainer, index), *places)
            if journal.step >= 0:
                restore_agent(trainer, index, journal.load())
                trainer.show(index, journal.step)
                # of one that the run continues without, all are reported already
                parts.progress.report_learned(index, max(trainer.learned[index], parts.progress.epochs_learned(index)))


def _layouts(name: str, title: str, states: Mapping[str, State], slots: int) -> dict[str, Layout]:
    """A table for the states of each owner; agents that are alike share one, so that a child is sent it once."""
    tables = {id(state): Journal.layout(title, state, slots) for state in states.values()}
    return {f"{name} {owner}": tables[id(state)] for owner, state in states.items()}


def parts_of_checkpoint(plan: Plan) -> dict[str, dict[str, NDArray[Any] | int]]:
    """What a checkpoint of a run holds, by owner, as examples of each shape and dtype: states, and bytes of blocks."""
    parts = example_states(plan)
    for index, spec in enumerate(plan.config.spec.agents):
        replay, store = Replay.layout(plan.config, spec), weight_store_layout(plan.config, spec, plan.lag)
        parts["actor"][f"replay {index}"] = np.broadcast_to(np.uint8(0), replay.nbytes)
        parts[f"agent {index}"]["weight store"] = np.broadcast_to(np.uint8(0), store.nbytes)
    return parts


def places_of(owner: str, memory: Parts | Shared) -> tuple[Journal, Journal | None, "CheckpointCounters", Written]:
    """An owner's journal, its part of a checkpoint (None if none are written), the counters, the blocks it writes."""
    copy = memory.blocks.get(f"copy of {owner}")
    if owner == "actor":
        written = {f"replay {index}": block.bytes for index, block in enumerate(memory.replay_blocks)}
    else:
        written = {"weight store": memory.store_blocks[int(owner.split()[1])].bytes}
    journal = Journal(memory.blocks[f"journal of {owner}"].open())
    counters = CheckpointCounters(memory.blocks["checkpoint counters"].open())
    return journal, None if copy is None else Journal(copy.open()), counters, written


@dataclass
class StateKeeper(Keeper):
    """Keeps the states of one owner.

    Attributes:
        state: looks the state up.
        journal, copies: the places to keep it; no copies if no checkpoints are written.
        counters: which checkpoint is due.
        blocks: the bytes of the blocks that the owner writes.
    """

    state: Callable[[], State]
    journal: Journal
    copies: Journal | None
    counters: "CheckpointCounters"
    blocks: Written

    def complete(self, epochs: int) -> None:
        """Keep the state in shared memory."""
        self.journal.save(epochs, self.state())

    def leave_checkpoint(self, epoch: int) -> None:
        """Copy state and blocks for the checkpoint of that epoch; the parent takes them from there."""
        if self.copies is not None:
            self.copies.save(epoch, {**self.state(), **self.blocks})


@dataclass
class ActorKeeper(StateKeeper):
    """Keeps the states of the acting side, and begins checkpoints: one at a time, others are skipped.

    Attributes:
        settings: looks up which epochs have one.
    """

    settings: Callable[[], FixedSettings]

    def visible(self, epochs: int) -> None:
        """Begin a checkpoint if one is asked for or due. No learner has got to this epoch: it is not reported yet."""
        counters, interval = self.counters, self.settings().at(epochs - 1).checkpoint.interval
        wanted = counters.asked or (interval > 0 and epochs % interval == 0)
        if self.copies is None or not wanted or counters.due.get() >= epochs:
            return
        if counters.kept.get() < counters.due.get():
            counters.skipped.set(counters.skipped.get() + 1)
            return
        self.leave_checkpoint(epochs)
        counters.begin(epochs)


class AgentKeeper(StateKeeper):
    """Keeps the states of one agent's learning."""

    def visible(self, epochs: int) -> None:
        """Leave the agent's part of a checkpoint that is due, unless it is there."""
        if self.copies is not None and epochs >= (due := self.counters.due.get()) > self.copies.step:
            self.leave_checkpoint(due)


class CheckpointCounters:
    """Which checkpoint is wanted, due and kept, over arrays that :meth:`layout` describes; one writer for each.

    Attributes:
        wanted: by the parent: how often a checkpoint was asked for.
        kept: by the parent: epoch of the newest that it is done with, written or given up; -1 before the first.
        due: by the actor: epoch whose state every process leaves for a checkpoint; -1 before the first.
        begun: by the actor: requests that it has answered.
        skipped: by the actor: checkpoints that were left out because the one before was not on disk yet.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.wanted, self.kept, self.due, self.begun, self.skipped = map(Counter, arrays.values())

    @staticmethod
    def layout() -> Layout:
        """The table of a run."""
        table = {"wanted": 0, "kept": -1, "due": -1, "begun": 0, "skipped": 0}
        return Layout("checkpoint counters", tuple(Field(name, (1,), np.int64, at) for name, at in table.items()))

    @property
    def asked(self) -> bool:
        """Whether a checkpoint was asked for that the actor has not begun."""
        return self.wanted.get() > self.begun.get()

    def begin(self, epoch: int) -> None:
        """The actor has left its state of that epoch; each learner follows when it gets there."""
        self.begun.set(self.wanted.get())
        self.due.set(epoch)


# --- the states: all that a process's future depends on; what lies in shared memory outlives it by itself ------------


def collector_state(collector: Collector) -> State:
    """The acting side, as it is between two epochs."""
    world = collector.world
    return {
        **{f"world_{name}": value for name, value in world.get_state().items() if name != "rng"},
        "world_rng": rng_words(world.rng),
        "streams": np.stack([rng_words(rng) for rng in collector.streams]),
        "versions": np.array([snapshot.version for snapshot in collector.in_use]),
        "rewards": collector.progress.digests()["rewards"],
        "evaluated": collector.evaluator.evaluated,
    }


def restore_collector(collector: Collector, state: dict[str, NDArray[Any]]) -> None:
    """Make a new acting side continue from a state that :func:`collector_state` gave."""
    for rng, words in zip(collector.streams, state["streams"], strict=True):
        set_rng_words(rng, words)
    world = collector.world
    set_rng_words(world.rng, state["world_rng"])
    kept = {name: state[f"world_{name}"] for name in world.get_state() if name != "rng"}
    world.set_state(kept | {"rng": world.rng.bit_generator.state})
    collector.progress.restore_rewards(state["rewards"])
    collector.evaluator.evaluated = int(state["evaluated"])
    for agent, version in enumerate(state["versions"].tolist()):
        if version >= 0:
            store, vector = collector.stores[agent], collector.vectors[agent]
            try:
                collector.in_use[agent] = store.read(vector, version)
            except WeightStoreError:  # a free-running learner has overwritten it
                collector.in_use[agent] = store.read(vector)
            collector.policies[agent].load(vector)


def agent_state(trainer: Trainer, index: int) -> State:
    """The learning of one agent, as it is right before a version is published."""
    return {
        **trainer.agents[index].get_state(copy=False),
        **{f"sampler_{name}": value for name, value in trainer.samplers[index].get_state().items()},
        "losses": trainer.progress.digests()["losses"][index],
        "version": trainer.versions[index],
        "learned": trainer.learned[index],
        "skipped": trainer.progress.skipped(index),
    }


def restore_agent(trainer: Trainer, index: int, state: dict[str, NDArray[Any]]) -> None:
    """Make a new learning side continue with one agent from a state that :func:`agent_state` gave."""
    agent = trainer.agents[index]
    agent.set_state(state)
    sampler = trainer.samplers[index]
    sampler.set_state({name: state[f"sampler_{name}"] for name in sampler.get_state()})
    trainer.progress.restore_updates(index, agent.updates, state["losses"])
    trainer.progress.report_skipped(index, int(state["skipped"]))
    trainer.versions[index], trainer.learned[index] = int(state["version"]), int(state["learned"])


def example_states(plan: Plan) -> dict[str, dict[str, NDArray[Any] | int]]:
    """A state of each owner, of the acting side first, for their shapes and dtypes. Agents that are alike share one."""
    config, agents = plan.config, plan.config.num_agents
    world = state_of(config.world, config.world.make(stream(config.seed, "world")), "rng")
    words, digest = np.zeros(6, np.uint64), np.zeros(32, np.uint8)
    acting = {
        **{f"world_{name}": words if name == "rng" else value for name, value in world.items()},
        "streams": np.zeros((3 * agents + 1, 6), np.uint64),
        "versions": np.zeros(agents, np.int64),
        "rewards": np.zeros((agents, 32), np.uint8),
        "evaluated": 0,
    }
    sampler = state_of(config.replay.sampler, config.replay.sampler.make(config, stream(config.seed, "sampling")))
    drawing = {f"sampler_{name}": value for name, value in sampler.items()} | {"losses": digest}
    drawing |= dict.fromkeys(("version", "learned", "skipped"), 0)
    names, specs = (*drawing, "at", "count", "weight store"), config.spec.agents
    states = {spec: config.agent.example_state(config, index) for index, spec in enumerate(specs)}
    learning = {spec: {**state_of(config.agent, it, others=names), **drawing} for spec, it in states.items()}
    return {"actor": acting} | {f"agent {index}": learning[spec] for index, spec in enumerate(specs)}

"""Probes: measure inside the children, beside the work, and record what was found next to what is due.

:class:`Probes` puts thin wrappers around the parts of each side. A wrapper calls what it wraps with what it was given
and returns what came back; it draws no random number of the run, holds nothing, and waits for nothing, so a run with
probes has the digests of a run without. What costs more than a few microseconds is measured in the first
:data:`ALWAYS_BELOW` rounds and in every :data:`EVERY` th after them; what costs as much as an action, in every
:data:`EVERY` th from the start. In 120 epochs of the default preset they took 4.5 % of the actor's thread time, 1.6 %
of a learner's, and 1.8 % of a sequential run's.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents import schedules
from workbench.core.agents.base import Chosen
from workbench.core.agents.networks import ValueNetwork
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.worker import Parts
from workbench.core.shared.replay import Batch
from workbench.core.shared.weight_store import Snapshot, checksum
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.clean import CleanReplay, CleanWeightStore, Samples, distance, sample_index
from workbench.diagnose.faults.fault import override
from workbench.diagnose.measurements import PROBE_TABLES, measurement_number

# Rounds (epochs, versions, phases of learning) from the start in which everything is measured.
ALWAYS_BELOW = 16
# After that, everything is measured in one of this many rounds.
EVERY = 4
# Worlds of an epoch, from the first, whose states are compared.
WORLDS = 4
_STATES = 8

Wrapped = Callable[..., Any]


class Probes(Hook):
    """All probes. Give it last: ``launch(config, hooks=[*faults, Probes()])``."""

    tables = PROBE_TABLES

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Measure on the acting side."""
        _Acting(collector, parts)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Measure on the learning side."""
        probes = {
            index: _Learning(trainer, agent, index, parts)
            for index, agent in trainer.agents.items()
            if isinstance(agent, ValueAgent)  # of others nothing is known that could be looked at
        }
        for name in ("learn", "publish", "epoch", "updates"):
            override(trainer, name, functools.partial(_of_its_agent, probes, f"_{name}"))


def _of_its_agent(
    probes: Mapping[int, _Learning], watching: str, method: Wrapped, index: int, *rest: Any, **named: Any
) -> Any:
    """A call of a method of the trainer that takes an agent's index first; agents without probes pass through."""
    of_agent = probes.get(index)
    return getattr(of_agent, watching)(method, *rest, **named) if of_agent else method(index, *rest, **named)


def measured_in_full(round_: int) -> bool:
    """Whether the costlier measurements are made in a round."""
    return round_ < ALWAYS_BELOW or measured_sparsely(round_)


def measured_sparsely(round_: int) -> bool:
    """Whether the costliest measurements are made in a round."""
    return round_ % EVERY == 0


class ProbeBatch:
    """A fixed batch of made-up states, the same in every process."""

    def __init__(self, spec: AgentSpec, num_frames: int, device: torch.device) -> None:
        shape = (_STATES, num_frames, *spec.shape)
        codes = (np.arange(math.prod(shape), dtype=np.uint64) * np.uint64(2654435761) >> np.uint64(16)) % np.uint64(6)
        self._states = torch.from_numpy(codes.astype(spec.dtype).reshape(shape)).to(device)

    @torch.no_grad()
    def value(self, network: ValueNetwork) -> float:
        """Greatest Q of each state, mean over the states; without layer noise."""
        training = network.training
        network.eval()
        q = network.q(self._states)
        network.train(training)
        return float(q.amax(1).mean())


class _Side:
    """What both sides share: clean readers of every agent's blocks, and the way to the record."""

    def __init__(self, parts: Parts) -> None:
        self.config, self.lag = parts.config, parts.lag
        specs = self.config.spec.agents
        self.layouts = [self.config.agent.layout(spec) for spec in specs]
        self.stores = [
            CleanWeightStore(layout, block.open())
            for layout, block in zip(self.layouts, parts.store_blocks, strict=True)
        ]
        self.replays = [
            CleanReplay(self.config, spec, block.open()) for spec, block in zip(specs, parts.replay_blocks, strict=True)
        ]
        self._write = parts.channel["probes"].write

    def record(
        self, name: str, agent: int, epoch: int, version: int, update: int, value: float, due: float = math.nan
    ) -> None:
        """Write down a measured value beside what was due; nan where nothing is."""
        self._write(
            time=time.time(), agent=agent, epoch=epoch, measurement=measurement_number(name), version=version,
            update=update, value=value, due=due,
        )  # fmt: skip


class _Acting(_Side):
    """The probes of the actor."""

    def __init__(self, collector: Collector, parts: Parts) -> None:
        super().__init__(parts)
        self.collector = collector
        specs, device = self.config.spec.agents, collector.policies[0].device
        self._probe_batches = [ProbeBatch(spec, self.config.agent.num_frames, device) for spec in specs]
        self._places = [torch.from_numpy(sample_index(layout)).to(device) for layout in self.layouts]
        self._watched = [_Watched(self.config, spec) for spec in self.config.spec.agents]
        self._reset_differs = math.nan
        self._in_full, self._version_due = True, [0] * len(self.stores)
        override(collector, "epoch", self._collect)
        override(collector, "sync", self._sync)
        override(collector.world, "reset", self._reset)
        for agent, policy in enumerate(collector.policies):
            override(policy, "act", functools.partial(self._act, agent=agent))

    # --- an epoch --------------------------------------------------------------------------------------------------

    def _collect(self, collect: Wrapped, epoch: int, version: int | None) -> None:
        self._in_full = measured_in_full(epoch)
        if self.lag is not None:
            self._version_due = [max(0, epoch - self.lag)] * len(self.stores)
        elif epoch % self.collector.settings().at(epoch).pacing.sync_interval == 0:
            self._version_due = [store.newest for store in self.stores]
        for watched in self._watched:
            watched.turn = 0
        collect(epoch, version)
        for agent, watched in enumerate(self._watched):
            self._record_epoch(epoch, agent, watched)
        self.record("world/reset", -1, epoch, -1, -1, self._reset_differs, 0)

    def _act(self, act: Wrapped, stack: NDArray[np.uint8], epsilon: float, *, agent: int) -> Chosen:
        watched = self._watched[agent]
        if watched.turn == 0:
            watched.in_use = self.collector.in_use[agent]
        if self._in_full:
            watched.before(stack)
        choice: Chosen = act(stack, epsilon)
        watched.after(choice)
        return choice

    def _reset(self, reset: Wrapped) -> None:
        world: Any = self.collector.world
        rng = twin(world.rng) if self._in_full and hasattr(world, "cells") else None
        reset()
        self._reset_differs = math.nan
        if rng is not None:
            fresh: Any = self.config.world.make(rng)
            self._reset_differs = int((fresh.cells != world.cells).sum())

    def _record_epoch(self, epoch: int, agent: int, watched: _Watched) -> None:
        in_use, replay = watched.in_use, self.replays[agent]
        about = (agent, epoch, in_use.version, in_use.updates)
        steps = self.config.steps_per_epoch
        self.record("act/version", *about, in_use.version, self._version_due[agent])
        self.record(
            "act/epsilon", *about, watched.epsilon, schedules.epsilon(self.collector.settings().at(epoch), epoch)
        )
        self.record("act/rows", *about, replay.count, (epoch + 1) * steps)
        out_of_range = int(((watched.actions < 0) | (watched.actions >= watched.num_actions)).sum())
        self.record("act/out_of_range", *about, out_of_range, 0)
        if self._in_full and replay.count >= (epoch + 1) * steps:
            numbers = np.arange(epoch * steps, (epoch + 1) * steps)
            rows = replay.read(numbers.reshape(-1, self.config.num_worlds)[:, : watched.worlds].reshape(-1))
            differs = (rows.stack != watched.stacks.reshape(rows.stack.shape)).reshape(len(rows.stack), -1).any(1)
            self.record("act/stacks", *about, int(differs.sum()), 0)
            self.record("act/broken", *about, replay.broken(numbers), 0)

    # --- a sync ----------------------------------------------------------------------------------------------------

    def _sync(self, sync: Wrapped, epoch: int, version: int | None) -> None:
        agents = range(len(self.stores))
        earlier, held = list(self.collector.in_use), [self._held_before(agent, version) for agent in agents]
        sync(epoch, version)
        for agent in agents:
            self._record_sync(epoch, agent, earlier[agent], held[agent])

    def _held_before(self, agent: int, version: int | None) -> Samples | None:
        """What the actor holds before a sync to a version, if the sync will be measured in full."""
        coming = self.stores[agent].newest if version is None else version
        held = self.collector.in_use[agent].version
        known = isinstance(self.collector.policies[agent], EpsilonGreedy)
        return self._held(agent) if known and held >= 0 and coming != held and measured_in_full(coming) else None

    def _record_sync(self, epoch: int, agent: int, earlier: Snapshot, held: Samples | None) -> None:
        collector, now = self.collector, self.collector.in_use[agent]
        due = schedules.epsilon(collector.settings().at(epoch), epoch)
        about = (agent, epoch, now.version, now.updates)
        self.record("sync/epsilon_before", *about, self._watched[agent].epsilon, due)
        self.record("sync/epsilon_after", *about, collector.epsilon(epoch), due)
        if now.version == earlier.version:
            return
        self.record("sync/checksum", *about, checksum(collector.vectors[agent]) == now.checksum, 1)
        if not measured_in_full(now.version):
            return
        policy: Any = collector.policies[agent]
        if not isinstance(policy, EpsilonGreedy):
            return  # what it acts with cannot be looked at
        if measured_sparsely(now.version):
            self.record("sync/q", *about, self._probe_batches[agent].value(policy.network))
        if (published := self.stores[agent].sample(now.version)) is None:
            return  # overwritten meanwhile, as a free-running learner may
        for place, half in enumerate(("online", "target")):
            if held is not None:
                self.record(f"sync/{half}_before", *about, distance(held[place], published[place]))
            self.record(f"sync/{half}_after", *about, distance(self._held(agent)[place], published[place]), 0)

    def _held(self, agent: int) -> Samples:
        """Sampled weights that the actor holds: online as it acts with them, target as it copied it."""
        policy: Any = self.collector.policies[agent]
        online = _sampled(policy.weights, self._places[agent])
        return online, self.stores[agent].of_half(self.collector.vectors[agent][self.layouts[agent].size :])


class _Watched:
    """What one policy was fed and chose in an epoch."""

    def __init__(self, config: Config, spec: AgentSpec) -> None:
        turns = config.max_turns
        self.worlds, self.num_actions = min(WORLDS, config.num_worlds), spec.num_actions
        self.stacks = np.zeros((turns, self.worlds, config.agent.num_frames, *spec.shape), spec.dtype)
        self.actions = np.zeros((turns, config.num_worlds), np.int64)
        self.in_use = Snapshot(-1, -1, math.nan, math.nan, 0)
        self.epsilon, self.turn = math.nan, 0

    def before(self, stack: NDArray[np.uint8]) -> None:
        """Keep what the policy is about to be fed."""
        seen = stack[: self.worlds]
        self.stacks[self.turn] = seen if seen.shape == self.stacks.shape[1:] else 255  # no such code: it differs

    def after(self, choice: Chosen) -> None:
        """Keep what it chose, and the epsilon behind the first choice."""
        self.actions[self.turn] = choice.action
        if self.turn == 0:
            probability = float(choice.probability[0])
            greedy = choice.action[0] == choice.greedy[0]
            self.epsilon = (1 - probability) / (1 - 1 / self.num_actions) if greedy else probability * self.num_actions
        self.turn += 1


@dataclass
class _Phase:
    """One phase of learning of one agent.

    Attributes:
        probed_update: The update after which everything is measured; -1 for none.
    """

    epoch: int = -1
    probed_update: int = -1
    void: int = 0
    void_below: int = 0
    training: list[bool] = field(default_factory=list)


class _Learning(_Side):
    """The probes of one agent's learner."""

    def __init__(self, trainer: Trainer, agent: ValueAgent, index: int, parts: Parts) -> None:
        super().__init__(parts)
        self.trainer, self.index, self.agent = trainer, index, agent
        self.replay, self.store = self.replays[index], self.stores[index]
        self._collected = parts.progress
        self._probe_batch = ProbeBatch(self.config.spec.agents[index], self.config.agent.num_frames, agent.device)
        self._places = torch.from_numpy(sample_index(self.layouts[index])).to(agent.device)
        self.updates, self._published, self._phase, self._host = 0, 0, _Phase(), math.nan
        self._counts, self._last_probed = False, 0
        override(trainer.replays[index], "sample", self._sample)
        override(agent, "update", self._update)
        override(agent, "snapshot", self._snapshot)

    def measured(self, name: str, value: float, due: float = math.nan) -> None:
        self.record(name, self.index, self._phase.epoch, self.store.newest, self.updates, value, due)

    # --- a phase of learning ---------------------------------------------------------------------------------------

    def _epoch(self, method: Wrapped, *arguments: Any, **named: Any) -> None:
        method(self.index, *arguments, **named)
        self.measured("learn/waiting", self.updates - self._published, 0)

    def _updates(self, method: Wrapped, *arguments: Any, **named: Any) -> None:
        method(self.index, *arguments, **named)
        may_wait = self.trainer.settings().at(self._phase.epoch).pacing.publish_interval - 1
        self.measured("learn/waiting", self.updates - self._published, may_wait)

    def _count_on(self) -> None:
        """Count updates on from those that the agent begins with: none, or those it had made before it was restored."""
        if not self._counts:
            self._counts, self.updates = True, self.agent.updates
            self._published = self._last_probed = self.updates

    def _learn(self, method: Wrapped, epoch: int, num_updates: int, end: int | None) -> None:
        self._count_on()
        due = self._collected.epochs_collected * self.config.steps_per_epoch  # before the count: it only grows
        per_epoch = self.trainer.settings().at(epoch).pacing.updates_per_epoch
        in_full = self.updates < ALWAYS_BELOW * per_epoch or self.updates - self._last_probed >= EVERY * per_epoch
        probed = self.updates + num_updates if in_full and num_updates else -1
        self._phase = _Phase(epoch, probed)
        self.measured("data/rows", self.trainer.replays[self.index].count, due)
        method(self.index, epoch, num_updates, end)
        if num_updates:
            self.measured("data/void", self._phase.void, 0)
            interval = self.config.learning.target_interval
            self.measured("learn/target_updates", self.agent.target_updates, self.updates // interval)

    def _sample(self, sample: Wrapped, *arguments: Any, **named: Any) -> Batch:
        self._phase.void_below = self.replay.oldest_intact
        batch: Batch = sample(*arguments, **named)
        void = (batch.number < self._phase.void_below) | (batch.number >= self.replay.count)
        self._phase.void += int(void.sum())
        return batch

    def _update(self, update: Wrapped, learning_rate: float) -> Tensor:
        self.updates += 1
        if self.updates != self._phase.probed_update:
            metrics: Tensor = update(learning_rate)
            return metrics
        self._last_probed = self.updates
        online, target = self._weights()
        hook = self.agent.online.register_forward_pre_hook(
            lambda network, _: self._phase.training.append(network.training)
        )
        metrics = update(learning_rate)
        hook.remove()
        self._record_update(online, target)
        self._record_batch()
        return metrics

    def _record_update(self, online_before: NDArray[np.float64], target_before: NDArray[np.float64]) -> None:
        agent, learning = self.agent, self.config.learning
        online, target = self._weights()
        way = online - target_before
        if length := float(way @ way):
            moved = float((target - target_before) @ way) / (learning.tau * length)
            self.measured("learn/target_motion", moved, self.updates % learning.target_interval == 0)
        self.measured("learn/moved", distance(online, online_before))
        self.measured("learn/training", all(self._phase.training or [agent.online.training]), 1)
        self.measured("learn/gradient", float(torch.linalg.vector_norm(agent.parameters.gradient)), learning.grad_clip)
        self.measured("learn/optimizer", _optimizer_holds(agent), 1)
        self.measured("learn/steps", float(agent.optimizer.steps), self.updates)
        self.measured("learn/device", agent.parameters.vector.device == agent.device, 1)

    def _record_batch(self) -> None:
        batch = self.agent.batch
        columns = np.column_stack([batch.s_tm1.reshape(len(batch.number), -1), batch.a_tm1, batch.r_t])
        if len(columns) > 1:
            self.measured("data/varying", float((columns != columns[0]).any(0).mean()), 0)
        judged = self.replay.judge(batch, self._phase.void_below)
        if judged is None:
            return
        self.measured("data/broken", judged.broken + self.replay.scan(), 0)
        self.measured("data/stacks", judged.stacks, 0)
        self.measured("data/returns", judged.returns, 0)
        self.measured("data/discounts", judged.discounts, 0)
        self.measured("data/bias", judged.bias, 0)
        if np.isfinite(judged.scale):
            self.measured("data/scale", judged.scale, self.config.learning.reward_scale)

    # --- a publication ---------------------------------------------------------------------------------------------

    def _snapshot(self, snapshot: Wrapped, out: Any) -> None:
        self._host = isinstance(out, np.ndarray)
        snapshot(out)

    def _publish(self, method: Wrapped, epoch: int) -> None:
        self._count_on()
        before = self.store.newest
        method(self.index, epoch)
        newest = self.store.peek()
        if newest is None:
            return
        if newest.version > before:
            self._published = self.updates
        self.measured("publish/updates", newest.updates, self.updates)
        if not measured_in_full(newest.version):
            return
        if np.isfinite(self._host):
            self.measured("publish/host", self._host, 1)
        online, target = self._weights()
        self.measured("publish/online_target", distance(online, target))
        if measured_sparsely(newest.version):
            self.measured("publish/q", self._probe_batch.value(self.agent.online))
        if (published := self.store.sample(newest.version)) is not None:
            self.measured("publish/online", distance(online, published[0]), 0)
            self.measured("publish/target", distance(target, published[1]), 0)

    def _weights(self) -> Samples:
        """Sampled weights of the agent's networks, as they are now."""
        parameters = self.agent.parameters
        return _sampled(parameters.online, self._places), _sampled(parameters.target, self._places)


def twin(rng: np.random.Generator) -> np.random.Generator:
    """A PCG64 generator of its own that continues with the same numbers."""
    other = np.random.Generator(np.random.PCG64(0))
    other.bit_generator.state = rng.bit_generator.state
    return other


def _sampled(weights: Tensor, places: Tensor) -> NDArray[np.float64]:
    sampled: NDArray[np.float64] = weights.detach().index_select(0, places).cpu().numpy().astype(np.float64)
    return sampled


def _optimizer_holds(agent: ValueAgent) -> bool:
    """Whether the optimiser steps the vector that both networks' parameters are views of."""
    parameters = agent.parameters
    if agent.optimizer.weights is not parameters.online:
        return False
    halves = ((agent.online, parameters.online), (agent.target, parameters.target))
    return all(_are_views(network, parameters.layout.views(half)) for network, half in halves)


def _are_views(network: torch.nn.Module, views: dict[str, Tensor]) -> bool:
    named: Sequence[tuple[str, Tensor]] = list(network.named_parameters())
    return all(name in views and each.data_ptr() == views[name].data_ptr() for name, each in named)

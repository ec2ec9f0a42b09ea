"""Faults between learner and actor: torn, late or missing copies of the weights, and epsilon (catalogue W1 to W10)."""

import itertools
from collections.abc import Callable
from time import sleep
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.core import registry
from workbench.core.agents.flat_parameters import bind, to_numpy
from workbench.core.agents.value_agent import ValueAgent, arguments_of
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.worker import Parts
from workbench.core.shared.weight_store import Snapshot, WeightStore
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.faults.fault import AgentFault, Fault, override
from workbench.diagnose.sentences import said

Vector = NDArray[np.float32]
# Copies one network's half of a snapshot: (source, target).
Copy = Callable[[Vector, Vector], None]

# --- torn copies -----------------------------------------------------------------------------------------------------


class _SharedModel(WeightStore):
    """The original's weight store: one model in shared memory, written and read in place, without a second look.

    The model is the first slot. The regular slots are filled as well, for careful readers. A reader always
    gets the newest there is: one model holds no older version.
    """

    def __init__(self, parts: Parts, agent: int, copier: Callable[[Config, AgentSpec], Copy]) -> None:
        super().__init__(parts.store_blocks[agent].open())
        self._model: Vector = self._arrays["vector"][0]
        self._copy_half = copier(parts.config, parts.config.spec.agents[agent])

    def _copy(self, source: Vector, target: Vector) -> None:
        for source_half, target_half in zip(np.split(source, 2), np.split(target, 2), strict=True):
            self._copy_half(source_half, target_half)

    def publish(self, write: Callable[[Vector], object], updates: int, epsilon: float) -> Snapshot:
        """Publish with care, then copy the same into the shared model without."""
        snapshot = super().publish(write, updates, epsilon)
        self._copy(self._arrays["vector"][snapshot.version % self._slots], self._model)
        return snapshot

    def read(self, out: Vector, version: int | None = None) -> Snapshot:
        """Copy the shared model, whatever version was asked for, and take it for the newest."""
        snapshot = self.peek()
        out.fill(0.0)  # the gaps between parameters
        self._copy(self._model, out)
        return snapshot


class _Torn(Fault):
    """Both sides of the exchange use one shared model of each agent and copy it with :meth:`copier`."""

    def copier(self, config: Config, spec: AgentSpec) -> Copy:
        """The way in which an agent's network is copied."""
        raise NotImplementedError

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """The learner writes into the shared model."""
        trainer.stores |= {agent: _SharedModel(parts, agent, self.copier) for agent in trainer.stores}

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The actor reads from it."""
        collector.stores = [_SharedModel(parts, agent, self.copier) for agent in range(len(collector.stores))]
        _sync_to_newest(collector)


class TornWeightsPerParameter(_Torn):
    """Weights are copied parameter by parameter while the learner writes them: a mixture that never existed."""

    def copier(self, config: Config, spec: AgentSpec) -> Copy:
        """A loop over the parameters, with a pause after each."""
        layout, pause_s = config.agent.layout(spec), self.strength / 1e6

        def copy(source: Vector, target: Vector) -> None:
            """One parameter at a time."""
            for new, old in zip(layout.views(source).values(), layout.views(target).values(), strict=True):
                old[...] = new
                sleep(pause_s)

        return copy


class TornWeightsStateDict(_Torn):
    """Weights are copied with ``load_state_dict``, which is often taken to be atomic. It is the same loop."""

    def copier(self, config: Config, spec: AgentSpec) -> Copy:
        """``load_state_dict`` from one network to another, with a pause before each layer."""
        networks = [arguments_of(config).network(spec) for _ in range(2)]
        for layer in networks[1].children():
            layer.register_load_state_dict_pre_hook(lambda *_: sleep(self.strength / 1e6))  # type: ignore[no-untyped-call]  # torch

        def copy(source: Vector, target: Vector) -> None:
            """One ``load_state_dict``."""
            for network, vector in zip(networks, (source, target), strict=True):
                bind(network, torch.from_numpy(vector))
            networks[1].load_state_dict(networks[0].state_dict())

        return copy


# --- late and missing copies -----------------------------------------------------------------------------------------


class _Seldom(Fault):
    """Some of the exchanges of weights are left out: all but the first, or all but one in every ``strength``."""

    def due(self, number: int) -> bool:
        """Whether the exchange of that number takes place, counted from 0."""
        return number % int(self.strength) == 0 if self.strength else number == 0


class _SyncSeldom(_Seldom):
    """Some syncs are left out; the one after the last epoch never is."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """A sync changes nothing in epochs that are not due."""

        def sync(original: Any, epoch: int, version: int | None) -> None:
            """Sync, if the epoch is due one."""
            if self.due(epoch) or epoch == collector.config.epochs:
                original(epoch, version)

        override(collector, "sync", sync)


class SyncNever(_SyncSeldom):
    """The actor acts with the initial weights to the end. The last evaluation still syncs."""


class SyncRarely(_SyncSeldom):
    """The actor syncs far too rarely: every 50 turns in the original, at the end of its epoch."""


def _sync_to_newest(collector: Collector) -> None:
    """Let every sync take the newest version there is, whatever version was agreed."""
    override(collector, "sync", lambda original, epoch, version: original(epoch, None))


class _PublishSeldom(_Seldom):
    """Some publications are left out; the actor takes the newest there is, whatever version was agreed."""

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Publications that are not due change nothing but the learner's own bookkeeping; 0 is the initial weights."""
        numbers = {agent: itertools.count() for agent in trainer.agents}

        def publish(original: Any, index: int, epoch: int) -> None:
            """Publish, if it is the turn of this publication."""
            if self.due(next(numbers[index])):
                original(index, epoch)
            trainer.unpublished[index] = 0

        override(trainer, "publish", publish)

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The agreed version may not be there."""
        _sync_to_newest(collector)


class PublishNever(_PublishSeldom):
    """The learner keeps what it learns to itself. The run ends with its initial weights."""


class PublishRarely(_PublishSeldom):
    """The learner publishes far too rarely."""


class SyncNoop(Fault):
    """Every sync takes place, is recorded, and leaves the weights as they were."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """A policy loads its first weights and no others."""
        for policy, earlier in ((each, itertools.count()) for each in collector.policies):
            override(policy, "load", lambda load, vector, earlier=earlier: next(earlier) or load(vector))


class SyncAfterAction(Fault):
    """A round acts first and syncs then, so it acts with the weights of the round before."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The sync of an epoch waits for its last action; the first epoch needs weights to act with."""
        sync, waiting = collector.sync, list[tuple[int, int | None]]()

        def later(original: Any, epoch: int, version: int | None) -> None:
            """Put the sync off until the epoch has been played."""
            if epoch in (0, collector.config.epochs):
                original(epoch, version)
            else:
                waiting.append((epoch, version))

        def epoch(original: Any, epoch: int, version: int | None) -> None:
            """Play the epoch, then do the sync that was put off."""
            original(epoch, version)
            while waiting:
                sync(*waiting.pop())

        override(collector, "sync", later)
        override(collector, "epoch", epoch)


class StaleEpsilon(Fault):
    """Epsilon is fetched now and then and used until the next time.

    In the original it was a plain attribute of a shared model, which no other process ever saw change.
    """

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Epsilon is that of the last epoch in which it was looked at."""
        override(collector, "epsilon", lambda original, epoch: original(epoch - epoch % int(self.strength)))

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """It takes an epsilon that changes."""
        first, last = config.exploration.epsilon_start, config.exploration.epsilon_end
        return "" if first != last else said("faults.epsilon", epsilon=last)


# --- what a copy holds -----------------------------------------------------------------------------------------------


class TargetNotPublished(AgentFault):
    """What is published holds the target network that the run began with.

    The actor never uses the target network, so this shows only when another run is started from these weights.
    """

    def change(self, agent: ValueAgent) -> None:
        """The target half of every snapshot is the first one."""
        first = to_numpy(agent.parameters.target)

        def snapshot(original: Any, out: Vector) -> None:
            """The snapshot with the first target network in it."""
            original(out)
            out[len(first) :] = first

        override(agent, "snapshot", snapshot)


class OptimizerBeforeWeights(AgentFault):
    """The optimiser was made for weights that were replaced afterwards, and still steps those.

    The seed's own case is milder: weights copied in place under a new optimiser, which has no moments yet that could
    be wrong, so nothing happens at all.
    """

    def change(self, agent: ValueAgent) -> None:
        """Every agent gets the optimiser of an agent that is thrown away."""
        agent.optimizer = type(agent)(agent.config, agent.index, agent.device).optimizer

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """A learner that stacks its agents has one optimiser for all."""
        return said("faults.fused") if config.processes.learners in registry.names("learner") else ""


class SnapshotOnGpu(AgentFault):
    """A snapshot is asked for in the memory of the device: it is refused, because others cannot read that."""

    def change(self, agent: ValueAgent) -> None:
        """Snapshots are taken into a tensor on the learner's device."""
        override(agent, "snapshot", lambda original, out: original(torch.from_numpy(out).to(agent.device)))

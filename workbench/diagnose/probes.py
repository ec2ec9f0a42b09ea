"""Probes: measure inside the children, beside the work, and record what was found next to what is due.

:class:`Probes` puts thin wrappers around the parts of each side. A wrapper calls what it wraps with what it was given
and returns what came back; it draws no random number of the run, holds nothing, and waits for nothing, so a run with
probes has the digests of a run without. They measure what has to be looked at all the time: whether rows and copied
weights are whole, and how far the actor's weights are from the published ones. What an epoch, an update and a
publication compute is for :mod:`workbench.diagnose.audit`. Weights are compared in the first :data:`ALWAYS_BELOW`
rounds and in every :data:`EVERY` th after them.
"""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import to_numpy
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent
from workbench.core.processes.worker import Parts
from workbench.core.shared.weight_store import Snapshot, checksum
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.clean import Half, Side, distance
from workbench.diagnose.faults.fault import Wrapped, override
from workbench.diagnose.measurements import PROBE_TABLES, measurement_number

# Rounds (epochs, versions, phases of learning) from the start in which everything is measured.
ALWAYS_BELOW = 16
# After that, everything is measured in one of this many rounds.
EVERY = 4
# Numbers of each parameter that weights are compared on.
SAMPLE = 512


# Sampled weights of an online and a target network.
Samples = tuple[NDArray[np.float64], NDArray[np.float64]]


class Probes(Hook):
    """All probes. Give it last: ``launch(config, hooks=[*faults, Probes()])``."""

    tables = PROBE_TABLES

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Measure on the acting side."""
        _Acting(collector, parts)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Measure on the learning side."""
        side = _Side(parts)

        def learn(original: Wrapped, index: int, epoch: int, num_updates: int, end: int | None) -> None:
            """Learn; then look at rows of the window, and at the network's mode."""
            original(index, epoch, num_updates, end)
            if num_updates:
                agent, version = trainer.agents[index], side.stores[index].newest
                about = {"agent": index, "epoch": epoch, "version": version, "update": agent.updates}
                side.record("data/broken", side.replays[index].scan(), 0, **about)
                if measured_in_full(epoch) and isinstance(agent, ValueAgent):  # of others nothing is known
                    side.record("learn/training", agent.online.training, 1, **about)

        override(trainer, "learn", learn)


def measured_in_full(round_: int) -> bool:
    """Whether the costlier measurements are made in a round."""
    return round_ < ALWAYS_BELOW or round_ % EVERY == 0


class _Side(Side):
    """Either side, and the way to the record."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, SAMPLE)
        self._write = parts.channel["probes"].write

    def record(self, name: str, value: float, due: float = math.nan, **about: int) -> None:
        """Write down a measured value beside what was due, nan where nothing is; and what the record is about."""
        self._write(time=time.time(), measurement=measurement_number(name), value=value, due=due, **about)


class _Acting(_Side):
    """The probes of the actor."""

    def __init__(self, collector: Collector, parts: Parts) -> None:
        super().__init__(parts)
        self.collector = collector
        self._holds: dict[int, Samples | None] = {}  # what each agent took at the last sync
        override(collector, "sync", self._sync)

    def _sync(self, sync: Wrapped, epoch: int, version: int | None) -> None:
        earlier = list(self.collector.in_use)
        sync(epoch, version)
        for agent, now in enumerate(self.collector.in_use):
            if now.version != earlier[agent].version:
                self._record_sync(epoch, agent, now)

    def _record_sync(self, epoch: int, agent: int, now: Snapshot) -> None:
        about = {"agent": agent, "epoch": epoch, "version": now.version, "update": now.updates}
        self.record("sync/checksum", checksum(self.collector.vectors[agent]) == now.checksum, 1, **about)
        before, after = self._holds.get(agent), self._held(agent)
        self._holds[agent] = after
        published = self.stores[agent].look(now.version, lambda *halves: [self._sampled(agent, x) for x in halves])
        if after is None or published is None or not measured_in_full(now.version):
            return  # overwritten meanwhile, as a free-running learner may
        for place, half in enumerate(("online", "target")):
            if before is not None:
                self.record(f"sync/{half}_before", distance(before[place], published[place]), **about)
            self.record(f"sync/{half}_after", distance(after[place], published[place]), 0, **about)

    def _held(self, agent: int) -> Samples | None:
        """Sampled weights that the actor holds: online as it acts with them, target as it copied it.

        None where what a policy acts with cannot be looked at.
        """
        policy: Any = self.collector.policies[agent]
        if not isinstance(policy, EpsilonGreedy):
            return None
        target = self.collector.vectors[agent][self.layouts[agent].size :]
        return self._sampled(agent, to_numpy(policy.weights, copy=False)), self._sampled(agent, target)

    def _sampled(self, agent: int, half: Half) -> NDArray[np.float64]:
        return half.take(self.places[agent]).astype(np.float64)

"""Who makes the updates of a process's agents: one after the other by default.

A learner owns the agents of its process, one, a group or all of them, with what each learns from. It is asked for the
updates of one agent at a time; one that makes those of several agents in one go asks for the others'
(:attr:`Learner.ask`). The results of an agent must be those of its own updates either way.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.core.agents.base import Agent
from workbench.core.config import Config
from workbench.core.seeding import stream
from workbench.core.shared.replay import Replay


@dataclass(frozen=True)
class Learned:
    """What a number of updates of one agent looked like; U updates.

    Attributes:
        metrics: (U, M) float32: the metrics of the agent's arguments, of each update.
        policy_version: (U,) float64: mean version of the policies that chose the batch's actions.
        target_updates: (U,) int64: target updates of the agent after each update.
        fill: (U,) int64: rows that each update could draw from.
        finished: (U,) float64: when each update had been issued, in seconds since 1970.
    """

    metrics: NDArray[np.float32]
    policy_version: NDArray[np.float64]
    target_updates: NDArray[np.int64]
    fill: NDArray[np.int64]
    finished: NDArray[np.float64]


class Learner:
    """Makes the updates of some agents, each as it is asked for. One of your own takes the place of this class.

    Attributes:
        agents, replays, samplers: by index of the agent.
        ask: set before the updates of an agent are asked for. A learner that makes those of several agents in one go
            calls it for each of the others first; where updates of that agent are due, they are asked for before it
            returns, within the call for the first agent.
    """

    ask: Callable[[int], object]

    def __init__(self, config: Config, indices: Sequence[int], replays: Sequence[Replay], device: torch.device) -> None:
        """Make the agents of those indices, for each of which there is a replay."""
        self.agents: dict[int, Agent] = {index: config.agent.agent_class(config, index, device) for index in indices}
        self.replays = dict(zip(indices, replays, strict=True))
        sampler = config.replay.sampler
        self.samplers = {index: sampler.make(config, stream(config.seed, "sampling", index)) for index in indices}
        self._takes_errors = sampler.takes_errors

    @staticmethod
    def check(config: Config) -> None:
        """Refuse, before there is a process, a configuration that it cannot make updates for, by a ConfigError."""

    def learn(
        self, index: int, num_updates: int, end: int | None, learning_rate: Callable[[int], float],
        heartbeat: Callable[[], object] = lambda: None,
    ) -> Learned:  # fmt: skip
        """Make a number of updates of one agent from its replay.

        Args:
            index: of the agent.
            num_updates: updates to make.
            end: draw rows with a number below this; None for all that are committed at each draw.
            learning_rate: step size of the update with that index.
            heartbeat: called after every update.
        """
        agent, replay, sampler = self.agents[index], self.replays[index], self.samplers[index]
        metrics, version, targets, fill, finished = [], [], [], [], []
        for _ in range(num_updates):
            batch = replay.sample(sampler, agent.batch, end)
            version.append(batch.policy_version.mean())
            fill.append(replay.fill(end))
            metrics.append(agent.update(learning_rate(agent.updates)))
            if self._takes_errors:
                sampler.update(batch.number, agent.td_errors())
            targets.append(agent.target_updates)
            finished.append(time.time())
            heartbeat()
        stacked = torch.stack(metrics).cpu().numpy() if metrics else np.empty((0, 1), np.float32)
        return Learned(stacked, np.array(version), np.array(targets), np.array(fill), np.array(finished))


# What a learner is registered as: its class, called as :class:`Learner` is.
MakeLearner = Callable[[Config, Sequence[int], Sequence[Replay], torch.device], Learner]

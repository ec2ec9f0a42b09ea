"""Who makes the updates of a process's agents: one after the other by default.

A learner owns the agents of its process, one, a group or all of them, with what each learns from. It is asked for the
updates of one agent at a time; one that makes those of several agents in one go asks for the others'
(:attr:`Learner.ask`). The results of an agent must be those of its own updates either way.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents.base import Agent
from workbench.core.config import Config
from workbench.core.seeding import stream
from workbench.core.shared.replay import Replay

# Of an update: mean policy version of its rows, target updates after it, rows to draw from, when issued (s since 1970).
Update = tuple[float, int, int, float]


class Learned(NamedTuple):
    """What a number of updates of one agent looked like.

    Attributes:
        metrics: (U, M) float32: the metrics of the agent's arguments, of each of U updates.
        updates: the rest, of each.
    """

    metrics: NDArray[np.float32]
    updates: list[Update]

    @classmethod
    def of(cls, metrics: list[Tensor], updates: list[Update]) -> "Learned":
        """Wait for the device's metrics, (M,) of each update."""
        return cls(torch.stack(metrics).cpu().numpy() if metrics else np.empty((0, 1), np.float32), updates)


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
        metrics, updates = list[Tensor](), list[Update]()
        for _ in range(num_updates):
            batch = replay.sample(sampler, agent.batch, end)
            metrics.append(agent.update(learning_rate(agent.updates)))
            if self._takes_errors:
                sampler.update(batch.number, agent.td_errors())
            updates.append((batch.policy_version.mean(), agent.target_updates, replay.fill(end), time.time()))
            heartbeat()
        return Learned.of(metrics, updates)

"""Policies as a user would write them: epsilon-greedy with random numbers of their own, sound and not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from workbench.core.agents.base import Chosen
from workbench.core.agents.iqn_agent import IQNConfig, IQNPolicy
from workbench.core.agents.value_agent import EpsilonGreedy
from workbench.core.settings import between


class Dice(IQNPolicy):
    """Explores by dice of its own, which nobody else can throw again."""

    def __init__(self, config, index, *others, **named):
        super().__init__(config, index, *others, **named)
        self._dice = np.random.default_rng([config.seed, 77, index])

    def act(self, stack, epsilon):
        """As the arguments say: sound by default."""
        how = self.arguments
        valued = super().act(stack, epsilon)
        q, greedy, actions = valued.q, valued.greedy, valued.q.shape[1]
        chance, choice = self._dice.random((2, len(stack)))
        action = np.where(chance < how.times * epsilon, (choice * how.kinds).astype(np.int64), greedy)
        probability = epsilon / actions + (1 - epsilon) * (action == greedy)
        if how.tells == "nothing":
            return Chosen(action, action, np.ones(len(stack), np.float32), q)
        return Chosen(action, greedy, probability.astype(np.float32), q)


@dataclass(frozen=True)
class DiceConfig(IQNConfig):
    """IQN that explores by dice of its own.

    Attributes:
        times: Of epsilon, how often it explores.
        kinds: Actions that it explores.
        tells: Whether it tells which action is greedy.
    """

    policy_class: ClassVar[type[EpsilonGreedy]] = Dice

    times: Annotated[float, between(0, 10)] = 1.0
    kinds: Annotated[int, between(1, 4)] = 4
    tells: str = "all"

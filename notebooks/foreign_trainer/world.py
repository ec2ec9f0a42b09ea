"""The world: every agent chases a treasure of its own that drifts along a line."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TURNS = 20
FEATURES = 3
ACTIONS = 3


class World:
    """Agents on a line from -1 to 1; an episode has 20 turns and then really ends.

    A frame shows where agent and treasure are and how late it is. Only two of them show which way the treasure drifts.
    """

    def __init__(self, agents: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.agents = agents
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self.turn = 0
        self.place, self.treasure = self.rng.uniform(-1, 1, (2, self.agents))
        self.drift = self.rng.choice([-0.1, 0.1], self.agents)

    def observe(self, agent: int) -> npt.NDArray[np.float32]:
        """One frame, of shape (FEATURES,)."""
        return np.array([self.place[agent], self.treasure[agent], self.turn / TURNS], np.float32)

    def act(self, agent: int, action: int) -> float:
        """Move left, stay or move right; the reward is 1 at the treasure and less the farther away."""
        self.place[agent] = np.clip(self.place[agent] + 0.2 * (action - 1), -1, 1)
        if abs(self.treasure[agent] + self.drift[agent]) > 1:
            self.drift[agent] *= -1
        self.treasure[agent] += self.drift[agent]
        return float(1 - abs(self.place[agent] - self.treasure[agent]))

    def end_turn(self) -> None:
        """All agents have acted."""
        self.turn += 1

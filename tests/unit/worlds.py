"""Small worlds that are not ours: one that only says what it is, and one whose episodes end anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import AgentSpec, EnvSpec, Turn, WorldConfig
from workbench.core.settings import SHARE, at_least


@dataclass(frozen=True)
class Bare(WorldConfig):
    """Cannot be played: a spec for replays, agents and policies."""

    max_turns: int = 3
    shape: tuple[int, ...] = (9,)
    dtype: str = "uint8"
    num_codes: int | None = 5
    num_actions: int = 4
    whole_epochs: bool = False

    def spec(self) -> EnvSpec:
        """One agent."""
        agent = AgentSpec(self.shape, self.dtype, self.num_actions, self.num_codes)
        return EnvSpec((agent,), self.max_turns, self.whole_epochs)


@dataclass(frozen=True)
class TrialConfig(WorldConfig):
    """Three agents that see different things and can do different things; each leaves when chance says so."""

    max_turns: Annotated[int, at_least(1, "turn")] = 12
    ending: Annotated[float, SHARE] = 0.15
    """Probability per turn that an agent's part of the episode is terminated, and that it is truncated."""
    alike: bool = False
    """Whether all agents see codes and have the same actions."""

    def spec(self) -> EnvSpec:
        """A vector of floats, a picture of bytes, and codes."""
        codes = AgentSpec((6,), "uint8", 5, 7)
        different = AgentSpec((3,), "float32", 2), AgentSpec((4, 4, 1), "uint8", 3), codes
        return EnvSpec((codes,) * 3 if self.alike else different, self.max_turns)

    def make(self, rng: np.random.Generator) -> Trial:
        """The world."""
        return Trial(self, rng)


class Trial:
    """Every frame tells the episode, the step in it, and a number of the copy; an action is worth its number."""

    config_class = TrialConfig

    def __init__(self, config: TrialConfig, rng: np.random.Generator) -> None:
        self.config, self.rng, self.num_worlds, self.num_agents = config, rng, config.num_worlds, 3
        self.reset()

    def reset(self) -> None:
        """A new episode everywhere."""
        self.episode, self.step = np.zeros(self.num_worlds, np.int64), np.zeros(self.num_worlds, np.int64)
        self.out = np.zeros((3, self.num_worlds), np.bool_)
        self.luck = self.rng.integers(100, size=self.num_worlds)
        self.earned = np.zeros((3, self.num_worlds), np.float32)

    def begin_turn(self) -> None:
        """Nothing moves before the agents do."""

    def observe(self, agent: int) -> NDArray[Any]:
        """Episode, step and the luck of the copy, in the agent's own way."""
        told = np.stack((self.episode, self.step, self.luck))
        if agent == 2 or self.config.alike:
            return (told[[0, 1, 2, 0, 1, 2]].T % 8).astype(np.uint8)
        if agent == 0:
            return told.T.astype(np.float32) / 10
        return np.broadcast_to(told.sum(0).astype(np.uint8)[:, None, None, None], (self.num_worlds, 4, 4, 1)).copy()

    def act(self, agent: int, actions: NDArray[np.int64]) -> None:
        """Earn the action's number; who is out earns nothing."""
        assert actions.shape == (self.num_worlds,) and actions.min() >= 0
        assert actions.max() < self.config.spec().agents[agent].num_actions
        self.earned[agent] = np.where(self.out[agent], 0, 1 + actions)

    def end_turn(self) -> Turn:
        """Some leave; where all have left before, a new episode begins."""
        chance = self.rng.random((2, 3, self.num_worlds))
        valid, restarted = ~self.out, self.out.all(0)
        terminated = valid & (chance[0] < self.config.ending)
        truncated = valid & ~terminated & (chance[1] < self.config.ending)
        luck = self.rng.integers(100, size=self.num_worlds)
        self.out |= terminated | truncated
        self.step += 1
        self.out[:, restarted] = False
        self.step[restarted], self.luck[restarted] = 0, luck[restarted]
        self.episode[restarted] += 1
        return Turn(self.earned.copy(), terminated, truncated, valid)

    def get_state(self) -> dict[str, Any]:
        """Between epochs there is nothing but the generator."""
        return {"rng": self.rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.rng.bit_generator.state = state["rng"]

"""Any environment of Gymnasium's registry, as a world of one agent: ``world="gymnasium:CartPole-v1"``."""

import dataclasses
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import Turn
from workbench.zoo.environment import Environment, EnvironmentConfig, Episodes, importable

# Turns whose frames are allocated at once.
BLOCK = 64

AGENT = "agent"


@dataclass(frozen=True)
class GymnasiumConfig(EnvironmentConfig):
    """An environment of Gymnasium.

    Attributes:
        env_id: As gymnasium.make takes it: CartPole-v1, or module:Name-v0 for one that importing a module registers.
            module:Class is taken too.
    """

    env_id: str = "CartPole-v1"

    def find(self) -> dict[str, Any]:
        """The entry in Gymnasium's registry, which a child that has not imported the same modules may lack."""
        import gymnasium

        module, _, name = self.env_id.rpartition(":")
        own = vars(importlib.import_module(module)).get(name) if module else None  # trusted, or named by the caller
        if isinstance(own, type) and issubclass(own, gymnasium.Env):
            spec = gymnasium.envs.registration.EnvSpec(f"{name}-v0", f"{module}:{name}")
        else:
            spec = gymnasium.spec(name)
        entry_point = importable(f"world {self.title}:", spec.entry_point)
        spec = dataclasses.replace(spec, entry_point=entry_point, vector_entry_point=None)
        return dict(json.loads(spec.to_json()))

    def open(self, recipe: Mapping[str, Any]) -> Environment:
        """The environment, without Gymnasium's own checks of every step."""
        import gymnasium

        spec = gymnasium.envs.registration.EnvSpec.from_json(json.dumps(recipe))
        arguments: dict[str, Any] = self.env_args
        return Alone(gymnasium.make(spec, disable_env_checker=True, **arguments))

    def make(self, rng: np.random.Generator) -> "LoneEpisodes":
        """The world."""
        return LoneEpisodes(self, rng)


class LoneEpisodes(Episodes):
    """Episodes of one agent, without the dictionaries that tell many apart.

    An environment's own step may take ten microseconds, so each of Python's counts: what a turn brings is stored
    through memory views, and frames come out of blocks of :data:`BLOCK`.
    """

    def reset(self) -> None:
        """A new episode in every copy."""
        self._views = [memoryview(array[0]) for array in self._turn]
        self._over, self._block = [True] * self.num_worlds, list[NDArray[Any]]()
        self._steps = [each.environment.step for each in self._environments]
        self.end_turn()

    def end_turn(self) -> Turn:
        """Step every copy, or begin its next episode if the last one has ended."""
        rewards, ends, cuts, valid = self._views
        if not self._block:
            self._block = list(np.empty((BLOCK, *self._frames[0].shape), self._frames[0].dtype))
        self._frames[0] = frame = self._block.pop()
        actions, first, encode = self._actions[0], self._first_actions[0], self._encode[0]
        for copy, step in enumerate(self._steps):
            if self._over[copy]:
                seen, _ = self._environments[copy].environment.reset(seed=int(self.rng.integers(2**31)))
                rewards[copy], ends[copy], cuts[copy], valid[copy] = 0, False, False, False
                self._over[copy] = False
            else:
                seen, rewards[copy], over, cut, _ = step(actions[copy] + first)
                ends[copy], cuts[copy], valid[copy] = over, cut and not over, True
                self._over[copy] = over or cut
            frame[copy] = encode(seen)
        return self._turn


class Alone:
    """An environment of Gymnasium as one with a single agent."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.possible_agents, self.agents = [AGENT], list[str]()
        self.metadata, self.render, self.close = environment.metadata, environment.render, environment.close

    def observation_space(self, agent: Any) -> Any:
        """What it sees."""
        return self.environment.observation_space

    def action_space(self, agent: Any) -> Any:
        """What it can do."""
        return self.environment.action_space

    def reset(self, seed: int) -> tuple[dict[Any, Any], Any]:
        """Begin an episode."""
        seen, about = self.environment.reset(seed=seed)
        self.agents = self.possible_agents
        return {AGENT: seen}, about

    def step(self, actions: dict[Any, int]) -> tuple[Mapping[Any, Any], ...]:
        """One step."""
        told = self.environment.step(actions[AGENT])
        if told[2] or told[3]:
            self.agents = []
        return tuple({AGENT: part} for part in told)

"""Any environment of Gymnasium's registry, as a world of one agent: ``world="gymnasium:CartPole-v1"``."""

import dataclasses
import importlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import Turn
from workbench.zoo.environment import Environment, EnvironmentConfig, Episodes, importable, one


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
        return Alone(gymnasium.make(spec, disable_env_checker=True, **dict[str, Any](self.env_args)), self)

    def make(self, rng: np.random.Generator) -> "LoneEpisodes":
        """The world."""
        return LoneEpisodes(self, rng)


class LoneEpisodes(Episodes):
    """Episodes of one agent, without the dictionaries that tell many apart.

    An environment's own step may take five microseconds, so each of Python's counts: a copy is a generator, what a turn
    brings is stored through memory views, and what a single copy shows is not copied here.
    """

    def reset(self) -> None:
        """A new episode in every copy."""
        shared = self.rng, self._encode[0], self._frames[0], self._turn
        self._play = [each.turns(copy, *shared).send for copy, each in enumerate(self._environments)]
        self._actions = [[None] * self.num_worlds]
        LoneEpisodes.end_turn(self)  # not what may stand in its place to see turns

    def end_turn(self) -> Turn:
        """Step every copy, or begin its next episode if the last one has ended."""
        frames = [play(action) for play, action in zip(self._play, self._actions[0], strict=True)]
        self._frames[0] = frames[0] if self.num_worlds == 1 else np.concatenate(frames)
        return self._turn


class Alone:
    """What a world asks an environment of Gymnasium, as one with a single agent, and how its turns are played."""

    possible_agents = agents = ("agent",)

    def __init__(self, environment: Any, config: EnvironmentConfig) -> None:
        self.environment, self.config = environment, config
        self.metadata, self.render, self.close = environment.metadata, environment.render, environment.close
        self.observation_space = lambda agent: environment.observation_space
        self.action_space = lambda agent: environment.action_space

    def turns(
        self, copy: int, rng: np.random.Generator, encode: Any, form: NDArray[Any], turn: Turn
    ) -> Generator[Any, Any, None]:
        """Play one copy, turn by turn and episode by episode: from actions, from 0 on, to frames, (1, *shape)."""
        rewards, ends, cuts, valid = (memoryview(array[0]) for array in turn)
        step, array, dtype, ndim, plain = self.environment.step, np.array, form.dtype, form.ndim, encode is np.asarray
        while True:
            rewards[copy], ends[copy], cuts[copy], valid[copy] = 0, False, False, False
            seen, _ = self.environment.reset(seed=int(rng.integers(2**31)))
            action = yield array(encode(seen), dtype, copy=None, ndmin=ndim)
            valid[copy], over = True, False
            while not over:
                seen, reward, ended, cut, _ = step(action)
                rewards[copy] = one("reward", reward, self.config)
                if one("terminated", ended, self.config) or one("truncated", cut, self.config):
                    ends[copy], cuts[copy], over = ended, not ended, True
                action = yield array(seen if plain else encode(seen), dtype, copy=None, ndmin=ndim)

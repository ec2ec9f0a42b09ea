"""Any environment of Gymnasium's registry, as a world of one agent: ``world="gymnasium:CartPole-v1"``."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.zoo.environment import Environment, EnvironmentConfig, importable

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


class Alone:
    """An environment of Gymnasium as one with a single agent."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.possible_agents, self.agents = [AGENT], list[str]()
        self.metadata, self.render = environment.metadata, environment.render

    def observation_space(self, agent: Any) -> Any:
        """What it sees."""
        return self.environment.observation_space

    def action_space(self, agent: Any) -> Any:
        """What it can do."""
        return self.environment.action_space

    def close(self) -> None:
        """Let go of what it holds."""
        self.environment.close()

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

"""Reference policies: what an agent earns that has learned nothing, or that follows a simple rule.

A policy sees observations only, as a trained agent does. A uniformly random one is there for every world; a world may
offer others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import ReferencePolicy, WorldConfig
from workbench.core.seeding import stream


def reference_policies(config: WorldConfig) -> Mapping[str, list[ReferencePolicy]]:
    """Policies by name, one per agent."""
    agents = config.spec().agents
    return {
        "random": [_uniform(agent.num_actions) for agent in agents],
        **{name: [policy] * len(agents) for name, policy in config.reference_policies().items()},
    }


def play(config: WorldConfig, policies: list[ReferencePolicy], epochs: int, seed: int) -> NDArray[np.float64]:
    """Rewards of whole epochs in which every agent follows a policy: (epochs,) float64, summed over turns and agents.

    The epochs run side by side as copies of the world, whatever ``config.num_worlds`` says.

    Raises:
        ValueError: ``epochs`` is below 1.
    """
    world = config.make(stream(seed, "world"), num_worlds=epochs)
    rng = stream(seed, "reference")
    rewards = np.zeros(epochs)
    for _ in range(config.spec().max_turns):
        world.begin_turn()
        for agent, policy in enumerate(policies):
            world.act(agent, policy(world.observe(agent), rng))
        for earned in world.end_turn().rewards:
            rewards += earned
    return rewards


def reference_rewards(config: WorldConfig, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    """What each reference policy earns per epoch, summed over agents: mean, sd (of one epoch) and number of epochs.

    Raises:
        ValueError: ``epochs`` is below 2, from which no standard deviation can be estimated.
    """
    if epochs < 2:
        raise ValueError(f"epochs is {epochs}; a standard deviation needs at least 2")
    earned = {name: play(config, policies, epochs, seed) for name, policies in reference_policies(config).items()}
    return {
        name: {"mean": float(rewards.mean()), "sd": float(rewards.std(ddof=1)), "epochs": epochs}
        for name, rewards in earned.items()
    }


def _uniform(num_actions: int) -> ReferencePolicy:
    return lambda observation, rng: rng.integers(num_actions, size=len(observation))

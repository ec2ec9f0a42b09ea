"""Reference policies: what an agent earns that has learned nothing, or that follows a simple rule.

A policy sees observations only, as a trained agent does. A uniformly random one is there for every world, two simple
rules are there for Treasurehunt, and a world may offer others.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import ReferencePolicy, WorldConfig
from workbench.core.envs.treasurehunt import AGENT, GEM, WALL, TreasurehuntConfig
from workbench.core.seeding import stream


def reference_policies(config: WorldConfig) -> Mapping[str, list[ReferencePolicy]]:
    """Policies by name, one per agent."""
    agents = config.spec().agents
    rules = TREASUREHUNT if isinstance(config, TreasurehuntConfig) else {}
    return {
        "random": [_uniform(agent.num_actions) for agent in agents],
        **{name: [policy] * len(agents) for name, policy in {**rules, **config.reference_policies()}.items()},
    }


def play(config: WorldConfig, policies: list[ReferencePolicy], epochs: int, seed: int) -> NDArray[np.float64]:
    """Rewards of whole epochs in which every agent follows a policy: (epochs,) float64, summed over turns and agents.

    The epochs run side by side as copies of the world, whatever ``config.num_worlds`` says.

    Raises:
        ValueError: ``epochs`` is below 1.
    """
    world = replace(config, num_worlds=epochs).make(stream(seed, "world"))
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

    The standard deviation needs at least 2 of them.
    """
    earned = {name: play(config, policies, epochs, seed) for name, policies in reference_policies(config).items()}
    with np.errstate(invalid="ignore"):  # of rewards without end
        return {
            name: {"mean": float(rewards.mean()), "sd": float(rewards.std(ddof=1)), "epochs": epochs}
            for name, rewards in earned.items()
        }


def _uniform(num_actions: int) -> ReferencePolicy:
    return lambda observation, rng: rng.integers(num_actions, size=len(observation))


# --- Treasurehunt: a policy gives every move a cost and takes the cheapest; a number below 1 breaks ties -------------


def random_no_wall_policy(observation: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int64]:
    """Any move that does not aim at a wall; any at all where walls are on every side."""
    return _cheapest(_aimed_at(observation) == WALL, rng)


def scripted_policy(observation: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int64]:
    """A move that brings the nearest gem in view closest (Manhattan distance), at a wall or an agent only if it must.

    Without a gem in view: any move that aims at neither wall nor agent.
    """
    distance = _distance_after_move(observation.shape[1])
    far = distance.max() + 1  # What counts for a cell without a gem.
    cost = np.where(observation[:, None] == GEM, distance, far).min(axis=2)
    aim = _aimed_at(observation)
    return _cheapest(cost + (far + 1) * ((aim == WALL) | (aim == AGENT)), rng)


def _cheapest(cost: NDArray[np.int16 | np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    return np.asarray(np.argmin(cost + rng.random(cost.shape), axis=1))


def _aimed_at(observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cells above, below, left and right of the agent: (num_worlds, 4) entity codes."""
    centre, side = observation.shape[1] // 2, round(observation.shape[1] ** 0.5)
    return observation[:, [centre - side, centre + side, centre - 1, centre + 1]]


@functools.cache
def _distance_after_move(frame_size: int) -> NDArray[np.int16]:
    """Manhattan distance from where a move leads to every cell of a frame: (4, frame_size) int16."""
    radius = round(frame_size**0.5) // 2
    row, column = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, 1, -1)
    moves = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
    return np.asarray(abs(row - moves[:, :1]) + abs(column - moves[:, 1:]), np.int16)


TREASUREHUNT: dict[str, ReferencePolicy] = {"random_no_wall": random_no_wall_policy, "scripted": scripted_policy}

"""Treasurehunt against a slow transcription of its rules, and what a user relies on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.soundness import check_world
from workbench.core.envs.treasurehunt import AGENT, EMPTY, GEM, NUM_ACTIONS, WALL, Treasurehunt, TreasurehuntConfig
from workbench.core.seeding import stream

MOVES = [(-1, 0), (1, 0), (0, -1), (0, 1)]


class SlowTreasurehunt:
    """The rules one cell at a time. Each world is a dictionary from (row, column) to an entity; the rest is wall."""

    def __init__(self, config: TreasurehuntConfig, rng: np.random.Generator, num_worlds: int) -> None:
        self.config, self.rng, self.num_worlds = config, rng, num_worlds
        self.inner = [(row, column) for row in range(1, config.height - 1) for column in range(1, config.width - 1)]
        self.reset()

    def reset(self) -> None:
        draws = self.rng.random((self.num_worlds, len(self.inner)))
        self.worlds = [dict.fromkeys(self.inner, EMPTY) for _ in range(self.num_worlds)]
        self.agents: list[list[tuple[int, int]]] = []
        for world, numbers in zip(self.worlds, draws.tolist(), strict=True):
            shuffled = [cell for _, cell in sorted(zip(numbers, self.inner, strict=True))]
            self.agents.append(shuffled[: self.config.num_agents])
            world.update(dict.fromkeys(self.agents[-1], AGENT))

    def begin_turn(self) -> None:
        for world in self.worlds:
            for cell in self.inner:
                number = self.rng.random(dtype=np.float32)  # Drawn for every cell, needed or not.
                if world[cell] == EMPTY and number < np.float32(self.config.spawn_prob):
                    world[cell] = GEM

    def observe(self, agent: int) -> list[list[int]]:
        reach = range(-self.config.vision_radius, self.config.vision_radius + 1)
        frames = []
        for world, agents in zip(self.worlds, self.agents, strict=True):
            row, column = agents[agent]
            frames.append([world.get((row + down, column + right), WALL) for down in reach for right in reach])
        return frames

    def act(self, agent: int, actions: list[int]) -> list[float]:
        value = {GEM: self.config.gem_reward, WALL: self.config.wall_reward}
        rewards = []
        for world, agents, action in zip(self.worlds, self.agents, actions, strict=True):
            row, column = agents[agent]
            aim = (row + MOVES[action][0], column + MOVES[action][1])
            entity = world.get(aim, WALL)
            rewards.append(value.get(entity, 0.0))
            if entity in (EMPTY, GEM):
                world[row, column], world[aim], agents[agent] = EMPTY, AGENT, aim
        return rewards

    def maps(self) -> list[list[list[int]]]:
        rows, columns = range(self.config.height), range(self.config.width)
        return [[[world.get((row, column), WALL) for column in columns] for row in rows] for world in self.worlds]


@st.composite
def configs(draw: Callable[..., Any]) -> TreasurehuntConfig:
    height, width = draw(st.integers(3, 7)), draw(st.integers(3, 7))
    return TreasurehuntConfig(
        height=height,
        width=width,
        num_agents=draw(st.integers(1, min(4, (height - 2) * (width - 2)))),
        vision_radius=draw(st.integers(1, 4)),
        spawn_prob=draw(st.sampled_from([0.0, 0.02, 0.3, 1.0])),
        gem_reward=draw(st.sampled_from([10.0, 2.5])),
        wall_reward=draw(st.sampled_from([-1.0, 0.0])),
        num_worlds=draw(st.integers(1, 3)),
    )


def advance(world: Treasurehunt, actions: np.ndarray) -> list[np.ndarray]:
    """Play ``actions`` (turns, agents, worlds) and return everything seen and earned."""
    seen: list[np.ndarray] = []
    for turn in actions:
        world.begin_turn()
        for agent, chosen in enumerate(turn):
            seen.append(world.observe(agent))
            world.act(agent, chosen)
        seen.append(world.end_turn().rewards.copy())
    return seen


def random_actions(world: Treasurehunt, turns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(NUM_ACTIONS, size=(turns, world.num_agents, world.num_worlds))


def next_epoch(world: Treasurehunt) -> list[np.ndarray]:
    world.reset()
    return advance(world, random_actions(world, turns=5))


@given(config=configs(), seed=st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_equals_the_slow_transcription(config: TreasurehuntConfig, seed: int) -> None:
    fast = Treasurehunt(config, stream(seed, "world"))
    slow = SlowTreasurehunt(config, stream(seed, "world"), config.num_worlds)
    for turn, actions in enumerate(random_actions(fast, turns=15, seed=seed)):
        if turn == 10:
            fast.reset()
            slow.reset()
        fast.begin_turn()
        slow.begin_turn()
        for agent, chosen in enumerate(actions):
            assert fast.observe(agent).tolist() == slow.observe(agent)
            fast.act(agent, chosen)
            assert fast.end_turn().rewards[agent].tolist() == slow.act(agent, chosen.tolist())
            assert fast.cells.tolist() == slow.maps()


@given(config=configs(), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_agents_stay_apart_and_off_the_walls(config: TreasurehuntConfig, seed: int) -> None:
    world = Treasurehunt(config, stream(seed, "world"))
    for actions in random_actions(world, turns=20, seed=seed):
        advance(world, actions[None])
        assert check_world(world) == (True, "")
        inner = world.cells[:, 1:-1, 1:-1]
        assert ((inner == AGENT).sum(axis=(1, 2)) == config.num_agents).all()
        assert (world.cells == WALL).sum() == world.cells.size - inner.size


@given(config=configs(), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_reset_world_equals_a_new_one(config: TreasurehuntConfig, seed: int) -> None:
    used = Treasurehunt(config, stream(seed, "world"))
    advance(used, random_actions(used, turns=5))
    used.rng = stream(seed + 1, "world")
    used.reset()
    new = Treasurehunt(config, stream(seed + 1, "world"))
    assert (new.cells != GEM).all()
    np.testing.assert_equal((used.cells, used.positions, used.get_state()), (new.cells, new.positions, new.get_state()))


@given(config=configs(), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_restored_state_has_the_same_future(config: TreasurehuntConfig, seed: int) -> None:
    world, other = (Treasurehunt(config, stream(number, "world")) for number in (seed, seed + 1))
    advance(world, random_actions(world, turns=5))
    state = world.get_state()
    future = next_epoch(world)
    other.set_state(state)
    np.testing.assert_equal(next_epoch(other), future)
    world.set_state(state)
    np.testing.assert_equal(next_epoch(world), future)


def test_frames_have_the_agent_in_the_centre_and_are_the_callers_to_keep() -> None:
    world = Treasurehunt(TreasurehuntConfig(num_worlds=3), stream(0, "world"))
    frame = world.observe(0)
    assert frame.shape == (3, 25)
    assert frame.dtype == np.uint8
    assert (frame[:, 12] == AGENT).all()
    kept = frame.copy()
    advance(world, random_actions(world, turns=5))
    np.testing.assert_array_equal(frame, kept)


def test_agents_start_anywhere_with_equal_probability() -> None:
    config = TreasurehuntConfig(height=4, width=5, num_agents=2, num_worlds=60_000)
    cells = Treasurehunt(config, stream(0, "world")).cells[:, 1:-1, 1:-1]
    share = (cells == AGENT).mean(axis=0)
    np.testing.assert_allclose(share, 2 / 6, atol=5 * np.sqrt(1 / 3 * 2 / 3 / 60_000))


def test_gems_appear_with_the_configured_probability() -> None:
    world = Treasurehunt(TreasurehuntConfig(num_agents=1, spawn_prob=0.02, num_worlds=5000), stream(0, "world"))
    world.begin_turn()
    empty_before = 63 * 5000
    share = (world.cells == GEM).sum() / empty_before
    assert abs(share - 0.02) < 5 * np.sqrt(0.02 * 0.98 / empty_before)


@pytest.mark.parametrize("bad", [-1, 4, 2**40, -(2**63)])
def test_an_unknown_action_is_refused_and_moves_nobody(bad: int) -> None:
    world = Treasurehunt(TreasurehuntConfig(num_worlds=3), stream(0, "world"))
    before = world.cells.copy()
    with pytest.raises(ValueError, match=rf"\[{bad}\].*0 \(up\), 1 \(down\), 2 \(left\) or 3 \(right\)"):
        world.act(0, np.array([0, bad, 1]))
    np.testing.assert_array_equal(world.cells, before)


def test_one_action_per_world_is_needed() -> None:
    world = Treasurehunt(TreasurehuntConfig(num_worlds=3), stream(0, "world"))
    with pytest.raises(ValueError, match=r"\(1,\).*\(3,\)"):
        world.act(0, np.array([0]))


def test_no_worlds_are_refused() -> None:
    with pytest.raises(ValueError, match="num_worlds is 0"):
        TreasurehuntConfig(num_worlds=0)

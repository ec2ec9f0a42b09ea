"""Reference policies: the right moves in hand-made and random views, and the published rewards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.envs.base import ReferencePolicy
from workbench.core.envs.treasurehunt import AGENT, DOWN, EMPTY, GEM, LEFT, RIGHT, UP, WALL, TreasurehuntConfig
from workbench.runs.reference_policies import play, reference_policies, reference_rewards

ENTITIES = {".": EMPTY, "#": WALL, "*": GEM, "A": AGENT}
POLICIES = {name: policies[0] for name, policies in reference_policies(TreasurehuntConfig()).items()}
MOVES = [(-1, 0), (1, 0), (0, -1), (0, 1)]

PUBLISHED_EPOCHS = 200
PUBLISHED = {"random": (252.7, 52.0), "random_no_wall": (302.4, 57.0), "scripted": (531.1, 69.0)}
"""Mean and standard deviation of an epoch's reward in the world that the seeds describe."""


def frame(*rows: str) -> np.ndarray:
    return np.array([ENTITIES[letter] for row in rows for letter in row], np.uint8)


def choices(policy: ReferencePolicy, view: np.ndarray, tries: int = 400) -> dict[int, int]:
    """How often each action is chosen in the same view."""
    actions = policy(np.tile(view, (tries, 1)), np.random.default_rng(0))
    assert actions.shape == (tries,) and np.issubdtype(actions.dtype, np.integer)
    return dict(zip(*(part.tolist() for part in np.unique(actions, return_counts=True)), strict=True))


def wise_moves(view: np.ndarray) -> set[int]:
    """The scripted rule, one cell at a time."""
    side = int(len(view) ** 0.5)
    radius = side // 2
    cell = {(i // side - radius, i % side - radius): int(entity) for i, entity in enumerate(view)}
    free = [a for a in range(4) if cell[MOVES[a]] not in (WALL, AGENT)] or list(range(4))
    gems = [place for place, entity in cell.items() if entity == GEM]
    if not gems:
        return set(free)
    left = {a: min(abs(r - MOVES[a][0]) + abs(c - MOVES[a][1]) for r, c in gems) for a in free}
    return {a for a in free if left[a] == min(left.values())}


@given(side=st.sampled_from([3, 5, 7]), gems=st.sampled_from([0.0, 0.05, 0.3]), seed=st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_policies_choose_evenly_among_exactly_the_right_moves(side: int, gems: float, seed: int) -> None:
    shares = [0.7 - gems, 0.15, gems, 0.15]
    view = np.random.default_rng(seed).choice([EMPTY, WALL, GEM, AGENT], size=side**2, p=shares).astype(np.uint8)
    centre = side**2 // 2
    view[centre] = AGENT
    open_moves = {a for a, (down, right) in enumerate(MOVES) if view[centre + down * side + right] != WALL}
    right_moves = {
        "random": set(range(4)),
        "random_no_wall": open_moves or set(range(4)),
        "scripted": wise_moves(view),
    }
    for name, policy in POLICIES.items():
        counts = choices(policy, view)
        assert set(counts) == right_moves[name], name
        assert min(counts.values()) > 0.5 * 400 / len(counts), name


@pytest.mark.parametrize(
    ("view", "moves"),
    [
        (frame("...", "*A.", "..."), {LEFT}),
        (frame(".....", ".....", "..A..", ".....", "....*"), {DOWN, RIGHT}),
        (frame("*....", ".....", "..A..", "..*..", "....."), {DOWN}),
        (frame("..*..", "..A..", "..A..", ".....", "....."), {DOWN, LEFT, RIGHT}),
        (frame(".*...", "..A..", "..A..", ".....", "....."), {LEFT}),
        (frame("#####", "#....", "#.A..", "#....", "#...."), {UP, DOWN, LEFT, RIGHT}),
        (frame("#####", "#####", "##A..", "##...", "##..."), {DOWN, RIGHT}),
    ],
)
def test_scripted_walks_to_the_nearest_gem_and_around_obstacles(view: np.ndarray, moves: set[int]) -> None:
    assert set(choices(POLICIES["scripted"], view)) == moves


def test_rewards_are_summed_over_every_turn_and_agent() -> None:
    config = TreasurehuntConfig(spawn_prob=1.0, max_turns=3, num_agents=2)
    assert play(config, [POLICIES["scripted"]] * 2, epochs=50, seed=0).tolist() == [2 * 3 * 10.0] * 50


def test_a_seed_repeats_and_another_one_differs() -> None:
    config = TreasurehuntConfig()
    rewards = [play(config, [POLICIES["scripted"]] * 5, epochs=20, seed=seed) for seed in (1, 1, 2)]
    assert rewards[0].shape == (20,) and rewards[0].dtype == np.float64
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert (rewards[0] != rewards[2]).any()


def test_the_number_of_training_worlds_does_not_matter() -> None:
    few, many = (play(TreasurehuntConfig(num_worlds=n), [POLICIES["random"]] * 5, epochs=20, seed=0) for n in (1, 7))
    np.testing.assert_array_equal(few, many)


def test_rewards_agree_with_the_published_ones() -> None:
    epochs = 4000
    ours = reference_rewards(TreasurehuntConfig(), epochs=epochs, seed=0)
    assert list(ours) == list(PUBLISHED)
    for name, (mean, sd) in PUBLISHED.items():
        error = np.sqrt(sd**2 / PUBLISHED_EPOCHS + ours[name]["sd"] ** 2 / epochs)
        assert abs(ours[name]["mean"] - mean) < 3 * error, (name, ours[name])
        assert abs(ours[name]["sd"] / sd - 1) < 3 / np.sqrt(2 * PUBLISHED_EPOCHS), (name, ours[name])
        assert ours[name]["epochs"] == epochs

"""Treasurehunt with few gems and with shaping: what it limits, what it adds to rewards, and what it leaves as it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.soundness import check_world
from workbench.core.envs.treasurehunt import GEM, Treasurehunt, TreasurehuntConfig
from workbench.core.seeding import stream
from workbench.runs.launch_rules import check_launch
from workbench.zoo.sparse import SparseConfig

TINY = wb.preset("tiny").replace(world="treasurehunt_sparse", device="cpu")
SIZE = {"height": 7, "width": 6, "num_agents": 2, "max_turns": 40}


def play(world, turns, seed, each=lambda: None):
    """Rewards of random turns, (turns, agents, worlds); ``each`` is called when every agent has acted."""
    rng, rewards = np.random.default_rng(seed), []
    for _ in range(turns):
        world.begin_turn()
        for agent in range(world.num_agents):
            world.observe(agent)
            world.act(agent, rng.integers(4, size=world.num_worlds))
        rewards.append(world.end_turn().rewards.astype(np.float64))
        each()
    return np.array(rewards)


def potential(cells, position):
    """Minus the steps to the nearest gem, one gem at a time."""
    return max((-abs(position - gem).sum() for gem in np.argwhere(cells == GEM)), default=0)


@settings(max_examples=20)
@given(most=st.integers(1, 4), spawn=st.sampled_from([0.05, 0.5, 1.0]), seed=st.integers(0, 99))
def test_no_more_gems_lie_on_a_map_than_are_allowed_and_taken_ones_come_again(most, spawn, seed):
    config = SparseConfig(**SIZE, max_gems=most, spawn_prob=spawn, num_worlds=3)
    world, counts = config.make(stream(seed, "world")), []

    def look():
        world.begin_turn()  # between two turns of play: gems appear once more
        counts.append((world.cells == GEM).sum((1, 2)))
        assert check_world(world) == (True, "")

    earned = play(world, 40, seed, look)
    assert (np.array(counts) <= most).all()
    if spawn == 1.0:
        assert (np.array(counts) == most).all()  # so each that was taken is there again
        assert (earned == config.gem_reward).any()


def test_which_gem_appears_depends_on_chance_and_not_on_its_place():
    config = SparseConfig(**SIZE, max_gems=1, spawn_prob=1.0, num_worlds=4000)
    world = config.make(stream(0, "world"))
    world.begin_turn()
    found = (world.cells == GEM)[:, 1:-1, 1:-1].mean(0)
    assert found.sum() == pytest.approx(1) and np.allclose(found, 1 / found.size, atol=0.02)


def test_without_limit_and_shaping_it_is_treasurehunt_to_the_bit():
    plain, sparse = TreasurehuntConfig(**SIZE, spawn_prob=0.2), SparseConfig(**SIZE, spawn_prob=0.2, max_gems=0)
    worlds = Treasurehunt(plain, stream(1, "world")), sparse.make(stream(1, "world"))
    one, other = (play(world, 30, 5) for world in worlds)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(worlds[0].cells, worlds[1].cells)
    assert sparse.spec() == plain.spec()


@settings(max_examples=20)
@given(
    most=st.integers(0, 3), gamma=st.sampled_from([0.5, 0.9, 1.0]), weight=st.sampled_from([0.25, 2.0]),
    turns=st.integers(1, 40), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_shaping_adds_is_the_last_potential_less_the_first_whatever_the_agents_do(
    most, gamma, weight, turns, seed
):
    changed = {"max_gems": most, "spawn_prob": 0.1, "num_worlds": 2}
    plain, shaped = (
        SparseConfig(**SIZE, **changed, **shaping).make(stream(seed, "world"))
        for shaping in ({}, {"shaping": weight, "discount": gamma})
    )
    seen = []

    def look():
        seen.append([[potential(shaped.cells[copy], shaped.positions[agent, copy]) for copy in range(2)]
                     for agent in range(2)])  # fmt: skip

    look()
    added = play(shaped, turns, seed, look) - play(plain, turns, seed)
    discounts = gamma ** np.arange(turns)[:, None, None]
    phi = np.array(seen, np.float64)
    assert (phi[0] == 0).all()  # an epoch begins without gems
    np.testing.assert_allclose(added, weight * (gamma * phi[1:] - phi[:-1]), atol=1e-4)
    np.testing.assert_allclose((discounts * added).sum(0), weight * (gamma**turns * phi[-1] - phi[0]), atol=1e-3)
    np.testing.assert_array_equal(plain.cells, shaped.cells)
    assert abs(added).max() <= shaped.config.spec().reward_bound - plain.config.spec().reward_bound + 1e-4


def test_a_discount_that_is_not_the_agents_is_refused_before_a_process_starts():
    shaped = TINY.replace(**{"world.shaping": 1.0})
    assert check_launch(shaped, "sequential", 0) == 0
    with pytest.raises(wb.ConfigError, match=r"learning.gamma is 0.9; .* discount of 0.99; set world.discount"):
        wb.launch(shaped.replace(**{"learning.gamma": 0.9}), "sequential", 0)
    check_launch(shaped.replace(**{"learning.gamma": 0.9, "world.discount": 0.9}), "sequential", 0)
    check_launch(TINY.replace(**{"learning.gamma": 0.9}), "sequential", 0)


def test_it_is_learned_from_alike_in_both_modes_and_nothing_is_found_wrong(tmp_path):
    config = TINY.replace(epochs=6, **{"world.shaping": 0.5, "world.spawn_prob": 0.3})
    pair = wb.compare(config, lag=1, out=tmp_path)
    pair.wait()
    assert pair.identical
    assert wb.Config.from_dict(config.to_dict()) == config
    for run in pair.runs:
        assert run.diagnose().failed == ()


def test_it_is_there_for_trainers_of_others_too():
    pytest.importorskip("pettingzoo")
    from workbench.zoo import treasurehunt_env

    env = treasurehunt_env("ansi", max_gems=2, spawn_prob=1.0, shaping=1.0, discount=0.9, num_agents=1)
    env.reset(seed=3)
    assert env.render().count("*") == 2
    _, rewards, *_ = env.step({"agent_0": 0})
    assert rewards["agent_0"] != 0

"""Prioritised replay against a slow transcription and against the distribution that the paper asks for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.unit import inprocess
from tests.unit.worlds import TrialConfig
from workbench.core.shared.sampling import UniformSampler
from workbench.zoo.prioritised import PrioritisedConfig, PrioritisedSampler, SumTree

TINY = wb.preset("tiny").replace(device="cpu", **{"replay.sampler": "prioritised"})
priorities = st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 7.5, 1e6]), min_size=1, max_size=300)


def sampler_of(window, updates=10, seed=0, **arguments):
    return PrioritisedSampler(PrioritisedConfig(**arguments), window, updates, np.random.default_rng(seed))


class Slow:
    """The same by a list and a loop."""

    def __init__(self, arguments, window, updates, rng):
        self.arguments, self.window, self.rng, self.total_updates = arguments, window, rng, updates
        self.priority, self.largest, self.updates = {}, 1.0, 0

    def draw(self, low, high, count):
        for number in list(self.priority):
            if number < low:
                del self.priority[number]
        for number in range(low, high):
            self.priority.setdefault(number, self.largest)
        by_leaf = sorted(self.priority, key=lambda number: number % self.window)
        total, drawn = sum(self.priority.values()), []
        for row, chance in enumerate(self.rng.random(count)):
            stratified = self.arguments.draws == "stratified"
            point = total * ((row + chance) / count if stratified else chance)
            for number in by_leaf:
                if self.priority[number] > 0:
                    drawn.append((number, point))
                    if point < self.priority[number]:
                        break
                    drawn.pop()
                point -= self.priority[number]
            else:
                drawn.append((None, point))
        return drawn

    def weights(self, numbers):
        beta = self.arguments.beta + (1 - self.arguments.beta) * self.updates / (self.total_updates - 1)
        total, count = sum(self.priority.values()), len(self.priority)
        found = [(count * self.priority[number] / total) ** -beta for number in numbers]
        return [each / max(found) for each in found]

    def update(self, numbers, errors):
        for number, error in zip(numbers, errors, strict=True):
            self.priority[number] = (error + self.arguments.floor) ** self.arguments.alpha
            self.largest = max(self.largest, self.priority[number])
        self.updates += 1


@settings(deadline=None, max_examples=60)
@given(priorities, st.lists(st.tuples(st.integers(0, 299), st.sampled_from([0.0, 0.5, 2.0, 1e3])), max_size=20))
def test_every_sum_is_that_of_its_leaves_and_a_point_finds_the_leaf_under_it(first, changes):
    tree, plain = SumTree(300), np.zeros(300)
    tree.set(np.arange(len(first)), np.array(first))
    plain[: len(first)] = first
    for leaf, priority in changes:
        tree.set(np.array([leaf]), priority)
        plain[leaf] = priority
    built = SumTree(300)
    built.set(np.arange(300), plain)
    np.testing.assert_array_equal(tree.flat, built.flat)  # to the last bit, however it came about
    np.testing.assert_allclose(tree.total, plain.sum())
    if plain.any():
        ends = plain.cumsum()
        middles = (ends - plain / 2)[plain > plain.sum() * 1e-9]
        np.testing.assert_array_equal(tree.find(middles), np.flatnonzero(plain > plain.sum() * 1e-9))
        edges = np.concatenate([ends, ends - plain, [0.0, tree.total, tree.total * 2]])
        assert (plain[tree.find(edges)] > 0).all()  # none of priority 0, wherever a sum is rounded to


@settings(deadline=None, max_examples=40)
@given(
    st.integers(70, 200), st.sampled_from(["stratified", "independent"]), st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=8),
)  # fmt: skip
def test_draws_weights_and_priorities_are_those_of_a_slow_transcription(window, draws, seed, moves):
    fast = sampler_of(window, seed=seed, draws=draws)
    slow = Slow(fast.arguments, window, 10, np.random.default_rng(seed))
    low, high, errors = 0, 16, np.random.default_rng(seed)
    for rows, lost in moves:
        high += rows
        low = max(low, high - window, min(low + lost, high - 16))
        numbers = fast.draw(low, high, 16)
        assert [number for number, _ in slow.draw(low, high, 16)] == numbers.tolist()
        weights = fast.weights(numbers)
        np.testing.assert_allclose(weights / weights.max(), slow.weights(numbers), rtol=1e-5)
        error = errors.exponential(size=16).astype(np.float32)
        error[numbers == numbers[0]] = error[0]
        _, firsts, where = np.unique(numbers, return_index=True, return_inverse=True)
        error = error[firsts][where]  # a row that is drawn twice has one error
        fast.update(numbers, error)
        slow.update(numbers.tolist(), error.astype(float).tolist())
        assert fast.largest == pytest.approx(slow.largest)
    inside = np.zeros(window, bool)
    inside[np.arange(low, high) % window] = True
    assert (fast.tree.leaves[:window][~inside] == 0).all() and (fast.tree.leaves[:window][inside] > 0).all()


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_rows_are_drawn_as_often_as_their_priority_says(draws):
    sampler = sampler_of(100, alpha=0.7, draws=draws)
    sampler.draw(0, 150, 1)
    errors = np.random.default_rng(1).exponential(size=100).astype(np.float32)
    sampler.update(np.arange(50, 150), errors)
    chances = (errors.astype(float) + 1e-6) ** 0.7
    chances /= chances.sum()
    drawn = np.bincount(np.concatenate([sampler.draw(50, 150, 64) for _ in range(3000)]) - 50, minlength=100)
    deviation = (drawn - 192_000 * chances) / np.sqrt(192_000 * chances)
    assert np.abs(deviation).max() < 4.5
    sampler.update(np.array([60]), np.array([np.nan], np.float32))
    assert sampler.weights(np.array([60])) == sampler.largest ** np.float32(-sampler.beta)


def test_beta_grows_to_one_at_the_last_update_and_alpha_zero_is_uniform():
    sampler = sampler_of(64, updates=5, beta=0.5, alpha=0.0)
    betas = []
    for _ in range(6):
        betas.append(sampler.beta)
        sampler.update(sampler.draw(0, 64, 8), np.arange(8, dtype=np.float32))
    np.testing.assert_allclose(betas, [0.5, 0.625, 0.75, 0.875, 1.0, 1.0])
    assert set(sampler.tree.leaves.tolist()) == {1.0}


def test_rows_that_were_rejected_are_drawn_no_more_and_an_empty_window_does_not_hang():
    sampler = sampler_of(100)
    sampler.draw(0, 100, 4)
    sampler.reject(np.arange(0, 100, 2))
    assert (sampler.draw(0, 100, 400) % 2 == 1).all()
    sampler.reject(np.arange(100))
    assert sampler.draw(0, 100, 3).tolist() == [0, 0, 0]
    config = TINY.replace(world=TrialConfig(), **{"replay.learning_starts": 24, "agent.width": 8})
    assert "valid" in inprocess.run(config, 1).replays[0].rows  # rows of turns without the agent are among them


def test_a_state_put_into_another_sampler_continues_with_the_same_rows():
    one, other = sampler_of(100), sampler_of(100, seed=5)
    for high in (40, 90, 160):
        one.update(one.draw(max(0, high - 100), high, 16), np.linspace(0, 3, 16, dtype=np.float32))
    other.set_state({name: np.copy(value) for name, value in one.get_state().items()})
    for sampler in (one, other):
        sampler.numbers = np.concatenate([sampler.draw(80, 170, 16), sampler.draw(95, 180, 16)])
        sampler.drawn = sampler.weights(sampler.numbers[16:])
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.drawn, other.drawn)


def test_the_loss_is_weighted_and_uniform_weights_are_all_one():
    batch = inprocess.run(TINY, 0).trainer.agents[0].batch
    assert batch.weight.max() == 1 and batch.weight.min() < 1
    assert (UniformSampler(np.random.default_rng(0)).weights(np.arange(3)) == 1).all()

"""The interval of a difference of means, against a slow transcription and against what it promises."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns.difference import difference_of_means, measurable
from workbench.report.intervals import LEVEL

values = st.floats(-1e3, 1e3)
groups = st.lists(values, min_size=2, max_size=6)


def slow_interval(first, second, level, resamples, rng):
    """The percentile bootstrap as a textbook writes it, one resample at a time."""

    def widened(group):
        mean = sum(group) / len(group)
        return [mean + (value - mean) * math.sqrt(len(group) / (len(group) - 1)) for value in group]

    first, second, found = widened(first), widened(second), []
    for _ in range(resamples):
        one, other = rng.choices(first, k=len(first)), rng.choices(second, k=len(second))
        found.append(statistics.fmean(one) - statistics.fmean(other))
    found.sort()
    return found[round((1 - level) / 2 * (resamples - 1))], found[round((1 + level) / 2 * (resamples - 1))]


def test_the_interval_is_that_of_a_slow_transcription():
    rng = random.Random(3)
    first, second = [rng.gauss(5, 2) for _ in range(12)], [rng.gauss(0, 1) for _ in range(9)]
    fast = difference_of_means(first, second, resamples=40_000)
    low, high = slow_interval(first, second, LEVEL, 20_000, rng)
    assert fast.value == pytest.approx(statistics.fmean(first) - statistics.fmean(second))
    assert (fast.low, fast.high) == pytest.approx((low, high), abs=0.05)


@given(groups, groups, values)
def test_a_shift_of_one_group_shifts_value_and_interval(first, second, shift):
    plain = difference_of_means(first, second, resamples=200)
    moved = difference_of_means([value + shift for value in first], second, resamples=200)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) + shift, abs=1e-6)


@given(groups, groups)
def test_the_interval_is_ordered_seeded_and_within_what_the_groups_allow(first, second):
    found = difference_of_means(first, second, resamples=200)
    assert found == difference_of_means(first, second, resamples=200)
    assert found.low <= found.high
    widest = (np.ptp(first) * len(first) ** 0.5) + (np.ptp(second) * len(second) ** 0.5)
    assert found.value - widest - 1e-6 <= found.low and found.high <= found.value + widest + 1e-6


def test_groups_of_three_that_do_not_differ_are_seldom_told_apart():
    """Without the widening it would be a fifth of them."""
    rng = np.random.default_rng(0)
    told = [measurable(difference_of_means(rng.normal(size=3), rng.normal(size=3), resamples=400)) for _ in range(400)]
    assert np.mean(told) < 0.18


def test_a_difference_beyond_the_spread_is_measurable_and_one_within_it_is_not():
    assert measurable(difference_of_means([10, 11, 12], [0, 1, 2]))
    assert measurable(difference_of_means([0, 1], [10, 11]))
    assert not measurable(difference_of_means([0, 10, 5], [1, 9, 6]))


def test_single_values_have_no_interval_and_nothing_is_measurable():
    found = difference_of_means([4], [1])
    assert found.value == 3 and math.isnan(found.low) and math.isnan(found.high) and not measurable(found)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="0 and 2 values"):
        difference_of_means([], [1, 2])

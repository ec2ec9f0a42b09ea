"""The interval of a difference of pairs, against what it promises, and many tests at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns.difference import holm, paired_difference
from workbench.runs.statistics import chance_above, student_t

values = st.floats(-1e3, 1e3)
groups = st.lists(values, min_size=2, max_size=6)


@pytest.mark.parametrize(
    ("t", "freedom", "chance"),
    [(6.314, 1, 0.05), (2.920, 2, 0.05), (4.541, 3, 0.01), (7.173, 4, 0.001), (2.015, 5, 0.05), (1.812, 10, 0.05),
     (3.646, 30, 0.0005), (1.960, 100_000, 0.025), (0.0, 7, 0.5)],
)  # fmt: skip
def test_chances_are_those_of_a_table_of_students_t(t, freedom, chance):
    assert chance_above(t, freedom) == pytest.approx(chance, rel=5e-3)


@given(st.integers(1, 400))
def test_the_quantile_is_where_the_chance_is_a_fortieth(freedom):
    assert chance_above(student_t(freedom), freedom) == pytest.approx(0.025, abs=1e-8)


@given(groups, values)
def test_a_shift_of_one_group_shifts_value_and_interval(first, shift):
    second = first[::-1]
    plain, _ = paired_difference(first, second)
    moved, _ = paired_difference([value + shift for value in first], second)
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name) + shift, abs=1e-6)


def test_equal_pairs_differ_by_exactly_nothing():
    found, chance = paired_difference([3.0, 50.0, 7.0], [3.0, 50.0, 7.0])
    assert (found.value, found.low, found.high, chance) == (0.0, 0.0, 0.0, 1.0)


def test_what_the_pairs_share_is_no_doubt():
    """Seeds lie hundred times as far apart as the two runs of a seed."""
    seeds = np.arange(10) * 100.0
    found, chance = paired_difference(list(seeds + [1, 2] * 5), list(seeds))
    assert found.low > 1 and found.high < 2 and chance < 1e-4


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    pairs = [paired_difference(list(rng.normal(size=5)), [0.0] * 5) for _ in range(2000)]
    assert np.mean([found.low <= 0 <= found.high for found, _ in pairs]) == pytest.approx(0.95, abs=0.015)
    assert np.mean([chance < 0.05 for _, chance in pairs]) == pytest.approx(0.05, abs=0.015)


def test_a_single_pair_has_no_interval_and_proves_nothing():
    found, chance = paired_difference([4.0], [1.0])
    assert found.value == 3 and math.isnan(found.low) and math.isnan(found.high) and chance == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="0 and 2 values"):
        paired_difference([], [1, 2])


def test_many_tests_at_once_raise_each_others_chances():
    raised = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert raised == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.9})
    assert list(holm({"one": 0.02}).values()) == [0.02]

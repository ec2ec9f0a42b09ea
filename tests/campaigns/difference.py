"""How sure a difference between two handfuls of runs is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workbench.report.intervals import Estimate, percentile_interval

RESAMPLES = 10_000
"""The ends of an interval then move by about a hundredth of its width from seed to seed."""


def difference_of_means(
    first: Sequence[float], second: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of ``first`` minus mean of ``second``, with a percentile bootstrap interval if both have several values.

    The groups are resampled independently of each other. Values are first pulled away from their group's mean by the
    root of n / (n - 1): a bootstrap of n values draws from a spread that is too small by that factor, which matters
    where n is 2 or 3 (Hesterberg 2015, "What teachers should know about the bootstrap", section 3.1). Even so, of the
    intervals for 95 % some 82 % hold the true difference of two normal groups of 2, and 90 % with 3 to 5 in each.

    Args:
        first: values of one group.
        second: values of the group that is subtracted.
        seed: of the resamples; the same arguments give the same interval.
        resamples: how many.

    Raises:
        ValueError: a group is empty.
    """
    if not len(first) or not len(second):
        raise ValueError(f"the groups have {len(first)} and {len(second)} values; each needs at least 1")
    value = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2:
        return Estimate(value)
    rng = np.random.default_rng(seed)
    return Estimate(value, *percentile_interval(_means(first, rng, resamples) - _means(second, rng, resamples)))


def _means(group: Sequence[float], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Means of the resamples of a group, whose values are pulled apart first."""
    values, count = np.asarray(group, np.float64), len(group)
    widened = values.mean() + (values - values.mean()) * np.sqrt(count / (count - 1))
    means: NDArray[np.float64] = widened[rng.integers(count, size=(resamples, count))].mean(axis=1)
    return means


def measurable(found: Estimate) -> bool:
    """Whether the interval lies on one side of 0."""
    return found.low > 0 or found.high < 0

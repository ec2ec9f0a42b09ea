"""The little statistics that the matrix needs: how sure a difference between two handfuls of runs is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
"""Resamples behind an interval; its ends then move by about a hundredth of its width from seed to seed."""


@dataclass(frozen=True)
class Difference:
    """A difference of two means with its interval."""

    value: float
    low: float
    """Lower end of the interval; nan if one of the groups has a single value and nothing is known of its spread."""
    high: float

    @property
    def measurable(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def difference_of_means(
    first: Sequence[float], second: Sequence[float], level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Mean of ``first`` minus mean of ``second``, with a percentile bootstrap interval.

    The groups are resampled independently of each other. Values are first pulled away from their group's mean by the
    root of n / (n - 1): a bootstrap of n values draws from a spread that is too small by that factor, which matters
    where n is 2 or 3 (Hesterberg 2015, "What teachers should know about the bootstrap", section 3.1). Even so, of the
    intervals for 95 % some 82 % hold the true difference of two normal groups of 2, and 90 % with 3 to 5 in each.

    Args:
        first: values of one group.
        second: values of the group that is subtracted.
        level: share of resampled differences inside the interval.
        seed: of the resamples; the same arguments give the same interval.
        resamples: how many.

    Raises:
        ValueError: a group is empty, or the level is no share.
    """
    if not len(first) or not len(second):
        raise ValueError(f"the groups have {len(first)} and {len(second)} values; each needs at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; a share lies between 0 and 1")
    value = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2:
        return Difference(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    drawn = _means(np.asarray(first, np.float64), rng, resamples) - _means(
        np.asarray(second, np.float64), rng, resamples
    )
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Difference(value, float(low), float(high))


def _means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Means of so many resamples of a group."""
    count, mean = len(values), values.mean()
    widened = mean + (values - mean) * np.sqrt(count / (count - 1))
    means: NDArray[np.float64] = widened[rng.integers(count, size=(resamples, count))].mean(axis=1)
    return means

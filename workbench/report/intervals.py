"""What a handful of runs says of a number, and how surely.

Of ten runs or more it is their interquartile mean with a bootstrap interval, as in Agarwal, Schwarzer, Castro,
Courville and Bellemare, "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021, sections
4.1 and 4.3. Of fewer runs such an interval is too narrow, so it is their mean with an interval by Student's t. Their
library brings some ten packages for what is a few lines of NumPy here; SciPy's bootstrap would bring one of 35 MB.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.runs.statistics import student_t
from workbench.runs.table import number

# Share of the resampled numbers that lie inside an interval.
LEVEL = 0.95
RESAMPLES = 2000
# Runs that an interval needs. Of two, a bootstrap gives back the two values themselves.
MIN_RUNS = 3
# Runs from which on an interval is a bootstrap's.
ENOUGH_RUNS = 10

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        low: Lower end; nan where there are too few values for an interval.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Array:
    """Mean of what is left without the lowest and the highest quarter, each rounded down to whole values.

    Of fewer than four values it is their mean; ``scipy.stats.trim_mean(values, 0.25)`` rounds in the same way. A value
    that is nan has no place in the order: where there is one, the mean is nan, and the caller says which run it is.

    Args:
        values: at least one along the axis.
        axis: is averaged over.
    """
    values = np.asarray(values, np.float64)
    ordered = np.sort(values, axis=axis)
    count = ordered.shape[axis]
    mean: Array = np.take(ordered, range(count // 4, count - count // 4), axis=axis).mean(axis=axis)
    return np.where(np.isnan(values).any(axis=axis), np.nan, mean)


def stratified_bootstrap(
    values: ArrayLike, strata: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Array, Array]:
    """Percentile bootstrap interval of the interquartile mean, at each point.

    Runs are drawn with replacement within each stratum, so every resample has as many of each task as there are; the
    interquartile mean is taken over all of them. All points of a curve share the resamples. With a handful of runs such
    an interval is too narrow: of normal values it covers the truth in 75 % of cases with 3 runs, 90 % with 5 and 93 %
    with 10, where 95 % are meant.

    Args:
        values: (runs, points).
        strata: (runs,), the task of each run; None if there is one.
        resamples: how many.
        seed: of the resamples; the same arguments give the same interval.

    Returns:
        Lower and upper end, (points,) each; nan where a value is.

    Raises:
        ValueError: there are fewer than :data:`MIN_RUNS` runs.
    """
    values = np.asarray(values, np.float64)
    if len(values) < MIN_RUNS:
        raise ValueError(f"there are {len(values)} runs; an interval needs at least {MIN_RUNS}")
    rng, task = np.random.default_rng(seed), np.zeros(len(values)) if strata is None else np.asarray(strata)
    members = [np.flatnonzero(task == one) for one in np.unique(task)]
    drawn = np.concatenate([own[rng.integers(len(own), size=(resamples, len(own)))] for own in members], axis=1)
    level = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.reshape([np.quantile(interquartile_mean(point[drawn]), level) for point in values.T], (-1, 2)).T
    return low, high


def have_interval(strata: NDArray[np.intp]) -> bool:
    """Whether runs of these strata, numbered from 0, are enough for an interval.

    A bootstrap of a stratum of one run draws that run again and again: its interval would have no width.
    """
    sizes = np.bincount(strata)
    return int(sizes.min()) >= MIN_RUNS if len(strata) >= ENOUGH_RUNS else len(strata) >= max(MIN_RUNS, len(sizes) + 1)


def middle_and_ends(
    values: ArrayLike, strata: ArrayLike | None = None, bands: bool = True
) -> tuple[Array, Array, Array]:
    """What the runs say at each point, and the ends of its interval.

    Of :data:`ENOUGH_RUNS` or more it is the interquartile mean with a bootstrap interval; of fewer the mean with one by
    Student's t, from the spread within each stratum.

    Args:
        values: (runs, points), at least one run.
        strata: (runs,), the task of each run; None if there is one.
        bands: False for no interval.

    Returns:
        The middle, the lower and the upper end, (points,) each; ends are nan without an interval.
    """
    values = np.asarray(values, np.float64)
    count, none = len(values), np.full(values.shape[1], np.nan)
    tasks, task = np.unique(np.zeros(count) if strata is None else np.asarray(strata), return_inverse=True)
    bands = bands and have_interval(task)
    if count >= ENOUGH_RUNS:
        ends = stratified_bootstrap(values, task) if bands else (none, none)
        return interquartile_mean(values, axis=0), *ends
    middle, freedom = values.mean(axis=0), count - len(tasks)
    if not bands:
        return middle, none, none
    within = values - np.stack([values[task == one].mean(axis=0) for one in range(len(tasks))])[task]
    half = student_t(freedom) * np.sqrt((within**2).sum(axis=0) / freedom / count)
    return middle, middle - half, middle + half


def estimate(values: ArrayLike, strata: ArrayLike | None = None, bands: bool = True) -> Estimate:
    """What single numbers say, one per run, (runs,); see :func:`middle_and_ends`."""
    ends = middle_and_ends(np.asarray(values, np.float64)[:, None], strata, bands)
    return Estimate(*(float(each[0]) for each in ends))


def interval(found: Estimate) -> str:
    """An estimate with its interval in brackets, if it has one, all with the same decimals."""
    if not math.isfinite(found.low):
        return number(found.value)
    largest = max(found.value, found.low, found.high, key=abs)
    value, low, high = (number(each, largest) for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"

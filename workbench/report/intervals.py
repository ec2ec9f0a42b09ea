"""Interquartile means and their bootstrap intervals: what a handful of runs says, and how surely.

Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep reinforcement learning at the edge of the statistical
precipice", NeurIPS 2021, sections 4.1 and 4.3. Their library brings some ten packages for what is a few lines of NumPy
here; SciPy's bootstrap would bring one of 35 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
RESAMPLES = 2000
MIN_RUNS = 3
"""Runs that an interval needs. Of two, a bootstrap gives back the two values themselves."""
_CHUNK = 64
"""Points that are resampled at a time, which bounds the memory."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An interquartile mean with its interval."""

    value: float
    low: float
    """Lower end; nan where there are fewer than :data:`MIN_RUNS` values."""
    high: float


def interquartile_mean(values: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Mean of what is left without the lowest and the highest quarter, each rounded down to whole values.

    Of fewer than four values it is their mean; ``scipy.stats.trim_mean(values, 0.25)`` rounds in the same way.

    Args:
        values: at least one along the axis.
        axis: is averaged over.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    mean: NDArray[np.float64] = np.take(ordered, range(cut, count - cut), axis=axis).mean(axis=axis)
    return mean


def stratified_bootstrap(
    values: ArrayLike, strata: ArrayLike | None = None, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Array, Array]:
    """Percentile bootstrap interval of the interquartile mean, at each point.

    Runs are drawn with replacement within each stratum, so every resample has as many of each task as there are; the
    interquartile mean is taken over all of them. All points of a curve share the resamples. With a handful of runs such
    an interval is too narrow: of normal values it covers the truth in 75 % of cases with 3 runs, 90 % with 5 and 93 %
    with 10, where 95 % are meant.

    Args:
        values: (runs, points).
        strata: (runs,), the task of each run; None if there is one.
        level: share of the resampled means inside the interval.
        resamples: how many.
        seed: of the resamples; the same arguments give the same interval.

    Returns:
        Lower and upper end, (points,) each; nan where a value is.

    Raises:
        ValueError: there are fewer than :data:`MIN_RUNS` runs, or the level is no share.
    """
    values = np.asarray(values, np.float64)
    runs, points = values.shape
    if runs < MIN_RUNS:
        raise ValueError(f"there are {runs} runs; an interval needs at least {MIN_RUNS}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; a share lies between 0 and 1")
    drawn = _resamples(np.zeros(runs, np.intp) if strata is None else np.asarray(strata), resamples, seed)
    low, high = np.empty(points), np.empty(points)
    for start in range(0, points, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        means = interquartile_mean(values[:, chunk][drawn], axis=1)
        low[chunk], high[chunk] = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def estimate(values: ArrayLike, strata: ArrayLike | None = None) -> Estimate:
    """The interquartile mean of single numbers, one per run, with its interval if there are enough of them.

    Args:
        values: (runs,), at least one.
        strata: (runs,), the task of each run; None if there is one.
    """
    values = np.asarray(values, np.float64)
    value = float(interquartile_mean(values))
    if len(values) < MIN_RUNS:
        return Estimate(value, float("nan"), float("nan"))
    low, high = stratified_bootstrap(values[:, None], strata)
    return Estimate(value, float(low[0]), float(high[0]))


def _resamples(strata: NDArray[Any], resamples: int, seed: int) -> NDArray[np.intp]:
    """Places of the runs that each resample draws, (resamples, runs)."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn = [own[rng.integers(len(own), size=(resamples, len(own)))] for own in members]
    return np.concatenate(drawn, axis=1)

"""What a handful of seeds says of a number: its mean, and how far the truth may lie from it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from workbench.runs.table import number

# Two-sided 95 % quantiles of Student's t for 1 to 8 degrees of freedom. For more, a series around the normal quantile
# has four digits too.
_T = (12.706, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060)


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half of its 95 % interval by Student's t, which is right for few seeds too; nan of fewer than two.

    Example:
        ``mean_and_half_width([1.0, 2.0, 3.0])`` is (2.0, 2.484)
    """
    if len(values) < 2:
        return (statistics.fmean(values) if values else math.nan), math.nan
    return statistics.fmean(values), student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def student_t(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t with so many degrees of freedom, 1 or more."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3


def with_interval(values: Sequence[float]) -> str:
    """The mean with its interval as text, ``"12.3 ± 0.8"``; the mean alone where there is no interval."""
    mean, half = mean_and_half_width(values)
    return number(mean) if math.isnan(half) else f"{number(mean)} ± {number(half, mean or half)}"

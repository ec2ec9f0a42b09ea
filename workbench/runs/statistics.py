"""What a handful of seeds says of a number: its mean, and how far the truth may lie from it."""

import bisect
import functools
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from workbench.runs.table import number

# Stretches of seeds that are listed one by one.
MOST_LISTED = 12


def mean_and_half_width(values: Sequence[float | None]) -> tuple[float, float]:
    """The mean and half of its 95 % interval by Student's t, which is right for few seeds too.

    The half is nan of fewer than two values; both are nan if one of the values is None or not finite.

    Example:
        ``mean_and_half_width([1.0, 2.0, 3.0])`` is (2.0, 2.484)
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return math.nan, math.nan
    if len(known) == 1:
        return known[0], math.nan
    return statistics.fmean(known), student_t(len(known) - 1) * statistics.stdev(known) / math.sqrt(len(known))


@functools.cache
def student_t(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t with ``freedom`` degrees of freedom, at least 1."""
    return bisect.bisect_left(range(13 * 10**9), -0.025, key=lambda t: -chance_above(t / 1e9, freedom)) / 1e9


def chance_above(t: float, freedom: int) -> float:
    """How often Student's t with ``freedom`` degrees of freedom is above a number that is not below 0.

    Source: Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 26.7.3 and 26.7.4.
    """
    angle, odd = math.atan(t / math.sqrt(freedom)), freedom % 2
    terms = [(math.cos(angle) if odd else 1.0) if freedom > 1 else 0.0]
    for place in range(1, (freedom - odd) // 2):
        terms.append(terms[-1] * math.cos(angle) ** 2 * (2 * place - 1 + odd) / (2 * place + odd))
    inside = math.sin(angle) * sum(terms)
    return (1 - (2 / math.pi * (angle + inside) if odd else inside)) / 2


def not_finite(values: Sequence[float | None], seeds: Sequence[int]) -> str:
    """What is said in place of a mean if a number is not finite, for a mean of the others would flatter; "" if all are.

    Args:
        values: a number for each run; None where it was not finite and has been written to JSON.
        seeds: theirs.
    """
    lost = [seed for seed, value in zip(seeds, values, strict=True) if value is None or not math.isfinite(value)]
    return f"{len(values) - len(lost)} of {len(values)} runs finite, not seed {listed(lost)}" if lost else ""


def listed(seeds: Iterable[int]) -> str:
    """Seeds as a sentence has them: ``0, 1, 2``, ``0 to 1099``, and only how many of those that are scattered."""
    found = sorted(set(seeds))
    parts = [[seed for _, seed in run] for _, run in itertools.groupby(enumerate(found), lambda at: at[1] - at[0])]
    said = [f"{part[0]} to {part[-1]}" if len(part) > 3 else ", ".join(map(str, part)) for part in parts]
    return ", ".join(said) if len(said) <= MOST_LISTED else f"{len(found):,} seeds from {found[0]} to {found[-1]}"


def with_interval(values: Sequence[float | None], seeds: Sequence[int]) -> str:
    """The mean over seeds with its interval as text, ``"12.3 ± 0.8"``; the mean alone where there is no interval."""
    mean, half = mean_and_half_width(values)
    like = mean if 0 < abs(mean) < 1e3 * half else half  # a small interval has digits of its own
    return not_finite(values, seeds) or number(mean) + f" ± {number(half, like)}" * (not math.isnan(half))

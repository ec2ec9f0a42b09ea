"""What a handful of seeds says of a number: its mean, and how far the truth may lie from it."""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from workbench.runs.table import number

# Two-sided 95 % quantiles of Student's t for 1 to 8 degrees of freedom. For more, a series around the normal quantile
# has four digits too.
_T = (12.706, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060)

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


def student_t(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t with ``freedom`` degrees of freedom, at least 1."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / freedom**3


def not_finite(values: Sequence[float | None], seeds: Sequence[int]) -> str:
    """What is said in place of a mean if a number is not finite, for a mean of the others would flatter; "" if all are.

    Args:
        values: a number for each run; None where it was not finite and has been written to JSON.
        seeds: theirs.
    """
    pairs = zip(seeds, values, strict=True)
    lost = [seed for seed, value in pairs if value is None or not math.isfinite(value)]
    return f"{len(values) - len(lost)} of {len(values)} runs finite, not seed {listed(lost)}" if lost else ""


def listed(seeds: Iterable[int]) -> str:
    """Seeds as a sentence has them: ``0, 1, 2``, ``0 to 1099``, and only how many of those that are scattered."""
    found = sorted(set(seeds))
    starts = [place for place, seed in enumerate(found) if not place or seed != found[place - 1] + 1]
    parts = [found[start:end] for start, end in itertools.pairwise([*starts, len(found)])]
    said = [f"{part[0]} to {part[-1]}" if len(part) > 3 else ", ".join(map(str, part)) for part in parts]
    return ", ".join(said) if len(said) <= MOST_LISTED else f"{len(found):,} seeds from {found[0]} to {found[-1]}"


def with_interval(values: Sequence[float | None], seeds: Sequence[int]) -> str:
    """The mean over seeds with its interval as text, ``"12.3 ± 0.8"``; the mean alone where there is no interval."""
    mean, half = mean_and_half_width(values)
    like = mean if 0 < abs(mean) < 1e3 * half else half  # a small interval has digits of its own
    return not_finite(values, seeds) or number(mean) + f" ± {number(half, like)}" * (not math.isnan(half))

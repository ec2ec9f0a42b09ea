"""How sure a difference between runs is that were made in pairs, of the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from workbench.report.intervals import Estimate
from workbench.runs.statistics import chance_above, student_t


def paired_difference(first: Sequence[float], second: Sequence[float]) -> tuple[Estimate, float]:
    """Mean of the differences of pairs, with its 95 % interval by Student's t, and how often luck is that far off.

    Pairs that are all equal differ by 0 exactly. Of one pair there is no interval, and luck explains everything.

    Args:
        first: a value for each pair.
        second: what is subtracted from it.

    Raises:
        ValueError: there is no pair, or a value has none.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"there are {len(first)} and {len(second)} values; pairs need as many of both, and at least 1")
    apart = [one - other for one, other in zip(first, second, strict=True)]
    mean = statistics.fmean(apart)
    if len(apart) < 2:
        return Estimate(mean), 1.0
    error = statistics.stdev(apart) / math.sqrt(len(apart))
    half = student_t(len(apart) - 1) * error
    chance = 2 * chance_above(abs(mean) / error, len(apart) - 1) if error else float(mean == 0)
    return Estimate(mean, mean - half, mean + half), chance


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """The chances of several tests, each raised so that one false alarm among all is as rare as it says.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.
    """
    raised, least = dict[str, float](), 0.0
    for place, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        least = max(least, min(1.0, (len(chances) - place) * chances[name]))
        raised[name] = least
    return raised

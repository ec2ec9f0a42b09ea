"""The eight verification methods of seed 000: each a few rules, its numbers, and the share that was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.core.records import EventKind
from workbench.diagnose.checks import (
    CHECKSUM,
    EPSILON,
    EPSILON_ACTED,
    EPSILON_PUBLISHED,
    EPSILON_SYNCED,
    LAG,
    ONLINE,
    PUBLISHED,
    PUBLISHED_TARGET,
    RATE,
    SAME_Q,
    SYNCS,
    TARGET_HELD,
    VERSION,
    WAITING,
    CheckResult,
    judge,
)
from workbench.diagnose.rules import Evidence, Rule

_FEW, _BINS = 12, 5


@dataclass(frozen=True)
class Method:
    """One way of seed 000 to find out whether the local model is in sync."""

    name: str
    ids: tuple[str, ...]
    """Ids of the failures that it speaks for."""
    rules: tuple[Rule, ...]
    numbers: Callable[[Evidence], str] = lambda _: ""
    """What else it has to say; empty where nothing is recorded."""


def run_methods(evidence: Evidence) -> tuple[CheckResult, ...]:
    """The eight methods, each with its numbers and with how much of the run it looked at."""
    judged = []
    for method in METHODS:
        result = judge(evidence, method.name, method.ids, method.rules).with_more(method.numbers(evidence))
        judged.append(dataclasses.replace(result, measured=_share(evidence, method.rules)))
    return tuple(judged)


def _share(evidence: Evidence, rules: tuple[Rule, ...]) -> str:
    """What of all there was the rules have measured: costly measurements are made in a part of the rounds only."""
    shares: dict[str, list[int]] = {}
    for rule in rules:
        if rule.whole is not None and (found := rule.measure(evidence)) is not None:
            shares.setdefault(rule.whole.name, [rule.whole.count(evidence)]).append(len(found.value))
    told = ", ".join(f"{_part(*counts)} {name}" for name, counts in shares.items())
    return f"Measured: {told}." if told else ""


def _part(whole: int, *measured: int) -> str:
    """So many of all, or from so many to so many where the rules differ."""
    least, most = min(measured), max(measured)
    whole = max(whole, most)  # while a run goes on, one table may be ahead of the other
    if least == whole:
        return f"all {whole}"
    return f"{least} of {whole}" if least == most else f"{least} to {most} of {whole}"


# --- numbers ---------------------------------------------------------------------------------------------------------


def _epsilon_at_syncs(evidence: Evidence) -> str:
    before, after = (evidence.history.measured(f"sync/epsilon_{when}") for when in ("before", "after"))
    if not len(before) or len(before) != len(after):
        return ""
    last = -1
    return (
        f"The last sync, in epoch {after['epoch'][last]}, took epsilon from {before['value'][last]:.4f} to "
        f"{after['value'][last]:.4f}, with {after['due'][last]:.4f} due."
    )


def _distances(evidence: Evidence) -> str:
    told = []
    for half in ("online", "target"):
        before = evidence.history.measured(f"sync/{half}_before")["value"]
        after = evidence.history.measured(f"sync/{half}_after")["value"]
        if len(before) and len(after):
            told.append(f"{half} {before.mean():.3g} before and {after.mean():.3g} after")
    return f"Mean distance at a sync: {', '.join(told)}." if told else ""


def _lags(evidence: Evidence) -> str:
    epochs = evidence.history.epochs
    if not len(epochs):
        return ""
    told = [f"{unit} {histogram(epochs[f'sync_lag_{unit}'])}" for unit in ("versions", "updates", "ms")]
    return f"Epochs by how far behind: {'; '.join(told)}."


def histogram(values: NDArray[np.generic]) -> str:
    """How often there was which value: one by one if they are few, else in equal steps from least to greatest."""
    numbers = np.asarray(values, np.float64)
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(distinct) <= _FEW:
        return ", ".join(f"{value:g}: {count}" for value, count in zip(distinct, counts, strict=True))
    counts, edges = np.histogram(numbers, _BINS)
    return ", ".join(
        f"{low:.3g} to {high:.3g}: {count}" for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )


def _first_use(evidence: Evidence) -> str:
    events = evidence.history.events
    published = events[events["kind"] == EventKind.PUBLISH]
    synced = events[events["kind"] == EventKind.SYNC]
    made = {(each["agent"], each["version"]): each["time"] for each in published}
    new = synced[synced["version"] != synced["version_before"]]
    waits = [each["time"] - made[key] for each in new if (key := (each["agent"], each["version"])) in made]
    if not waits:
        return ""
    return f"From a publication to its first use it took {1e3 * float(np.mean(waits)):.1f} ms on average."


METHODS = (
    Method("1 sync events", ("W3", "W7"), (SYNCS, EPSILON_SYNCED), _epsilon_at_syncs),
    Method("2 weight distance", ("W5", "W8"), (ONLINE, TARGET_HELD), _distances),
    Method("3 versions", ("W3", "W4", "W11"), (LAG,), _lags),
    Method("4 counters", ("W3", "W4"), (SYNCS, RATE)),
    Method("5 epsilon", ("W7",), (EPSILON, EPSILON_ACTED)),
    Method(
        "6 self-test of the copy", ("W1", "W2", "W5", "W8"), (CHECKSUM, ONLINE, TARGET_HELD, EPSILON_PUBLISHED, SAME_Q)
    ),
    Method("7 order of sync and action", ("W6",), (VERSION,)),
    Method("8 publication", ("W4", "W8"), (PUBLISHED, PUBLISHED_TARGET, WAITING, RATE), _first_use),
)
"""The methods, in the seed's order."""

"""The closed vocabulary of what is measured: four tables of fixed-size records, and a written definition per metric.

A table is a packed, little-endian structured dtype, the same in shared memory, in arrays and on disk. A metric is one
field of a table under a public name; the other fields say when and where a record was made (:data:`COLUMNS`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Records: TypeAlias = npt.NDArray[np.void]
"""A structured array of shape (n,) whose dtype is one of :data:`TABLES`."""

UPDATES = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("update", "<i8"),
    ("loss", "<f4"), ("mean_q", "<f4"), ("max_q", "<f4"), ("td_error", "<f4"),
    ("grad_norm", "<f4"), ("learning_rate", "<f4"), ("target_updates", "<i8"),
    ("sample_age", "<f4"), ("replay_fill", "<i8"),
])  # fmt: skip
"""One record per update, written by the learner of the agent."""

EPOCHS = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("agent_steps", "<i8"),
    ("reward", "<f8"), ("epsilon", "<f4"), ("policy_version", "<i8"), ("policy_updates", "<i8"),
    ("sync_lag_versions", "<i8"), ("sync_lag_updates", "<i8"), ("sync_lag_ms", "<f8"), ("replay_ratio", "<f4"),
])  # fmt: skip
"""One record per epoch and agent, written by the actor after the epoch's last action."""

EVENTS = np.dtype([
    ("time", "<f8"), ("kind", "<i4"), ("agent", "<i4"), ("epoch", "<i4"),
    ("version_before", "<i8"), ("version", "<i8"), ("update", "<i8"), ("epsilon", "<f4"),
])  # fmt: skip
"""One record per publication (by the learner) and per sync (by the actor), also one that finds nothing new."""

EVALUATIONS = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("version", "<i8"), ("update", "<i8"),
    ("reward", "<f8"), ("worlds", "<i4"), ("final", "<i1"),
])  # fmt: skip
"""One record per greedy evaluation and agent."""

TABLES: dict[str, np.dtype[np.void]] = {
    "updates": UPDATES,
    "epochs": EPOCHS,
    "events": EVENTS,
    "evaluations": EVALUATIONS,
}

AXES = {"updates": "update", "epochs": "epoch", "evaluations": "epoch"}
"""The column of a table that its metrics are drawn over. Events are marks, not curves."""


class EventKind(IntEnum):
    """What happened to a policy."""

    PUBLISH = 1
    """A learner put a new version into the mailbox."""
    SYNC = 2
    """The actor took a version out of the mailbox."""


@dataclass(frozen=True)
class Metric:
    """One measured quantity."""

    name: str
    """Public name, ``group/quantity``."""
    table: str
    """Key of :data:`TABLES`."""
    field: str
    """Field of the table."""
    unit: str
    """Unit of one value."""
    definition: str
    """What exactly is measured."""
    over_agents: Literal["mean", "sum"] = "mean"
    """How the agents' values become one curve."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "losses/quantile_huber", "updates", "loss", "scaled reward",
            "Quantile Huber loss of the update, before the step: summed over the online fractions, averaged over the "
            "target fractions and the batch (Dabney et al. 2018, equation 3).",
        ),
        Metric(
            "losses/td_error", "updates", "td_error", "scaled reward",
            "Mean of |target - value| over the batch and all pairs of online and target fractions.",
        ),
        Metric(
            "values/mean_q", "updates", "mean_q", "scaled reward",
            "Mean over the batch of the online Q(s_tm1, a_tm1), before the step.",
        ),
        Metric(
            "values/max_q", "updates", "max_q", "scaled reward",
            "Greatest online Q(s_tm1, a_tm1) of the batch, before the step.",
        ),
        Metric(
            "learning/grad_norm", "updates", "grad_norm", "1",
            "Euclidean norm of the gradient over all parameters of the agent, before clipping.",
        ),
        Metric("learning/learning_rate", "updates", "learning_rate", "1", "Step size of the optimiser in the update."),
        Metric(
            "learning/target_updates", "updates", "target_updates", "target updates",
            "Target updates of this agent so far, this update's included.",
        ),
        Metric(
            "replay/sample_age", "updates", "sample_age", "versions",
            "Mean over the batch of the newest published version minus the version that chose the row's action. Rows "
            "live long in a replay, so this is large by nature; it is no sync lag.",
        ),
        Metric("replay/fill", "updates", "replay_fill", "rows", "Rows that the update could have sampled."),
        Metric(
            "charts/reward", "epochs", "reward", "reward per epoch",
            "Unscaled reward of this agent, summed over the epoch's turns, mean over the worlds, while it explores.",
            over_agents="sum",
        ),
        Metric("charts/epsilon", "epochs", "epsilon", "probability", "Epsilon that the actor used in the epoch."),
        Metric(
            "charts/replay_ratio", "epochs", "replay_ratio", "updates per agent step",
            "Updates of this agent so far divided by its agent steps so far.",
        ),
        Metric(
            "sync/policy_version", "epochs", "policy_version", "versions",
            "Version that chose the epoch's last action; 0 is the initial weights.",
        ),
        Metric(
            "sync/policy_updates", "epochs", "policy_updates", "updates",
            "Updates behind the policy that chose the epoch's last action.",
        ),
        Metric(
            "sync/lag_versions", "epochs", "sync_lag_versions", "versions",
            "Newest published version minus the version in use, at the epoch's last action.",
        ),
        Metric(
            "sync/lag_updates", "epochs", "sync_lag_updates", "updates",
            "Updates that the learner has done minus the updates behind the policy in use, at the epoch's last action.",
        ),
        Metric(
            "sync/lag_ms", "epochs", "sync_lag_ms", "ms",
            "Publication time of the newest version minus that of the version in use, at the epoch's last action.",
        ),
        Metric(
            "charts/greedy_reward", "evaluations", "reward", "reward per epoch",
            "Unscaled reward of this agent per greedy epoch, mean over worlds that only the evaluation uses.",
            over_agents="sum",
        ),
    )
}  # fmt: skip

COLUMNS: dict[str, str] = {
    "time": "When the record was made: seconds since 1970, UTC.",
    "agent": "Index of the agent.",
    "epoch": "Index of the epoch, counted from 0; in an event, the first epoch that the version can be used in.",
    "update": "Updates of this agent so far, the recorded one included; in an event, those behind the version.",
    "agent_steps": "Agent steps of this agent so far, this epoch's included.",
    "kind": "What happened: an EventKind.",
    "version_before": "The version that was replaced.",
    "version": "The version that was published, taken over or evaluated; 0 is the initial weights.",
    "epsilon": "Epsilon that goes with the version.",
    "worlds": "Greedy epochs behind the mean, run side by side as worlds.",
    "final": "1 for the evaluation after the last update, else 0.",
}
"""Fields that say when, where and under what a record was made."""


def metric(name: str) -> Metric:
    """The metric of that public name.

    Raises:
        KeyError: there is none; the nearest names are given.
    """
    if name in METRICS:
        return METRICS[name]
    known = {
        alias: each.name for each in METRICS.values() for alias in (each.name, each.name.split("/")[1], each.field)
    }
    near = dict.fromkeys(known[alias] for alias in difflib.get_close_matches(str(name), known, n=3, cutoff=0.5))
    hint = f"did you mean {' or '.join(near)}?" if near else f"known metrics: {', '.join(METRICS)}"
    raise KeyError(f"there is no metric {name!r}; {hint}")

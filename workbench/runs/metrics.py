"""The closed vocabulary of what is measured: tables of fixed-size records, and a written definition per metric.

A table is a packed, little-endian structured dtype, the same in shared memory, in arrays and on disk. A metric is one
field of a table under a public name; the other fields say when and where a record was made (:data:`COLUMNS`). The
table of the probes holds one number per record instead, and what it is: a :class:`Measurement`.
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

PROBES = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("measurement", "<i4"),
    ("version", "<i8"), ("update", "<i8"), ("value", "<f8"), ("due", "<f8"),
])  # fmt: skip
"""One record per measurement of a probe: what was found, and what should have been. Empty without probes."""

SPANS = np.dtype([
    ("start", "<i8"), ("duration", "<i8"), ("on_core", "<i8"),
    ("process", "<i2"), ("kind", "<i2"), ("agent", "<i4"), ("epoch", "<i4"),
])  # fmt: skip
"""One record per piece of work or of waiting of a process, written when it is over. Empty without a timeline."""

TABLES: dict[str, np.dtype[np.void]] = {
    "updates": UPDATES,
    "epochs": EPOCHS,
    "events": EVENTS,
    "evaluations": EVALUATIONS,
    "probes": PROBES,
    "spans": SPANS,
}

AXES = {"updates": "update", "epochs": "epoch", "evaluations": "epoch"}
"""The column of a table that its metrics are drawn over. Events, probes and spans are no curves."""


class EventKind(IntEnum):
    """What happened to a policy."""

    PUBLISH = 1
    """A learner put a new version into the weight store."""
    SYNC = 2
    """The actor took a version out of the weight store."""


class SpanKind(IntEnum):
    """What a process did for a while. Of two spans, one within the other, the inner one says more exactly what."""

    STARTING = 1
    """From the opening of its parts to the opening of the barrier that all processes start behind."""
    WAITING = 2
    """For another process: until an epoch may be collected, or updates may be made."""
    ACTING = 3
    """An epoch of the world: the sync, if one is due, then every turn, then the records of the epoch."""
    SYNCING = 4
    """Taking policies out of the weight stores."""
    EVALUATING = 5
    """Greedy epochs."""
    LEARNING = 6
    """A phase of learning of one agent: its updates, and the records of them."""
    SAMPLING = 7
    """Drawing a batch from the replay."""
    UPDATING = 8
    """One update, without the drawing of its batch; on a GPU the issuing of the work, which is waited for later."""
    PUBLISHING = 9
    """Putting a policy into its weight store."""
    CHECKPOINTING = 10
    """Saving what is needed to go on later."""


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
    "agent": "Index of the agent; -1 for all or none of them.",
    "epoch": (
        "Index of the epoch, counted from 0; in an event, the first epoch that the version can be used in; in a span, "
        "that of the work, -1 if it belongs to none."
    ),
    "update": "Updates of this agent so far, the recorded one included; in an event, those behind the version.",
    "agent_steps": "Agent steps of this agent so far, this epoch's included.",
    "kind": "What happened, an EventKind; in a span, what the process did, a SpanKind.",
    "measurement": "What a probe measured: the place of its name in MEASUREMENTS.",
    "value": "What a probe found, in the unit of the measurement.",
    "due": "What it should have found, or the limit; nan where there is no such thing.",
    "version_before": "The version that was replaced.",
    "version": "The version that was published, taken over or evaluated; 0 is the initial weights.",
    "epsilon": "Epsilon that goes with the version.",
    "worlds": "Greedy epochs behind the mean, run side by side as worlds.",
    "final": "1 for the evaluation after the last update, else 0.",
    "start": (
        "When it began: nanoseconds on the machine's monotonic clock, the same for all of its processes. The run's "
        "description has what to add for time since 1970: clock_offset_ns."
    ),
    "duration": "How long it took, in nanoseconds.",
    "on_core": (
        "How much of that the process's main thread was on a core, in nanoseconds; for the rest it waited, for another "
        "process, a device or a core."
    ),
    "process": "Place of the process among the run's processes, whose names are in the run's description.",
}
"""Fields that say when, where and under what a record was made."""


@dataclass(frozen=True)
class Measurement:
    """One quantity that a probe records beside what is due."""

    name: str
    """Public name, ``part/quantity``."""
    unit: str
    """Unit of value and due."""
    definition: str
    """What exactly is measured, and what is due."""


MEASUREMENTS: dict[str, Measurement] = {
    each.name: each
    for each in (
        # at each sync, by the actor
        Measurement(
            "sync/epsilon_before", "probability",
            "Epsilon that the actor used last, before a sync. Due: by schedule, in the epoch that begins.",
        ),
        Measurement(
            "sync/epsilon_after", "probability",
            "Epsilon that the actor uses after a sync. Due: by schedule, in the epoch that begins.",
        ),
        Measurement(
            "sync/online_before", "weight",
            "Root mean square of the difference between the online weights that the actor held before a sync and the "
            "published ones that it took, over the first 512 numbers of each parameter.",
        ),
        Measurement("sync/online_after", "weight", "The same for what it held after the sync. Due: 0."),
        Measurement(
            "sync/target_before", "weight",
            "The same for the target network of the snapshot, as the actor held it before the sync.",
        ),
        Measurement("sync/target_after", "weight", "The same for the target network after the sync. Due: 0."),
        Measurement(
            "sync/checksum", "1 or 0",
            "Whether the whole vector that the actor copied has the checksum that the snapshot's header gives. Due: 1.",
        ),
        Measurement(
            "sync/q", "scaled reward",
            "Greatest Q of a fixed batch of made-up states, mean over the states, with the weights that the actor "
            "holds after a sync. Due: publish/q of the same version.",
        ),
        # in each epoch, by the actor
        Measurement(
            "act/version", "versions",
            "Version in use at the first action of an epoch. Due: the version of the dial at a finite lag; "
            "free-running the version that was newest when the last sync was due, or a newer one.",
        ),
        Measurement(
            "act/epsilon", "probability",
            "Epsilon behind an action, worked out from the probability that came with it. Due: by schedule.",
        ),
        Measurement(
            "act/stacks", "states",
            "States of the epoch that the policy was fed and that differ from what a clean reader stacks for the same "
            "rows. Due: 0.",
        ),
        Measurement("act/out_of_range", "actions", "Actions of the epoch that the world does not know. Due: 0."),
        Measurement(
            "act/rows", "rows", "Rows that a clean reader finds after the epoch. Due: agent steps so far."
        ),
        Measurement(
            "act/broken", "rows",
            "Rows of the epoch that do not match their stamp or their number when a clean reader looks. Due: 0.",
        ),
        Measurement(
            "world/reset", "cells",
            "Cells of the reset world that differ from a new world's with the same stream. Due: 0.",
        ),
        # in each phase of learning, by the learner
        Measurement(
            "data/rows", "rows", "Rows that the learner's replay counts. Due: rows collected so far, or more."
        ),
        Measurement(
            "data/varying", "share",
            "Share of the columns of a batch (cells of the states, actions, returns) that vary. Due: above 0.",
        ),
        Measurement(
            "data/void", "rows",
            "Rows that the phase's batches held although their place was given up for writing before they were drawn, "
            "or that were not yet written. Due: 0.",
        ),
        Measurement(
            "data/broken", "rows",
            "Rows of a batch, and of a share of the window, that do not match their stamp, or whose newest frame, "
            "action or version is another row's. Due: 0.",
        ),
        Measurement(
            "data/stacks", "rows",
            "Rows of a batch whose older frames differ from what a clean reader stacks for them. Due: 0.",
        ),
        Measurement(
            "data/returns", "rows",
            "Rows of a batch whose return is not the sum of the discounted raw rewards, added up anew. Due: 0.",
        ),
        Measurement(
            "data/discounts", "rows", "Rows of a batch whose discount is not the product added up anew. Due: 0."
        ),
        Measurement(
            "data/bias", "1", "Mean over a batch of the discount minus the one worked out anew. Due: 0."
        ),
        Measurement(
            "data/scale", "1",
            "Mean size of the returns in a batch divided by that of the raw rewards' returns. Due: the reward scale.",
        ),
        Measurement(
            "learn/target_updates", "target updates",
            "Target updates that the agent counts. Due: updates made divided by the target interval.",
        ),
        Measurement(
            "learn/target_motion", "target updates",
            "How far the target network moved in one update, in steps of tau towards the online network. "
            "Due: 1 where a target update is due, else 0.",
        ),
        Measurement(
            "learn/training", "1 or 0", "Whether the online network was in training mode in an update. Due: 1."
        ),
        Measurement(
            "learn/gradient", "1", "Norm of the gradient that the optimiser was given. Due: at most the clip norm."
        ),
        Measurement(
            "learn/optimizer", "1 or 0",
            "Whether the optimiser holds exactly the weights of the networks in use. Due: 1.",
        ),
        Measurement(
            "learn/moved", "weight",
            "Root mean square of the online weights' change in one update, over the sample. Due: above 0.",
        ),
        Measurement("learn/steps", "updates", "Steps that the optimiser counts. Due: updates made."),
        Measurement(
            "learn/device", "1 or 0", "Whether weights and batch lie on the same device. Due: 1."
        ),
        Measurement(
            "learn/waiting", "updates",
            "Updates after a phase of learning that are in no published snapshot. Due: at most so many.",
        ),
        # after each publication, by the learner
        Measurement(
            "publish/online", "weight",
            "Root mean square of the difference between the agent's online weights and those in the weight store, over "
            "the sample. Due: 0.",
        ),
        Measurement("publish/target", "weight", "The same for the target network. Due: 0."),
        Measurement(
            "publish/updates", "updates", "Updates that the newest snapshot's header gives. Due: updates made."
        ),
        Measurement(
            "publish/host", "1 or 0", "Whether the snapshot was written to an array in host memory. Due: 1."
        ),
        Measurement(
            "publish/q", "scaled reward",
            "Greatest Q of the fixed batch, mean over its states, with the weights that were published.",
        ),
        Measurement(
            "publish/online_target", "weight",
            "Root mean square of the difference between online and target network when they are published.",
        ),
    )
}  # fmt: skip


def measurement_number(name: str) -> int:
    """The number that stands for a measurement in the table of the probes.

    Raises:
        KeyError: there is none; the nearest names are given.
    """
    if name not in _NUMBERS:
        near = difflib.get_close_matches(str(name), MEASUREMENTS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known measurements: {', '.join(MEASUREMENTS)}"
        raise KeyError(f"there is no measurement {name!r}; {hint}")
    return _NUMBERS[name]


_NUMBERS = {name: number for number, name in enumerate(MEASUREMENTS)}


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

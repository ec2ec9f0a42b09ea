"""What the probes measure: their table of records, and a written definition of each measurement.

A record of this table holds one number and what it is, a :class:`Measurement`, so a new measurement is one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.did_you_mean import did_you_mean
from workbench.core.records import Records, RecordTable

if TYPE_CHECKING:
    from workbench.runs.history import History

PROBES = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("measurement", "<i4"),
    ("version", "<i8"), ("update", "<i8"), ("value", "<f8"), ("due", "<f8"),
])  # fmt: skip
"""One record per measurement: what was found (``value``), and what should have been or the limit (``due``, nan where
there is no such thing), both in the unit of the measurement; ``measurement`` is the place of its name in
:data:`MEASUREMENTS`, ``agent`` -1 for all or none of them."""


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

PROBE_TABLES = {"probes": RecordTable(PROBES, 32768, words={"measurement": tuple(MEASUREMENTS)})}
"""The table that a run with probes has beside the core's."""


def probes_of(history: History) -> Records:
    """What the probes of a run have recorded, (n,) of :data:`PROBES`; empty for a run without probes."""
    return history.table("probes") if "probes" in history.schema.tables else np.empty(0, PROBES)


def measurements_of(history: History, name: str) -> Records:
    """Every record of one measurement, in the order of arrival.

    Raises:
        KeyError: there is no measurement of that name; the nearest are given.
    """
    number, probes = measurement_number(name), probes_of(history)
    if len(probes):
        words = history.schema.tables["probes"].words["measurement"]  # as they were when the run was made
        number = words.index(name) if name in words else -1
    found: Records = probes[probes["measurement"] == number]
    return found


def measurement_number(name: str) -> int:
    """The number that stands for a measurement in the table of the probes.

    Raises:
        KeyError: there is none; the nearest names are given.
    """
    if name not in _NUMBERS:
        raise KeyError(f"there is no measurement {name!r}; {did_you_mean(name, MEASUREMENTS)}")
    return _NUMBERS[name]


_NUMBERS = {name: number for number, name in enumerate(MEASUREMENTS)}

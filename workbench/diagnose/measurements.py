"""What the probes measure: their table of records; ``measurements.md`` defines each measurement.

A record of this table holds one number and what it is, so a new measurement is one line of that page.
"""

from pathlib import Path

import numpy as np

from workbench.core.records import Records, RecordTable
from workbench.core.sentences import did_you_mean
from workbench.runs.history import History
from workbench.runs.table import markdown_rows

# One record per measurement: what was found (``value``), and what should have been or the limit (``due``, nan where
# there is no such thing), both in the unit of the measurement; ``measurement`` is the place of its name in
# :data:`MEASUREMENTS`, ``agent`` -1 for all or none of them.
PROBES = np.dtype([
    ("time", "<f8"), ("agent", "<i4"), ("epoch", "<i4"), ("measurement", "<i4"),
    ("version", "<i8"), ("update", "<i8"), ("value", "<f8"), ("due", "<f8"),
])  # fmt: skip

_ROWS = markdown_rows(Path(__file__).with_suffix(".md"))
# What exactly each measurement is, what is due, and the unit of both, by its name, ``part/quantity``; as
# ``measurements.md`` lists them.
MEASUREMENTS: dict[str, str] = {name.strip("`"): f"{definition} In: {unit}." for name, unit, definition in _ROWS}

# The table that a run with probes has beside the core's.
PROBE_TABLES = {"probes": RecordTable(PROBES, 32768, words={"measurement": tuple(MEASUREMENTS)})}


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
    return np.asarray(probes[probes["measurement"] == number])


def measurement_number(name: str) -> int:
    """The number that stands for a measurement in the table of the probes.

    Raises:
        KeyError: there is none; the nearest names are given.
    """
    if name not in MEASUREMENTS:
        raise KeyError(f"there is no measurement {name!r}; {did_you_mean(name, MEASUREMENTS)}")
    return list(MEASUREMENTS).index(name)

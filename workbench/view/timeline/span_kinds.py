"""What a process did when: the timeline's table of records, and the kinds of its spans."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from workbench.core.records import Records, RecordTable, words_of

if TYPE_CHECKING:
    from workbench.runs.history import History

# One record per piece of work or of waiting of a process, written when it is over. Times are in nanoseconds.
#
# ``start`` is on the machine's monotonic clock, the same for all of its processes; the run's description has what to
# add for time since 1970, ``clock_offset_ns``. ``on_core`` says how much of ``duration`` the main thread was on a
# core; for the rest it waited, for another process, a device or a core. ``process`` is the place among the run's
# processes, whose names are in the description; ``agent`` and ``epoch`` are -1 where the work belongs to none.
SPANS = np.dtype([
    ("start", "<i8"), ("duration", "<i8"), ("on_core", "<i8"),
    ("process", "<i2"), ("kind", "<i2"), ("agent", "<i4"), ("epoch", "<i4"),
])  # fmt: skip


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
    """Saving what is needed to resume the run."""


# The table that a run with a timeline has beside the core's.
SPAN_TABLES = {"spans": RecordTable(SPANS, 32768, words={"kind": words_of(SpanKind)})}


def spans_of(history: History) -> Records:
    """What the timeline of a run has recorded, (n,) of :data:`SPANS`; empty for a run without one."""
    return history.table("spans") if "spans" in history.schema.tables else np.empty(0, SPANS)

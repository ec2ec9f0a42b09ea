"""Settings that are changed while a run goes on: written by the parent, taken up by each process between two rounds.

The block holds the new values as JSON text in two alternating slots, like any other state. What is changed belongs to
the run from then on; nothing that is sized once, such as a network or a ring, can be changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from workbench.config import Config
from workbench.exchange.journal import Journal
from workbench.exchange.layout import Arrays, Layout

CHANGEABLE = (
    "learning.learning_rate",
    "learning.learning_rate_end",
    "exploration.epsilon_start",
    "exploration.epsilon_end",
    "exploration.decay_epochs",
    "pacing.publish_interval",
    "pacing.sync_interval",
    "pacing.max_ahead",
    "pacing.max_behind",
    "evaluation.interval",
    "checkpoint.interval",
)
"""Settings that may be changed while a run goes on, by dotted name."""
FIXED = {
    "pacing.updates_per_epoch": (
        "it says which updates belong to which epoch and how many the run makes in all, which step size, end, records "
        "and checkpoints are reckoned by. Launch a new run from these weights: "
        "wb.launch(config.replace(**{'pacing.updates_per_epoch': N}), weights=run.newest_weights). Free-running, "
        "pacing.max_ahead and pacing.max_behind can be changed: they say how far the replay ratio may be off meanwhile"
    ),
}
"""Settings of which one might expect that they can be changed, and why not, with what to do instead."""
_ROOM = 4096


class Changes:
    """The changed settings of a run, over arrays that :meth:`layout` describes."""

    def __init__(self, config: Config, arrays: Arrays, fence: Callable[[], None] | None = None) -> None:
        self._journal, self._original, self._config, self._seen = Journal(arrays, fence), config, config, -1

    @staticmethod
    def layout() -> Layout:
        """The table of the one block that a run needs."""
        return Journal.layout("changed settings", {"text": np.zeros(_ROOM, np.uint8)})

    @property
    def config(self) -> Config:
        """The configuration as it is now; the same object until something is changed."""
        if self._journal.step != self._seen:
            self._seen = self._journal.step
            text = self._journal.load()["text"].tobytes().rstrip(b"\0")
            self._config = self._original.replace(**json.loads(text))
        return self._config

    def make(self, changes: Mapping[str, Any]) -> None:
        """Set settings, by dotted name, beside those that were changed before; the parent's side."""
        before = json.loads(self._journal.load()["text"].tobytes().rstrip(b"\0")) if self._journal.step >= 0 else {}
        text = json.dumps(before | dict(changes)).encode()
        room = np.zeros(_ROOM, np.uint8)
        room[: len(text)] = np.frombuffer(text, np.uint8)
        self._journal.save(self._journal.step + 1, {"text": room})

"""Settings that are changed while a run goes on: written by the parent, read by each process between two rounds.

The block holds all changes as JSON text in two alternating slots, like any other state, each with the epoch from which
on it holds. Nothing that is sized once, such as a network or a ring, can be changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from workbench.core.config import Config, ConfigError
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Arrays, Layout
from workbench.runs.recovery.journal import Journal
from workbench.runs.settings_timeline import Course

CHANGEABLE = (
    "learning.learning_rate",
    "learning.learning_rate_end",
    "exploration.epsilon_start",
    "exploration.epsilon_end",
    "exploration.decay_epochs",
    "pacing.updates_per_epoch",
    "pacing.publish_interval",
    "pacing.sync_interval",
    "pacing.max_ahead",
    "pacing.max_behind",
    "evaluation.interval",
    "checkpoint.interval",
)
"""Settings that may be changed while a run goes on, by dotted name. Which ones a resumed run may begin with is in
:data:`workbench.core.config.SAFE_TO_CHANGE`."""
_ROOM = 2**16


class Changes:
    """The course of a run, over arrays that :meth:`layout` describes."""

    def __init__(self, config: Config, arrays: Arrays, fence: Callable[[], None] | None = None) -> None:
        self._journal, self._course, self._seen = Journal(arrays, fence), Course(config), -1

    @staticmethod
    def layout() -> Layout:
        """The table of the one block that a run needs."""
        return Journal.layout("changed settings", {"text": np.zeros(_ROOM, np.uint8)})

    @property
    def course(self) -> Course:
        """The settings over the epochs as far as they are known now; the same object until something is changed."""
        while (step := self._journal.step) != self._seen:
            text = self._journal.load()["text"].tobytes().rstrip(b"\0")
            if self._journal.step == step:  # else it may have been written over meanwhile; whoever changes is no loop
                self._course, self._seen = Course(self._course.config, json.loads(text)), step
        return self._course

    def make(self, progress: Progress, settings: Mapping[str, Any], announce: Callable[[int], object]) -> None:
        """Change settings while processes go on; the parent's side, one thread at a time. The caller rings afterwards.

        No epoch can begin meanwhile. One may be going on, and the actor may just have been let into another; so the
        change holds from the one after these on, which no process has looked at: learners come after the actor.

        Args:
            progress: the run's counters.
            settings: new values by dotted name.
            announce: told the first epoch that the change holds for, before any process can get there.

        Raises:
            ConfigError: a value breaks a rule, no epoch is left, or there is no room for more changes; nothing is
                changed then.
        """
        course = self.course
        course.changed(course.config.epochs, settings)  # refuses what breaks a rule before anybody has to wait
        paused = progress.paused
        progress.pause(True)
        try:
            epoch = progress.epochs_collected + 2
            if epoch >= course.config.epochs:
                raise ConfigError(
                    f"a change would hold from epoch {epoch} on; the run ends after {course.config.epochs} epochs. "
                    "Let it end, and resume it with more"
                )
            self.set(course.changed(epoch, settings), lambda: announce(epoch))
        finally:
            progress.pause(paused)

    def set(self, course: Course, announce: Callable[[], object] = lambda: None) -> None:
        """Write a course, which differs from the one before in epochs only that no process has looked at.

        Raises:
            ConfigError: so many changes were made that there is no room for more.
        """
        text = json.dumps(course.changes, separators=(",", ":")).encode()
        if len(text) > _ROOM:
            raise ConfigError(
                f"the changes of this run take {len(text):,} bytes; there is room for {_ROOM:,}. Stop the run and go "
                "on with wb.launch(config, weights=run.weights)"
            )
        announce()
        room = np.zeros(_ROOM, np.uint8)
        room[: len(text)] = np.frombuffer(text, np.uint8)
        self._journal.save(self._journal.step + 1, {"text": room})

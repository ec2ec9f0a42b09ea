"""What a process leaves for whoever takes its place: its state at every step, and now and then a copy for the disk.

A checkpoint is one cut through the run: the state of every process after the same epoch. The actor begins one before
it reports that epoch, so each learner sees what is due before it can get there, and copies its part when it does. No
one waits for anyone; the parent writes the file when every part is there (:mod:`workbench.runs.recovery.checkpoint`).
Free-running learners copy their part at their next publication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.shared.counters import Progress
from workbench.runs.recovery.journal import Journal, State


class Recovery:
    """The two places of one owner, which is the actor or an agent's learner; either may be missing."""

    def __init__(
        self, journal: Journal | None = None, checkpoint: Journal | None = None,
        shared: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:  # fmt: skip
        """Take the places, and the bytes of the blocks that the owner writes, which belong to a checkpoint."""
        self._journal, self._checkpoint, self._shared = journal, checkpoint, dict(shared or {})

    def keep(self, step: int, state: Callable[[], State]) -> None:
        """Keep the state of a step in shared memory."""
        if self._journal is not None:
            self._journal.save(step, state())

    def recall(self) -> tuple[dict[str, NDArray[Any]] | None, int]:
        """The newest state that was kept and its step; None and -1 if there is none."""
        if self._journal is None or self._journal.step < 0:
            return None, -1
        return self._journal.load(), self._journal.step

    def checkpoint_begins(self, epochs: int, interval: int, progress: Progress) -> bool:
        """Asked by the actor after so many epochs: whether to begin a checkpoint. One at a time; others are skipped."""
        wanted = progress.checkpoint_wanted or (interval > 0 and epochs % interval == 0)
        if self._checkpoint is None or not wanted or progress.checkpoint_due >= epochs:
            return False
        if progress.checkpoint_kept < progress.checkpoint_due:
            progress.skip_checkpoint()
            return False
        return True

    def checkpoint_is_due(self, epochs: int, progress: Progress) -> bool:
        """Asked by a learner after so many epochs: whether its part of the checkpoint is missing."""
        due = progress.checkpoint_due
        return self._checkpoint is not None and epochs >= due > self._checkpoint.step

    def leave_checkpoint(self, step: int, state: State) -> None:
        """Copy state and blocks for the checkpoint of a step; the parent takes them from there."""
        if self._checkpoint is not None:
            self._checkpoint.save(step, {**state, **self._shared})


NOTHING_KEPT = Recovery()
"""For a run that nobody can take over."""

"""Rows of a replay as they lie in memory: what is digested at a run's end, and which of them are broken."""

import numpy as np

from workbench.core.shared.layout import Arrays, Ints
from workbench.core.shared.replay import Replay, row_stamps


def rows_of(replay: Replay) -> Arrays:
    """Copies of the rows in the window, oldest first, by field, with the frames before and after the turn."""
    return _copied(replay, np.arange(max(replay.oldest_intact, replay.count - replay.window), replay.count))


def broken_rows(replay: Replay, numbers: Ints) -> int:
    """How many of these rows do not match their stamp, or hold another row than their number says."""
    rows = _copied(replay, numbers)
    return int(((rows["stamp"] != row_stamps(rows)) | (rows["number"] != numbers)).sum())


def _copied(replay: Replay, numbers: Ints) -> Arrays:
    slot, turn, world = index = replay.places(numbers)
    rows = {name: replay.arrays[name][index] for name in ("frame", *replay.rows)}
    return rows | {"next_frame": replay.arrays["frame"][slot, turn + 1, world]}

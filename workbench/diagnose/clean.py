"""Clean readers: what lies in the shared blocks, read without any of the parts that a process uses.

A probe compares what a process worked with to what a clean reader finds in the same memory, so whatever wraps or
replaces the process's own parts cannot hide.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.processes.worker import Parts
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore, WeightStoreError
from workbench.runs.rows import broken_rows

# Rows of the window whose stamps are looked at in one go, if an epoch has no more: none is left out then.
SCAN = 256

Half = NDArray[np.float32]
Seen = TypeVar("Seen")


def sampled_places(layout: ParameterLayout, most: int) -> NDArray[np.int64]:
    """Indices into one network's half of a snapshot: at most ``most`` of each parameter, evenly spread."""
    sizes = [int(np.prod(shape)) for shape in layout.shapes]
    spread = [np.arange(min(size, most)) * (size - 1) // max(min(size, most) - 1, 1) for size in sizes]
    return np.concatenate([offset + places for offset, places in zip(layout.offsets, spread, strict=True)])


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a - b. Equal numbers are 0 apart, nan and infinite ones too; nan for other such."""
    with np.errstate(invalid="ignore"):
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.mean(difference(a, b) ** 2)))


class CleanWeightStore(WeightStore):
    """One agent's weight store, read in place."""

    def look(self, version: int, look: Callable[[Half, Half], Seen]) -> Seen | None:
        """What a function makes of a version's online and target weights; None if it is not there (any more)."""
        try:
            self.peek(version)
            seen = look(*np.split(self._arrays["vector"][version % self._slots], 2))
            self.peek(version)  # the second look: it has not been overwritten meanwhile
        except WeightStoreError:
            return None
        return seen


class CleanReplay(Replay):
    """One agent's ring of rows."""

    _scanned = 0

    def broken(self, numbers: NDArray[np.int64]) -> int:
        """Rows that do not match their stamp or number; 0 if the writer was given one of them meanwhile."""
        broken = broken_rows(self, numbers)
        return broken if not broken or (numbers >= self.oldest_intact).all() else 0

    def scan(self) -> int:
        """:meth:`broken` of the next rows of the window; repeated, it goes through all of them."""
        count, most = self.count, max(SCAN, self.steps_per_epoch)
        low = max(self.oldest_intact, count - self.window)
        first = low + self._scanned % max(count - low, 1)
        self._scanned += most
        return self.broken(np.arange(first, min(first + most, count)))


class Side:
    """What a hook that watches has of a process: the settings, and clean readers of every agent's blocks.

    Attributes:
        places: where the weights of each agent are sampled.
    """

    def __init__(self, parts: Parts, sample: int) -> None:
        self.config, specs = parts.config, parts.config.spec.agents
        self.layouts = [self.config.agent.layout(spec) for spec in specs]
        self.places = [sampled_places(layout, sample) for layout in self.layouts]
        self.stores = [CleanWeightStore(block.open()) for block in parts.store_blocks]
        blocks = zip(specs, parts.replay_blocks, strict=True)
        self.replays = [CleanReplay(self.config, spec, block.open()) for spec, block in blocks]

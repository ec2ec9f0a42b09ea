"""Clean readers: what lies in the shared blocks, read without any of the parts that a process uses.

A probe compares what a process worked with to what a clean reader finds in the same memory, so whatever wraps or
replaces the process's own parts cannot hide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.shared.layout import Arrays
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore, WeightStoreError

# Numbers of each parameter that weights are compared on.
SAMPLE = 512
# Rows of the window whose stamps are looked at in one go.
SCAN = 256

# Sampled weights of an online and a target network.
Samples = tuple[NDArray[np.float64], NDArray[np.float64]]


def sample_index(layout: ParameterLayout) -> NDArray[np.int64]:
    """Places in a network's half of a snapshot: the first :data:`SAMPLE` numbers of each parameter."""
    lengths = [min(int(np.prod(shape)), SAMPLE) for shape in layout.shapes]
    return np.concatenate([np.arange(at, at + length) for at, length in zip(layout.offsets, lengths, strict=True)])


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Root mean square of the difference. Equal numbers are 0 apart, nan and infinite ones too; nan for other such."""
    with np.errstate(invalid="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
    return float(np.sqrt(np.mean(difference * difference)))


class CleanWeightStore(WeightStore):
    """One agent's weight store, read a sample at a time."""

    def __init__(self, layout: ParameterLayout, arrays: Arrays) -> None:
        super().__init__(arrays)
        self._index, self._size = sample_index(layout), layout.size

    def sample(self, version: int) -> Samples | None:
        """Sampled weights of a version; None if it is not there (any more)."""
        vectors = self._arrays["vector"]
        try:
            self.peek(version)
            vector = vectors[version % len(vectors)]
            sampled = self.of_half(vector[: self._size]), self.of_half(vector[self._size :])
            self.peek(version)  # the second look: it has not been overwritten meanwhile
        except WeightStoreError:
            return None
        return sampled

    def of_half(self, half: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sampled weights of one network."""
        return half.take(self._index).astype(np.float64)


class CleanReplay(Replay):
    """One agent's ring of rows."""

    def __init__(self, config: Config, spec: AgentSpec, arrays: Arrays) -> None:
        super().__init__(config, spec, arrays)
        self._scanned = 0

    def broken(self, numbers: NDArray[np.int64]) -> int:
        """Rows that do not match their stamp or number; 0 if the writer was given one of them meanwhile."""
        broken = self.broken_rows(numbers)
        return broken if not broken or (numbers >= self.oldest_intact).all() else 0

    def scan(self) -> int:
        """:meth:`broken` of the next :data:`SCAN` rows of the window; repeated, it goes through all of them."""
        count = self.count
        low = max(self.oldest_intact, count - self.window)
        first = low + self._scanned % max(count - low, 1)
        self._scanned += SCAN
        return self.broken(np.arange(first, min(first + SCAN, count)))

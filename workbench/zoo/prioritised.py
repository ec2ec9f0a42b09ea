"""Prioritised replay (Schaul et al. 2016, arXiv:1511.05952): rows with large TD errors are drawn more often.

Row i is drawn with P(i) = p_i / sum_k p_k, p_i = (|TD error| + floor)^alpha, the proportional variant. New rows have
the largest priority so far. The importance weight of a row is (N P(i))^-beta, divided by the largest weight of the
batch; N and the sum cancel. The sampler belongs to one learner, is part of its state, and lies in its own memory, so
both modes draw the same rows at a finite lag, resumed or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.settings import SHARE, above
from workbench.core.shared.sampling import Sampler, SamplerConfig

# Children of a node: few levels, and a level costs little more for 64 rows than a handful of calls.
WIDTH = 64


@dataclass(frozen=True)
class PrioritisedConfig(SamplerConfig):
    """Rows with large TD errors more often, with importance weights that undo the bias by degrees.

    Attributes:
        alpha: How much the errors count: 0 draws uniformly, 1 in proportion to them.
        beta: Exponent of the importance weights at the first update; it grows linearly to 1 at the last one that the
            run was launched or resumed with, whatever pacing.updates_per_epoch is changed to under way.
        floor: Added to |TD error|, so that no row is never drawn again, in units of scaled reward.
        draws: Each row of a batch from its own equal share of the priorities, or all independently.
    """

    weighted: ClassVar[bool] = True
    takes_errors: ClassVar[bool] = True
    alpha: Annotated[float, SHARE] = 0.6
    beta: Annotated[float, SHARE] = 0.4
    floor: Annotated[float, above(0)] = 1e-6
    draws: Literal["stratified", "independent"] = "stratified"

    def make(self, config: Config, rng: np.random.Generator) -> "PrioritisedSampler":
        """The sampler of one agent."""
        return PrioritisedSampler(self, config.replay.window, config.total_updates, rng)


class SumTree:
    """Priorities and their sums, a node for every 64 below it, in float64.

    A sum is always computed from all of its children, never by adding a difference, so no error adds up.

    Attributes:
        flat: every level, the leaves first.
        leaves: the priorities, with zeros behind the last.
    """

    def __init__(self, size: int) -> None:
        lengths = [-(-size // WIDTH) * WIDTH]
        while lengths[-1] > WIDTH:
            lengths.append(-(-lengths[-1] // WIDTH**2) * WIDTH)
        self.flat = np.zeros(sum(lengths))
        self._levels = np.split(self.flat, np.cumsum(lengths)[:-1])
        self._nodes = [level.reshape(-1, WIDTH) for level in self._levels]
        self.leaves = self._levels[0]

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._levels[-1].sum())

    def set(self, leaves: NDArray[np.int64], priorities: NDArray[np.float64] | float) -> None:
        """Give some leaves other priorities, and all sums above them their new values."""
        self.leaves[leaves] = priorities
        for level, below in zip(self._levels[1:], self._nodes, strict=False):
            leaves = leaves // WIDTH
            if len(leaves) > WIDTH:
                leaves = np.unique(leaves)
            level[leaves] = below[leaves].sum(1)

    def find(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaf under each point, (n,) from 0 to :attr:`total`, if the leaves lay side by side, as wide as they are.

        A leaf of priority 0 is never found, however a sum is rounded.
        """
        ends = self._levels[-1].cumsum()
        left = np.minimum(points, np.nextafter(ends[-1], 0))
        place: NDArray[np.int64] = ends.searchsorted(left, side="right")
        left = left - ends[place] + self._levels[-1][place]
        for level, nodes in zip(self._levels[-2::-1], self._nodes[-2::-1], strict=True):
            each = nodes.take(place, axis=0).cumsum(1)
            left = np.minimum(np.maximum(left, 0), np.nextafter(each[:, -1], 0))
            child = (each > left[:, None]).argmax(1)
            place = place * WIDTH + child
            left = left - each.take(np.arange(0, each.size, WIDTH) + child) + level.take(place)
        return place


class PrioritisedSampler(Sampler):
    """Draws rows of one agent's window in proportion to their priorities.

    Attributes:
        low, high: rows with priorities: those below have 0.
        largest: priority of new rows.
        updates: how often errors were taken back.
    """

    config_class: ClassVar[type[SamplerConfig]] = PrioritisedConfig

    def __init__(self, arguments: PrioritisedConfig, window: int, total_updates: int, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.arguments, self.window = arguments, window
        self.tree = SumTree(window)
        self.low, self.high, self.largest, self.updates = 0, 0, 1.0, 0
        self._growth = (1 - arguments.beta) / max(1, total_updates - 1)

    @property
    def beta(self) -> float:
        """Exponent of the importance weights now."""
        return min(1.0, self.arguments.beta + self._growth * self.updates)

    def draw(self, low: int, high: int, count: int) -> NDArray[np.int64]:
        """Numbers from ``low`` to ``high``, exclusive, with replacement."""
        self._move(max(low, high - self.window), high)
        points, total = self.rng.random(count), self.tree.total
        if total == 0:  # every row was rejected
            return np.full(count, self.low)
        if self.arguments.draws == "stratified":
            points = (np.arange(count) + points) / count
        return self.low + (self.tree.find(points * total) - self.low) % self.window

    def _move(self, low: int, high: int) -> None:
        """Give rows that have come the largest priority, and those that have left none."""
        if low > self.low:
            self.tree.set(np.arange(self.low, min(low, self.high)) % self.window, 0.0)
            self.low = low
        if high > self.high:
            self.tree.set(np.arange(max(self.low, self.high), high) % self.window, self.largest)
            self.high = high

    def weights(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """p^-beta, which is (N P)^-beta but for a factor that all rows share."""
        return (self.tree.leaves[numbers % self.window] ** -self.beta).astype(np.float32)

    def update(self, numbers: NDArray[np.int64], td_errors: NDArray[np.float32]) -> None:
        """Give the rows of an update their new priorities; one whose error is no number keeps the largest."""
        priorities = (td_errors.astype(np.float64) + self.arguments.floor) ** self.arguments.alpha
        priorities[~np.isfinite(priorities)] = self.largest
        self.largest = max(self.largest, float(priorities.max()))
        self.tree.set(numbers % self.window, priorities)
        self.updates += 1

    def reject(self, numbers: NDArray[np.int64]) -> None:
        """Draw these rows no more: their agent took no part in the turn."""
        self.tree.set(numbers % self.window, 0.0)

    def get_state(self) -> dict[str, Any]:
        """Generator, priorities and counters."""
        bounds = np.array([self.low, self.high, self.updates])
        return super().get_state() | {"tree": self.tree.flat, "largest": np.array(self.largest), "bounds": bounds}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        super().set_state(state)
        self.tree.flat[:] = state["tree"]
        self.low, self.high, self.updates = map(int, state["bounds"])
        self.largest = float(state["largest"])

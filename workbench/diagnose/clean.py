"""Clean readers: what lies in the shared blocks, read without any of the parts that a process uses.

A probe compares what a process worked with to what a clean reader finds in the same memory, so whatever wraps or
replaces the process's own parts cannot hide. Stacks and returns are put together here once more, turn by turn, and not
by the code that is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.shared.layout import Arrays
from workbench.core.shared.replay import Batch, Replay
from workbench.core.shared.weight_store import Snapshot, WeightStore, WeightStoreError

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


class CleanWeightStore:
    """One agent's weight store, read a sample at a time."""

    def __init__(self, layout: ParameterLayout, arrays: Arrays) -> None:
        self._vector, self._weight_store = arrays["vector"], WeightStore(arrays)
        self._index, self._size = sample_index(layout), layout.size

    @property
    def newest(self) -> int:
        """Newest complete version; -1 before there is one."""
        return self._weight_store.newest

    def peek(self) -> Snapshot | None:
        """What belongs to the newest version; None before there is one."""
        return self._weight_store.peek() if self.newest >= 0 else None

    def sample(self, version: int) -> Samples | None:
        """Sampled weights of a version; None if it is not there (any more)."""
        try:
            self._weight_store.peek(version)
            sampled = self.of_vector(self._vector[version % len(self._vector)])
            self._weight_store.peek(version)  # the second look: it has not been overwritten meanwhile
        except WeightStoreError:
            return None
        return sampled

    def of_vector(self, vector: NDArray[np.float32]) -> Samples:
        """Sampled weights of a whole snapshot."""
        return self.of_half(vector[: self._size]), self.of_half(vector[self._size :])

    def of_half(self, half: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sampled weights of one network."""
        return half.take(self._index).astype(np.float64)


@dataclass(frozen=True)
class Rows:
    """Rows as they should be; n rows.

    Attributes:
        stack: (n, F, *shape): frames of the state that was acted in, oldest first, blank before the episode.
        stack_t: (n, F, *shape): frames of the state to bootstrap from.
    """

    stack: NDArray[Any]
    stack_t: NDArray[Any]
    action: NDArray[np.int64]
    policy_version: NDArray[np.int64]
    r_t: NDArray[np.float64]
    discount_t: NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """How a batch compares to the rows that it claims to hold. All counts are of rows.

    Attributes:
        bias: Mean of the discount minus the one due.
        scale: Mean size of the returns over that of the raw rewards' returns; nan if all of those are 0.
    """

    broken: int
    stacks: int
    returns: int
    discounts: int
    bias: float
    scale: float


class CleanReplay:
    """One agent's ring of rows."""

    def __init__(self, config: Config, spec: AgentSpec, arrays: Arrays) -> None:
        self._arrays, self._replay = arrays, Replay(config, spec, arrays)
        self._turns, self._worlds = config.max_turns, config.num_worlds
        self._frames, self._learning = config.agent.num_frames, config.learning
        self._window, self._scanned = config.replay.window, 0

    @property
    def count(self) -> int:
        """Rows committed so far."""
        return self._replay.count

    @property
    def oldest_intact(self) -> int:
        """Number of the oldest row whose place has not been given up for writing."""
        return self._replay.oldest_intact

    def read(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows with these numbers, put together from frames and raw rewards. It does not look twice."""
        arrays, per_epoch = self._arrays, self._turns * self._worlds
        slot = numbers // per_epoch % len(arrays["action"])
        turn, world = np.divmod(numbers % per_epoch, self._worlds)
        start = np.maximum(arrays["episode_start"][slot, turn, world], 0)  # an epoch is the longest episode there is
        r_t, discount_t, span = self._returns(slot, turn, world)
        return Rows(
            self._stack(slot, turn, world, start), self._stack(slot, turn + span, world, start),
            arrays["action"][slot, turn, world].astype(np.int64), arrays["policy_version"][slot, turn, world],
            r_t, discount_t,
        )  # fmt: skip

    def judge(self, batch: Batch, void_below: int) -> Judged | None:
        """Compare a batch with its rows, apart from those that the writer may have touched meanwhile.

        Args:
            batch: what the learner trained on.
            void_below: :attr:`oldest_intact` before the batch was drawn.
        """
        numbers = batch.number
        known = (numbers >= max(void_below, 0)) & (numbers < self.count)
        rows = self.read(np.where(known, numbers, 0))
        known &= numbers >= self.oldest_intact
        if not known.any():
            return None
        other = _differ(batch.s_tm1[:, -1], rows.stack[:, -1])
        other |= (batch.a_tm1 != rows.action) | (batch.policy_version != rows.policy_version)
        stacks = _differ(batch.s_tm1, rows.stack) | _differ(batch.s_t, rows.stack_t)
        returns = ~np.isclose(batch.r_t, rows.r_t, rtol=1e-4, atol=1e-4 * self._learning.reward_scale)
        off = batch.discount_t - rows.discount_t
        size = np.abs(rows.r_t[known]).mean() / self._learning.reward_scale
        return Judged(
            broken=int((other & known).sum()) + self.broken(numbers[known]),
            stacks=int((stacks & ~other & known).sum()),
            returns=int((returns & known).sum()),
            discounts=int(((np.abs(off) > 1e-4) & known).sum()),
            bias=float(off[known].mean()),
            scale=float(np.abs(batch.r_t[known]).mean() / size) if size else np.nan,
        )

    def broken(self, numbers: NDArray[np.int64]) -> int:
        """Rows that do not match their stamp or number; 0 if the writer was given one of them meanwhile."""
        broken = self._replay.broken_rows(numbers)
        return broken if not broken or (numbers >= self.oldest_intact).all() else 0

    def scan(self) -> int:
        """:meth:`broken` of the next :data:`SCAN` rows of the window; repeated, it goes through all of them."""
        count = self.count
        low = max(self.oldest_intact, count - self._window)
        first = low + self._scanned % max(count - low, 1)
        self._scanned += SCAN
        return self.broken(np.arange(first, min(first + SCAN, count)))

    def _stack(self, slot: NDArray[Any], turn: NDArray[Any], world: NDArray[Any], start: NDArray[Any]) -> NDArray[Any]:
        frame = self._arrays["frame"]
        stack = np.zeros((len(turn), self._frames, *frame.shape[3:]), frame.dtype)
        for back in range(self._frames):
            there = turn - back >= start
            stack[there, -1 - back] = frame[slot[there], turn[there] - back, world[there]]
        return stack

    def _returns(
        self, slot: NDArray[Any], turn: NDArray[Any], world: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return, discount and span of each row: (n,) each."""
        reward = self._arrays["reward"]
        r_t, discount_t = np.zeros(len(turn)), np.ones(len(turn))
        span, goes_on = np.zeros(len(turn), np.int64), np.ones(len(turn), np.bool_)
        last = self._turns - 1
        for k in range(min(self._learning.n_step, self._turns)):
            here = goes_on & (turn + k <= last)
            now = np.minimum(turn + k, last)
            r_t[here] += (discount_t * reward[slot, now, world] * self._learning.reward_scale)[here]
            span[here] += discount_t[here] > 0  # with a discount of 0, what lies beyond does not count
            discount_t[here] *= self._learning.gamma
            if "terminated" in self._arrays:
                terminated, truncated = (self._arrays[name][slot, now, world] for name in ("terminated", "truncated"))
                discount_t[here & terminated] = 0.0
                goes_on &= ~(terminated | truncated)
        return r_t, discount_t, span


def _differ(found: NDArray[Any], due: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are not equal: (n,)."""
    differ: NDArray[np.bool_] = (found != due).reshape(len(found), -1).any(1)
    return differ

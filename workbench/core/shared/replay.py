"""One ring of transitions per agent: the actor writes it, the agent's learner draws from it, both stack out of it.

The ring is made of whole epochs. An epoch of T turns in W worlds has T + 1 frames (the last one is only bootstrapped
from) and T * W rows, numbered for ever: ``number = (epoch * T + turn) * W + world``. A frame is stored once, as bytes,
and stacked when read. The row's return, discount and span are computed once, when the epoch is committed; no row
crosses an episode's end, and rows of turns in which the agent took no part are never drawn (see
:mod:`workbench.core.envs.base`).

The writer raises ``begun``, writes the epoch, then raises ``committed``. A reader draws from committed rows, copies
them, looks at ``begun`` again, and redraws the rows whose epoch has been given up to the writer meanwhile. That second
look is what makes a row whole: without it a fast writer tears rows (``tests/process/test_stress.py`` counts them).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.sentences import beside, said
from workbench.core.shared.layout import Arrays, Bools, Counter, Field, Floats, Ints, Layout
from workbench.core.shared.sampling import Sampler

MAX_REDRAWS = 1000
# What observations of bytes are before the first write; those of floats are nan.
UNWRITTEN = 0xEE
# What is known of every row, by name: its kind, and what it is before the first write.
STAMPED: dict[str, dict[str, Any]] = beside(__file__)
# Columns of worlds whose episodes end inside an epoch.
ENDS = ("terminated", "truncated", "valid")


class ReplayError(RuntimeError):
    """Rows were asked for that are not there, or written against the rules."""


@dataclass
class Batch:
    """Rows drawn from a replay. B rows, F stacked frames, oldest first, in the shape and dtype of the agent's spec.

    What depends on the learner's current network reads the n-step window, the turns that a row spans one by one: the
    first ``span`` of n. Beyond the span everything is 0, and the states repeat the last one.

    Attributes:
        s_tm1: (B, F, *shape): the state that was acted in; frames before the episode are 0.
        a_tm1: (B,) int64: action.
        r_t: (B,) float32: scaled, discounted return over the turns that the row spans.
        discount_t: (B,) float32: product of the discounts over those turns; 0 after a termination.
        s_t: (B, F, *shape): the state to bootstrap from.
        number: (B,) int64: absolute number of the row.
        policy_version: (B,) int64: version of the policy that chose the action.
        weight: (B,) float32: importance weight, the greatest 1; None where all rows have the same.
        span: (B,) int64: turns that the row spans, at least 1; None, as all that follows, without a window.
        states: (B, n + 1, F, *shape): the states before each turn, and the one to bootstrap from.
        actions: (B, n) int64.
        rewards: (B, n) float32, scaled and not discounted.
        probabilities: (B, n) float32: of the action under the policy that chose it.
        discounts: (B, n) float32: gamma, or 0 behind a termination.
    """

    s_tm1: NDArray[Any]
    a_tm1: NDArray[np.int64]
    r_t: NDArray[np.float32]
    discount_t: NDArray[np.float32]
    s_t: NDArray[Any]
    number: NDArray[np.int64]
    policy_version: NDArray[np.int64]
    weight: NDArray[np.float32] | None = None
    span: NDArray[np.int64] | None = None
    states: NDArray[Any] | None = None
    actions: NDArray[np.int64] | None = None
    rewards: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None
    discounts: NDArray[np.float32] | None = None

    @staticmethod
    def fields(
        batch_size: int, num_frames: int, spec: AgentSpec, weighted: bool = False, n_step: int = 0
    ) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each array, with weights, and with a window of ``n_step`` turns, if they are wanted."""
        seen, whole, real = (np.dtype[Any](kind) for kind in (spec.dtype, "int64", "float32"))
        one, many, state = (batch_size,), (batch_size, n_step), (num_frames, *spec.shape)
        fields = {"s_tm1": ((*one, *state), seen), "a_tm1": (one, whole), "r_t": (one, real), "discount_t": (one, real)}
        fields |= {"s_t": ((*one, *state), seen), "number": (one, whole), "policy_version": (one, whole)}
        if weighted:
            fields["weight"] = one, real
        if n_step:
            fields |= {"span": (one, whole), "states": ((*one, n_step + 1, *state), seen), "actions": (many, whole)}
            fields |= dict.fromkeys(("rewards", "probabilities", "discounts"), (many, real))
        return fields


def n_step_returns(
    reward: Floats, terminated: Bools, truncated: Bools, gamma: float, n_step: int
) -> tuple[Floats, Floats, NDArray[np.int16]]:
    """Returns, discounts and spans of every row of an epoch.

    r_t = sum_{k < m} gamma^k R_{t+k}, discount_t = gamma^m, where m = min(n, turns to the end), and the sum stops
    behind a termination, whose discount is 0 (Sutton and Barto 2018, section 7.1). A truncation keeps its discount, so
    the value of the last frame is bootstrapped from; the end of the epoch is one.

    Args:
        reward: (T, W) float32, reward of each turn.
        terminated, truncated: (T, W) bool, whether the episode came to its end, or was cut off, with this turn.
        gamma: discount per turn.
        n_step: most turns that a row spans.

    Returns:
        (T, W) float32 returns, (T, W) float32 discounts, (T, W) int16 spans m in turns.
    """
    turns = len(reward)
    r_t, discount_t = np.zeros_like(reward), np.ones_like(reward)
    span, open_ = np.zeros(reward.shape, np.int16), np.ones(reward.shape, np.bool_)
    for k in range(min(n_step, turns)):
        here = slice(0, turns - k)  # rows whose turn t + k lies inside the epoch
        r_t[here] += np.where(open_[here], discount_t[here] * reward[k:], np.float32(0.0))
        span[here] += open_[here]
        step = np.where(terminated[k:], np.float32(0.0), np.float32(gamma))
        discount_t[here] *= np.where(open_[here], step, np.float32(1.0))
        open_[here] &= (discount_t[here] > 0) & ~truncated[k:]
    return r_t, discount_t, span


class Replay:
    """The ring of one agent, over arrays that :meth:`layout` describes.

    Attributes:
        arrays: by name.
        rows: those of which there is one entry per row, flat.
        oldest_version: rows of policies before this version are not drawn.
    """

    def __init__(self, config: Config, spec: AgentSpec, arrays: Arrays) -> None:
        self.spec, self.arrays = spec, arrays
        self.turns, self._worlds, self._whole_epochs = config.max_turns, config.num_worlds, config.spec.whole_epochs
        self.num_frames = config.agent.num_frames
        self._gamma, self._n_step = config.learning.gamma, config.learning.n_step
        self._reward_scale = np.float32(config.learning.reward_scale)
        self._num_epochs = len(arrays["action"])
        self._frames = np.frombuffer(arrays["frame"], f"V{arrays['frame'][0, 0, 0].nbytes}")
        row = arrays["action"].shape
        self.rows = {name: array.reshape(-1) for name, array in arrays.items() if array.shape == row}
        self._begun, self._committed = Counter(arrays["begun"]), Counter(arrays["committed"])
        self._every_world, self._episode_start = np.arange(self._worlds), np.zeros(self._worlds, np.int32)
        self._between = np.zeros(self._worlds, np.bool_)  # copies in which the agent waits for its next episode
        self._back = np.arange(self.num_frames - 1, -1, -1)  # turns before the newest of a stack's frames
        self._apart, self._blank = self._back * self._worlds, np.zeros((), self._frames.dtype)
        self.steps_per_epoch = self.turns * self._worlds
        self.window, self.oldest_version = config.replay.window, 0

    @staticmethod
    def layout(config: Config, spec: AgentSpec) -> Layout:
        """The table of arrays for one agent's ring."""
        turns, worlds = config.max_turns, config.num_worlds
        epochs = -(-config.replay.capacity // config.steps_per_epoch)
        row = (epochs, turns, worlds)
        unwritten = np.nan if np.dtype(spec.dtype).kind == "f" else UNWRITTEN if np.dtype(spec.dtype) == np.uint8 else 0
        table = (
            Field("begun", (1,), np.int64, 0),  # epochs given to the writer
            Field("committed", (1,), np.int64, 0),  # epochs complete
            Field("frame", (epochs, turns + 1, worlds, *spec.shape), spec.dtype, unwritten),  # what was seen
            *(Field(name, row, each["kind"], each["unwritten"]) for name, each in STAMPED.items()),
            Field("stamp", row, np.uint32, 0xDEAD),  # checksum of the row, see row_stamps
            *(Field(name, row, np.bool_, 0) for name in ENDS if not config.spec.whole_epochs),
        )
        return Layout(f"replay of {config.agent.num_frames} stacked frames", table)

    # --- the writer's side ---------------------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Take the oldest epoch of the ring for writing; its rows are void from here on."""
        self._begun.set(self._committed.get() + 1)
        self._between[:] = False
        self._episode_start[:] = 0

    def write_frame(self, turn: int, frame: NDArray[Any]) -> None:
        """Store what the agent sees before its action in ``turn`` (0 to T; T is the frame after the last turn).

        Raises:
            ReplayError: it is not (W, *shape) of the spec's dtype; NumPy would broadcast or cast it without a word.
        """
        stored = self.arrays["frame"]
        if frame.shape != stored.shape[2:] or frame.dtype != stored.dtype:
            raise ReplayError(said("replay.frame", frame=frame, stored=stored, shape=stored.shape[2:]))
        stored[self._slot, turn] = frame

    def write_step(self, turn: int, action: Ints, policy_version: int, epsilon: float, probability: Floats) -> None:
        """Store what one agent did in every world; all arrays are (W,)."""
        arrays, slot = self.arrays, self._slot
        arrays["action"][slot, turn] = action
        arrays["policy_version"][slot, turn] = policy_version
        arrays["epsilon"][slot, turn] = epsilon
        arrays["probability"][slot, turn] = probability
        arrays["episode_start"][slot, turn] = self._episode_start

    def write_outcome(self, turn: int, reward: Floats, terminated: Bools, truncated: Bools, valid: Bools) -> None:
        """Store what the turn has brought, when it is over; all arrays are (W,).

        An episode starts with the first valid turn after an end. That is known only when the turn is over, so while the
        agent waits for it, every turn is taken for the first one.
        """
        arrays, slot = self.arrays, self._slot
        arrays["reward"][slot, turn] = reward
        if self._whole_epochs:
            return
        for name, column in zip(ENDS, (terminated, truncated, valid), strict=True):
            arrays[name][slot, turn] = column
        self._between = terminated | truncated | (self._between & ~valid)
        self._episode_start[self._between] = turn + 1

    def commit_epoch(self) -> None:
        """Complete the rows of the epoch and show them to readers."""
        arrays, slot, epoch = self.arrays, self._slot, self._begun.get() - 1
        scaled = arrays["reward"][slot] * self._reward_scale
        r_t, discount_t, span = n_step_returns(scaled, *self.ends(slot), self._gamma, self._n_step)
        arrays["r_t"][slot], arrays["discount_t"][slot], arrays["span"][slot] = r_t, discount_t, span
        first = epoch * self.steps_per_epoch
        arrays["number"][slot].reshape(-1)[:] = np.arange(first, first + self.steps_per_epoch)
        frame, rows = arrays["frame"][slot], {name: arrays[name][slot] for name in self.rows}
        arrays["stamp"][slot] = row_stamps(rows | {"frame": frame[:-1], "next_frame": frame[1:]})
        self._committed.set(epoch + 1)

    def ends(self, slot: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where episodes end in an epoch, by termination and by truncation: (T, W) each."""
        if self._whole_epochs:
            never = np.zeros((self.turns, self._worlds), np.bool_)
            return never, never
        return self.arrays["terminated"][slot], self.arrays["truncated"][slot]

    def newest_stack(self, turn: int) -> NDArray[Any]:
        """The actor's state in ``turn`` of the epoch being written: (W, F, *shape), oldest frame first."""
        return self.stack(self._slot, turn, self._episode_start, self._every_world)

    @property
    def _slot(self) -> int:
        return (self._begun.get() - 1) % self._num_epochs

    # --- the reader's side ---------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Rows committed so far; the newest has the number ``count - 1``."""
        return self._committed.get() * self.steps_per_epoch

    @property
    def oldest_intact(self) -> int:
        """Number of the oldest row that the writer has not been given for overwriting."""
        return max(0, (self._begun.get() - self._num_epochs) * self.steps_per_epoch)

    def fill(self, end: int | None = None) -> int:
        """Rows that sampling draws from, with the window ending before row ``end`` (default: the newest)."""
        return len(self._window(end))

    def usable(self, end: int | None = None) -> int:
        """Those of :meth:`fill` in whose turn the agent took part."""
        window = self._window(end)
        return len(window) if self._whole_epochs else int(self._known("valid", np.r_[window.start : window.stop]).sum())

    def _window(self, end: int | None) -> range:
        """Numbers of the rows of the window whose policy is young enough. An epoch is of one policy version."""
        end = self.count if end is None else end
        low = max(0, end - self.window)
        if self.oldest_version > 0:
            epochs = np.arange(low // self.steps_per_epoch, -(-end // self.steps_per_epoch))
            versions = self._known("policy_version", epochs * self.steps_per_epoch)
            stale = epochs[versions < self.oldest_version]
            low = max(low, min(end, (int(stale[-1]) + 1) * self.steps_per_epoch)) if len(stale) else low
        return range(low, end)

    def sample(self, sampler: Sampler, out: Batch, end: int | None = None) -> Batch:
        """Fill a batch with rows out of the newest ``window`` ones before ``end``.

        Args:
            sampler: chooses them.
            out: the batch, which is returned.
            end: number of the first row that is too new; default: none is, at each draw.

        Raises:
            ReplayError: there are no rows yet, ``end`` lies in the future, the agent took part in hardly any of the
                turns, or the writer overwrites rows faster than they can be copied.
        """
        lost: Any = np.s_[:]
        for _ in range(MAX_REDRAWS):
            window, count = self._window(end), self.count
            low, high = max(window.start, self.oldest_intact), window.stop
            if not 0 < high <= count:
                raise ReplayError(said("replay.rows", end=high, count=count))
            if low >= high:
                continue  # the writer came round while this process slept
            self._draw(sampler, low, high, out.number, lost)
            self.read(out)
            lost = out.number < self.oldest_intact
            if not lost.any():
                if out.weight is not None:
                    out.weight[:] = sampler.weights(out.number)
                    out.weight /= out.weight.max()
                return out
        raise ReplayError(said("replay.overwritten", end=high, tries=MAX_REDRAWS, intact=self.oldest_intact))

    def _draw(self, sampler: Sampler, low: int, end: int, numbers: NDArray[np.int64], lost: Any) -> None:
        """Draw the lost ones of these row numbers until each is of a turn in which the agent took part."""
        for _ in range(MAX_REDRAWS):
            numbers[lost] = sampler.draw(low, end, numbers[lost].size)
            if self._whole_epochs:
                return
            lost = ~self._known("valid", numbers)
            if not lost.any():
                return
            sampler.reject(numbers[lost])
        raise ReplayError(said("replay.no part", end=end, tries=MAX_REDRAWS))

    def _known(self, name: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """One thing that is known of rows. (With mode="wrap" take subtracts the ring's length once for each round.)"""
        return self.rows[name].take(numbers % len(self.rows[name]))

    def read(self, out: Batch) -> None:
        """Copy the rows ``out.number`` into ``out`` without the second look that :meth:`sample` takes."""
        rows, row = self.rows, out.number % len(self.rows["number"])
        slot, turn, world = np.unravel_index(row, self.arrays["action"].shape)
        out.a_tm1[:] = rows["action"].take(row)
        for name in ("r_t", "discount_t", "policy_version"):
            rows[name].take(row, out=getattr(out, name), mode="clip")
        start, span = rows["episode_start"].take(row), rows["span"].take(row)
        self.stack(slot, turn, start, world, out.s_tm1)
        self.stack(slot, turn + span, start, world, out.s_t)
        if out.span is None:
            return
        out.span[:] = span
        arrays, window = self.arrays, vars(out)  # the turns that rows span, one by one: (B, n), of states (B, n + 1)
        states = window["states"]
        step = np.arange(states.shape[1])
        reached, here = turn[:, None] + np.minimum(step, span[:, None]), step[:-1] < span[:, None]
        slots, starts, worlds = (each.repeat(len(step)) for each in (slot, start, world))
        self.stack(slots, reached.reshape(-1), starts, worlds, states.reshape(-1, *states.shape[2:]))
        index = slot[:, None], np.minimum(reached[:, :-1], self.turns - 1), world[:, None]
        ends = np.False_ if self._whole_epochs else arrays["terminated"][index]
        window["actions"][:] = np.where(here, arrays["action"][index], 0)
        window["rewards"][:] = np.where(here, arrays["reward"][index] * self._reward_scale, 0)
        window["probabilities"][:] = np.where(here, arrays["probability"][index], 0)
        window["discounts"][:] = np.where(here & ~ends, self._gamma, 0)

    def stack(
        self, slot: NDArray[Any] | int, turn: NDArray[Any] | int, start: NDArray[Any], world: NDArray[Any],
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """The one place where frames are stacked, for actor and learner: n states of F frames each, oldest first.

        Args:
            slot: (n,) epochs' places in the ring; or one for all.
            turn: (n,) turns of the newest frames; or one for all.
            start: (n,) first turns of the episodes; frames before are blank.
            world: (n,) copies of the world.
            out: (n, F, *shape) to fill; default a new array, which is returned.
        """
        index = ((slot * (self.turns + 1) + turn) * self._worlds + world)[:, None] - self._apart
        stack = np.empty((*index.shape, *self.spec.shape), self.spec.dtype) if out is None else out
        frames = np.frombuffer(stack, self._frames.dtype).reshape(index.shape)  # a frame is one item: fast to copy
        self._frames.take(index, out=frames, mode="clip")
        frames[(turn - start)[:, None] < self._back] = self._blank
        return stack

    def places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.intp], ...]:
        """Where rows lie: slots, turns and worlds."""
        return np.unravel_index(numbers % len(self.rows["number"]), self.arrays["action"].shape)


def row_stamps(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.uint32]:
    """Checksums over every field of some rows, and over the frames before and after their turn, "next_frame".

    A sum of the fields' bits under odd multipliers, modulo 2**32: a row with one word changed never keeps its stamp,
    and two rows that differ, or a mixture of two rows, have equal stamps with a probability of about 2**-32.
    """
    frame, row = rows["frame"], rows["action"].shape
    size = math.prod(frame.shape[len(row) :]) * max(1, frame.itemsize // 4)  # words in a frame
    frames, next_frames = (_words(rows[name]).reshape(*row, size) for name in ("frame", "next_frame"))
    weights = np.arange(1, 2 * size, 2, dtype=np.uint32) * np.uint32(2654435761)
    stamp: NDArray[np.uint32] = np.einsum("...w,w", frames, weights, dtype=np.uint32, casting="unsafe")
    stamp += np.einsum("...w,w", next_frames, weights, dtype=np.uint32, casting="unsafe") * np.uint32(0x85EBCA6B)
    words = np.concatenate([_words(rows[name]) for name in (*STAMPED, *ENDS) if name in rows], -1).astype(np.uint32)
    odd = np.arange(words.shape[-1], dtype=np.uint32) * np.uint32(2 * 0x1000193) + np.uint32(0x9E3779B1)
    stamp += (words * odd).sum(-1, dtype=np.uint32)
    return stamp


def _words(field: NDArray[Any]) -> NDArray[Any]:
    """The bits of every number as words of at most 32 bits, in a new last axis."""
    if field.itemsize < 4:  # of floats and truth values their bits, not their numbers
        return (field.view(f"u{field.itemsize}") if field.dtype.kind in "bf" else field)[..., None]
    return np.ascontiguousarray(field).view(np.uint32).reshape(*field.shape, field.itemsize // 4)

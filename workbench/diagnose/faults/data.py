"""Faults of the data path: what is written to a replay, how it is stacked and how it is drawn (catalogue D1 to D17)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.worker import Parts
from workbench.core.shared.layout import Arrays
from workbench.core.shared.replay import UNWRITTEN, Batch, Replay
from workbench.core.shared.sampling import Sampler
from workbench.core.train.loop import Collector
from workbench.diagnose.faults.fault import Fault, ReplayFault, override
from workbench.diagnose.sentences import said


def _drawn(replay: Replay, sampler: Sampler, out: Batch, low: int, high: int) -> Batch:
    """Copy rows that are drawn without a look at them; all weigh the same, as the sampler may know nothing of them."""
    out.number[:] = sampler.draw(low, high, len(out.number))
    replay.read(out)
    if out.weight is not None:
        out.weight[:] = 1
    return out


# --- whose rows ------------------------------------------------------------------------------------------------------


class _OwnReplay(Replay):
    """Rows in memory of this process that no other writes, drawn without asking how many there are."""

    def __init__(self, config: Config, spec: AgentSpec, arrays: Arrays) -> None:
        super().__init__(config, spec, {name: np.zeros_like(array) for name, array in arrays.items()})

    def sample(self, sampler: Sampler, out: Batch, end: int | None = None) -> Batch:
        """Any row below ``end``, written or not."""
        return _drawn(self, sampler, out, 0, self.window if end is None else end)


class ReplayNotShared(ReplayFault):
    """Every process has a replay of its own, so the learner trains on the zeros that its own was made with.

    The real cause in the original: the buffer object was copied into each child.
    """

    kind: ClassVar = _OwnReplay


class SpecMismatch(ReplayFault):
    """The learner expects larger observations than the actor sees: refused when it opens the replay."""

    def spec(self, spec: AgentSpec) -> AgentSpec:
        """Observations have one more axis."""
        return replace(spec, shape=(*spec.shape, 2))


class FramesMismatch(ReplayFault):
    """The learner stacks one frame more than the actor: refused when it opens the replay."""

    def changes(self, config: Config) -> Mapping[str, Any]:
        """A state has one more frame."""
        return {"agent.num_frames": config.agent.num_frames + 1}


# --- how frames are stacked ------------------------------------------------------------------------------------------


class _Unbroken(Replay):
    """Stacks frames as they lie in memory, whatever epoch they belong to."""

    def stack(
        self, slot: NDArray[Any] | int, turn: NDArray[Any] | int, start: NDArray[Any], world: NDArray[Any],
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """The frames before, whatever epoch they belong to."""
        turns, frames = np.reshape(turn, (-1, 1)) - self._back, self.arrays["frame"].reshape(-1, *self.spec.shape)
        index = ((np.reshape(slot, (-1, 1)) * (self.turns + 1) + turns) * self._worlds + world[:, None]) % len(frames)
        stack: NDArray[np.uint8] = frames.take(index, axis=0, out=out, mode="clip")
        stack[(stack == UNWRITTEN) | (stack != stack)] = 0  # what was never written is blank, as in the original's ring
        return stack


class ActorHistoryCleared(ReplayFault):
    """The actor's frame history is cleared at each epoch, the ring is not.

    At the start of an epoch the actor sees blank frames; the learner sees the end of the previous epoch in their place.
    To clear the history is right; that the ring keeps no break is what goes wrong.
    """

    kind: ClassVar = _Unbroken


class _Endless(_Unbroken):
    """Stacks and n-step rows run on from one epoch into the next, as if there were no end."""

    _end = 0

    def sample(self, sampler: Sampler, out: Batch, end: int | None = None) -> Batch:
        """As the replay does; rows are completed from what lies below the same ``end``, so timing changes nothing."""
        self._end = self.count if end is None else end
        return super().sample(sampler, out, end)

    def read(self, out: Batch) -> None:
        """Copy the rows, and add up rewards and discounts turn by turn, whatever ends between them."""
        super().read(out)
        out.r_t[:], out.discount_t[:], last = 0, 1, out.number.copy()
        for number in (out.number + step * self._worlds for step in range(self._n_step)):
            there = number < self._end
            reward = self._known("reward", number) * self._reward_scale
            out.r_t += np.where(there, out.discount_t * reward, np.float32(0))
            out.discount_t *= np.where(there, np.float32(self._gamma), np.float32(1))
            last[there] = number[there]
        slot, turn, world = self.places(last)
        self.stack(slot, turn + 1, np.zeros_like(world), world, out.s_t)


class EpisodeBoundaryIgnored(ReplayFault):
    """Neither side notices that an epoch has ended: in the original, ``done`` was never set.

    The first frames of an epoch are stacked on the last ones of the epoch before, for the actor and for the learner.
    With ``learning.n_step`` above 1 the last rows of an epoch also add up rewards of the next one, and bootstrap there.
    """

    kind: ClassVar = _Endless


class SeparateHistory(Fault):
    """The actor stacks frames out of a history of its own, which has fallen behind the replay.

    The original added to both and took the sum of its code paths to keep them equal. As long as they are equal nothing
    is wrong; the strength says by how many turns they are not.
    """

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The actor sees the frames of some turns ago; before the epoch began they are blank."""
        for replay in collector.replays:
            override(replay, "newest_stack", lambda newest, turn: newest(turn - int(self.strength)))


# --- how rows are drawn ----------------------------------------------------------------------------------------------


class _Unvalidated(Replay):
    def sample(self, sampler: Sampler, out: Batch, end: int | None = None) -> Batch:
        """Rows up to the end of the epoch that is being written, whatever ``end`` says, and no second look."""
        end = self._begun.get() * self.steps_per_epoch
        return _drawn(self, sampler, out, max(0, end - self.window), end)


class UnvalidatedSampling(ReplayFault):
    """Rows are drawn up to the epoch that is being written, and are not checked again.

    The original raised index and size before it wrote a row, and its learner took no lock.
    """

    kind: ClassVar = _Unvalidated


class _ByPlace(_Unbroken):
    def sample(self, sampler: Sampler, out: Batch, end: int | None = None) -> Batch:
        """Places in the ring below its size, taken for row numbers."""
        size = min(self.count if end is None else end, self._num_epochs * self.steps_per_epoch)
        return _drawn(self, sampler, out, 0, size)


class WraparoundIgnored(ReplayFault):
    """Rows are drawn by their place in the ring, as if the ring had never come round.

    The original drew a place below the size and stacked on from there, across the write position: oldest on newest.
    """

    kind: ClassVar = _ByPlace

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """It takes a ring that comes round."""
        rows, capacity = config.epochs * config.steps_per_epoch, config.replay.capacity
        comes_round = rows > -(-capacity // config.steps_per_epoch) * config.steps_per_epoch
        return "" if comes_round else said("faults.ring", rows=rows, capacity=capacity)


# --- what a row says -------------------------------------------------------------------------------------------------


class TruncationAsTerminal(Fault):
    """The time limit is written as the end of the world: nothing is bootstrapped from the last frame."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The last turn of every epoch is marked as terminated."""

        def ends(original: Any, slot: int) -> Any:
            """The ends of the epoch, and one more."""
            terminated, truncated = original(slot)
            return terminated | (np.arange(len(terminated))[:, None] == len(terminated) - 1), truncated

        for replay in collector.replays:
            override(replay, "ends", ends)


class NstepMismatch(ReplayFault):
    """One reward, one step on, but the discount of n steps: gamma**3 = 0.970 in the original."""

    def changes(self, config: Config) -> Mapping[str, Any]:
        """Rows are completed with one step and gamma**n."""
        return {"learning.n_step": 1, "learning.gamma": config.learning.gamma**config.learning.n_step}

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """It takes n > 1."""
        return "" if config.learning.n_step > 1 else said("faults.one step")


class CorruptRows(Fault):
    """Something that should not writes into the replay: random bytes in rows that were already complete."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """After each epoch, some of its rows get a frame of random bytes."""
        config = collector.config
        rows = min(int(self.strength), config.steps_per_epoch)

        def commit_epoch(original: Any, arrays: Any, rng: np.random.Generator) -> None:
            """Complete the epoch, then spoil some of its frames behind the stamps' back."""
            original()
            slot = (int(arrays["committed"][0]) - 1) % len(arrays["action"])
            turn, world = np.divmod(rng.choice(config.steps_per_epoch, rows, replace=False), config.num_worlds)
            frames = arrays["frame"]
            frames[slot, turn, world] = rng.integers(256, size=(rows, *frames.shape[3:]), dtype=np.uint8)

        for agent, replay in enumerate(collector.replays):
            arrays, rng = parts.replay_blocks[agent].open(), np.random.default_rng([config.seed, agent])
            override(replay, "commit_epoch", lambda original, a=arrays, r=rng: commit_epoch(original, a, r))


class RewardScaleOff(ReplayFault):
    """Rewards reach the learner at another scale than was configured."""

    def changes(self, config: Config) -> Mapping[str, Any]:
        """Rows are completed with another scale."""
        return {"learning.reward_scale": config.learning.reward_scale * self.strength}


# --- what goes in and out of the world -------------------------------------------------------------------------------


class UnflattenedObservation(Fault):
    """An observation keeps an axis of length 1 that the replay has no place for.

    NumPy would silently have broadcast it away; here the replay refuses it.
    """

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """The world shows (1, W, S) instead of (W, S)."""
        override(collector.world, "observe", lambda original, agent: original(agent)[None])


class ActionOutOfRange(Fault):
    """The network has one action more than the world: the world refuses it."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Actions 0 to 3 come out as 1 to 4."""
        for policy in collector.policies:
            override(policy, "act", lambda act, *given: replace(chosen := act(*given), action=chosen.action + 1))


class StaleReset(Fault):
    """A reset leaves the gems of the last epoch where they are."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """After a reset, gems are put back wherever no agent stands now."""
        world: Any = collector.world
        empty, gem = (collector.config.spec.agents[0].code_names.index(name) for name in ("empty", "gem"))

        def reset(original: Any) -> None:
            """Reset the world and bring the old gems back."""
            before = world.cells.copy()
            original()
            world.cells[(before == gem) & (world.cells == empty)] = gem

        override(world, "reset", reset)

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """It takes a world with gems."""
        return "" if "gem" in config.spec.agents[0].code_names else said("faults.no gems")

"""Ways to hand weights and replay rows from one process to another, each so that a torn read shows for certain.

Every write fills everything with the write's own number, so a copy that holds two numbers is a mixture that never
existed: it is torn. :mod:`tests.campaigns.torn` sets a writer and a reader on each way and counts.
"""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from dataclasses import dataclass
from multiprocessing.synchronize import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests import batches
from tests.blocks import block_of
from workbench.core.agents.flat_parameters import bind
from workbench.core.config import Config
from workbench.core.processes.shared_memory import Block
from workbench.core.seeding import stream
from workbench.core.shared.layout import Arrays, Counter, Field, Layout
from workbench.core.shared.replay import Batch, Replay
from workbench.core.shared.sampling import UniformSampler
from workbench.core.shared.weight_store import WeightStore

LAYERS = 4
LOCK_TIMEOUT = 5.0
"""Seconds that a reader waits for the mutex; without a limit a killed holder would stop it for ever."""
RING_EPOCHS = 6
"""Epochs that the ring holds whose rows are read."""
_CODES = 255


def num_floats(width: int) -> int:
    """Floats of :func:`network`; without a remainder by 16 where ``width`` has none, so that nothing lies between."""
    return LAYERS * width * (width + 1)


def network(vector: NDArray[np.float32], width: int) -> nn.Module:
    """Four square layers (8 parameters), whose parameters are views of ``vector``: (num_floats(width),) float32."""
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(LAYERS)))
    bind(model, torch.from_numpy(vector))
    return model


def rows_config(spare_epochs: int) -> Config:
    """One agent's ring of :data:`RING_EPOCHS` epochs, all but ``spare_epochs`` of them open to sampling."""
    config = Config()
    rows = RING_EPOCHS * config.steps_per_epoch
    window = (RING_EPOCHS - spare_epochs) * config.steps_per_epoch
    return config.replace(**{
        "world.num_agents": 1, "learning.n_step": 1, "learning.reward_scale": 1.0,
        "replay.capacity": rows, "replay.window": window, "replay.learning_starts": config.learning.batch_size,
    })  # fmt: skip


@dataclass
class Shared:
    """The memory that writer and reader share, handed to both at spawn.

    Attributes:
        vectors: By width of the network: two slots and a version. Ways other than the weight store use these.
        stores: By width of the network.
        rows: Of a replay.
        control: Writes done, and the number of the newest cell that the reader is done with.
    """

    vectors: dict[int, Block]
    stores: dict[int, Block]
    rows: Block
    control: Block
    lock: Lock

    @classmethod
    def create(cls, widths: tuple[int, ...]) -> Shared:
        """Take the memory.

        Raises:
            MemoryError: the system has not got that much.
        """
        control = Layout("control", (Field("writes", (1,), np.int64, 0), Field("done", (1,), np.int64, -1)))
        return cls(
            {width: block_of(_vector_layout(num_floats(width))) for width in widths},
            {width: block_of(WeightStore.layout(num_floats(width), 0, slots=2)) for width in widths},
            block_of(Replay.layout(rows_config(0), rows_config(0).spec.agents[0])),
            block_of(control),
            multiprocessing.get_context("spawn").Lock(),
        )


def _vector_layout(size: int) -> Layout:
    return Layout("two slots", (Field("version", (1,), np.int64, 0), Field("vector", (2, size), np.float32, 0)))


class Protocol(ABC):
    """One way, seen from the writer (:meth:`write`) or from the reader (:meth:`read`, then :meth:`look`)."""

    items = 1
    """What one read copies: one vector, or a number of rows."""

    @property
    def retries(self) -> int:
        """Copies that the reader made, found overtaken and threw away."""
        return 0

    @abstractmethod
    def write(self, number: int) -> None:
        """Fill everything with ``number`` and hand it over. Numbers count up from 1."""

    @abstractmethod
    def read(self) -> None:
        """Make a private copy; this is what is timed."""

    @abstractmethod
    def look(self) -> tuple[int, int]:
        """Items of the copy that are torn; items that are whole, but another write's than their label says."""


# --- weights -----------------------------------------------------------------------------------------------------


class Vector(Protocol):
    """A way to hand over a vector of weights."""

    def __init__(self, shared: Shared, width: int) -> None:
        arrays = shared.vectors[width].open()
        self.slots: NDArray[np.float32] = arrays["vector"]
        self.version = Counter(arrays["version"])
        self.mine = np.zeros(num_floats(width), np.float32)
        """The writer's own weights, or the reader's copy."""
        self.label: int | None = None
        """The write that the copy is said to be, where the way says so."""

    def look(self) -> tuple[int, int]:
        """A vector with two numbers in it is torn."""
        low, high = self.mine.min(), self.mine.max()
        return int(low != high), int(low == high and self.label is not None and low != self.label)


class InPlace(Vector):
    """The learner trains on the shared weights themselves; the actor copies them."""

    def write(self, number: int) -> None:
        """Fill the shared vector."""
        self.slots[0].fill(number)

    def read(self) -> None:
        """Copy the shared vector."""
        np.copyto(self.mine, self.slots[0])


class PerParameter(Vector):
    """A model whose parameters lie in shared memory; both sides copy into and out of it one parameter at a time."""

    def __init__(self, shared: Shared, width: int) -> None:
        super().__init__(shared, width)
        self.model, self.shared_model = network(self.mine, width), network(self.slots[0], width)

    def write(self, number: int) -> None:
        """Fill the learner's model, then copy it into the shared one."""
        self.mine.fill(number)
        self._copy(self.shared_model, self.model)

    def read(self) -> None:
        """Copy the shared model into the actor's."""
        self._copy(self.model, self.shared_model)

    @staticmethod
    def _copy(target: nn.Module, source: nn.Module) -> None:
        for into, out_of in zip(target.parameters(), source.parameters(), strict=True):
            into.data.copy_(out_of.data)


class LoadStateDict(PerParameter):
    """The same shared model, copied into and out of with ``load_state_dict``."""

    @staticmethod
    def _copy(target: nn.Module, source: nn.Module) -> None:
        target.load_state_dict(source.state_dict())


class Mutex(Vector):
    """One vector and a lock that both sides hold while they copy."""

    def __init__(self, shared: Shared, width: int) -> None:
        super().__init__(shared, width)
        self._lock = shared.lock

    def write(self, number: int) -> None:
        """Copy the learner's vector under the lock."""
        self.mine.fill(number)
        with self._lock:
            np.copyto(self.slots[0], self.mine)
            self.version.set(number)

    def read(self) -> None:
        """Copy the shared vector under the lock."""
        if not self._lock.acquire(timeout=LOCK_TIMEOUT):
            raise TimeoutError(f"the mutex was not given back within {LOCK_TIMEOUT:.0f} s")
        try:
            np.copyto(self.mine, self.slots[0])
            self.label = self.version.get()
        finally:
            self._lock.release()


class TwoSlots(Vector):
    """The learner writes the slot that is not in use, then raises the version; the actor does not look again."""

    def write(self, number: int) -> None:
        """Copy the learner's vector into its slot, then raise the version."""
        self.mine.fill(number)
        np.copyto(self.slots[number % 2], self.mine)
        self.version.set(number)

    def read(self) -> None:
        """Copy the slot of the newest version."""
        self.label = self.version.get()
        np.copyto(self.mine, self.slots[self.label % 2])


class OurWeightStore(Vector):
    """:class:`workbench.core.shared.weight_store.WeightStore`: two slots, and a second look after the copy."""

    def __init__(self, shared: Shared, width: int) -> None:
        super().__init__(shared, width)
        self._weight_store = _CountingWeightStore(shared.stores[width].open())
        self._reads = 0

    @property
    def retries(self) -> int:
        """Copies that were thrown away."""
        return self._weight_store.copies - self._reads

    def write(self, number: int) -> None:
        """Publish the learner's vector."""
        self.mine.fill(number)
        self._weight_store.publish(lambda out: np.copyto(out, self.mine), number, 0.0)

    def read(self) -> None:
        """Read the newest version."""
        self.label = self._weight_store.read(self.mine).updates
        self._reads += 1


class _CountingWeightStore(WeightStore):
    """The weight store, counting the copies that :meth:`read` makes: it takes the second look once after each."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self.copies = 0

    def _overwritten(self, version: int) -> bool:
        self.copies += 1
        return super()._overwritten(version)


# --- replay rows -------------------------------------------------------------------------------------------------


class Rows(Protocol):
    """A ring that one process writes, epoch by epoch, while another draws batches from it."""

    def __init__(self, shared: Shared, spare_epochs: int, seed: int) -> None:
        config = rows_config(spare_epochs)
        spec = config.spec.agents[0]
        self._replay = _CountingReplay(config, spec, shared.rows.open())
        self._turns, worlds = config.max_turns, config.num_worlds
        self._frame = np.zeros((worlds, *config.spec.agents[0].shape), np.uint8)
        self._action, self._reward = np.zeros(worlds, np.int64), np.zeros(worlds, np.float32)
        self._probability, self._never = np.ones(worlds, np.float32), np.zeros(worlds, np.bool_)
        self._rng = stream(seed, "sampling")
        self._sampler = UniformSampler(self._rng)
        self.items = config.learning.batch_size
        self.batch = batches.zeros(self.items, config.agent.num_frames, spec)

    def write(self, number: int) -> None:
        """Write one epoch, all of it filled with the epoch's own number, as fast as the replay takes it."""
        epoch = self._replay.count // self._replay.steps_per_epoch
        self._frame.fill(code(epoch))
        self._action.fill(epoch % 4)
        self._reward.fill(epoch)
        self._replay.begin_epoch()
        for turn in range(self._turns):
            self._replay.write_frame(turn, self._frame)
            self._replay.write_step(turn, self._action, epoch, 0.0, self._probability)
            self._replay.write_outcome(turn, self._reward, self._never, self._never, ~self._never)
        self._replay.write_frame(self._turns, self._frame)
        self._replay.commit_epoch()

    def look(self) -> tuple[int, int]:
        """Rows that hold the numbers of two epochs; rows that are whole, but of another epoch than was drawn."""
        torn, wrong = torn_and_wrong(self.batch, self._replay.steps_per_epoch)
        return int(torn.sum()), int(wrong.sum())


class Unvalidated(Rows):
    """Draw row numbers, copy the rows, and take them as they are."""

    def read(self) -> None:
        """One batch, uniformly from the window."""
        end = self._replay.count
        self.batch.number[:] = self._rng.integers(max(0, end - self._replay.window), end, self.items)
        self._replay.read(self.batch)


class Validated(Rows):
    """:meth:`workbench.core.shared.replay.Replay.sample`: look again after the copy, redraw what was overwritten."""

    _samples = 0

    @property
    def retries(self) -> int:
        """Batches that were copied again, because the writer had been given some of their rows."""
        return self._replay.copies - self._samples

    def read(self) -> None:
        """One batch, uniformly from the window."""
        self._replay.sample(self._sampler, self.batch)
        self._samples += 1


class _CountingReplay(Replay):
    """The replay, counting the copies of batches that are made."""

    copies = 0

    def read(self, out: Batch) -> None:
        """A copy, counted."""
        self.copies += 1
        super().read(out)


def code(epoch: int) -> int:
    """The byte that fills the frames of an epoch; never 0, which stands for frames before the episode."""
    return 1 + epoch % _CODES


def torn_and_wrong(batch: Batch, steps_per_epoch: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(B,) whether a row holds the numbers of two epochs; (B,) whether it is whole, but not of the epoch it should be.

    Frames tell epochs apart that are not a multiple of 255 apart; a writer does not get that far during one read.
    """
    epoch = batch.policy_version
    codes = (1 + epoch % _CODES).astype(np.uint8)[:, None, None]
    whole = (batch.a_tm1 == epoch % 4) & (batch.r_t == epoch.astype(np.float32))
    for state in (batch.s_tm1, batch.s_t):
        whole &= ((state == codes) | (state == 0)).all(axis=(1, 2))
    return ~whole, whole & (epoch != batch.number // steps_per_epoch)


WEIGHTS: dict[str, type[Vector]] = {
    "in place": InPlace,
    "parameter by parameter": PerParameter,
    "load_state_dict": LoadStateDict,
    "mutex": Mutex,
    "two slots, no second look": TwoSlots,
    "weight store": OurWeightStore,
}
ROWS: dict[str, type[Rows]] = {"no second look": Unvalidated, "second look": Validated}

"""The weight store: versioned snapshots of one agent, written by its learner, read by the actor.

Version v lies in slot ``v mod slots``. The learner announces the version that it is about to write, copies, then
raises ``newest``. The actor copies a slot and looks at the announcement again: if the learner has begun to overwrite
that slot, the copy is thrown away. Two slots without that second look tear (``tests/process/test_stress.py``). A dead
learner can never block the actor, because nothing is ever held.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from workbench.core.sentences import beside, said
from workbench.core.shared.layout import Arrays, Counter, Layout, fields_of

MAX_RETRIES = 1000


class WeightStoreError(RuntimeError):
    """A version was asked for that is not there (yet, or any more)."""


@dataclass(frozen=True)
class Snapshot:
    """What belongs to a published vector.

    Attributes:
        version: Publications so far; 0 is the initial weights.
        updates: Updates of the agent that are in these weights.
        epsilon: Epsilon due when the snapshot was published.
        time: When it was published, in seconds since 1970.
        checksum: :func:`checksum` of the vector.
    """

    version: int
    updates: int
    epsilon: float
    time: float
    checksum: int


_ABOUT = tuple(field.name for field in fields(Snapshot))


class WeightStore:
    """Snapshots of one agent, over arrays that :meth:`layout` describes."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays, self._slots = arrays, len(arrays["vector"])
        self._writing, self._newest = Counter(arrays["writing"]), Counter(arrays["newest"])

    @staticmethod
    def layout(vector_size: int, fingerprint: int, slots: int) -> Layout:
        """The table for vectors of ``vector_size`` float32 whose names and shapes hash to ``fingerprint``.

        ``slots`` versions are kept: two for a reader of the newest alone, ``lag + 2`` for a reader at a lag.
        """
        table = fields_of(beside(__file__), {"slots": slots, "size": vector_size})
        return Layout(f"weight store of parameters {fingerprint & 0xFFFFFFFFFFFFFFFF:016x}", table)

    @property
    def newest(self) -> int:
        """Newest complete version; -1 before the initial weights are there."""
        return self._newest.get()

    def publish(self, write: Callable[[NDArray[np.float32]], object], updates: int, epsilon: float) -> Snapshot:
        """Make the next version: ``write`` copies the vector into the slot that it is given."""
        version = self._newest.get() + 1
        slot = version % self._slots
        self._writing.set(version)
        write(self._arrays["vector"][slot])
        snapshot = Snapshot(version, updates, epsilon, time.time(), checksum(self._arrays["vector"][slot]))
        for name in _ABOUT:
            self._arrays[name][slot] = getattr(snapshot, name)
        self._newest.set(version)
        return snapshot

    def read(self, out: NDArray[np.float32], version: int | None = None) -> Snapshot:
        """Copy one version (default: the newest) into ``out``, whole.

        Raises:
            WeightStoreError: the version is not published yet, is overwritten, or the learner publishes faster than a
                vector can be copied.
        """
        return self.peek(version, out)

    def peek(self, version: int | None = None, out: NDArray[np.float32] | None = None) -> Snapshot:
        """What belongs to one version (default: the newest), without its vector unless it goes into ``out``."""
        for _ in range(MAX_RETRIES):
            wanted = self.newest if version is None else version
            if not 0 <= wanted <= self.newest:
                raise WeightStoreError(said("weight_store.version", wanted=wanted, newest=self.newest))
            slot = wanted % self._slots
            found = Snapshot(*(self._arrays[name][slot].item() for name in _ABOUT))
            if out is not None:
                np.copyto(out, self._arrays["vector"][slot])
            if not self._overwritten(wanted):
                return found
            if version is not None:
                oldest = self._writing.get() - self._slots + 1
                raise WeightStoreError(f"version {wanted} is overwritten; the oldest kept is {oldest}")
        raise WeightStoreError(said("weight_store.retries", tries=MAX_RETRIES, newest=self.newest))

    def _overwritten(self, version: int) -> bool:
        return self._writing.get() - self._slots >= version


def checksum(vector: NDArray[np.float32]) -> int:
    """Sum of a vector's bits as 64-bit words, modulo 2**64: a mixture of two vectors has another sum than either."""
    return int(vector[: len(vector) // 2 * 2].view(np.uint64).sum(dtype=np.uint64))

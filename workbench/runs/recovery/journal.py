"""A process's own state, left in shared memory at every step, so that another process can continue from there.

Steps alternate between two slots: a slot is written, then ``count`` is raised. A process that is killed while it writes
leaves the other slot as it was. With one slot, the same block holds a copy for a checkpoint, which its owner writes
only when the last one is on disk. One process writes; another reads when the writer is gone, or waits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.shared.layout import Arrays, Counter, Field, Layout
from workbench.runs.sentences import said

# Arrays of fixed shape and dtype, and whole numbers, by name.
State = Mapping[str, NDArray[Any] | int]


class Journal:
    """The states of one process, over arrays that :meth:`layout` describes."""

    def __init__(self, arrays: Arrays) -> None:
        self._count = Counter(arrays["count"])
        self._steps = arrays["at"]
        self._fields = {name: array for name, array in arrays.items() if name not in ("count", "at")}

    @staticmethod
    def layout(title: str, state: State, slots: int = 2) -> Layout:
        """The table for states like this one, of which only shapes and dtypes matter."""
        fields = [Field(name, (slots, *np.shape(value)), np.asarray(value).dtype, 0) for name, value in state.items()]
        return Layout(title, (Field("count", (1,), np.int64, 0), Field("at", (slots,), np.int64, -1), *fields))

    @property
    def step(self) -> int:
        """Step of the newest state; -1 while there is none."""
        count = self._count.get()
        return int(self._steps[(count - 1) % len(self._steps)]) if count else -1

    def save(self, step: int, state: State) -> None:
        """Keep a state; the one before stays whole until this one is.

        Raises:
            ValueError: the state has other names, an array of another shape, or numbers that the dtype of the first
                state does not hold.
        """
        if state.keys() != self._fields.keys():
            raise ValueError(f"the state holds {sorted(state)}; this journal keeps {sorted(self._fields)}")
        slot = self._count.get() % len(self._steps)
        for name, value in state.items():
            given, kept = np.asarray(value), self._fields[name]
            if given.shape != kept.shape[1:] or not np.can_cast(given.dtype, kept.dtype):
                raise ValueError(said("journal.kind", name=name, given=given, shape=kept.shape[1:], kept=kept))
            kept[slot] = given
        self._steps[slot] = step
        self._count.set(self._count.get() + 1)

    def load(self) -> dict[str, NDArray[Any]]:
        """The newest state, as arrays of this memory that stay as they are until the next but one :meth:`save`.

        Raises:
            LookupError: nothing was kept yet.
        """
        if not (count := self._count.get()):
            raise LookupError("this journal holds no state yet")
        slot = (count - 1) % len(self._steps)
        return {name: array[slot] for name, array in self._fields.items()}

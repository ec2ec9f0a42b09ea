"""Which rows of a replay a learner draws. A sampler belongs to one learner alone, so any keeps both modes equal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.seeding import rng_words, set_rng_words
from workbench.core.settings import Choice

if TYPE_CHECKING:
    from workbench.core.config import Config


class Sampler:
    """Chooses row numbers of one agent's replay. One of your own overrides what it does otherwise.

    Attributes:
        rng: the agent's sampling stream.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def draw(self, low: int, high: int, count: int) -> NDArray[np.int64]:
        """Choose rows: (count,) int64 numbers from ``low`` to ``high``, exclusive.

        Rows below ``low`` are out of the window or given to the writer; they never come back. A row that turns out to
        be overwritten, or one that its agent took no part in, is drawn again.
        """
        raise NotImplementedError

    def weights(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Importance weights of a whole batch, (B,) float32. Only asked for if the arguments say ``weighted``."""
        return np.ones(len(numbers), np.float32)

    def update(self, numbers: NDArray[np.int64], td_errors: NDArray[np.float32]) -> None:
        """Take back |TD error| of each row, (B,). Only called if the arguments say ``takes_errors``."""

    def reject(self, numbers: NDArray[np.int64]) -> None:
        """Be told of rows, (n,), that were drawn in vain, because their agent took no part in the turn."""

    def get_state(self) -> dict[str, Any]:
        """All that its draws depend on, as arrays whose shapes never change."""
        return {"rng": rng_words(self.rng)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned."""
        set_rng_words(self.rng, state["rng"])


@dataclass(frozen=True)
class SamplerConfig(Choice, group="replay.sampler"):
    """Arguments of a sampler. A sampler's own dataclass is derived from it.

    Attributes:
        weighted: Whether rows have importance weights; a batch then carries them, and the loss of each row is
            multiplied.
        takes_errors: Whether TD errors are given back after each update, which then waits for the device.
    """

    weighted: ClassVar[bool] = False
    takes_errors: ClassVar[bool] = False

    def make(self, config: "Config", rng: np.random.Generator) -> Sampler:
        """The sampler of one agent; ``rng`` is the agent's sampling stream."""
        raise self.lacks("make")


@dataclass(frozen=True)
class UniformConfig(SamplerConfig):
    """Every row of the window is as likely as any other, with replacement."""

    def make(self, config: "Config", rng: np.random.Generator) -> "UniformSampler":
        """The sampler."""
        return UniformSampler(rng)


class UniformSampler(Sampler):
    """Draws uniformly, with replacement."""

    config_class: ClassVar[type[SamplerConfig]] = UniformConfig

    def draw(self, low: int, high: int, count: int) -> NDArray[np.int64]:
        """Numbers from ``low`` to ``high``, exclusive."""
        return self.rng.integers(low, high, count)

"""What a world is for those who live in it: what it says of itself, and the turns in which it is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from workbench.core import registry
from workbench.core.settings import Choice, between

if TYPE_CHECKING:
    from workbench.core.envs.treasurehunt import Treasurehunt

ReferencePolicy = Callable[[NDArray[Any], np.random.Generator], NDArray[np.int64]]
"""From the observations of one agent, (num_worlds, *shape), and a generator to its actions, (num_worlds,) int64."""


@dataclass(frozen=True)
class AgentSpec:
    """What one agent sees and can do."""

    shape: tuple[int, ...]
    """Shape of one observation."""
    dtype: str
    """NumPy name of its dtype. Observations are stored in it; encoding them is the agent's business."""
    num_actions: int
    """Its actions are 0 to this, exclusive."""
    num_codes: int | None = None
    """If an observation is made of codes of kinds: how many kinds. Codes are 1 to this, 0 is nothing at all."""
    action_names: tuple[str, ...] = ()
    """What its actions are called, if they have names."""
    code_names: tuple[str, ...] = ()
    """What codes stand for, from 0 on, if they have names."""

    @property
    def nbytes(self) -> int:
        """Bytes of one observation."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class EnvSpec:
    """What a world is, known before there is one."""

    agents: tuple[AgentSpec, ...]
    """One for each agent, in the order in which they act."""
    max_turns: int
    """Turns of an epoch."""
    reward_bound: float | None = None
    """Largest size of one reward, if it is known."""
    max_copies: int = 65536
    """Most copies that one process should play side by side."""


@dataclass(frozen=True)
class WorldConfig(Choice):
    """Arguments of a world. A world's own dataclass is derived from it and says what the world is and how it is made.

    Its name in a configuration is the registered one, or ``module:Class``.
    """

    group: ClassVar[str] = "world"
    num_worlds: Annotated[int, between(1, 65536, "copies")] = 1
    """Copies of the world that run side by side and feed the same replays."""

    @property
    def title(self) -> str:
        """What the world is called in a sentence."""
        return registry.name_of(type(self))

    def reference_policies(self) -> Mapping[str, ReferencePolicy]:
        """Policies that have learned nothing, to measure a trained agent against, by name."""
        return {}

    def spec(self) -> EnvSpec:
        """What the world is. It is asked for often: keep it, if it takes long to find out."""
        raise NotImplementedError

    def make(self, rng: np.random.Generator, num_worlds: int | None = None) -> Treasurehunt:
        """A world that is ready to play.

        Args:
            rng: its only source of chance.
            num_worlds: copies; that of the arguments unless given.
        """
        raise NotImplementedError

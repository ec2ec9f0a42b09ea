"""Treasurehunt with few gems, and with rewards that lead to them: ``world="treasurehunt_sparse"``."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import EnvSpec, Turn, WorldConfig
from workbench.core.envs.treasurehunt import EMPTY, GEM, Treasurehunt, TreasurehuntConfig
from workbench.core.settings import SHARE, between


@dataclass(frozen=True)
class SparseConfig(TreasurehuntConfig):
    """Treasurehunt with few gems, and with potential-based shaping (Ng, Harada and Russell 1999) if wanted.

    Attributes:
        max_gems: Gems that lie on a map at once; a further one appears only when one was taken. 0 for no limit.
        shaping: Weight of what is added to every reward, discount * phi(s_t) - phi(s_tm1): phi is minus the number of
            steps to the nearest gem, 0 without one. The recorded rewards hold it too.
        discount: That of the shaping; it must be learning.gamma, or the shaping would change what is best to do.
    """

    max_gems: Annotated[int, between(0, 1_000_000, "gems")] = 1
    shaping: Annotated[float, between(0, 1e6)] = 0.0
    discount: Annotated[float, SHARE] = 0.99

    def spec(self) -> EnvSpec:
        """As Treasurehunt's, for learning with that discount alone if rewards are shaped."""
        spec = super().spec()
        bound = (spec.reward_bound or 0) + self.shaping * (self.height + self.width - 6)
        return replace(spec, reward_bound=bound, discount=self.discount) if self.shaping else spec

    def make(self, rng: np.random.Generator) -> "SparseTreasurehunt":
        """The world."""
        return SparseTreasurehunt(self, rng)


class SparseTreasurehunt(Treasurehunt):
    """The world.

    A potential is that of the map as the last turn left it, before gems appear: no action of the turn has changed it,
    so it may depend on time (Devlin and Kudenko 2012).
    """

    config_class: ClassVar[type[WorldConfig]] = SparseConfig
    config: SparseConfig

    def reset(self) -> None:
        """As Treasurehunt's; without gems all potentials are 0."""
        super().reset()
        self._potentials = self.potentials()

    def begin_turn(self) -> None:
        """Let gems appear in empty cells, those of the smallest draws if there would be too many."""
        lying = (self._inner == GEM).sum((1, 2))
        super().begin_turn()
        if self.config.max_gems:
            draws = np.where(self._spawns, self._draws, np.inf).reshape(self.num_worlds, -1)
            rank = draws.argsort(1, kind="stable").argsort(1).reshape(self._spawns.shape)
            room = self.config.max_gems - lying
            np.copyto(self._inner, EMPTY, where=self._spawns & (rank >= room[:, None, None]))

    def end_turn(self) -> Turn:
        """What the agents have earned, shaped."""
        turn = super().end_turn()
        if self.config.shaping:
            before, self._potentials = self._potentials, self.potentials()
            turn.rewards[...] += self.config.shaping * (self.config.discount * self._potentials - before)
        return turn

    def potentials(self) -> NDArray[np.float32]:
        """Minus the number of steps from each agent to the nearest gem, 0 without one: (agents, num_worlds)."""
        gems = self._inner == GEM
        rows, columns = np.ogrid[1 : gems.shape[1] + 1, 1 : gems.shape[2] + 1]
        row, column = self.positions[..., None, None].transpose(2, 0, 1, 3, 4)
        steps = np.where(gems, abs(rows - row) + abs(columns - column), np.inf).min((2, 3))
        return -np.where(np.isinf(steps), 0, steps).astype(np.float32)

"""Treasurehunt: agents collect gems in a walled gridworld, of which any number of copies run side by side.

Agents act one after the other, so that an agent sees what the earlier ones did. All copies lie in one flat array of
cells and a position is an index into it: a view is one gather, a move one gather and one scatter.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import AgentSpec, EnvSpec, Turn, World, WorldConfig
from workbench.core.sentences import said
from workbench.core.settings import SHARE, at_least, between

# Entity codes. BLANK is no frame at all (before an epoch); SAND is a kind that the seeds count and never place.
BLANK, EMPTY, WALL, SAND, GEM, AGENT = range(6)
# Kinds of entity in a one-hot frame: codes 1 to 5. A BLANK cell is all zeros.
NUM_ENTITIES = 5
UP, DOWN, LEFT, RIGHT = range(4)
NUM_ACTIONS = 4

_NAMES = ("blank", "empty", "wall", "sand", "gem", "agent")
_MOVES = ("up", "down", "left", "right")

_CELLS = between(3, 1000, "cells: a border of wall and a cell inside")
_REWARD = between(-1e6, 1e6)
_CAN_ENTER = np.isin(np.arange(NUM_ENTITIES + 1), (EMPTY, GEM))


@dataclass(frozen=True)
class TreasurehuntConfig(WorldConfig):
    """Treasurehunt: a walled gridworld in which agents collect gems.

    Attributes:
        height: Rows of the map, in cells, the border of wall included.
        width: Columns of the map, in cells, the border of wall included.
        num_agents: Agents in each world; every one has its own network, replay and learner.
        vision_radius: An agent sees the (2r+1) x (2r+1) cells around itself, in cells.
        max_turns: Turns in an epoch; then the world is reset. The cut is a truncation: values bootstrap through it.
        spawn_prob: Probability per turn that an empty inner cell becomes a gem.
        gem_reward: Reward for moving onto a gem.
        wall_reward: Reward for walking into a wall.
    """

    height: Annotated[int, _CELLS] = 10
    width: Annotated[int, _CELLS] = 10
    num_agents: Annotated[int, at_least(1, "agent")] = 5
    vision_radius: Annotated[int, between(1, 50, "cells")] = 2
    max_turns: Annotated[int, between(1, 1_000_000, "turns")] = 50
    spawn_prob: Annotated[float, SHARE] = 0.02
    gem_reward: Annotated[float, _REWARD] = 10.0
    wall_reward: Annotated[float, _REWARD] = -1.0

    def check(self) -> None:
        """Every agent stands in a cell of its own."""
        cells = (self.height - 2) * (self.width - 2)
        self.demand(self.num_agents <= cells, "num_agents", said("treasurehunt.agents", world=self, cells=cells))

    def spec(self) -> EnvSpec:
        """Every agent sees the codes of the cells around it and moves in four directions."""
        frame_size = (2 * self.vision_radius + 1) ** 2
        agent = AgentSpec((frame_size,), "uint8", NUM_ACTIONS, NUM_ENTITIES, _MOVES, _NAMES)
        bound, copies = max(abs(self.gem_reward), abs(self.wall_reward)), 20_000_000 // (self.height * self.width)
        return EnvSpec((agent,) * self.num_agents, self.max_turns, True, bound, max(2, copies))

    @property
    def title(self) -> str:
        """The size of the map."""
        return f"a world of {self.height} x {self.width} cells"

    def make(self, rng: np.random.Generator) -> "Treasurehunt":
        """The world."""
        return Treasurehunt(self, rng)


class Treasurehunt(World):
    """``config.num_worlds`` copies of the world, which is ready to play once built.

    Every turn each empty inner cell becomes a gem with ``config.spawn_prob``. An agent is rewarded with the value of
    the cell that it aims at (gem, wall, or nothing) and moves there unless a wall or an agent stands in the way.

    Attributes:
        cells: (num_worlds, height, width) uint8 entity codes: the maps with their border, as they are now.

    Args:
        config: size, agents, rewards and number of copies.
        rng: the only source of chance. How many numbers are drawn never depends on what happened before.
    """

    config_class: ClassVar[type[WorldConfig]] = TreasurehuntConfig

    def __init__(self, config: TreasurehuntConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self.num_worlds, self.num_agents = config.num_worlds, config.num_agents
        radius = config.vision_radius  # Walls this thick around the inner cells: no view leaves its own world.
        rows, columns = config.height - 2 + 2 * radius, config.width - 2 + 2 * radius
        self._maps = np.full((self.num_worlds, rows, columns), WALL, np.uint8)
        self._flat = self._maps.reshape(-1)
        self._inner = self._maps[:, radius:-radius, radius:-radius]
        self.cells = self._maps[:, radius - 1 : rows - radius + 1, radius - 1 : columns - radius + 1]
        index = np.arange(self._flat.size).reshape(self._maps.shape)
        self._inner_index = index[:, radius:-radius, radius:-radius].reshape(self.num_worlds, -1)
        self._positions = np.empty((self.num_agents, self.num_worlds), np.intp)
        self._moves = np.array([-columns, columns, -1, 1])
        reach = np.arange(-radius, radius + 1)
        self._window = (reach[:, None] * columns + reach).reshape(-1)
        self._values = np.zeros(NUM_ENTITIES + 1, np.float32)
        self._values[[GEM, WALL]] = config.gem_reward, config.wall_reward
        ends = np.zeros(self._positions.shape, np.bool_)  # no episode ends but with its epoch
        self._turn = Turn(np.zeros(ends.shape, np.float32), ends, ends, ~ends)
        self._draws = np.empty(self._inner.shape, np.float32)
        self._spawns = np.empty(self._inner.shape, np.bool_)
        self.reset()

    @property
    def positions(self) -> NDArray[np.intp]:
        """Where the agents stand in :attr:`cells`: (agents, num_worlds, 2), row and column."""
        _, row, column = np.unravel_index(self._positions, self._maps.shape)
        return np.stack((row, column), axis=-1) - (self.config.vision_radius - 1)

    def window(self, agent: int) -> NDArray[np.uint8]:
        """What one agent sees, as a map with itself in the centre: (num_worlds, side, side) uint8 entity codes."""
        side = 2 * self.config.vision_radius + 1
        return self.observe(agent).reshape(self.num_worlds, side, side)

    def reset(self) -> None:
        """Start an epoch: no gems, agents on distinct random inner cells. All placements are equally likely."""
        self._inner[...] = EMPTY
        order = np.argsort(self.rng.random(self._inner_index.shape), axis=1)[:, : self.num_agents]
        self._positions[...] = np.take_along_axis(self._inner_index, order, axis=1).T
        self._flat[self._positions] = AGENT

    def begin_turn(self) -> None:
        """Let each empty inner cell become a gem with ``config.spawn_prob``."""
        self.rng.random(out=self._draws, dtype=np.float32)
        np.less(self._draws, self.config.spawn_prob, out=self._spawns)
        self._spawns &= self._inner == EMPTY
        np.copyto(self._inner, GEM, where=self._spawns)

    def observe(self, agent: int) -> NDArray[np.uint8]:
        """What one agent sees: (num_worlds, side * side) uint8 entity codes, a new array.

        A frame is the square window of ``vision_radius`` cells around the agent, row by row, walls beyond the edge; the
        agent itself is the AGENT in its centre.
        """
        frame: NDArray[np.uint8] = self._flat.take(self._positions[agent][:, None] + self._window)
        return frame

    def act(self, agent: int, actions: NDArray[np.int64]) -> None:
        """Move one agent in all worlds: (num_worlds,) int64; up, down, left, right are 0, 1, 2, 3.

        Raises:
            ValueError: an action is none of the four, or there is not one per world. Nothing has moved then.
        """
        # A bit above the lowest two, the sign among them, is set in the union only if it is set in some action.
        if actions.shape != (self.num_worlds,) or np.bitwise_or.reduce(actions) not in range(NUM_ACTIONS):
            bad = sorted(set(actions.tolist()) - set(range(NUM_ACTIONS))) or f"an array of shape {actions.shape}"
            raise ValueError(said("treasurehunt.actions", bad=bad, worlds=self.num_worlds, known=NUM_ACTIONS))
        origin = self._positions[agent]
        aim = origin + self._moves.take(actions)
        entity = self._flat.take(aim)
        self._values.take(entity, out=self._turn.rewards[agent])
        goal = np.where(_CAN_ENTER.take(entity), aim, origin)
        self._flat[origin] = EMPTY
        self._flat[goal] = AGENT
        self._positions[agent] = goal

    def end_turn(self) -> Turn:
        """What the agents have earned. Everyone took part and no episode has ended."""
        return self._turn

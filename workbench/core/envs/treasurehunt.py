"""Treasurehunt: agents collect gems in a walled gridworld, of which any number of copies run side by side.

A turn is :meth:`Treasurehunt.begin_turn`, then for every agent in fixed order :meth:`Treasurehunt.observe` and
:meth:`Treasurehunt.act`, so that an agent sees what the earlier ones did. All copies lie in one flat array of cells and
a position is an index into it: a view is one gather, a move one gather and one scatter, whatever the number of copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import WorldConfig

BLANK, EMPTY, WALL, SAND, GEM, AGENT = range(6)
"""Entity codes. BLANK is no frame at all (before an epoch); SAND is a kind that the seeds count and never place."""
NUM_ENTITIES = 5
"""Kinds of entity in a one-hot frame: codes 1 to 5. A BLANK cell is all zeros."""
UP, DOWN, LEFT, RIGHT = range(4)
NUM_ACTIONS = 4

_CAN_ENTER = np.isin(np.arange(NUM_ENTITIES + 1), (EMPTY, GEM))


class Treasurehunt:
    """``num_worlds`` copies of the world, which is ready to play once built.

    Every turn each empty inner cell becomes a gem with ``config.spawn_prob``. An agent is rewarded with the value of
    the cell that it aims at (gem, wall, or nothing) and moves there unless a wall or an agent stands in the way.

    Args:
        config: size, agents and rewards.
        rng: the only source of chance. How many numbers are drawn never depends on what happened before.
        num_worlds: copies; ``config.num_worlds`` unless given.

    Raises:
        ValueError: ``num_worlds`` is below 1.
    """

    def __init__(self, config: WorldConfig, rng: np.random.Generator, num_worlds: int | None = None) -> None:
        self.config = config
        self.rng = rng
        self.num_worlds = config.num_worlds if num_worlds is None else num_worlds
        self.num_agents = config.num_agents
        self.frame_size = (2 * config.vision_radius + 1) ** 2
        if self.num_worlds < 1:
            raise ValueError(f"num_worlds is {num_worlds}; there must be at least 1 copy of the world")
        radius = config.vision_radius  # Walls this thick around the inner cells: no view leaves its own world.
        rows, columns = config.height - 2 + 2 * radius, config.width - 2 + 2 * radius
        self._cells = np.full((self.num_worlds, rows, columns), WALL, np.uint8)
        self._flat = self._cells.reshape(-1)
        self._inner = self._cells[:, radius:-radius, radius:-radius]
        index = np.arange(self._flat.size).reshape(self._cells.shape)
        self._inner_index = index[:, radius:-radius, radius:-radius].reshape(self.num_worlds, -1)
        self._positions = np.empty((self.num_agents, self.num_worlds), np.intp)
        self._moves = np.array([-columns, columns, -1, 1])
        reach = np.arange(-radius, radius + 1)
        self._window = (reach[:, None] * columns + reach).reshape(-1)
        self._rewards = np.zeros(NUM_ENTITIES + 1, np.float32)
        self._rewards[[GEM, WALL]] = config.gem_reward, config.wall_reward
        self._draws = np.empty(self._inner.shape, np.float32)
        self._spawns = np.empty(self._inner.shape, np.bool_)
        self.reset()

    @property
    def cells(self) -> NDArray[np.uint8]:
        """A copy of the maps with their border: (num_worlds, height, width) uint8 entity codes."""
        rim = self.config.vision_radius - 1
        return self._cells[:, rim : rim + self.config.height, rim : rim + self.config.width].copy()

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
        """What one agent sees: (num_worlds, frame_size) uint8 entity codes, a new array.

        A frame is the square window of ``vision_radius`` cells around the agent, row by row, walls beyond the edge; the
        agent itself is the AGENT in its centre.
        """
        frame: NDArray[np.uint8] = self._flat.take(self._positions[agent][:, None] + self._window)
        return frame

    def act(self, agent: int, actions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Move one agent in all worlds and return its rewards: (num_worlds,) float32.

        Args:
            agent: whose turn it is.
            actions: (num_worlds,) int64; up, down, left, right are 0, 1, 2, 3.

        Raises:
            ValueError: an action is none of the four, or there is not one per world. Nothing has moved then.
        """
        # A bit above the lowest two, the sign among them, is set in the union only if it is set in some action.
        if actions.shape != (self.num_worlds,) or np.bitwise_or.reduce(actions) not in range(NUM_ACTIONS):
            raise ValueError(self._why_refused(actions))
        origin = self._positions[agent]
        aim = origin + self._moves.take(actions)
        entity = self._flat.take(aim)
        rewards: NDArray[np.float32] = self._rewards.take(entity)
        goal = np.where(_CAN_ENTER.take(entity), aim, origin)
        self._flat[origin] = EMPTY
        self._flat[goal] = AGENT
        self._positions[agent] = goal
        return rewards

    def get_state(self) -> dict[str, Any]:
        """A copy of everything that the future depends on: cells, positions, and the state of the generator."""
        return {
            "cells": self._cells.copy(),
            "positions": self._positions.copy(),
            "rng": self.rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned.

        Raises:
            ValueError: the state is that of a world of another size, or breaks a rule (see :meth:`check_valid`). The
                world is then as it was.
        """
        for name, array in (("cells", self._cells), ("positions", self._positions)):
            if state[name].shape != array.shape:
                raise ValueError(f"state[{name!r}] has shape {state[name].shape}; this world needs {array.shape}")
        before = self.get_state()
        self._load(state)
        valid, why = self.check_valid()
        if not valid:
            self._load(before)
            raise ValueError(f"the state is not one of this world: {why}; use an unchanged result of get_state")

    def check_valid(self) -> tuple[bool, str]:
        """Whether the state keeps the rules of the world, and which one it breaks if it does not."""
        inner, agents = self._inner, self._inner == AGENT
        if (self._cells == WALL).sum() != self._cells.size - inner.size or (inner == WALL).any():
            return False, "the walls are not exactly the border"
        if not np.isin(inner, (EMPTY, GEM, AGENT)).all():
            return False, "an inner cell is neither empty, gem nor agent"
        if (agents.sum(axis=(1, 2)) != self.num_agents).any():
            return False, f"a world does not have {self.num_agents} agents"
        if not np.array_equal(np.sort(self._positions, axis=0).T.reshape(-1), np.flatnonzero(self._flat == AGENT)):
            return False, "an agent does not stand where its position says"
        return True, ""

    def _load(self, state: dict[str, Any]) -> None:
        self._cells[...] = state["cells"]
        self._positions[...] = state["positions"]
        self.rng.bit_generator.state = state["rng"]

    def _why_refused(self, actions: NDArray[np.int64]) -> str:
        if actions.shape != (self.num_worlds,):
            return f"actions have shape {actions.shape}; there must be one for each world: ({self.num_worlds},)"
        bad = sorted(set(actions.tolist()) - set(range(NUM_ACTIONS)))
        return (
            f"actions hold {bad}; an action is 0 (up), 1 (down), 2 (left) or 3 (right). "
            f"Give the policy as many actions as the world has: {NUM_ACTIONS}"
        )

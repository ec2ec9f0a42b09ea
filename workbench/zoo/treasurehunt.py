"""Treasurehunt as a parallel environment of PettingZoo; its own ``parallel_to_aec`` makes the other kind of it."""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from workbench.core.envs.treasurehunt import NUM_ACTIONS, NUM_ENTITIES
from workbench.core.settings import changed, require
from workbench.zoo.sparse import SparseConfig

_SIGNS = np.array([*"  #:*@"])
_COLOURS = np.array([(0, 0, 0), (245, 245, 240), (90, 90, 90), (220, 200, 150), (30, 160, 110), (200, 80, 40)], "uint8")
_PIXELS = 16  # the side of a cell


class TreasurehuntEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo comes without types
    """One copy of the world. All agents see the same moment; then they move one after the other, the first one first.

    An observation is what :meth:`Treasurehunt.observe` says, (cells,) uint8 codes; an episode is cut off after
    ``max_turns`` steps.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "treasurehunt_v0", "render_modes": ["rgb_array", "ansi"], "render_fps": 4, "is_parallelizable": True,
    }  # fmt: skip

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        known = render_mode in (None, "rgb_array", "ansi")
        require(known, "render_mode", render_mode, "it must be 'rgb_array', 'ansi' or None")
        default = SparseConfig(max_gems=0)
        self.render_mode, self.config = render_mode, changed(default, arguments, default)
        self.possible_agents = [f"agent_{index}" for index in range(self.config.num_agents)]
        self.agents: list[str] = []
        seen = self.config.spec().agents[0].shape
        self._seen = {name: spaces.Box(0, NUM_ENTITIES, seen, np.uint8) for name in self.possible_agents}
        self._done = {name: spaces.Discrete(NUM_ACTIONS) for name in self.possible_agents}
        self._world = self.config.make(np.random.default_rng())

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Codes of the cells around an agent."""
        return self._seen[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Up, down, left, right."""
        return self._done[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], ...]:
        """Begin an episode; without a seed the stream of chance continues."""
        if seed is not None:
            self._world.rng = np.random.default_rng(seed)
        self._world.reset()
        self.agents, self._turn = self.possible_agents[:], 0
        return self._look(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Let every agent move."""
        names = self.agents
        for index, name in enumerate(names):
            self._world.act(index, np.array([actions[name]], np.int64))
        rewards, self._turn = self._world.end_turn().rewards[:, 0].tolist(), self._turn + 1
        seen, over = self._look(), self._turn >= self.config.max_turns
        self.agents = [] if over else names
        ends = dict.fromkeys(names, False), dict.fromkeys(names, over)
        return seen, dict(zip(names, rewards, strict=True)), *ends, {name: {} for name in names}

    def render(self) -> Any:
        """The map: a picture or a text, as ``render_mode`` says."""
        cells = self._world.cells[0]
        if self.render_mode == "ansi":
            return "\n".join("".join(row) for row in _SIGNS[cells]) + "\n"
        return None if self.render_mode is None else _COLOURS[cells].repeat(_PIXELS, 0).repeat(_PIXELS, 1)

    def _look(self) -> dict[str, Any]:
        self._world.begin_turn()
        return {name: self._world.observe(index)[0] for index, name in enumerate(self.possible_agents)}

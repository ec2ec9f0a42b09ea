"""The world as a picture, and what one agent thinks of its moves.

A world with a map is drawn with its gems and agents; kinds of cell differ in shape as well as in colour, and agents
carry their numbers. Another one is the picture that it draws of itself.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.text import Text
from numpy.typing import NDArray

from workbench.runs.table import fixed
from workbench.view.style import FAINT, GREY, HALO, INK, SCREEN, few_ticks
from workbench.view.world.game import Game, best_moves

FLOOR, STONE, DUNE = "#f4f1ea", "#5b6470", "#e3d3a8"
GEM_COLOUR, AGENT_COLOUR, SPREAD = "#009E73", "#56B4E9", "#E69F00"
# How the moves that lead somewhere on a map are called.
ARROWS = {"up": "↑ up", "down": "↓ down", "left": "← left", "right": "→ right"}
# Longer side of a map, in inches.
BOARD_INCHES = 3.4


class Board:
    """The map of a game, in one pair of axes without a frame: built once, then changed in place."""

    def __init__(self, axes: Axes, game: Game) -> None:
        """Make the artists."""
        (rows, columns), cell = game.cells.shape, 72 * BOARD_INCHES / max(game.cells.shape)
        self._codes = {name: code for code, name in enumerate(game.code_names)}
        ground = ListedColormap([FLOOR, STONE, DUNE])
        self._ground = axes.imshow(np.zeros((rows, columns)), cmap=ground, vmin=-0.5, vmax=2.5)
        axes.set_xticks(np.arange(0.5, columns - 1), [])
        axes.set_yticks(np.arange(0.5, rows - 1), [])
        axes.tick_params(length=0)
        axes.grid(True, color="white", linewidth=1.0)
        marks: dict[str, Any] = {"linestyle": "none", "markeredgecolor": INK, "clip_on": False}
        (self._gems,) = axes.plot([], [], marker="D", markersize=0.42 * cell, color=GEM_COLOUR, zorder=3, **marks)
        (self._agents,) = axes.plot([], [], marker="o", markersize=0.74 * cell, color=AGENT_COLOUR, zorder=4, **marks)
        self._axes, self._numbers, self._font = axes, list[Text](), min(0.42 * cell, 12)

    def show(self, game: Game) -> None:
        """Draw the game as it is now, every agent with its number."""
        where = {name: game.cells == self._codes.get(name, -1) for name in ("wall", "sand", "gem", "agent")}
        self._ground.set_data(np.where(where["sand"], 2, where["wall"]))
        for line, name in ((self._gems, "gem"), (self._agents, "agent")):
            row, column = np.nonzero(where[name])
            line.set_data(column, row)
        for number in self._numbers:
            number.remove()
        self._numbers = [
            self._axes.text(
                column, row, str(agent), ha="center", va="center", fontsize=self._font, fontweight="bold", zorder=10,
                color=INK,
            ) for agent, (row, column) in enumerate(game.positions.tolist())
        ]  # fmt: skip


class Still:
    """The picture that a world draws of itself, in one pair of axes."""

    def __init__(self, axes: Axes, picture: NDArray[np.uint8]) -> None:
        self._image = axes.imshow(picture)

    def show(self, game: Game) -> None:
        """Draw a game as it is now."""
        if (picture := game.picture) is not None:
            self._image.set_data(picture)


class Values:
    """The value that an agent gives to each of its moves, with its quantiles, in one pair of axes.

    Args:
        axes: where to draw.
        height: of the axes, in inches.
    """

    def __init__(self, axes: Axes, height: float) -> None:
        self._axes, self._height, self._drawn = axes, height, list[Any]()
        axes.tick_params(labelsize=SCREEN.text, length=0, labelcolor=INK)
        axes.set_xlabel("return, scaled reward", fontsize=SCREEN.text, color=GREY)
        axes.grid(True, axis="x", color=FAINT, linewidth=0.7)
        few_ticks(axes.xaxis)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(GREY)

    def show(self, game: Game) -> None:
        """Draw what the agent whose turn it is thinks of its moves."""
        axes, seeing, moves = self._axes, game.sight, game.moves
        shown = best_moves(seeing, 80 * self._height)
        lines, width = range(len(shown)), min(11.0, 72 * self._height / len(shown) / 3)
        low, high = seeing.spread()[:, shown]
        for artist in self._drawn:
            artist.remove()
        self._drawn = [
            axes.hlines(lines, low, high, color=SPREAD, linewidth=width / 3, zorder=2),
            axes.hlines(lines, *seeing.spread(0.25, 0.75)[:, shown], color=SPREAD, linewidth=width, zorder=2),
        ]
        for line, move in enumerate(shown.tolist()):
            value, chosen = float(seeing.q[move]), move == seeing.choice
            self._drawn += axes.plot(value, line, "D" if chosen else "o", markersize=9 if chosen else 6, color=INK)
            words = fixed(value, 2) + ("  chosen" if chosen else "")
            self._drawn.append(axes.annotate(
                words, (value, line), xytext=(0, width), textcoords="offset points", ha="center",
                fontsize=SCREEN.text, color=INK, fontweight="bold" if chosen else "normal", path_effects=HALO,
            ))  # fmt: skip
        axes.set_yticks(lines, [ARROWS.get(moves[move], moves[move]) for move in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        margin = 0.18 * max(float(high.max() - low.min()), 1e-3)
        axes.set_xlim(low.min() - margin, high.max() + margin)
        which = "each move" if len(shown) == len(moves) else f"the best {len(shown)} of {len(moves)} moves"
        axes.set_title(f"Value of {which} of agent {seeing.agent}", loc="left", fontsize=SCREEN.title, color=INK)

"""The world as a picture, and what one agent thinks of its moves.

A world with a map is drawn with its gems and agents, and with the window of one agent; kinds of cell differ in shape as
well as in colour, and agents carry their numbers. Another one is the picture that it draws of itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from workbench.runs.table import fixed
from workbench.view.picture import Picture
from workbench.view.style import FAINT, GREY, HALO, INK, SCREEN, few_ticks, own_settings
from workbench.view.world.game import Game, Sight

FLOOR, STONE, DUNE = "#f4f1ea", "#5b6470", "#e3d3a8"
GEM_COLOUR, AGENT_COLOUR, CHOSEN = "#009E73", "#56B4E9", "#0072B2"
SPREAD = "#E69F00"
# Rows and columns that an action of that name leads to; others get no arrow.
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_ARROWS = {"up": "↑ up", "down": "↓ down", "left": "← left", "right": "→ right"}
# Moves whose values there is room for; of more, the best ones are shown.
MOVES_PER_INCH = 4


class Board:
    """Cells in one pair of axes: built once, then changed in place."""

    def __init__(self, axes: Axes, cells: NDArray[np.uint8], names: Sequence[str], size: float) -> None:
        """Make the artists.

        Args:
            axes: where to draw.
            cells: (rows, columns) uint8, some that will be shown.
            names: what their codes stand for.
            size: of the longer side in points.
        """
        (rows, columns), cell = cells.shape, size / max(cells.shape)
        self._codes = {name: code for code, name in enumerate(names)}
        ground = ListedColormap([FLOOR, STONE, DUNE])
        self._ground = axes.imshow(np.zeros((rows, columns)), cmap=ground, vmin=-0.5, vmax=2.5)
        axes.set_xticks(np.arange(0.5, columns - 1), [])
        axes.set_yticks(np.arange(0.5, rows - 1), [])
        axes.tick_params(length=0)
        axes.grid(True, color="white", linewidth=1.0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        marks: dict[str, Any] = {"linestyle": "none", "markeredgecolor": INK, "clip_on": False}
        (self._gems,) = axes.plot([], [], marker="D", markersize=0.42 * cell, color=GEM_COLOUR, zorder=3, **marks)
        size = 0.74 * cell
        (self._agents,) = axes.plot([], [], marker="o", markersize=size, color=AGENT_COLOUR, zorder=4, **marks)
        (self._chosen,) = axes.plot(
            [], [], marker="o", markersize=size, color=CHOSEN, zorder=5, markeredgewidth=2.0, **marks
        )
        self._axes, self._numbers, self._font = axes, list[Text](), min(0.42 * cell, 12)

    def show(self, cells: NDArray[np.uint8], numbered: Mapping[int, Sequence[int]], chosen: int | None = None) -> None:
        """Draw some cells, (rows, columns) entity codes.

        Args:
            cells: what is where.
            numbered: row and column of every agent that is shown with its number.
            chosen: the one of them to point out.
        """
        ground = np.zeros(cells.shape)
        ground[self._where(cells, "wall")], ground[self._where(cells, "sand")] = 1, 2
        self._ground.set_data(ground)
        _put(self._gems, np.argwhere(self._where(cells, "gem")))
        _put(self._agents, np.argwhere(self._where(cells, "agent")))
        _put(self._chosen, np.array([numbered[chosen]] if chosen is not None else np.empty((0, 2))))
        for number in self._numbers:
            number.remove()
        self._numbers = [
            self._axes.text(
                column, row, str(agent), ha="center", va="center", fontsize=self._font, fontweight="bold", zorder=10,
                color="white" if agent == chosen else INK,
            ) for agent, (row, column) in numbered.items()
        ]  # fmt: skip

    def _where(self, cells: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
        return np.equal(cells, self._codes.get(name, -1))


class Still:
    """The picture that a world draws of itself, in one pair of axes."""

    def __init__(self, axes: Axes, picture: NDArray[np.uint8]) -> None:
        axes.set_axis_off()
        self._image = axes.imshow(picture)

    def show(self, game: Game) -> None:
        """Draw a game as it is now."""
        if (picture := game.picture) is not None:
            self._image.set_data(picture)


class Window:
    """The map, and what one agent sees of it with its moves as arrows.

    An arrow ends at the mean of a move's quantiles, and the broad line beneath it reaches from their 10 % to their 90 %
    quantile, both on one scale for all moves.
    """

    def __init__(self, whole: Axes, window: Axes, game: Game) -> None:
        self._map = Board(whole, game.cells, game.code_names, 72 * 3.5)
        frame = game.sight.frame
        side = len(frame)
        self._frame = Rectangle((0, 0), side, side, fill=False, edgecolor=CHOSEN, linewidth=2.2, linestyle=(0, (4, 2)))
        self._frame.set(zorder=7, clip_on=False)
        whole.add_patch(self._frame)
        self._window = Board(window, frame, game.code_names, 72 * 3.0)
        self._reach = 0.92 * side / 2
        self._window_axes = window
        self._arrows: list[Any] = []

    def show(self, game: Game) -> None:
        """Draw a game as it is now, seen by the agent whose turn it is."""
        seeing = game.sight
        radius = len(seeing.frame) // 2
        self._map.show(game.cells, dict(enumerate(game.positions.tolist())), seeing.agent)
        self._frame.set_xy((seeing.column - radius - 0.5, seeing.row - radius - 0.5))
        self._window.show(seeing.frame, {seeing.agent: (radius, radius)}, seeing.agent)
        for artist in self._arrows:
            artist.remove()
        self._arrows = self._draw_rose(seeing, game.moves)
        self._window_axes.set_title(f"What agent {seeing.agent} sees", loc="left", fontsize=SCREEN.title, color=INK)

    def _draw_rose(self, seeing: Sight, moves: Sequence[str]) -> list[Any]:
        """Arrows from the centre of the window, on one scale."""
        low, high = seeing.spread()
        scale = max(float(high.max() - low.min()), 1e-9)
        centre, inner = len(seeing.frame) // 2, 0.42
        drawn: list[Any] = []
        for move, (down, right) in ((move, STEPS[name]) for move, name in enumerate(moves) if name in STEPS):
            ends = [inner + (self._reach - inner) * (value - low.min()) / scale
                    for value in (low[move], seeing.q[move], high[move])]  # fmt: skip
            xs, ys = ([centre + step * end for end in ends] for step in (right, down))
            drawn += self._window_axes.plot(
                [xs[0], xs[2]], [ys[0], ys[2]], color=SPREAD, linewidth=9, alpha=0.75, solid_capstyle="butt", zorder=6
            )
            chosen = move == seeing.choice
            arrow = FancyArrowPatch(
                (centre + right * inner, centre + down * inner), (xs[1], ys[1]), arrowstyle="-|>", shrinkA=0, shrinkB=0,
                mutation_scale=20 if chosen else 13, linewidth=3.4 if chosen else 1.6, color=INK, zorder=7,
                path_effects=HALO,
            )  # fmt: skip
            drawn.append(self._window_axes.add_patch(arrow))
        return drawn


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
        shown = np.sort(np.argsort(-seeing.q, kind="stable")[: int(MOVES_PER_INCH * self._height)])
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
        axes.set_yticks(lines, [_ARROWS.get(moves[move], moves[move]) for move in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        margin = 0.18 * max(float(high.max() - low.min()), 1e-3)
        axes.set_xlim(low.min() - margin, high.max() + margin)
        which = "each move" if len(shown) == len(moves) else f"the best {len(shown)} of {len(moves)} moves"
        axes.set_title(f"Value of {which} of agent {seeing.agent}", loc="left", fontsize=SCREEN.title, color=INK)


class WorldPicture:
    """The whole view: the world, as far as it can be drawn, and the value of each move of one agent."""

    @own_settings()
    def __init__(self, game: Game, dpi: float) -> None:
        self.figure = Picture(figsize=(11.0, 4.6), dpi=dpi, facecolor="white")
        picture = None if game.mapped else game.picture
        ratios = (1.1, 1.0, 1.0) if game.mapped else (1.0,) if picture is None else (1.4, 1.0)
        grid = self.figure.add_gridspec(1, len(ratios), width_ratios=ratios, wspace=0.22)
        *seen, values = (self.figure.add_subplot(grid[place]) for place in range(len(ratios)))
        self.figure.subplots_adjust(0.018 if seen else 0.12, 0.16, right=0.985, top=0.83)
        self._title = self.figure.text(0.018, 0.95, "", fontsize=SCREEN.title, color=INK, va="center")
        legend = _MAP_LEGEND if game.mapped else _LEGEND if seen else f"no picture: {game.unseen[:150]}"
        self.figure.text(0.018, 0.03, legend, fontsize=SCREEN.small, color=GREY, va="center")
        self._parts: list[Any] = [Values(values, 3.0)]
        if game.mapped:
            self._parts.append(Window(seen[0], seen[1], game))
        elif picture is not None:
            self._parts.append(Still(seen[0], picture))
        for axes in seen[:1]:
            axes.set_title("The world", loc="left", fontsize=SCREEN.title, color=INK)

    @own_settings()
    def show(self, game: Game, name: str) -> None:
        """Draw a game as it is now, seen by the agent whose turn it is."""
        for part in self._parts:
            part.show(game)
        self._title.set_text(
            f"{name}   ·   {when(game)}   ·   reward so far {fixed(game.rewards.sum())}, "
            f"of agent {game.agent}: {fixed(game.rewards[game.agent])}"
        )
        self.figure.alt = describe(game, name)


_QUANTILES = "is chosen    broad line: its quantiles from 10 % to 90 %"
_LEGEND = f"point: value of a move, the diamond {_QUANTILES}"
_MAP_LEGEND = (
    "diamond: gem    circle: agent    dark: wall    dashed square: window of the agent      "
    f"arrow: value of a move, the thick one {_QUANTILES}"
)


def describe(game: Game, name: str) -> str:
    """A game in words, for those who cannot see the picture."""
    seeing = game.sight
    values = ", ".join(f"{move} {fixed(value, 2)}" for move, value in zip(game.moves, seeing.q, strict=True))
    gems, place = (f"{game.gems} gems, ", f" in row {seeing.row}, column {seeing.column}") if game.mapped else ("", "")
    return (
        f"{name}, {when(game)}: {gems}{game.num_agents} agents. "
        f"Agent {seeing.agent}{place} values its moves {values} "
        f"and chooses {game.moves[seeing.choice]}. Reward so far {fixed(game.rewards.sum())}."
    ) + f" No picture: {game.unseen}." * bool(game.unseen)


def when(game: Game) -> str:
    """Which turn it is, in words."""
    turns = game.config.max_turns
    return f"end of {turns} turns" if game.over else f"turn {game.turn + 1} of {turns}"


def _put(line: Line2D, places: NDArray[Any]) -> None:
    line.set_data(places[:, 1], places[:, 0])

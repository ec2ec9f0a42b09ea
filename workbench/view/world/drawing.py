"""A game as SVG, for the view in a notebook: sharp at any size, in the ink of the page, made in a millisecond.

A world with a map is drawn with its gems and agents, and beside it the window of one agent with its moves as arrows.
An arrow ends at the mean of a move's quantiles, and the broad line beneath it reaches from their 10 % to their 90 %
quantile, both on one scale for all moves. Another world is the picture that it draws of itself.
"""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.runs.table import escaped, fixed
from workbench.view.sentences import said
from workbench.view.style import INK
from workbench.view.world.board import AGENT_COLOUR, ARROWS, DUNE, FLOOR, GEM_COLOUR, SPREAD, STONE
from workbench.view.world.game import Game, Sight, best_moves, describe, title_of

# In pixels: the whole, the side of a map, where what is drawn begins: below a title, in three columns; and letters,
# which are still read where a narrow page shows all of it at three quarters.
WIDTH, HEIGHT, SIDE, TOP, COLUMNS = 880, 385, 250, 70, (16, 310, 600)
TITLE, TEXT = 16, 15
CHOSEN = "#0072B2"  # the agent whose eyes it is seen through
FONT = "var(--jp-ui-font-family, system-ui, sans-serif)"
# Rows and columns that an action of that name leads to; others get no arrow.
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
# What is drawn around the middle of a cell, in cells, and in which colour.
SQUARE, DIAMOND, CIRCLE = "m-.5-.5h1v1h-1z", "m0-.3l.3.3-.3.3-.3-.3z", "m-.37 0a.37.37 0 1 0 .74 0a.37.37 0 1 0-.74 0z"
GROUND, THINGS = {"wall": STONE, "sand": DUNE}, {"gem": (GEM_COLOUR, DIAMOND), "agent": (AGENT_COLOUR, CIRCLE)}


def drawing(game: Game, name: str) -> str:
    """A game as it is now, seen by the agent whose turn it is, as an SVG element that says the same in words."""
    seeing, picture, legend = game.sight, None if game.mapped else game.picture, ("", said("world.points"))
    parts = [_text(COLUMNS[0], 22, title_of(game, name), TITLE)]
    if game.mapped:
        side, positions = len(seeing.frame), dict(enumerate(game.positions.tolist()))
        legend = said("world.map"), said("world.arrows")
        seen = _path(f"M{seeing.column - side // 2} {seeing.row - side // 2}h{side}v{side}h-{side}z", CHOSEN, 0.08)
        seen = f'<g stroke-dasharray=".25 .15">{seen}</g>'
        inside = {seeing.agent: (side // 2, side // 2)}
        for left, cells, agents, more, title in (
            (COLUMNS[0], game.cells, positions, seen, "The world"),
            (COLUMNS[1], seeing.frame, inside, _arrows(seeing, game.moves), f"What agent {seeing.agent} sees"),
        ):
            board = _board(cells, game.code_names, agents, seeing.agent) + more
            scaled = f"translate({left} {TOP}) scale({SIDE / max(cells.shape):.5g})"
            parts += [_text(left, TOP - 10, title, TITLE), f'<g transform="{scaled}">{board}</g>']
    elif picture is None:
        legend = "", f"no picture: {game.unseen[:110]}"
    else:
        Image.fromarray(picture).save(file := io.BytesIO(), "png", compress_level=1)
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        parts.append(f'<image x="{COLUMNS[0]}" y="{TOP}" width="480" height="{SIDE}" href="{source}"/>')
    parts.append(_values(game, seeing))
    parts += (_text(16, HEIGHT - y, line, TEXT) for y, line in zip((27, 8), legend, strict=True) if line)
    look = f"width: 100%; max-width: {WIDTH}px; color: var(--jp-ui-font-color1, inherit); font-family: {FONT}"
    about = (
        f'viewBox="0 0 {WIDTH} {HEIGHT}" fill="currentColor" role="img" aria-label="{escaped(describe(game, name))}"'
    )
    return f'<svg {about} style="{look}">{"".join(parts)}</svg>'


def _text(x: float, y: float, words: str, size: float, more: str = "") -> str:
    return f'<text x="{x:.5g}" y="{y:.5g}" font-size="{size}" xml:space="preserve" {more}>{escaped(words)}</text>'


def _path(path: str, colour: str, width: float, fill: str = "none") -> str:
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" fill="{fill}"/>'


def _board(cells: NDArray[np.uint8], names: Sequence[str], numbered: Mapping[int, Sequence[int]], chosen: int) -> str:
    """Some cells, in units of one, and agents with their numbers, one of them pointed out."""

    def all_of(kind: str, shape: str) -> str:
        """One path that draws a shape in every cell that holds such a thing."""
        where = np.argwhere(cells == names.index(kind)).tolist() if kind in names else []
        return "".join(f"M{column + 0.5} {row + 0.5}{shape}" for row, column in where)

    (rows, columns), white = cells.shape, [f"M{x} 0V{len(cells)}" for x in range(1, cells.shape[1])]
    white += [f"M0 {y}H{columns}" for y in range(1, rows)]
    parts = [_path(f"M0 0h{columns}v{rows}h-{columns}z", "none", 0, FLOOR)]
    parts += [_path(all_of(kind, SQUARE), "none", 0, colour) for kind, colour in GROUND.items()]
    parts.append(_path("".join(white), "white", 0.04))
    parts += [_path(all_of(kind, shape), INK, 0.03, colour) for kind, (colour, shape) in THINGS.items()]
    for agent, (row, column) in numbered.items():
        if agent == chosen:
            parts.append(_path(f"M{column + 0.5} {row + 0.5}{CIRCLE}", INK, 0.06, CHOSEN))
        look = f'text-anchor="middle" font-weight="bold" fill="{"white" if agent == chosen else INK}"'
        parts.append(_text(column + 0.5, row + 0.65, str(agent), 0.42, look))
    return "".join(parts)


def _arrows(seeing: Sight, moves: Sequence[str]) -> str:
    """Arrows from the middle of the window."""
    (low, high), middle, inner = seeing.spread(), len(seeing.frame) / 2, 0.42
    scale, parts = 0.92 * (middle - inner) / max(float(high.max() - low.min()), 1e-9), list[str]()
    for move, (down, right) in ((move, STEPS[name]) for move, name in enumerate(moves) if name in STEPS):
        first, end, last = (inner + scale * (value - low.min()) for value in (low[move], seeing.q[move], high[move]))
        thick = 0.1 if move == seeing.choice else 0.05
        ahead = f"matrix({right} {down} {-down} {right} {middle} {middle})"
        spread = _path(f"M{first:.4g} 0H{last:.4g}", SPREAD, 0.22)
        arrow = _path(f"M{inner} 0H{end:.4g}m-.2-.1l.2.1-.2.1z", INK, thick, INK)
        parts.append(f'<g transform="{ahead}">{spread}{arrow}</g>')
    return "".join(parts)


def _values(game: Game, seeing: Sight) -> str:
    """The value of each move, with its quantiles: thin from 10 % to 90 %, thick from 25 % to 75 %."""
    shown, left, width = best_moves(seeing, SIDE), COLUMNS[2] + 75, 135
    (low, high), (inner, outer) = seeing.spread(), seeing.spread(0.25, 0.75)
    least, most = float(low[shown].min()), float(high[shown].max())
    margin = 0.18 * max(most - least, 1e-3)
    found = np.stack([low, inner, seeing.q, outer, high])
    places = left + width * (found - least + margin) / (most - least + 2 * margin)
    which = "each move" if len(shown) == len(game.moves) else f"the best {len(shown)} of {len(game.moves)} moves"
    parts = [_text(COLUMNS[2], TOP - 10, f"Value of {which}", TITLE)]
    for line, move in enumerate(shown.tolist()):
        y, chosen, name = TOP + (line + 0.5) * SIDE / len(shown), move == seeing.choice, game.moves[move]
        low_x, inner_x, x, outer_x, high_x = (f"{each:.5g}" for each in places[:, move])
        mark = f'<g transform="translate({x} {y:.5g}) scale({22 if chosen else 10})">'
        parts += [
            _path(f"M{low_x} {y:.5g}H{high_x}", SPREAD, 3), _path(f"M{inner_x} {y:.5g}H{outer_x}", SPREAD, 9),
            mark + _path(f"M0 0{DIAMOND if chosen else CIRCLE}", "none", 0, "currentColor") + "</g>",
            _text(left + width + 8, y + 5, fixed(seeing.q[move], 2), TEXT, 'font-weight="bold"' * chosen),
            _text(left - 6, y + 5, ARROWS.get(name, name), TEXT, 'text-anchor="end"'),
        ]  # fmt: skip
    parts.append(_text(left + width / 2, TOP + SIDE + 16, "return, scaled reward", TEXT, 'text-anchor="middle"'))
    return "".join(parts)

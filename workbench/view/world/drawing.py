"""A game as a drawing: shapes, words and a picture, which :func:`svg` and :func:`image` put on the page.

A world with a map is drawn with its gems and agents, and beside it the window of one agent with its moves as arrows.
Kinds of cell differ in shape as well as in colour, and agents carry their numbers. An arrow ends at the mean of a
move's quantiles, and the broad line beneath it reaches from their 10 % to their 90 % quantile, both on one scale for
all moves. Another world is the picture that it draws of itself.

The view in a notebook shows it as SVG: sharp at any size, in the ink of the page, made in milliseconds. Films are made
of images.
"""

import base64
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from workbench.runs.table import escaped, fixed, plain
from workbench.view.sentences import said
from workbench.view.style import INK
from workbench.view.world.game import Game, Sight, describe, title_of

# In pixels: the whole, how wide a narrow page shows it at least, as its letters would be too small to read, the height,
# the side of a map, where what is drawn begins: below a title, in three columns; and letters.
WIDTH, LEAST, HEIGHT, SIDE, TOP, COLUMNS = 880, 660, 385, 250, 70, (16, 310, 600)
TITLE, TEXT, BOX = 16, 15, (480, SIDE)
FLOOR, SPREAD, PAGE = "#f4f1ea", "#E69F00", "currentColor"  # the last is the ink of the page
CHOSEN = "#0072B2"  # the agent whose eyes it is seen through
FONT = "var(--jp-ui-font-family, system-ui, sans-serif)"
# How the moves that lead somewhere on a map are called, and in which direction: right and down.
ARROWS = {"up": "↑ up", "down": "↓ down", "left": "← left", "right": "→ right"}
STEPS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}
# What is drawn around the middle of a cell, in cells, and in which colour.
SQUARE, DIAMOND = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2, 0.3 * np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])
CIRCLE = 0.37 * np.stack([np.cos(angle := np.linspace(0, 2 * np.pi, 32, endpoint=False)), np.sin(angle)], axis=1)
GROUND, THINGS = {"wall": "#5b6470", "sand": "#e3d3a8"}, {"gem": ("#009E73", DIAMOND), "agent": ("#56B4E9", CIRCLE)}
# Moves whose values there is room for; of more, the best ones are shown, in their order.
MOST_MOVES = 12
# How many times as large an image is drawn as it will be, for smooth edges.
FINE = 3
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}  # on the line, in the words of Pillow


class Shapes(NamedTuple):
    """Shapes of straight sides, (shapes, corners, 2) in pixels from the left and the top; two corners are a line."""

    corners: NDArray[np.float64]
    fill: str = "none"
    edge: str = "none"
    width: float = 0.0


class Words(NamedTuple):
    """A line of text; ``side`` says where of it x is."""

    x: float
    y: float
    text: str
    size: float = TEXT
    side: Literal["start", "middle", "end"] = "start"
    bold: bool = False
    colour: str = PAGE


class Photo(NamedTuple):
    """A picture, (height, width, 3) uint8, fitted into :data:`BOX` at the left below the title."""

    pixels: NDArray[np.uint8]


Drawing: TypeAlias = list[Shapes | Words | Photo]


def drawing(game: Game, name: str) -> Drawing:
    """A game as it is now, seen by the agent whose turn it is."""
    seeing, legend = game.sight, ("", said("world.points"))
    parts: Drawing = [Words(COLUMNS[0], 22, title_of(game, name), TITLE)]
    if game.mapped:
        legend, side = (said("world.map"), said("world.arrows")), len(seeing.frame)
        everybody, inside = dict(enumerate(game.positions.tolist())), {seeing.agent: (side // 2, side // 2)}
        parts += _board(game, COLUMNS[0], "The world", game.cells, everybody)
        parts.append(_window(seeing, game.cells.shape))
        parts += _board(game, COLUMNS[1], f"What agent {seeing.agent} sees", seeing.frame, inside)
        parts += _arrows(seeing, game.moves)
    elif (picture := game.picture) is None:
        legend = "", f"no picture: {game.unseen[:110]}"
    else:
        parts.append(Photo(picture))
    parts += _values(game, seeing)
    return [*parts, *(Words(16, HEIGHT - y, line) for y, line in zip((27, 8), legend, strict=True) if line)]


def svg(game: Game, name: str) -> str:
    """A game as an SVG element that says the same in words."""
    drawn = "".join(map(_element, drawing(game, name)))  # first: whether there is a picture shows then
    look = f"width: clamp({LEAST}px, 100%, {WIDTH}px); color: var(--jp-ui-font-color1, inherit); font-family: {FONT}"
    about = f'viewBox="0 0 {WIDTH} {HEIGHT}" fill="{PAGE}" role="img" aria-label="{escaped(describe(game, name))}"'
    return f'<svg {about} style="{look}">{drawn}</svg>'


def _element(part: Shapes | Words | Photo) -> str:
    if isinstance(part, Shapes):
        lines = ("L".join(f"{x:.5g} {y:.5g}" for x, y in shape) for shape in part.corners.tolist())
        path = "".join(f"M{line}z" for line in lines)
        return f'<path d="{path}" fill="{part.fill}" stroke="{part.edge}" stroke-width="{part.width:.3g}"/>'
    if isinstance(part, Words):
        look = f'font-size="{part.size:.3g}" text-anchor="{part.side}" fill="{part.colour}"'
        look += ' font-weight="bold"' * part.bold
        return f'<text x="{part.x:.5g}" y="{part.y:.5g}" xml:space="preserve" {look}>{escaped(part.text)}</text>'
    Image.fromarray(part.pixels).save(file := io.BytesIO(), "png", compress_level=1)
    source = base64.b64encode(file.getvalue()).decode()
    place = f'x="{COLUMNS[0]}" y="{TOP}" width="{BOX[0]}" height="{BOX[1]}"'
    return f'<image {place} href="data:image/png;base64,{source}"/>'


def image(game: Game, name: str, scale: float = 1.0) -> Image.Image:
    """A game as an image, dark on white, ``scale`` times as large as the drawing."""
    fine = FINE * scale
    sheet = Image.new("RGB", (FINE * round(scale * WIDTH), FINE * round(scale * HEIGHT)), "white")
    pen = ImageDraw.Draw(sheet)
    for part in drawing(game, name):
        if isinstance(part, Shapes):
            for shape in (fine * part.corners).tolist():
                corners, width = [*map(tuple, shape)], max(1, round(fine * part.width))
                if part.fill != "none" and len(corners) > 2:
                    pen.polygon(corners, _ink(part.fill))
                if part.edge != "none":
                    pen.line([*corners, corners[0]], _ink(part.edge), width)
        elif isinstance(part, Words):
            place, font = (fine * part.x, fine * part.y), _font(part.bold, fine * part.size)
            pen.text(place, plain(part.text), _ink(part.colour), font, anchor=_ANCHORS[part.side])
        else:
            box = round(fine * BOX[0]), round(fine * BOX[1])
            fitted = ImageOps.pad(Image.fromarray(part.pixels), box, color="white")
            sheet.paste(fitted, (round(fine * COLUMNS[0]), round(fine * TOP)))
    return sheet.reduce(FINE)


def _ink(colour: str) -> str:
    return INK if colour == PAGE else colour


@functools.cache
def _font(bold: bool, size: float) -> ImageFont.FreeTypeFont:
    """The letters that come with matplotlib, so that every machine draws the same."""
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' * bold}.ttf")
    return ImageFont.truetype(str(file), size)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def _board(
    game: Game, left: float, title: str, cells: NDArray[np.uint8], numbered: Mapping[int, Sequence[int]]
) -> Iterator[Shapes | Words]:
    """Some cells under a title, and agents with their numbers; the one whose turn it is is pointed out."""
    (rows, columns), cell, corner = cells.shape, SIDE / max(cells.shape), np.array([left, TOP])

    def placed(corners: ArrayLike) -> NDArray[np.float64]:
        """From cells to pixels."""
        return np.asarray(corner + cell * np.asarray(corners), np.float64)

    def all_of(kind: str, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """A shape in every cell that holds such a thing."""
        where = np.argwhere(cells == game.code_names.index(kind)) if kind in game.code_names else np.zeros((0, 2))
        return placed(where[:, None, ::-1] + 0.5 + shape)

    white = [[(x, 0), (x, rows)] for x in range(1, columns)] + [[(0, y), (columns, y)] for y in range(1, rows)]
    yield Words(left, TOP - 10, title, TITLE)
    yield Shapes(placed([[(0, 0), (columns, 0), (columns, rows), (0, rows)]]), FLOOR)
    yield from (Shapes(all_of(kind, SQUARE), colour) for kind, colour in GROUND.items())
    yield Shapes(placed(white), edge="white", width=0.04 * cell)
    yield from (Shapes(all_of(kind, shape), colour, INK, 0.03 * cell) for kind, (colour, shape) in THINGS.items())
    for agent, (row, column) in numbered.items():
        (x, y), ink = placed((column + 0.5, row + 0.65)), "white" if agent == game.agent else INK
        if agent == game.agent:
            yield Shapes(placed([np.add(CIRCLE, (column + 0.5, row + 0.5))]), CHOSEN, INK, 0.06 * cell)
        yield Words(x, y, str(agent), 0.42 * cell, "middle", True, ink)


def _window(seeing: Sight, shape: tuple[int, ...]) -> Shapes:
    """The dashed square around what an agent sees of the world, as far as that reaches."""
    side, cell = len(seeing.frame), SIDE / max(shape)
    corners = np.clip(side * (SQUARE + 0.5) + (seeing.column - side // 2, seeing.row - side // 2), 0, shape[::-1])
    along = np.arange(3 * side)[:, None] + (0.0, 0.6)  # where dashes begin and end
    ends = corners[:, None, None] + (np.roll(corners, -1, 0) - corners)[:, None, None] * along[..., None] / (3 * side)
    return Shapes((COLUMNS[0], TOP) + cell * ends.reshape(-1, 2, 2), edge=CHOSEN, width=0.08 * cell)


def _arrows(seeing: Sight, moves: Sequence[str]) -> Iterator[Shapes]:
    """Arrows from the middle of the window."""
    (low, high), side, inner = seeing.spread(), len(seeing.frame), 0.42
    cell, scale = SIDE / side, 0.92 * (side / 2 - inner) / max(float(high.max() - low.min()), 1e-9)
    for move, (right, down) in ((move, STEPS[name]) for move, name in enumerate(moves) if name in STEPS):
        first, end, last = (inner + scale * (value - low.min()) for value in (low[move], seeing.q[move], high[move]))
        ahead, thick = cell * np.array([(right, down), (-down, right)]), 0.1 if move == seeing.choice else 0.05
        head = [(end, 0), (end - 0.2, -0.1), (end - 0.2, 0.1)]
        for corners, colour, width in (
            ([(first, 0), (last, 0)], SPREAD, 0.22), ([(inner, 0), (end, 0)], INK, thick), (head, INK, thick),
        ):  # fmt: skip
            middle = COLUMNS[1] + SIDE / 2, TOP + SIDE / 2
            yield Shapes(middle + np.array([corners]) @ ahead, colour, colour, width * cell)


def _values(game: Game, seeing: Sight) -> Iterator[Shapes | Words]:
    """The value of each move, with its quantiles: thin from 10 % to 90 %, thick from 25 % to 75 %."""
    shown, left, width = np.sort(np.argsort(-seeing.q, kind="stable")[:MOST_MOVES]), COLUMNS[2] + 75, 135
    (low, high), (inner, outer) = seeing.spread(), seeing.spread(0.25, 0.75)
    least, most = float(low[shown].min()), float(high[shown].max())
    margin = 0.18 * max(most - least, 1e-3)
    found = np.stack([low, inner, seeing.q, outer, high])
    places = left + width * (found - least + margin) / (most - least + 2 * margin)
    which = "each move" if len(shown) == len(game.moves) else f"the best {len(shown)} of {len(game.moves)} moves"
    yield Words(COLUMNS[2], TOP - 10, f"Value of {which}", TITLE)
    for line, move in enumerate(shown.tolist()):
        y, chosen, name = TOP + (line + 0.5) * SIDE / len(shown), move == seeing.choice, game.moves[move]
        low_x, inner_x, x, outer_x, high_x = places[:, move].tolist()
        yield Shapes(np.array([[(low_x, y), (high_x, y)]]), edge=SPREAD, width=3)
        yield Shapes(np.array([[(inner_x, y), (outer_x, y)]]), edge=SPREAD, width=9)
        yield Shapes(np.array([(x, y) + (22 * DIAMOND if chosen else 10 * CIRCLE)]), PAGE)
        yield Words(left + width + 8, y + 5, fixed(seeing.q[move], 2), bold=chosen)
        yield Words(left - 6, y + 5, ARROWS.get(name, name), side="end")
    yield Words(left + width / 2, TOP + SIDE + 16, "return, scaled reward", side="middle")

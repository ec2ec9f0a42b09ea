"""A greedy epoch of one or more runs as a film: the games side by side, turn by turn, as GIF or as a page.

Each is the map of its world, or the picture that the world draws of itself, and the values of the first agent's moves.
All games have the same random stream, so they begin alike and differ by what the agents do. The same runs and seed give
the same bytes.
"""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any, Literal

from matplotlib.gridspec import SubplotSpec
from PIL import Image

from workbench.runs.compare import Comparison, runs_of
from workbench.runs.files import at, write_whole
from workbench.runs.loaded import RunView
from workbench.runs.naming import labels
from workbench.runs.table import escaped, fixed
from workbench.view.picture import Picture, to_png
from workbench.view.style import GREY, INK, SCREEN, own_settings
from workbench.view.world.board import Board, Still, Values
from workbench.view.world.game import Game, when

# Dots per inch of a frame.
DPI = 80
# Colours of a frame: enough for a few flat ones and the smooth edges between them.
COLOURS = 32
# Milliseconds that a turn is shown.
TURN_MS = 250
# Milliseconds that the end is shown.
LAST_MS = 2000
MAX_COLUMNS = 3


class Film:
    """The frames of an epoch. Shown as an animation in a notebook; :meth:`save` writes it to a file."""

    def __init__(self, frames: Sequence[bytes], alt: str) -> None:
        """Take PNG frames, and what they show in words."""
        self.frames, self.alt = tuple(frames), alt

    def save(self, path: Path | str) -> Path:
        """Write the film: ``.gif`` an animation, ``.html`` a page with a slider that needs nothing else.

        Raises:
            ValueError: the suffix is another.
        """
        path = at(path)
        if path.suffix == ".gif":
            write_whole(path, self.gif())
        elif path.suffix == ".html":
            write_whole(path, self.html())
        else:
            raise ValueError(f"cannot save a film as {path.name!r}; the name must end in .gif or .html")
        return path

    def gif(self) -> bytes:
        """The bytes of an animation that repeats forever."""
        first, *others = [Image.open(io.BytesIO(frame)) for frame in self.frames]
        target, times = io.BytesIO(), [TURN_MS] * len(others) + [LAST_MS]
        first.save(target, "gif", save_all=True, append_images=others, duration=times, loop=0)
        return target.getvalue()

    def html(self) -> str:
        """A page that plays the frames; pauses, goes back and forth with buttons, a slider and their keys."""
        frames = json.dumps([base64.b64encode(frame).decode() for frame in self.frames])
        texts = [Path(__file__).with_suffix(each).read_text(encoding="utf-8") for each in (".html", ".js")]
        page, script = map(Template, texts)
        return page.substitute(alt=escaped(self.alt), script=script.substitute(turn_ms=TURN_MS, frames=frames))

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"<Film of {len(self.frames)} frames: {self.alt}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = {"image/gif": base64.b64encode(self.gif()).decode(), "text/plain": repr(self)}
        return shown, {"image/gif": {"alt": self.alt}}


def film(
    runs: Comparison | RunView | Sequence[RunView], seed: int = 0,
    checkpoint: int | Literal["newest"] | None = None,
) -> Film:  # fmt: skip
    """Play one greedy epoch with the weights of each run and film it.

    Args:
        runs: live, ended or loaded; they are shown side by side.
        seed: of the random stream that all games share.
        checkpoint: play with the weights of the checkpoint of that epoch, one of ``run.checkpoints``, or of the newest
            one; None for the weights that were published last.

    Example:
        ``wb.film([run]).save("film.gif")``

    Raises:
        CheckpointError: a run keeps no checkpoint of that epoch, or it is damaged.
        ValueError: there are no runs.
        RunError: a run has no weights (yet).
    """
    given = runs_of(runs, "film")
    games = [Game(run.config, run.newest_weights if checkpoint is None else run.weights_at(checkpoint), seed)
             for run in given]  # fmt: skip
    names, of = labels(given), "newest checkpoint" if checkpoint == "newest" else f"checkpoint of epoch {checkpoint}"
    frames = list(_frames(games, names, "" if checkpoint is None else f" · {of}"))
    earned = ", ".join(f"{name}: {fixed(game.rewards.sum())}" for name, game in zip(names, games, strict=True))
    weights = "" if checkpoint is None else f", weights of the {of}"
    return Film(frames, f"one greedy epoch{weights}, seed {seed}; reward of {earned}")


@own_settings()
def stage(games: Sequence[Game], names: Sequence[str], dpi: float = DPI) -> tuple[Picture, list["Scene"]]:
    """A figure of the games side by side, with nothing drawn yet."""
    columns = min(len(games), MAX_COLUMNS)
    rows = -(-len(games) // columns)
    width, height, edge = 3.9 * columns, 6.4 * rows, 0.16
    figure = Picture(figsize=(width, height), dpi=dpi, facecolor="white")
    grid = figure.add_gridspec(rows, columns, wspace=0.08, hspace=0.24)
    scenes = [Scene(figure, grid[place], game, names[place]) for place, game in enumerate(games)]
    figure.subplots_adjust(edge / width, 0.5 / height, 1 - edge / width, 1 - 0.42 / height)
    return figure, scenes


def _frames(games: Sequence[Game], names: Sequence[str], weights: str) -> Iterator[bytes]:
    """The games side by side, turn by turn, as PNG."""
    figure, scenes = stage(games, names)
    while True:
        for scene in scenes:
            scene.draw(weights)
        yield to_png(figure, colours=COLOURS)
        if all(game.over for game in games):
            return
        for game in games:
            game.play_to(0)


class Scene:
    """A game: its board or its picture, if it has either, above the values of moves."""

    def __init__(self, figure: Picture, place: SubplotSpec, game: Game, name: str) -> None:
        self._game, self._name = game, name
        picture = None if game.mapped else game.picture
        heights = (0.1, 4.6) if game.unseen else (3.3, 1.4)
        inner = place.subgridspec(2, 2, height_ratios=heights, width_ratios=(0.2, 0.8), hspace=0.3)
        axes = figure.add_subplot(inner[0, :], frame_on=False, xticks=[], yticks=[])
        self._parts: list[Values | Board | Still] = [Values(figure.add_subplot(inner[1, 1]), heights[1])]
        if game.mapped:
            self._parts.append(Board(axes, game))
        elif picture is not None:
            self._parts.append(Still(axes, picture))
        self._head = axes.set_title("", loc="left", fontsize=SCREEN.title, color=INK)
        self._foot = axes.text(0, -0.03, "", transform=axes.transAxes, va="top", fontsize=SCREEN.small, color=GREY)

    @own_settings()
    def draw(self, weights: str = "") -> None:
        """Show the game as it is now, and whose weights play."""
        game = self._game
        for part in self._parts:
            part.show(game)
        self._head.set_text(f"{self._name}: reward {fixed(game.rewards.sum())}")
        said = f" · {game.gems} gems" * game.mapped + f" · no picture: {game.unseen[:40]}" * bool(game.unseen)
        self._foot.set_text(when(game) + said + weights)

"""A greedy epoch of one or more runs as a film: the games side by side, turn by turn.

All games have the same random stream, so they begin alike and differ by what the agents do. The same runs and seed give
the same bytes.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from workbench.runs.compare import Comparison, runs_of
from workbench.runs.files import at, write_whole
from workbench.runs.loaded import RunView
from workbench.runs.naming import labels
from workbench.runs.table import fixed
from workbench.view.world.drawing import image
from workbench.view.world.game import Game

# Size of a game in a film, compared to the view in a notebook.
SCALE = 0.7
# Colours of a frame: enough for a few flat ones and the smooth edges between them.
COLOURS = 32
# Milliseconds that a turn is shown.
TURN_MS = 250
# Milliseconds that the end is shown.
LAST_MS = 2000
MAX_COLUMNS = 3


class Film:
    """The frames of an epoch. Shown as an animation in a notebook; :meth:`save` writes it to a file."""

    def __init__(self, frames: Sequence[Image.Image], alt: str) -> None:
        """Take the frames, and what they show in words."""
        self.frames, self.alt = tuple(frames), alt

    def save(self, path: Path | str) -> Path:
        """Write the film as an animation, a ``.gif``.

        Raises:
            ValueError: the suffix is another.
        """
        path = at(path)
        if path.suffix != ".gif":
            raise ValueError(f"cannot save a film as {path.name!r}; the name must end in .gif")
        write_whole(path, self.gif())
        return path

    def gif(self) -> bytes:
        """The bytes of an animation that repeats forever."""
        first, *others = self.frames
        target, times = io.BytesIO(), [TURN_MS] * len(others) + [LAST_MS]
        first.save(target, "gif", save_all=True, append_images=others, duration=times, loop=0)
        return target.getvalue()

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
    frames = list(_frames(games, [name if checkpoint is None else f"{name}, {of}" for name in names]))
    earned = ", ".join(f"{name}: {fixed(game.rewards.sum())}" for name, game in zip(names, games, strict=True))
    weights = "" if checkpoint is None else f", weights of the {of}"
    return Film(frames, f"one greedy epoch{weights}, seed {seed}; reward of {earned}")


def _frames(games: Sequence[Game], names: Sequence[str]) -> Iterator[Image.Image]:
    """The games side by side, turn by turn."""
    columns = min(len(games), MAX_COLUMNS)
    while True:
        drawn = [image(game, name, SCALE) for game, name in zip(games, names, strict=True)]
        width, height = drawn[0].size
        sheet = Image.new("RGB", (columns * width, -(-len(games) // columns) * height), "white")
        for place, each in enumerate(drawn):
            sheet.paste(each, (place % columns * width, place // columns * height))
        yield sheet.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        if all(game.over for game in games):
            return
        for game in games:
            game.play_to(0)

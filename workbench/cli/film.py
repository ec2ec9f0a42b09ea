"""``workbench film``: a greedy epoch of some runs, side by side, as an animation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from workbench.cli.options import at_least, load_named
from workbench.core.config import ConfigError


@dataclass(frozen=True)
class FilmOptions:
    """Play one greedy epoch with the final weights of each run, or those of a checkpoint, and film it: the runs side
    by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs, or their names in data/runs."""
    out: Path
    """File to write: .gif for an animation, .html for a page with a slider."""
    seed: int = 0
    """Of the random stream that all games share; it is none of the runs'."""
    checkpoint: int | Literal["newest"] | None = None
    """Epoch of the checkpoint whose weights play, or "newest". Default: the final weights."""


def film(arguments: list[str]) -> int:
    """Load the runs, play, write the file and say what was earned."""
    options = tyro.cli(FilmOptions, prog="workbench film", args=arguments)
    if not options.runs:
        raise ConfigError("no run is given; name at least one run folder")
    if options.out.suffix not in (".gif", ".html"):
        raise ConfigError(f"--out is {options.out}; its name must end in .gif or .html")
    at_least(0, seed=options.seed)
    from workbench.view.world.film import film as play  # here, so that matplotlib is read when a figure is drawn

    made = play([load_named(path) for path in options.runs], options.seed, checkpoint=options.checkpoint)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    made.save(options.out)
    print(f"{made.alt}\nwritten: {options.out}")
    return 0

"""Environments of other libraries, end to end in both modes and after a kill: ``python -m tests.campaigns.worlds``."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench
from tests.campaigns.command_line import command, parse, say, start
from tests.campaigns.reference_files import RunsFile
from workbench.cli.options import AllSettings
from workbench.core.config import Config
from workbench.runs.folder import reference_path

# By name: the world and its arguments. The agents of the last one die one after the other. Zombies come in each of its
# turns: with a longer delay the turns since the last one outlive an episode, and its seed does not decide the next.
WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "cart pole": ("gymnasium:CartPole-v1", {}),
    "minigrid": ("gymnasium:minigrid:MiniGrid-Empty-5x5-v0", {"observation_keys": ("image", "direction")}),
    "spread": ("pettingzoo:mpe2.simple_spread_v3", {}),
    "speaker and listener": ("pettingzoo:mpe2.simple_speaker_listener_v4", {}),
    "knights and archers": ("pettingzoo:butterfly/knights_archers_zombies-v11", {"env_args": {"spawn_delay": 1}}),
}
LAGS = (0, 1, 3, None)
SETTINGS = {
    "world.max_turns": 100, "replay.capacity": 600, "checkpoint.interval": 3, "pacing.updates_per_epoch": 16,
    "learning.learning_rate": 1e-2, "learning.learning_rate_end": 1e-2,  # so that staleness makes a difference
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Run five environments for seconds each: at finite lags all digests must be equal, also of a run that was killed.

    What the file holds is not run again.
    """

    config: AllSettings
    out: Path | None = None
    """File to write. Default: data/reference/worlds.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


def tried(config: Config, name: str, lag: int | None, folder: str) -> dict[str, Any]:
    """Both modes of one world at one lag, and a third run that is killed half-way and resumed."""
    world, arguments = WORLDS[name]
    config = config.replace(world=world, **{f"world.{key}": value for key, value in arguments.items()} | SETTINGS)
    modes = ("multiprocess",) if lag is None else ("sequential", "multiprocess")
    runs = []
    for mode in modes:
        runs.append(workbench.launch(config, mode, lag, out=folder))
        result = runs[-1].wait()
    killed = workbench.launch(config, "multiprocess", lag, out=folder)
    while killed.progress["epochs"] < config.epochs // 2 and not killed.ended:
        time.sleep(0.005)
    killed.stop(now=True)
    again = workbench.resume(killed.folder.path)
    digests = [run.result.digest for run in (*runs, again) if run.wait()]
    return {
        "world": name, "lag": lag, "unseeded": config.world.unseeded(), "agents": config.num_agents,
        "equal": None if lag is None else all(digest == digests[0] for digest in digests),
        "episodes": len(runs[-1].history["episode/return"]), "updates": result.updates, "digest": digests[0],
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run what the file does not hold yet; exit with 1 if any digests differ."""
    options = parse("worlds", arguments, lambda config: Options(workbench.preset("tiny").replace(device="cpu")))
    path = options.out or reference_path("worlds.json")
    file = RunsFile(path, options.config, command("worlds", arguments), fresh=options.fresh)
    there = {(run["world"], run["lag"]) for run in file.runs}
    for name, lag in [(name, lag) for name in WORLDS for lag in LAGS if (name, lag) not in there]:
        with tempfile.TemporaryDirectory() as folder:
            file.keep(tried(options.config, name, lag, folder))
        say(f"{name}, lag {'free' if lag is None else lag}: {file.runs[-1]}")
    print(f"written: {path}")
    return int(any(run["equal"] is False for run in file.runs))


if __name__ == "__main__":
    start("worlds")

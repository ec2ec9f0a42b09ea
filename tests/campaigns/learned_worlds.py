"""Whether both agents learn worlds of other libraries: ``python -m tests.campaigns.learned_worlds``.

Runs are sequential, one on each core. What an agent earns in a world whose episodes end is the mean return of its
greedy episodes after training; where all agents are paid for the whole epoch, it is the greedy reward of that.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import workbench
from tests.campaigns.command_line import command, parse, say, start
from tests.campaigns.reference_files import RunsFile, interval
from workbench.cli.options import AllSettings
from workbench.core.config import Config
from workbench.runs.folder import reference_path

AGENTS = ("iqn", "dqn")
# The same for both worlds and agents.
COMMON = {
    "device": "cpu", "agent.num_frames": 1, "agent.width": 64, "evaluation.interval": 0, "checkpoint.interval": 0,
    "processes.learners": "auto",
}  # fmt: skip


class World(NamedTuple):
    """A world that is to be learned: its name, how many seeds, and what the runs have set."""

    world: str
    seeds: int
    settings: dict[str, Any]


WORLDS = {
    "cart pole": World("gymnasium:CartPole-v1", 3, {
        "epochs": 100, "world.max_turns": 500, "replay.learning_starts": 1000, "pacing.updates_per_epoch": 250,
        "agent.width": 128, "learning.tau": 0.005, "learning.learning_rate": 1e-3,
        "learning.learning_rate_end": 1e-5, "learning.grad_clip": 10.0, "exploration.decay_epochs": 20,
        "evaluation.final_worlds": 16,
    }),
    "spread": World("pettingzoo:mpe2.simple_spread_v3", 5, {
        "epochs": 400, "world.max_turns": 25, "replay.capacity": 10_000, "replay.window": 8000,
        "replay.learning_starts": 500, "pacing.updates_per_epoch": 12, "learning.tau": 0.02, "learning.gamma": 0.9,
        "learning.learning_rate": 1e-3, "exploration.decay_epochs": 200, "evaluation.final_worlds": 128,
    }),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Train both agents in every world, with seeds enough for a verdict; what the file holds is not run again.

    The exit code is 1 unless cart pole is balanced for 400 turns in the mean, and spread is better than by chance.
    """

    config: AllSettings
    out: Path | None = None
    """File to write. Default: data/reference/learned_worlds.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


class Case(NamedTuple):
    """One run."""

    world: str
    agent: str
    seed: int


def trained(config: Config, case: Case) -> dict[str, Any]:
    """Train, and say what came of it."""
    world = WORLDS[case.world]
    config = config.replace(world=world.world, agent=case.agent, seed=case.seed).replace(**COMMON | world.settings)
    with tempfile.TemporaryDirectory() as folder:
        run = workbench.launch(config, "sequential", 0, out=folder, probes=False)
        result = run.wait()
        episodes = run.history.table("greedy_episodes")
        returns = episodes["episode_return"][episodes["final"] == 1]
        return {
            **case._asdict(), "episode_return": float(np.mean(returns)), "episodes": len(returns),
            "greedy_reward": result.greedy_reward, "random": run.references["random"]["mean"],
            "agent_steps": config.epochs * config.steps_per_epoch, "updates": result.updates,
            "wall_s": round(result.wall_s, 1), "digest": result.digest,
        }  # fmt: skip


class LearnedFile(RunsFile):
    """The runs, and what each agent learned in each world."""

    def table(self) -> dict[str, Any]:
        """The runs; by world and agent the mean return of an episode, and the gain over chance."""
        table = []
        for world, agent in dict.fromkeys((run["world"], run["agent"]) for run in self.runs):
            of = [run for run in self.runs if (run["world"], run["agent"]) == (world, agent)]
            table.append({
                "world": world, "agent": agent, "seeds": len(of),
                "episode_return": interval([run["episode_return"] for run in of]),
                "more_than_random": interval([run["greedy_reward"] - run["random"] for run in of]),
            })  # fmt: skip
        return {"table": table, "runs": self.runs}


def is_learned(table: list[dict[str, Any]]) -> bool:
    """Whether every agent learned every world, as the class of the options says."""
    there = {(line["world"], line["agent"]) for line in table}
    return there == {(world, agent) for world in WORLDS for agent in AGENTS} and all(map(_is_learned, table))


def _is_learned(line: dict[str, Any]) -> bool:
    if line["seeds"] < WORLDS[line["world"]].seeds:
        return False
    if line["world"] == "cart pole":
        return float(line["episode_return"]["value"]) >= 400
    return float(line["more_than_random"]["low"]) > 0


def main(arguments: list[str]) -> int:
    """Run what the file does not hold yet; after every run the file is whole."""
    options = parse("learned_worlds", arguments, Options)
    path = options.out or reference_path("learned_worlds.json")
    file = LearnedFile(path, options.config, command("learned_worlds", arguments), fresh=options.fresh)
    there = {Case(run["world"], run["agent"], run["seed"]) for run in file.runs}
    every = [Case(name, agent, s) for name, world in WORLDS.items() for s in range(world.seeds) for agent in AGENTS]
    missing = [case for case in every if case not in there]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for made in pool.map(lambda case: trained(options.config, case), missing):
            file.keep(made)
            earned, chance = f"an epoch {made['greedy_reward']:.1f}", f"against {made['random']:.1f} by chance"
            case = f"{made['world']}, {made['agent']}, seed {made['seed']}"
            say(f"{case}: an episode earns {made['episode_return']:.1f}, {earned} {chance}; {made['wall_s']} s")
    print(f"written: {path}")
    return 0 if is_learned(file.data["table"]) else 1


if __name__ == "__main__":
    start("learned_worlds")

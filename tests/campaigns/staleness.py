"""What old weights cost, with seeds enough for an interval: ``python -m tests.campaigns.staleness``.

At a finite lag both modes give the same bits, so these runs are sequential, one on each core. A run that is free has
the machine to itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import workbench
from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import RunsFile, interval
from workbench.cli.options import AllSettings, PresetName
from workbench.core.config import Config
from workbench.runs.folder import reference_path

LAGS: tuple[int | None, ...] = (0, 1, 3, 8, 16, None)
STALE: tuple[int | None, ...] = (3, 8, None)
SPREAD = {
    "world": "pettingzoo:mpe2.simple_spread_v3", "world.max_turns": 25, "agent.num_frames": 1,
    "learning.learning_rate": 1e-3,
}  # fmt: skip


class Variant(NamedTuple):
    """What is tried at which lags, and the variant that it is compared with; by default itself at lag 0."""

    lags: tuple[int | None, ...]
    settings: dict[str, Any]
    beside: str = ""


_DQN = {"agent": "dqn", "agent.width": 64}
# By name. The corrections are Double DQN's, so it is beside them without one.
VARIANTS = {
    "IQN": Variant(LAGS, {}),
    "IQN, prioritised": Variant(STALE, {"replay.sampler": "prioritised"}, "IQN"),
    "IQN, max_age": Variant(STALE, {}, "IQN"),
    "Double DQN": Variant((0, *STALE), _DQN),
    "Double DQN, cut": Variant(STALE, {**_DQN, "learning.correction": "cut"}, "Double DQN"),
    "Double DQN, Retrace": Variant(STALE, {**_DQN, "learning.correction": "retrace"}, "Double DQN"),
    "IQN, simple_spread": Variant(LAGS, SPREAD),
}


@dataclass(frozen=True)
class Options:
    """Train at every lag, with seeds enough for an interval; runs that the file holds are not made again.

    The file grows seed by seed, so that every variant has as many.
    """

    config: AllSettings
    preset: PresetName = "small"
    """Named settings to start from; every other option changes one of them."""
    num_seeds: int = 10
    """Seeds, from 0."""
    out: Path | None = None
    """File to write. Default: data/reference/staleness.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


class Case(NamedTuple):
    """One run of the study."""

    seed: int
    variant: str
    lag: int | None


def cases(num_seeds: int) -> Iterator[Case]:
    """Every run, seed by seed; those that are free come last of their seed."""
    for seed in range(num_seeds):
        of_seed = [Case(seed, name, lag) for name, variant in VARIANTS.items() for lag in variant.lags]
        yield from sorted(of_seed, key=lambda case: case.lag is None)


def trained(config: Config, case: Case) -> dict[str, Any]:
    """Train, and say what came of it."""
    settings = dict(VARIANTS[case.variant].settings)
    if "max_age" in case.variant:  # twice as old as the lag makes the newest rows
        settings["replay.max_age"] = 2 * ((case.lag or 0) + 1)
    mode = "multiprocess" if case.lag is None else "sequential"
    with tempfile.TemporaryDirectory() as folder:
        run = workbench.launch(config.replace(seed=case.seed, **settings), mode, case.lag, out=folder, probes=False)
        result = run.wait()
        return {
            **case._asdict(), "greedy_reward": result.greedy_reward, "random": run.references["random"]["mean"],
            "sync_lag": result.sync_lag["versions"], "updates": result.updates, "wall_s": round(result.wall_s, 1),
            "digest": result.digest,
        }  # fmt: skip


class StalenessFile(RunsFile):
    """The runs, and what each variant earns at each lag."""

    def table(self) -> dict[str, Any]:
        """The runs; by variant and lag the greedy reward, and how much more that is, seed by seed, than without it.

        Without it means the same lag without the correction, or lag 0 where there is none.
        """
        rewards: dict[tuple[str, int | None], dict[int, float]] = {}
        for run in self.runs:
            rewards.setdefault((run["variant"], run["lag"]), {})[run["seed"]] = run["greedy_reward"]
        table = []
        for (variant, lag), of in rewards.items():
            beside = VARIANTS[variant].beside
            base = rewards.get((beside, lag) if beside else (variant, 0), {})
            pairs = [of[seed] - base[seed] for seed in sorted(of) if seed in base]
            row: dict[str, Any] = {"variant": variant, "lag": lag, "seeds": len(of)}
            row["greedy_reward"] = interval(list(of.values()))
            if pairs and base is not of:
                row["more_than"] = {
                    "variant": beside or variant,
                    "lag": lag if beside else 0,
                    **interval(pairs),
                }
            table.append(row)
        return {"table": table, "runs": self.runs}


def main(arguments: list[str]) -> int:
    """Run what the file does not hold yet; after every run the file is whole."""
    options = parse("staleness", ["--preset", "small", *arguments], Options)  # the last preset holds
    at_least(1, num_seeds=options.num_seeds)
    config = options.config.replace(device="cpu", **{"processes.learners": "auto", "evaluation.interval": 0})
    room = config.replay.window + 20 * config.steps_per_epoch  # what the largest lag needs
    config = config.replace(**{"replay.capacity": max(config.replay.capacity, room)})
    path = options.out or reference_path("staleness.json")
    file = StalenessFile(path, config, command("staleness", arguments), fresh=options.fresh)
    there = {Case(run["seed"], run["variant"], run["lag"]) for run in file.runs}
    missing = [case for case in cases(options.num_seeds) if case not in there]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for seed in sorted({case.seed for case in missing}):
            of_seed = [case for case in missing if case.seed == seed]
            bound = [case for case in of_seed if case.lag is not None]
            for made in pool.map(lambda case: trained(config, case), bound):
                _keep(file, made)
            for case in of_seed[len(bound) :]:
                _keep(file, trained(config, case))
    finally:  # after an interruption no further run is begun
        pool.shutdown(cancel_futures=True)
    print(f"written: {path}")
    return 0


def _keep(file: StalenessFile, made: dict[str, Any]) -> None:
    file.keep(made)
    say(f"seed {made['seed']}, {made['variant']}, lag {made['lag']}: {made['greedy_reward']:.1f} in {made['wall_s']} s")


if __name__ == "__main__":
    start("staleness")

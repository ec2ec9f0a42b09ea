"""What both modes reach with several seeds: ``python -m tests.campaigns.learning``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench
from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.policies import POLICY_EPOCHS
from tests.campaigns.reference_files import RunsFile
from workbench.cli.options import AllSettings, PresetName
from workbench.cli.progress import follow
from workbench.core.agents.staging import resolve_device
from workbench.core.config import MODES, Config, Mode
from workbench.runs.folder import RecordError, reference_path
from workbench.runs.reference_policies import reference_rewards
from workbench.runs.run import Run


@dataclass(frozen=True)
class Options:
    """Train with several seeds in both modes, one run after the other; runs that the file holds are not made again."""

    config: AllSettings
    preset: PresetName = "treasurehunt"
    """Named settings to start from; every other option changes one of them."""
    num_seeds: int = 5
    """Seeds, counted up from --seed."""
    lag: int = 1
    """Lag of both modes, in epochs."""
    out: Path | None = None
    """File to write. Default: data/reference/learning.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


class LearningFile(RunsFile):
    """What both modes reach with several seeds."""

    def __init__(self, path: Path, config: Config, device: str, command: str, fresh: bool = False) -> None:
        """Open the file, or begin it; see :class:`RunsFile`."""
        super().__init__(path, config, command, device, fresh)
        self._policies = reference_rewards(config.world, POLICY_EPOCHS, config.seed)

    def missing(self, seeds: Sequence[int], lag: int) -> Iterator[tuple[int, Mode]]:
        """Seeds and modes that the file does not hold yet."""
        there = {(run["mode"], run["lag"], run["seed"]) for run in self.runs}
        return ((seed, mode) for seed in seeds for mode in MODES if (mode, lag, seed) not in there)

    def table(self) -> dict[str, Any]:
        """The runs, and what the reference policies earn."""
        return {"runs": self.runs, "policies": self._policies}

    def add(self, run: Run) -> None:
        """Add a finished run and write the file.

        Raises:
            RecordError: the run has not finished.
        """
        if run.status != "finished":
            raise RecordError(f"run {run.name} is {run.status}; only finished runs are kept in {self.path}")
        result = run.result
        self.keep({
            "mode": run.mode, "lag": run.lag, "seed": result.seed, "greedy_reward": result.greedy_reward,
            "reward_last_tenth": result.reward["last_tenth"], "wall_s": result.wall_s, "updates": result.updates,
            "digest": result.digest,
        })  # fmt: skip


def main(arguments: list[str]) -> int:
    """Train with several seeds in both modes; after every run the file is whole, so an interruption loses one run."""
    options = parse("learning", arguments, Options)
    at_least(1, num_seeds=options.num_seeds)
    config, out = options.config, options.out or reference_path("learning.json")
    device = str(resolve_device(config.device))
    file = LearningFile(out, config, device, command("learning", arguments), options.fresh)
    for seed, mode in file.missing(range(config.seed, config.seed + options.num_seeds), options.lag):
        say(f"seed {seed}, {mode}")
        made = workbench.launch(config.replace(seed=seed), mode, options.lag, start=False)
        follow(made, [made])
        file.add(made)
        print(f"seed {seed}, {mode}: greedy reward {made.result.greedy_reward:.1f}", flush=True)
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    start("learning")

"""What matrix products in bfloat16 cost in reward, paired by seed: ``python -m tests.campaigns.precision``."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import workbench
from tests.campaigns.command_line import at_least, command, parse, start
from tests.campaigns.difference import paired_difference
from tests.campaigns.reference_files import RunsFile
from workbench.cli.options import AllSettings, PresetName
from workbench.core.agents.staging import resolve_device
from workbench.runs.folder import reference_path

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """Train with several seeds in both precisions, the two of a seed at once; what the file holds is not made again."""

    config: AllSettings
    preset: PresetName = "treasurehunt"
    """Named settings to start from; every other option changes one of them."""
    num_seeds: int = 10
    """Seeds, counted up from --seed."""
    out: Path | None = None
    """File to write. Default: data/reference/precision.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


class PrecisionFile(RunsFile):
    """Greedy rewards of both precisions, and by how much they differ."""

    def table(self) -> dict[str, Any]:
        """The runs, and the mean of the differences of pairs with its 95 % interval."""
        rewards = {(run["precision"], run["seed"]): run["greedy_reward"] for run in self.runs}
        seeds = sorted({seed for precision, seed in rewards if all((each, seed) in rewards for each in PRECISIONS)})
        if len(seeds) < 2:
            return {"runs": self.runs}
        pairs = ([rewards[precision, seed] for seed in seeds] for precision in reversed(PRECISIONS))
        difference, chance = paired_difference(*pairs)
        return {"runs": self.runs, "pairs": len(seeds), "bfloat16_less_float32": asdict(difference), "chance": chance}


def main(arguments: list[str]) -> int:
    """Train; after every seed the file is whole, so an interruption loses one."""
    options = parse("precision", arguments, Options)
    at_least(1, num_seeds=options.num_seeds)
    out = options.out or reference_path("precision.json")
    device, asked = str(resolve_device(options.config.device)), command("precision", arguments)
    file = PrecisionFile(out, options.config, asked, device, options.fresh)
    there = {(run["precision"], run["seed"]) for run in file.runs}
    for seed in range(options.config.seed, options.config.seed + options.num_seeds):
        missing = [each for each in PRECISIONS if (each, seed) not in there]
        configs = {each: options.config.replace(seed=seed, **{"learning.precision": each}) for each in missing}
        with tempfile.TemporaryDirectory(prefix="workbench-precision-") as folder:
            runs = {each: workbench.launch(config, "sequential", 1, out=folder) for each, config in configs.items()}
            for precision, run in runs.items():
                result = run.wait()
                reward = result.greedy_reward
                file.keep({"precision": precision, "seed": seed, "greedy_reward": reward, "digest": result.digest})
                print(f"seed {seed}, {precision}: greedy reward {reward:.1f}", flush=True)
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    start("precision")

"""What the reference policies earn that learn nothing: ``python -m tests.campaigns.policies``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.command_line import at_least, command, parse, start
from tests.campaigns.reference_files import provenance, write_json
from workbench.cli.options import PresetName
from workbench.core.config import ConfigError
from workbench.core.envs.base import WorldConfig
from workbench.runs.folder import reference_path
from workbench.runs.reference_policies import reference_policies, reference_rewards

POLICY_EPOCHS = 2000
"""Epochs behind a reference policy's mean: its standard error is then well below one gem."""


@dataclass(frozen=True)
class Options:
    """Measure the policies that learn nothing: uniform random, random without walls, scripted (nearest gem in view)."""

    world: WorldConfig
    preset: PresetName = "treasurehunt"
    """Named settings whose world is played."""
    epochs: int = POLICY_EPOCHS
    """Epochs that each policy plays, 2 or more."""
    seed: int = 0
    """Root of the random streams."""
    out: Path | None = None
    """File to write. Default: data/reference/policies.json."""


def main(arguments: list[str]) -> int:
    """Measure the reference policies, write the file, print a line for each."""
    options = parse("policies", arguments, lambda config: Options(config.world))
    if options.epochs < 2:
        raise ConfigError(f"epochs is {options.epochs}; a standard deviation needs at least 2")
    at_least(0, seed=options.seed)
    out = options.out or reference_path("policies.json")
    measured = reference_rewards(options.world, options.epochs, options.seed)
    origin = {"world": options.world.to_dict(), "seed": options.seed}
    write_json(out, {**measured, **origin, **provenance(command("policies", arguments))})
    for name in reference_policies(options.world):
        print(f"{name:16} {measured[name]['mean']:8.1f} +- {measured[name]['sd']:.1f} per epoch, all agents")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    start("policies")

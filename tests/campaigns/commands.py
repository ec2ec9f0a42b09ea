"""``workbench policies``, ``workbench learning``, ``workbench bench``: the commands that make the reference files."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import workbench
from tests.campaigns.reference_files import (
    POLICY_EPOCHS,
    LearningRecord,
    machine_label,
    measure_policies,
    reference_path,
    write_json,
)
from workbench.cli.options import AllSettings, PresetName, at_least, parse
from workbench.cli.progress import follow
from workbench.core.agents.staging import resolve_device
from workbench.core.config import ConfigError, WorldConfig
from workbench.runs.reference_policies import POLICIES


@dataclass(frozen=True)
class PoliciesOptions:
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


def policies(arguments: list[str]) -> int:
    """Measure the reference policies, write the file, print a line for each."""
    options = parse("policies", arguments, lambda config: PoliciesOptions(config.world))
    if options.epochs < 2:
        raise ConfigError(f"epochs is {options.epochs}; a standard deviation needs at least 2")
    at_least(0, seed=options.seed)
    out = options.out or reference_path("policies.json")
    measured = measure_policies(options.world, options.epochs, options.seed, _command("policies", arguments))
    write_json(out, measured)
    for name in POLICIES:
        print(f"{name:16} {measured[name]['mean']:8.1f} +- {measured[name]['sd']:.1f} per epoch, all agents")
    print(f"written: {out}")
    return 0


@dataclass(frozen=True)
class LearningOptions:
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
    """Begin anew instead of going on with the file."""


def learning(arguments: list[str]) -> int:
    """Train with several seeds in both modes; after every run the file is whole, so an interruption loses one run."""
    options = parse("learning", arguments, LearningOptions)
    at_least(1, num_seeds=options.num_seeds)
    config, out = options.config, options.out or reference_path("learning.json")
    device = str(resolve_device(config.device))
    record = LearningRecord(out, config, device, _command("learning", arguments), options.fresh)
    for seed, mode in record.missing(range(config.seed, config.seed + options.num_seeds), options.lag):
        print(f"seed {seed}, {mode}", file=sys.stderr)
        made = workbench.launch(config.replace(seed=seed), mode, options.lag, start=False)
        follow(made, [made])
        record.add(made)
        print(f"seed {seed}, {mode}: greedy reward {made.result.greedy_reward:.1f}", flush=True)
    print(f"written: {out}")
    return 0


@dataclass(frozen=True)
class BenchOptions:
    """Measure every part and the whole, as ratios within one run, on a machine that does nothing else meanwhile."""

    device: str = "auto"
    """Where updates are computed: "cpu", "cuda", "cuda:1", "mps", or "auto" (CUDA, then MPS, then CPU)."""
    out: Path | None = None
    """File to write. Default: data/reference/bench_MACHINE.json, named by device and cores."""
    quick: bool = False
    """Less work per measurement: to see that everything runs, not to quote."""
    panel: bool = False
    """Measure what an open panel costs instead; into data/reference/panel.json."""
    minutes: float = 0.0
    """With --panel: watch one panel for so long, and see whether memory or notebook grow."""

    def __post_init__(self) -> None:
        if not 0 <= self.minutes <= 1e5 or (self.minutes and not self.panel):
            raise ConfigError(f"minutes is {self.minutes}; it must be 0 to 100000, and goes with --panel")


def bench(arguments: list[str]) -> int:
    """Measure the speed of this machine and write the file."""
    from tests.campaigns.bench import run_bench  # here, since no other command needs it

    options = parse("bench", arguments, lambda _: BenchOptions())
    if options.panel:
        return _bench_panel(options, arguments)
    device = str(resolve_device(options.device))
    return run_bench(device, options.out or reference_path(f"bench_{machine_label(device)}.json"), options.quick)


def _bench_panel(options: BenchOptions, arguments: list[str]) -> int:
    from tests.campaigns.bench.panel import run_panel  # here, since it needs what only a front end does

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    out = options.out or reference_path("panel.json")
    data = run_panel(out, _command("bench", arguments), say, options.minutes, options.quick)
    for bar, holds in data["held"].items():
        print(f"{bar}: {'holds' if holds else 'DOES NOT HOLD'}")
    print(f"written: {out}")
    return 0 if all(data["held"].values()) else 1


def _command(name: str, arguments: list[str]) -> str:
    return shlex.join(["workbench", name, *arguments])

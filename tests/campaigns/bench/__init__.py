"""How fast the parts are, as ratios measured side by side in one run: ``python -m tests.campaigns.bench``.

Absolute times depend on the machine; each figure therefore comes with what it is compared to, measured in turn with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.campaigns.bench import card, launches, learners, many, panel, parts, peers, runs, watching
from tests.campaigns.command_line import command, parse, say
from tests.campaigns.reference_files import machine_label, write_json
from workbench.core.agents.staging import resolve_device
from workbench.core.config import ConfigError
from workbench.runs import machine
from workbench.runs.folder import reference_path
from workbench.runs.presets import preset


@dataclass(frozen=True)
class Options:
    """Measure every part and the whole, as ratios within one run, on a machine that does nothing else meanwhile."""

    device: str = "auto"
    """Where updates are computed: "cpu", "cuda", "cuda:1", "mps", or "auto" (CUDA, then MPS, then CPU). On a card only
    what a card changes is measured, into data/reference/card_MACHINE.json, in less than five minutes."""
    out: Path | None = None
    """File to write. Default: data/reference/bench_MACHINE.json, named by device and cores."""
    quick: bool = False
    """Less work per measurement: to see that everything runs, not to quote."""
    panel: bool = False
    """Measure what an open panel costs instead; into data/reference/panel.json."""
    learners: bool = False
    """Measure updates per second of all agents instead, eager, grouped and fused, with 5 to 50 agents."""
    scaling: bool = False
    """Measure instead how runs scale with the machine's cores."""
    minutes: float = 0.0
    """With --panel: watch one panel for this long, and see whether memory or notebook grow."""

    def __post_init__(self) -> None:
        if not 0 <= self.minutes <= 1e5 or (self.minutes and not self.panel):
            raise ConfigError(f"minutes is {self.minutes}; it must be 0 to 100000, and needs --panel")


def main(arguments: list[str]) -> int:
    """Measure the speed of this machine, or what a panel costs, and write the file."""
    options, asked = parse("bench", arguments, lambda _: Options()), command("bench", arguments)
    if options.panel:
        out = options.out or reference_path("panel.json")
        held = panel.run_panel(out, asked, say, options.minutes, options.quick)["held"]
        for bar, holds in held.items():
            print(f"{bar}: {'holds' if holds else 'DOES NOT HOLD'}")
        sound = all(held.values())
    elif options.scaling:
        out, sound = options.out or reference_path(f"scaling_{machine_label('cpu')}.json"), True
        learners.run_scaling(out, options.quick, asked, say)
    elif options.learners:
        device = resolve_device(options.device)
        out, sound = options.out or reference_path(f"learners_{machine_label(str(device))}.json"), True
        learners.run_learners(device, out, options.quick, asked, say)
    elif (device := resolve_device(options.device)).type == "cuda":
        out = options.out or reference_path(f"card_{machine_label(str(device))}.json")
        sound = all(card.run_card(device, out, options.quick, asked, say)["modes"]["identical"].values())
    else:
        out = options.out or reference_path(f"bench_{machine_label(str(device))}.json")
        sound = run_bench(device, out, options.quick, asked)["modes"]["identical"] is not False
    print(f"written: {out}")
    return 0 if sound else 1


def run_bench(device: torch.device, out: Path, quick: bool, asked: str) -> dict[str, Any]:
    """Measure everything; the file is written after each part.

    Args:
        device: where updates are computed.
        out: the file.
        quick: a tiny budget, to see that it works; the figures mean nothing then.
        asked: the command that is written as the origin.
    """
    parts.as_a_child()
    config = preset("tiny" if quick else "treasurehunt").replace(device=str(device), epochs=12 if quick else 60)
    config = config.replace(**{"exploration.decay_epochs": config.epochs // 2})
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "world": lambda: parts.world_speed(config, quick),
        "worlds of other libraries": lambda: parts.adapter_speed(quick),
        "acting": lambda: parts.acting_speed(config, quick),
        "update": lambda: parts.update_speed(config, device, quick),
        "replay": lambda: parts.replay_speed(config, quick),
        "prioritised": lambda: parts.prioritised_speed(config, quick),
        "weight store": lambda: parts.weight_store_speed(config, device, quick),
        "start-up": lambda: launches.start_up(config, quick),
        "modes": lambda: runs.modes(config, quick),
        "time to learn": lambda: runs.time_to_learn(quick),
        "peers": lambda: peers.beside_peers(quick),
        "watching": lambda: watching.watching(quick),
        "many runs": lambda: many.many_runs(quick),
    }
    report: dict[str, Any] = {
        "command": asked,
        "device": str(device),
        "device_name": machine.device_name(str(device)),
        "threads": 1,
        "machine": machine.describe(),
        "config": config.to_dict(),
    }
    for name, measure in sections.items():
        say(f"bench: {name}")
        report |= measure() if name == "modes" else {name: measure()}
        write_json(out, report)
    return report

"""``workbench bench``: how fast the parts are, as ratios measured side by side in one run, written as JSON.

Absolute times depend on the machine; each figure therefore comes with what it is compared to, measured in turn with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.campaigns.bench import parts, runs
from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config, preset
from workbench.runs import machine


def run_bench(device: str, out: Path, quick: bool) -> int:
    """Measure everything and write one JSON file.

    Args:
        device: where updates are computed; "auto" as in a configuration.
        out: the file to write.
        quick: a tiny budget, to see that it works; the figures mean nothing then.

    Returns:
        0, or 1 if runs that must be equal were not.
    """
    resolved = resolve_device(device)
    torch.set_num_threads(1)
    config = preset("tiny" if quick else "treasurehunt").replace(device=str(resolved), epochs=12 if quick else 60)
    config = config.replace(**{"exploration.decay_epochs": config.epochs // 2})
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "world": lambda: parts.world_speed(config, quick),
        "acting": lambda: parts.acting_speed(config, quick),
        "update": lambda: parts.update_speed(config, resolved, quick),
        "replay": lambda: parts.replay_speed(config, quick),
        "weight store": lambda: parts.weight_store_speed(config, resolved, quick),
        "ceiling": lambda: runs.ceiling(config, quick),
        "modes": lambda: runs.modes(config, quick),
    }
    if resolved.type == "cuda":
        sections["gpu"] = lambda: runs.large_batches(preset("gpu").replace(device=str(resolved)), quick)
    report: dict[str, Any] = {
        "command": f"workbench bench --device {device}",
        "device": str(resolved),
        "device_name": machine.device_name(str(resolved)),
        "threads": 1,
        "machine": machine.describe(),
        "config": config.to_dict(),
    }
    for name, measure in sections.items():
        print(f"bench: {name}", file=sys.stderr, flush=True)
        report[name] = measure()
    if "modes" in report and "ceiling" in report:
        report["of_ceiling"] = of_ceiling(report, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if report["modes"]["identical"] is not False else 1


def of_ceiling(report: dict[str, Any], config: Config) -> dict[str, float]:
    """Speed-ups at lag 1 as shares of what two independent copies of the update loop reach on this machine."""
    ceiling = report["ceiling"]["two_copies"]["speedup"]
    return {name: report["modes"]["speedup"][name] / ceiling for name in ("lag 1, auto", "lag 1, per agent")}

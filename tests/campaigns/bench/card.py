"""What a card is worth: updates of all agents in four ways beside the card's own bound, acting, whole runs, overheads.

One command, under five minutes: ``python -m tests.campaigns.bench --device cuda``. Results are written as they come.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.campaigns.bench import learners, parts
from tests.campaigns.reference_files import write_json
from workbench.api import launch
from workbench.core.config import Config
from workbench.core.train.loop import collect
from workbench.runs.evaluation import evaluation_config
from workbench.zoo.on_device import Graph, in_bfloat16

GOAL = 10.0
"""Captured and fused updates of 20 agents are to be that many times as many as those of a process for each agent."""


def run_card(device: torch.device, out: Path, quick: bool, asked: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything; the file is written after each part, and an interrupted one is continued."""
    parts.as_a_child()
    report = learners.begun(out, asked, device, "learners")
    base = Config().replace(device=str(device))
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "peaks": lambda: peaks(device, quick),
        "overheads": lambda: overheads(base, device, quick),
        "host and device": lambda: host_and_device(base, device, quick),
        "update": lambda: precisions(base, device, quick),
        "acting": lambda: acting(base, device, quick),
        "modes": lambda: modes(base, quick),
    }
    for name, measure in sections.items():
        if name not in report:
            say(f"bench: {name}")
            report[name] = measure()
            write_json(out, report)
    there = {(row["agents"], row["batch"]) for row in report["learners"]}
    for config in learners.sizes(base, quick):
        if (config.num_agents, config.learning.batch_size) not in there:
            say(f"bench: {config.num_agents} agents, batch {config.learning.batch_size}")
            row = learners.row(config, device, quick)
            report["learners"].append(row | {"bound": bound(config, device, report["peaks"], row["ways"])})
            report["gain"] = gain(report)
            report["held"] = report["gain"].get("20 agents, batch 64", 0.0) >= GOAL
            write_json(out, report)
    return report


def gain(report: dict[str, Any]) -> dict[str, float]:
    """By agents and batch: how many times as many updates a captured, fused learner makes as a process per agent."""
    return {
        f"{row['agents']} agents, batch {row['batch']}": (
            row["ways"]["fused, graph"]["updates_per_s"] / row["ways"]["eager, a process per agent"]["updates_per_s"]
        )
        for row in report["learners"]
        if "fused, graph" in row["ways"]
    }


# --- the card by itself ----------------------------------------------------------------------------------------------


def peaks(device: torch.device, quick: bool) -> dict[str, Any]:
    """What the card reaches: a large copy, counting bytes read and written, and large products in each precision."""
    size, repeats = (256, 2) if quick else (8192, 10)
    source = torch.randn(size * size * (1 if quick else 4), device=device)
    target = torch.empty_like(source)
    found = {"bytes_per_s": 2 * source.nbytes / _seconds(lambda: target.copy_(source), device, repeats)}
    before = torch.get_float32_matmul_precision()
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"), ("tf32", torch.float32, "high"), ("bfloat16", torch.bfloat16, "highest"),
    ):  # fmt: skip
        torch.set_float32_matmul_precision(precision)
        one, other = (torch.randn((size, size), device=device).to(dtype) for _ in range(2))
        multiply = partial(torch.mm, one, other, out=torch.empty_like(one))
        found[f"{name}_flop_per_s"] = 2 * size**3 / _seconds(multiply, device, repeats)
    torch.set_float32_matmul_precision(before)
    return found


def overheads(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Microseconds of a launch, alone and in a graph; of a batch's way to the card; of a snapshot's way back."""
    launches, repeats = 200, 3 if quick else 30
    number = torch.zeros(1, device=device)

    def launch_many() -> Any:
        for _ in range(launches):
            number.add_(1)
        return number

    found = {"launch_us": 1e6 * _seconds(launch_many, device, repeats) / launches}
    if device.type == "cuda":
        graph = Graph()
        graph.warm_up(launch_many)
        graph.capture(launch_many)
        found["launch_in_graph_us"] = 1e6 * _seconds(graph.replay, device, repeats) / launches
    agent: Any = config.agent.agent_class(config, 0, device)
    snapshot = np.empty(agent.parameters.vector.numel(), np.float32)
    found["upload_of_a_batch_us"] = 1e6 * _seconds(agent.staging.upload, device, repeats)
    found["bytes_of_a_batch"] = float(sum(array.nbytes for array in agent.staging.host.values()))
    found["snapshot_us"] = 1e6 * _seconds(lambda: agent.snapshot(snapshot), device, repeats)
    found["bytes_of_a_snapshot"] = float(snapshot.nbytes)
    return found


def host_and_device(base: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Of one update of 20 agents: microseconds for each agent of all that is done, and of the device's part alone."""
    config = base.replace(**{"world.num_agents": 2 if quick else 20})
    agents, updates = config.num_agents, 3 if quick else 50
    replays = [learners.filled(config, index) for index in range(agents)]
    found = {}
    for kind in ("eager", "fused", *(["graph"] if device.type == "cuda" else [])):
        learner: Any = learners.learner_of(config, kind, range(agents), replays, device)
        learners.make_updates(learner, 8)
        update = partial(learners.make_updates, learner)
        whole = _seconds(partial(update, updates), device, 1, warm_up=0) / updates
        descend = (
            partial(_each_descends, learner) if kind == "eager" else partial(learner.descend, (tuple(range(agents)),))
        )
        found[kind] = {
            "whole_us": 1e6 * whole / agents,
            "descend_us": 1e6 * _seconds(descend, device, 3 if quick else 20) / agents,
            "device_launches": _launches(partial(update, 1)) if device.type == "cuda" else 0,
        }
    return {"agents": agents, "by_learner": found}


def _each_descends(learner: Any) -> None:
    """The device's part of an update of each agent."""
    for agent in learner.agents.values():
        agent.descend()


def _launches(update: Callable[[], object]) -> int | str:
    """Kernels and copies that a card does in a call; why not, where the system does not let one look."""
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as seen:
            update()
        return sum(1 for event in seen.events() or () if str(event.device_type).endswith("CUDA"))
    except RuntimeError as error:
        return f"not seen: {error}"


def precisions(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Milliseconds of one agent's eager update by precision, with two sizes of batch, beside the bare products."""
    found = {}
    before = torch.get_float32_matmul_precision()
    for batch in (64,) if quick else (64, 1024):
        sized = config.replace(**{"learning.batch_size": batch, "replay.learning_starts": max(500, batch)})
        for name, precision in (("float32", "highest"), ("tf32", "high"), ("bfloat16", "highest")):
            torch.set_float32_matmul_precision(precision)
            agent: Any = sized.agent.agent_class(sized, 0, device)
            parts.fill(agent.batch, np.random.default_rng(0))
            if name == "bfloat16":
                in_bfloat16(agent)
            products = parts.matrix_products(sized, device)
            repeats = 3 if quick else 30
            both = partial(agent.update, 1e-4), products
            update, bare = parts.side_by_side(both, repeats, parts.waiting(device))
            found[f"{name}, batch {batch}"] = {"update_ms": 1e3 * update, "matrix_products_ms": 1e3 * bare}
    torch.set_float32_matmul_precision(before)
    return found


def bound(
    config: Config, device: torch.device, of_card: dict[str, float], ways: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The fewest seconds that the card needs for an update: its arithmetic, or the bytes that it must move.

    Bytes: weights, gradient, both moments and the target's weights read and written once, and a batch read.
    """
    agent: Any = config.agent.agent_class(config, 0, torch.device("cpu"))
    parts.fill(agent.batch, np.random.default_rng(0))
    with FlopCounterMode(display=False) as counted:
        agent.update(1e-4)
    size = agent.parameters.layout.size
    moved = 4 * size * 2 * 5 + sum(array.nbytes for array in agent.staging.host.values())
    arithmetic = counted.get_total_flops() / of_card["float32_flop_per_s"]
    seconds = max(arithmetic, moved / of_card["bytes_per_s"])
    return {
        "flop": counted.get_total_flops(), "bytes": moved, "by": "arithmetic" if arithmetic == seconds else "bytes",
        "updates_per_s": 1 / seconds,
        "share": {name: way["updates_per_s"] * seconds for name, way in ways.items()},
    }  # fmt: skip


# --- acting, and whole runs ------------------------------------------------------------------------------------------


def acting(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Agent steps per second of ``collect`` by number of worlds, with the networks on the CPU and on the card."""
    found: dict[str, dict[str, float]] = {}
    for worlds in (1, 16) if quick else (1, 64, 1024):
        task = evaluation_config(config, worlds)
        found[f"{worlds} worlds"] = {}
        for where in (torch.device("cpu"), device):
            world, replays, policies = parts.collecting_parts(task, where)
            versions = [0] * task.num_agents

            def play(world: Any = world, replays: Any = replays, policies: Any = policies) -> None:
                """One epoch."""
                collect(world, policies, replays, 0.1, versions)  # noqa: B023

            seconds = _seconds(play, device, 1, warm_up=0 if worlds > 64 else 1)
            found[f"{worlds} worlds"][where.type] = task.num_agents * task.steps_per_epoch / seconds
    return found


def modes(base: Config, quick: bool) -> dict[str, Any]:
    """Whole runs of the same work: seconds, rates, start-up, and whether those that should have the same bits."""
    config = base.replace(epochs=12 if quick else 24, **{"exploration.decay_epochs": 10})
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "cpu, sequential": ("sequential", {"device": "cpu"}),
        "cpu, a learner per agent": ("multiprocess", {"device": "cpu"}),
        "sequential": ("sequential", {}),
        "a learner per agent": ("multiprocess", {}),
        "fused, sequential": ("sequential", {"processes.learners": "fused"}),
        "fused": ("multiprocess", {"processes.learners": "fused"}),
        "fused, not captured": ("multiprocess", {"processes.learners": "fused", "learning.capture": "never"}),
    }
    found, digests = {}, {}
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        for name, (mode, changes) in ways.items():
            run = launch(config.replace(**changes), mode, 1, out=folder, probes=False, timeline=False)
            result = run.wait()
            digests[name] = result.digest
            found[name] = {
                "wall_s": result.wall_s, "startup_s": result.startup_s, "updates_per_s": result.updates / result.wall_s,
                "agent_steps_per_s": config.epochs * config.steps_per_epoch * config.num_agents / result.wall_s,
                "warnings": list(run.warnings),
            }  # fmt: skip
    pairs = (("sequential", "a learner per agent"), ("fused, sequential", "fused"), ("fused", "fused, not captured"))
    equal = {f"{one} = {other}": digests[one] == digests[other] for one, other in pairs}
    return {"epochs": config.epochs, "agents": config.num_agents, "runs": found, "identical": equal}


def _seconds(work: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 3) -> float:
    """Median seconds of a call, until the device is done."""
    return parts.side_by_side([work], repeats, parts.waiting(device), warm_up)[0]

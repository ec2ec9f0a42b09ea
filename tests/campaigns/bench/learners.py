"""Updates per second of all agents: a process for each, grouped, and fused; and how whole runs scale with cores.

Everything that is compared is measured in turns, so that all of it meets the same disturbances. A row is written as
soon as it is measured, with the load that the machine had then; a campaign that was interrupted continues its file.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from tests.campaigns.bench.runs import _copies
from tests.campaigns.reference_files import provenance, write_json
from workbench.api import launch
from workbench.core.config import Config
from workbench.core.shared.replay import Replay
from workbench.core.train.learners import Learner
from workbench.runs import machine
from workbench.zoo.fused import FusedLearner
from workbench.zoo.on_device import Replayed

EPOCHS = 12  # of random rows in each replay
LIMIT_S = 300.0


def run_learners(device: torch.device, out: Path, quick: bool, asked: str, say: Callable[[str], None]) -> None:
    """Measure every row, and write the file after each."""
    report: dict[str, Any] = provenance(asked, str(device)) | {"device": str(device), "learners": [], "scaling": []}
    earlier = json.loads(out.read_text()) if out.exists() else {}
    if all(earlier.get(name) == report[name] for name in ("command", "machine", "versions", "commit", "dirty")):
        report = earlier
    there = {(row["agents"], row.get("batch"), row.get("cores")) for row in report["learners"] + report["scaling"]}
    base = Config().replace(device=str(device))
    for batch in (64,) if quick else (64, 1024):
        for agents in (2,) if quick else (5, 20, 50):
            if (agents, batch, None) in there:
                continue
            say(f"bench: {agents} agents, batch {batch}")
            config = base.replace(**{
                "world.num_agents": agents, "learning.batch_size": batch, "replay.learning_starts": max(500, batch),
            })  # fmt: skip
            report["learners"].append(_row(config, device, quick))
            write_json(out, report)
    if device.type == "cpu":
        for agents in (2,) if quick else (5, 10):
            for cores in (1, 2, 4, 5, 8, 10, 16):
                if cores <= machine.cores() and (agents, None, cores) not in there:
                    say(f"bench: {agents} agents on {cores} cores")
                    report["scaling"].append(_scaling(base, agents, cores, quick))
                    write_json(out, report)


# --- learners by themselves ------------------------------------------------------------------------------------------


def arrangements(agents: int, device: torch.device) -> dict[str, tuple[str, list[list[int]]]]:
    """By name: which learner, and which agents each of its processes has."""
    everyone = list(range(agents))
    groups = min(agents, machine.cores())
    found = {
        "eager, a process per agent": ("eager", [[index] for index in everyone]),
        "eager, grouped": ("eager", [everyone[first::groups] for first in range(groups)]),
        "fused": ("fused", [everyone]),
    }
    return found | ({"fused, graph": ("graph", [everyone])} if device.type == "cuda" else {})


def _row(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Every arrangement in turns: updates of all agents per second, and memory per agent."""
    agents, batch = config.num_agents, config.learning.batch_size
    work = 100 if device.type == "cpu" else 4000  # updates of 64 rows in one measurement
    updates = 1 if quick else max(1, work * 64 // (agents * batch))
    ways = arrangements(agents, device)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(1 if quick else 3):
        for name, (kind, groups) in ways.items():
            found[name].append(_measured(config, kind, groups, updates))
    rows = {
        name: {
            "processes": len(ways[name][1]),
            "updates_per_s": median(each["updates_per_s"] for each in several),
            "each": [each["updates_per_s"] for each in several],
            "memory_mib_per_agent": median(each["mib"] for each in several) / agents,
        }
        for name, several in found.items()
    }
    return {"agents": agents, "batch": batch, "updates": updates * agents, "load": os.getloadavg()[0], "ways": rows}


def _measured(config: Config, kind: str, groups: Sequence[list[int]], updates: int) -> dict[str, float]:
    """Start a process for each group, let all of them begin together, and wait until the last is done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pipes = [context.Pipe() for _ in groups]
    processes = [
        context.Process(target=_learn, args=(config, kind, group, updates, pipe), daemon=True)
        for group, (_, pipe) in zip(groups, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        mib = sum(_received(pipe) for pipe, _ in pipes)
        start = time.perf_counter()
        for pipe, _ in pipes:
            pipe.send(0.0)
        mib += sum(_received(pipe) for pipe, _ in pipes)
        seconds = time.perf_counter() - start
    finally:
        for process in processes:
            process.join(10)
    return {"updates_per_s": updates * config.num_agents / seconds, "mib": mib}


def _received(pipe: Connection) -> float:
    if not pipe.poll(LIMIT_S):
        raise TimeoutError(f"a learner said nothing for {LIMIT_S:g} s")
    return float(pipe.recv())


def _learn(config: Config, kind: str, group: list[int], updates: int, pipe: Connection) -> None:
    """One process: make the agents of a group, warm up, say how much memory they take, wait, update."""
    torch.set_num_threads(1)
    device = torch.device(config.device)
    replays = [_filled(config, index) for index in group]
    before = _mib(device)
    made = Learner if kind == "eager" else FusedLearner
    learner: Any = made(config, group, replays, device)
    if kind == "graph":
        learner.descend = Replayed(learner.descend, lambda why: print(why, flush=True))
    _update(learner, 5 if kind == "graph" else 1)
    gc.collect()
    pipe.send(_mib(device) - before)
    pipe.recv()
    _update(learner, updates)
    pipe.send(0.0)


def _update(learner: Learner, updates: int) -> None:
    """Make updates of every agent of a learner, and wait for the device."""
    made = set[int]()

    def ask(index: int) -> None:
        if index not in made:
            made.add(index)
            learner.learn(index, updates, None, lambda update: 1e-4, lambda: None)

    learner.ask = ask
    for index in learner.agents:
        ask(index)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _filled(config: Config, index: int) -> Replay:
    """A replay with random rows."""
    spec, rng = config.spec.agents[index], np.random.default_rng(index)
    replay = Replay(config, spec, Replay.layout(config, spec).allocate())
    half, never = np.full(1, 0.5, np.float32), np.zeros(1, bool)
    for _ in range(max(EPOCHS, -(-config.learning.batch_size // config.steps_per_epoch))):
        replay.begin_epoch()
        for turn in range(replay.turns):
            replay.write_frame(turn, rng.integers(0, 6, (1, *spec.shape)).astype(spec.dtype))
            replay.write_step(turn, rng.integers(0, spec.num_actions, 1), 0, 0.5, half)
            replay.write_outcome(turn, rng.normal(size=1).astype(np.float32), never, never, ~never)
        replay.write_frame(replay.turns, rng.integers(0, 6, (1, *spec.shape)).astype(spec.dtype))
        replay.commit_epoch()
    return replay


def _mib(device: torch.device) -> float:
    """Memory of the device that is in use by this process; on the CPU its own pages."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved() / 2**20
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


# --- whole runs over cores -------------------------------------------------------------------------------------------


def _scaling(base: Config, agents: int, cores: int, quick: bool) -> dict[str, Any]:
    """Whole runs on some of the cores, each in turn with copies of the bare update loop on the same cores."""
    config = base.replace(**{
        "world.num_agents": agents, "processes.learners": "auto", "processes.start_method": "spawn",
        "epochs": 12 if quick else 20, "exploration.decay_epochs": 10,
    })  # fmt: skip
    every = os.sched_getaffinity(0)
    pairs: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        try:
            os.sched_setaffinity(0, sorted(every)[:cores])  # what is spawned from here on stays there
            for _ in range(1 if quick else 5):
                result = launch(config, "multiprocess", 1, out=folder, probes=False, timeline=False).wait()
                updates = result.updates // cores
                copies = updates * cores / _copies(config, cores, updates)
                steps = config.epochs * config.steps_per_epoch * agents / result.wall_s
                pairs.append((result.updates / result.wall_s, steps, copies))
        finally:
            os.sched_setaffinity(0, every)
    run, steps_per_s, copies = (median(column) for column in zip(*pairs, strict=True))
    return {
        "agents": agents, "cores": cores, "learners": min(agents, cores), "load": os.getloadavg()[0],
        "updates_per_s": run, "agent_steps_per_s": steps_per_s, "copies_updates_per_s": copies,
        "share_of_copies": median(mine / theirs for mine, _, theirs in pairs), "pairs": pairs,
    }  # fmt: skip

"""Whole runs: what several processes gain on this machine at equal work, and what they could gain at most."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import numpy as np
import torch

from tests.campaigns.bench.parts import as_a_child, collecting_parts
from workbench.api import Run, launch
from workbench.core.agents import schedules
from workbench.core.config import Config
from workbench.core.seeding import stream
from workbench.core.shared.sampling import UniformSampler
from workbench.core.train.learners import Learner
from workbench.core.train.loop import collect
from workbench.runs.machine import cores
from workbench.runs.presets import preset
from workbench.runs.result import Result

GOAL, MOST_S = 490.0, 30.0
"""Greedy reward of all agents that counts as learned, and the seconds in which several processes should reach it."""


def ceiling(taken: dict[int, list[float]], updates: int) -> dict[str, Any]:
    """How much faster several independent copies of the update loop make the same number of updates than one.

    This is what the machine gives at most: the copies share nothing but its cores, caches and memory.

    Args:
        taken: seconds of each turn, by number of copies.
        updates: of all copies together.
    """
    one = median(taken[1])
    return {
        "updates": updates,
        "one_copy": {"seconds": one, "update_ms": 1e3 * one / updates},
        "two_copies": {"seconds": median(taken[2]), "speedup": one / median(taken[2])},
        "five_copies": {"seconds": median(taken[5]), "speedup": one / median(taken[5])},
        "cores": cores(),
        "seconds": taken,
    }


def _copies(config: Config, copies: int, updates: int) -> float:
    """Seconds until a number of processes, started together, have each made ``updates`` updates."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(copies)]
    processes = [
        context.Process(target=update_loop, args=(config, index, updates, pipe), daemon=True)
        for index, (_, pipe) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    try:
        for pipe, _ in pipes:
            pipe.recv()
        start = time.perf_counter()
        for pipe, _ in pipes:
            pipe.send("go")
        for pipe, _ in pipes:
            pipe.recv()
        return time.perf_counter() - start
    finally:
        for process in processes:
            process.join(10)


def update_loop(config: Config, index: int, updates: int, pipe: Connection) -> None:
    """One copy: fill a replay, warm up, wait for the word, update."""
    as_a_child()
    config = config.replace(**{"world.num_agents": 1, "processes.learners": 1})
    world, replays, policies = collecting_parts(config)
    for _ in range(12):
        collect(world, policies, replays, 1.0, [0])
    learner = Learner(config, [0], replays, torch.device(config.device))
    learner.samplers[0] = UniformSampler(stream(config.seed + index, "sampling"))
    learner.learn(0, 10, None, lambda update: schedules.learning_rate(config, update))
    pipe.send("ready")
    pipe.recv()
    learner.learn(0, updates, None, lambda update: schedules.learning_rate(config, update))
    pipe.send("done")


def modes(config: Config, quick: bool) -> dict[str, Any]:
    """Sequential and multiprocess runs of the same work, a thread per process, in turns with copies of the update loop.

    Returns:
        ``modes``, the runs; ``ceiling``, the copies; ``of_ceiling``, speed-ups as shares of what two copies reach in
        the same turn, the median of all turns: of whole runs, and from the first update on, since before it only the
        actor has work.
    """
    auto, per_agent = {"processes.learners": "auto"}, {"processes.learners": "per_agent"}
    variants: dict[str, tuple[str, int | None, dict[str, Any]]] = {
        "sequential, lag 1": ("sequential", 1, {}),
        "lag 1, auto": ("multiprocess", 1, auto),
        "lag 1, per agent": ("multiprocess", 1, per_agent),
        "lag 1, auto, probes": ("multiprocess", 1, auto),
        "lag 1, per agent, system's time slices": ("multiprocess", 1, per_agent | {"processes.time_slice_ms": 0.0}),
        "sequential, all cores": ("sequential", 1, {"processes.threads": cores()}),
        "sequential, lag 0": ("sequential", 0, {}),
        "lag 0, auto": ("multiprocess", 0, auto),
        "free-running, auto": ("multiprocess", None, auto),
    }
    repeated = [name for name in variants if "all cores" not in name and "lag 0" not in name and "free" not in name]
    results: dict[str, list[Result]] = {name: [] for name in variants}
    learning: dict[str, list[float]] = {name: [] for name in variants}
    taken: dict[int, list[float]] = {1: [], 2: [], 5: []}
    turns, updates = (1, 60) if quick else (7, 600)
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        for turn in range(turns):
            for copies, seconds in taken.items():
                seconds.append(_copies(config, copies, updates // copies))
            for name, (mode, lag, changes) in variants.items():
                if turn == 0 or name in repeated:
                    run = launch(config.replace(**changes), mode, lag, out=folder, probes="probes" in name)
                    results[name].append(run.wait())
                    made = run.history.table("updates")["time"]
                    learning[name].append(float(made.max() - made.min()))
    all_walls = {name: [result.wall_s for result in several] for name, several in results.items()}
    walls = {name: median(several) for name, several in all_walls.items()}
    digests = [result.digest for name in repeated for result in results[name]]

    def share(name: str, seconds: dict[str, list[float]]) -> float:
        """Median over the turns."""
        return median(
            (alone / together) / (one / two)
            for alone, together, one, two in zip(
                seconds["sequential, lag 1"], seconds[name], taken[1], taken[2], strict=True
            )
        )

    found = {
        "epochs": config.epochs,
        "agents": config.num_agents,
        "updates": results["lag 1, auto"][0].updates,
        "wall_s": all_walls,
        "learning_s": learning,
        "startup_s": {name: median(result.startup_s for result in several) for name, several in results.items()},
        "identical": all(digest == digests[0] for digest in digests),
        "slow_down_by_probes": walls["lag 1, auto, probes"] / walls["lag 1, auto"] - 1,
        "speedup": {
            "lag 1, auto": walls["sequential, lag 1"] / walls["lag 1, auto"],
            "lag 1, per agent": walls["sequential, lag 1"] / walls["lag 1, per agent"],
            "lag 1, per agent, system's time slices": (
                walls["sequential, lag 1"] / walls["lag 1, per agent, system's time slices"]
            ),
            "lag 1, auto, against sequential on all cores": walls["sequential, all cores"] / walls["lag 1, auto"],
            "lag 0, auto": walls["sequential, lag 0"] / walls["lag 0, auto"],
            "free-running, auto": walls["sequential, lag 1"] / walls["free-running, auto"],
        },
    }
    of_ceiling = {
        name: {"whole run": share(name, all_walls), "from the first update on": share(name, learning)}
        for name in ("lag 1, auto", "lag 1, per agent")
    }
    return {"modes": found, "ceiling": ceiling(taken, updates), "of_ceiling": of_ceiling}


def time_to_learn(quick: bool) -> dict[str, Any]:
    """Seconds of the default preset, in both modes, from the call of launch to the first greedy reward of 490.

    Greedy play is looked at every ``evaluation.interval`` epochs, so the time is known to as many epochs.
    """
    config, goal = (preset("tiny"), -1e3) if quick else (preset("treasurehunt"), GOAL)
    found: dict[str, Any] = {"goal": goal, "interval": config.evaluation.interval}
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        for mode in ("sequential", "multiprocess"):
            began = time.time()
            run = launch(config, mode, 1, out=folder)
            reached = None
            while reached is None and not run.ended:
                time.sleep(0.2)
                reached = _first(run, goal)
            run.stop()
            reached = _first(run, goal) if reached is None else reached
            seconds, epoch = (
                (None, None) if reached is None else (float(reached["time"]) - began, int(reached["epoch"]))
            )
            found[mode] = {"seconds": seconds, "epoch": epoch, "startup_s": run.wait().startup_s}
    multiprocess = found["multiprocess"]["seconds"]
    return found | {"most_s": MOST_S, "held": multiprocess is not None and multiprocess <= MOST_S}


def _first(run: Run, goal: float) -> Any:
    """The last agent's record of the first greedy play in which all together earned that much; None if none did."""
    rows = run.history.evaluations
    rows = rows[rows["final"] == 0]
    for epoch in np.unique(rows["epoch"]):
        played = rows[rows["epoch"] == epoch]
        if len(played) == run.config.num_agents and played["reward"].sum() >= goal:
            return played[-1]
    return None

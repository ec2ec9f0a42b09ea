"""Updates per second of all agents: a process for each, grouped, and fused; and how whole runs scale with cores.

Everything that is compared is measured in turns, so that all of it meets the same disturbances. On a card, whose memory
cannot hold the processes of all ways, one way follows the other, and each is measured several times. A row is written
as soon as it is measured, with the load that the machine had then; a campaign that was interrupted continues its file.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from tests.campaigns.bench.parts import as_a_child
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
STRETCH_S = 0.5  # of a measurement on a card
LIMIT_S = 300.0
MEANT = 20, 64  # agents and batch of the bar
TABLES = "updates", "epochs"


def run_learners(device: torch.device, out: Path, quick: bool, asked: str, say: Callable[[str], None]) -> None:
    """Measure every row of learners by themselves, and write the file after each."""
    report = begun(out, asked, device, "learners")
    for config in sizes(Config().replace(device=str(device)), quick):
        size = config.num_agents, config.learning.batch_size
        if size not in {(row["agents"], row["batch"]) for row in report["learners"]}:
            say(f"bench: {size[0]} agents, batch {size[1]}")
            report["learners"].append(row(config, device, quick))
            write_json(out, report)


def run_scaling(out: Path, quick: bool, asked: str, say: Callable[[str], None]) -> None:
    """Measure how whole runs scale with cores, on the CPU, and write the file after each row."""
    report = begun(out, asked, torch.device("cpu"), "scaling")
    for agents in (2,) if quick else (5, 10):
        for cores in (1, 2, 4, 5, 8, 10, 16):
            there = {(row["agents"], row["cores"]) for row in report["scaling"]}
            if cores <= machine.cores() and (agents, cores) not in there:
                say(f"bench: {agents} agents on {cores} cores")
                report["scaling"].append(_scaling(Config().replace(device="cpu"), agents, cores, quick))
                _gains(report["scaling"])
                write_json(out, report)


def begun(out: Path, asked: str, device: torch.device, rows: str) -> dict[str, Any]:
    """What a file holds already, if the same command on the same machine and commit made it; else a new report."""
    report: dict[str, Any] = provenance(asked, str(device)) | {"device": str(device), rows: []}
    earlier = json.loads(out.read_text()) if out.exists() else {}
    same = all(earlier.get(name) == report[name] for name in ("command", "machine", "versions", "commit", "dirty"))
    return earlier if same else report


def sizes(base: Config, quick: bool) -> Iterator[Config]:
    """Every number of agents with every batch."""
    for batch in (64,) if quick else (64, 1024):
        for agents in (2,) if quick else (5, 20, 50):
            yield base.replace(**{
                "world.num_agents": agents, "learning.batch_size": batch, "replay.learning_starts": max(500, batch),
            })  # fmt: skip


# --- learners by themselves ------------------------------------------------------------------------------------------


def arrangements(config: Config, device: torch.device) -> dict[str, tuple[str, list[list[int]]]]:
    """By name: which learner, and which agents each of its processes has."""
    everyone = list(range(config.num_agents))

    def grouped(groups: int) -> list[list[int]]:
        """The agents of each process."""
        return [everyone[first::groups] for first in range(groups)]

    cores = min(config.num_agents, machine.cores())
    found = {
        "eager, a process per agent": ("eager", grouped(config.num_agents)),
        "eager, grouped": ("eager", grouped(cores)),
        "fused": ("fused", [everyone]),
    }
    if device.type != "cuda":
        return found | {"fused, grouped": ("fused", grouped(cores))}
    found["fused, graph"] = "graph", [everyone]
    if (config.num_agents, config.learning.batch_size) == MEANT:  # is it the host's part that takes the time?
        found |= {f"fused, graph, {groups} processes": ("graph", grouped(groups)) for groups in (2, 4)}
    return found


def row(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Every arrangement: updates of all agents per second, and memory per agent."""
    agents, batch = config.num_agents, config.learning.batch_size
    ways, card = arrangements(config, device), device.type == "cuda"
    updates = 1 if quick else max(1, 100 * 64 // (agents * batch))
    rounds = 1 if quick else 3
    rates: dict[str, list[float]] = {name: [] for name in ways}
    mib: dict[str, float] = {}
    for _ in range(1 if card else rounds):
        for name, (kind, groups) in ways.items():
            found, mib[name] = _measured(config, kind, groups, None if card else updates, rounds if card else 1)
            rates[name] += found
    found_of = {
        name: {
            "processes": len(groups),
            "updates_per_s": median(rates[name]),
            "each": rates[name],
            "memory_mib_per_agent": mib[name] / agents,
        }
        for name, (_, groups) in ways.items()
    }
    return {"agents": agents, "batch": batch, "load": os.getloadavg()[0], "ways": found_of}


def _measured(
    config: Config, kind: str, groups: Sequence[list[int]], updates: int | None, rounds: int
) -> tuple[list[float], float]:
    """Start a process for each group, and let all of them make updates together for some rounds.

    Args:
        config, kind, groups: what learns.
        updates: of each agent, in a round; None: as many as take :data:`STRETCH_S`.
        rounds: how many.

    Returns:
        Updates of all agents per second in each round, and MiB of memory of all processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pipes = [context.Pipe() for _ in groups]
    processes = [
        context.Process(target=_learn, args=(config, kind, group, theirs), daemon=True)
        for group, (_, theirs) in zip(groups, pipes, strict=True)
    ]

    def together(updates: int) -> float:
        start = time.perf_counter()
        for pipe, _ in pipes:
            pipe.send(updates)
        for pipe, _ in pipes:
            _received(pipe)
        return time.perf_counter() - start

    for process, (_, theirs) in zip(processes, pipes, strict=True):
        process.start()
        theirs.close()  # so that a process which dies is noticed
    try:
        for pipe, _ in pipes:
            _received(pipe)
        if updates is None:
            few = 10
            updates = max(1, round(few * STRETCH_S / together(few)))
        rates = [updates * config.num_agents / together(updates) for _ in range(rounds)]
        for pipe, _ in pipes:
            pipe.send(0)
        mib = [_received(pipe) for pipe, _ in pipes]
        for pipe, _ in pipes:
            pipe.send("leave")
        return rates, max(mib) if config.device.startswith("cuda") else sum(mib)
    finally:
        for process in processes:
            process.join(10)


def _received(pipe: Connection) -> float:
    if not pipe.poll(LIMIT_S):
        raise TimeoutError(f"a learner said nothing for {LIMIT_S:g} s")
    return float(pipe.recv())


def _learn(config: Config, kind: str, group: list[int], pipe: Connection) -> None:
    """One process: make the agents of a group, warm up, then make as many updates as asked for, until that is 0."""
    as_a_child()
    device = torch.device(config.device)
    replays = [filled(config, index) for index in group]
    before = 0.0 if device.type == "cuda" else _mib(device)
    learner = learner_of(config, kind, group, replays, device)
    make_updates(learner, 5 if kind == "graph" else 1)
    gc.collect()
    pipe.send(0.0)
    while updates := int(pipe.recv()):
        make_updates(learner, updates)
        pipe.send(0.0)
    pipe.send(_mib(device) - before)
    pipe.recv()


def learner_of(
    config: Config, kind: str, group: Sequence[int], replays: Sequence[Replay], device: torch.device
) -> Learner:
    """A learner of one kind: "eager", "fused", or "graph", which is fused and captured."""
    learner: Any = (Learner if kind == "eager" else FusedLearner)(config, group, replays, device)
    if kind == "graph":
        learner.descend = Replayed(learner.descend, _not_captured)
    made: Learner = learner
    return made


def _not_captured(why: Exception) -> None:
    raise RuntimeError(f"the update could not be captured, so it is not what is measured: {why}")


def make_updates(learner: Learner, updates: int) -> None:
    """Make updates of every agent of a learner, and wait for the device."""
    made = set[int]()

    def ask(index: int) -> None:
        if index not in made:
            made.add(index)
            learner.learn(index, updates, None, lambda update: 1e-4, lambda: None)

    learner.ask = ask
    for index in learner.agents:
        ask(index)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.cuda.synchronize()


def filled(config: Config, index: int) -> Replay:
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
    """Of a card all memory that anybody uses, contexts and caches included; on the CPU this process's own pages."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 2**20
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


# --- whole runs over cores -------------------------------------------------------------------------------------------


def _scaling(base: Config, agents: int, cores: int, quick: bool) -> dict[str, Any]:
    """Whole runs on some of the cores, each in turn with copies of the bare update loop on the same cores.

    There are as many copies as learners can be at work: one for each core, and no more than there are agents. Rates of
    a run are those from its first update to its last: before it only the actor has work. They bear the actor's work,
    which copies do not have: what cores gain is :func:`_gains`'s business.
    """
    config = base.replace(**{
        "world.num_agents": agents, "processes.start_method": "spawn", "epochs": 12 if quick else 30,
        "exploration.decay_epochs": 10,
    })  # fmt: skip
    every, learners = os.sched_getaffinity(0), min(agents, cores)
    pairs: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        try:
            os.sched_setaffinity(0, sorted(every)[:cores])  # what is spawned from here on stays there
            for _ in range(1 if quick else 5 if cores <= 2 else 3):
                run = launch(config, "multiprocess", 1, out=folder, probes=False, timeline=False)
                result, updated, collected = run.wait(), *(run.history.table(name)["time"] for name in TABLES)
                seconds = float(np.ptp(updated))
                steps = np.count_nonzero(collected > updated.min()) * config.steps_per_epoch
                updates = max(10 if quick else 100, result.updates // learners)
                copies = updates * learners / _copies(config, learners, updates)
                pairs.append((len(updated) / seconds, steps / seconds, copies))
        finally:
            os.sched_setaffinity(0, every)
    rate, steps_per_s, ceiling = (median(column) for column in zip(*pairs, strict=True))
    return {
        "agents": agents, "cores": cores, "learners": learners, "load": os.getloadavg()[0],
        "updates_per_s": rate, "agent_steps_per_s": steps_per_s, "copies_updates_per_s": ceiling,
        "share_of_copies": median(mine / theirs for mine, _, theirs in pairs), "pairs": pairs,
    }  # fmt: skip


def _gains(rows: Sequence[dict[str, Any]]) -> None:
    """Note down what more cores gain, and which share that is of what they gain for copies."""
    for row in rows:
        one = next(each for each in rows if each["agents"] == row["agents"])  # the rows of one core come first
        row["gain"] = row["updates_per_s"] / one["updates_per_s"]
        row["of_ceiling"] = row["gain"] * one["copies_updates_per_s"] / row["copies_updates_per_s"]

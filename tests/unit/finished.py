"""Run folders of finished runs, with records made by hand: what reports and exports read, without a process."""

import numpy as np

from tests.unit.watched import SCHEMA, TABLES
from workbench.core.records import EventKind
from workbench.diagnose.measurements import measurement_number
from workbench.runs.folder import RunFolder
from workbench.runs.presets import preset
from workbench.view.timeline.spans import SpanKind

CONFIG = preset("tiny").replace(device="cpu")
START = 1_700_000_000.0
REFERENCES = {name: {"mean": mean, "sd": 1.0, "epochs": 9} for name, mean in [("random", 20.0), ("scripted", 60.0)]}


def finished_run(
    parent, mode="sequential", lag=1, seed=0, faults=(), config=CONFIG, wall_s=10.0, name=None, status="finished",
    leave_out=(), created=START, cores=2, lost=0, **columns,
):  # fmt: skip
    """Make a run folder and return its path.

    Args:
        leave_out: tables without records.
        columns: overrides of columns, such as ``loss=...``, in the table that has them.
    """
    config = config.replace(seed=seed)
    dial = "free" if lag is None else f"lag{lag}"
    name = name or f"{mode}-{dial}-seed{seed}" + "".join(f"-{fault.replace('=', '-')}" for fault in faults)
    description = {
        "status": status, "mode": mode, "lag": lag, "config": config.to_dict(), "device": "cpu",
        "device_name": "a processor", "threads": 1, "warm_start": False, "created": created, "faults": list(faults),
        "probes": True, "error": None, "lost_records": {"epochs": lost},
        "processes": processes_of(mode, config), "timeline": "spans" not in leave_out, "clock_offset_ns": 0,
        "references": REFERENCES, "world": "workbench.core.envs.treasurehunt:Treasurehunt",
        "machine": {
            "host": "somewhere", "cpu": "a processor", "cores": cores, "pid": 1, "commit": "0123456789abcdef",
            "dirty": False, "versions": {"python": "3.11.7", "numpy": "2.4.6", "torch": "2.13.0", "workbench": "0.1.0"},
        },
    }  # fmt: skip
    folder = RunFolder.create(name, description, parent, SCHEMA)
    for table, records in tables_of(config, mode, lag, seed, wall_s).items():
        for column, values in columns.items():
            if column in records.dtype.names:
                records[column] = values
        if table not in leave_out:
            folder.append(table, records)
    folder.write_result(result_of(mode, lag, seed, status, config, wall_s))
    return folder.path


def processes_of(mode, config):
    """Names of the processes."""
    return ["sequential"] if mode == "sequential" else ["actor", *(f"learner {i}" for i in range(config.num_agents))]


def tables_of(config, mode, lag, seed, wall_s):
    """Records of a run that learns: rewards rise, losses fall, everything between START and its wall time."""
    rng = np.random.default_rng(seed)
    agents, epochs, updates = config.num_agents, config.epochs, config.total_updates
    made = {name: [] for name in TABLES}
    for agent in range(agents):
        for epoch in range(epochs):
            made["epochs"].append({
                "time": START + wall_s * (epoch + 0.5) / epochs, "agent": agent, "epoch": epoch,
                "agent_steps": (epoch + 1) * config.steps_per_epoch, "epsilon": 1 / (1 + epoch),
                "reward": 10 + 2 * epoch + rng.normal(), "sync_lag_versions": min(epoch, lag or 0),
                "sync_lag_ms": 5.0 * min(epoch, lag or 0), "replay_ratio": 0.2,
            })  # fmt: skip
            interval = config.evaluation.interval
            for final in (0, 1):
                if (final and epoch == epochs - 1) or (not final and interval and (epoch + 1) % interval == 0):
                    made["evaluations"].append({
                        "time": START + wall_s * (epoch + 0.6 + final) / epochs, "agent": agent, "epoch": epoch,
                        "reward": 12 + 2 * epoch + rng.normal(), "worlds": 4, "final": final,
                    })  # fmt: skip
        for update in range(1, updates + 1):
            made["updates"].append({
                "time": START + wall_s * update / updates, "agent": agent, "update": update,
                "loss": 1 / update + 0.01 * rng.random(), "mean_q": update + rng.normal(), "max_q": 2 * update,
            })  # fmt: skip
        made["events"].append({"time": START, "kind": EventKind.PUBLISH, "agent": agent})
        made["events"].append({"time": START, "kind": EventKind.SYNC, "agent": agent})
        made["probes"].append({"time": START, "agent": agent, "measurement": measurement_number("sync/checksum")})
    made["spans"] = spans_of(mode, config, wall_s)
    for table, indices in {"acting_load": [0], "learning_load": range(agents if mode == "multiprocess" else 0)}.items():
        made[table] = [
            {"time": START, "agent": index, "epoch": epoch, "number": epoch, "cores": 0.5, "memory": 60.0 + epoch}
            for index in indices
            for epoch in range(epochs)
        ]
    return {name: as_records(name, rows) for name, rows in made.items()}


def spans_of(mode, config, wall_s):
    """Every epoch is half acting, half learning: in one process after the other, or in each, which then waits."""
    second, last = 10**9, len(processes_of(mode, config)) - 1
    half, agents = int(wall_s * second / config.epochs / 2), config.num_agents
    spans = []

    def span(process, kind, start, duration, agent=-1, epoch=-1):
        spans.append({
            "start": start, "duration": duration, "on_core": duration // 2, "process": process, "kind": kind,
            "agent": agent, "epoch": epoch,
        })  # fmt: skip

    for process in range(last + 1):
        span(process, SpanKind.STARTING, 0, second)
    for epoch in range(config.epochs):
        begin = second + 2 * half * epoch
        span(0, SpanKind.SYNCING, begin, half // 10, epoch=epoch)
        span(0, SpanKind.ACTING, begin, half, epoch=epoch)
        for agent in range(agents):
            process, share = (agent + 1, half) if last else (0, half // agents)
            learning = begin + half + (0 if last else agent * share)
            span(process, SpanKind.UPDATING, learning, share // 2, agent, epoch)
            span(process, SpanKind.LEARNING, learning, share, agent, epoch)
            if last:
                span(process, SpanKind.WAITING, begin, half, epoch=epoch)
    return spans


def as_records(table, rows):
    """A structured array of some rows."""
    records = np.zeros(len(rows), TABLES[table])
    for record, row in zip(records, rows, strict=True):
        for field, value in row.items():
            record[field] = value
    return records


def result_of(mode, lag, seed, status, config, wall_s):
    """A result, as the run would write it."""
    agents = config.num_agents
    steps, updates = config.epochs * config.steps_per_epoch * agents, config.total_updates * agents
    return {
        "mode": mode, "lag": lag, "seed": seed, "status": status, "wall_s": wall_s, "startup_s": 0.5,
        "agent_steps": steps, "updates": updates, "replay_ratio": updates / steps, "greedy_reward": 50.0 + seed,
        "agent_steps_per_s": steps / wall_s, "updates_per_s": updates / wall_s,
        "reward": {"first_tenth": 20.0, "last_tenth": 44.0},
        "sync_lag": {unit: {"mean": 1.0, "max": 1.0} for unit in ("versions", "updates", "milliseconds")},
        "digest": {"weights": "00"},
    }  # fmt: skip


def three_seeds(parent, **settings):
    """Seeds 0 to 2 of both modes, the multiprocess ones 5 s faster."""
    for seed in range(3):
        finished_run(parent, "sequential", seed=seed, wall_s=10.0 + seed, **settings)
        finished_run(parent, "multiprocess", seed=seed, wall_s=5.0 + seed, **settings)
    return parent

"""The records of a sound run, made by hand, so that a test can change one number and see who notices."""

import dataclasses

import numpy as np

from tests.unit.watched import SCHEMA, TABLES
from workbench.core.agents import schedules
from workbench.core.records import EVALUATIONS, EventKind
from workbench.diagnose.measurements import MEASUREMENTS, measurement_number
from workbench.diagnose.rules import Evidence
from workbench.diagnose.second_opinion import STAGES, Judged, Opinion
from workbench.runs.history import History
from workbench.runs.presets import preset

CONFIG = preset("tiny").replace(epochs=6)
LAG = 1
AGENTS = range(CONFIG.num_agents)
START = 1000.0
CHANCE = {"mean": 50.0, "sd": 10.0, "epochs": 100}

# value and due of a measurement in a sound run
SOUND = {
    "sync/checksum": (1, 1), "learn/training": (1, 1),
    "sync/online_before": (1e-3, np.nan), "sync/target_before": (1e-4, np.nan),
}  # fmt: skip


def sound_tables():
    """Table name to list of records (dictionaries) of a sound run at lag 1."""
    tables = {name: [] for name in TABLES}
    steps, per_epoch = CONFIG.steps_per_epoch, CONFIG.pacing.updates_per_epoch
    without = CONFIG.epochs - CONFIG.learning_epochs
    for agent in AGENTS:
        publish(tables, agent, 0, 0)
        for epoch in range(CONFIG.epochs):
            time, used = START + epoch, max(0, epoch - LAG)
            learned = max(0, epoch - without + 1) * per_epoch
            behind = max(0, max(0, epoch - without) * per_epoch)
            epsilon = schedules.epsilon(CONFIG, epoch)
            tables["events"].append({
                "time": time, "kind": EventKind.SYNC, "agent": agent, "epoch": epoch, "version_before": used - 1,
                "version": used, "epsilon": epsilon,
            })  # fmt: skip
            tables["epochs"].append({
                "time": time + 0.1, "agent": agent, "epoch": epoch, "agent_steps": (epoch + 1) * steps,
                "reward": 60.0, "epsilon": epsilon, "policy_version": used, "sync_lag_versions": epoch - used,
                "sync_lag_updates": behind, "replay_ratio": behind / ((epoch + 1) * steps),
            })  # fmt: skip
            for update in range(max(0, learned - per_epoch), learned):
                tables["updates"].append({
                    "time": time + 0.2, "agent": agent, "epoch": epoch, "update": update + 1, "max_q": 10.0,
                    "target_updates": update + 1, "learning_rate": 1e-3,
                })  # fmt: skip
            publish(tables, agent, epoch + 1, learned)
            for name in MEASUREMENTS:
                measure(tables, name, agent, epoch, used, learned)
    return tables


def publish(tables, agent, version, update):
    tables["events"].append({
        "time": START + version - 0.5, "kind": EventKind.PUBLISH, "agent": agent, "epoch": version,
        "version_before": version - 1, "version": version, "update": update,
        "epsilon": schedules.epsilon(CONFIG, version),
    })  # fmt: skip


def measure(tables, name, agent, epoch, version, update):
    value, due = SOUND.get(name, (0, 0))
    tables["probes"].append({
        "time": START + epoch, "agent": agent, "epoch": epoch, "measurement": measurement_number(name),
        "version": version, "update": update, "value": value, "due": due,
    })  # fmt: skip


def evidence(tables=None, wrong=None, audited=True, **changes):
    """Evidence over hand-made tables; by default those of a sound run that has finished.

    Args:
        tables: the records.
        wrong: a stage of the audit's chain and its finding on agent 1 in epoch 4, if it disagrees there.
        audited: whether the audit kept something.
        changes: fields of the evidence.
    """
    tables = sound_tables() if tables is None else tables
    history = History(SCHEMA)
    for name, rows in tables.items():
        records = np.zeros(len(rows), TABLES[name])
        for record, row in zip(records, rows, strict=True):
            for field, value in row.items():
                record[field] = value
        history.append(name, records)
    final = np.zeros(CONFIG.num_agents, EVALUATIONS)
    final["time"], final["final"], final["reward"], final["worlds"] = START + CONFIG.epochs, 1, 40.0, 100
    history.append("evaluations", final)
    made = Evidence(
        CONFIG, "multiprocess", LAG, "finished", None, history, {"random_no_wall": CHANCE},
        START + CONFIG.epochs,
    )  # fmt: skip
    made = dataclasses.replace(made, **changes)
    stage, finding = wrong or ("", "")
    made.__dict__["opinion"] = Opinion(tuple(
        Judged(name, "actor", agent, epoch, *((finding, f"<{finding}>") if there else ()))
        for name in (STAGES if audited else ()) for agent in AGENTS for epoch in (0, 2, 4)
        for there in ((name, agent, epoch) == (stage, 1, 4),)
    ))  # fmt: skip
    return made


def measured(tables, name, agent=1, epoch=4):
    """The one record of a measurement, to be changed."""
    number = measurement_number(name)
    (found,) = [
        row
        for row in tables["probes"]
        if (row["measurement"], row["agent"], row["epoch"]) == (number, agent, epoch)
    ]  # fmt: skip
    return found

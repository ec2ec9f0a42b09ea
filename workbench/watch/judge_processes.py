"""Checks of the processes: who works how much, who has stopped, and what the watch itself could not take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.core.records import Records
from workbench.runs import machine
from workbench.watch.findings import Array, Evidence, Finding, add, check, good, unknown

# Seconds without a call after which a process is silent. It is missing if this share of the others' work came later.
SILENT_S, MISSING = 30.0, 0.3
# Updates per row of a batch's worth from which on a learner outruns the data: each row is then used that often.
USES = 1024


@check("pacing", "L13", "updates per agent step: alike among agents, steady, and no learner outruns the data")
def _pacing(evidence: Evidence) -> Iterator[Finding]:
    ratios: dict[int, float] = {}
    for agent in evidence.agents:
        updates, steps = evidence.of("updates", agent), evidence.of("stored", agent)
        if not len(updates) or not len(steps):
            continue
        ratios[agent] = float(updates["count"].sum()) / len(steps)
        sampled = evidence.of("sampled", agent)
        rows = float(np.median(sampled["rows"])) if len(sampled) else 1.0
        if ratios[agent] * rows > USES:
            said = f"the learner outruns the data: {ratios[agent]:.3g} updates of {rows:.0f} rows for each row stored"
            yield evidence.bad("outrun", agent, updates["time"][-1], f"{ratios[agent]:.3g} updates per step", said)
        quarters = _quarters(updates["time"], updates["count"], steps["time"])
        if len(steps) >= 200 and len(updates) >= 100 and quarters.max() > 4 * max(quarters.min(), 1e-9):
            said = (
                f"the replay ratio is left to chance: {quarters.min():.3g} to {quarters.max():.3g} updates per agent"
                " step"
            )
            yield evidence.bad(
                "unsteady", agent, updates["time"][0], f"{quarters.min():.3g} to {quarters.max():.3g}", said
            )
    usual = float(np.median(list(ratios.values()))) if ratios else 0.0
    for agent, ratio in ratios.items():
        if len(ratios) > 2 and not 0.5 * usual <= ratio <= 2 * usual:
            said = f"its learner made {ratio:.3g} updates per agent step, where the others made {usual:.3g}"
            last = evidence.of("updates", agent)["time"][-1]
            yield evidence.bad("agents", agent, last, f"{ratio:.3g} against {usual:.3g}", said)
    if not ratios:
        yield add("store", "actor, and `watch.update(...)` to the learner")
    else:
        spoken = ", ".join(f"{ratio:.3g}" for ratio in ratios.values())
        yield good(f"updates per agent step, agent by agent: {spoken}", f"{usual:.3g} updates per step")


def _quarters(updates: Array, counts: Array, steps: Array) -> Array:
    """Updates per agent step in four parts of the time in which both were made, by agent steps."""
    begin, end = max(updates[0], steps[0]), min(updates[-1], steps[-1])
    inside = steps[(steps >= begin) & (steps <= end)]
    if len(inside) < 8:
        return np.ones(4)
    edges = inside[np.linspace(0, len(inside) - 1, 5).astype(int)]
    done = np.concatenate([[0], np.cumsum(counts)])[np.searchsorted(updates, edges)]
    return np.asarray(np.diff(done) / np.maximum(np.diff(np.searchsorted(inside, edges)), 1))


@check("processes", "P1 P2", "every process keeps calling until the work is done")
def _processes(evidence: Evidence) -> Iterator[Finding]:
    readers, now = list(evidence.recording.files.values()), evidence.run.description.get("ended")
    parent = evidence.run.description["machine"]
    told = []
    beats = {name: head["heartbeat"] for name, head in evidence.heads.items()}
    newest = max(beats.values(), default=0.0)
    for number, reader in enumerate(readers):
        head, about = evidence.heads.get(reader.path.name), reader.about
        if head is None or not about:
            continue
        agents = _agents_of(evidence, number)
        who = f"process {about['pid']} ({about['name']}" + (f", agents {agents}" if agents else "") + ")"
        alive = machine.process_runs(int(about["pid"]), about["process"])
        told.append(f"{who}: {head['calls']:,} calls, the last {newest - head['heartbeat']:.1f} s before the newest")
        last, epoch = head["heartbeat"], int(evidence.epochs(head["heartbeat"])[0])
        after = _work_after(evidence, number, last)
        agent = agents[0] if len(agents) == 1 else None
        if head["calls"] <= 1 and len(readers) > 2 and about["pid"] != parent["pid"]:
            yield Finding("fail", f"{who} never called at all", who, "never called", epoch, agent)
        elif after > MISSING and not alive:
            said = f"{who} died after its last call in epoch {epoch}: {after:.0%} of the others' work came after that"
            yield Finding("fail", said, f"{after:.0%} after it", "died", epoch, agent)
        elif after > MISSING or (evidence.live and alive and newest - last > SILENT_S):
            said = f"{who} fell silent in epoch {epoch}, {newest - last:.1f} s before the newest call of the others"
            yield Finding("fail", said, f"{newest - last:.1f} s", "silent", epoch, agent)
        elif alive and not machine.process_runs(int(parent["pid"]), parent.get("process")):
            yield Finding("fail", f"{who} outlives its parent, process {parent['pid']}", who, "orphan", epoch, agent)
    busy = {agent for agent in evidence.agents if len(evidence.of("updates", agent))}
    for agent in evidence.agents:
        if busy and agent not in busy and len(evidence.of("acts", agent)) + len(evidence.of("stored", agent)):
            said = f"agent {agent} acts and has no learner: no update of it was ever recorded"
            yield Finding("fail", said, "0 updates", "never called", None, agent)
    if not told:
        yield unknown("No process has called anything yet.")
    else:
        ended = "" if now else "the run is under way; "
        yield good(f"{ended}{len(told)} processes: {'; '.join(told[:8])}", f"{len(told)} processes")


def _agents_of(evidence: Evidence, number: int) -> list[int]:
    found: set[int] = set()
    for table in ("updates", "acts", "stored"):
        records = evidence.recording.table(table)
        found |= set(np.unique(records["agent"][records["file"] == number]).tolist())
    return sorted(found)


def _work_after(evidence: Evidence, number: int, last: float) -> float:
    """Which share of the work of the other processes came after a process' last call; its own work counts nothing."""
    shares = []
    times = [evidence.recording.table(table)["time"] for table in ("updates", "stored", "acts")]
    known = np.concatenate(times)
    slack = min(1.0, 0.05 * float(np.ptp(known))) if len(known) else 1.0  # calls do not come at the same instant
    for table in ("updates", "stored", "acts"):
        records = evidence.recording.table(table)
        if not (records["file"] == number).any():
            continue
        # a learner is measured by the actors' work as well as by other learners', an actor likewise
        for other in ("updates", "stored", "acts"):
            others = evidence.recording.table(other)
            theirs = others[others["file"] != number]
            if len(theirs) >= 20:
                shares.append(float((theirs["time"] > last + slack).mean()))
    return min(shares, default=0.0)


@check("recording", "", "nothing was lost by the watch")
def _recording(evidence: Evidence) -> Iterator[Finding]:
    lost = int(sum(head["lost"] for head in evidence.heads.values()))
    calls = int(sum(head["calls"] for head in evidence.heads.values()))
    seconds = sum(head["seconds"] for head in evidence.heads.values())
    updates, sampled = evidence.of("updates"), evidence.of("sampled")
    looked = float((updates["looked"] == 1).mean()) if len(updates) else 1.0
    batches = float(len(np.unique(sampled[["agent", "batch"]])) / max(_batches(sampled), 1)) if len(sampled) else 1.0
    told = (
        f"{calls:,} calls took {seconds:.2f} s; looked at {looked:.0%} of the updates and {batches:.0%} of the batches"
    )
    if lost:
        errors = [
            line["error"] for reader in evidence.recording.files.values() for line in reader.lines if "error" in line
        ]
        why = f": {'; '.join(errors[:3])}" if errors else ", as there was no more room; give wb.Watch a larger max_mb"
        yield unknown(f"{lost:,} records could not be taken{why}. {told}.")
    else:
        yield good(told, f"{calls:,} calls")


def _batches(sampled: Records) -> int:
    """How many batches were drawn in all, those not looked at included."""
    newest: dict[tuple[int, int], int] = {}
    for each in np.unique(sampled[["file", "agent", "batch"]]):
        key = int(each["file"]), int(each["agent"])
        newest[key] = max(newest.get(key, 0), int(each["batch"]))
    return sum(newest.values())

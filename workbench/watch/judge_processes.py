"""Checks of the processes: who works how much, who has stopped, and what the watch itself could not take."""

from collections.abc import Sequence

import numpy as np

from workbench.core.records import Records
from workbench.runs import machine
from workbench.watch import tables
from workbench.watch.findings import SAID, Array, Case, Finding, check_all, keys
from workbench.watch.storage import IN_ORDER, RAISED

# Seconds without a call after which a process is silent. It is missing if this share of the others' work came later;
# one that did not end in order is, with less.
SILENT_S, MISSING, MISSING_DEAD = 30.0, 0.3, 0.1
# Updates per row of a batch's worth from which on a learner outruns the data: each row is then used that often.
USES = 20_480


@check_all
def _pacing(case: Case) -> Finding:
    evidence, ratios = case.evidence, dict[int, float]()
    for agent in evidence.agents:
        updates, steps, sampled = (evidence.of(name, agent) for name in ("updates", "stored", "sampled"))
        if not len(updates) or not len(steps):
            continue
        ratios[agent] = float(updates["count"].sum()) / len(steps)
        rows = float(np.median(sampled["rows"])) if len(sampled) else 1.0
        outrun = ratios[agent] * rows > USES
        case.also(outrun, "outrun", updates["time"][-1], agent=agent, ratio=ratios[agent], rows=rows)
        quarters = _quarters(updates["time"], updates["count"], steps["time"])
        low, high = quarters.min(), quarters.max()
        apart = not np.isin(updates["file"], steps["file"]).any()  # in one process nothing is left to chance
        unsteady = apart and len(steps) >= 200 and len(updates) >= 100 and high > 4 * max(low, 1e-9)
        case.also(unsteady, "unsteady", updates["time"], agent=agent, low=low, high=high)
    usual = float(np.median(list(ratios.values()))) if ratios else 0.0
    for agent, ratio in ratios.items():
        unlike = len(ratios) > 2 and not 0.5 * usual <= ratio <= 2 * usual
        case.also(unlike, "agents", evidence.of("updates", agent)["time"][-1], agent=agent, ratio=ratio, usual=usual)
    told = ", ".join(f"{ratio:.3g}" for ratio in ratios.values())
    return case.say("ratios", told=told, usual=usual) if ratios else case.missing("store_and_update")


def _quarters(updates: Array, counts: Array, steps: Array) -> Array:
    """Updates per agent step in four parts of the time in which both were made, by agent steps."""
    begin, end = max(updates[0], steps[0]), min(updates[-1], steps[-1])
    inside = steps[(steps >= begin) & (steps <= end)]
    if len(inside) < 8:
        return np.ones(4)
    edges = inside[np.linspace(0, len(inside) - 1, 5).astype(int)]
    done = np.concatenate([[0], np.cumsum(counts)])[np.searchsorted(updates, edges)]
    return np.asarray(np.diff(done) / np.maximum(np.diff(np.searchsorted(inside, edges)), 1))


@check_all
def _processes(case: Case) -> Finding:
    evidence, told = case.evidence, list[str]()
    readers, parent = list(evidence.recording.files.values()), evidence.run.description["machine"]
    orphaned = not machine.process_runs(int(parent["pid"]), parent.get("process"))
    work = [evidence.recording.table(name) for name in ("updates", "stored", "acts")]
    newest = max((head["heartbeat"] for head in evidence.heads.values()), default=0.0)
    for number, reader in enumerate(readers):
        head, about = evidence.heads.get(reader.path.name), reader.about
        if head is None or not about:
            continue
        agents = sorted({agent for each in work for agent in each["agent"][each["file"] == number].tolist()})
        who = f"process {about['pid']} ({about['name']}" + (f", agents {agents}" if agents else "") + ")"
        last, behind = head["heartbeat"], newest - head["heartbeat"]
        told.append(f"{who}: {head['calls']:,} calls, the last {behind:.1f} s before the newest")
        alive, after = machine.process_runs(int(about["pid"]), about["process"]), _work_after(work, number, last)
        epoch, ended = int(evidence.epochs(last)[0]), head["ended"]
        early = epoch + 1 < (evidence.declared["epochs"] or 0)
        states = {
            "never called": head["calls"] <= 1 and len(readers) > 2 and about["pid"] != parent["pid"],
            # an actor may be done before the learners are
            "left": after > MISSING and ended == IN_ORDER and (early or (work[0]["file"] == number).any()),
            "": after > MISSING and ended == IN_ORDER,
            "raised": after > MISSING_DEAD and not alive and ended == RAISED,
            "died": after > MISSING_DEAD and not alive and ended not in (IN_ORDER, RAISED),
            "silent": after > MISSING or (evidence.live and alive and behind > SILENT_S),
            "orphan": alive and orphaned,
        }
        found, error = next((name for name, so in states.items() if so), ""), evidence.recording.said("raised", number)
        numbers = {"who": who, "after": after, "behind": behind, "parent": parent["pid"], "error": "".join(error[-1:])}
        case.also(found, found, agent=agents[0] if len(agents) == 1 else None, epoch=epoch, **numbers)
    learners = set(evidence.of("updates")["agent"].tolist())
    for agent in evidence.agents if learners else ():
        plays = len(evidence.of("acts", agent)) + len(evidence.of("stored", agent))
        case.also(plays and agent not in learners, "unlearned", agent=agent)
    state = "live" if evidence.live else "ended"
    return case.say(state, count=len(told), told="; ".join(told[:8])) if told else case.say("none")


def _work_after(work: Sequence[Records], number: int, last: float) -> float:
    """Which share of the work of the other processes came after a process' last call; the least over kinds of work."""
    if not any((each["file"] == number).any() for each in work):
        return 0.0
    # calls do not come at the same instant
    slack = min(1.0, 0.05 * float(np.ptp(np.concatenate([each["time"] for each in work]))))
    # a learner is measured by the actors' work as well as by other learners', an actor likewise
    theirs = [each["time"][each["file"] != number] for each in work]
    return min((float((times > last + slack).mean()) for times in theirs if len(times) >= 20), default=0.0)


@check_all
def _recording(case: Case) -> Finding:
    evidence, heads = case.evidence, case.evidence.heads.values()
    lost, calls, seconds = (sum(head[name] for head in heads) for name in ("lost", "calls", "seconds"))
    updates = case.table("updates")
    looked = float((updates["looked"] == 1).mean()) if len(updates) else 1.0
    batches, acts = _share(case.table("sampled"), "batch"), _share(case.table("acts"), "act")
    events = case.table("events")
    copies = keys(events[events["kind"] != tables.RESULT])
    seen = np.isin(copies, [key for looks in evidence.looks.values() for key in looks.key]).mean() if len(copies) else 1
    looks = SAID["recording"]["looks"].format(looked=looked, seen=seen, batches=batches, acts=acts)
    why = "; ".join(evidence.recording.said("error")[:3])
    unmade = 0 if evidence.live else len(evidence.recording.files) - len(heads)
    what = "unmade" if unmade else "whole" if not lost else "errors" if why else "full"
    return case.say(what, lost=int(lost), calls=int(calls), seconds=seconds, looks=looks, why=why, unmade=unmade)


def _share(records: Records, number: str) -> float:
    """Which share of calls was recorded, whose records are numbered by process and agent."""
    calls = np.unique(records[["file", "agent", number]])
    newest = {(each["file"], each["agent"]): int(each[number]) for each in calls}
    return len(calls) / max(sum(newest.values()), 1) if len(calls) else 1.0

"""Checks of weights on their way: what the learner publishes, what the actor takes, and what is left in the end."""

from dataclasses import replace

import numpy as np

from workbench.watch import tables
from workbench.watch.findings import NO_LOOKS, Array, Case, Finding, Looks, check_each_agent, keys, together

SYNC, PUBLISH = 10 * tables.SYNC, 10 * tables.PUBLISH
# Weights are stale if their age is at least this share of all updates, and at least this many epochs, or that many
# updates where epochs are not reported: in a short run a few exchanges are all there are.
STALE, STALE_EPOCHS, STALE_UPDATES = 0.25, 5, 500
# What a write leaves its weights in: a learner's own memory, where that is what the actor copies from.
IN_PLACE = -1
# Difference between two exploration rates from which on they are not the same one, seen a little later.
APART = 0.05


def common(one: Looks, other: Looks, buffers: bool = False) -> tuple[list[int], list[int]]:
    """The tensors that two models share by name, or by a name within the other's: their places in both."""
    wanted = [k for k, kind in enumerate(one.kinds) if buffers or kind != "b"]
    places = {name: k for k, name in enumerate(other.names)}
    pairs = [(k, places[one.names[k]]) for k in wanted if one.names[k] in places]
    if not pairs:  # a model of two networks has each name twice: what had the same values most often is the same
        ours, its = ([f".{name}" for name in names] for names in (one.names, other.names))
        alike = [(k, n) for k in wanted for n, b in enumerate(its) if b.endswith(ours[k]) or ours[k].endswith(b)]
        for k, n in sorted(alike, key=lambda pair: -np.isin(one.sums[:, pair[0]], other.sums[:, pair[1]]).sum()):
            pairs += [] if k in dict(pairs) or n in dict(pairs).values() else [(k, n)]
    if not pairs and len(one.names) == len(other.names):
        pairs = [(k, k) for k in wanted]
    return [a for a, _ in pairs], [b for _, b in pairs]


def equal(one: Looks, other: Looks) -> Array:
    """Whether looks of the same events show the same trained tensors, (n,)."""
    mine, its = common(one, other)
    return np.asarray((one.sums[:, mine] == other.sums[:, its]).all(1) if mine else np.ones(len(one), bool))


def changes(looks: Looks) -> Array:
    """At which looks the trained tensors are others than at the look before in that process, (n,); the first counts."""
    order, new = np.argsort(looks.file, kind="stable"), np.ones(len(looks), bool)
    trained, file = looks.sums[order][:, looks.trained()], looks.file[order]
    new[order[1:]] = (trained[1:] != trained[:-1]).any(1) | (file[1:] != file[:-1])
    return new


def never_changes(looks: Looks) -> bool:
    """Whether each process saw the same trained tensors at all of its looks, and there are any."""
    return bool(looks.trained()) and int(changes(looks).sum()) == len(np.unique(looks.file))


def _that_changed(times: Array, looks: Looks) -> Array:
    """The times of those copies that brought other weights than the one before, as looks at some of them tell, (n,).

    A copy that was not looked at counts as the next one that was; after the last look, it counts if any ever did.
    """
    new = changes(looks)
    return np.asarray(times[np.append(new, new[1:].any())[np.searchsorted(looks.time, times)]])


def shares_memory(case: Case) -> tuple[str, Looks]:
    """Where the actor reads the very memory that the learner trains: what it does with it, "" if nothing; the looks."""
    online, sent, syncs = case.looks(tables.ONLINE).identity, case.events(tables.PUBLISH), case.events(tables.SYNC)
    later = syncs["source_identity"][syncs["time"] > np.append(sent["time"], np.inf)[0]]
    for role, does in ((tables.ACTS, "acts with"), (SYNC + tables.SOURCE, "copies from")):
        found = case.looks(role)
        known = later if len(later) and role == SYNC + tables.SOURCE else found.identity
        if np.isin(online, found.identity).any() and np.isin(online, known).any():
            return does, found
    return "", NO_LOOKS


def acts_with_published(case: Case) -> bool:
    """Whether the actor acts with the very memory that publications go to."""
    return bool(np.isin(case.looks(tables.ACTS).identity, case.events(tables.PUBLISH)["target_identity"]).any())


def _rarely(case: Case, times: Array) -> Finding | None:
    """The longest stretch of updates without an event at one of these times, if it is too long."""
    updates, acts = case.table("updates")["time"], case.table("acts")["time"]
    if len(updates) < 2:
        return None
    end = max(updates[-1] if not len(acts) else min(updates[-1], acts[-1]), updates[0])
    edges = np.concatenate([[updates[0]], times[(times > updates[0]) & (times < end)], [end]])
    begins, ends = edges[:-1], edges[1:]
    if len(acts):  # they are old only while somebody acts with them
        ends = np.maximum(begins, np.append(-np.inf, acts)[np.searchsorted(acts, ends)])
    made = np.searchsorted(updates, ends) - np.searchsorted(updates, begins)
    epochs = case.evidence.epochs(ends) - case.evidence.epochs(begins)
    longest = int(np.argmax(made))
    share, reported = float(made[longest]) / len(updates), len(case.evidence.reports)
    if share < STALE or (epochs[longest] < STALE_EPOCHS if reported else made[longest] < STALE_UPDATES):
        return None
    within = f", in {epochs[longest]} epochs," if reported else ""
    return case.say("rarely", begins[longest], share=share, within=within)


@check_each_agent
def _sync(case: Case) -> Finding:
    source, target = (case.looks(SYNC + role) for role in (tables.SOURCE, tables.TARGET))
    if not target:
        return _never_synced(case)
    own, rows = _published(case, target), target.rows(target.trained())
    for other in case.evidence.agents:
        its = Case(case.evidence, case.check, other)
        if np.isin(case.looks(tables.ONLINE).identity, its.looks(tables.ONLINE).identity).any():
            continue  # they are one, or share a network
        theirs = _published(its, target)
        foreign = np.array([row in theirs and row not in own for row in rows])
        case.stop(foreign.any() and len(own & theirs) < 2, "other agent", target.time, None, foreign, other=other)
    befores = (case.looks(SYNC + role) for role in (tables.SOURCE_BEFORE, tables.TARGET_BEFORE))
    copied, copy, before, held = together(source, target, *befores)
    void = equal(copied, before) & ~equal(copy, copied) & equal(copy, held)
    odd = void.any() and void.mean() > 0.5  # a copy of another precision is never equal, but changes
    case.stop(odd, "no effect", copy.time, None, void)
    acts, brought = case.looks(tables.ACTS), target.time[changes(target)][1:]
    unused = len(brought) > 2 and (acts.time > brought[2]).any() and never_changes(acts)
    case.stop(unused, "unused", acts.time, looks=len(acts), changed=len(brought))
    published = _arrived(case)
    stuck = target.time > np.append(published.time[changes(published)][3:4], np.inf)[0]
    # not every source was looked at, but what it arrives in
    case.stop(stuck.any() and never_changes(target), "no effect", target.time, None, stuck)
    syncs, sent = (case.events(kind)["time"] for kind in (tables.SYNC, tables.PUBLISH))
    taken, fresh = _that_changed(syncs, target), _that_changed(sent, published)
    times = syncs if not published or _rarely(case, fresh) else taken
    rarely = _rarely(case, times) if not published or len(fresh) > 2 else None
    return rarely or case.say("synced", syncs=len(syncs), changed=len(taken))


def _never_synced(case: Case) -> Finding:
    """What a trainer without recorded syncs is told."""
    online, acts = case.looks(tables.ONLINE), case.looks(tables.ACTS)
    case.stop(shares_memory(case)[0] == "acts with", "shared")
    case.stop(acts_with_published(case), "published")
    case.need(online or not acts, "update")
    changed = changes(online).sum()
    never = changed > 2 and len(acts) > 1 and never_changes(acts)
    case.stop(never, "never", acts.time, looks=len(acts), changed=changed)
    return case.missing("sync")


def _published(case: Case, target: Looks) -> set[bytes]:
    """The trained tensors of an agent that were ever whole, in the order of the target's own."""
    whole: set[bytes] = set()
    for looks in (_arrived(case), _arrived(case, 1), _trained(case, target), _trained(case, target, 1)):
        mine, its = common(target, looks)
        if len(mine) == len(target.trained()):
            whole |= set(looks.rows(its))
    return whole


def _arrived(case: Case, before: int = 0) -> Looks:
    """What publications left, or what was there before: where no target was named, what they sent away."""
    return case.looks(PUBLISH + tables.TARGET - before) or case.looks(PUBLISH + tables.SOURCE - before)


def _trained(case: Case, target: Looks, before: int = 0) -> Looks:
    """What updates left, or what was there before: with the target network, where the target has both networks."""
    online, other = case.looks(tables.ONLINE - before), case.looks(tables.TARGET - before)
    if len(online.names) >= len(target.names):
        return online
    online, other = together(online, other)
    sums = np.concatenate([online.sums, other.sums], 1)
    return replace(online, sums=sums, names=online.names + other.names, kinds=online.kinds + other.kinds)


@check_each_agent
def _torn(case: Case) -> Finding:
    target, (shared, _) = case.looks(SYNC + tables.TARGET), shares_memory(case)
    case.stop((shared or acts_with_published(case)) and not target, "uncopied")
    case.need(target, "sync")
    published = _arrived(case)
    known = published or _trained(case, target)
    case.need(known, "publish")
    # another agent's weights are not torn: to take them is a mistake of its own
    everyone = [Case(case.evidence, case.check, agent) for agent in case.evidence.agents]
    whole, trained = set[bytes]().union(*(_published(each, target) for each in everyone)), target.trained()
    mine, its = common(target, known)
    case.stop(len(mine) < len(trained), "tensors")
    before = _arrived(case, 1) or case.looks(tables.ONLINE_BEFORE)
    first = before.sums[:1] if before.names == known.names else known.sums[:0]
    columns = [set(np.concatenate([known.sums[:, k], first[:, k]]).tolist()) for k in its]
    events, writes = case.events(tables.SYNC), _writes(case, published, bool(shared))
    syncs = dict(zip(keys(events).tolist(), events, strict=True))
    begun = writes["begin"].min(initial=np.inf) if published else known.time[0]
    begin = case.looks(SYNC + tables.TARGET_BEFORE)
    whole |= set(begin.rows(trained)[:1] if begin else ())  # what the actor has to begin with
    torn, found, unwrapped, blind, skipped = [], 0, 0, 0, 0
    for k, row in enumerate(target.rows(trained)):
        sync = syncs.get(int(target.key[k]))
        found += row in whole
        if row in whole or sync is None or not begun <= sync["time"] <= case.evidence.horizon:
            continue
        near, direct = _near(writes, sync)
        if not near["looked"].all():  # it may have taken what nobody looked at
            skipped, blind = skipped + direct, blind + (not direct)
            continue
        overlap = (near["time"] > sync["begin"]).any()
        pieces = all(value in column for value, column in zip(target.sums[k, mine].tolist(), columns, strict=True))
        torn += [k] if pieces or overlap else []
        unwrapped += not (pieces or overlap)
    case.stop(torn, "mixed", target.time[torn], torn=len(torn), syncs=len(target))
    partly = skipped or len(target) < len(events)
    name = "unwrapped" if unwrapped else "blind" if blind else "whole" if not partly else "some" if found else "few"
    return case.say(name, open=unwrapped, blind=blind, whole=found, syncs=len(target))


def _writes(case: Case, published: Looks, in_place: bool) -> Array:
    """Whatever may have written what an actor copies, in the order of time: what it wrote to, and whether looked at."""
    sent, updates = case.events(tables.PUBLISH), case.table("updates")[: None if in_place else 0]
    writes = np.zeros(len(sent) + len(updates), [("begin", "f8"), ("time", "f8"), ("into", "i8"), ("looked", "?")])
    for name in ("begin", "time"):
        writes[name] = np.concatenate([sent[name], updates[name]])
    writes["into"] = np.append(sent["target_identity"], np.full(len(updates), IN_PLACE))
    writes["looked"] = np.append(np.isin(keys(sent), published.key), updates["looked"] == 1)
    return writes[np.argsort(writes["time"], kind="stable")]


def _near(writes: Array, sync: Array) -> tuple[Array, bool]:
    """The writes that a sync may have copied, and whether it is known to copy from what they write to.

    Then these are the last one before it and those beside it; else all that began before it ended.
    """
    source, first = int(sync["source_identity"]), 0
    direct = bool(np.isin(writes["into"], (source or IN_PLACE, IN_PLACE)).any())
    if direct:
        writes = writes[np.isin(writes["into"], (source, IN_PLACE, 0))]  # 0: nobody knows
        first = max(0, int(writes["time"].searchsorted(sync["begin"])) - 1)
    return writes[first : writes["begin"].searchsorted(sync["time"])], direct


@check_each_agent
def _publish(case: Case) -> Finding:
    source, target = (case.looks(PUBLISH + role) for role in (tables.SOURCE, tables.TARGET))
    if not source:
        read, changed = case.looks(SYNC + tables.SOURCE), changes(case.looks(tables.ONLINE)).sum()
        case.stop(shares_memory(case)[0], "shared")
        case.need(changed > 9 and len(read) > 2 and never_changes(read), "publish")
        return case.say("never", read.time[-1], syncs=len(read), changed=changed)
    source, copy = together(source, target or source)
    void = ~equal(source, copy)
    mine, its = common(source, copy)
    alike = (source.sums[:, mine] == copy.sums[:, its]).any(1)  # whether anything arrived, at each of them
    case.stop(void.any() and not alike[np.argmax(void)], "no effect", source.time, None, void)
    sent = case.events(tables.PUBLISH)["time"]
    return _rarely(case, sent) or case.say("published", publications=len(sent))


@check_each_agent
def _parts(case: Case) -> Finding:
    source, target = (case.looks(PUBLISH + role) for role in (tables.SOURCE, tables.TARGET))
    case.stop(not (source and target) and shares_memory(case)[0], "uncopied")
    case.stop(source and not target, "sent")
    case.need(source, "publish")
    source, target = together(source, target)
    pairs = zip(*common(source, target, buffers=True), strict=True)
    matters = [(k, n) for k, n in pairs if source.kinds[k] != "b" or "running_" in source.names[k]]
    missing = [source.names[k] for k, n in matters if (source.sums[:, k] != target.sums[:, n]).mean() > 0.5]
    some, numbers = 0 < len(missing) < len(matters), {"missing": len(missing), "names": ", ".join(missing[:4])}
    case.stop(some, "parts", source.time, count=len(matters), **numbers)
    return case.say("arrive", count=len(matters))


@check_each_agent
def _sharing(case: Case) -> Finding:
    online, (does, found) = case.looks(tables.ONLINE), shares_memory(case)
    source, target = (case.looks(PUBLISH + role) for role in (tables.SOURCE, tables.TARGET))
    itself = source and target and source.identity[0] == target.identity[0]
    case.stop(itself, "itself", source.time, publications=len(source))
    case.need(online, "update")
    case.stop(not does, "own")
    processes = len(np.unique(online.file))
    case.stop(processes > 1, "several", processes=processes, does=does)
    case.stop(np.isin(found.file, online.file).all(), "acts" if does == "acts with" else "copies")
    return case.say("in place", online.time, does=does)


@check_each_agent
def _result(case: Case) -> Finding:
    held = case.looks(tables.HELD)
    case.stop(not held, "missing")
    ends = [case.looks(role) for role in (tables.ONLINE, PUBLISH + tables.TARGET, PUBLISH + tables.SOURCE)]
    begins = [case.looks(role) for role in (tables.ONLINE_BEFORE, PUBLISH + tables.TARGET_BEFORE)]
    kept, into = held.sums[-1], case.events(tables.PUBLISH)["target_identity"]

    def same(looks: Looks, row: int) -> bool:
        mine, its = common(held, looks)
        return bool(mine) and bool((kept[mine] == looks.sums[row, its]).all())

    older = [len(each) - row - 1 for each in ends for row in range(len(each)) if same(each, row)]
    case.stop(0 in older, "newest")
    case.stop(any(same(each, 0) for each in begins), "initial", held.time[-1])
    case.stop(older, "older", behind=min(older, default=0))
    case.stop(any(held.identity[-1] in each.identity[each.file == held.file[-1]] for each in ends), "itself")
    case.stop(held.identity[-1] % 2 and held.identity[-1] in into[-1:], "published")
    return case.say("unseen")


@check_each_agent
def _epsilon(case: Case) -> Finding:
    acts, updates = case.table("acts"), case.table("updates")
    sent, taken = case.events(tables.PUBLISH), case.events(tables.SYNC)
    learners = np.concatenate([updates["epsilon"], sent["source_epsilon"], sent["target_epsilon"]])
    used, theirs, read = (each[np.isfinite(each)] for each in (acts["epsilon"], learners, taken["source_epsilon"]))
    case.stop(not len(used), "missing")
    if len(theirs) and len(used) > 1 and np.ptp(used) < 1e-9 < np.ptp(theirs):
        moves = len(read) and np.ptp(read) > 1e-9
        why = "unsynced" if not len(taken) else "uncopied" if moves else "unshared"
        return case.say(why, acts["time"], used=used[0], high=theirs.max(), low=theirs.min())
    # what the actor should use: what its last sync could have copied, or, without syncs, what the learner has
    records, name = (taken, "source_epsilon") if len(read) else (updates, "epsilon")
    due = np.append(np.nan, records[name])[np.searchsorted(records["time"], acts["time"])]
    later = np.argmax(acts["act"] > acts["act"].max() // 2)
    gap = np.abs(acts["epsilon"] - due)[later:]
    if np.isfinite(gap).any() and np.nanmedian(gap) > APART and np.ptp(due[np.isfinite(due)]) > 1e-9:
        worst = later + int(np.nanargmax(gap))
        return case.say("apart", acts["time"][worst], used=acts["epsilon"][worst], theirs=due[worst])
    return case.say("explores", first=used[0], last=used[-1])

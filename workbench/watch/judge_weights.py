"""Checks of weights on their way: what the learner publishes, what the actor takes, and what is left in the end."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from workbench.watch import tables
from workbench.watch.findings import Array, Evidence, Finding, Looks, add, check, good, keys, unknown

SYNC, PUBLISH = 10 * tables.SYNC, 10 * tables.PUBLISH
# Weights are stale if their age is at least this share of all updates, and at least this many epochs or updates.
STALE, STALE_EPOCHS, STALE_UPDATES = 0.25, 5, 50


def common(one: Looks, other: Looks, buffers: bool = False) -> tuple[list[int], list[int]]:
    """The tensors that two models share by name, or by a name within the other's: their places in both."""
    wanted = [k for k, kind in enumerate(one.kinds) if buffers or kind != "b"]
    places = {name: k for k, name in enumerate(other.names)}
    pairs = [(k, places[one.names[k]]) for k in wanted if one.names[k] in places]
    if not pairs:
        for k in wanted:
            mine = one.names[k]
            found = next(
                (n for name, n in places.items() if name.endswith(f".{mine}") or mine.endswith(f".{name}")), None
            )
            pairs += [] if found is None else [(k, found)]
    if not pairs and len(one.names) == len(other.names):
        pairs = [(k, k) for k in wanted]
    return [a for a, _ in pairs], [b for _, b in pairs]


def together(*looks: Looks) -> list[Looks]:
    """The looks of those events that all have one of, in the order of time."""
    shared = functools.reduce(np.intersect1d, [each.key for each in looks])
    return [each.some(np.isin(each.key, shared)) for each in looks]


def equal(one: Looks, other: Looks) -> Array:
    """Whether looks of the same events show the same trained tensors, (n,)."""
    mine, its = common(one, other)
    return np.asarray((one.sums[:, mine] == other.sums[:, its]).all(1) if mine else np.ones(len(one), bool))


def changes(looks: Looks) -> Array:
    """At which looks the trained tensors are others than at the look before, (n,); the first counts."""
    trained = looks.sums[:, looks.trained()]
    return np.concatenate([[True], (trained[1:] != trained[:-1]).any(1)]) if len(looks) else np.zeros(0, bool)


def shares_memory(evidence: Evidence, agent: int) -> tuple[str, Looks] | None:
    """Where the actor reads the very memory that the learner trains: what it is for the actor, and the looks at it."""
    online = evidence.looks(tables.ONLINE, agent)
    if online is None:
        return None
    for role, what in ((tables.ACTS, "acts with"), (SYNC + tables.SOURCE, "copies from")):
        found = evidence.looks(role, agent)
        if found is not None and set(found.identity.tolist()) & set(online.identity.tolist()):
            return what, found
    return None


def _gaps(evidence: Evidence, agent: int, times: Array) -> tuple[float, int, float] | None:
    """The longest stretch without an event: updates in it as a share of all, its epochs, and when it begins."""
    updates = evidence.of("updates", agent)
    if len(updates) < 2:
        return None
    acts = evidence.of("acts", agent)
    end = max(updates["time"][-1] if not len(acts) else min(updates["time"][-1], acts["time"][-1]), updates["time"][0])
    edges = np.concatenate([[updates["time"][0]], times[(times > updates["time"][0]) & (times < end)], [end]])
    done, epochs = np.searchsorted(updates["time"], edges), evidence.epochs(edges)
    longest = int(np.argmax(np.diff(done)))
    share = float(np.diff(done)[longest]) / len(updates)
    return share, int(epochs[longest + 1] - epochs[longest]), float(edges[longest])


def _rare(evidence: Evidence, agent: int, times: Array, what: str) -> Finding | None:
    found = _gaps(evidence, agent, times)
    if found is None:
        return None
    share, epochs, when = found
    if share >= STALE and (epochs >= STALE_EPOCHS or share * len(evidence.of("updates", agent)) >= STALE_UPDATES):
        said = f"{share:.0%} of all updates were made, in {epochs} epochs, before the next {what}; {what} more often"
        return evidence.bad("rarely", agent, when, f"{share:.0%} of the updates", said)
    return None


@check("sync", "W3 W5 W6", "the actor takes every so often what the learner published, and the copy has an effect")
def _sync(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        source, target = (evidence.looks(SYNC + role, agent) for role in (tables.SOURCE, tables.TARGET))
        acts, shared = evidence.looks(tables.ACTS, agent), shares_memory(evidence, agent)
        if source is None or target is None:
            online = evidence.looks(tables.ONLINE, agent)
            if shared is not None and shared[0] == "acts with":
                yield good(f"agent {agent} acts with the network that learns, so there is nothing to sync", "shared")
            elif acts is not None and online is not None and changes(online).sum() > 2 and len(acts) > 1:
                if changes(acts).sum() == 1:
                    said = (
                        f"never synced: the weights that it acts with were the same at {len(acts)} looks, while the "
                        f"learner changed its own {changes(online).sum()} times"
                    )
                    yield evidence.bad("never", agent, acts.time[0], f"0 syncs, {len(acts)} looks", said)
                else:
                    yield add("sync", "actor")
            else:
                yield add("sync", "actor") if acts is None or online is not None else add("update", "learner")
            continue
        before = evidence.looks(SYNC + tables.SOURCE_BEFORE, agent)
        if before is None:
            continue
        source, target, before = together(source, target, before)
        at, void = len(target), equal(source, before) & ~equal(target, source)
        if void.any():
            first = int(np.argmax(void))
            said = (
                "the sync changed nothing that matters: afterwards the actor's weights still differ from those that "
                f"were to be copied ({void.sum()} of {at} syncs)"
            )
            yield evidence.bad("no effect", agent, target.time[first], f"{void.sum()} of {at} syncs", said)
            continue
        other = _from_another(evidence, agent, target)
        if other is not None:
            yield other
            continue
        rare = _rare(evidence, agent, target.time, "sync")
        published = evidence.looks(PUBLISH + tables.TARGET, agent)
        passed = 0 if published is None else int(changes(published).sum())
        if rare is not None and (published is None or passed > 2):
            yield rare
        else:
            yield good(
                f"agent {agent} synced {at} times and took new weights {changes(target).sum()} times", f"{at} syncs"
            )


def _from_another(evidence: Evidence, agent: int, target: Looks) -> Finding | None:
    """The actor's weights are those that another agent's learner published, and not its own."""
    own = _published(evidence, agent, target)
    rows = target.rows(target.trained())
    for other in evidence.agents:
        if other == agent:
            continue
        theirs = _published(evidence, other, target)
        foreign = np.array([row in theirs and row not in own for row in rows])
        if foreign.any():
            first = int(np.argmax(foreign))
            said = f"took the weights of agent {other} ({foreign.sum()} of {len(rows)} syncs); give each its own model"
            return evidence.bad("other agent", agent, target.time[first], f"{foreign.sum()} of {len(rows)} syncs", said)
    return None


def _published(evidence: Evidence, agent: int, target: Looks) -> set[bytes]:
    """The trained tensors of an agent that were ever whole, in the order of the target's own."""
    whole: set[bytes] = set()
    for role in (PUBLISH + tables.TARGET, PUBLISH + tables.TARGET_BEFORE, tables.ONLINE, tables.ONLINE_BEFORE):
        looks = evidence.looks(role, agent)
        if looks is not None:
            mine, its = common(target, looks)
            if len(mine) == len(target.trained()):
                whole |= set(looks.rows(its))
    return whole


@check("torn", "W1 W2", "every sync took one whole publication")
def _torn(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        target = evidence.looks(SYNC + tables.TARGET, agent)
        if target is None:
            shared = shares_memory(evidence, agent)
            yield good(f"agent {agent}: nothing is copied") if shared else add("sync", "actor")
            continue
        published, online = evidence.looks(PUBLISH + tables.TARGET, agent), evidence.looks(tables.ONLINE, agent)
        known = published if published is not None else online
        if known is None:
            yield add("publish", "learner")
            continue
        whole, trained = _published(evidence, agent, target), target.trained()
        mine, its = common(target, known)
        if len(mine) < len(trained):
            yield unknown(f"agent {agent}: what the actor copies into has other tensors than what is published.")
            continue
        columns = [set(np.concatenate([known.sums[:, k], *_first(evidence, agent, k, known)]).tolist()) for k in its]
        events = evidence.of("events", agent)
        syncs = dict(zip(keys(events).tolist(), events, strict=True))
        writes = np.concatenate(
            [events[events["kind"] == tables.PUBLISH][["begin", "time"]], _in_place(evidence, agent)]
        )
        begun = known.time[0] if published is None else writes["begin"].min(initial=np.inf)
        torn, mixed, open_ = [], 0, 0
        for k, row in enumerate(target.rows(trained)):
            sync = syncs.get(int(target.key[k]))
            if row in whole or sync is None or sync["time"] < begun or sync["time"] > evidence.horizon:
                continue
            overlap = ((writes["begin"] < sync["time"]) & (writes["time"] > sync["begin"])).any()
            pieces = all(value in column for value, column in zip(target.sums[k, mine].tolist(), columns, strict=True))
            if pieces or overlap:
                torn.append(k)
                mixed += pieces
            else:
                open_ += 1
        if torn:
            said = (
                f"acts with weights that never existed as a whole: {len(torn)} of {len(target)} syncs took tensors of "
                "two publications, or of one that was just being written; copy under a version or a lock"
            )
            figure = f"{len(torn)} of {len(target)} syncs"
            yield evidence.bad("mixed", agent, target.time[torn[0]], figure, said)
        elif open_:
            yield unknown(
                f"agent {agent}: {open_} of {len(target)} syncs took weights that no recorded call has written: "
                "a write that you did not wrap; add `watch.publish(...)` around it."
            )
        else:
            yield good(
                f"agent {agent}: all {len(target)} syncs took one whole publication", f"0 of {len(target)} syncs"
            )


def _first(evidence: Evidence, agent: int, column: int, known: Looks) -> list[Array]:
    """What a tensor was before the first write to it."""
    before = evidence.looks(PUBLISH + tables.TARGET_BEFORE, agent) or evidence.looks(tables.ONLINE_BEFORE, agent)
    return [before.sums[:1, column]] if before is not None and before.names == known.names else []


def _in_place(evidence: Evidence, agent: int) -> Array:
    """When updates wrote to the memory that the actor copies from."""
    updates = evidence.of("updates", agent)
    kept = updates if shares_memory(evidence, agent) is not None else updates[:0]
    return kept[["begin", "time"]]


@check("publish", "W4", "the learner publishes every so often, and what arrives is what it trained")
def _publish(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        source, target = (evidence.looks(PUBLISH + role, agent) for role in (tables.SOURCE, tables.TARGET))
        if source is None or target is None:
            online, read = evidence.looks(tables.ONLINE, agent), evidence.looks(SYNC + tables.SOURCE, agent)
            if shares_memory(evidence, agent) is not None:
                yield good(f"agent {agent} needs no publication: its actor reads what the learner trains", "shared")
            elif online is not None and read is not None and changes(online).sum() > 9 and len(read) > 2:
                if changes(read).sum() == 1:
                    said = (
                        f"never published: what the actor copies from was the same at {len(read)} syncs, while the "
                        f"learner changed its network {changes(online).sum()} times"
                    )
                    yield evidence.bad("never", agent, read.time[-1], f"0 in {len(read)} syncs", said)
                else:
                    yield add("publish", "learner")
            else:
                yield add("publish", "learner")
            continue
        source, target = together(source, target)
        void = ~equal(source, target)
        if void.any():
            first = int(np.argmax(void))
            mine, its = common(source, target)
            some = source.sums[first, mine] == target.sums[first, its]
            if not some.any():
                said = (
                    "the publication had no effect: afterwards nothing in its target is what was trained "
                    f"({void.sum()} of {len(source)})"
                )
                yield evidence.bad("no effect", agent, source.time[first], f"{void.sum()} of {len(source)}", said)
                continue
        rare = _rare(evidence, agent, target.time, "publish")
        yield rare or good(f"agent {agent} published {len(source)} times", f"{len(source)} publications")


@check("parts", "W8", "all that is trained is published: online and target network, and running statistics")
def _parts(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        source, target = (evidence.looks(PUBLISH + role, agent) for role in (tables.SOURCE, tables.TARGET))
        if source is None or target is None:
            shared = shares_memory(evidence, agent)
            yield good(f"agent {agent}: nothing is copied") if shared else add("publish", "learner")
            continue
        source, target = together(source, target)
        mine, its = common(source, target, buffers=True)
        matters = [source.kinds[k] != "b" or "running_" in source.names[k] for k in mine]
        missing = [
            source.names[k]
            for k, n, counts in zip(mine, its, matters, strict=True)
            if counts and (source.sums[:, k] != target.sums[:, n]).mean() > 0.5
        ]
        if missing and len(missing) < sum(matters):
            said = f"{len(missing)} of {sum(matters)} tensors are not published: {', '.join(missing[:4])}"
            yield evidence.bad("parts", agent, source.time[0], f"{len(missing)} tensors", said)
        else:
            yield good(f"agent {agent}: all {sum(matters)} tensors arrive", f"{sum(matters)} tensors")


@check("sharing", "W1", "the learner does not train in place on what the actor reads")
def _sharing(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        online = evidence.looks(tables.ONLINE, agent)
        source, target = (evidence.looks(PUBLISH + role, agent) for role in (tables.SOURCE, tables.TARGET))
        if source is not None and target is not None and source.identity[0] == target.identity[0]:
            said = (
                "what is published is itself what is trained: source and target of the publication are the same memory"
            )
            yield evidence.bad("in place", agent, source.time[0], f"{len(source)} publications", said)
            continue
        found = shares_memory(evidence, agent)
        if online is None:
            yield add("update", "learner")
        elif found is None:
            yield good(f"agent {agent}: the learner trains memory of its own", "own memory")
        elif set(found[1].file.tolist()) <= set(online.file.tolist()):
            figure = "shared" if found[0] == "acts with" else "one process"
            yield good(f"agent {agent} {found[0]} the network that learns, in one process", figure)
        else:
            said = (
                f"the actor {found[0]} the very tensors that the learner trains in another process: it can see them "
                "half written, and nothing is ever published"
            )
            yield evidence.bad("in place", agent, online.time[0], "shared", said)


@check("result", "", "the parent is left with the trained weights")
def _result(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        held = evidence.looks(tables.HELD, agent)
        if held is None:
            yield unknown("Cannot tell: add `watch.result([...])` where the training has ended.")
            continue
        ends = [
            each
            for role in (tables.ONLINE, PUBLISH + tables.TARGET, PUBLISH + tables.SOURCE)
            if (each := evidence.looks(role, agent)) is not None
        ]
        begins = [
            each
            for role in (tables.ONLINE_BEFORE, PUBLISH + tables.TARGET_BEFORE)
            if (each := evidence.looks(role, agent)) is not None
        ]
        kept = held.sums[-1]

        def same(looks: Looks, row: int, held: Looks = held, kept: Array = kept) -> bool:
            mine, its = common(held, looks)
            return bool(mine) and bool((kept[mine] == looks.sums[row, its]).all())

        older = [len(each) - row - 1 for each in ends for row in range(len(each)) if same(each, row)]
        if any(same(each, -1) for each in ends):
            yield good(f"agent {agent}: the parent holds the newest weights", "newest")
        elif any(same(each, 0) for each in begins):
            said = "the parent is left with the weights that training began with; the trained ones are lost"
            yield evidence.bad("initial", agent, held.time[-1], "initial weights", said)
        elif older:
            said = f"the parent is left with weights that are {min(older)} updates or publications old"
            yield evidence.bad("older", agent, held.time[-1], f"{min(older)} behind", said)
        elif any((each.identity[each.file == held.file[-1]] == held.identity[-1]).any() for each in ends):
            yield good(f"agent {agent}: the parent holds the network that was trained itself", "itself")
        else:
            yield unknown(f"agent {agent}: the parent holds weights that no recorded call has seen.")


@check("epsilon", "W7", "the actor explores with the epsilon that the learner or the shared model has")
def _epsilon(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        acts, updates, events = (evidence.of(name, agent) for name in ("acts", "updates", "events"))
        used = acts["epsilon"][np.isfinite(acts["epsilon"])]
        sent, taken = (events[events["kind"] == kind] for kind in (tables.PUBLISH, tables.SYNC))
        theirs = np.concatenate([updates["epsilon"], sent["source_epsilon"], sent["target_epsilon"]])
        theirs, read = theirs[np.isfinite(theirs)], taken["source_epsilon"][np.isfinite(taken["source_epsilon"])]
        if not len(used):
            yield unknown("Cannot tell: no object that was given to `watch.act(...)` has an attribute epsilon.")
        elif len(theirs) and len(used) > 1 and np.ptp(used) < 1e-9 < np.ptp(theirs):
            why = (
                "a plain attribute is not shared between processes; make it a tensor of the shared model, or compute it"
                " where it is used"
            )
            if not len(taken) or (len(read) and np.ptp(read) > 1e-9):
                why = "no sync brings it to the actor" if not len(taken) else "the sync does not copy it"
            said = f"explores with epsilon {used[0]:.4g} from beginning to end, while the learner's goes from "
            said += f"{theirs.max():.4g} to {theirs.min():.4g}: {why}"
            yield evidence.bad("actor", agent, acts["time"][0], f"{used[0]:.4g} always", said)
        else:
            yield good(f"agent {agent} explores with epsilon {used[0]:.4g} to {used[-1]:.4g}", f"{used[-1]:.4g}")

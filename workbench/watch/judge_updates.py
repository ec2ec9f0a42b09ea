"""Checks of the updates: what moves, by how much, and what it is drawn to."""

import numpy as np

from workbench.watch import tables
from workbench.watch.findings import Array, Case, Finding, check_each_agent, keys, together
from workbench.watch.judge_weights import changes

# Updates after which something that has not happened counts as never; and a hard copy into the target network.
ENOUGH, ENOUGH_FOR_A_COPY = 20, 20_000


@check_each_agent
def _parameters(case: Case) -> Finding:
    before, after = case.looks(tables.ONLINE_BEFORE), case.looks(tables.ONLINE)
    case.need(before and after and before.names == after.names, "online")
    moved, looked, count = (after.sums != before.sums[0]).any(0), len(after), after.kinds.count("p")
    tensors = zip(after.names, after.kinds, moved, strict=True)
    still = [name for name, kind, each in tensors if kind == "p" and not each]
    case.stop(still and looked < ENOUGH, "early", looked=looked)
    case.stop(still, "still", after.time, still=len(still), count=count, looked=looked, names=", ".join(still[:4]))
    return case.say("moved", count=count)


@check_each_agent
def _optimizer(case: Case) -> Finding:
    updates = case.table("updates")
    known = updates[np.isfinite(updates["optimizer_has"])]
    case.need(len(known), "optimizer")
    foreign, rate = known["optimizer_has"] == 0, known["learning_rate"]
    case.stop(foreign.any(), "other tensors", known["time"], known["update"], foreign)
    case.stop((rate <= 0).all(), "rate", known["time"])
    return case.say("own", high=rate.max(), low=rate.min())


@check_each_agent
def _target(case: Case) -> Finding:
    tau = case.evidence.declared["tau"]
    before, after, online = (case.looks(role) for role in (tables.TARGET_BEFORE, tables.TARGET, tables.ONLINE))
    case.need(before and after and online and before.names == after.names, "target")
    before, after, online = together(before, after, online)
    trained, updates = after.trained(), len(after)
    case.need(updates, "target")
    inside = (before.sums[:, trained] != after.sums[:, trained]).any(1)
    # looks at updates that follow each other, and at the same memory: an agent may have a network beside
    following = (before.key[1:] - after.key[:-1] == 1) & (before.identity[1:] == after.identity[:-1])
    between = following & (before.sums[1:, trained] != after.sums[:-1, trained]).any(1)
    moves, goal = int(inside.sum() + between.sum()), online.picks
    done = case.table("updates")
    made = int(done["count"][done["time"] <= after.time[-1]].sum())
    never = made >= ENOUGH_FOR_A_COPY or (updates >= ENOUGH and tau is not None and tau < 1)
    still = (after.sums[:, trained] == before.sums[0, trained]).all()
    case.stop(still and never, "never", after.time[-1], updates=made)
    case.stop(not moves, "unmoved" if still else "few", updates=made)
    case.stop(online.shapes != after.shapes, "unlike")
    known = dict(zip(keys(done).tolist(), done["count"].tolist(), strict=True))
    counts = np.array([known.get(key, 1) for key in after.key.tolist()])  # updates in each event
    within = _share(before.picks, after.picks, goal, inside, counts)
    meanwhile = _share(after.picks[:-1], before.picks[1:], goal[:-1], between, counts[1:])
    before_step = following & inside[1:] & _alike(after.picks[1:], goal[:-1])  # a copy at the beginning of an update
    within[1:][before_step] = 1.0
    shares = np.concatenate([within, meanwhile])
    shares = shares[np.isfinite(shares)]
    case.stop(not len(shares), "near")
    share, both = float(np.median(shares)), inside[1:] & between
    numbers = {"share": share, "tau": tau, "moves": moves, "both": both.sum(), "updates": len(both)}
    case.stop(tau is None, "undeclared", **numbers)
    always = max(inside.mean(), between.sum() / max(following.sum(), ENOUGH)) > 0.9
    always &= share > 0.99 and updates >= ENOUGH and np.median(counts) == 1
    case.stop(always, "none", after.time, updates=updates)
    case.stop(both.sum() > 0.5 * len(both), "again", after.time, **numbers)
    case.stop(abs(share - tau) <= 0.1 * tau, "moves", **numbers)
    case.stop(abs(share - 1 + (1 - tau) ** 2) <= 0.1 * tau, "twice", after.time, **numbers)
    return case.say("share" if inside.sum() >= between.sum() else "between", after.time, **numbers)


def _alike(one: Array, other: Array) -> Array:
    """Whether two looks have picked the same numbers, as far as there are any, (n,)."""
    picked = np.isfinite(one)
    return np.asarray(picked.any(1) & ((one == other) | ~picked).all(1))


def _share(before: Array, after: Array, goal: Array, moved: Array, counts: Array) -> Array:
    """By which share of the way to the online network the target network moved, per update; nan where that is blurred.

    A float32 knows a step only if it is large against the number's own rounding.
    """
    way, step = goal.astype(np.float64) - before, after.astype(np.float64) - before
    clear = (np.abs(step) > 100 * np.finfo(np.float32).eps * np.abs(before)) & (np.abs(way) > 1e-7)
    ratio = np.where(clear, step / np.where(clear, way, 1), np.nan)
    enough = (clear.sum(1) >= 3) & moved
    share = np.full(len(ratio), np.nan)
    share[enough] = np.nanmedian(ratio[enough], 1) if enough.any() else np.nan
    return np.asarray(1 - np.maximum(1 - share, 0) ** (1 / np.maximum(counts, 1)))


@check_each_agent
def _gradients(case: Case) -> Finding:
    updates = case.table("updates")
    case.need(len(updates), "update")
    through = updates["target_grad"] > 0
    looked = updates[(updates["looked"] == 1) & ~np.isnan(updates["grad_norm"])]
    wild = ~np.isfinite(looked["grad_norm"])
    norms, lasting = looked["grad_norm"][~wild], wild[-3:].any() and wild[-3:].all()
    case.also(through.any(), "target", updates["time"], updates["update"], through)
    # else a gradient scaler has skipped those steps, as it should
    case.stop(lasting, "not finite", looked["time"], looked["update"], wild)
    zero = len(looked) >= ENOUGH and not norms.any()
    case.stop(not len(norms) or (zero and changes(case.looks(tables.ONLINE))[1:].any()), "gone")
    case.stop(zero, "zero", looked["time"], updates=len(looked))
    return case.say("finite", norm=np.median(norms), most=norms.max())


@check_each_agent
def _device(case: Case) -> Finding:
    online, published = case.looks(tables.ONLINE), case.looks(10 * tables.PUBLISH + tables.TARGET)
    users = np.concatenate([case.table("acts")["file"], case.events(tables.SYNC)["file"]])
    crosses = len(published) and not published.device.startswith("cpu") and not np.isin(users, published.file).all()
    case.also(crosses, "published", published.time, device=published.device)
    return case.say("learns", device=online.device) if online else case.missing("online")


@check_each_agent
def _mode(case: Case) -> Finding:
    updates, acts = (each[each["training"] >= 0] for each in map(case.table, ("updates", "acts")))
    case.need(len(updates), "forward" if case.looks(tables.ONLINE) else "online")
    frozen = (updates["training"] == 0) & (updates["sensitive"] == 1)
    lively = (acts["training"] == 1) & (acts["sensitive"] == 1)
    layers = " ".join(layout["sensitive"] for layout in case.evidence.recording.said("layout")).lower()
    case.stop(frozen.mean() > 0.5, "learner", updates["time"], broken=frozen)
    if lively.any() and lively.mean() > 0.5:
        case.stop("batchnorm" in layers, "actor", acts["time"], broken=lively)
        case.stop("dropout" in layers, "dropout")
    return case.say("training" if updates["training"][-1] else "evaluation", updates=len(updates))


@check_each_agent
def _loss(case: Case) -> Finding:
    updates = case.table("updates")
    updates = updates[~np.isnan(updates["loss"])]  # those that have logged one
    case.stop(not len(updates), "unlogged")
    losses, times, end = updates["loss"], updates["time"], len(updates) // 4 + 1
    wild = np.isinf(losses)
    case.stop(wild.any(), "not finite", times, updates["update"], wild)
    case.stop(len(losses) >= ENOUGH and np.ptp(losses) == 0, "constant", times, loss=losses[0], updates=len(losses))
    reported = _reported(case, times[0])
    low, high = float(losses.min()), float(losses.max())
    summed = (len(case.evidence.agents) + 1) * (4 * len(losses) // max(len(reported), 1) + 1)  # over an epoch, at most
    least, most = min(low, summed * low), max(high, summed * high)
    off = (reported["loss"] < least - 1e-5 * abs(least)) | (reported["loss"] > most + 1e-5 * abs(most))
    if len(reported) >= 3 and off.mean() > 0.5:
        loss = reported["loss"][np.argmax(off)]
        return case.say("reported", reported["time"], broken=off, loss=loss, low=low, high=high)
    return case.say("falls", first=losses[:end].mean(), last=losses[-end:].mean(), updates=len(losses))


def _reported(case: Case, since: float) -> Array:
    """What the trainer has reported as its loss since a time: time and loss of each epoch."""
    history = case.evidence.run.history
    if "reported/loss" not in history.schema.metrics:
        return np.empty(0, [("time", float), ("loss", float)])
    table = history.table("reported")
    return np.asarray(table[(table["agent"] == case.agent) & np.isfinite(table["loss"]) & (table["time"] > since)])

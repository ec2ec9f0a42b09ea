"""Checks of the updates: what moves, by how much, and what it is drawn to."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from workbench.watch import tables
from workbench.watch.findings import Array, Evidence, Finding, Looks, add, check, good, keys, unknown

# Updates after which something that has not happened counts as never.
ENOUGH = 20


def _pairs(evidence: Evidence, agent: int, before: int, after: int) -> tuple[Looks, Looks, Array, Array] | None:
    """Looks at the beginning and at the end of the same updates: both, and their places in each."""
    one, other = evidence.looks(before, agent), evidence.looks(after, agent)
    if one is None or other is None or one.names != other.names:
        return None
    _, mine, its = np.intersect1d(one.key, other.key, return_indices=True)
    return (one, other, mine, its) if len(mine) else None


@check("parameters", "L5", "every trainable tensor of the online network moves")
def _parameters(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        before, after = (evidence.looks(role, agent) for role in (tables.ONLINE_BEFORE, tables.ONLINE))
        if before is None or after is None or before.names != after.names:
            yield add("update", "learner, with online=")
            continue
        moved, looked = (after.sums != before.sums[0]).any(0), len(after)
        tensors = zip(after.names, after.kinds, moved, strict=True)
        still = [name for name, kind, each in tensors if kind == "p" and not each]
        count = after.kinds.count("p")
        if looked < ENOUGH and still:
            yield unknown(f"agent {agent}: only {looked} updates so far.")
        elif still:
            said = f"{len(still)} of {count} trainable tensors never moved in {looked} updates: {', '.join(still[:4])}"
            yield evidence.bad("still", agent, after.time[0], f"{len(still)} of {count} tensors", said)
        else:
            yield good(f"agent {agent}: all {count} trainable tensors moved", f"{count} tensors")


@check("optimizer", "W9 L12", "the optimiser holds the online network's own tensors, and its step size is above 0")
def _optimizer(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        updates = evidence.of("updates", agent)
        known = updates[np.isfinite(updates["optimizer_has"])]
        if not len(known):
            yield add("update", "learner, with online= and optimizer=")
            continue
        foreign, idle = known["optimizer_has"] == 0, known["learning_rate"] <= 0
        if foreign.any():
            first = known[np.argmax(foreign)]
            said = (
                f"the optimiser holds none of the online network's tensors ({foreign.sum()} of {len(known)} updates):"
                " it was made before the network was replaced; make it afterwards"
            )
            figure = f"{foreign.sum()} of {len(known)} updates"
            yield evidence.bad("other tensors", agent, first["time"], figure, said, int(first["update"]))
        elif idle.all():
            yield evidence.bad("rate", agent, known["time"][0], "0", "the step size is 0: nothing is learned")
        else:
            low, high = known["learning_rate"].min(), known["learning_rate"].max()
            yield good(f"agent {agent}: step size {high:.3g} to {low:.3g}", f"{high:.3g}")


@check("target", "L1", "the target network moves once per update, by tau of the way")
def _target(evidence: Evidence) -> Iterator[Finding]:
    tau = evidence.declared["tau"]
    for agent in evidence.agents:
        found = _pairs(evidence, agent, tables.TARGET_BEFORE, tables.TARGET)
        online = evidence.looks(tables.ONLINE, agent)
        if found is None or online is None:
            yield add("update", "learner, with online= and target=")
            continue
        before, after, mine, its = found
        trained = after.trained()
        inside = (before.sums[mine][:, trained] != after.sums[its][:, trained]).any(1)
        following = (before.key[mine][1:] - after.key[its][:-1]) == 1  # looks at updates that follow each other
        between = following & (before.sums[mine][1:, trained] != after.sums[its][:-1, trained]).any(1)
        total = len(mine)
        moves = int(inside.sum() + between.sum())
        if not moves:
            never = total >= ENOUGH and tau is not None and tau < 1
            said = f"the target network never moved in {total} updates"
            yield (
                evidence.bad("never", agent, after.time[-1], f"0 of {total} updates", said)
                if never
                else unknown(f"agent {agent}: {said}.")
            )
            continue
        goal = online.picks[np.isin(online.key, after.key[its])]
        if len(goal) != total:
            yield unknown(f"agent {agent}: too few looks at the networks.")
            continue
        counts = _counts(evidence, agent, after.key[its])
        shares = [_share(before.picks[mine], after.picks[its], goal, inside, counts)]
        shares.append(_share(after.picks[its][:-1], before.picks[mine][1:], goal[:-1], between, counts[1:]))
        share = np.concatenate(shares)
        share = share[np.isfinite(share)]
        both = inside[1:] & between
        if not len(share):
            yield unknown(f"agent {agent}: the networks are too close to tell by what share the target network moves.")
            continue
        usual, figure = float(np.median(share)), f"{np.median(share):.3g} of the way"
        twice = 1 - (1 - (tau or math.nan)) ** 2
        if tau is None:
            yield good(
                f"agent {agent}: the target network moves by {usual:.3g} of the way (no tau was declared)", figure
            )
        elif both.sum() > 0.5 * len(both):
            said = "the target network moves twice: within the update and again before the next"
            yield evidence.bad("twice", agent, after.time[0], f"{both.sum()} of {len(both)}", said)
        elif abs(usual - tau) <= 0.1 * tau:
            yield good(f"agent {agent}: the target network moved {moves} times, by {usual:.3g} of the way", figure)
        elif abs(usual - twice) <= 0.1 * tau:
            said = f"the target network moves by {usual:.3g} of the way at an update, which is twice tau = {tau:g}"
            yield evidence.bad("twice", agent, after.time[0], figure, said)
        else:
            where = "within" if inside.sum() >= between.sum() else "between"
            said = (
                f"the target network moves by {usual:.3g} of the way, {where} updates, where tau = {tau:g} is declared"
            )
            yield evidence.bad("share" if where == "within" else "between", agent, after.time[0], figure, said)


def _counts(evidence: Evidence, agent: int, wanted: Array) -> Array:
    """How many updates are in each of some events."""
    updates = evidence.of("updates", agent)
    counts = dict(zip(keys(updates).tolist(), updates["count"].tolist(), strict=True))
    return np.array([counts.get(key, 1) for key in wanted.tolist()])


def _share(before: Array, after: Array, goal: Array, moved: Array, counts: Array) -> Array:
    """By which share of the way to the online network the target network moved, per update; nan where that is blurred.

    A float32 knows a step only if it is large against the number's own rounding.
    """
    way, step = goal.astype(np.float64) - before, after.astype(np.float64) - before
    clear = (np.abs(step) > 100 * np.finfo(np.float32).eps * np.abs(before)) & (np.abs(way) > 1e-7)
    ratio = np.where(clear, step / np.where(clear, way, 1), np.nan)
    enough = clear.sum(1) >= 3
    share = np.full(len(ratio), np.nan)
    share[enough & moved] = np.nanmedian(ratio[enough & moved], 1) if (enough & moved).any() else np.nan
    return np.asarray(1 - np.maximum(1 - share, 0) ** (1 / np.maximum(counts, 1)))


@check("gradients", "L4", "gradients are finite and not all 0, and none flow through the target")
def _gradients(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        updates = evidence.of("updates", agent)
        if not len(updates):
            yield add("update", "learner")
            continue
        through = updates["target_grad"] > 0
        looked = updates[(updates["looked"] == 1) & ~np.isnan(updates["grad_norm"])]
        wild = ~np.isfinite(looked["grad_norm"])
        if through.any():
            first = updates[np.argmax(through)]
            said = (
                "the target carries gradients: the update changes what it is drawn to; compute it under torch.no_grad()"
            )
            figure = f"{through.sum()} of {len(updates)} updates"
            yield evidence.bad("target", agent, first["time"], figure, said, int(first["update"]))
        if wild.any():
            first = looked[np.argmax(wild)]
            said = f"the gradient's norm is {first['grad_norm']}"
            yield evidence.bad("not finite", agent, first["time"], f"{wild.sum()} updates", said, int(first["update"]))
        elif len(looked) >= ENOUGH and (looked["grad_norm"] == 0).all():
            yield evidence.bad("zero", agent, looked["time"][0], "0", f"all gradients of {len(looked)} updates are 0")
        elif len(looked) and not through.any():
            span = f"{np.median(looked['grad_norm']):.3g}"
            yield good(f"agent {agent}: gradient norm {span}, at most {looked['grad_norm'].max():.3g}", span)
        elif not through.any():
            yield unknown(
                f"agent {agent}: the gradients are gone when `watch.update(...)` ends; zero them at its beginning."
            )


@check("device", "L3 W10", "batch and network are on one device, and what is published is on the CPU")
def _device(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        updates = evidence.of("updates", agent)
        published = evidence.looks(10 * tables.PUBLISH + tables.TARGET, agent)
        online = evidence.looks(tables.ONLINE, agent)
        if (updates["device"] > 0).any():
            first = updates[np.argmax(updates["device"] > 0)]
            yield evidence.bad(
                "batch", agent, first["time"], "batch", "the batch lies on another device than the network"
            )
        if published is not None and not published.device.startswith("cpu"):
            said = (
                f"what is published lies on {published.device}; keep it in host memory, which processes can share"
                " safely"
            )
            yield evidence.bad("published", agent, published.time[0], published.device, said)
        if online is None:
            yield add("update", "learner, with online=")
        else:
            yield good(f"agent {agent} learns on {online.device}", online.device)


@check("mode", "L2", "layers that behave differently in training are in training mode when they learn")
def _mode(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        updates, acts = (evidence.of(name, agent) for name in ("updates", "acts"))
        updates, acts = (each[each["training"] >= 0] for each in (updates, acts))
        if not len(updates):
            yield add("update", "learner, with online=")
            continue
        frozen = (updates["training"] == 0) & (updates["sensitive"] == 1)
        lively = (acts["training"] == 1) & (acts["sensitive"] == 1)
        dropped = any(word in _layers(evidence) for word in ("dropout", "batchnorm"))
        if frozen.mean() > 0.5:
            said = "the network learns in evaluation mode, in which its noise, dropout or batch statistics are off"
            yield evidence.bad("learner", agent, updates["time"][0], f"{frozen.sum()} of {len(updates)} updates", said)
        elif lively.any() and lively.mean() > 0.5 and dropped:
            said = "the network acts in training mode: dropout or batch statistics disturb its choices"
            yield evidence.bad("actor", agent, acts["time"][0], f"{lively.sum()} of {len(acts)} actions", said)
        else:
            mode = "training" if updates["training"][-1] else "evaluation"
            yield good(f"agent {agent} learns in {mode} mode", f"{len(updates)} updates")


def _layers(evidence: Evidence) -> str:
    lines = (line for reader in evidence.recording.files.values() for line in reader.lines)
    return " ".join(line["layout"]["sensitive"] for line in lines if "layout" in line).lower()


@check("loss", "L14", "the loss is finite and not constant, and what is reported is what was computed")
def _loss(evidence: Evidence) -> Iterator[Finding]:
    history = evidence.run.history
    for agent in evidence.agents:
        updates = evidence.of("updates", agent)
        updates = updates[updates["looked"] >= 0]
        logged = updates["loss"]
        known = ~np.isnan(logged)
        wild = np.isinf(logged) | (np.isnan(logged) & known.any())
        if not known.any():
            yield unknown("Cannot tell: add `update.log(loss=...)` within `watch.update(...)`.")
            continue
        if wild.any():
            first = updates[np.argmax(wild)]
            yield evidence.bad(
                "not finite",
                agent,
                first["time"],
                f"{wild.sum()} of {len(logged)} updates",
                f"the loss is {first['loss']}",
                int(first["update"]),
            )
            continue
        if len(logged) >= ENOUGH and np.ptp(logged) == 0:
            yield evidence.bad(
                "constant",
                agent,
                updates["time"][0],
                f"{logged[0]:.4g} always",
                f"the loss is {logged[0]:.4g} in all of {len(logged)} updates",
            )
            continue
        if "reported/loss" in history.schema.metrics:
            table = history.table("reported")
            mine = table[(table["agent"] == agent) & np.isfinite(table["loss"]) & (table["time"] > updates["time"][0])]
            low, high = float(logged.min()), float(logged.max()) * (len(evidence.agents) + 1)
            off = (mine["loss"] < low - 1e-5 * abs(low)) | (mine["loss"] > high + 1e-5 * abs(high))
            if len(mine) >= 3 and off.mean() > 0.5:
                first = mine[np.argmax(off)]
                said = (
                    f"the loss that is reported, {first['loss']:.4g}, is none that was computed ({low:.4g} to "
                    f"{float(logged.max()):.4g})"
                )
                yield evidence.bad("reported", agent, first["time"], f"{off.sum()} of {len(mine)} epochs", said)
                continue
        yield good(
            f"agent {agent}: loss {logged[: len(logged) // 4 + 1].mean():.3g} at first, "
            f"{logged[-(len(logged) // 4 + 1) :].mean():.3g} in the end",
            f"{len(logged)} updates",
        )

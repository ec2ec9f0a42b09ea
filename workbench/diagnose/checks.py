"""Checks: what the rules say together, as one verdict with a figure, a threshold and the sentence one would write.

Each check of the catalogue is a few :class:`~workbench.diagnose.rules.Rule`; so is each of the eight verification
methods of seed 000. A check fails if a rule is broken, passes if all that it needs hold, and cannot tell where records
are missing: then it says what to record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.diagnose import rules
from workbench.diagnose.catalogue import CHECKS, ids_of_check
from workbench.diagnose.rules import Comparison, Evidence, Rule, above, at_least, at_most, equal, not_refused
from workbench.record.metrics import EventKind

Verdict = Literal["pass", "fail", "cannot tell"]

NO_WEIGHTS = 1e-7
"""Distance of weights that counts as none; an update moves them by some 1e-3."""


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check."""

    name: str
    ids: tuple[str, ...]
    """Ids of the failures that it speaks for."""
    verdict: Verdict
    figure: str
    """What was found, such as "0 of 24 epochs"."""
    threshold: str
    """What must hold."""
    sentence: str
    epoch: int | None = None
    """First epoch that shows the failure."""


# --- the rules ------------------------------------------------------------------------------------------------------

VERSION = Rule(
    rules.version_at_first_action, "epochs", "version in use at the first action = version due",
    "the first action of each of {count} epochs was chosen by the version that was due",
    "agent {agent} began epoch {epoch} with version {value} where {due} was due ({bad} of {count} epochs)",
)  # fmt: skip
SYNCS = Rule(
    rules.syncs_against_epochs, "syncs due", "one sync in every epoch that is due one",
    "all {count} syncs that were due took place",
    "{bad} of {count} syncs that were due never took place, the first in epoch {first}",
)  # fmt: skip
ONLINE = Rule(
    equal("sync/online_after", NO_WEIGHTS), "syncs", "online distance after a sync = 0",
    "after {count} syncs the actor's online weights were the published ones",
    "after a sync in epoch {epoch} agent {agent} still held online weights that are {value} from the published ones "
    "({bad} of {count} syncs)",
)  # fmt: skip
TARGET_HELD = Rule(
    equal("sync/target_after", NO_WEIGHTS), "syncs", "target distance after a sync = 0",
    "after {count} syncs the target weights that the actor copied were the published ones",
    "after a sync in epoch {epoch} agent {agent} held target weights that are {value} from the published ones "
    "({bad} of {count} syncs)",
)  # fmt: skip
SAME_Q = Rule(
    rules.q_on_both_sides, "syncs", "Q of the probe batch equal on both sides within 0.1 %",
    "Q of the fixed probe batch was the same on both sides after {count} syncs",
    "Q of the fixed probe batch was {value} for the actor and {due} for the learner of agent {agent} in epoch {epoch}",
    needed=False,
)  # fmt: skip
CHECKSUM = Rule(
    equal("sync/checksum"), "copies", "checksum of every copied snapshot = its header's",
    "all {count} snapshots that the actor copied have the checksum of their header",
    "{bad} of {count} snapshots that the actor copied are no published one: agent {agent} acted in epoch {epoch} with "
    "a mixture that never existed",
)  # fmt: skip
LAG = Rule(
    rules.lag_in_versions, "epochs", "versions behind <= what the dial or pacing allows",
    "the actor was at most {value} versions behind ({due} are allowed)",
    "agent {agent} acted in epoch {epoch} with weights that were {value} versions behind, where {due} are allowed",
    shows="largest",
)  # fmt: skip
PUBLISHED = Rule(
    equal("publish/online", NO_WEIGHTS), "publications", "online distance of agent and mailbox after publishing = 0",
    "after {count} publications the mailbox held the learner's online weights",
    "after publishing in epoch {epoch} the mailbox of agent {agent} was {value} from the learner's online weights "
    "({bad} of {count} publications)",
)  # fmt: skip
PUBLISHED_TARGET = Rule(
    equal("publish/target", NO_WEIGHTS), "publications", "target distance of agent and mailbox after publishing = 0",
    "after {count} publications the mailbox held the learner's target weights",
    "what is published of agent {agent} lacks its target network: {value} from it in epoch {epoch} "
    "({bad} of {count} publications)",
)  # fmt: skip
WAITING = Rule(
    at_most("learn/waiting"), "phases", "updates that wait for publication <= the interval",
    "no more updates than allowed waited for publication after {count} phases of learning",
    "agent {agent} had made {value} updates in epoch {epoch} that were in no published snapshot ({due} may wait)",
)  # fmt: skip
RATE = Rule(
    rules.updates_between_publications, "publications", "updates between two publications <= the interval",
    "{count} publications came at their interval, at most {value} updates apart",
    "agent {agent} published only after {value} updates in epoch {epoch}, where {due} are the interval",
    needed=False, shows="largest",
)  # fmt: skip
EPSILON = Rule(
    rules.epsilon_of_epochs, "epochs", "|epsilon in use - epsilon due| <= 0.0001",
    "epsilon in use was epsilon due in all {count} epochs",
    "agent {agent} explored with epsilon {value} in epoch {epoch}, where {due} was due ({bad} of {count} epochs)",
)  # fmt: skip
EPSILON_ACTED = Rule(
    rules.where_known(equal("act/epsilon", 1e-4)), "epochs", "|epsilon behind the actions - epsilon due| <= 0.0001",
    "the actions' own probabilities say the same of {count} epochs",
    "the actions of agent {agent} in epoch {epoch} were chosen with epsilon {value}, where {due} was due "
    "({bad} of {count} epochs)",
    needed=False,
)  # fmt: skip
EPSILON_SYNCED = Rule(
    equal("sync/epsilon_after", 1e-4), "syncs", "|epsilon after a sync - epsilon due| <= 0.0001",
    "epsilon after {count} syncs was the one due",
    "epsilon of agent {agent} was {value} after the sync in epoch {epoch}, where {due} was due "
    "({bad} of {count} syncs)",
    needed=False,
)  # fmt: skip
EPSILON_PUBLISHED = Rule(
    rules.epsilon_published, "publications", "|epsilon in the header - epsilon due| <= 0.0001",
    "the headers of {count} snapshots give the epsilon that is due",
    "the header of a snapshot of agent {agent} gives epsilon {value} for epoch {epoch}, where {due} is due",
    needed=False,
)  # fmt: skip

CHECK_RULES: dict[str, tuple[Rule, ...]] = {
    "data": (
        Rule(
            not_refused(r"rows below .* were asked for"), "epochs", "no learner is refused its rows",
            "no learner lacked rows", "a learner found no rows: {detail}", needed=False,
        ),
        Rule(
            at_least("data/rows"), "phases", "rows that the learner sees >= rows collected",
            "the learner saw every row that was collected in {count} phases of learning",
            "the learner of agent {agent} saw {value} rows in epoch {epoch}, where {due} were collected: it does not "
            "train on the actor's replay",
        ),
        Rule(
            above("data/varying"), "batches", "share of a batch that varies > 0",
            "at least a share of {value} of a batch varied in {count} batches",
            "the batches of agent {agent} are constant from epoch {first} on ({bad} of {count})",
            shows="smallest",
        ),
        Rule(
            equal("act/rows"), "epochs", "rows in the shared replay = agent steps",
            "the shared replay held every agent step of {count} epochs",
            "the shared replay of agent {agent} held {value} rows after epoch {epoch}, where {due} steps were made",
        ),
    ),
    "stack": (
        Rule(
            equal("act/stacks"), "epochs", "states that the policy was fed = states that lie in the replay",
            "the actor's input was that of a clean reader in {count} epochs",
            "agent {agent} was fed {value} states in epoch {epoch} that are not those in the replay "
            "({bad} of {count} epochs)",
        ),
        Rule(
            equal("data/stacks"), "batches", "states that the learner was fed = states that lie in the replay",
            "the learner's input was that of a clean reader in {count} batches",
            "the learner of agent {agent} was fed {value} rows in epoch {epoch} whose older frames are not those that "
            "a clean reader stacks ({bad} of {count} batches)",
        ),
    ),
    "shape": (
        Rule(
            not_refused(r"a frame of shape|the stack is|could not broadcast"), "epochs",
            "every frame has shape and dtype of the replay",
            "the frames of {count} epochs went through the door of the replay",
            "an observation was refused: {detail}",
        ),
    ),
    "spec": (
        Rule(
            not_refused(r"LayoutMismatch|the block was made as"), "epochs", "every block opens under the same table",
            "all processes opened the blocks under the same table", "two processes disagree on a block: {detail}",
        ),
    ),
    "integrity": (
        Rule(
            equal("data/void"), "phases", "rows drawn that were void or not yet written = 0",
            "no row was drawn whose place was given up for writing, in {count} phases of learning",
            "the learner of agent {agent} trained in epoch {epoch} on {value} rows that were void or half written "
            "({bad} of {count} phases)",
        ),
        Rule(
            equal("data/broken"), "batches", "rows that match neither stamp nor number = 0",
            "all rows of {count} batches match their stamp and number",
            "{value} rows of agent {agent} in epoch {epoch} match neither stamp nor number ({bad} of {count} batches)",
        ),
        Rule(
            equal("act/broken"), "epochs", "rows just written that do not match their stamp = 0",
            "all rows just written match their stamp in {count} epochs",
            "{value} rows that agent {agent} wrote in epoch {epoch} do not match their stamp ({bad} of {count} epochs)",
        ),
        CHECKSUM,
    ),
    "target": (
        Rule(
            equal("data/discounts"), "batches", "discounts that differ from the product over the turns = 0",
            "all discounts of {count} batches are the product over their turns",
            "{value} rows of a batch of agent {agent} in epoch {epoch} bootstrap with another discount than their "
            "turns give ({bad} of {count} batches); {detail}",
        ),
        Rule(
            equal("data/returns"), "batches", "returns that differ from the sum over the raw rewards = 0",
            "all returns of {count} batches are the sum over their raw rewards",
            "{value} rows of a batch of agent {agent} in epoch {epoch} have another return than their raw rewards give "
            "({bad} of {count} batches)",
        ),
    ),
    "world": (
        Rule(
            rules.where_known(equal("world/reset")), "resets", "cells that differ from a new world = 0",
            "a reset world equalled a new one in {count} resets",
            "{value} cells of the world reset for epoch {epoch} are not those of a new world ({bad} of {count} resets)",
        ),
    ),
    "action": (
        Rule(
            not_refused(r"actions hold|actions have shape"), "epochs", "every action is one of the world's",
            "no action of {count} epochs was refused", "an action was refused: {detail}",
        ),
        Rule(
            equal("act/out_of_range"), "epochs", "actions outside the range = 0",
            "no action of {count} epochs was outside the range",
            "agent {agent} chose {value} actions in epoch {epoch} that the world does not know", needed=False,
        ),
    ),
    "sync": (
        SYNCS, VERSION, LAG, ONLINE, TARGET_HELD, PUBLISHED, PUBLISHED_TARGET, WAITING, RATE, SAME_Q,
    ),
    "epsilon": (EPSILON, EPSILON_ACTED, EPSILON_SYNCED, EPSILON_PUBLISHED),
    "optimizer": (
        Rule(
            equal("learn/optimizer"), "updates", "the optimiser holds the networks' own parameters",
            "the optimiser held the networks' own parameters in {count} updates",
            "the optimiser of agent {agent} holds other parameters than its networks from epoch {first} on "
            "({bad} of {count} updates)",
        ),
        Rule(
            rules.weights_move, "updates", "an update moves the weights",
            "each of {count} updates moved the weights",
            "the weights of agent {agent} did not move in an update of epoch {epoch} ({bad} of {count} updates)",
        ),
        Rule(
            equal("learn/steps"), "updates", "steps of the optimiser = updates",
            "the optimiser had made as many steps as updates in {count} updates",
            "the optimiser of agent {agent} has made {value} steps in {due} updates",
        ),
    ),
    "device": (
        Rule(
            not_refused(r"host memory|same device|different devices|device meta|device is '"), "epochs",
            "nothing is refused because of its device", "nothing was refused because of its device",
            "something lay on the wrong device: {detail}", needed=False,
        ),
        Rule(
            equal("publish/host"), "publications", "snapshots in host memory = all",
            "all {count} publications were arrays in host memory",
            "what agent {agent} published in epoch {epoch} was not in host memory ({bad} of {count} publications)",
        ),
        Rule(
            equal("learn/device"), "updates", "weights and batch on the same device",
            "weights and batch lay on the same device in {count} updates",
            "weights and batch of agent {agent} lay on different devices ({bad} of {count} updates)",
        ),
    ),
    "learner": (
        Rule(
            equal("learn/target_updates"), "phases", "target updates = updates / target_interval",
            "target updates kept to their interval in {count} phases of learning",
            "agent {agent} had made {value} target updates in epoch {epoch}, where {due} were due",
        ),
        Rule(
            equal("learn/target_motion", 0.2), "updates", "steps of the target network per update = those due",
            "the target network moved as far as it should in {count} updates",
            "the target network of agent {agent} moved {value} steps of tau in one update, where {due} was due "
            "({bad} of {count} updates)", needed=False,  # where it equals the online network, no way can be measured
        ),
        Rule(
            equal("learn/training"), "updates", "the network is in training mode in every update",
            "the network was in training mode in {count} updates",
            "the network of agent {agent} was in evaluation mode in an update of epoch {epoch} "
            "({bad} of {count} updates)",
        ),
        Rule(
            at_most("learn/gradient", 1e-3), "updates", "norm of the gradient after clipping <= grad_clip",
            "the gradient's norm was at most {value} after clipping in {count} updates",
            "the optimiser of agent {agent} was given a gradient of norm {value} in epoch {epoch}, where {due} is the "
            "limit ({bad} of {count} updates)", shows="largest",
        ),
        Rule(
            equal("publish/updates"), "publications", "updates in the header = updates made",
            "the snapshot's step counter was right in {count} publications",
            "the snapshot of agent {agent} in epoch {epoch} says {value} updates, where {due} were made "
            "({bad} of {count} publications)",
        ),
    ),
    "value": (
        Rule(
            equal("data/scale", relative=0.01), "batches", "returns in a batch / raw returns = reward_scale within 1 %",
            "the rewards that {count} batches were trained on have the configured scale, {value}",
            "the rewards that agent {agent} was trained on in epoch {epoch} are {value} times the raw ones, where "
            "reward_scale is {due} ({bad} of {count} batches)",
        ),
        Rule(
            rules.q_within_return, "updates", "max Q <= 1.1 x best reward / (1 - gamma)",
            "the greatest Q of {count} updates was {value}, within the greatest return that there can be ({due})",
            "Q of agent {agent} reached {value} in epoch {epoch}, beyond {due}, the greatest return that there can be",
            needed=False, shows="largest",
        ),
    ),
    "pacing": (
        Rule(
            rules.updates_not_ahead, "updates", "updates <= those of the epochs collected, plus max_ahead",
            "none of {count} updates was ahead of what was collected",
            "agent {agent} made update {value} when epoch {epoch} was the newest, where {due} was the limit "
            "({bad} of {count} updates)",
        ),
        Rule(
            rules.updates_not_behind, "epochs", "updates >= those needed to start the epoch",
            "no epoch of {count} began before its updates were made",
            "agent {agent} had {value} updates in epoch {epoch}, where {due} were needed to begin it",
        ),
    ),
    "supervisor": (
        Rule(
            rules.no_process_lost, "processes lost", "every process works to its end", "no process was lost", "{detail}"
        ),
        Rule(
            rules.no_silence, "silences", "no pause beyond 10 s or 5 times the longest so far",
            "the run never fell silent",
            "nothing has been recorded for {value} s in or after epoch {epoch}; {detail}", needed=False,
        ),
    ),
    "learning": (
        Rule(
            rules.greedy_above_chance, "evaluations", "greedy reward > that of chance that avoids walls",
            "the greedy reward per epoch is {value}, that of chance that avoids walls is {due}",
            "the greedy reward per epoch is {value} after {epoch} epochs, no better than chance that avoids walls "
            "({due})",
        ),
    ),
}  # fmt: skip
"""The rules of each check. The first broken one gives the figure."""

METHODS: dict[str, tuple[Rule, ...]] = {
    "1 sync events": (SYNCS, EPSILON_SYNCED),
    "2 weight distance": (ONLINE, TARGET_HELD),
    "3 versions": (LAG,),
    "4 counters": (SYNCS, RATE),
    "5 epsilon": (EPSILON, EPSILON_ACTED),
    "6 self-test of the copy": (CHECKSUM, ONLINE, TARGET_HELD, EPSILON_PUBLISHED, SAME_Q),
    "7 order of sync and action": (VERSION,),
    "8 publication": (PUBLISHED, PUBLISHED_TARGET, WAITING, RATE),
}
"""The eight verification methods of seed 000, by name."""

_METHOD_IDS = {
    "1 sync events": ("W3", "W7"), "2 weight distance": ("W5", "W8"), "3 versions": ("W3", "W4", "W11"),
    "4 counters": ("W3", "W4"), "5 epsilon": ("W7",), "6 self-test of the copy": ("W1", "W2", "W5", "W8"),
    "7 order of sync and action": ("W6",), "8 publication": ("W4", "W8"),
}  # fmt: skip


# --- verdicts --------------------------------------------------------------------------------------------------------


def run_checks(evidence: Evidence) -> tuple[CheckResult, ...]:
    """Every check of the catalogue, in its order."""
    return tuple(judge(evidence, name, ids_of_check(name), CHECK_RULES[name]) for name in CHECKS)


def run_methods(evidence: Evidence) -> tuple[CheckResult, ...]:
    """The eight verification methods of seed 000, each with its numbers."""
    numbers = {
        "1 sync events": _epsilon_at_syncs, "2 weight distance": _distances, "3 versions": _lags,
        "8 publication": _first_use,
    }  # fmt: skip
    judged = []
    for name, needed in METHODS.items():
        result = judge(evidence, name, _METHOD_IDS[name], needed)
        said = numbers[name](evidence) if name in numbers and result.verdict != "cannot tell" else ""
        judged.append(CheckResult(**(vars(result) | {"sentence": f"{result.sentence} {said}".strip()})))
    return tuple(judged)


def judge(evidence: Evidence, name: str, ids: tuple[str, ...], needed: Sequence[Rule]) -> CheckResult:
    """One verdict of some rules."""
    found = [(rule, rule.measure(evidence)) for rule in needed]
    broken = [(rule, each) for rule, each in found if each is not None and each.broken.any()]
    if broken:
        epochs = [each.first_epoch for _, each in broken if each.first_epoch is not None]
        rule, first = broken[0]
        also = "; ".join(_text(other, each, evidence) for other, each in broken[1:3])
        sentence = _text(rule, first, evidence) + (f"; also: {also}" if also else "")
        return CheckResult(name, ids, "fail", _figure(rule, first), rule.threshold, _close(sentence), min(epochs))
    missing = [rule for rule, each in found if each is None and rule.needed]
    if missing:
        return CheckResult(name, ids, "cannot tell", "-", missing[0].threshold, _what_to_record(evidence, missing[0]))
    held = [(rule, each) for rule, each in found if each is not None]
    if not held:
        return CheckResult(name, ids, "cannot tell", "-", needed[0].threshold, _what_to_record(evidence, needed[0]))
    shown = [(rule, each) for rule, each in held if rule.needed] or held
    sentence = "; ".join(_text(rule, each, evidence) for rule, each in shown[:2])
    return CheckResult(name, ids, "pass", _figure(*shown[0]), shown[0][0].threshold, _close(sentence))


def _figure(rule: Rule, found: Comparison) -> str:
    return f"{int(found.broken.sum())} of {len(found.value)} {rule.things}"


def _text(rule: Rule, found: Comparison, evidence: Evidence) -> str:
    template = rule.bad if found.broken.any() else rule.good
    at = found.place(rule.shows)
    detail = found.detail or (_bias(evidence) if "{detail}" in template else "")
    return template.format(
        count=len(found.value), bad=int(found.broken.sum()), value=_number(found.value[at]), due=_number(found.due[at]),
        agent=int(found.agent[at]), epoch=int(found.epoch[at]), first=found.first_epoch, detail=detail,
    )  # fmt: skip


def _bias(evidence: Evidence) -> str:
    bias = evidence.history.measured("data/bias")["value"]
    return f"the discount is off by {bias.mean():+.3g} on average" if len(bias) else ""


def _number(value: float) -> str:
    return f"{int(value)}" if np.isfinite(value) and value == int(value) else f"{value:.4g}"


def _close(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def _what_to_record(evidence: Evidence, rule: Rule) -> str:
    if rule.measure is rules.greedy_above_chance:
        return (
            "Nothing is said about learning before the evaluation at the end, nor of a run of fewer than "
            f"{rules.ENOUGH_UPDATES} updates per agent whose reward is not above chance."
        )
    if len(evidence.history.probes) or len(evidence.history.epochs) < 2 * evidence.config.world.num_agents:
        return f"Nothing that tells has been recorded (yet); needed: {rule.threshold}."
    return "The run was made without probes; launch it with probes to record what this takes."


# --- numbers of the methods ------------------------------------------------------------------------------------------


def _epsilon_at_syncs(evidence: Evidence) -> str:
    before, after = (evidence.history.measured(f"sync/epsilon_{when}") for when in ("before", "after"))
    if not len(before) or len(before) != len(after):
        return ""
    last = -1
    return (
        f"The last sync, in epoch {after['epoch'][last]}, took epsilon from {before['value'][last]:.4f} to "
        f"{after['value'][last]:.4f}, with {after['due'][last]:.4f} due."
    )


def _distances(evidence: Evidence) -> str:
    told = []
    for half in ("online", "target"):
        before = evidence.history.measured(f"sync/{half}_before")["value"]
        after = evidence.history.measured(f"sync/{half}_after")["value"]
        if len(before) and len(after):
            told.append(f"{half} {before.mean():.3g} before and {after.mean():.3g} after")
    return f"Mean distance at a sync: {', '.join(told)}." if told else ""


def _lags(evidence: Evidence) -> str:
    epochs = evidence.history.epochs
    if not len(epochs):
        return ""
    versions, counts = np.unique(epochs["sync_lag_versions"], return_counts=True)
    histogram = ", ".join(f"{version}: {count}" for version, count in zip(versions, counts, strict=True))
    return (
        f"Behind by versions (epochs): {histogram}; by {epochs['sync_lag_updates'].mean():.1f} updates and "
        f"{epochs['sync_lag_ms'].mean():.0f} ms on average."
    )


def _first_use(evidence: Evidence) -> str:
    events = evidence.history.events
    published = events[events["kind"] == EventKind.PUBLISH]
    synced = events[events["kind"] == EventKind.SYNC]
    made = {(each["agent"], each["version"]): each["time"] for each in published}
    new = synced[synced["version"] != synced["version_before"]]
    waits = [each["time"] - made[key] for each in new if (key := (each["agent"], each["version"])) in made]
    if not waits:
        return ""
    return f"From a publication to its first use it took {1e3 * float(np.mean(waits)):.1f} ms on average."

"""Checks: what the rules say together, as one verdict with a figure, a threshold and the sentence one would write.

Each check of the catalogue is a few :class:`~workbench.diagnose.rules.Rule`; so is each of the eight verification
methods of seed 000 (:mod:`workbench.diagnose.methods`). A check fails if a rule is broken, passes if all that it needs
hold, and cannot tell where records are missing: then it says what to record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.diagnose import rules
from workbench.diagnose.catalogue import CHECKS, ids_of_check
from workbench.diagnose.rules import (
    EVERY_EPOCH,
    EVERY_NEW_VERSION,
    EVERY_PUBLICATION,
    EVERY_SYNC,
    Comparison,
    Evidence,
    Rule,
    above,
    at_least,
    at_most,
    equal,
    not_refused,
)

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
    broken: tuple[str, ...] = ()
    """What the broken rules are about: "weights", "target", "epsilon"."""
    measured: str = ""
    """Which share of the run was looked at, as a sentence; empty where that goes without saying."""

    @property
    def told(self) -> str:
        """The sentence, and the share of the run behind it."""
        return f"{self.sentence} {self.measured}".rstrip()

    def with_more(self, said: str) -> CheckResult:
        """The same with something behind its sentence, unless nothing can be told."""
        if not said or self.verdict == "cannot tell":
            return self
        return dataclasses.replace(self, sentence=f"{self.sentence} {said}")


# --- the rules ------------------------------------------------------------------------------------------------------

VERSION = Rule(
    rules.version_at_first_action, "epochs", "version in use at the first action = version due",
    "the first action of each of {count} epochs was chosen by the version that was due",
    "agent {agent} began epoch {epoch} with version {value} where {due} was due ({bad} of {count} epochs)",
    whole=EVERY_EPOCH,
)  # fmt: skip
SYNCS = Rule(
    rules.syncs_against_epochs, "syncs due", "one sync in every epoch that is due one",
    "all {count} syncs that were due took place",
    "{bad} of {count} syncs that were due never took place, the first in epoch {first}",
)  # fmt: skip
ONLINE = Rule(
    equal("sync/online_after", NO_WEIGHTS), "syncs", "online distance after a sync = 0",
    "after {count:sync} the actor's online weights were the published ones",
    "after a sync in epoch {epoch} agent {agent} still held online weights that are {value} from the published ones "
    "({bad} of {count} syncs)", whole=EVERY_NEW_VERSION,
)  # fmt: skip
TARGET_HELD = Rule(
    equal("sync/target_after", NO_WEIGHTS), "syncs", "target distance after a sync = 0",
    "after {count:sync} the target weights that the actor copied were the published ones",
    "after a sync in epoch {epoch} agent {agent} held target weights that are {value} from the published ones "
    "({bad} of {count} syncs)", whole=EVERY_NEW_VERSION, about="target",
)  # fmt: skip
SAME_Q = Rule(
    rules.q_on_both_sides, "syncs", "Q of the probe batch equal on both sides within 0.1 %",
    "Q of the fixed probe batch was the same on both sides after {count:sync}",
    "Q of the fixed probe batch was {value} for the actor and {due} for the learner of agent {agent} in epoch {epoch}",
    needed=False, whole=EVERY_NEW_VERSION,
)  # fmt: skip
CHECKSUM = Rule(
    equal("sync/checksum"), "copies", "checksum of every copied snapshot = its header's",
    "every one of {count:copied snapshot} had the checksum of its header",
    "{bad} of {count} snapshots that the actor copied are no published one: agent {agent} acted in epoch {epoch} with "
    "a mixture that never existed", whole=EVERY_NEW_VERSION,
)  # fmt: skip
LAG = Rule(
    rules.lag_in_versions, "epochs", "versions behind <= what the dial or pacing allows",
    "the actor was at most {value:version} behind (allowed: {due})",
    "agent {agent} acted in epoch {epoch} with weights that were {value:version} behind (allowed: {due})",
    shows="largest", whole=EVERY_EPOCH,
)  # fmt: skip
PUBLISHED = Rule(
    equal("publish/online", NO_WEIGHTS), "publications",
    "online distance of agent and weight store after publishing = 0",
    "after {count:publication} the weight store held the learner's online weights",
    "after publishing in epoch {epoch} the weight store of agent {agent} was {value} from the learner's online weights "
    "({bad} of {count} publications)", whole=EVERY_PUBLICATION,
)  # fmt: skip
PUBLISHED_TARGET = Rule(
    equal("publish/target", NO_WEIGHTS), "publications",
    "target distance of agent and weight store after publishing = 0",
    "after {count:publication} the weight store held the learner's target weights",
    "what is published of agent {agent} lacks its target network: {value} from it in epoch {epoch} "
    "({bad} of {count} publications)", whole=EVERY_PUBLICATION, about="target",
)  # fmt: skip
WAITING = Rule(
    at_most("learn/waiting"), "phases", "updates that wait for publication <= the interval",
    "no more updates than allowed waited for publication after {count:phase} of learning",
    "agent {agent} had made {value:update} in epoch {epoch} that were in no published snapshot ({due} may wait)",
)  # fmt: skip
RATE = Rule(
    rules.updates_between_publications, "publications", "updates between two publications <= the interval",
    "{count:publication} came at their interval, at most {value:update} apart",
    "agent {agent} published only after {value:update} in epoch {epoch}, where {due} are the interval",
    needed=False, shows="largest",
)  # fmt: skip
EPSILON = Rule(
    rules.epsilon_of_epochs, "epochs", "|epsilon in use - epsilon due| <= 0.0001",
    "epsilon in use was epsilon due in all {count} epochs",
    "agent {agent} explored with epsilon {value} in epoch {epoch}, where {due} was due ({bad} of {count} epochs)",
    whole=EVERY_EPOCH, about="epsilon",
)  # fmt: skip
EPSILON_ACTED = Rule(
    rules.where_known(equal("act/epsilon", 1e-4)), "epochs", "|epsilon behind the actions - epsilon due| <= 0.0001",
    "the actions' own probabilities say the same of {count} epochs",
    "the actions of agent {agent} in epoch {epoch} were chosen with epsilon {value}, where {due} was due "
    "({bad} of {count} epochs)",
    needed=False, whole=EVERY_EPOCH, about="epsilon",
)  # fmt: skip
EPSILON_SYNCED = Rule(
    equal("sync/epsilon_after", 1e-4), "syncs", "|epsilon after a sync - epsilon due| <= 0.0001",
    "epsilon after {count:sync} was the one due",
    "epsilon of agent {agent} was {value} after the sync in epoch {epoch}, where {due} was due "
    "({bad} of {count} syncs)",
    needed=False, whole=EVERY_SYNC, about="epsilon",
)  # fmt: skip
EPSILON_PUBLISHED = Rule(
    rules.epsilon_published, "publications", "|epsilon in the header - epsilon due| <= 0.0001",
    "epsilon in the header was the one due in {count:publication}",
    "the header of a snapshot of agent {agent} gives epsilon {value} for epoch {epoch}, where {due} is due",
    needed=False, whole=EVERY_PUBLICATION, about="epsilon",
)  # fmt: skip

CHECK_RULES: dict[str, tuple[Rule, ...]] = {
    "data": (
        Rule(
            not_refused(r"rows below .* were asked for"), "epochs", "no learner is refused its rows",
            "no learner lacked rows", "a learner found no rows: {detail}", needed=False,
        ),
        Rule(
            at_least("data/rows"), "phases", "rows that the learner sees >= rows collected",
            "the learner saw every row that was collected, in {count:phase} of learning",
            "the learner of agent {agent} saw {value:row} in epoch {epoch}, where {due} were collected: it does not "
            "train on the actor's replay",
        ),
        Rule(
            above("data/varying"), "batches", "share of a batch that varies > 0",
            "at least a share of {value} of a batch varied in {count:batch}",
            "the batches of agent {agent} are constant from epoch {first} on ({bad} of {count})",
            shows="smallest",
        ),
        Rule(
            equal("act/rows"), "epochs", "rows in the shared replay = agent steps",
            "the shared replay held every agent step of {count:epoch}",
            "the shared replay of agent {agent} held {value:row} after epoch {epoch}, where {due} steps were made",
        ),
    ),
    "stack": (
        Rule(
            equal("act/stacks"), "epochs", "states that the policy was fed = states that lie in the replay",
            "the actor's input was that of a clean reader in {count:epoch}",
            "agent {agent} was fed {value:state} in epoch {epoch} other than the replay has for the same steps "
            "({bad} of {count} epochs)",
        ),
        Rule(
            equal("data/stacks"), "batches", "states that the learner was fed = states that lie in the replay",
            "the learner's input was that of a clean reader in {count:batch}",
            "the learner of agent {agent} was fed {value:row} in epoch {epoch} with other older frames than a "
            "clean reader stacks ({bad} of {count} batches)",
        ),
    ),
    "shape": (
        Rule(
            not_refused(r"a frame of shape|the stack is|could not broadcast"), "epochs",
            "every frame has shape and dtype of the replay",
            "the frames of {count:epoch} went through the door of the replay",
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
            "no row was drawn whose place was given up for writing, in {count:phase} of learning",
            "the learner of agent {agent} trained in epoch {epoch} on {value:row} that were void or half written "
            "({bad} of {count} phases)",
        ),
        Rule(
            equal("data/broken"), "batches", "rows that match neither stamp nor number = 0",
            "all rows of {count:batch} match their stamp and number",
            "{value:row} of agent {agent} in epoch {epoch} did not pass for whole ({bad} of {count} batches)",
        ),
        Rule(
            equal("act/broken"), "epochs", "rows just written that do not match their stamp = 0",
            "all rows just written match their stamp in {count:epoch}",
            "{value:row} that agent {agent} wrote in epoch {epoch} did not keep the stamp ({bad} of {count} epochs)",
        ),
        CHECKSUM,
    ),
    "target": (
        Rule(
            equal("data/discounts"), "batches", "discounts that differ from the product over the turns = 0",
            "all discounts of {count:batch} are the product over their turns",
            "{value:row} of a batch of agent {agent} in epoch {epoch} bootstrapped with another discount than the "
            "turns give ({bad} of {count} batches); {detail}",
        ),
        Rule(
            equal("data/returns"), "batches", "returns that differ from the sum over the raw rewards = 0",
            "all returns of {count:batch} are the sum over their raw rewards",
            "{value:row} of a batch of agent {agent} in epoch {epoch} had another return than the raw rewards give "
            "({bad} of {count} batches)",
        ),
    ),
    "world": (
        Rule(
            rules.where_known(equal("world/reset")), "resets", "cells that differ from a new world = 0",
            "a reset world equalled a new one in {count:reset}",
            "{value:cell} of the world reset for epoch {epoch} differed from a new world ({bad} of {count} resets)",
        ),
    ),
    "action": (
        Rule(
            not_refused(r"actions hold|actions have shape"), "epochs", "every action is one of the world's",
            "no action of {count:epoch} was refused", "an action was refused: {detail}",
        ),
        Rule(
            equal("act/out_of_range"), "epochs", "actions outside the range = 0",
            "no action of {count:epoch} was outside the range",
            "agent {agent} chose {value:action} in epoch {epoch} that the world does not know", needed=False,
        ),
    ),
    "sync": (
        SYNCS, VERSION, LAG, ONLINE, TARGET_HELD, PUBLISHED, PUBLISHED_TARGET, WAITING, RATE, SAME_Q,
    ),
    "epsilon": (EPSILON, EPSILON_ACTED, EPSILON_SYNCED, EPSILON_PUBLISHED),
    "optimizer": (
        Rule(
            equal("learn/optimizer"), "updates", "the optimiser holds the networks' own parameters",
            "the optimiser held the networks' own parameters in {count:update}",
            "the optimiser of agent {agent} holds other parameters than its networks from epoch {first} on "
            "({bad} of {count} updates)",
        ),
        Rule(
            rules.weights_move, "updates", "an update moves the weights",
            "each of {count:update} moved the weights",
            "the weights of agent {agent} did not move in an update of epoch {epoch} ({bad} of {count} updates)",
        ),
        Rule(
            equal("learn/steps"), "updates", "steps of the optimiser = updates",
            "the optimiser had made as many steps as updates in {count:update}",
            "the optimiser of agent {agent} has made {value:step} in {due:update}",
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
            "in {count:publication} the snapshot was an array in host memory",
            "what agent {agent} published in epoch {epoch} was not in host memory ({bad} of {count} publications)",
        ),
        Rule(
            equal("learn/device"), "updates", "weights on the device that batches are brought to",
            "the weights lay on the device that batches are brought to in {count:update}",
            "the weights of agent {agent} did not lie on the device that batches are brought to "
            "({bad} of {count} updates)",
        ),
    ),
    "learner": (
        Rule(
            equal("learn/target_updates"), "phases", "target updates = updates / target_interval",
            "target updates kept to their interval in {count:phase} of learning",
            "agent {agent} had made {value:target update} in epoch {epoch}, where {due} were due",
        ),
        Rule(
            equal("learn/target_motion", 0.2), "updates", "steps of the target network per update = those due",
            "the target network moved as far as it should in {count:update}",
            "the target network of agent {agent} moved {value:step} of tau in one update, where {due} was due "
            "({bad} of {count} updates)", needed=False,  # where it equals the online network, no way can be measured
        ),
        Rule(
            equal("learn/training"), "updates", "the network is in training mode in every update",
            "the network was in training mode in {count:update}",
            "the network of agent {agent} was in evaluation mode in an update of epoch {epoch} "
            "({bad} of {count} updates)",
        ),
        Rule(
            at_most("learn/gradient", 1e-3), "updates", "norm of the gradient after clipping <= grad_clip",
            "the gradient's norm was at most {value} after clipping in {count:update}",
            "the optimiser of agent {agent} was given a gradient of norm {value} in epoch {epoch}, where {due} is the "
            "limit ({bad} of {count} updates)", shows="largest",
        ),
        Rule(
            equal("publish/updates"), "publications", "updates in the header = updates made",
            "the snapshot's step counter was right in {count:publication}",
            "the snapshot of agent {agent} in epoch {epoch} says {value:update}, where {due} were made "
            "({bad} of {count} publications)",
        ),
    ),
    "value": (
        Rule(
            equal("data/scale", relative=0.01), "batches", "returns in a batch / raw returns = reward_scale within 1 %",
            "the rewards of {count:batch} had the configured scale, {value}",
            "the rewards that agent {agent} was trained on in epoch {epoch} are {value} times the raw ones, where "
            "reward_scale is {due} ({bad} of {count} batches)",
        ),
        Rule(
            rules.q_within_return, "updates", "max Q <= 1.1 x best reward / (1 - gamma), or 1",
            "the greatest Q of {count:update} was {value}, within the greatest return that there can be ({due})",
            "Q of agent {agent} reached {value} in epoch {epoch}, beyond {due}, the greatest return that there can be",
            needed=False, shows="largest",
        ),
    ),
    "pacing": (
        Rule(
            rules.updates_not_ahead, "updates", "updates <= those of the epochs collected, plus max_ahead",
            "none of {count:update} was ahead of what was collected",
            "agent {agent} made update {value} when epoch {epoch} was the newest, where {due} was the limit "
            "({bad} of {count} updates)",
        ),
        Rule(
            rules.updates_not_behind, "epochs", "updates >= those needed to start the epoch",
            "none of {count:epoch} began before its updates were made",
            "agent {agent} had {value:update} in epoch {epoch}, where {due} were needed to begin it",
        ),
    ),
    "supervisor": (
        Rule(
            rules.no_process_lost, "processes lost", "every process works to its end", "no process was lost", "{detail}"
        ),
        Rule(
            rules.no_silence, "silences", "no pause beyond half of hang_timeout_s, or 5 x the longest so far",
            "the run never fell silent",
            "nothing has been recorded for {value} s in or after epoch {epoch}; {detail}", needed=False,
        ),
    ),
    "learning": (
        Rule(
            rules.greedy_above_chance, "evaluations", "greedy reward > chance that avoids walls + 3 standard errors",
            "the greedy reward per epoch is {value}, above chance that avoids walls ({due} with 3 standard errors)",
            "the greedy reward per epoch is {value} after {epoch:epoch}, no better than chance that avoids walls "
            "({due} with 3 standard errors)", missing=rules.why_learning_is_open,
        ),
    ),
}  # fmt: skip
"""The rules of each check. The first broken one gives the figure."""


# --- verdicts --------------------------------------------------------------------------------------------------------


def run_checks(evidence: Evidence) -> tuple[CheckResult, ...]:
    """Every check of the catalogue, in its order."""
    judged = (judge(evidence, name, ids_of_check(name), CHECK_RULES[name]) for name in CHECKS)
    return tuple(result.with_more(_ratio_and_age(evidence)) if result.name == "pacing" else result for result in judged)


def judge(evidence: Evidence, name: str, ids: tuple[str, ...], needed: Sequence[Rule]) -> CheckResult:
    """One verdict of some rules."""
    found = [(rule, rule.measure(evidence)) for rule in needed]
    broken = [(rule, each) for rule, each in found if each is not None and each.broken.any()]
    if broken:
        epochs = [each.first_epoch for _, each in broken if each.first_epoch is not None]
        rule, first = broken[0]
        also = "; ".join(_text(other, each, evidence) for other, each in broken[1:3])
        sentence = _text(rule, first, evidence) + (f"; also: {also}" if also else "")
        about = tuple(dict.fromkeys(rule.about for rule, _ in broken))
        return CheckResult(
            name, ids, "fail", _figure(rule, first), rule.threshold, _close(sentence), min(epochs), about
        )
    held = [(rule, each) for rule, each in found if each is not None]
    missing = [rule for rule, each in found if each is None and (rule.needed or not held)]
    if missing:
        return CheckResult(name, ids, "cannot tell", "-", missing[0].threshold, _what_to_record(evidence, missing[0]))
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
        count=Number(len(found.value)), bad=Number(found.broken.sum()), value=Number(found.value[at]),
        due=Number(found.due[at]), agent=Number(found.agent[at]), epoch=Number(found.epoch[at]),
        first=found.first_epoch, detail=detail,
    )  # fmt: skip


class Number(float):
    """A number as a sentence has it; with a noun in the singular as its format, the noun in the right number."""

    def __format__(self, noun: str) -> str:
        value = float(self)
        text = f"{int(value)}" if value.is_integer() else f"{value:.4g}"
        if not noun:
            return text
        return f"{text} {noun if value == 1 else noun + ('es' if noun.endswith('tch') else 's')}"


def _bias(evidence: Evidence) -> str:
    bias = evidence.history.measured("data/bias")["value"]
    return f"the discount is off by {bias.mean():+.3g} on average" if len(bias) else ""


def _ratio_and_age(evidence: Evidence) -> str:
    """Replay ratio and age of the sampled rows, which a bound on updates is there for."""
    epochs, updates = evidence.history.epochs, evidence.history.updates
    if not len(epochs) or not len(updates):
        return ""
    ratio = epochs["replay_ratio"][epochs["epoch"] == epochs["epoch"].max()].mean()
    return (
        f"Replay ratio in the end: {ratio:.3g} updates per agent step; sampled rows were "
        f"{updates['sample_age'].mean():.1f} versions old on average."
    )


def _close(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def _what_to_record(evidence: Evidence, rule: Rule) -> str:
    if rule.missing is not None:
        return rule.missing(evidence)
    if len(evidence.history.probes) or len(evidence.history.epochs) < 2 * evidence.config.world.num_agents:
        return f"Nothing that tells has been recorded (yet); needed: {rule.threshold}."
    return "The run was made without probes; launch it with probes (without --no-probes) to record what this takes."

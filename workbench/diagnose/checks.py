"""Checks: what the rules say together, as one verdict with a figure, a threshold and the sentence one would write.

Each check of the catalogue is a few :class:`~workbench.diagnose.rules.Rule`; so is each of the eight methods of sync
verification (:mod:`workbench.diagnose.doctor`). A check fails if a rule is broken, passes if all that it needs hold,
and cannot tell where records are missing: then it says what to record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.diagnose import rules
from workbench.diagnose.catalogue import CHECKS, ids_of_check
from workbench.diagnose.measurements import measurements_of, probes_of
from workbench.diagnose.rules import (
    EVERY_EPOCH,
    EVERY_NEW_VERSION,
    EVERY_PUBLICATION,
    EVERY_SYNC,
    Comparison,
    Evidence,
    Rule,
    equal,
    measured,
    not_refused,
)

Verdict = Literal["pass", "fail", "cannot tell"]

# Distance of weights that counts as none; an update moves them by some 1e-3.
NO_WEIGHTS = 1e-7


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check.

    Attributes:
        ids: Ids of the failures that it speaks for.
        figure: What was found, such as "0 of 24 epochs".
        threshold: What must hold.
        epoch: First epoch that shows the failure.
        broken: What the broken rules are about: "weights", "target", "epsilon".
        measured: Which share of the run was looked at, as a sentence; empty where that goes without saying.
    """

    name: str
    ids: tuple[str, ...]
    verdict: Verdict
    figure: str
    threshold: str
    sentence: str
    epoch: int | None = None
    broken: tuple[str, ...] = ()
    measured: str = ""

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
    "the first action was chosen by version {value}, where {due} was due",
    "the first action of each of {count} epochs was chosen by the version that was due", whole=EVERY_EPOCH,
)  # fmt: skip
SYNCS = Rule(
    rules.syncs_against_epochs, "syncs due", "one sync in every epoch that is due one",
    "the sync that was due never happened", "all {count} syncs that were due took place",
)  # fmt: skip
ONLINE = Rule(
    equal("sync/online_after", NO_WEIGHTS), "syncs", "online distance after a sync = 0",
    "after the sync the actor still held online weights that are {value} from the published ones",
    "after {count:sync} the actor's online weights were the published ones", whole=EVERY_NEW_VERSION,
)  # fmt: skip
TARGET_HELD = Rule(
    equal("sync/target_after", NO_WEIGHTS), "syncs", "target distance after a sync = 0",
    "after the sync the actor held target weights that are {value} from the published ones",
    "after {count:sync} the target weights that the actor copied were the published ones", whole=EVERY_NEW_VERSION,
    about="target",
)  # fmt: skip
SAME_Q = Rule(
    rules.q_on_both_sides, "syncs", "Q of the probe batch equal on both sides within 0.1 %",
    "Q of the fixed probe batch was {value} for the actor and {due} for the learner", needed=False,
    whole=EVERY_NEW_VERSION,
)  # fmt: skip
CHECKSUM = Rule(
    equal("sync/checksum"), "copies", "checksum of every copied snapshot = its header's",
    "the actor copied a snapshot that was never published, and acted with a mixture that never existed",
    "every one of {count:copied snapshot} had the checksum of its header", whole=EVERY_NEW_VERSION,
)  # fmt: skip
LAG = Rule(
    rules.lag_in_versions, "epochs", "versions behind <= what the dial or pacing allows",
    "the actor used weights that were {value:version} behind (allowed: {due})",
    "the actor was at most {value:version} behind (allowed: {due})", shows="largest", whole=EVERY_EPOCH,
)  # fmt: skip
PUBLISHED = Rule(
    equal("publish/online", NO_WEIGHTS), "publications", "online distance of agent and weight store = 0",
    "after publishing the weight store was {value} from the learner's online weights",
    "after {count:publication} the weight store held the learner's online weights", whole=EVERY_PUBLICATION,
)  # fmt: skip
PUBLISHED_TARGET = Rule(
    equal("publish/target", NO_WEIGHTS), "publications", "target distance of agent and weight store = 0",
    "what is published lacks the target network: it is {value} from it",
    "after {count:publication} the weight store held the learner's target weights", whole=EVERY_PUBLICATION,
    about="target",
)  # fmt: skip
WAITING = Rule(
    measured("learn/waiting", np.less_equal), "phases", "updates that wait for publication <= the interval",
    "{value:update} were in no published snapshot ({due} may wait)",
    "no more updates than allowed waited for publication after {count:phase} of learning",
)  # fmt: skip
RATE = Rule(
    rules.updates_between_publications, "publications", "updates between two publications <= the interval",
    "published only after {value:update}, where {due} are the interval",
    "{count:publication} came at their interval, at most {value:update} apart", needed=False, shows="largest",
)  # fmt: skip
EPSILON = Rule(
    rules.epsilon_of_epochs, "epochs", "|epsilon in use - epsilon due| <= 0.0001",
    "explored with epsilon {value}, where {due} was due", "epsilon in use was epsilon due in all {count} epochs",
    whole=EVERY_EPOCH, about="epsilon",
)  # fmt: skip
EPSILON_ACTED = Rule(
    equal("act/epsilon", 1e-4, unknown=True), "epochs", "|epsilon behind the actions - epsilon due| <= 0.0001",
    "the actions were chosen with epsilon {value}, where {due} was due",
    "the actions' own probabilities say the same of {count} epochs", needed=False, whole=EVERY_EPOCH, about="epsilon",
)  # fmt: skip
EPSILON_SYNCED = Rule(
    equal("sync/epsilon_after", 1e-4), "syncs", "|epsilon after a sync - epsilon due| <= 0.0001",
    "epsilon was {value} after the sync, where {due} was due", "epsilon after {count:sync} was the one due",
    needed=False, whole=EVERY_SYNC, about="epsilon",
)  # fmt: skip
EPSILON_PUBLISHED = Rule(
    rules.epsilon_published, "publications", "|epsilon in the header - epsilon due| <= 0.0001",
    "the header of a snapshot gives epsilon {value}, where {due} is due", needed=False, whole=EVERY_PUBLICATION,
    about="epsilon",
)  # fmt: skip

# The rules of each check. The first broken one gives the figure.
CHECK_RULES: dict[str, tuple[Rule, ...]] = {
    "data": (
        Rule(not_refused(r"rows below .* were asked for"), "epochs", "no learner is refused its rows",
             "a learner found no rows: {detail}", "no learner lacked rows", needed=False),
        Rule(measured("data/rows", np.greater_equal), "phases", "rows that the learner sees >= rows collected",
             "the learner saw {value:row}, where {due} were collected: it does not train on the actor's replay",
             "the learner saw every row that was collected, in {count:phase} of learning"),
        Rule(measured("data/varying", np.greater), "batches", "share of a batch that varies > 0",
             "the batches are constant from epoch {first} on",
             "at least a share of {value} of a batch varied in {count:batch}", shows="smallest"),
        Rule(equal("act/rows"), "epochs", "rows in the shared replay = agent steps",
             "the shared replay held {value:row}, where {due} steps were made"),
    ),
    "stack": (
        Rule(equal("act/stacks"), "epochs", "states that the policy was fed = states that lie in the replay",
             "the policy was fed {value:state} other than the replay has for the same steps",
             "the actor's input was that of a clean reader in {count:epoch}"),
        Rule(equal("data/stacks"), "batches", "states that the learner was fed = states that lie in the replay",
             "the learner was fed {value:row} with other older frames than a clean reader stacks",
             "the learner's input was that of a clean reader in {count:batch}"),
    ),
    "shape": (
        Rule(not_refused(r"a frame of shape|the stack is|could not broadcast"), "epochs",
             "every frame has shape and dtype of the replay", "an observation was refused: {detail}",
             "the replay took the frames of {count:epoch}"),
    ),
    "spec": (
        Rule(not_refused(r"LayoutMismatch|the block was made as"), "epochs", "every block opens under the same table",
             "two processes disagree on a block: {detail}", "all processes opened the blocks under the same table"),
    ),
    "integrity": (
        Rule(equal("data/void"), "phases", "rows drawn that were void or not yet written = 0",
             "the learner trained on {value:row} that were void or half written",
             "no row was drawn whose place was given up for writing, in {count:phase} of learning"),
        Rule(equal("data/broken"), "batches", "rows that match neither stamp nor number = 0",
             "{value:row} did not pass for whole", "all rows of {count:batch} match their stamp and number"),
        Rule(equal("act/broken"), "epochs", "rows just written that do not match their stamp = 0",
             "{value:row} that were just written did not keep the stamp"),
        CHECKSUM,
    ),
    "target": (
        Rule(equal("data/discounts"), "batches", "discounts that differ from the product over the turns = 0",
             "{value:row} of a batch bootstrapped with another discount than the turns give; {detail}",
             "all discounts of {count:batch} are the product over their turns"),
        Rule(equal("data/returns"), "batches", "returns that differ from the sum over the raw rewards = 0",
             "{value:row} of a batch had another return than the raw rewards give",
             "all returns of {count:batch} are the sum over their raw rewards"),
    ),
    "world": (
        Rule(equal("world/reset", unknown=True), "resets", "cells that differ from a new world = 0",
             "{value:cell} of the world reset for epoch {epoch} differed from a new world",
             "a reset world equalled a new one in {count:reset}"),
    ),
    "action": (
        Rule(not_refused(r"actions hold|actions have shape"), "epochs", "every action is one of the world's",
             "an action was refused: {detail}", "no action of {count:epoch} was refused"),
        Rule(equal("act/out_of_range"), "epochs", "actions outside the range = 0",
             "chose {value:action} that the world does not know", needed=False),
    ),
    "sync": (SYNCS, VERSION, LAG, ONLINE, TARGET_HELD, PUBLISHED, PUBLISHED_TARGET, WAITING, RATE, SAME_Q),
    "epsilon": (EPSILON, EPSILON_ACTED, EPSILON_SYNCED, EPSILON_PUBLISHED),
    "optimizer": (
        Rule(equal("learn/optimizer"), "updates", "the optimiser holds the networks' own parameters",
             "the optimiser holds other parameters than the networks from epoch {first} on",
             "the optimiser held the networks' own parameters in {count:update}"),
        Rule(rules.weights_move, "updates", "an update moves the weights", "the weights did not move in an update",
             "each of {count:update} moved the weights"),
        Rule(equal("learn/steps"), "updates", "steps of the optimiser = updates",
             "the optimiser has made {value:step} in {due:update}"),
    ),
    "device": (
        Rule(not_refused(r"host memory|same device|different devices|device meta|device is '"), "epochs",
             "nothing is refused because of its device", "something lay on the wrong device: {detail}",
             "nothing was refused because of its device", needed=False),
        Rule(equal("publish/host"), "publications", "snapshots in host memory = all",
             "what was published was not in host memory",
             "in {count:publication} the snapshot was an array in host memory"),
        Rule(equal("learn/device"), "updates", "weights on the device that batches are brought to",
             "the weights did not lie on the device that batches are brought to",
             "the weights lay on the device that batches are brought to in {count:update}"),
    ),
    "learner": (
        Rule(equal("learn/target_updates"), "phases", "target updates = updates / target_interval",
             "{value:target update} had been made, where {due} were due",
             "target updates kept to their interval in {count:phase} of learning"),
        Rule(equal("learn/target_motion", 0.2), "updates", "steps of the target network per update = those due",
             "the target network moved {value:step} of tau in one update, where {due} was due",
             needed=False),  # where it equals the online network, no way can be measured
        Rule(equal("learn/training"), "updates", "the network is in training mode in every update",
             "the network was in evaluation mode in an update", "the network was in training mode in {count:update}"),
        Rule(measured("learn/gradient", lambda norm, limit: norm <= 1.001 * limit), "updates",
             "norm of the gradient after clipping <= grad_clip",
             "the optimiser was given a gradient of norm {value}, where {due} is the limit", shows="largest"),
        Rule(equal("publish/updates"), "publications", "updates in the header = updates made",
             "the snapshot's header says {value:update}, where {due} were made"),
    ),
    "value": (
        Rule(equal("data/scale", relative=0.01), "batches", "returns / raw returns = reward_scale within 1 %",
             "the rewards that were trained on are {value} times the raw ones, where reward_scale is {due}",
             "the rewards of {count:batch} had the configured scale, {value}"),
        Rule(rules.q_within_return, "updates", "max Q <= 1.1 x best reward / (1 - gamma), or 1",
             "Q reached {value}, beyond {due}, the greatest return that there can be",
             "the greatest Q of {count:update} was {value}, within the greatest return that there can be ({due})",
             needed=False, shows="largest"),
    ),
    "pacing": (
        Rule(rules.updates_not_ahead, "updates", "updates <= those of the epochs collected, plus max_ahead",
             "update {value} was made, where {due} was the limit",
             "none of {count:update} was ahead of what was collected"),
        Rule(rules.updates_not_behind, "epochs", "updates >= those needed to start the epoch",
             "{value:update} had been made, where {due} were needed to begin it",
             "none of {count:epoch} began before its updates were made"),
    ),
    "supervisor": (
        Rule(rules.no_process_lost, "processes lost", "every process works to its end", "{detail}",
             "no process was lost"),
        Rule(rules.no_silence, "silences", "no pause beyond half of hang_timeout_s, or 5 x the longest so far",
             "nothing has been recorded for {value} s in or after epoch {epoch}; {detail}", needed=False),
    ),
    "learning": (
        Rule(rules.greedy_above_chance, "evaluations", "greedy reward > chance that avoids walls + 3 standard errors",
             "the greedy reward per epoch is {value} after {epoch:epoch}, no better than chance that avoids walls "
             "({due} with 3 standard errors)",
             "the greedy reward per epoch is {value}, above chance that avoids walls ({due} with 3 standard errors)",
             missing=rules.why_learning_is_open),
    ),
}  # fmt: skip


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
    template, at, broken = rule.good, found.place(rule.shows), found.broken.any()
    if broken:
        of_agent = "agent {agent}, epoch {epoch}: " if found.agent[at] >= 0 else ""
        template = of_agent + rule.bad + (f" ({_figure(rule, found)})" if len(found.value) > 1 else "")
    detail = found.detail or (_bias(evidence) if "{detail}" in template else "")
    return template.format(
        count=Number(len(found.value)), things=rule.things, value=Number(found.value[at]), due=Number(found.due[at]),
        agent=found.agent[at], epoch=Number(found.epoch[at]), first=found.first_epoch, detail=detail,
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
    bias = measurements_of(evidence.history, "data/bias")["value"]
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
    if len(probes_of(evidence.history)) or len(evidence.history.epochs) < 2 * evidence.config.num_agents:
        return f"Nothing that tells has been recorded (yet); needed: {rule.threshold}."
    return "The run was made without probes; launch it with probes (without --no-probes) to record what this takes."

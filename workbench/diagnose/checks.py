"""Checks: what the rules say together, as one verdict with a figure, a threshold and the sentence one would write.

Each check of the catalogue is a few :class:`~workbench.diagnose.rules.Rule`; so is each of the eight methods of sync
verification (:mod:`workbench.diagnose.doctor`). A check fails if a rule is broken, passes if all that it needs hold,
and cannot tell where records are missing: then it says what to record. One that does not apply to a run says why.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from workbench.diagnose import rules
from workbench.diagnose.catalogue import CHECKS, RULES, ids_of_check
from workbench.diagnose.measurements import probes_of
from workbench.diagnose.rules import Comparison, Evidence, Exempt, Found, Rule
from workbench.diagnose.sentences import said

Verdict = Literal["pass", "fail", "cannot tell", "does not apply"]


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check.

    Attributes:
        ids: Ids of the failures that it speaks for.
        figure: What was found, such as "0 of 24 epochs".
        threshold: What must hold.
        epoch: First epoch that shows the failure.
        broken: What the broken rules are about: "weights", "target", "epsilon".
        remedy: What to do, of a check of the workbench's own runs that fails.
        agents: Those whose records broke a rule, where the check knows them.
    """

    name: str
    ids: tuple[str, ...]
    verdict: Verdict
    figure: str
    threshold: str
    sentence: str
    epoch: int | None = None
    broken: tuple[str, ...] = ()
    agents: tuple[int, ...] = ()
    remedy: str = ""

    @property
    def told(self) -> str:
        """The sentence, and what to do."""
        return " ".join(filter(None, (self.sentence, self.remedy)))

    def with_more(self, said: str) -> "CheckResult":
        """The same with something behind its sentence, unless nothing can be told."""
        told = said and self.verdict in ("pass", "fail")
        return replace(self, sentence=f"{self.sentence} {said}") if told else self


# --- the rules ------------------------------------------------------------------------------------------------------


def _rule(measure: str = "agreed", **about: Any) -> Rule:
    """A rule as the page gives it: the name of its function, and what that takes besides."""
    takes = {name: about.pop(name) for name in about.keys() - Rule.__dataclass_fields__.keys()}
    return Rule(functools.partial(getattr(rules, measure), **takes), **about)


# The rules of each check by their names, as ``rules.toml`` gives them. The first broken one gives the figure.
CHECK_RULES: dict[str, dict[str, Rule]] = {
    check: {name: _rule(**about) for name, about in named.items()} for check, named in RULES.items()
}


# --- verdicts --------------------------------------------------------------------------------------------------------


def run_checks(evidence: Evidence) -> "tuple[CheckResult, ...]":
    """Every check of the catalogue, in its order."""
    judged = (judge(evidence, name, ids_of_check(name), tuple(CHECK_RULES[name].values())) for name in CHECKS)
    told = (each.with_more(_ratio_and_age(evidence)) if each.name == "pacing" else each for each in judged)
    return tuple(replace(each, remedy=said(f"remedy.{each.name}") * (each.verdict == "fail")) for each in told)


def judge(evidence: Evidence, name: str, ids: tuple[str, ...], needed: Sequence[Rule]) -> "CheckResult":
    """One verdict of some rules."""
    found = [(rule, _without_consequences(evidence, rule.measure(evidence))) for rule in needed]
    held = [(rule, each) for rule, each in found if isinstance(each, Comparison)]
    broken = [(rule, each) for rule, each in held if each.broken.any()]
    if broken:
        since = min(int(each.epoch[each.broken].min()) for _, each in broken)
        rule, first = broken[0]
        also = "; ".join(_text(other, each) for other, each in broken[1:3])
        sentence = _text(rule, first) + (f"; also: {also}" if also else "")
        about = tuple(dict.fromkeys(rule.about for rule, _ in broken))
        return CheckResult(name, ids, "fail", _figure(rule, first), rule.threshold, close(sentence), since, about)
    untold = [(rule, each) for rule, each in found if rule.needed and not isinstance(each, Comparison)]
    why = "; ".join(each for _, each in untold if isinstance(each, Exempt))
    missing = [(rule, each) for rule, each in untold if not isinstance(each, Exempt)]
    if why and not missing and not held:
        return CheckResult(name, ids, "does not apply", "-", needed[0].threshold, close(why))
    if missing:
        rule, reason = missing[0]
        return CheckResult(name, ids, "cannot tell", "-", rule.threshold, reason or _what_to_record(evidence, rule))
    shown = [(rule, each) for rule, each in held if rule.needed] or held
    sentence = "; ".join(_text(rule, each) for rule, each in shown[:2]) + f"; does not apply: {why}" * bool(why)
    return CheckResult(name, ids, "pass", _figure(*shown[0]), shown[0][0].threshold, close(sentence))


def _without_consequences(evidence: Evidence, found: Found) -> Found:
    """Leave out what is not a number because the training's own numbers no longer were: that is a check of its own."""
    first = evidence.not_finite
    if first is None or not isinstance(found, Comparison):
        return found
    return replace(found, broken=found.broken & (np.isfinite(found.value) | (found.epoch < first.epoch)))


def _figure(rule: Rule, found: Comparison) -> str:
    return f"{int(found.broken.sum())} of {len(found.value)} {rule.things}"


def _text(rule: Rule, found: Comparison) -> str:
    template, at, broken = rule.good, found.place(rule.largest), found.broken.any()
    if broken:
        of_agent = "agent {agent}, epoch {epoch}: " if found.agent[at] >= 0 else ""
        template = of_agent + rule.bad + (f" ({_figure(rule, found)})" if len(found.value) > 1 else "")
    return template.format(
        count=Number(len(found.value)), value=Number(found.value[at]), due=Number(found.due[at]),
        agent=found.agent[at], epoch=Number(found.epoch[at]), detail=found.detail,
    )  # fmt: skip


class Number(float):
    """A number as a sentence has it; with a noun in the singular as its format, the noun in the right number."""

    def __format__(self, noun: str) -> str:
        value = float(self)
        text = f"{int(value)}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
        return f"{text} {noun if value == 1 else noun + ('es' if noun.endswith('tch') else 's')}" if noun else text


def _ratio_and_age(evidence: Evidence) -> str:
    """Replay ratio and age of the sampled rows, which a bound on updates is there for."""
    epochs, updates = evidence.history.epochs, evidence.history.updates
    if not len(epochs) or not len(updates):
        return ""
    ratio = epochs["replay_ratio"][epochs["epoch"] == epochs["epoch"].max()].mean()
    return said("checks.pacing", ratio=ratio, age=updates["sample_age"].mean())


def close(sentence: str) -> str:
    """A sentence with a capital and a full stop."""
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def _what_to_record(evidence: Evidence, rule: Rule) -> str:
    if len(probes_of(evidence.history)) or len(evidence.history.epochs) < 2 * evidence.config.num_agents:
        when = "has been recorded (yet)" if evidence.live else "was recorded before the run ended"
        lost = "".join(f"; {n:,} records of {table} were lost" for table, n in evidence.history.lost.items() if n)
        return said("checks.nothing", when=when, lost=lost, threshold=rule.threshold)
    return said("checks.probes")

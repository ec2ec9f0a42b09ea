"""The doctor: all checks of a run as one table, and whether the actor's weights are synced, with the reason.

It works on what has been recorded, so on a live run, on one that has ended, and on one loaded from its folder. The
hypothesis that weights are not synced is decided by the eight methods of sync verification below.
"""

import functools
import pkgutil
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.diagnose.cases import read_cases
from workbench.diagnose.checks import CHECK_RULES, CheckResult, Verdict, judge, run_checks
from workbench.diagnose.measurements import measurements_of
from workbench.diagnose.rules import Evidence
from workbench.diagnose.second_opinion import STAGES, Judged
from workbench.diagnose.sentences import beside, said
from workbench.runs.limits import check_tables
from workbench.runs.listing import rewards_of_others
from workbench.runs.loaded import RunView

_WIDTH = 112
# The methods without which the hypothesis is not called false.
_DECIDES = ("1 sync events", "2 weight distance", "4 counters", "6 self-test of the copy", "7 order of sync and action")


@dataclass(frozen=True)
class Hypothesis:
    """The hypothesis that the actor's (local) model does not sync from the learner's (shared) model.

    Attributes:
        holds: None where that cannot be told.
    """

    holds: bool | None
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """What the records of a run say.

    Attributes:
        run: Name, label and status of the run.
        methods: The eight methods of sync verification.
        chain: Every stage that was computed once more, in its order, as ``chain.STAGE``.
        conclusion: The first stage that disagrees, and what follows from it.
    """

    run: str
    checks: tuple[CheckResult, ...]
    methods: tuple[CheckResult, ...]
    hypothesis: Hypothesis
    chain: tuple[CheckResult, ...] = ()
    conclusion: str = ""

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Stages and checks that found something."""
        return tuple(check for check in (*self.chain, *self.checks) if check.verdict == "fail")

    @property
    def exit_code(self) -> int:
        """0 if every check passes, 1 if one fails, 2 if one other than "learning" cannot tell."""
        if self.failed:
            return 1
        return 2 * any(check.verdict == "cannot tell" for check in self.checks if check.name != "learning")

    def __getitem__(self, name: str) -> CheckResult:
        """A check, or a method, by its name.

        Raises:
            KeyError: there is none of that name.
        """
        named = {result.name: result for result in (*self.checks, *self.methods, *self.chain)}
        if name not in named:
            raise KeyError(f"there is no check {name!r}; there are {', '.join(named)}")
        return named[name]

    def _ipython_key_completions_(self) -> list[str]:
        return [result.name for result in (*self.checks, *self.methods, *self.chain)]

    @property
    def answer(self) -> str:
        """What fails, or that nothing does; and of what nothing can be told."""
        failed = ", ".join(each.name for each in self.failed)
        untold = ", ".join(each.name for each in self.checks if each.verdict == "cannot tell")
        told = said("doctor.fails", names=failed) if failed else said("doctor.none fails")
        return told + said("doctor.untold", names=untold) * bool(untold)

    @property
    def text(self) -> str:
        """Everything as text: answer, conclusion, stages and checks, what passes last, methods, hypothesis."""
        methods = ["Methods of sync verification", *_table(self.methods), ""] if self.methods else []
        verdict = textwrap.wrap(self.hypothesis.sentence, _WIDTH)
        first = [line for words in (self.answer, self.conclusion) for line in textwrap.wrap(words, _WIDTH)]
        chain = _table([stage for stage in self.chain if stage.verdict == "fail"])
        checks = _table(sorted(self.checks, key=lambda check: {"fail": 0, "cannot tell": 1}.get(check.verdict, 2)))
        return "\n".join([self.run, *first, "", *chain, *checks, "", *methods, *verdict])

    def __repr__(self) -> str:
        return self.text


def diagnose(run: RunView) -> Diagnosis:
    """Check what a run has recorded so far; live, after the end, or loaded."""
    if run.mode in judges:
        judged: Diagnosis = pkgutil.resolve_name(judges[run.mode])(run)
        return judged
    return examine(evidence_of(run), f"Run {run.name}: {run.label}, {', '.join([run.status, *run.losses])}")


# What judges runs that are none of this workbench's own, by their mode: ``module:function``.
judges: dict[str, str] = {}


def examine(evidence: Evidence, title: str = "") -> Diagnosis:
    """All checks and methods over evidence."""
    methods, checks, chain = run_methods(evidence), run_checks(evidence), run_chain(evidence)
    return Diagnosis(title, checks, methods, decide(methods), chain, conclude(checks, chain, evidence) if chain else "")


def run_chain(evidence: Evidence) -> tuple[CheckResult, ...]:
    """Every stage of the chain, computed once more; none of a run without an audit."""
    return tuple(_stage(name, evidence.opinion.of([name])) for name in STAGES) if evidence.opinion.records else ()


def _stage(name: str, judged: Sequence[Judged]) -> CheckResult:
    """The verdict of one stage."""
    found = [each for each in judged if each.finding]
    harmful = [each for each in found if not each.harmless]
    verdict: Verdict = "fail" if harmful else "pass" if judged else "does not apply"
    deviates = str((harmful or found)[0]) + said("stages.harmless") * (not harmful) if found else ""
    sentence = deviates or (said("stages.agree", records=len(judged)) if judged else said("stages.unseen"))
    figure = f"{len(found)} of {len(judged)} records" if judged else "-"
    first = min((each.epoch for each in found), default=None)
    about = (f"chain.{name}", (), verdict, figure, "as the reference computes it", sentence, first)
    return CheckResult(*about, agents=tuple(sorted({each.agent for each in found})))


def conclude(checks: Sequence[CheckResult], chain: Sequence[CheckResult], evidence: Evidence) -> str:
    """The first stage that disagrees, then what follows from it; of learning last."""
    wrong = [stage for stage in chain if stage.verdict == "fail"]
    failed = [check for check in checks if check.verdict == "fail"]
    unseen = [stage.name.partition(".")[2] for stage in chain if stage.verdict == "does not apply"]
    missing = said("doctor.unseen", stages=", ".join(unseen)) if unseen else ""
    deviation = next((each for each in evidence.opinion.records if each.harmless), None)
    missing += said("doctor.deviation", deviation=deviation) if deviation else ""
    if wrong:
        first = wrong[0].sentence.partition(": ")[2]
        others = [each for each in (*wrong[1:], *failed) if f"chain.{each.name}" != wrong[0].name]
        rest = ", ".join(each.name for each in others if first not in each.sentence)
        return said("doctor.first", first=wrong[0].sentence) + said("doctor.rest", rest=rest) * bool(rest)
    agree = said("doctor.agree", records=len({(case.kind, case.agent, case.epoch) for case in evidence.cases}))
    return agree + said("doctor.unlearned") * any(check.name == "learning" for check in failed) + missing


def evidence_of(run: RunView) -> Evidence:
    """What there is to look at of a run. The status is read first: what is recorded later can only add."""
    check_tables(run.history)
    status, now = run.status, time.time()
    if run.ended:
        times = [float(table["time"].max()) for table in (run.history.epochs, run.history.updates) if len(table)]
        now = run.description.get("ended") or max(times, default=now)
    references, others = (run.references, rewards_of_others(run)) if status == "finished" else ({}, ())
    cases, resumed = read_cases(run.folder.place, run.settings), bool(run.description.get("resumed"))
    return Evidence(
        run.config, run.mode, run.lag, status, None if run.error is None else str(run.error), run.history, references,
        now, run.description.get("incidents", ()), run.settings.changes, cases, resumed, others,
        run.description.get("paused_until", -1.0) or now,
    )  # fmt: skip


def decide(methods: Sequence[CheckResult]) -> Hypothesis:
    """True if a method sees the sync of weights fail, false if those that decide all see it work.

    The hypothesis is about the weights that the actor acts with. Neither a stale epsilon nor a target network that is
    missing, which no actor uses, makes it true; the verdict names them.
    """
    claim = said("doctor.hypothesis")
    failed = [method for method in methods if "weights" in method.broken]
    if failed:
        return Hypothesis(True, said("doctor.true", claim=claim, reasons=_reasons(failed[:3])))
    unknown = [method.name for method in methods if method.verdict == "cannot tell" and method.name in _DECIDES]
    if unknown:
        return Hypothesis(None, said("doctor.open", claim=claim, methods=", ".join(unknown)))
    held = " ".join(method.sentence for method in methods if method.verdict == "pass" and method.name in _DECIDES[1:])
    late = {about: [method for method in methods if about in method.broken] for about in ("target", "epsilon")}
    other = " ".join(f"{said(f'doctor.{about}')} {_reasons(seen[:2])}" for about, seen in late.items() if seen)
    verdict = "doctor.false of weights" if other else "doctor.false"
    return Hypothesis(False, said(verdict, claim=claim, held=held, other=other))


def _reasons(methods: Sequence[CheckResult]) -> str:
    return " ".join(f"(method {method.name}) {method.sentence}" for method in methods)


def _table(results: Sequence[CheckResult]) -> list[str]:
    names = max((len(result.name) for result in results), default=0)
    lines = []
    for result in results:
        head = f"{result.name:<{names}}  {result.verdict:<11}  {result.figure:<24}  must: {result.threshold}"
        body = f"[{' '.join(result.ids)}] {result.told}" if result.ids else result.told
        lines += [head, *textwrap.wrap(body, _WIDTH, initial_indent="    ", subsequent_indent="    ")]
    return lines


# --- the methods of sync verification ---------------------------------------------------------------------------------

_FEW, _BINS = 12, 5
# A number to three digits as one would write it: 14500, not 1.45e+04.
_plain = functools.partial(np.format_float_positional, precision=3, unique=False, fractional=False, trim="-")


def run_methods(evidence: Evidence) -> tuple[CheckResult, ...]:
    """The eight methods, each with its numbers."""
    return tuple(_method(evidence, name, **method) for name, method in METHODS.items())


def _method(evidence: Evidence, name: str, ids: Sequence[str], rules: Sequence[str]) -> CheckResult:
    named = [CHECK_RULES[check][rule] for check, _, rule in (each.partition(".") for each in rules)]
    return judge(evidence, name, tuple(ids), named).with_more(_NUMBERS.get(name, lambda _: "")(evidence))


def _distances(evidence: Evidence) -> str:
    told = []
    for half in ("online", "target"):
        before, after = (measurements_of(evidence.history, f"sync/{half}_{at}")["value"] for at in ("before", "after"))
        if len(before) and len(after):
            told.append(said("methods.half", half=half, before=before.mean(), after=after.mean()))
    return said("methods.distances", told=", ".join(told)) if told else ""


def _lags(evidence: Evidence) -> str:
    epochs = evidence.history.epochs
    told = [f"{unit} {histogram(epochs[f'sync_lag_{unit}'])}" for unit in ("versions", "updates", "ms")]
    return said("methods.lags", told="; ".join(told))


def histogram(values: NDArray[np.generic]) -> str:
    """How often there was which value: one by one if they are few, else in equal steps from least to greatest."""
    numbers = np.asarray(values, np.float64)
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(distinct) <= _FEW:
        return ", ".join(f"{value:g}: {count}" for value, count in zip(distinct, counts, strict=True))
    counts, edges = np.histogram(numbers, _BINS)
    return ", ".join(f"{_plain(edges[at])} to {_plain(edges[at + 1])}: {count}" for at, count in enumerate(counts))


# The eight methods by name: ids of failures that each speaks for, and rules of the checks.
METHODS: Mapping[str, Mapping[str, Sequence[str]]] = beside(__file__)
# What else a method has to say; empty where nothing is recorded.
_NUMBERS = {"2 weight distance": _distances, "3 versions": _lags}

"""The doctor: all checks of a run as one table, and seed 000's hypothesis decided with its reason.

It works on what has been recorded, so on a live run, on one that has ended, and on one loaded from its folder.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.diagnose.checks import CheckResult, run_checks
from workbench.diagnose.methods import run_methods
from workbench.diagnose.rules import Evidence
from workbench.runs.loaded import RunView
from workbench.view.rich import Rich

_WIDTH = 112
_DECIDES = ("1 sync events", "2 weight distance", "4 counters", "6 self-test of the copy", "7 order of sync and action")
"""The methods without which the hypothesis is not called false."""
_BUT = {
    "target": "But the TARGET network did not arrive; no actor asks it, so only who starts from these weights is hit:",
    "epsilon": "But EPSILON was not the one due, which the seed would take for a copy that failed:",
}
"""What the verdict says of that which can be late while the weights are not."""


@dataclass(frozen=True)
class Hypothesis:
    """Seed 000's hypothesis: the local model does not sync from the shared model."""

    holds: bool | None
    """None where that cannot be told."""
    sentence: str


@dataclass(frozen=True)
class Diagnosis(Rich):
    """What the records of a run say."""

    run: str
    """Name, label and status of the run."""
    checks: tuple[CheckResult, ...]
    methods: tuple[CheckResult, ...]
    """The eight verification methods of seed 000."""
    hypothesis: Hypothesis

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Checks that found something."""
        return tuple(check for check in self.checks if check.verdict == "fail")

    @property
    def exit_code(self) -> int:
        """0 if every check passes, 1 if one fails, 2 if one cannot tell; "learning" may stay open."""
        if self.failed:
            return 1
        return 2 * any(check.verdict == "cannot tell" for check in self.checks if check.name != "learning")

    def __getitem__(self, name: str) -> CheckResult:
        """A check, or a method, by its name.

        Raises:
            KeyError: there is none of that name.
        """
        named = {result.name: result for result in (*self.checks, *self.methods)}
        if name not in named:
            raise KeyError(f"there is no check {name!r}; there are {', '.join(named)}")
        return named[name]

    def _ipython_key_completions_(self) -> list[str]:
        return [result.name for result in (*self.checks, *self.methods)]

    @property
    def text(self) -> str:
        """Everything as text: checks, methods, hypothesis."""
        return "\n".join([
            self.run, "", *_table(self.checks), "", "The verification methods of seed 000", *_table(self.methods), "",
            *textwrap.wrap(self.hypothesis.sentence, _WIDTH),
        ])  # fmt: skip

    def __repr__(self) -> str:
        return self.text


def diagnose(run: RunView) -> Diagnosis:
    """Check what a run has recorded so far; live, after the end, or loaded."""
    return examine(evidence_of(run), f"Run {run.name}: {run.label}, {', '.join([run.status, *run.losses])}")


def examine(evidence: Evidence, title: str = "") -> Diagnosis:
    """All checks and methods over evidence."""
    methods = run_methods(evidence)
    return Diagnosis(title, run_checks(evidence), methods, decide(methods))


def evidence_of(run: RunView) -> Evidence:
    """What there is to look at of a run. The status is read first: what is recorded later can only add."""
    status, now = run.status, time.time()
    if run.ended:
        now = run.folder.read_description().get("ended") or max(
            (float(table["time"].max()) for table in (run.history.epochs, run.history.updates) if len(table)),
            default=now,
        )
    references = run.references if status == "finished" else {}
    error = None if run.error is None else str(run.error)
    incidents = run.folder.read_description().get("incidents", ())
    return Evidence(
        run.config, run.mode, run.lag, status, error, run.history, references, now, incidents,
        run.course.changes,
    )  # fmt: skip


def decide(methods: Sequence[CheckResult]) -> Hypothesis:
    """Seed 000's expected results: true if a method sees the copy fail, false if those that decide all see it work.

    The hypothesis is about the weights that the actor acts with. The seed takes an epsilon that does not match for a
    sign of it, because in its system both came out of one copy. Here each is measured for itself, so neither a stale
    epsilon nor a missing target network, which no actor asks, makes it true; the verdict names them.
    """
    claim = "The hypothesis that the local model does not sync from the shared model is"
    failed = [method for method in methods if "weights" in method.broken]
    if failed:
        return Hypothesis(True, f"{claim} TRUE, because: {_reasons(failed[:3])}")
    unknown = [method.name for method in methods if method.verdict == "cannot tell" and method.name in _DECIDES]
    if unknown:
        return Hypothesis(None, f"{claim} OPEN: nothing recorded decides {', '.join(unknown)}.")
    held = " ".join(method.sentence for method in methods if method.verdict == "pass" and method.name in _DECIDES[1:])
    other = [
        f"{_BUT[about]} {_reasons(seen[:2])}" for about in _BUT if (seen := [m for m in methods if about in m.broken])
    ]
    if not other:
        return Hypothesis(False, f"{claim} FALSE, because: {held} If learning still fails, the cause is elsewhere.")
    return Hypothesis(
        False, f"{claim} FALSE for the weights that the actor acts with, because: {held} {' '.join(other)}"
    )


def _reasons(methods: Sequence[CheckResult]) -> str:
    return " ".join(f"(method {method.name}) {method.sentence}" for method in methods)


def _table(results: Sequence[CheckResult]) -> list[str]:
    names = max(len(result.name) for result in results)
    lines = []
    for result in results:
        head = f"{result.name:<{names}}  {result.verdict:<11}  {result.figure:<24}  must: {result.threshold}"
        body = f"[{' '.join(result.ids)}] {result.told}" if result.ids else result.told
        lines += [head, *textwrap.wrap(body, _WIDTH, initial_indent="    ", subsequent_indent="    ")]
    return lines

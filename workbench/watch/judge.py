"""The doctor of a watched trainer: whether its actor acts with what its learner published, and what else is wrong."""

from dataclasses import dataclass

from workbench.diagnose.doctor import Diagnosis, Hypothesis
from workbench.runs.loaded import RunView
from workbench.watch import judge_processes, judge_rows, judge_updates, judge_weights  # noqa: F401  # they bring checks
from workbench.watch.findings import SAID, Evidence, judge


@dataclass(frozen=True, repr=False)
class WatchedDiagnosis(Diagnosis):
    """What the records of a watched trainer say.

    Attributes:
        verdict: whether the actor acts with what the learner published: "true", "true by sharing", "false" or "cannot
            tell".
        reasons: the most likely ones for not learning, at most three, worst first.
    """

    verdict: str = "cannot tell"
    reasons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Everything as text, the verdict on top."""
        return f"{self.hypothesis.sentence}\n\n{super().text}"


def diagnose(run: RunView) -> WatchedDiagnosis:
    """Check what a watched trainer has recorded so far. The checks come in the order of ``findings.toml``."""
    evidence = Evidence(run)
    named = {name: judge(evidence, name) for name in SAID}
    sync, torn, sharing, publish = (named[name] for name in ("sync", "torn", "sharing", "publish"))
    shared = "in place" in sharing.broken or sharing.figure == "shared"
    told = [
        (sync.verdict == "fail", "false", sync.sentence),
        ("mixed" in torn.broken, "false", torn.sentence),
        (shared, "true by sharing", f"Nothing is published. {sharing.sentence}"),
        (publish.verdict == "fail", "false", publish.sentence),
        (sync.verdict == torn.verdict == "pass", "true", sync.sentence),
        *((each.verdict == "cannot tell", "cannot tell", each.sentence) for each in (sync, torn, publish)),
    ]
    verdict, why = next((verdict, why) for so, verdict, why in told if so)
    reasons = tuple(f"({each.name}) {each.sentence}" for each in named.values() if each.verdict == "fail")[:3]
    sentence = f"The actor acts with what the learner published: {verdict.upper()}. {why}"
    others = [each for each in reasons if not each.endswith(why)]  # the verdict's own reason is told once
    most = "Other" if len(others) < len(reasons) else "Most"
    sentence += f" {most} likely reasons for not learning: {' '.join(others)}" if others else ""
    holds = {"true": False, "true by sharing": False, "false": True}.get(verdict)
    title = f"Run {run.name}: {run.label}, {run.status}"
    judged = Hypothesis(holds, sentence)
    return WatchedDiagnosis(title, tuple(named.values()), (), judged, verdict=verdict, reasons=reasons)

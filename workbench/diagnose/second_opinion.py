"""The second opinion: what the audit kept of a run, computed once more, stage by stage, by :mod:`reference`.

Every stage is judged from its own record alone, so none has to be there for another. What a stage is given is what the
run recorded as its input, so a mistake shows in the stage in which it is made and not in those behind it.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workbench.diagnose import stages
from workbench.diagnose.cases import CannotTell, Case, Judge, Stage, Wrong
from workbench.runs.live_settings import SettingsTimeline
from workbench.runs.sentences import beside


def _stage(kind: str, judge: str = "", stream: str = "", words: str = "") -> tuple[str, Stage]:
    """A stage as the page gives it."""
    return kind, functools.partial(stages.streamed, stream, words) if stream else getattr(stages, judge)


# The chain, as ``stages.toml`` gives it: each stage with the kind of evidence that it is judged from.
STAGES: dict[str, tuple[str, Stage]] = {name: _stage(**about) for name, about in beside(stages.__file__).items()}


@dataclass(frozen=True)
class Judged:
    """What one stage says of one record.

    Attributes:
        stage: of the chain, one of :data:`STAGES`.
        process: that kept the record.
        agent: whose record.
        finding: what is wrong, a name in ``sentences.toml``; empty where the run agrees with the reference.
        sentence: what was found and what is due.
    """

    stage: str
    process: str
    agent: int
    epoch: int
    finding: str = ""
    sentence: str = ""

    @property
    def harmless(self) -> bool:
        """Whether what is wrong changes no number of the run, but perhaps of one that starts from its weights."""
        return self.finding == "target not published"

    def __str__(self) -> str:
        return f"{self.stage} ({self.process}, agent {self.agent}, epoch {self.epoch}): {self.sentence}"


@dataclass(frozen=True)
class Opinion:
    """What computing a run's evidence once more has shown.

    Attributes:
        records: every record by every stage that could judge it, in the order of the chain, the earliest first.
        off: the largest deviation by what was compared, as a share of its tolerance.
    """

    records: tuple[Judged, ...] = ()
    off: Mapping[str, float] = field(default_factory=dict)

    def of(self, stages: Sequence[str]) -> list[Judged]:
        """What some stages say."""
        return [each for each in self.records if each.stage in stages]


def opinion(cases: Sequence[Case], settings: SettingsTimeline, lag: int | None, steady: bool) -> Opinion:
    """Compute every case once more.

    Args:
        cases: the evidence.
        settings: of each epoch.
        lag: the dial.
        steady: whether no process was lost and nothing was resumed.
    """
    judge = Judge(lag, settings, steady, tuple(cases))
    records: list[Judged] = []
    for name, (kind, stage) in STAGES.items():
        records += (each for case in cases if case.kind == kind for each in _judged(name, stage, judge, case))
    return Opinion(tuple(records), judge.off)


def _judged(name: str, stage: Stage, judge: Judge, case: Case) -> Iterator[Judged]:
    """What a stage says; nothing where the evidence is not there, or not of the shape that it must have."""
    record = Judged(name, str(case["process"]), case.agent, case.epoch)
    try:
        with np.errstate(all="ignore"):
            stage(judge, case)
    except Wrong as wrong:
        record = replace(record, finding=wrong.finding, sentence=str(wrong))
    except (CannotTell, KeyError, IndexError, ValueError, TypeError, AttributeError, ArithmeticError):
        return
    yield record

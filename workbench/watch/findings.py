"""What a check finds in the records of a watched trainer, and how findings become its verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core.records import Records
from workbench.diagnose.checks import CheckResult
from workbench.runs.loaded import RunView
from workbench.watch.recording import Recording, epochs_at

Array = NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        verdict: whether it speaks for the trainer, against it, or says why nothing can be told.
        about: the word by which a broken part is called.
        epoch, agent: where it first showed, and of whom.
    """

    verdict: Literal["pass", "fail", "cannot tell"]
    sentence: str
    figure: str = "-"
    about: str = ""
    epoch: int | None = None
    agent: int | None = None


@dataclass(frozen=True)
class Looks:
    """Looks at one model of an agent in the order of time, n of them.

    Attributes:
        key: the event that a look belongs to, unique over all processes, (n,).
        sums: fingerprints of the tensors, (n, tensors).
        picks: some of its numbers, (n, picks).
        identity: which memory it lies in, (n,); odd if processes share that.
        names, kinds: of the tensors, as in :class:`workbench.watch.tensors.Layout`.
    """

    time: Array
    key: Array
    file: Array
    sums: Array
    picks: Array
    identity: Array
    names: tuple[str, ...]
    kinds: str
    device: str

    def __len__(self) -> int:
        return len(self.time)

    def trained(self) -> list[int]:
        """The tensors that training moves, or could."""
        return [k for k, kind in enumerate(self.kinds) if kind != "b"]

    def some(self, chosen: Array) -> Looks:
        """Some of the looks."""
        of = {name: getattr(self, name)[chosen] for name in ("time", "key", "file", "sums", "picks", "identity")}
        return dataclasses.replace(self, **of)

    def rows(self, columns: Iterable[int]) -> list[bytes]:
        """The fingerprints of some tensors, as one value for each look."""
        return [row.tobytes() for row in np.ascontiguousarray(self.sums[:, list(columns)])]


class Evidence:
    """Everything that was recorded of a watched run."""

    def __init__(self, run: RunView) -> None:
        self.run, self.declared = run, run.description["watched"]
        self.agents, self.frames = range(self.declared["agents"]), self.declared["frames"]
        self.recording = Recording(run.folder.path)
        self.recording.read()
        self.live = not run.ended
        heads = {name: reader.numbers() for name, reader in self.recording.files.items()}
        self.heads = {name: head for name, head in heads.items() if head}
        self._reports = self.recording.table("epochs")
        self._looks = self._join_looks()
        lost = [head["lost_since"] for head in self.heads.values() if head["lost_since"]]
        # what is compared across processes is told as far as every one has written
        self.horizon = min(
            [*lost, *([head["heartbeat"] for head in self.heads.values()] if self.live else [])], default=np.inf
        )

    def of(self, table: str, agent: int | None = None) -> Records:
        """The records of a table in the order of time, of one agent or of all."""
        records = self.recording.table(table)
        return records if agent is None else records[records["agent"] == agent]

    def epochs(self, times: Any) -> Array:
        """The epochs that times lie in."""
        return epochs_at(self._reports, np.atleast_1d(np.asarray(times)))

    def place(self, agent: int, when: float, update: int | None = None) -> str:
        """Where something was, for a sentence."""
        return f"agent {agent}, epoch {self.epochs(when)[0]}" + ("" if update is None else f", update {update}") + ": "

    def bad(self, about: str, agent: int, when: float, figure: str, said: str, update: int | None = None) -> Finding:
        """Something that is wrong, first seen at a time."""
        epoch = int(self.epochs(when)[0])
        return Finding("fail", self.place(agent, when, update) + said, figure, about, epoch, agent)

    def looks(self, role: int, agent: int) -> Looks | None:
        """The looks at a model in one of its roles; None if there are none."""
        return self._looks.get((role, agent))

    def _join_looks(self) -> dict[tuple[int, int], Looks]:
        found: dict[tuple[int, int], Looks] = {}
        layouts = {
            number: [line["layout"] for line in reader.lines if "layout" in line]
            for number, reader in enumerate(self.recording.files.values())
        }
        for width in self.recording.widths("looks"):
            records = self.recording.table("looks", width)
            for role, agent in {
                (int(each["role"]), int(each["agent"])) for each in np.unique(records[["role", "agent"]])
            }:
                mine = records[(records["role"] == role) & (records["agent"] == agent)]
                about = layouts[int(mine["file"][0])][int(mine["layout"][0])]
                looks = Looks(
                    mine["time"],
                    keys(mine),
                    mine["file"],
                    mine["sums"].reshape(len(mine), -1),
                    mine["picks"],
                    mine["identity"],
                    tuple(about["names"]),
                    about["kinds"],
                    about["device"],
                )
                if len(looks) > len(found.get((role, agent), ())):
                    found[role, agent] = looks
        return found


def keys(records: Records) -> Array:
    """The events that records belong to, unique over all processes."""
    return np.asarray(records["file"].astype(np.int64) << 40 | records["event"])


def good(sentence: str, figure: str = "-") -> Finding:
    """Something that is as it should be."""
    return Finding("pass", sentence, figure)


def unknown(sentence: str) -> Finding:
    """Why nothing can be told."""
    return Finding("cannot tell", sentence)


def add(call: str, where: str) -> Finding:
    """A call that is missing for a check."""
    return unknown(f"Cannot tell: add `watch.{call}(...)` to the {where}.")


@dataclass(frozen=True)
class Check:
    """A check: what it looks for, and what must hold."""

    name: str
    ids: tuple[str, ...]
    threshold: str
    find: Callable[[Evidence], Iterator[Finding]]

    def judge(self, evidence: Evidence) -> CheckResult:
        """The verdict: against the trainer if one finding is, for it if one is; else it cannot be told."""
        try:
            found = list(self.find(evidence))
        except Exception as error:  # of records that nobody has thought of: the other checks still speak
            found = [unknown(f"The check came to no end: {type(error).__name__}: {error}.")]
        for verdict in ("fail", "pass", "cannot tell"):
            same = [each for each in found if each.verdict == verdict]
            if same:
                break
        else:
            same = [unknown("Nothing that tells has been recorded.")]
        said = " ".join(dict.fromkeys(_close(each.sentence) for each in same[:6] if each.sentence))
        epochs = [each.epoch for each in same if each.epoch is not None]
        about = tuple(dict.fromkeys(each.about for each in same if each.about))
        agents = tuple(sorted({each.agent for each in same if each.agent is not None}))
        return CheckResult(
            self.name,
            self.ids,
            same[0].verdict,
            same[0].figure,
            self.threshold,
            said,
            min(epochs, default=None),
            about,
            agents=agents,
        )


# All checks, in the order in which they are shown.
CHECKS: list[Check] = []


def check(name: str, ids: str, threshold: str) -> Callable[[Callable[[Evidence], Iterator[Finding]]], None]:
    """A decorator that makes a function of the evidence a check."""

    def register(find: Callable[[Evidence], Iterator[Finding]]) -> None:
        CHECKS.append(Check(name, tuple(ids.split()), threshold, find))

    return register


def _close(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") or not sentence else ".")

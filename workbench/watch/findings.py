"""What a check finds in the records of a watched trainer, and how findings become its verdict.

``findings.toml`` has the sentences.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.records import Records
from workbench.diagnose.checks import CheckResult, Verdict, close
from workbench.runs.loaded import RunView
from workbench.runs.sentences import beside
from workbench.watch.recording import Recording, epochs_at

Array = NDArray[Any]
SAID: dict[str, dict[str, Any]] = dict(beside(__file__))
MISSING: dict[str, str] = SAID.pop("missing")
# Verdicts by what ``findings.toml`` calls them, the one that counts most first.
VERDICTS: dict[str, Verdict] = {"fail": "fail", "pass": "pass", "unknown": "cannot tell"}


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say.

    Attributes:
        verdict: whether it speaks for the trainer, against it, or says why nothing can be told.
        about: the word by which a broken part is called.
        epoch, agent: where it first showed, and of whom.
    """

    verdict: Verdict
    sentence: str
    figure: str = "-"
    about: str = ""
    epoch: int | None = None
    agent: int | None = None


class Told(Exception):
    """A check goes no further: it has found what it can."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.sentence)
        self.finding = finding


@dataclass(frozen=True)
class Looks:
    """Looks at one model of an agent in the order of time, n of them.

    Attributes:
        key: the event that a look belongs to, unique over all processes, (n,).
        sums: fingerprints of the tensors, (n, tensors).
        picks: some of its numbers, (n, picks).
        identity: which memory it lies in, (n,); odd if processes share that.
        names, kinds, shapes: of the tensors, as in :class:`workbench.watch.tensors.Layout`.
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
    shapes: Any = ()

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


_NONE, _NO_ROWS = np.zeros(0), np.zeros((0, 0))
NO_LOOKS = Looks(_NONE, _NONE, _NONE, _NO_ROWS, _NO_ROWS, _NONE, (), "", "")


class Evidence:
    """Everything that was recorded of a watched run."""

    def __init__(self, run: RunView) -> None:
        self.run, self.declared = run, run.description["watched"]
        self.agents, self.frames = range(run.config.num_agents), self.declared["frames"]
        self.recording = Recording(run)
        self.recording.read()
        self.live = not run.ended
        self.heads = {name: head for name, reader in self.recording.files.items() if (head := reader.numbers())}
        self.reports = self.recording.table("epochs")
        self.looks = self._join_looks()
        lost = [head["lost_since"] for head in self.heads.values() if head["lost_since"]]
        # what is compared across processes is told as far as every one has written
        newest = [head["heartbeat"] for head in self.heads.values()] if self.live else []
        self.horizon = min([*lost, *newest], default=np.inf)

    def of(self, table: str, agent: int | None = None) -> Records:
        """The records of a table in the order of time, of one agent or of all."""
        return self.recording.table(table, agent=agent)

    def epochs(self, times: Any) -> Array:
        """The epochs that times lie in."""
        return epochs_at(self.reports, np.atleast_1d(np.asarray(times)))

    def _join_looks(self) -> dict[tuple[int, int], Looks]:
        """The looks at each agent's model in each of its roles."""
        found: dict[tuple[int, int], Looks] = {}
        for records in self.recording.by_width("looks"):
            for role, agent in np.unique(records[["role", "agent"]]).tolist():
                mine = records[(records["role"] == role) & (records["agent"] == agent)]
                about = self.recording.said("layout", mine["file"][0])[mine["layout"][0]]
                looks = Looks(
                    mine["time"], keys(mine), mine["file"], mine["sums"].reshape(len(mine), -1), mine["picks"],
                    mine["identity"], tuple(about["names"]), about["kinds"], about["device"], about["shapes"],
                )  # fmt: skip
                found[role, agent] = max(looks, found.get((role, agent), NO_LOOKS), key=len)
        return found


def keys(records: Records) -> Array:
    """The events that records belong to, unique over all processes."""
    return np.asarray(records["file"].astype(np.int64) << 40 | records["event"])


def together(*looks: Looks) -> list[Looks]:
    """The looks of those events that all have one of, event by event, in the order of time of the first."""
    places = [{key: place for place, key in enumerate(each.key.tolist())} for each in looks]
    shared = [key for key in looks[0].key.tolist() if all(key in known for known in places)]
    return [each.some(np.array([known[key] for key in shared], int)) for each, known in zip(looks, places, strict=True)]


@dataclass(frozen=True)
class Case:
    """What one check looks at: the records of an agent, or of all of them.

    Attributes:
        agent: whose records; None for all.
        found: what it has to say so far.
    """

    evidence: Evidence
    check: str
    agent: int | None = None
    found: list[Finding] = dataclasses.field(default_factory=list)

    def table(self, name: str) -> Records:
        """The records of a table in the order of time."""
        return self.evidence.of(name, self.agent)

    def events(self, kind: int) -> Records:
        """The agent's syncs, publications or results, in the order of time."""
        events = self.table("events")
        return np.asarray(events[events["kind"] == kind])

    def looks(self, role: int) -> Looks:
        """The looks at the agent's model in one of its roles."""
        return NO_LOOKS if self.agent is None else self.evidence.looks.get((role, self.agent), NO_LOOKS)

    def say(
        self, name: str, when: Any = None, update: Any = None, broken: Array | None = None,
        among: Array | None = None, **numbers: Any,
    ) -> Finding:  # fmt: skip
        """A finding of ``findings.toml``.

        Args:
            name: of the finding.
            when: times of n records, or one: of the first broken one the sentence then has agent and epoch.
            update: which the records belong to, (n,).
            broken: which of them are broken, (n,), by default the first. The sentence can have their count,
                ``broken``, that of all, ``of``, and ``share``.
            among: which records are all that count, (n,); by default all.
            numbers: what else the sentence needs; and the ``agent``, where the case is of all.
        """
        said, at = SAID[self.check][name], 0
        kind, verdict = next((kind, verdict) for kind, verdict in VERDICTS.items() if kind in said)
        if broken is not None:
            at, of = int(np.argmax(broken)), len(broken) if among is None else int(among.sum())
            numbers |= {"broken": int(broken.sum()), "of": of, "share": broken.sum() / max(of, 1)}
        agent = numbers.setdefault("agent", self.agent)
        numbers["figure"] = figure = said.get("figure", "-").format(**numbers)
        sentence = said[kind].format(**numbers)
        if verdict != "fail":
            return Finding(verdict, sentence, figure)
        epoch = numbers.get("epoch")
        if when is not None:
            epoch = int(self.evidence.epochs(np.atleast_1d(when)[at])[0])
            of_update = "" if update is None else f", update {int(update[at])}"
            sentence = f"agent {agent}, epoch {epoch}{of_update}: {sentence}"
        return Finding("fail", sentence, figure, said.get("about", name), epoch, agent)

    def need(self, there: object, what: str, **numbers: Any) -> None:
        """Go no further without something.

        Raises:
            Told: it is not there.
        """
        if not there:
            raise Told(self.missing(what, **numbers))

    def also(self, so: object, name: str, *given: Any, **numbers: Any) -> None:
        """Find something, if it is so, and go on; arguments as for :meth:`say`."""
        if so:
            self.found.append(self.say(name, *given, **numbers))

    def stop(self, so: object, name: str, *given: Any, **numbers: Any) -> None:
        """Go no further if it is so and a finding says it all; arguments as for :meth:`say`.

        Raises:
            Told: it is so.
        """
        if so:
            raise Told(self.say(name, *given, **numbers))

    def missing(self, what: str, **numbers: Any) -> Finding:
        """What the check cannot do without."""
        text = MISSING[what].format(agent=self.agent, **numbers)
        untaken = text.startswith("Cannot tell: add") and self.evidence.recording.said("error")
        return Finding("cannot tell", text + MISSING["untaken"] if untaken else text)


Find = Callable[[Case], Finding]
# The checks by name: what returns the last that it finds, and whether it looks at each agent alone.
_FINDS: dict[str, tuple[Find, bool]] = {}


def check_each_agent(find: Find, alone: bool = True) -> Find:
    """Make a function a check of each agent's records. Its name is the check's, behind an underscore."""
    _FINDS[find.__name__[1:]] = find, alone
    return find


# Makes a function a check of all records together.
check_all = functools.partial(check_each_agent, alone=False)


def judge(evidence: Evidence, name: str) -> CheckResult:
    """The verdict of a check: against the trainer if one finding is, for it if one is; else it cannot be told."""
    find, alone = _FINDS[name]
    cases = [Case(evidence, name, agent) for agent in (evidence.agents if alone else [None])]
    found = [finding for case in cases for finding in _found(find, case)]
    verdict = next(each for each in VERDICTS.values() if any(each == one.verdict for one in found))
    same = [each for each in found if each.verdict == verdict]
    said = " ".join(dict.fromkeys(close(each.sentence) for each in same[:6] if each.sentence))
    return CheckResult(
        name, tuple(SAID[name]["ids"].split()), verdict, same[0].figure,
        SAID[name]["holds"], said, min((each.epoch for each in same if each.epoch is not None), default=None),
        tuple(dict.fromkeys(each.about for each in same if each.about)),
        agents=tuple(sorted({each.agent for each in same if each.agent is not None})),
    )  # fmt: skip


def _found(find: Find, case: Case) -> list[Finding]:
    try:
        last = find(case)
    except Told as told:
        last = told.finding
    except Exception as error:  # of records that nobody has thought of: the other checks still speak
        last = Finding("cannot tell", f"The check came to no end: {type(error).__name__}: {error}.")
    return [*case.found, last]

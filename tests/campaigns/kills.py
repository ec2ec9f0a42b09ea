"""A campaign of kills: processes are ended at random instants, and every run must end as if nothing had happened.

``python -m tests.campaigns.kills`` makes it.

Kills come from outside (SIGKILL, SIGTERM, SIGSTOP and then SIGKILL, at a random moment of wall time) and from inside: a
process counts the lines that it executes in a module which touches shared memory, and kills itself at one of them. So
kills fall into the middle of a publication, of a row, of a record, of a kept state and of a copy for a checkpoint. Runs
that are disturbed from outside lose the fork server of their children as well, between the other kills. Some runs lose
their parent instead, at a random moment or in the middle of writing a checkpoint, and are resumed.

Everything is drawn from one seed; what the clock decides, such as where a kill from outside falls, differs from time to
time. At a finite lag the digests must be those of a run that was left alone.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import ROOT, RunsFile
from tests.campaigns.signals import SIGNALS, end, server_pid
from tests.soundness import check_replay
from workbench.api import Run, launch, load, resume
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.records import EventKind
from workbench.core.train.hooks import Hook
from workbench.diagnose.faults.fault import override
from workbench.diagnose.measurements import measurements_of
from workbench.runs.folder import reference_path
from workbench.runs.presets import preset

SETTINGS: tuple[tuple[str, int | None], ...] = (
    ("sequential", 0), ("sequential", 1), ("sequential", 3),
    ("multiprocess", 0), ("multiprocess", 1), ("multiprocess", 3), ("multiprocess", None),
)  # fmt: skip
PLACES = (
    "core/shared/weight_store.py", "core/shared/replay.py", "core/shared/counters.py", "core/shared/record_ring.py",
    "runs/recovery/journal.py", "runs/recovery/keepers.py",
)  # fmt: skip
"""Modules in whose lines a process kills itself."""
HARM = ("hangs", "torn_accepted", "digest_mismatches", "wrong_counts", "failed_runs")
"""What a kill must never do. Counted are the runs that it happened to."""
CHECKPOINT = "runs/recovery/checkpoint.py"
"""The module in whose lines a parent kills itself."""
LIMIT_S = 120.0
"""A run that has not ended after this counts as hung; one takes some ten seconds."""
PARENT = """
import json, os, sys, threading, time
from pathlib import Path
import numpy as np
from workbench.core.config import Config
from tests.campaigns.kills import die_in_checkpoint
from workbench.api import launch
config = Config.from_dict(json.loads(Path({config!r}).read_text()))
if {inside!r}:
    die_in_checkpoint({number!r}, {lines!r})
run = launch(config, {mode!r}, {lag!r}, out={out!r}, name={name!r})
while run.progress["epochs"] < {epoch!r} and not run.ended:
    time.sleep(0.001)
if not {inside!r}:
    os.kill(os.getpid(), 9)
run._supervisor.wait(60)
"""
"""The script of a parent that is to die: at an epoch, or while it writes a checkpoint, with one before it."""


class DiesAtALine(Hook):
    """One process kills itself when it has executed that many lines of a module; its successor does not."""

    def __init__(self, process: int, place: str, lines: int) -> None:
        """``process`` is the place among the run's processes; ``place`` one of :data:`PLACES`."""
        self.process, self.place, self.lines = process, place, lines

    def on_parts(self, parts: Parts) -> None:
        """Begin to count when the run begins: a death before that ends the run, by design."""
        if parts.job.index == self.process and not parts.job.restarts:
            override(parts, "ready", self._ready)

    def _ready(self, original: Callable[[], None]) -> None:
        original()
        die_at_line(self.place, self.lines)


def die_at_line(place: str, lines: int) -> None:
    """Kill this process when this thread has executed that many lines of a module, from its next calls on."""
    left = [lines]

    def at_line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        left[0] -= event == "line"
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return at_line if frame.f_code.co_filename.replace(os.sep, "/").endswith(f"workbench/{place}") else None

    sys.settrace(at_call)


def die_in_checkpoint(number: int, lines: int) -> None:
    """Kill this process when it has executed that many lines of writing its checkpoint of that number, from 1 on."""
    from workbench.runs.recovery.gathering import Checkpoints

    write, begun = Checkpoints.write, itertools.count(1)

    def dying(*arguments: Any) -> None:
        if next(begun) == number:
            die_at_line(CHECKPOINT, lines)
        write(*arguments)

    Checkpoints.write = dying  # type: ignore[method-assign, assignment]


@dataclass(frozen=True)
class Kill:
    """One process's death."""

    role: str
    """actor, learner, sequential, parent, or server."""
    how: str
    """A signal from outside, or "at a line" or "in a checkpoint" from inside."""
    where: str = ""
    """The module whose line it was; empty for a signal from outside."""


@dataclass
class Disturbed:
    """One run, the deaths in it, and what harm they did."""

    number: int
    mode: str
    lag: int | None
    kills: list[Kill] = field(default_factory=list)
    seen_s: list[float] = field(default_factory=list)
    """Seconds from a signal that ends a process to the moment when its parent has seen its death."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """By the names of :data:`HARM`; empty for a run that ended as if nothing had happened."""


def table(runs: Sequence[Disturbed]) -> dict[str, Any]:
    """What the file holds: kills and harm, in all, and by mode, role, manner and place.

    A run's harm is counted for every role, manner and place of the kills in it, since none of them is known to be
    innocent.
    """

    every = [(run, kill) for run in runs for kill in run.kills]

    def by(group: Callable[[Disturbed, Kill], str]) -> dict[str, dict[str, int]]:
        groups: dict[str, list[Disturbed]] = {}
        for run, kill in every:
            groups.setdefault(group(run, kill), []).append(run)  # as often as it lost a process
        return {
            name: {"kills": len(hit)}
            | {harm: len({run.number for run in hit if harm in run.failures}) for harm in HARM}
            for name, hit in groups.items()
        }

    return {
        "kills": len(every),
        **{harm: sum(harm in run.failures for run in runs) for harm in HARM},
        "seen_after_ms": _milliseconds([seconds for run in runs for seconds in run.seen_s]),
        "by_mode": by(lambda run, _: _mode(run)),
        "by_role": by(lambda _, kill: kill.role),
        "by_how": by(lambda _, kill: kill.how),
        "by_where": by(lambda _, kill: kill.where or "anywhere, from outside"),
        "failures": [
            f"run {run.number}, {_mode(run)}: {text}"
            for run in runs
            for texts in run.failures.values()
            for text in texts
        ],
    }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """How long it took, of those that could be timed from outside."""
    if not seconds:
        return {"deaths": 0}
    return {
        "deaths": len(seconds), "median": round(1e3 * float(np.median(seconds)), 2),
        "max": round(1e3 * max(seconds), 2),
    }  # fmt: skip


def _mode(run: Disturbed) -> str:
    return f"{run.mode}, {'free-running' if run.lag is None else f'lag {run.lag}'}"


class KillsFile(RunsFile):
    """The file of the campaign: what came of every run, and the counts that follow from it."""

    def table(self) -> dict[str, Any]:
        """The counts, and the runs."""
        return {**table([disturbed(run) for run in self.runs]), "runs": self.runs}

    @property
    def kills(self) -> int:
        """Kills in all runs so far."""
        return sum(len(run["kills"]) for run in self.runs)


def disturbed(run: Mapping[str, Any]) -> Disturbed:
    """A run as the file has it."""
    return Disturbed(**{**run, "kills": [Kill(**kill) for kill in run["kills"]]})


def kills_config() -> Config:
    """A task of seconds, with a checkpoint in every fifth epoch, that may be restarted however often it dies."""
    return preset("tiny").replace(**{
        "device": "cpu", "epochs": 60, "checkpoint.interval": 5, "processes.max_restarts": 1000,
        "evaluation.interval": 20, "evaluation.final_worlds": 4, "exploration.decay_epochs": 30,
    })  # fmt: skip


class Campaign:
    """Makes one run after the other, and judges what the kills in it did."""

    def __init__(self, seed: int, folder: Path) -> None:
        """``folder`` takes the run folders; they are large together, so give a temporary one."""
        self._seed, self._folder = seed, folder
        self._config = kills_config()
        self._digests: dict[tuple[str, int | None], dict[str, str]] = {}

    def run(self, number: int) -> Disturbed:
        """Make the run of a number; what is drawn for it depends on the campaign's seed and the number alone."""
        self._rng = np.random.default_rng([self._seed, number])
        mode, lag = SETTINGS[number % len(SETTINGS)]
        kind = number // len(SETTINGS) % 4
        record = Disturbed(number, mode, lag)
        run = self._without_parent(record) if kind == 3 else self._disturbed(record, inside=kind > 0)
        self._judge(run, record)
        shutil.rmtree(run.folder.path)
        return record

    # --- runs ------------------------------------------------------------------------------------------------------

    def _disturbed(self, record: Disturbed, inside: bool) -> Run:
        """A run of which some processes are killed: each from inside, or some of them from outside."""
        rng, processes = self._rng, 1 if record.mode == "sequential" else 1 + self._config.num_learners
        dying: list[DiesAtALine] = []
        if inside:
            for process in range(processes):
                place = PLACES[int(rng.integers(len(PLACES)))]
                dying.append(DiesAtALine(process, place, int(rng.integers(1, 4000))))
        name = f"run-{record.number}"
        run = launch(self._config, record.mode, record.lag, out=self._folder, name=name, hooks=dying)
        deadline = time.monotonic() + LIMIT_S
        sent: list[tuple[str, float, float]] = []
        before = int(rng.integers(4))
        for kill in range(0 if inside else 4):
            wait, victim, how = rng.uniform(0.0, 0.4), int(rng.integers(processes)), SIGNALS[int(rng.integers(3))]
            self._pause_until_alive(run, victim, deadline)
            time.sleep(wait)
            if kill == before and not run.ended and end(server_pid(), "SIGKILL"):
                record.kills.append(Kill("server", "SIGKILL"))
            sent += self._kill(run, victim, how, record)
        while not run.ended and time.monotonic() < deadline:
            run._supervisor.wait(0.5)
        for each, at in zip(run.processes, dying, strict=False):
            if each.restarts:
                record.kills.append(Kill(each.role, "at a line", at.place))
        if not run.ended:
            self._give_up(run, record)
        record.seen_s = _seen_after(run, sent)
        return run

    def _give_up(self, run: Run, record: Disturbed) -> None:
        """Note a hang, and end it."""
        record.failures["hangs"] = [f"did not end within {LIMIT_S:g} s"]
        run.stop(now=True)

    def _pause_until_alive(self, run: Run, victim: int, deadline: float) -> None:
        while not run.ended and time.monotonic() < deadline:
            if run.status == "running" and run.processes[victim].alive and run.processes[victim].pid:
                return
            time.sleep(0.005)

    def _kill(self, run: Run, victim: int, how: str, record: Disturbed) -> list[tuple[str, float, float]]:
        """Kill a process, if it is there; its name, and when its first and its last signal were sent."""
        each, begun = run.processes[victim], time.time()
        at = None if run.ended or not (each.alive and each.pid) else end(each.pid, how)
        if at is None:
            return []
        record.kills.append(Kill(each.role, how))
        return [(each.name, begun, at)]

    def _without_parent(self, record: Disturbed) -> Run:
        """A run whose parent is killed once there is a checkpoint, and which is resumed."""
        rng, name, mode, lag = self._rng, f"run-{record.number}", record.mode, record.lag
        inside, epoch = bool(rng.integers(2)), int(rng.integers(10, 50))
        settings = self._folder / "config.json"
        settings.write_text(self._config.to_json())
        script = PARENT.format(
            config=str(settings), mode=mode, lag=lag, out=str(self._folder), name=name, epoch=epoch,
            inside=inside, number=int(rng.integers(2, 4)), lines=int(rng.integers(1, 350)),
        )  # fmt: skip
        try:
            subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=LIMIT_S, check=False, capture_output=True)
        except subprocess.TimeoutExpired:
            record.failures["hangs"] = [f"the parent was still there after {LIMIT_S:g} s"]
        path = self._folder / name
        if any((path / "checkpoints").glob("*.npz")) and load(path).status == "cut off":
            record.kills.append(Kill("parent", "in a checkpoint", CHECKPOINT) if inside else Kill("parent", "SIGKILL"))
            run = resume(path)
        else:  # it died before its first checkpoint was whole, or after the end: there is nothing to resume
            run = launch(self._config, mode, lag, out=self._folder, name=f"{name}-again")
        assert isinstance(run, Run)
        if not run._supervisor.wait(LIMIT_S):
            self._give_up(run, record)
        return run

    # --- what must hold --------------------------------------------------------------------------------------------

    def _judge(self, run: Run, record: Disturbed) -> None:
        """Write down what harm was done."""

        def note(harm: str, what: str, done: bool) -> None:
            if done:
                record.failures.setdefault(harm, []).append(what)

        if run.status != "finished":
            note("failed_runs", f"{run.status}: {run.error}", True)
            return
        if record.lag is not None:
            undisturbed = self._undisturbed(record.mode, record.lag)
            note("digest_mismatches", "other digests", run.result.digest != undisturbed)
        note("wrong_counts", "something is counted twice or missing", not _counted_once(run))
        note("wrong_counts", "versions go back", not _versions_grow(run))
        broken = [
            why for replay in run._supervisor.shared.replays for valid, why in [check_replay(replay)] if not valid
        ]
        note("torn_accepted", f"torn rows: {broken}", bool(broken))
        copied = measurements_of(run.history, "sync/checksum")["value"]
        note("torn_accepted", "torn weights: a copied snapshot has another checksum", not (copied == 1).all())
        note("torn_accepted", "no copied snapshot was checked", not len(copied))

    def _undisturbed(self, mode: str, lag: int) -> dict[str, str]:
        if (mode, lag) not in self._digests:
            run = launch(self._config, mode, lag, out=self._folder, name=f"undisturbed-{mode}-{lag}")
            self._digests[mode, lag] = run.wait().digest
        return self._digests[mode, lag]


def _seen_after(run: Run, sent: Sequence[tuple[str, float, float]]) -> list[float]:
    """Seconds from each last signal to the death that it made; nothing for a process that had done its work.

    Nothing either for one that was stopped and died before its last signal: the system hangs up on a stopped child
    whose server dies.
    """
    deaths = run.folder.read_description()["incidents"]
    found = []
    for name, begun, at in sent:
        seen = [death["time"] for death in deaths if death["process"] == name and death["time"] >= begun]
        found += [seen[0] - at] if seen and seen[0] >= at else []
    return found


def _counted_once(run: Run) -> bool:
    """Whether every epoch, update and publication is recorded, and once."""
    history, agents = run.history, run.config.num_agents
    epochs = set(zip(history.epochs["agent"].tolist(), history.epochs["epoch"].tolist(), strict=True))
    updates = set(zip(history.updates["agent"].tolist(), history.updates["update"].tolist(), strict=True))
    published = history.events[history.events["kind"] == EventKind.PUBLISH]
    versions = set(zip(published["agent"].tolist(), published["version"].tolist(), strict=True))
    newest = sum(store.newest + 1 for store in run._supervisor.shared.stores)
    return (
        len(epochs) == len(history.epochs) == agents * run.config.epochs
        and len(updates) == len(history.updates) == run.result.updates == agents * run.config.total_updates
        and len(versions) == len(published) == newest
    )


def _versions_grow(run: Run) -> bool:
    epochs = run.history.epochs
    used = [epochs["policy_version"][epochs["agent"] == agent] for agent in range(run.config.num_agents)]
    return all(bool((each[1:] >= each[:-1]).all()) for each in used)


def is_sound(data: dict[str, Any]) -> bool:
    """Whether no kill did any harm."""
    return not any(data[name] for name in HARM)


@dataclass(frozen=True)
class Options:
    """Kill processes of many runs at random instants, and check that every run ends as if nothing had happened.

    The file is whole after every run; the same command continues where an earlier one was interrupted. The exit code
    is 1 if a run hung, failed, accepted torn data, counted wrongly, or ended with other digests.
    """

    kills: int = 300
    """Kills to make."""
    seed: int = 0
    """Of what is killed when, and how."""
    out: Path | None = None
    """File to write. Default: data/reference/kills.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


def main(arguments: list[str]) -> int:
    """Make the runs that the file does not hold yet, and print the counts.

    Raises:
        ChildFailed: a run that nobody disturbed failed.
    """
    options = parse("kills", arguments, lambda _: Options())
    at_least(0, seed=options.seed)
    at_least(1, kills=options.kills)
    out, asked = options.out or reference_path("kills.json"), command("kills", arguments)
    file = KillsFile(out, kills_config(), asked, fresh=options.fresh, seed=options.seed)
    with tempfile.TemporaryDirectory(prefix="workbench-kills-") as folder:
        campaign = Campaign(options.seed, Path(folder))
        while file.kills < options.kills:
            run = campaign.run(len(file.runs))
            file.keep(asdict(run))
            told = ", ".join(text for texts in run.failures.values() for text in texts) or "as if nothing"
            say(f"run {run.number}: {_mode(run)}, {len(run.kills)} kills, {told}")
    data = file.data
    counts = [f"{name}: {data[name]}" for name in ("kills", *HARM)]
    print(f"runs: {len(file.runs)}", *counts, f"written: {out}", sep="\n")
    return 0 if is_sound(data) else 1


if __name__ == "__main__":
    start("kills")

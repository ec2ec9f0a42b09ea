"""A campaign of kills: processes are ended at random instants, and every run must end as if nothing had happened.

Kills come from outside (SIGKILL, SIGTERM, SIGSTOP and then SIGKILL, at a random moment of wall time) and from inside: a
process counts the lines that it executes in a module which touches shared memory, and kills itself at one of them. So
kills fall into the middle of a publication, of a row, of a record, of a kept state and of a copy for a checkpoint. Some
runs lose their parent instead, at a random moment or in the middle of writing a checkpoint, and are resumed.

Everything is drawn from one seed; what the clock decides, such as where a kill from outside falls, differs from time to
time. At a finite lag the digests must be those of a run that was left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from workbench.config import preset
from workbench.experiments import provenance, write_json
from workbench.loop import Collector, Trainer
from workbench.processes.job import Modifier, Parts
from workbench.record.metrics import EventKind
from workbench.resume import resume
from workbench.run import Run, launch

SETTINGS: tuple[tuple[str, int | None], ...] = (
    ("sequential", 0), ("sequential", 1), ("sequential", 3),
    ("multiprocess", 0), ("multiprocess", 1), ("multiprocess", 3), ("multiprocess", None),
)  # fmt: skip
PLACES = ("exchange/mailbox.py", "exchange/replay.py", "exchange/journal.py", "exchange/recovery.py",
          "exchange/progress.py", "record/telemetry.py")  # fmt: skip
"""Modules in whose lines a process kills itself."""
SIGNALS = ("SIGKILL", "SIGTERM", "SIGSTOP")
LIMIT_S = 120.0
"""A run that has not ended after this counts as hung; one takes some ten seconds."""
PARENT = """
import os, sys, threading, time
from pathlib import Path
import numpy as np
from workbench.config import Config
from workbench.diagnose.kills import die_in_checkpoint
from workbench.run import launch
config = Config.from_json(Path({config!r}).read_text())
if {inside!r}:
    die_in_checkpoint({lines!r})
run = launch(config, {mode!r}, {lag!r}, out={out!r}, name={name!r})
while run.progress["epochs"] < {epoch!r} and not run.ended:
    time.sleep(0.001)
if not {inside!r}:
    os.kill(os.getpid(), 9)
run._supervisor.wait(60)
"""
"""The script of a parent that is to die: at an epoch, or while it writes a checkpoint."""


class DiesAtALine(Modifier):
    """One process kills itself when it has executed so many lines of a module; its successor does not."""

    def __init__(self, process: int, place: str, lines: int) -> None:
        """``process`` is the place among the run's processes; ``place`` one of :data:`PLACES`."""
        self.process, self.place, self.lines = process, place, lines

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Begin to count."""
        self._arm(parts)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Begin to count."""
        self._arm(parts)

    def _arm(self, parts: Parts) -> None:
        if parts.job.index == self.process and not parts.job.restarts:
            die_at_line(self.place, self.lines)


def die_at_line(place: str, lines: int) -> None:
    """Kill this process when this thread has executed so many lines of a module, from its next calls on."""
    left = [lines]

    def at_line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        left[0] -= event == "line"
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return at_line if frame.f_code.co_filename.replace(os.sep, "/").endswith(f"workbench/{place}") else None

    sys.settrace(at_call)


def die_in_checkpoint(lines: int) -> None:
    """Kill this process when its thread that writes checkpoints has executed so many lines of that."""
    from workbench.processes.supervisor import Supervisor

    write = Supervisor._write_checkpoint

    def dying(*arguments: Any) -> None:
        die_at_line("record/checkpoint.py", lines)
        write(*arguments)

    Supervisor._write_checkpoint = dying  # type: ignore[method-assign, assignment]


class Campaign:
    """Kills in number, and what came of them."""

    def __init__(self, kills: int, seed: int, folder: Path) -> None:
        """``folder`` takes the run folders; they are large together, so give a temporary one."""
        self._wanted, self._seed, self._folder = kills, seed, folder
        self._rng = np.random.default_rng(seed)
        self._config = preset("quick").replace(**{
            "device": "cpu", "epochs": 60, "checkpoint.interval": 5, "processes.max_restarts": 1000,
            "evaluation.interval": 20, "evaluation.final_worlds": 4, "exploration.decay_epochs": 30,
        })  # fmt: skip
        self._digests: dict[tuple[str, int | None], dict[str, str]] = {}
        self.kills: Counter[tuple[str, str, str]] = Counter()  # by mode, role, and how
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Make run after run until there were enough kills; the table of :data:`data/reference/kills.json`."""
        number = 0
        while self.kills.total() < self._wanted:
            mode, lag = SETTINGS[number % len(SETTINGS)]
            kind = number // len(SETTINGS) % 4
            before = self.kills.total()
            if kind == 3:
                run = self._without_parent(mode, lag, number)
            else:
                run = self._disturbed(mode, lag, number, inside=kind == 1)
            found = self._judge(run, mode, lag)
            self.failures += [f"run {number}, {mode}, lag {lag}: {each}" for each in found]
            say(
                f"run {number}: {run.label}, {self.kills.total() - before} kills, {', '.join(found) or 'as if nothing'}"
            )
            number += 1
        return self.table(number)

    def table(self, runs: int) -> dict[str, Any]:
        """What the file holds."""
        by: dict[str, Counter[str]] = {"mode": Counter(), "role": Counter(), "how": Counter()}
        for (mode, role, how), count in self.kills.items():
            by["mode"][mode] += count
            by["role"][role] += count
            by["how"][how] += count
        names = ("hangs", "torn_accepted", "digest_mismatches", "wrong_counts", "failed_runs")
        return {
            "kills": self.kills.total(), **{name: self.outcomes[name] for name in names}, "runs": runs,
            "seed": self._seed, "by_mode": dict(by["mode"]), "by_role": dict(by["role"]), "by_how": dict(by["how"]),
            "failures": self.failures, "config": self._config.to_dict(),
        }  # fmt: skip

    # --- runs ------------------------------------------------------------------------------------------------------

    def _disturbed(self, mode: str, lag: int | None, number: int, inside: bool) -> Run:
        """A run of which some processes are killed: one from inside, or several from outside."""
        rng, processes = self._rng, 1 if mode == "sequential" else 1 + self._config.num_learners
        modifiers: list[Modifier] = []
        if inside:
            for process in range(processes):
                place = PLACES[int(rng.integers(len(PLACES)))]
                modifiers.append(DiesAtALine(process, place, int(rng.integers(1, 4000))))
        run = launch(self._config, mode, lag, out=self._folder, name=f"run-{number}", modifiers=modifiers)
        deadline = time.monotonic() + LIMIT_S
        for _ in range(0 if inside else 4):
            wait, victim, how = rng.uniform(0.0, 0.4), int(rng.integers(processes)), SIGNALS[int(rng.integers(3))]
            self._pause_until_alive(run, victim, deadline)
            time.sleep(wait)
            self._kill(run, victim, how, mode)
        while not run.ended and time.monotonic() < deadline:
            run._supervisor.wait(0.5)
        if inside:
            for text in run.incidents:
                role = text.split()[0]
                self.kills[mode, role, "at a line"] += 1
        if not run.ended:
            self.outcomes["hangs"] += 1
            self.failures.append(f"run {number} did not end within {LIMIT_S:g} s")
            run.stop(now=True)
        return run

    def _pause_until_alive(self, run: Run, victim: int, deadline: float) -> None:
        while not run.ended and time.monotonic() < deadline:
            if run.status == "running" and run.processes[victim].alive:
                return
            time.sleep(0.005)

    def _kill(self, run: Run, victim: int, how: str, mode: str) -> None:
        each = run.processes[victim]
        if run.ended or each.pid is None or not each.alive:
            return
        try:
            os.kill(each.pid, getattr(signal, how))
            if how == "SIGSTOP":
                time.sleep(0.05)
                os.kill(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[mode, each.role, how] += 1

    def _without_parent(self, mode: str, lag: int | None, number: int) -> Run:
        """A run whose parent is killed once there is a checkpoint, and which is resumed."""
        rng, name = self._rng, f"run-{number}"
        inside, epoch = bool(rng.integers(2)), int(rng.integers(10, 50))
        settings = self._folder / "config.json"
        settings.write_text(self._config.to_json())
        script = PARENT.format(
            config=str(settings), mode=mode, lag=lag, out=str(self._folder), name=name, epoch=epoch,
            inside=inside, lines=int(rng.integers(40, 400)),
        )  # fmt: skip
        subprocess.run([sys.executable, "-c", script], timeout=LIMIT_S, check=False, capture_output=True)
        if any((self._folder / name / "checkpoints").glob("*.npz")):
            self.kills[mode, "parent", "in a checkpoint" if inside else "SIGKILL"] += 1
            run = resume(self._folder / name)
        else:  # it died before its first checkpoint was whole: there is nothing to go on from
            run = launch(self._config, mode, lag, out=self._folder, name=f"{name}-anew")
        run._supervisor.wait(LIMIT_S)
        return run

    # --- what must hold --------------------------------------------------------------------------------------------

    def _judge(self, run: Run, mode: str, lag: int | None) -> list[str]:
        found: list[str] = []

        def count(name: str, what: str, bad: bool) -> None:
            if bad:
                self.outcomes[name] += 1
                found.append(what)

        if run.status != "finished":
            count("failed_runs", f"{run.status}: {run.error}", True)
            return found
        if lag is not None:
            count("digest_mismatches", "other digests", run.result.digest != self._undisturbed(mode, lag))
        count("wrong_counts", "something is counted twice or missing", not _counted_once(run))
        count("wrong_counts", "versions go back", not _versions_grow(run))
        broken = [
            why for replay in run._supervisor.shared.replays for valid, why in [replay.check_valid()] if not valid
        ]
        count("torn_accepted", f"torn rows: {broken}", bool(broken))
        return found

    def _undisturbed(self, mode: str, lag: int) -> dict[str, str]:
        if (mode, lag) not in self._digests:
            run = launch(self._config, mode, lag, out=self._folder, name=f"undisturbed-{mode}-{lag}")
            self._digests[mode, lag] = run.wait().digest
        return self._digests[mode, lag]


def _counted_once(run: Run) -> bool:
    """Whether every epoch, update and publication is recorded, and once."""
    history, agents = run.history, run.config.world.num_agents
    epochs = set(zip(history.epochs["agent"].tolist(), history.epochs["epoch"].tolist(), strict=True))
    updates = set(zip(history.updates["agent"].tolist(), history.updates["update"].tolist(), strict=True))
    published = history.events[history.events["kind"] == EventKind.PUBLISH]
    versions = set(zip(published["agent"].tolist(), published["version"].tolist(), strict=True))
    newest = sum(mailbox.newest + 1 for mailbox in run._supervisor.shared.mailboxes)
    return (
        len(epochs) == len(history.epochs) == agents * run.config.epochs
        and len(updates) == len(history.updates) == run.result.updates == agents * run.config.total_updates
        and len(versions) == len(published) == newest
    )


def _versions_grow(run: Run) -> bool:
    epochs = run.history.epochs
    used = [epochs["policy_version"][epochs["agent"] == agent] for agent in range(run.config.world.num_agents)]
    return all(bool((each[1:] >= each[:-1]).all()) for each in used)


def run_kills(out: Path, kills: int, seed: int, command: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Make the campaign, write the file, return what it holds.

    Raises:
        ChildFailed: a run that nobody disturbed failed.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-kills-") as folder:
        data = Campaign(kills, seed, Path(folder)).run(say) | provenance(command)
    write_json(out, data)
    return data


def is_sound(data: dict[str, Any]) -> bool:
    """Whether no kill did any harm."""
    return not any(
        data[name] for name in ("hangs", "torn_accepted", "digest_mismatches", "wrong_counts", "failed_runs")
    )

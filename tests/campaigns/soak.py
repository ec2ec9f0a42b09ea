"""A soak: one free-running run for an hour, a process killed every minute, and what every process takes meanwhile.

``python -m tests.campaigns.soak`` makes it. Each sample holds, of the parent and of every child, its memory and its
open files, and what lies in ``/dev/shm``. At the end nothing may have grown beyond what it wavers by, and the history
must be whole.

A child that is killed comes back as a new process, which begins at a level of its own, some MiB from that of the one
before. So growth is looked for twice: within each life of a process, and from life to life.

Memory is the process's own: private pages, in memory or swapped out. What is shared is given beside it: the run's
blocks, which have no name. How much of them a process has mapped may not rise at all; how much of that it has touched
does, for most of an hour, until the last ring of records has come round. Pages of files, such as libraries and the
records that a large history is read from, are dropped by the system when it needs the room.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import provenance, write_json
from tests.campaigns.signals import SIGNALS, end, server_pid
from workbench.api import Run, launch
from workbench.core.config import Config, ConfigError
from workbench.core.records import EventKind
from workbench.runs import fork_server
from workbench.runs.folder import reference_path
from workbench.runs.history import History
from workbench.runs.presets import preset
from workbench.runs.table import Table

PARENT = "parent"
SERVER = "fork server"
"""The process that a run's children are forked from, where the system can have one."""
CHILDREN = "children"
"""The name under which growth from one life of a child to its next is told, of all children together."""
SAMPLES = 720
"""Samples of a soak, whatever its length: every 5 s in an hour."""
WARM_UP = 1 / 4
"""Share of the time that is left out of every slope: buffers fill, and histories grow to where they go to disk."""
SETTLING_S = 15.0
"""Seconds after a process has come back during which its memory is not looked at: it is still being filled."""
LEAST = {"memory_mib": 1.0, "files": 0.5}
"""Growth over the whole time that counts as none, even of what does not waver at all."""
LEAST_PAIRS = 16
"""Pairs of samples that a slope is told from at the least: those of eight samples of one group."""
FIELDS = ("t", "pid", "age_s", "memory_mib", "shared_mib", "mapped_mib", "blocks_mib", "files")
"""Columns of a sample of a process: seconds since the start, and since the process was first seen; what it takes."""


def soak_config() -> Config:
    """The default run, made so long that it does not end by itself, and allowed to come back however often it dies."""
    return preset("treasurehunt").replace(**{"device": "cpu", "epochs": 10_000_000, "processes.max_restarts": 1000})


class Soak:
    """One run under observation and under fire."""

    def __init__(self, config: Config, seconds: float, kill_every_s: float, seed: int, folder: Path) -> None:
        """``folder`` takes the run folder, which an hour fills with some hundreds of MiB."""
        self._seconds, self._kill_every_s = seconds, kill_every_s
        self._rng = np.random.default_rng(seed)
        self._shm_before = shm()
        self._run = launch(config, "multiprocess", None, out=folder, name="soak")
        names = [PARENT, *([SERVER] if fork_server.available() else []), *(each.name for each in self._run.processes)]
        # all of it now: what is watched includes this process, which must not grow by its own notes
        self._samples = np.full((2 * SAMPLES, len(names), len(FIELDS)), np.nan)
        self._names_in_shm = np.full((2 * SAMPLES, 3), np.nan)
        self._count, self._places = 0, dict(zip(names, range(len(names)), strict=True))
        self.kills: list[dict[str, Any]] = []

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Watch and kill until the time is over, then stop the run; what the file holds."""
        with self._run as run:
            while run.status != "running" and not run.ended:
                run._supervisor.wait(0.05)
            began, every = time.monotonic(), self._seconds / SAMPLES
            while (at := time.monotonic() - began) < self._seconds and not run.ended:
                self._sample(at)
                if at >= (len(self.kills) + 1) * self._kill_every_s:
                    self._kill(at)
                    say(f"{at / 60:.0f} min: {self._said()}")
                run._supervisor.wait(max(0.0, began + (int(at / every) + 1) * every - time.monotonic()))
        wrong = [*incomplete(run), *([] if run.error is None else [f"the run ended before its time: {run.error}"])]
        left, series = sorted(set(shm()) - set(self._shm_before)), self.series()
        return {
            "minutes": self._seconds / 60, "kills": len(self.kills), "deaths_seen": len(run.incidents),
            "epochs": int(run.progress["epochs"]), "updates": int(run.progress["updates"]),
            "lost_records": run.history.lost, "history": wrong or "complete", "left_in_dev_shm": left,
            "growth": growth(series["processes"], self._seconds), "killed": self.kills, **series,
            "config": run.config.to_dict(),
        }  # fmt: skip

    def series(self) -> dict[str, Any]:
        """Every sample: ``processes``, a table per process with a column per field, and ``dev_shm``, one table."""
        processes = {}
        for name, place in self._places.items():
            taken = self._samples[: self._count, place]
            columns = taken[~np.isnan(taken[:, 0])].round(3).T.tolist()
            processes[name] = dict(zip(FIELDS, columns, strict=True))
        names = self._names_in_shm[: self._count].round(3).T.tolist()
        return {"processes": processes, "dev_shm": dict(zip(("t", "names", "mib"), names, strict=True))}

    def _sample(self, at: float) -> None:
        if self._count == len(self._samples):
            return
        row = self._samples[self._count]
        before = self._samples[self._count - 1] if self._count else row
        pids = {PARENT: os.getpid(), SERVER: server_pid()} | {each.name: each.pid for each in self._run.processes}
        for name, place in self._places.items():
            pid = pids[name]
            taken = None if pid is None else usage(pid)
            if taken is not None:
                same = before[place, 1] == pid
                age = before[place, 2] + at - before[place, 0] if same else 0.0
                row[place] = at, pid, age, *(taken[name] for name in FIELDS[3:])
        names = shm()
        self._names_in_shm[self._count] = at, len(names), sum(names.values()) / 2**20
        self._count += 1

    def _kill(self, at: float) -> None:
        victim = self._run.processes[int(self._rng.integers(len(self._run.processes)))]
        how = SIGNALS[int(self._rng.integers(len(SIGNALS)))]
        self.kills.append({"t": round(at, 2), "process": victim.name, "signal": how})
        if not (victim.alive and victim.pid) or end(victim.pid, how) is None:
            self.kills[-1]["signal"] = "none: it was not alive"

    def _said(self) -> str:
        kill, parent = self.kills[-1], self._samples[self._count - 1, self._places[PARENT]]
        return f"{kill['signal']} to {kill['process']}; the parent has {parent[FIELDS.index('memory_mib')]:.0f} MiB"


def usage(pid: int) -> dict[str, float] | None:
    """What a process takes now: own, shared and mapped memory, and files; None if it is gone. Read from ``/proc``."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = [line.split() for line in file]
        kib = {line[0]: int(line[1]) for line in lines if line[0] in ("RssAnon:", "RssShmem:", "RssFile:", "VmSwap:")}
        files = len(os.listdir(f"/proc/{pid}/fd"))
        blocks = _blocks_kib(pid)
    except OSError:
        return None
    if len(kib) < 4:
        return None  # it has ended and nobody has taken notice yet
    own, shared, mapped = kib["RssAnon:"] + kib["VmSwap:"], kib["RssShmem:"], kib["RssFile:"]
    mib = {"memory_mib": own, "shared_mib": shared, "mapped_mib": mapped, "blocks_mib": blocks}
    return {name: round(number / 1024, 3) for name, number in mib.items()} | {"files": files}


def _blocks_kib(pid: int) -> int:
    """How much of the shared blocks of runs, touched or not, a process has mapped."""
    with open(f"/proc/{pid}/maps") as file:
        places = [line.split(maxsplit=1)[0].split("-") for line in file if "memfd:workbench" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in places) // 1024


def shm() -> dict[str, int]:
    """Names in ``/dev/shm`` and their bytes."""
    found = {}
    for folder, _, names in os.walk("/dev/shm"):
        for name in names:
            with suppress(OSError):  # gone between the two
                found[f"{folder}/{name}"] = os.stat(f"{folder}/{name}").st_size
    return found


def growth(processes: Mapping[str, Mapping[str, Sequence[float]]], seconds: float) -> list[dict[str, Any]]:
    """Of each process within its lives, and of the children from life to life: how much each quantity grows.

    Args:
        processes: the samples, a table per process with a column per field of :data:`FIELDS`.
        seconds: the whole time.

    Returns:
        A line per process and quantity: level, growth per hour, growth in the whole time, and whether that is noise.
    """
    settled = {name: _settled(table, seconds) for name, table in processes.items()}
    lives = {name: _medians_of_lives(table) for name, table in settled.items() if name not in (PARENT, SERVER)}
    children = [np.concatenate(column) for column in zip(*(table.values() for table in lives.values()), strict=True)]
    owner = np.repeat(np.arange(len(lives)), [len(table["t"]) for table in lives.values()])
    between = dict(zip(FIELDS, children, strict=True))
    return [
        {"process": name, "quantity": quantity, **trend(table["t"], table[quantity], groups, seconds, least)}
        for name, table, groups in (
            *((name, table, table["pid"]) for name, table in settled.items()), (CHILDREN, between, owner),
        )
        for quantity, least in LEAST.items()
    ]  # fmt: skip


def _settled(table: Mapping[str, Sequence[float]], seconds: float) -> dict[str, NDArray[np.float64]]:
    """The samples of a process from after the warm-up, without those of a process that has just come back."""
    columns = {name: np.asarray(table[name], np.float64) for name in FIELDS}
    chosen = (columns["t"] >= WARM_UP * seconds) & (columns["age_s"] > min(SETTLING_S, seconds / 8))
    return {name: column[chosen] for name, column in columns.items()}


def _medians_of_lives(table: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """One row per life of a process, in order of time: the median of every column."""
    pids = list(dict.fromkeys(table["pid"].tolist()))
    return {name: np.array([np.median(column[table["pid"] == pid]) for pid in pids]) for name, column in table.items()}


def trend(
    at: NDArray[np.float64], value: NDArray[np.float64], group: NDArray[Any], seconds: float, least: float
) -> dict[str, Any]:
    """How much something grows within groups, and whether that is more than it wavers by.

    The slope is the median of all slopes between a sample of the earlier and one of the later half of the same group,
    as Theil and Sen have it, so that neither single samples nor the levels of the groups move it. It counts as growth
    if over the whole time it comes to more than three times the standard deviation around the groups' lines, told from
    the median deviation, and to more than ``least``.

    Args:
        at: (n,) seconds, growing within a group.
        value: (n,) of any unit.
        group: (n,) whose sample it is.
        seconds: the whole time.
        least: in that unit.
    """
    members = [group == each for each in np.unique(group)]
    slopes = np.concatenate([np.empty(0), *(_slopes(at[chosen], value[chosen]) for chosen in members)])
    if len(slopes) < LEAST_PAIRS:
        return {"samples": len(at), "flat": False, "why": "too few samples to tell; make the soak longer"}
    slope = float(np.median(slopes))
    rest = value - slope * at
    for chosen in members:
        rest[chosen] -= np.median(rest[chosen])
    noise = float(1.4826 * np.median(np.abs(rest)))
    grown = slope * seconds
    return {
        "samples": len(at), "level": round(float(np.median(value)), 3), "per_hour": round(slope * 3600, 4),
        "grown": round(grown, 4), "noise": round(noise, 4), "flat": bool(grown <= max(3 * noise, least)),
    }  # fmt: skip


def _slopes(at: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    half = len(at) // 2
    slopes = (value[None, half:] - value[:half, None]) / (at[None, half:] - at[:half, None])
    return slopes.ravel()


def incomplete(run: Run) -> list[str]:
    """What is missing in the history of a run that was stopped, or is there twice; nothing in a sound one."""
    history, wrong = run.history, []
    collected = int(run.progress["epochs"])
    for agent in range(run.config.num_agents):
        for table, key, first, last in (
            ("epochs", "epoch", 0, collected - 1),
            ("updates", "update", 1, int(run._supervisor.progress.updates(agent))),
            ("publications", "version", 0, run._supervisor.shared.stores[agent].newest),
        ):
            found = _of(history, table, agent)[key]
            if not np.array_equal(found, np.arange(first, last + 1)):
                wrong.append(
                    f"agent {agent}: {len(found)} {table} recorded, with {key} {found.min(initial=0)} to "
                    f"{found.max(initial=0)}; they should be {first} to {last}, each once and in order"
                )
    return wrong


def _of(history: History, table: str, agent: int) -> NDArray[Any]:
    records = history.events if table == "publications" else history.table(table)
    chosen = records["agent"] == agent
    if table == "publications":
        chosen &= records["kind"] == EventKind.PUBLISH
    found: NDArray[Any] = records[chosen]
    return found


def run_soak(
    out: Path, minutes: float, kill_every_s: float, seed: int, command: str, say: Callable[[str], None],
    config: Config | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the soak, write the file, return what it holds.

    Args:
        out: the file.
        minutes: of watching.
        kill_every_s: seconds between two kills.
        seed: of who is killed, and how.
        command: what is written into the file as its origin.
        say: takes a line per kill.
        config: of the run; default :func:`soak_config`.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-soak-") as folder:
        soak = Soak(config or soak_config(), 60 * minutes, kill_every_s, seed, Path(folder))
        data = {"seed": seed, "kill_every_s": kill_every_s, **soak.run(say), **provenance(command)}
    data["held"] = is_sound(data)
    write_json(out, data)
    return data


def is_sound(data: dict[str, Any]) -> bool:
    """Whether nothing grew, neither what is private nor what is shared, nothing was left, and the history is whole."""
    return (
        all(line["flat"] for line in data["growth"])
        and data["history"] == "complete"
        and not any(data["lost_records"].values())
        and not data["left_in_dev_shm"]
        and not _has_risen(data["dev_shm"]["names"])
        and not _has_risen(data["processes"][PARENT]["blocks_mib"])
    )


def _has_risen(values: Sequence[float]) -> bool:
    """Whether the second half has a value above all of the first."""
    half = len(values) // 2
    return max(values[half:], default=0) > max(values[:half], default=0)


def table(data: dict[str, Any]) -> str:
    """The lines of a terminal."""
    sizes = ("level", "grown", "noise")
    rows = tuple(
        (
            f"{line['process']}, {line['quantity']}", *(f"{line.get(size, float('nan')):.2f}" for size in sizes),
            "flat" if line["flat"] else "GROWS",
        )
        for line in data["growth"]
    )  # fmt: skip
    counts = ("minutes", "kills", "deaths_seen", "epochs", "updates", "history", "left_in_dev_shm")
    said = "\n".join(f"{name}: {data[name]}" for name in counts)
    return Table(("process, quantity", *sizes, "verdict"), rows, said).text


@dataclass(frozen=True)
class Options:
    """Keep a free-running run busy for long while its processes are killed, and see that nothing grows.

    The exit code is 1 if memory, open files or names in /dev/shm grew, or if a record is missing.
    """

    minutes: float = 60.0
    """How long."""
    kill_every: float = 60.0
    """Seconds between two kills."""
    seed: int = 0
    """Of which process is killed, and how."""
    out: Path | None = None
    """File to write. Default: data/reference/soak.json."""

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 1e5 or not 0 < self.kill_every <= 1e6:
            raise ConfigError(
                f"minutes is {self.minutes} and kill_every {self.kill_every}; both must be above 0, and minutes at "
                "most 100000"
            )


def main(arguments: list[str]) -> int:
    """Watch a run for as long as was asked, write the file, print what grew."""
    options = parse("soak", arguments, lambda _: Options())
    at_least(0, seed=options.seed)
    out = options.out or reference_path("soak.json")
    origin = command("soak", arguments)
    data = run_soak(out, options.minutes, options.kill_every, options.seed, origin, say)
    print(f"{table(data)}\nwritten: {out}")
    return 0 if data["held"] else 1


if __name__ == "__main__":
    start("soak")

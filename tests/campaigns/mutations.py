"""Thousands of run folders whose files say something senseless: ``python -m tests.campaigns.mutations``.

Of every eight seeds four change the ``run.json`` of a run, one its ``result.json``, one the bytes of a table, and two
what a watched trainer has left: its ``run.json``, or the bytes and the text of a process's file.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import workbench
from notebooks.foreign_trainer import Config as Trainer
from notebooks.foreign_trainer import train
from tests.campaigns.command_line import parse, say, start
from workbench.cli.options import AllSettings
from workbench.core.config import Config, ConfigError
from workbench.runs.folder import RecordError
from workbench.runs.loaded import RunError
from workbench.watch.storage import BLOCK, HEAD, NUMBERS, TEXT

# What the right kind of refusal is; a MemoryError names what a run would need.
REFUSALS = (RecordError, RunError, ConfigError, MemoryError)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 0.5, -0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**70, 10**400, "",
    "1", "x" * 5000, "\x1b[2J", "$\\frac$", "\ud800", "../../x", "os:path", [], [[]], [1], ["a"], {}, {"a": {}},
    {"name": "x"}, {"mean": 1.0}, [{}], [{"text": "x"}], [None],
)  # fmt: skip
LONGEST_S = 60


@dataclass(frozen=True)
class Options:
    """Put something senseless into a file of a run folder, or leave something out, and use the run.

    Everything must either work or be refused with one of the documented errors. Exits with 1 if something did not.
    """

    config: AllSettings
    count: int = 2000
    """Mutations."""
    first: int = 0
    """Seed of the first one."""
    reports: int = 10
    """Every so many a report is drawn, too."""


def sound_run(config: Config, folder: str) -> Path:
    """A run folder with everything in it that a folder can have."""
    config = config.replace(**{"epochs": 6, "checkpoint.interval": 2, "evaluation.final_worlds": 2})
    run = workbench.launch(config, "multiprocess", 1, out=folder, name="sound", note="a note", tags=["a-tag"])
    run.wait()
    path = run.folder.path
    head = json.loads((path / "run.json").read_text())
    head["description"] |= {
        "incidents": [{"process": "actor", "agents": [], "cause": "x", "epochs": 1, "updates": 2, "restarts": 0,
                       "time": 1.7e9, "action": "restarted", "text": "actor died; restarted"}],
        "changes": [{"time": 1.7e9, "epoch": 3, "settings": {"learning.learning_rate": 1e-4}}],
        "resumed": [{"time": 1.7e9, "epoch": 2, "after": "stopped", "changed": {}}], "relations": {"sweep": "mine"},
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(head))
    return path


def sound_watch(folder: Path | str) -> Path:
    """The run folder of a watched trainer, of one process."""
    train("sequential", Trainer(agents=2, epochs=3), "watched", str(folder))
    return Path(folder, "watched")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to everything in a file of JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(whole: Any, seed: int) -> tuple[Any, str]:
    """A copy of a file of JSON with one to three mutations, and what they are."""
    rng, whole, said = np.random.default_rng(seed), copy.deepcopy(whole), []
    for _ in range(int(rng.integers(1, 4))):
        described = [each for each in places(whole) if each[0] in ("description", "status", "mode")]
        found = described if described and rng.random() < 0.8 else list(places(whole))  # the schema has most places
        if not found:
            break
        *path, last = found[int(rng.integers(len(found)))]
        inner = whole
        for key in path:
            inner = inner[key]
        if rng.random() < 0.25:
            del inner[last]
            said.append(f"{[*path, last]} left out")
        else:
            inner[last] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
            said.append(f"{[*path, last]} is {inner[last]!r:.60}")
    return whole, "; ".join(said)


# Numbers that no reader can make sense of, as they lie in a file.
WORDS = (-1, 0, 1, 2**31, 2**40, -(2**63), 2**63 - 1, 0x7FF8 << 48, 0xFFF << 52)


def scrambled(path: Path, seed: int) -> str:
    """Change some bytes of a file, or its length; returns what was done."""
    rng, data, said = np.random.default_rng(seed), bytearray(path.read_bytes()), []
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(max(1, len(data) - 8)))
        if path.suffix == ".watch":  # half of it is hardly ever read: numbers, text, beginnings of blocks, records
            numbers = [where for where, _ in NUMBERS.values()]
            block = HEAD + int(rng.integers(max(1, (len(data) - HEAD) // BLOCK))) * BLOCK
            part = int(rng.integers(4))
            place = [int(rng.choice(numbers)), TEXT + int(rng.integers(3000)), block + 8 * int(rng.integers(2)),
                     block + 16 + int(rng.integers(2000))][part]  # fmt: skip
        how = int(rng.integers(4))
        if how == 0:
            data[place : place + 8] = (WORDS[int(rng.integers(len(WORDS)))] % 2**64).to_bytes(8, "little")
        elif how == 1:
            data[place : place + 1] = bytes([int(rng.integers(256))])
        elif how == 2:
            data[place : place + 8] = rng.bytes(8)
        elif rng.random() < 0.2:
            del data[place:]
        said.append(f"{('a word', 'a byte', 'eight bytes', 'perhaps the end')[how]} at {place:,}")
    path.write_bytes(data)
    return "; ".join(said)


def rewritten(path: Path, seed: int) -> str:
    """Mutate a line of the text of a watch's file; returns what was done."""
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    size = int.from_bytes(data[16:24], "little")
    lines = bytes(data[TEXT : TEXT + size]).splitlines()
    which = int(rng.integers(len(lines)))
    whole, said = mutated({"line": json.loads(lines[which])}, seed)
    lines[which] = json.dumps(whole.get("line", whole)).encode()
    text = b"\n".join(lines) + b"\n"
    data[TEXT : TEXT + len(text)], data[16:24] = text, len(text).to_bytes(8, "little")
    path.write_bytes(data)
    return f"line {which}: {said}"


def changed(path: Path, seed: int) -> str:
    """Change one file of a run folder, a run's or a watched one's; returns its name and what was done."""
    if (path / "watch").is_dir() and seed % 16 >= 8:
        (file,) = (path / "watch").iterdir()
        return f"{file.name}: {(rewritten if seed % 32 >= 16 else scrambled)(file, seed)}"
    tables = sorted(path.glob("*.records"))
    if tables and seed % 8 == 6:
        file = tables[seed // 8 % len(tables)]
        return f"{file.name}: {scrambled(file, seed)}"
    file = path / ("result.json" if seed % 8 == 7 and tables else "run.json")
    whole, said = mutated(json.loads(file.read_text()), seed)
    file.write_text(json.dumps(whole))
    return f"{file.name}: {said}"


def uses(path: Path, out: Path, report: bool) -> Iterator[tuple[str, Any]]:
    """Everything that is done with a run folder, by name."""
    yield (
        "load",
        lambda: [
            getattr(workbench.load(path), name)
            for name in (
                "result",
                "progress",
                "status",
                "label",
                "references",
                "changes",
                "settings",
                "incidents",
                "losses",
                "error",
            )
        ],
    )
    yield (
        "runs",
        lambda: (repr(workbench.runs(path.parent)), workbench.runs(path.parent, sort="-lag", lag=1).table.html),
    )
    yield "doctor", lambda: workbench.load(path).diagnose().text
    yield "timeline", lambda: (workbench.load(path).timeline().shares(), workbench.load(path).timeline().trace())
    for kind in ("csv", "tensorboard", "archive"):
        yield kind, lambda kind=kind: workbench.load(path).export(kind, out)
    if report:
        yield "report", lambda: workbench.report.make([path], bands=False).save(out)
        yield "page", lambda: __import__("workbench.view.html", fromlist=["page"]).page(workbench.load(path))
        yield "panel", lambda: workbench.Panel(workbench.load(path)).close()
        yield "strip", lambda: workbench.load(path).timeline().figure().save(out / "strip.png")
    yield "resume", lambda: workbench.resume(path, start=False, epochs=8).stop()


def attack(sound: Path, seed: int, report: bool) -> list[str]:
    """Use one mutated folder in every way; what went wrong, each with its traceback."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took more than {LONGEST_S} s")

    wrong = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(shutil.copytree(sound, Path(folder) / "runs" / "sound"))
        said = changed(path, seed)
        before = signal.signal(signal.SIGALRM, too_long)
        for use, action in uses(path, Path(folder) / "out", report):
            signal.alarm(LONGEST_S)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    action()
            except REFUSALS:
                pass
            except Exception:
                wrong.append(f"seed {seed}, {use}, {said}\n{traceback.format_exc(limit=-4)}")
            finally:
                signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return wrong


def main(arguments: list[str]) -> int:
    """Make the mutations one after the other; exit with 1 if one did not end as it must."""
    options = parse("mutations", arguments, lambda config: Options(workbench.preset("tiny").replace(device="cpu")))
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        sound, watched = sound_run(options.config, folder), sound_watch(folder)
        for seed in range(options.first, options.first + options.count):
            for text in attack(watched if seed % 8 in (1, 5) else sound, seed, seed % options.reports == 0):
                bad += 1
                say(text)
            if seed % 100 == 99:
                say(f"{seed + 1 - options.first} of {options.count} mutations, {bad} uses went wrong")
    print(f"{options.count} mutations, {bad} uses went wrong")
    return int(bad > 0)


if __name__ == "__main__":
    start("mutations")

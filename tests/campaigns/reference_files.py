"""The files under ``data/reference``: how they are written, and where each says that it comes from.

Every file names the command that made it, the machine, the versions and the commit, so that it can be made again and
compared.
"""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from workbench.report.intervals import estimate
from workbench.runs import machine
from workbench.runs.files import write_whole
from workbench.runs.folder import RecordError

ROOT = machine.PACKAGE.parent


def provenance(command: str, device: str = "cpu") -> dict[str, Any]:
    """Where a result comes from: command, machine, versions, commit and whether the code differed from that commit."""
    here = machine.describe()
    return {
        "command": command,
        "machine": {
            "cpu": here["cpu"], "cores": here["cores"], "device": machine.device_name(device),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": here["versions"],
        "commit": here["commit"],
        "dirty": here["dirty"],
    }  # fmt: skip


def machine_label(device: str) -> str:
    """Device and cores as a part of a file name, such as ``nvidia-h200-16-cores``."""
    words = re.sub(r"\(r\)|\(tm\)|\bcpu\b|@.*", " ", machine.device_name(device).lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", words), str(machine.cores()), "cores"])


def write_json(path: Path, data: object) -> None:
    """Write a file whole or not at all, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(data, indent=2) + "\n")


def figure_path(out: Path) -> Path:
    """Where the figure of a reference file goes: the folder ``figures`` beside ``reference``, else next to the file."""
    folder = out.parent.parent / "figures" if out.parent.name == "reference" else out.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{out.stem}.png"


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Middle and interval of a value for each seed, for JSON; an end that too few seeds leave open is None."""
    return {name: end if math.isfinite(end) else None for name, end in asdict(estimate(values)).items()}


class Settings(Protocol):
    """A configuration of any trainer."""

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, the seed among them."""
        ...


class RunsFile:
    """A file of runs that is whole after every run; a campaign that was interrupted continues it."""

    def __init__(
        self, path: Path, config: Settings, command: str, device: str = "cpu", fresh: bool = False, **choices: Any
    ) -> None:
        """Open the file, or begin it.

        Args:
            path: the file.
            config: settings of every run; their seed may differ.
            command: what makes the file.
            device: device that updates are computed on, such as "cpu" or "cuda:0".
            fresh: start over, whatever is there.
            choices: what else every run in the file has in common, as plain values by name.

        Raises:
            RecordError: the file holds runs of other settings, choices, versions, code or machine, or cannot be read.
        """
        self.path = path
        settings = config.to_dict()
        del settings["seed"]
        self._origin = {**provenance(command, device), "config": settings, **choices}
        self._alike = ("config", "machine", "versions", "commit", *choices)
        self.runs: list[dict[str, Any]] = [] if fresh or not path.exists() else self._kept()

    @property
    def data(self) -> dict[str, Any]:
        """Everything that the file holds."""
        return {**self.table(), **self._origin}

    def table(self) -> dict[str, Any]:
        """The runs, and what follows from them."""
        return {"runs": self.runs}

    def keep(self, run: dict[str, Any]) -> None:
        """Add what came of a run and write the file."""
        self.runs.append(run)
        write_json(self.path, self.data)

    def _kept(self) -> list[dict[str, Any]]:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            runs: list[dict[str, Any]] = kept["runs"]
            differing = [name for name in self._alike if kept[name] != self._origin[name]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.path} is damaged: {error!r}; give --fresh, or another --out") from None
        if differing:
            raise RecordError(
                f"{self.path} holds runs of another {' and '.join(differing)}, and one file must not mix them; "
                "give --fresh to start over, or another --out"
            )
        return runs


# --- which files are out of date -------------------------------------------------------------------------------------


def commits_of(data: object) -> Iterator[str]:
    """Every commit that a reference file, or a part of it, names as its origin."""
    if isinstance(data, dict):
        if isinstance(commit := data.get("commit"), str):
            yield commit
        for part in data.values():
            yield from commits_of(part)


def older_than_core(root: Path = ROOT) -> list[str] | None:
    """Names of the reference files that were made before the last change to ``workbench/core``.

    Args:
        root: of the repository.

    Returns:
        The names in order; a file of an unknown commit, or of none, is among them. None where there is no history.
    """
    newest = _git(root, "log", "-1", "--format=%H", "--", "workbench/core")
    if not newest:
        return None
    older = []
    for path in sorted((root / "data" / "reference").glob("*.json")):
        commits = set(commits_of(json.loads(path.read_text(encoding="utf-8"))))
        current = [_git(root, "merge-base", "--is-ancestor", newest, commit) is not None for commit in commits]
        if not current or not all(current):
            older.append(path.name)
    return older


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command printed; None if it failed."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

"""What runs there are: a line for every run folder, without reading its records, however many there are."""

from __future__ import annotations

import os
import textwrap
import time
from collections import UserList
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs.files import at
from workbench.runs.folder import OldFormat, RecordError, RunFolder, runs_folder
from workbench.runs.loaded import RunView, status_of
from workbench.runs.recovery.checkpoint import kept_epochs
from workbench.runs.table import Table

# Characters of a line that are given to what a run is, or to why its folder cannot be read.
WIDTH = 72


@dataclass(frozen=True)
class RunInfo:
    """One run folder.

    Attributes:
        status: created, starting, running, finished, stopped, failed; "cut off" (no parent), "old format" or
            "unreadable".
        label: Mode, lag and faults; of a folder that cannot be read, why.
        created: Seconds since 1970; 0 if unknown.
        checkpoint: Epoch of the newest checkpoint; None if there is none.
    """

    path: Path
    status: str
    label: str
    seed: int | None
    created: float
    checkpoint: int | None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name


class RunList(UserList[RunInfo]):
    """Runs, oldest first, that show themselves as a table."""

    def __init__(self, found: Iterable[RunInfo] = (), folder: Path | None = None) -> None:
        """``folder`` is where they were looked for."""
        super().__init__(found)
        self._folder = folder

    def __repr__(self) -> str:
        if not self:
            return f"no runs in {self._folder}" if self._folder else "no runs"
        rows = tuple(
            (
                each.name, each.status, textwrap.shorten(each.label, WIDTH, placeholder=" ..."),
                "-" if each.seed is None else str(each.seed),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(each.created)) if each.created else "-",
                "-" if each.checkpoint is None else f"epoch {each.checkpoint}",
            )
            for each in self
        )  # fmt: skip
        return Table(("name", "status", "run", "seed", "created", "checkpoint"), rows, numbers=False).text


def runs(folder: Path | str | None = None) -> RunList:
    """Every run in a folder, oldest first, those included whose parent died ("cut off").

    Args:
        folder: where run folders lie; default ``data/runs``.

    Raises:
        RecordError: there is no such folder.
    """
    where = runs_folder() if folder is None else at(folder)
    if not where.is_dir():
        if folder is None:
            return RunList([], where)
        raise RecordError(f"there is no folder {where}; name one that holds run folders")
    found = [_info(path) for path in where.iterdir() if os.path.exists(path / "run.json")]  # False if it is not ours
    return RunList(sorted(found, key=lambda each: (each.created, each.name)), where)


def _info(path: Path) -> RunInfo:
    newest = None
    try:
        newest = max(kept_epochs(path / "checkpoints"), default=None)
        said: dict[str, Any] = RunFolder.open(path).read_description()
        label = RunView.label_of(said["mode"], said["lag"], said.get("faults", ()))
        created = float(said["created"])
        time.localtime(created)  # refuses what is no time
        records = path / "epochs.records"
        begun = records.exists() and records.stat().st_size > 0
        return RunInfo(path, status_of(said, begun), label, int(said["config"]["seed"]), created, newest)
    except (RecordError, KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        status = "old format" if isinstance(error, OldFormat) else "unreadable"
        why = str(error).removeprefix(str(path)).lstrip(f"{os.sep} ")
        return RunInfo(path, status, why, None, 0.0, newest)

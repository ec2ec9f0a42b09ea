"""One cell of a sweep: a run that is named by its configuration, made, continued or found finished by one function."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.config import Config, ConfigError, check_launch
from workbench.runs.files import at
from workbench.runs.folder import runs_folder
from workbench.runs.loaded import LoadedRun, RunError
from workbench.runs.recovery.checkpoint import kept_epochs
from workbench.runs.result import Result
from workbench.runs.run import Run

# Seconds between two looks at whether the sweep was told to stop.
LOOK_S = 0.5

# What a field of a sweep may take: values, or a function that draws one from a NumPy generator.
Values = Sequence[Any] | Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Nothing of it lies in the process that made it, so it can be sent to another machine.

    Attributes:
        values: What was swept, by field, as this cell has it.
        out: Folder that the run folder lies in; one that all workers share.
        sweep: Name of the sweep.
        options: Further arguments of :func:`workbench.launch`, such as faults.

    Example:
        ``run_cell`` of the same cell does nothing if it has finished before.
    """

    config: Config
    mode: str
    lag: int | None
    values: Mapping[str, Any]
    out: Path
    sweep: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the run folder: what was swept in words, and a digest of everything that the run depends on."""
        about = [self.config.to_dict(), self.mode, self.lag, sorted(self.options.items(), key=str)]
        mark = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:12]
        said = "-".join(f"{name.rpartition('.')[2]}{value}" for name, value in self.values.items())
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', said)[:80].strip('-.') or 'run'}-{mark}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.out / self.name

    @property
    def classes(self) -> dict[str, type]:
        """The classes of world, agent and sampler, which may be the user's own."""
        config = self.config
        return {"world": type(config.world), "agent": type(config.agent), "sampler": type(config.replay.sampler)}

    @property
    def stop_file(self) -> Path:
        """A file that is there once the sweep was told to stop: every worker that shares the folder sees it."""
        return self.out / f".stop-{self.sweep}"

    @property
    def stopped(self) -> bool:
        """Whether the sweep was told to stop, or this interpreter is at its end."""
        return self.stop_file.exists() or not threading.main_thread().is_alive()


def run_cell(launch: Callable[..., Run], resume: Callable[..., Run], cell: Cell) -> Result:
    """Make the run of a cell and wait for its end; continue it if it was cut off; do nothing if it has finished.

    With ``launch`` and ``resume`` of :mod:`workbench` bound by :func:`functools.partial` it can be pickled, and is what
    executors are given. Whatever ends this call early ends the children first; they leave by themselves if this
    process is killed.

    Raises:
        ChildFailed: a child of the run failed.
        RunError: the sweep was told to stop.
        RecordError: the folder of the cell is there and cannot be read; delete it, or use another ``out``.
    """
    run = _begin(launch, resume, cell)
    if isinstance(run, LoadedRun):
        return run.result
    try:
        while True:
            try:
                return run.wait(LOOK_S)
            except TimeoutError:
                if cell.stopped:
                    raise RunError(f"the sweep was stopped while {cell.name} was {run.status}") from None
    except BaseException:
        run.stop()
        raise


def _begin(launch: Callable[..., Run], resume: Callable[..., Run], cell: Cell) -> Run | LoadedRun:
    """The run of a cell, started; as it was loaded if it has finished."""
    if cell.stopped:
        raise RunError(f"the sweep was stopped before {cell.name} began")
    if cell.path.exists():
        earlier = LoadedRun(cell.path, **cell.classes)
        if earlier.status == "finished":
            return earlier
        if kept_epochs(cell.path / "checkpoints"):  # whoever worked at it before, on whatever machine, has lost it
            return resume(cell.path, parent_is_gone=True, **cell.classes)
        earlier.folder.hold()
        try:
            shutil.rmtree(cell.path)
        finally:
            earlier.folder.release()
    relations = {"sweep": cell.sweep}
    return launch(cell.config, cell.mode, cell.lag, name=cell.name, out=cell.out, relations=relations, **cell.options)


def cells_of(
    config: Config, fields: Mapping[str, Values], mode: str, lag: int | None, out: Path | str | None, name: str,
    random: int | None = None, random_seed: int = 0, options: Mapping[str, Any] | None = None,
) -> list[Cell]:  # fmt: skip
    """Every cell of a sweep, checked; see :func:`workbench.sweep`.

    Raises:
        ConfigError: a field is no setting, has no values, or a value is refused; it is named before anything runs.
    """
    where = runs_folder() if out is None else at(out)
    cells = []
    for values in points(fields, random, random_seed):
        settings = {field: value for field, value in values.items() if field not in ("mode", "lag")}
        changed, its = config.replace(**settings), str(values.get("mode", mode))
        ahead = check_launch(changed, its, values.get("lag", lag))
        cells.append(Cell(changed, its, ahead, values, where.absolute(), name, options or {}))
    return cells


def points(fields: Mapping[str, Values], random: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The values of each cell: all combinations, the last field fastest, or some drawn at random, each once.

    Args:
        fields: values by field, or a function that draws one.
        random: how many are drawn; None for all of the grid.
        seed: of the draw; the same one gives the same cells, so that a sweep continues.

    Raises:
        ConfigError: a field has no values, or one that is drawn needs ``random``.
    """
    if not fields:
        raise ConfigError("nothing is swept; give at least one field with its values, such as {'seed': range(10)}")
    for name, values in fields.items():
        if callable(values) and random is None:
            raise ConfigError(f"{name} is drawn by a function, so the sweep has no end; say how many cells: random=20")
        if not callable(values) and (isinstance(values, str) or not len(values)):
            raise ConfigError(f"{name} is swept over {values!r}; give a list of values")
    if random is None:
        grid = itertools.product(*fields.values())  # type: ignore[arg-type]
        return [dict(zip(fields, each, strict=True)) for each in grid]
    if random < 1:
        raise ConfigError(f"random is {random}; it must be a number of cells, 1 or more")
    rng, found = np.random.default_rng(seed), dict[str, dict[str, Any]]()
    for _ in range(100 * random):  # a small grid gives the same cell again
        one = {name: v(rng) if callable(v) else v[int(rng.integers(len(v)))] for name, v in fields.items()}
        found.setdefault(json.dumps(one, default=str), one)
        if len(found) == random:
            break
    return list(found.values())

"""One cell of a sweep: a run that is named by its configuration, made, continued or found finished by one function."""

import concurrent.futures.thread  # noqa: F401  # before this file asks for its place at the end of the interpreter
import hashlib
import itertools
import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.config import Config, ConfigError, differences
from workbench.core.processes.supervisor import children_of
from workbench.core.settings import require
from workbench.core.train.hooks import Hook
from workbench.runs.files import at
from workbench.runs.folder import NAME, RecordError, RunFolder, runs_folder
from workbench.runs.launch_rules import check_config, check_launch
from workbench.runs.listing import RunInfo
from workbench.runs.loaded import LoadedRun, RunError, RunView, classes_of, elsewhere
from workbench.runs.recovery.checkpoint import kept_epochs
from workbench.runs.result import Result
from workbench.runs.run import Run
from workbench.runs.table import order
from workbench.sweep.sentences import said

# Draws in a row without a new cell, after which a random sweep has all the cells that there are.
MOST_VAIN = 1000
# Cells of a sweep; each is a run, with a folder of its own.
MOST_CELLS = 100_000
# Seconds between two looks at whether the sweep was told to stop.
LOOK_S = 0.5

# What a run may have left in its folder.
_OURS = re.compile(r"(run|result|note)\.json|weights\.npy|\w+\.records|checkpoints|audit|logs|.+\.part")

# Set when this interpreter ends, before it waits for the threads of executors: what they run then stops in order.
_ending = threading.Event()
threading._register_atexit(_ending.set)  # type: ignore[attr-defined]
# Stop files of the sweeps that this interpreter was told to stop: a full disk may refuse the file itself.
stopped_here: set[Path] = set()
# Folders of runs that have ended here, even if the folders say otherwise, as a full disk refused to take it.
_ended_here: set[Path] = set()

# What a field of a sweep may take: values, or a function that draws one from a NumPy generator.
Values = Sequence[Any] | Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Nothing of it lies in the process that made it, so it can be sent to another machine.

    Attributes:
        name: Name of the run folder: what was swept in words, and a digest of everything that the run depends on.
        values: What was swept, by field, as this cell has it.
        out: Folder that the run folder lies in; one that all workers share.
        sweep: Name of the sweep; see :func:`as_one`.
        options: Further arguments of :func:`workbench.launch`, such as faults.

    Example:
        ``run_cell`` of the same cell does nothing if it has finished before.
    """

    name: str
    config: Config
    mode: str
    lag: int | None
    values: Mapping[str, Any]
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    sweep: str = ""

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.out / self.name

    @property
    def processes(self) -> int:
        """Child processes of its run."""
        return len(children_of(self.config, self.mode))

    @property
    def cores(self) -> int:
        """Cores that its run keeps busy."""
        return self.processes * self.config.processes.threads

    @property
    def stop_file(self) -> Path:
        """A file that is there once the sweep was told to stop: every worker that shares the folder sees it."""
        return self.out / f".stop-{self.sweep}"

    @property
    def stopped(self) -> bool:
        """Whether the sweep was told to stop, or this interpreter is at its end."""
        return _ending.is_set() or self.stop_file in stopped_here or os.path.lexists(self.stop_file)


def run_cell(launch: Callable[..., Run], resume: Callable[..., Run | LoadedRun], cell: Cell) -> Result:
    """Make the run of a cell and wait for its end; continue it if it was cut off; do nothing if it has finished.

    With ``launch`` and ``resume`` of :mod:`workbench` bound by :func:`functools.partial` it can be pickled, and is what
    executors are given. Whatever ends this call early ends the children first; they leave by themselves if this
    process is killed.

    Raises:
        ChildFailed: a child of the run failed.
        RunError: the sweep was told to stop.
        RecordError: the folder of the cell cannot be read, holds another run, or is in use.
    """
    run = _begin(launch, resume, cell)
    if isinstance(run, LoadedRun):
        return run.result
    try:
        while True:
            try:
                result = run.wait(LOOK_S)
                break
            except TimeoutError:
                if cell.stopped:
                    raise RunError(f"the sweep was stopped while {cell.name} was {run.status}") from None
        if run.unsaved:
            raise RunError(f"it finished, and {', '.join(run.unsaved)} are lost: {run.warnings[0]}")
        RunError.unless(run.folder.path == cell.path, said("cells.moved", run=run))
        return result
    finally:
        run.stop()
        _ended_here.add(cell.path)


def _begin(launch: Callable[..., Run], resume: Callable[..., Run | LoadedRun], cell: Cell) -> Run | LoadedRun:
    """The run of a cell, started; as it was loaded if it has finished."""
    RunError.unless(not cell.stopped, f"the sweep was stopped before {cell.name} began")
    if finished := _finished(_earlier(cell)):
        return finished
    if cell.path.exists():
        folder = RunFolder(cell.path)
        folder.hold()
        try:
            earlier = _earlier(cell)  # another worker may have begun or finished it between the look and the lock
            if finished := _finished(earlier):
                return finished
            if earlier and not (earlier.ended or elsewhere(earlier.description) or cell.path in _ended_here):
                raise RecordError(f"{cell.path} is in use by another run; stop that one first, or wait for its end")
            # of another machine, the lock says that it has lost the run
            resumable = earlier and earlier.status != "finished" and kept_epochs(cell.path / "checkpoints")
            if not resumable:
                if theirs := [name for name in os.listdir(cell.path) if not _OURS.fullmatch(name)]:
                    raise RecordError(f"{cell.path} holds {min(theirs)!r}, which no run has made; take it away first")
                folder.remove()
        finally:
            folder.release()
        if resumable:
            own = [hook for it in ("faults", "hooks") for hook in cell.options.get(it, ()) if isinstance(hook, Hook)]
            return resume(cell.path, parent_is_gone=True, hooks=own, **classes_of(cell.config))
    relations = {"sweep": cell.sweep}
    return launch(cell.config, cell.mode, cell.lag, name=cell.name, out=cell.out, relations=relations, **cell.options)


def _earlier(cell: Cell) -> LoadedRun | None:
    """What is in the folder of a cell; None if no run has begun there."""
    if not (cell.path / "run.json").exists():
        return None
    run = LoadedRun(cell.path, **classes_of(cell.config))
    unlike = [f"{name} is {one!r}, not {two!r}" for name, (one, two) in differences(run.config, cell.config).items()]
    unlike += [f"{name} was changed to {value!r}" for *_, made in run.changes for name, value in made.items()]
    RecordError.unless(not unlike, said("cells.unlike", path=cell.path, unlike="; ".join(unlike)))
    return run


def changed_since(cell: Cell, info: RunInfo) -> list[str]:
    """Settings that the run in the folder of a cell has otherwise by now, as one that was extended does."""
    now, wanted = json.loads(json.dumps([dict(info.settings), cell.config.flat()]))
    changed = [name for name in wanted if info.mode and now.get(name, wanted[name]) != wanted[name]]
    return [*changed, *filter(None, info.relations.get("changed", "").split(", "))]


def _finished(run: LoadedRun | None) -> LoadedRun | None:
    return run if run and run.status == "finished" and run.folder.read_result() is not None else None


def cells_of(
    config: Config, fields: Mapping[str, Values], mode: str, lag: int | None, out: Path | str | None,
    random: int | None = None, random_seed: int = 0, options: Mapping[str, Any] = {},
) -> list[Cell]:  # fmt: skip
    """Every cell of a sweep, checked; see :func:`workbench.sweep`.

    Raises:
        ConfigError: a field is no setting, has no values, or a value is refused; it is named before anything runs.
    """
    check_config(config)
    where = runs_folder() if out is None else at(out)
    cells = []
    for values in points(fields, random, random_seed):
        settings = {field: value for field, value in values.items() if field not in ("mode", "lag")}
        changed, its = config.replace(**settings), str(values.get("mode", mode))
        ahead = check_launch(changed, its, values.get("lag", lag))
        as_set = changed.flat() | {"mode": its, "lag": ahead}  # 1.0 is 1
        values = {name: as_set.get(name, value) for name, value in values.items()}
        words = "-".join(f"{name.rpartition('.')[2]}{value}" for name, value in sorted(values.items()))
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", words)[:80].strip("-.") or "run"
        mark = _digest([changed.to_dict(), its, ahead, {it: options[it] for it in options.keys() - {"note", "tags"}}])
        cells.append(Cell(f"{words}-{mark}", changed, its, ahead, values, where.absolute(), options))
    return cells


def as_one(cells: Iterable[Cell], words: str, name: str | None = None) -> list[Cell]:
    """The cells of one sweep, each once.

    Args:
        cells: all of them.
        words: what the default name of the sweep begins with; a digest of the cells follows.
        name: another name.

    Raises:
        ConfigError: the name is no name of a file.
    """
    once = {cell.name: cell for cell in cells}
    name = str(name or f"{words}-{_digest(sorted(once))}")
    require(NAME.fullmatch(name) is not None, "the sweep's name", name, said("cells.name"))
    return [replace(cell, sweep=name) for cell in once.values()]


def _digest(about: object) -> str:
    """A digest of plain values, arrays, runs, paths and hooks, the same in every process."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=_plain).encode()).hexdigest()[:12]


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, RunView | Path):
        return str(value.folder.path if isinstance(value, RunView) else value)
    if isinstance(value, Hook) and hasattr(value, "__dict__"):
        return [type(value).__module__, type(value).__qualname__, vars(value)]
    raise ConfigError(f"{value!r} cannot be an option of a sweep, as it is not the same text in every process")


def points(fields: Mapping[str, Values], random: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The values of each cell: all combinations, the last field fastest, or some drawn at random, each once.

    Args:
        fields: values by field, or a function that draws one.
        random: how many are drawn; None for all of the grid.
        seed: of the draw; the same one gives the same cells, so that a sweep continues.

    Raises:
        ConfigError: a field has no values, one that is drawn needs ``random``, or there are too many cells.
    """
    if not isinstance(fields, Mapping) or not fields or not all(isinstance(name, str) for name in fields):
        raise ConfigError(f"nothing is swept: {fields!r}; give settings with values, such as {{'seed': range(10)}}")
    # the values of a set in the same order in every process
    fields = {name: sorted(v, key=order) if isinstance(v, Set) else v for name, v in fields.items()}
    fields = {name: v.tolist() if hasattr(v, "tolist") else v for name, v in fields.items()}
    for name, values in fields.items():
        require(random is not None or not callable(values), name, values, said("cells.drawn"))
        require(not (isinstance(values, range) and values[2**63 - 1 :]), name, values, said("cells.endless"))
        several = isinstance(values, Sequence) and not isinstance(values, str | bytes) and len(values) > 0
        require(callable(values) or several, name, values, "a sweep needs a list of values")
    for word, given, least in (("random", 1 if random is None else random, 1), ("random_seed", seed, 0)):
        require(isinstance(given, int | np.integer) and given >= least, word, given, f"it must be {least} or more")
    every = math.prod(math.inf if callable(values) else len(values) for values in fields.values())
    if (cells := every if random is None else min(random, every)) > MOST_CELLS:
        raise ConfigError(said("cells.many", cells=cells, most=MOST_CELLS))
    if random is None:
        return [dict(zip(fields, each, strict=True)) for each in itertools.product(*fields.values())]  # type: ignore[arg-type]
    rng, found, vain = np.random.default_rng(seed), dict[str, dict[str, Any]](), 0
    while len(found) < random and vain < MOST_VAIN:
        one = {name: v(rng) if callable(v) else v[int(rng.integers(len(v)))] for name, v in fields.items()}
        key = json.dumps(one, default=str)
        vain = vain + 1 if key in found else 0
        found.setdefault(key, one)
    return list(found.values())

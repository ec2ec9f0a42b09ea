"""Which runs a report is about: found in folders, sorted into groups whose runs differ in nothing but the seed.

Nothing here looks at the order in which folders are named or at where they lie, so that a report depends on the runs
alone.
"""

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config, ConfigError
from workbench.core.sentences import did_you_mean
from workbench.core.settings import flat
from workbench.report.sentences import said
from workbench.runs.folder import RecordError, named_path, runs_folder
from workbench.runs.loaded import Given, LoadedRun, RunView, classes_of, extensions, readers
from workbench.runs.result import listed_in

# Name of each row of the table of results, and where a result has the number.
QUANTITIES = {name: path for name, (path,) in listed_in(Path(__file__).with_name("results.md")).items()}
# A run, its folder, or a folder that holds several.
Runs = RunView | Path | str


class ReportError(RecordError):
    """A report or a figure cannot be made of what was recorded. The message says what is missing, and the remedy."""


demand = ReportError.unless


@dataclass(frozen=True)
class Group:
    """Runs of one mode, lag, set of faults and settings, by seed.

    Attributes:
        label: As short as tells the groups of a report apart.
        settings: Every setting by dotted name but the seed and those that are pooled; the device as it was resolved.
        strata: (runs,): which of the pooled tasks each run is of; all 0 where nothing is pooled.
    """

    label: str
    runs: tuple[LoadedRun, ...]
    settings: Mapping[str, Any]
    strata: NDArray[np.intp]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs, each once."""
        return tuple(sorted({run.config.seed for run in self.runs}))

    @property
    def first(self) -> LoadedRun:
        """The first run, which has the mode, the lag and the faults of all."""
        return self.runs[0]


@dataclass(frozen=True)
class Selection:
    """The groups of a report, and what was left out of them.

    Attributes:
        pooled: Settings that may differ within a group; their values are the strata.
        left_out: A sentence for each run that is in no group.
    """

    groups: tuple[Group, ...]
    pooled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[LoadedRun, ...]:
        """All runs, group by group."""
        return tuple(run for group in self.groups for run in group.runs)


def select(paths: Sequence[Runs], pool: Sequence[str] = ()) -> Selection:
    """Read runs and sort them into groups. What cannot be read, has not finished or is repeated is left out by name.

    Args:
        paths: runs, run folders, or folders that hold some at any depth. A name that is no path is looked for in
            ``data/runs``.
        pool: settings by dotted name whose values do not make groups of their own, but strata within one.

    Raises:
        ReportError: no path is given, one is not there or holds no run; there is no finished run, or no such setting.
    """
    demand(len(paths) > 0, said("selection.none"))
    given = {run.folder.path.resolve(): classes_of(run.config) for run in paths if isinstance(run, RunView)}
    found, left_out = dict[LoadedRun, dict[str, Any]](), list[str]()
    for folder in sorted({each for path in paths for each in _runs_below(path)}):
        try:
            found.update([_read(folder, given.get(folder, {}))])
        except ReportError as error:
            left_out.append(str(error))
        except RecordError as error:
            alone = "workbench.api" not in sys.modules and isinstance(error.__cause__, ConfigError)
            left_out.append(f"{folder.name} cannot be read: {error}{said('selection.alone') if alone else ''}")
    newest: dict[str, LoadedRun] = {}
    for run in sorted(found, key=_age, reverse=True):
        newer = newest.setdefault(json.dumps([_kind(run), found[run]], sort_keys=True), run)
        if newer is not run:
            left_out.append(f"{run.name} has the settings and the seed of {newer.name}, which is newer")
    demand(len(newest) > 0, said("selection.nothing", count=len(left_out), why="; ".join(left_out[:10])))
    known = dict.fromkeys(name for settings in found.values() for name in settings)
    for name in pool:
        demand(name in known, said("selection.pool", name=name, nearest=did_you_mean(name, known)))
    groups = _groups({run: found[run] for run in reversed(newest.values())}, pool)
    return Selection(groups, tuple(pool), tuple(sorted(left_out)))


def _read(path: Path, given: Given) -> tuple[LoadedRun, dict[str, Any]]:
    """A finished run of which all is there that a report needs, and its settings."""
    run = LoadedRun(path, **given)
    demand(run.mode not in readers, said("selection.watched", run=run))
    demand(run.status == "finished" and run.folder.read_result() is not None, said("selection.unfinished", run=run))
    _ = run.result  # which refuses one that is damaged
    machine = run.description.get("machine", {})
    RecordError.unless("cores" in machine, f"{path / 'run.json'} is damaged: it names no machine with its cores")
    return run, settings_of(run)


def settings_of(run: LoadedRun) -> dict[str, Any]:
    """Everything that makes a run what it is, by dotted name: its configuration, device, warm start, probes, world."""
    about = run.description
    return {
        **flat(run.config.to_dict()),
        "device": " then ".join(dict.fromkeys(str(place.get("device")) for place in run.places)),
        "warm start": bool(about.get("warm_start")),
        "probes": bool(about.get("probes")),
        "changed on the way": _changes(run),
    }


def _changes(run: LoadedRun) -> str:
    settings = [(epoch, *each) for _, epoch, found in run.changes for each in found.items()]
    made = [f"{name} = {shown(value)} from epoch {epoch} on" for epoch, name, value in settings]
    return "; ".join([*extensions(run.description), *made])


# The default of every setting, by dotted name.
DEFAULTS = flat(Config().to_dict())


def shown(value: Any) -> str:
    """A setting's value as one writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs_below(path: Runs) -> list[Path]:
    folder = path.folder.path if isinstance(path, RunView) else named_path(path)
    demand(folder.exists(), said("selection.nowhere", path=path, runs=runs_folder()))
    found = [file.parent for file in folder.resolve().rglob("run.json") if file.is_file()]
    demand(len(found) > 0, said("selection.empty", folder=folder))
    return found


def _age(run: LoadedRun) -> tuple[float, str]:
    return float(run.description.get("created", 0.0)), run.name


def _kind(run: LoadedRun) -> tuple[bool, float, tuple[str, ...]]:
    """Mode, lag and faults, in the order in which groups are drawn: sequential first, free-running last."""
    return run.mode == "multiprocess", 1e9 if run.lag is None else run.lag, run.faults


def _groups(runs: Mapping[LoadedRun, Mapping[str, Any]], pool: Sequence[str]) -> tuple[Group, ...]:
    tasks = {run: json.dumps([found.get(name) for name in pool]) for run, found in runs.items()}
    own = {run: {name: found[name] for name in found if name not in {"seed", *pool}} for run, found in runs.items()}
    key = {run: (_kind(run), json.dumps(own[run], sort_keys=True)) for run in runs}
    names = dict.fromkeys(name for each in own.values() for name in each)
    differing = [name for name in names if len({shown(each.get(name)) for each in own.values()}) > 1]
    ordered, groups = sorted(runs, key=lambda run: (key[run], tasks[run], run.config.seed, run.name)), list[Group]()
    for _, alike in itertools.groupby(ordered, key.__getitem__):
        members = tuple(alike)
        settings, strata = own[members[0]], np.unique([tasks[run] for run in members], return_inverse=True)[1]
        told = [f"{name} = {shown(settings[name])}" for name in differing if settings.get(name, "") != ""]
        groups.append(Group(", ".join([members[0].label, *told]), members, settings, strata))
    return tuple(groups)

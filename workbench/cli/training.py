"""``workbench run`` and ``workbench compare``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from workbench import api
from workbench.cli.options import NONE, AllSettings, Faults, OwnClasses, PresetName, command, named_path, parse
from workbench.cli.progress import follow
from workbench.core.config import ConfigError, Mode, check_name
from workbench.core.processes.supervisor import ChildFailed
from workbench.runs.folder import RecordError, data_folder

# A registered name, or ``module:Class``; it decides which options there are.
ChoiceName = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True)
class TrainingOptions:
    """What every command that trains takes.

    Attributes:
        preset: Named settings to start from; every other option changes one of them.
        world: World, by its registered name or as module:Class; its arguments are the options --world.*.
        agent: Agent, likewise.
        sampler: Sampler of the replay, likewise.
        lag: Epochs by which acting may run ahead of learning: 0 is lock-step, "free" is held by the pacing alone.
    """

    config: AllSettings
    preset: PresetName = "treasurehunt"
    world: ChoiceName = None
    agent: ChoiceName = None
    sampler: ChoiceName = None
    lag: int | Literal["free"] = 1

    @property
    def epochs_ahead(self) -> int | None:
        """The lag as the package takes it: None for free-running."""
        return None if self.lag == "free" else self.lag


@dataclass(frozen=True)
class RunOptions(TrainingOptions):
    """Train in one mode, in child processes, and wait for the end. The result is printed as JSON.

    Attributes:
        mode: An actor and learner processes, or the sequential baseline in one process.
        out: Folder that the run folder is made in. Default: data/runs.
        name: Name of the run folder. Default: time, mode, lag and seed.
        fault: A failure to switch on, one of workbench.diagnose.faults.FAULTS; can be given several times.
        probes: Whether to measure what ``workbench doctor`` decides by.
        timeline: Whether to record what each process does when, for ``workbench timeline``.
    """

    mode: Mode = "multiprocess"
    out: Path | None = None
    name: str | None = None
    fault: Faults = ()
    probes: bool = True
    timeline: bool = True


def run(arguments: list[str]) -> int:
    """Train in one mode, sequential or multiprocess; print where the run is kept and its result, as JSON."""
    options = parse("run", arguments, RunOptions)
    made = api.launch(
        options.config, options.mode, options.epochs_ahead, name=options.name, out=options.out,
        faults=options.fault, probes=options.probes, timeline=options.timeline, start=False,
    )  # fmt: skip
    return _finish(made)


def _finish(run: api.Run) -> int:
    """Train to the end; print where the run is kept and what came out of it, as JSON."""
    follow(run, [run])
    print(json.dumps({"folder": str(run.folder.path), **run.result.to_dict()}, indent=2))
    return 0 if run.status == "finished" else 1


@command
def resume(
    run: tyro.conf.Positional[Path], set: tuple[str, ...] = (), parent_is_gone: bool = False, own: OwnClasses = NONE
) -> int:
    """Continue a run from its newest checkpoint, in its own folder, and wait for the end; print the result as JSON.

    Args:
        run: Folder of the run, or its name in data/runs.
        set: Settings to change, such as ``epochs=480`` or ``device=cuda``; only what leaves the work done so far as it
            is.
        parent_is_gone: The process of the run, on a machine or in a container of another name, is over; it cannot be
            seen from here.
        own: Classes of your own that the run was made with.
    """
    settings = vars(own) | _settings(set)
    return _finish(api.resume(named_path(run), start=False, parent_is_gone=parent_is_gone, **settings))


def _settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """``("epochs=480", "device=cuda")`` as values by name; what is no JSON is a word."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set was given {text!r}; it takes name=value, such as epochs=480")
        check_name(name)
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


@command
def runs(folder: tyro.conf.Positional[Path | None] = None) -> int:
    """List the runs of a folder, oldest first, with their status: also those whose parent died.

    Args:
        folder: Folder that run folders lie in. Default: data/runs.
    """
    print(api.runs(folder))
    return 0


@dataclass(frozen=True)
class CompareOptions(TrainingOptions):
    """Train in both modes, one after the other. Ends with a table, a figure and a summary file.

    --lag is that of the multiprocess run.

    Attributes:
        baseline_lag: Lag of the sequential run, in epochs. Default: the same lag; 0, the classic one, beside a free
            run.
        out: Folder for summary.json, side_by_side.png and the run folders. Default: a new one in data/comparisons.
    """

    baseline_lag: int | None = None
    out: Path | None = None


def compare(arguments: list[str]) -> int:
    """Train in both modes and compare: a table, a figure and a summary file.

    Both files are written even if a run failed, as far as the runs got.
    """
    options = parse("compare", arguments, CompareOptions)
    out = data_folder() / "comparisons" / time.strftime("%Y%m%d-%H%M%S") if options.out is None else options.out
    summary, figure = out / "summary.json", out / "side_by_side.png"
    if summary.exists():
        raise RecordError(f"{out} holds a comparison already; choose another --out, or delete it first")
    pair = api.compare(
        options.config, options.epochs_ahead, baseline_lag=options.baseline_lag, out=out / "runs", start=False
    )
    try:
        follow(pair, pair.runs)
    except ChildFailed:
        _write(pair, summary, figure)
        raise
    _write(pair, summary, figure)
    return 0 if all(run.status == "finished" for run in pair.runs) else 1


def _write(pair: api.Comparison, summary: Path, figure: Path) -> None:
    from workbench.view.figures import comparison_figure  # here, so that only what draws waits for matplotlib

    pair.save(summary)
    comparison_figure(pair).save(figure)
    print(f"{pair.table}\n\nsummary: {summary}\nfigure: {figure}")

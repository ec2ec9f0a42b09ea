"""The commands that train, ``run``, ``resume``, ``compare`` and ``sweep``, and what is done with runs: list, delete."""

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from workbench import api
from workbench.cli.options import NONE, AllSettings, Faults, Maybe, OwnClasses, PresetName, RunPath, command, parse
from workbench.cli.progress import REFRESH_S, follow
from workbench.cli.sentences import said
from workbench.core.config import Config, ConfigError, Mode
from workbench.core.processes.supervisor import ChildFailed
from workbench.core.settings import known_names, require, unknown
from workbench.runs.folder import RecordError, data_folder, named_path
from workbench.runs.run import Run, new_name
from workbench.runs.table import tell
from workbench.sweep.executors import executor
from workbench.sweep.sweep import Sweep

# A registered name, or ``module:Class``; it decides which options there are.
ChoiceName = Annotated[Maybe[str], tyro.conf.arg(metavar="NAME")]

# Words after one option, which may itself be given again: ``--set epochs=480 device=cpu --set seed=0``.
Several = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]

# Words, an option for each: ``--tag ablation --tag paper``.
Words = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="WORD")]


@dataclass(frozen=True)
class TrainingOptions:
    """What every command that trains takes.

    Attributes:
        preset: Named settings to start from; every other option changes one of them.
        world: World, by its registered name, as gymnasium:CartPole-v1, as pettingzoo:mpe2.simple_spread_v3 or as
            module:Class; its arguments are the options --world.*.
        agent: Agent, likewise.
        sampler: Sampler of the replay, likewise.
        lag: Epochs by which acting may run ahead of learning: 0 is lock-step, "free" is bounded by the pacing alone.
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
        weights: What to start from: the folder or the name of a run, a checkpoint (.npz) or an array (.npy).
        fault: A failure to switch on, by its name in workbench/diagnose/catalogue.md; can be given several times.
        probes: Whether to measure what ``workbench doctor`` decides by.
        timeline: Whether to record what each process does when, for ``workbench timeline``.
        note: What to know of the run.
        tag: A word to find the run by; can be given several times.
    """

    mode: Mode = "multiprocess"
    out: Maybe[Path] = None
    name: Maybe[str] = None
    weights: Maybe[Path] = None
    fault: Faults = ()
    probes: bool = True
    timeline: bool = True
    note: str = ""
    tag: Words = ()


def run(arguments: list[str]) -> int:
    """Train in one mode, sequential or multiprocess; print where the run is kept and its result, as JSON."""
    options = parse("run", arguments, RunOptions)
    return _finish(api.launch(
        options.config, options.mode, options.epochs_ahead, name=options.name, out=options.out,
        weights=options.weights, faults=options.fault,
        probes=options.probes, timeline=options.timeline, note=options.note, tags=options.tag, start=False,
    ))  # fmt: skip


def _finish(run: api.Run | api.LoadedRun) -> int:
    """Train to the end; print where the run is kept and what came out of it, as JSON."""
    if isinstance(run, Run):
        follow(run, [run])
    else:
        tell(f"run {run.name} is finished; make it longer with --set epochs={2 * run.config.epochs}", sys.stderr)
    tell(json.dumps({"folder": str(run.folder.path), **run.result.to_dict()}, indent=2))
    return _code([run]) if isinstance(run, Run) else 0


def _code(runs: Sequence[Run]) -> int:
    """0 if all finished and is saved, 1 if one did not finish, 3 if the disk refused something of one."""
    return 1 if any(run.status != "finished" for run in runs) else 3 if any(run.unsaved for run in runs) else 0


@command
def resume(run: RunPath, set: Several = (), parent_is_gone: bool = False, own: OwnClasses = NONE) -> int:
    """Continue a run from its newest checkpoint, in its own folder, and wait for the end; print the result as JSON.

    Args:
        run: Folder of the run, or its name in data/runs.
        set: Settings to change from the checkpoint on, such as ``epochs=480``, ``device=cuda`` or
            ``learning.learning_rate=1e-4``; only what leaves the work done so far as it is.
        parent_is_gone: The process of the run, on a machine or in a container of another name, is over; it cannot be
            seen from here.
        own: Classes of your own that the run was made with.
    """
    return _finish(api.resume(run, start=False, parent_is_gone=parent_is_gone, **vars(own) | _settings(sum(set, ()))))


def _settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """``("epochs=480", "device=cuda")`` as values by name of a setting."""
    found = _named(texts)
    for name, value in found.items():
        if name not in known_names(Config()):
            raise unknown(name, Config())
        require(value != {}, name, value, said("training.no field"))
    return found


def _named(texts: tuple[str, ...], read: Callable[[str, str], Any] | None = None) -> dict[str, Any]:
    """``("lag=1", "status=finished")`` as values by name, each read by its name and its text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} was given; it takes name=value, such as epochs=480")
        if name in found:
            raise ConfigError(f"{name} was given twice; give it once")
        require(name not in ("folder", "sort", "columns", "on", "address"), name, value, said("training.argument"))
        found[name] = (read or _value)(name, value)
    return found


def _value(name: str, text: str) -> Any:
    """What is no JSON is a word; a lag may be free."""
    if name == "lag" and text == "free":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _wanted(name: str, text: str) -> Any:
    """A value, or the word as it stands: a tag may be 1e-4."""
    value = _value(name, text)
    return value if isinstance(value, list) else [value, text]


@command
def runs(
    folder: tyro.conf.Positional[Maybe[Path]] = None, where: Several = (), sort: str = "created", columns: Several = (),
) -> None:  # fmt: skip
    """List the runs of a folder with their status: also those whose parent died.

    Args:
        folder: Folder that run folders lie in. Default: data/runs.
        where: Which runs, such as ``status=finished lag=1 tag=ablation``; settings by dotted name too.
        sort: Column to sort by; with - before it the largest first, as in --sort=-greedy_reward.
        columns: Columns to show, such as ``name learning.learning_rate greedy_reward``. Default: those with a value.
    """
    tell(api.runs(folder, sort=sort, columns=sum(columns, ()), **_named(sum(where, ()), _wanted)))


@command
def delete(run: RunPath, confirm: Maybe[str] = None, archive: bool = False) -> None:
    """Delete a run that has ended; its name is asked for again.

    Args:
        run: Folder of the run, or its name in data/runs.
        confirm: The name of the run, where nobody can be asked.
        archive: Pack the run into data/archive first; ``workbench unpack`` takes it out again.
    """
    path = named_path(run)
    if confirm is None and sys.stdin and sys.stdin.isatty():
        with suppress(EOFError):  # Ctrl-D is no name
            confirm = input(f"{path} will be deleted. Write the name of the run: ")
    if archive:
        tell(api.archive(path, confirm=confirm or ""))
    else:
        api.delete(path, confirm=confirm or "")


@dataclass(frozen=True)
class CompareOptions(TrainingOptions):
    """Train in both modes, one after the other. Ends with a table, a figure and a summary file.

    --lag is that of the multiprocess run.

    Attributes:
        baseline_lag: Lag of the sequential run, in epochs. Default: the same lag; beside a free-running run 0.
        out: Folder for summary.json, side_by_side.png and the run folders. Default: a new one in data/comparisons.
            With --seeds for the run folders alone; default data/runs.
        seeds: Pairs of runs: one of each seed, from --seed on; ends with a table of means and intervals alone, and
            the same command continues one that was cut off.
    """

    baseline_lag: Maybe[int] = None
    out: Maybe[Path] = None
    seeds: Maybe[int] = None


def compare(arguments: list[str]) -> int:
    """Train in both modes and compare: a table, a figure and a summary file.

    Both files are written even if a run failed, as far as the runs got.
    """
    options = parse("compare", arguments, CompareOptions)
    lags: dict[str, Any] = {"lag": options.epochs_ahead, "baseline_lag": options.baseline_lag}
    if options.seeds is not None:
        require(options.seeds >= 1, "--seeds", options.seeds, said("training.seeds"))
        seeds = range(options.config.seed, options.config.seed + options.seeds)
        return _finish_sweep(api.compare(options.config, **lags, out=options.out, seeds=seeds, start=False))
    out = options.out or data_folder() / "comparisons" / new_name(options.config, "compare", options.epochs_ahead)
    summary, figure = out / "summary.json", out / "side_by_side.png"
    RecordError.unless(not summary.exists(), said("training.held", out=out))
    pair = api.compare(options.config, **lags, out=out / "runs", start=False)
    with suppress(ChildFailed):  # it is raised again below, once what there is has been written
        follow(pair, pair.runs)
    tell(f"{pair.table}\n")  # first: a full disk must not cost it
    pair.save(summary)
    from workbench.view.figures import comparison_figure  # here, so that only what draws waits for matplotlib

    comparison_figure(pair).save(figure)
    tell(f"summary: {summary}\nfigure: {figure}")
    pair.wait()
    return _code(pair.runs)


@dataclass(frozen=True)
class SweepOptions(TrainingOptions):
    """Train with every combination of some settings. The same command continues a sweep that was cut off.

    Attributes:
        over: A setting with its values, ``learning.learning_rate=1e-3,3e-3`` or, from 0 to 9, ``seed=0:10``; also mode
            and lag. Can be given several times.
        mode: An actor and learner processes, or the sequential baseline in one process.
        random: Cells that are drawn at random. Default: all.
        at_once: Runs side by side. Default: as many as cores and memory allow.
        on: Where the runs run: here, or on a cluster.
        address: Of the cluster; for Slurm the folder of the logs.
        option: Of the cluster, such as timeout_min=600 or slurm_partition=long for Slurm. Can be given several times.
        out: Folder that the run folders are made in. Default: data/runs.
        report: Folder for a report of the finished runs, with the figure of the sweep.
    """

    over: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SETTING=VALUES")] = ()
    mode: Mode = "multiprocess"
    random: Maybe[int] = None
    at_once: Maybe[int] = None
    on: Literal["local", "dask", "slurm", "ray"] = "local"
    address: Maybe[str] = None
    option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    out: Maybe[Path] = None
    report: Maybe[Path] = None


def sweep(arguments: list[str]) -> int:
    """Train with every combination of some settings, as many at a time as fit, here or on a cluster."""
    options = parse("sweep", arguments, SweepOptions)
    require(options.on == "local" or options.at_once is None, "--at-once", options.at_once, said("training.at_once"))
    make = functools.partial(
        api.sweep, options.config, _named(options.over, _values), mode=options.mode, lag=options.epochs_ahead,
        out=options.out, at_once=options.at_once, random=options.random, start=False,
    )  # fmt: skip
    make()  # refuses what it refuses before a cluster is started
    made = make(executor=executor(options.on, options.address, **_named(options.option)))
    code = _finish_sweep(made)
    if options.report is not None and made.finished:
        tell(f"report: {made.report(bands=None).save(options.report)[-1]}")
    return code


def _values(name: str, text: str) -> Sequence[Any]:
    """``"0:10"`` and ``"1e-3,3e-3"`` as lists."""
    first, colon, end = text.partition(":")
    if colon and first.isdecimal() and end.isdecimal():
        return range(int(first), int(end))
    return [_value(name, each) for each in text.split(",")]


def _finish_sweep(made: Sweep) -> int:
    """Run all cells with a bar for those that are done; in the end the table."""
    with tqdm(total=len(made.cells), dynamic_ncols=True, disable=None, file=sys.stderr) as bar, made:
        made.start()
        while not made.ended:
            time.sleep(REFRESH_S)
            bar.update(made.done - bar.n)
    tell(made.table)
    for name, error in made.failures.items():
        tell(f"workbench: {name}: {error}", sys.stderr)
    return 1 if made.failures else 0

"""What ``import workbench as wb`` offers: the core, the runs and the wings, put together.

Everything below this file knows only what stands below itself. Here a run learns to diagnose, to draw and to export
itself, the names of faults become hooks, and a notebook is told how to show what a cell returns. A child process
never imports this file.
"""

import functools
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from workbench import export
from workbench.core import registry
from workbench.core.agents.base import AgentConfig
from workbench.core.config import Config, ConfigError
from workbench.core.envs.base import WorldConfig
from workbench.core.processes.supervisor import ChildFailed
from workbench.core.sentences import did_you_mean
from workbench.core.train.hooks import Hook
from workbench.diagnose import doctor as examining
from workbench.diagnose.audit import Audit
from workbench.diagnose.faults import Fault, prepare
from workbench.diagnose.probes import Probes
from workbench.export import tables, trackers, write
from workbench.runs import compare as comparing
from workbench.runs import loaded as loading
from workbench.runs import run as running
from workbench.runs.files import at
from workbench.runs.folder import RecordError, RunFolder, check_note, data_folder, named_path, write_note
from workbench.runs.initial_weights import WeightSource
from workbench.runs.launch_rules import check_config, check_launch
from workbench.runs.listing import RunList, info_of, runs
from workbench.runs.loaded import RunError, RunView
from workbench.runs.presets import preset, presets
from workbench.runs.recovery import resume as resuming
from workbench.runs.result import Result
from workbench.runs.sentences import beside
from workbench.runs.uninterrupted import uninterrupted
from workbench.sweep import sweep as sweeping
from workbench.sweep.cells import Values, as_one, cells_of, run_cell
from workbench.view.system import CardLoad, SystemLoad
from workbench.view.timeline.recorder import Stopwatch
from workbench.watch.folder import KIND
from workbench.watch.recording import follow
from workbench.zoo.episodes import EpisodeRecords
from workbench.zoo.measures import DrawnRows
from workbench.zoo.on_device import OnDevice

if TYPE_CHECKING:
    from workbench import report
    from workbench.report import Report, ReportFigure
    from workbench.view.figures import comparison_figure, side_by_side
    from workbench.view.panel.panel import Panel
    from workbench.view.run_picker import RunPicker
    from workbench.view.timeline.timeline import Timeline
    from workbench.view.world.film import film
    from workbench.view.world.world_view import WorldView
    from workbench.watch.watch import Watch, watching

__all__ = [
    "ChildFailed", "Comparison", "Config", "ConfigError", "LoadedRun", "Panel", "RecordError", "Result", "Run",
    "RunError", "Sweep", "Timeline", "Watch", "WorldView", "archive", "compare", "comparison_figure", "delete",
    "doctor", "export", "film", "launch", "load", "pick", "preset", "presets", "report", "resume", "runs",
    "side_by_side", "sweep", "watching",
]  # fmt: skip

# what a notebook completes behind "config.replace("; dotted names are no words of Python and go in a dictionary
Config.replace.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    + [inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=...) for item in fields(Config)]
    + [inspect.Parameter("changes", inspect.Parameter.VAR_KEYWORD)]
)

# What the wings offer by name, and where what draws is, which is imported when it is first asked for.
_OFFERED = beside(__file__)
for _group, _names in _OFFERED["registered"].items():
    for _name, _class in _names.items():
        registry.register(_group, _name, _class)

# What a sweep hands on to :func:`launch`.
_SWEPT_OPTIONS = ("weights", "faults", "probes", "hooks", "timeline", "note", "tags")
# Classes that have a page of their own in a notebook.
_SHOWN = (comparing.Comparison, Config, examining.Diagnosis, Result, RunList, RunView)


def __getattr__(name: str) -> Any:
    """Import what draws and what exports when it is first asked for: a script that trains needs no matplotlib."""
    if where := _OFFERED["drawn"].get(name):
        return pkgutil.resolve_name(where)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


class _Instruments(RunView):
    """What the wings can do with a run, as methods of the run."""

    diagnose = examining.diagnose
    to_pandas = tables.to_pandas
    log_to = trackers.log_to
    export = write

    def timeline(self) -> "Timeline":
        """What each process did when, as far as it is recorded: a figure, a table, a trace, a view to zoom in.

        Raises:
            RecordError: the run recorded no timeline, or nothing yet.
        """
        from workbench.view.timeline.timeline import Timeline

        return Timeline(self)


class Run(_Instruments, running.Run):
    """A run of this process. Made by :func:`launch`; also a context manager that stops it at the end.

    Example:
        ``with wb.launch(wb.preset("quick")) as run: print(run.wait().greedy_reward)``
    """


class LoadedRun(_Instruments, loading.LoadedRun):
    """A run read from its folder.

    Example:
        ``wb.load("NAME").history["losses/loss"]``
    """


loading.opened_as = LoadedRun
loading.readers[KIND] = follow
examining.judges[KIND] = "workbench.watch.judge:diagnose"


class Comparison(comparing.Comparison):
    """Two runs of one configuration. Made by :func:`compare`; also a context manager that stops both at the end.

    Example:
        ``pair = wb.compare(wb.preset("quick")); pair.wait(); print(pair.table)``
    """

    sequential: Run
    multiprocess: Run


@uninterrupted(undo=lambda run: run.stop())
def launch(
    config: Config, mode: str = "multiprocess", lag: int | None = 1, *, name: str | None = None,
    out: Path | str | None = None, weights: WeightSource | None = None,
    world: str | type | WorldConfig | None = None, world_args: Mapping[str, Any] | None = None,
    agent: str | type | AgentConfig | None = None, faults: Sequence[str | Fault] = (), probes: bool = True,
    hooks: Sequence[Hook] = (), timeline: bool = True, note: str = "", tags: Sequence[str] = (),
    relations: Mapping[str, str] | None = None, start: bool = True,
) -> Run:  # fmt: skip
    """Start a run and return at once.

    Args:
        config: every setting; see :func:`preset`.
        mode: "multiprocess" (an actor and learner processes) or "sequential" (the baseline, in one child process).
        lag: staleness in epochs: epoch e is collected with the weights that came out of the updates of epoch
            e - 1 - lag. None runs free, multiprocess only.
        name: name of the run folder; default made from mode, lag, seed and time.
        out: folder that the run folder is made in; default ``data/runs``.
        weights: what online and target networks start from, before their optimiser is made: a run, the path of its
            folder, of a checkpoint (``.npz``) or of an array (``.npy``), or an array such as ``earlier.weights``.
        world: another world than the configuration's: a registered name, "gymnasium:CartPole-v1",
            "pettingzoo:mpe2.simple_spread_v3", ``module:Class``, its class of arguments, or an object of that; see
            :meth:`Config.replace`. A class of your own must be in a module that can be imported.
        world_args: arguments of the world by name, such as ``{"max_turns": 200}``.
        agent: another agent, likewise.
        faults: failures of the catalogue to switch on, by name, with a strength if wanted: ``"sync_rarely=10"``.
        probes: whether the children measure what :meth:`Run.diagnose` decides by.
        hooks: what else comes in from outside; see :class:`workbench.core.train.hooks.Hook`.
        timeline: whether the children record what they do when, for :meth:`Run.timeline`, and now and then what they
            take of the machine, as the curves ``system/...``.
        note: what to know of the run; it can be set afterwards too.
        tags: words to find it by, with :func:`runs`; likewise.
        relations: what it belongs to, such as ``{"sweep": name}``.
        start: False leaves it to ``run.start()``.

    Example:
        ``run = wb.launch(wb.preset("quick"), mode="sequential", tags=["first"])``

    Raises:
        ConfigError: the configuration or a fault does not go with this mode, lag or machine, or a child process could
            not import a class of your own.
        RecordError: the run folder exists already or cannot be made.
        RunError: the weights do not fit; the message gives both layouts.
        MemoryError: the run needs more memory than there is.
        OSError: the run needs more open files than there may be, or this process ignores SIGCHLD.
    """
    config = _chosen(config, world, world_args, agent)
    lag = check_launch(config, mode, lag)
    check_note(note, tags)
    switched_on, card = prepare(faults, config, mode, lag), timeline and CardLoad.wanted(config)
    notes = {"probes": probes, "timeline": timeline, "system": timeline, "card": card}
    run = running.launch(
        Run, config, mode, lag, name=name, out=out, weights=weights,
        hooks=_hooks(config, [*switched_on, *hooks], notes), faults=[fault.text for fault in switched_on],
        notes={**notes, "relations": dict(relations or {})}, start=start,
    )  # fmt: skip
    if note or tags:
        write_note(run.folder.place, note, tags)
    return run


def _chosen(
    config: Config, world: str | type | WorldConfig | None, world_args: Mapping[str, Any] | None,
    agent: str | type | AgentConfig | None,
) -> Config:  # fmt: skip
    """The configuration with another world and another agent, as far as they are given."""
    check_config(config)
    chosen = {name: it for name, it in (("world", world), ("agent", agent)) if it is not None}
    return config.replace(**chosen, **{f"world.{name}": value for name, value in (world_args or {}).items()})


@overload
def compare(
    config: Config, lag: int | None = 1, *, baseline_lag: int | None = None, out: Path | str | None = None,
    start: bool = True, seeds: None = None, beside: Config | None = None, mode: str = "multiprocess",
) -> Comparison: ...  # fmt: skip


@overload
def compare(
    config: Config, lag: int | None = 1, *, baseline_lag: int | None = None, out: Path | str | None = None,
    start: bool = True, seeds: Iterable[int],
) -> sweeping.SeedComparison: ...  # fmt: skip


@uninterrupted(undo=lambda pair: pair.stop())
def compare(
    config: Config, lag: int | None = 1, *, baseline_lag: int | None = None, out: Path | str | None = None,
    start: bool = True, seeds: Iterable[int] | None = None, beside: Config | None = None, mode: str = "multiprocess",
) -> Comparison | sweeping.SeedComparison:  # fmt: skip
    """Run both modes, one after the other, and return at once; or two configurations in one mode.

    Args:
        config: every setting of both runs.
        lag: the multiprocess run's lag in epochs; None runs free.
        baseline_lag: the sequential run's lag; default ``lag``, and 0 beside a free-running run.
        out: folder that the run folders are made in; default ``data/runs``.
        start: False leaves it to ``comparison.start()``.
        seeds: a pair of runs for each, one after the other; what has finished before is not run again.
        beside: another configuration, run at the same lag in place of the other mode; :func:`sweep` does so over seeds.
        mode: of these two runs.

    Example:
        ``print(wb.compare(wb.preset("quick"), seeds=range(10)).wait().table)``

    Raises:
        ConfigError: the configuration does not go with one of the modes, a lag, or this machine.
    """
    if beside is None and mode != "multiprocess":
        raise ConfigError(f"mode is {mode!r}; without beside both modes are run, so leave it out, or give beside")
    if beside is not None and (seeds is not None or baseline_lag is not None):
        raise ConfigError("beside goes with neither seeds nor baseline_lag; wb.sweep runs configurations over seeds")
    its_lag = (lag or 0) if baseline_lag is None else baseline_lag
    if seeds is not None:
        values = list(seeds) if isinstance(seeds, Iterable) and not isinstance(seeds, range) else seeds
        one = cells_of(config, {"mode": ["sequential"], "seed": values}, "sequential", its_lag, out)
        two = cells_of(config, {"mode": ["multiprocess"], "seed": values}, "multiprocess", lag, out)
        cells = [cell for pair in zip(one, two, strict=True) for cell in pair]
        many = sweeping.SeedComparison(as_one(cells, "compare-seeds"), _run_cell, at_once=1)
        return many.start() if start else many
    modes = ("sequential", "multiprocess") if beside is None else (mode, mode)
    with ExitStack() as undo:  # which stops the first run if the second cannot be launched
        first = undo.enter_context(launch(config, modes[0], its_lag if beside is None else lag, out=out, start=False))
        relations = {"compared with": first.name}
        pair = Comparison(first, launch(beside or config, modes[1], lag, out=out, relations=relations, start=False))
        undo.pop_all()
    return pair.start() if start else pair


class Sweep(sweeping.Sweep):
    """Many runs of one configuration with some fields changed. Made by :func:`sweep`; see its ``frame`` and ``table``.

    Example:
        ``wb.sweep(config, {"seed": range(5)}).wait().figure()``
    """

    def report(self, **options: Any) -> "Report":
        """A report of the finished runs; ``options`` are those of :func:`workbench.report.make`."""
        from workbench.report import make

        return make(self.runs, **options)

    def figure(self) -> "ReportFigure":
        """The final reward against each field that was swept, with intervals; a heat map for two."""
        return self.report(figures=["sweep"])["sweep"]


@uninterrupted(undo=lambda made: made.stop())
def sweep(
    config: Config, fields: Mapping[str, Values], *, mode: str = "multiprocess", lag: int | None = 1,
    executor: Executor | None = None, at_once: int | None = None, random: int | None = None, random_seed: int = 0,
    name: str | None = None, out: Path | str | None = None, start: bool = True, **options: Any,
) -> Sweep:  # fmt: skip
    """Run a configuration with every combination of some fields, and return at once.

    A run folder is named by its configuration: starting the same sweep again continues what was cut off, tries again
    what failed, and leaves alone what has finished.

    Args:
        config: every setting that is not swept.
        fields: values by field: settings by dotted name, ``"mode"`` or ``"lag"``. With ``random`` also functions that
            draw a value from a NumPy generator.
        mode, lag: of every run, as for :func:`launch`.
        executor: any :class:`concurrent.futures.Executor`, such as a dask client's; default threads of this process,
            as many as cores and memory allow. Its workers need this package and the folder of the runs.
        at_once: how many of those threads.
        random: how many cells are drawn at random; default all.
        random_seed: of that draw.
        name: name of the sweep, by which its runs are found again; default made from the fields and the cells.
        out: folder that the run folders are made in; default ``data/runs``.
        start: False leaves it to ``sweep.start()``.
        options: further arguments of :func:`launch`: ``world``, ``world_args``, ``agent``, ``weights``, ``faults``,
            ``probes``, ``hooks``, ``timeline``, ``note``, ``tags``.

    Example:
        ``wb.sweep(wb.preset("quick"), {"learning.learning_rate": [1e-3, 3e-3], "seed": range(5)}, mode="sequential")``

    Raises:
        ConfigError: a field is no setting, a value or an option is refused; nothing runs then.
    """
    config = _chosen(config, *(options.pop(it, None) for it in ("world", "world_args", "agent")))
    if unknown := options.keys() - set(_SWEPT_OPTIONS):
        raise ConfigError(f"a sweep has no option {min(unknown)!r}; {did_you_mean(min(unknown), _SWEPT_OPTIONS)}")
    check_note(options.get("note", ""), options.get("tags", ()))
    cells = cells_of(config, fields, mode, lag, out, random, random_seed, options)
    for cell in cells:
        prepare(options.get("faults", ()), cell.config, cell.mode, cell.lag)
    words = "-".join(["sweep", *(field.rpartition(".")[2] for field in fields)])
    made = Sweep(as_one(cells, words[:80], name), _run_cell, executor, at_once)
    return made.start() if start else made


def load(
    path: Path | str, world: str | type | None = None, agent: str | type | None = None,
    sampler: str | type | None = None,
) -> LoadedRun:  # fmt: skip
    """An earlier run from its folder.

    Args:
        path: the folder, or its name in ``data/runs``.
        world, agent, sampler: the class of your own that the run was made with, or its ``module:Class``. Nothing is
            imported because the folder names it.

    Example:
        ``wb.load("NAME").diagnose()``

    Raises:
        RecordError: there is no run at that path, it is damaged or of another version, or was made with a class that is
            not given here.
    """
    return LoadedRun(named_path(path), world=world, agent=agent, sampler=sampler)


def doctor(run: RunView | Path | str, **given: str | type | None) -> examining.Diagnosis:
    """What the records of a run say, of this workbench's own or of a watched trainer.

    Args:
        run: the run, its folder, or its name in ``data/runs``.
        given: ``world``, ``agent`` or ``sampler`` of your own that the run was made with, as for :func:`load`.

    Example:
        ``print(wb.doctor("my_trainer"))``

    Raises:
        RecordError: there is no such run.
    """
    return examining.diagnose(run if isinstance(run, RunView) else load(run, **given))


def resume(
    path: Path | str, config: Config | None = None, *, start: bool = True, parent_is_gone: bool = False,
    world: str | type | None = None, agent: str | type | None = None, sampler: str | type | None = None,
    hooks: Sequence[Hook] = (), **changes: Any,
) -> Run | LoadedRun:  # fmt: skip
    """Continue the run in a folder from its newest checkpoint, and return at once.

    A run that is finished and is not made longer is returned as it is, loaded from its folder. Otherwise what was
    recorded after the checkpoint is recorded again. At a finite lag the run then ends with the digests of one
    that was never interrupted, unless settings that the result depends on were changed.

    Args:
        path: the run's folder, or its name in ``data/runs``.
        config: the configuration to continue with; default the run's own.
        start: False leaves it to ``run.start()``.
        parent_is_gone: the run was launched on a machine, or in a container, of another name, where its process cannot
            be looked for from here, and that process is over. Makes no difference to a run of this machine.
        world, agent, sampler: the class of your own that the run was made with, as for :func:`load`; one that is in
            ``config`` need not be given.
        hooks: faults and metrics of your own that the run was launched with: the folder does not hold them, and those
            that are not given are missing from the checkpoint on.
        changes: settings to change, by dotted name: ``resume(path, epochs=480)``. Safe to change are the number of
            epochs, the device, and everything about evaluation, checkpoints, processes, and free-running pacing. Those
            that :meth:`Run.change` takes change from the checkpoint on.

    Example:
        ``wb.resume("NAME", epochs=480).wait()``

    Raises:
        RunError: the run has not ended.
        RecordError: another run holds the folder, or the folder cannot be loaded.
        CheckpointError: there is no whole checkpoint, or the configuration differs where it must not.
        ConfigError: a change breaks a rule.
        MemoryError, OSError: as for :func:`launch`.
    """
    given = {"world": world, "agent": agent, "sampler": sampler}
    hooks_of = functools.partial(_hooks_of, hooks)
    resumed = resuming.resume(Run, hooks_of, given, named_path(path), config, start, parent_is_gone, changes)
    assert isinstance(resumed, Run | LoadedRun)
    return resumed


# What an executor is given: it can be sent to another process.
_run_cell = functools.partial(run_cell, launch, resume)


def delete(run: Path | str, *, confirm: str) -> None:
    """Delete the folder of a run that has ended, for good.

    Args:
        run: the folder, or its name in ``data/runs``.
        confirm: the name again.

    Example:
        ``wb.delete("NAME", confirm="NAME")``

    Raises:
        RecordError: there is no such run, it is under way, or the name is another.
    """
    folder = RunFolder(_confirmed(run, confirm))
    folder.hold()
    try:
        if (status := info_of(folder.path).status) in ("created", "starting", "running"):
            raise RecordError(f"{folder.path} is kept: the run is {status}; stop it first, or wait for its end")
        folder.remove()
    finally:
        folder.release()


def archive(run: Path | str, *, confirm: str, out: Path | str | None = None) -> Path:
    """Pack a run that has ended into one file, then delete its folder; ``export.unpack`` undoes it.

    Args:
        run, confirm: as for :func:`delete`.
        out: folder of the file; default ``data/archive``.

    Example:
        ``wb.archive("NAME", confirm="NAME")``

    Raises:
        RecordError: as for :func:`delete`, there is such a file already, or the run cannot be packed; nothing is
            deleted then.
    """
    path = _confirmed(run, confirm)
    packed = (data_folder() / "archive" if out is None else at(out)) / f"{path.name}.tar.gz"
    if packed.exists():
        raise RecordError(f"{path} is kept: {packed} is there already; move that file, or name another folder")
    export.archive(path, packed)
    delete(path, confirm=confirm)
    return packed


def _confirmed(run: Path | str, confirm: str) -> Path:
    path = Path(os.path.abspath(named_path(run)))
    RecordError.unless((path / "run.json").is_file(), f"{path} is no run folder: it has no run.json")
    if confirm != path.name:
        raise RecordError(f"{path} is kept: confirm is {confirm!r}; to remove the run write its name, {path.name!r}")
    return path


def _hooks_of(given: Sequence[Hook], earlier: loading.LoadedRun, config: Config) -> list[Hook]:
    """What the launch of an earlier run switched on, and what is given, for the configuration to continue with."""
    own = {hook.text: hook for hook in given if isinstance(hook, Fault)}
    faults = prepare([own.get(text, text) for text in earlier.faults], config, earlier.mode, earlier.lag)
    return _hooks(config, [*faults, *(hook for hook in given if hook not in faults)], earlier.description)


def _hooks(config: Config, chosen: Sequence[Hook], notes: Mapping[str, Any]) -> list[Hook]:
    """What sets how the processes compute, where they do not as by default; what was chosen; and what only looks.

    Of the last the stopwatch comes first, so that the time of the probes is not counted as the work's.

    Args:
        config: of the run.
        chosen: faults, and hooks of the user's own.
        notes: what the run's description says, or will say, of what looks.
    """
    computing = [OnDevice()] if OnDevice.wanted(config) else []
    clocks = {"timeline": Stopwatch(notes.get("clock_offset_ns", 0)), "system": SystemLoad(), "card": CardLoad()}
    looking = [hook for name, hook in clocks.items() if notes.get(name)]
    drawn = [DrawnRows()] if DrawnRows.wanted(config) else []
    episodes = [] if config.spec.whole_epochs else [EpisodeRecords()]
    probes = [Probes(), Audit()] if notes.get("probes") else []
    return [*computing, *chosen, *looking, *drawn, *probes, *episodes]


def pick(found: RunList | None = None) -> "RunPicker":
    """A list of runs to choose from in a notebook, with buttons that open a panel or a report of those.

    Args:
        found: the runs; default all in ``data/runs``.

    Example:
        ``wb.pick(wb.runs(tag="ablation"))``

    Raises:
        RunError: there is no run.
    """
    from workbench.view.panel.panel import Panel
    from workbench.view.run_picker import RunPicker

    found = runs() if found is None else found
    if not found:
        raise RunError(f"{found!r}, so there is nothing to choose from; launch a run, or name another folder of runs")
    return RunPicker(found, {"Panel": lambda chosen: (Panel(chosen),), "Report": _report_of})


def _report_of(chosen: list[loading.LoadedRun]) -> tuple[object, ...]:
    """The results and every figure, without intervals where a group has too few seeds for them."""
    from workbench import report

    made = report.make(chosen, bands=None)
    return made.results, *made.figures.values()


def _page(shown: object) -> str:
    from workbench.view.html import page

    return page(shown)


# A notebook, where this is one, shows our objects as pages; their ``repr`` stays as it is.
_shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
if _shell is not None:
    for _kind in _SHOWN:
        _shell.display_formatter.formatters["text/html"].for_type(_kind, _page)

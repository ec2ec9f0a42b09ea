"""What ``import workbench as wb`` offers: the core, the runs and the wings, put together.

Everything below this file knows only what stands below itself. Here a run learns to diagnose, to draw and to export
itself, the names of faults become hooks, and a notebook is told how to show what a cell returns. A child process
never imports this file.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core import registry
from workbench.core.agents.base import AgentConfig
from workbench.core.config import Config, ConfigError, check_launch
from workbench.core.envs.base import WorldConfig
from workbench.core.processes.supervisor import ChildFailed
from workbench.core.train.hooks import Hook
from workbench.diagnose.faults import Fault, prepare
from workbench.diagnose.probes import Probes
from workbench.runs import compare as comparing
from workbench.runs import loaded as loading
from workbench.runs import run as running
from workbench.runs.folder import RecordError
from workbench.runs.listing import runs
from workbench.runs.loaded import RunError, RunView
from workbench.runs.presets import preset, presets
from workbench.runs.recovery import resume as resuming
from workbench.runs.result import Result
from workbench.runs.uninterrupted import uninterrupted
from workbench.view.timeline.recorder import Stopwatch
from workbench.zoo.measures import DrawnRows

if TYPE_CHECKING:
    import pandas as pd

    from workbench import export, report
    from workbench.diagnose.doctor import Diagnosis
    from workbench.view.figures import comparison_figure, side_by_side
    from workbench.view.panel.panel import Panel
    from workbench.view.timeline.timeline import Timeline
    from workbench.view.world.film import film
    from workbench.view.world.world_view import WorldView

__all__ = [
    "ChildFailed", "Comparison", "Config", "ConfigError", "LoadedRun", "Panel", "RecordError", "Result", "Run",
    "RunError", "Timeline", "WorldView", "compare", "comparison_figure", "export", "film", "launch", "load", "preset",
    "presets", "report", "resume", "runs", "side_by_side",
]  # fmt: skip

registry.register("agent", "dqn", "workbench.zoo.dqn:DQNConfig")
registry.register("replay.sampler", "prioritised", "workbench.zoo.prioritised:PrioritisedConfig")

_DRAWN = {
    "Panel": "workbench.view.panel.panel",
    "Timeline": "workbench.view.timeline.timeline",
    "WorldView": "workbench.view.world.world_view",
    "comparison_figure": "workbench.view.figures",
    "film": "workbench.view.world.film",
    "side_by_side": "workbench.view.figures",
}
# Classes that have a page of their own in a notebook, and where they are.
_SHOWN = {
    "Comparison": "workbench.runs.compare",
    "Config": "workbench.core.config",
    "Diagnosis": "workbench.diagnose.doctor",
    "Result": "workbench.runs.result",
    "RunView": "workbench.runs.loaded",
}


def __getattr__(name: str) -> Any:
    """Import what draws and what exports when it is first asked for: a script that trains needs no matplotlib."""
    if name in ("export", "report"):
        return importlib.import_module(f"workbench.{name}")
    if name in _DRAWN:
        return getattr(importlib.import_module(_DRAWN[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Instruments(RunView):
    """What the wings can do with a run, as methods of the run."""

    def diagnose(self) -> Diagnosis:
        """Check what the run has recorded so far: which failures of the catalogue show, with their figures."""
        from workbench.diagnose.doctor import diagnose

        return diagnose(self)

    def timeline(self) -> Timeline:
        """What each process did when, as far as it is recorded: a figure, a table, a trace, a view to zoom in.

        Raises:
            RecordError: the run recorded no timeline, or nothing yet.
        """
        from workbench.view.timeline.timeline import Timeline

        return Timeline(self)

    def to_pandas(self) -> dict[str, pd.DataFrame]:
        """Every table of the history as a frame, by name, as far as it is recorded; see :mod:`workbench.export`.

        Raises:
            ExportError: pandas is not installed.
        """
        from workbench.export import to_pandas

        return to_pandas(self)

    def export(self, to: Literal["csv", "parquet", "tensorboard", "archive"], out: Path | str) -> list[Path]:
        """Write the run for other tools or other people: ``run.export("csv", "tables")``.

        Args:
            to: "csv" or "parquet" (a file per table), "tensorboard" (event files), "archive" (the run folder as one
                file, of a run that has ended).
            out: folder to write to; for an archive a file that ends in ``.tar.gz``, or a folder.

        Returns:
            The files.

        Raises:
            ExportError: there is no such format, a package is not installed, or the run cannot be written as that.
        """
        from workbench.export import write

        return write(self, to, out)


class Run(_Instruments, running.Run):
    """A run of this process. Made by :func:`launch`; also a context manager that stops it at the end."""


class LoadedRun(_Instruments, loading.LoadedRun):
    """A run read from its folder."""


loading.opened_as = LoadedRun
registry.register("world", "gymnasium", "workbench.zoo.gymnasium:GymnasiumConfig")
registry.register("world", "pettingzoo", "workbench.zoo.pettingzoo:PettingZooConfig")


class Comparison(comparing.Comparison):
    """Two runs of one configuration. Made by :func:`compare`; also a context manager that stops both at the end."""

    sequential: Run
    multiprocess: Run


def launch(
    config: Config, mode: str = "multiprocess", lag: int | None = 1, *, name: str | None = None,
    out: Path | str | None = None, weights: NDArray[np.float32] | None = None,
    world: str | type | WorldConfig | None = None, world_args: Mapping[str, Any] | None = None,
    agent: str | type | AgentConfig | None = None, faults: Sequence[str | Fault] = (), probes: bool = True,
    hooks: Sequence[Hook] = (), timeline: bool = True, start: bool = True,
) -> Run:  # fmt: skip
    """Start a run and return at once.

    Args:
        config: every setting; see :func:`preset`.
        mode: "multiprocess" (an actor and learner processes) or "sequential" (the baseline, in one child process).
        lag: staleness in epochs: epoch e is collected with the weights that came out of the updates of epoch
            e - 1 - lag. None runs free, multiprocess only.
        name: name of the run folder; default made from mode, lag, seed and time.
        out: folder that the run folder is made in; default ``data/runs``.
        weights: (agents, vector size) float32 to start from, such as ``earlier.weights``.
        world: another world than the configuration's: a registered name, "gymnasium:CartPole-v1",
            "pettingzoo:mpe2.simple_spread_v3", ``module:Class``, its class of arguments, or an object of that; see
            :meth:`Config.replace`. A class of your own must be in a module that can be imported.
        world_args: arguments of the world by name, such as ``{"max_turns": 200}``.
        agent: another agent, likewise.
        faults: failures of the catalogue to switch on, by name, with a strength if wanted: ``"sync_rarely=10"``.
        probes: whether the children measure what :meth:`Run.diagnose` decides by.
        hooks: what else comes in from outside; see :class:`workbench.core.train.hooks.Hook`.
        timeline: whether the children record what they do when; see :meth:`Run.timeline`.
        start: False leaves it to ``run.start()``.

    Raises:
        ConfigError: the configuration or a fault does not go with this mode, lag or machine, or a child process could
            not import a class of your own.
        RecordError: the run folder exists already or cannot be made.
        RunError: the weights do not fit.
        MemoryError: the run needs more memory than there is.
        OSError: the run needs more open files than there may be, or this process ignores SIGCHLD.
    """
    chosen = {"world": world, "agent": agent}
    arguments = {f"world.{name}": value for name, value in (world_args or {}).items()}
    config = config.replace(**{kind: wanted for kind, wanted in chosen.items() if wanted is not None}, **arguments)
    lag = check_launch(config, mode, lag)
    switched_on = prepare(faults, config, mode, lag)
    return running.launch(
        Run, config, mode, lag, name=name, out=out, weights=weights,
        hooks=(*switched_on, *hooks, *_watching(config, timeline, probes)),
        faults=[fault.text for fault in switched_on], notes={"probes": probes, "timeline": timeline}, start=start,
    )  # fmt: skip


@uninterrupted(undo=lambda pair: pair.stop())
def compare(
    config: Config, lag: int | None = 1, *, baseline_lag: int | None = None, out: Path | str | None = None,
    start: bool = True,
) -> Comparison:  # fmt: skip
    """Run both modes, one after the other, and return at once.

    Args:
        config: every setting of both runs.
        lag: the multiprocess run's lag in epochs; None runs free.
        baseline_lag: the sequential run's lag; default ``lag``, and 0 beside a free-running run.
        out: folder that the run folders are made in; default ``data/runs``.
        start: False leaves it to ``comparison.start()``.

    Raises:
        ConfigError: the configuration does not go with one of the modes, a lag, or this machine.
    """
    if baseline_lag is None:
        baseline_lag = lag or 0
    sequential = launch(config, "sequential", baseline_lag, out=out, start=False)
    pair = Comparison(sequential, launch(config, "multiprocess", lag, out=out, start=False))
    return pair.start() if start else pair


def load(
    path: Path | str, world: str | type | None = None, agent: str | type | None = None,
    sampler: str | type | None = None,
) -> LoadedRun:  # fmt: skip
    """An earlier run from its folder.

    Args:
        path: the folder.
        world, agent, sampler: the class of your own that the run was made with, or its ``module:Class``. Nothing is
            imported because the folder names it.

    Raises:
        RecordError: there is no run at that path, it is damaged or of another version, or was made with a class that is
            not given here.
    """
    return LoadedRun(path, world=world, agent=agent, sampler=sampler)


def resume(
    path: Path | str, config: Config | None = None, *, start: bool = True, parent_is_gone: bool = False,
    world: str | type | None = None, agent: str | type | None = None, sampler: str | type | None = None,
    **changes: Any,
) -> Run:  # fmt: skip
    """Continue the run in a folder from its newest checkpoint, and return at once.

    What was recorded after the checkpoint is recorded again. At a finite lag the run then ends with the digests of one
    that was never interrupted, unless settings that the result depends on were changed.

    Args:
        path: the run's folder.
        config: the configuration to continue with; default the run's own.
        start: False leaves it to ``run.start()``.
        parent_is_gone: the run was launched on a machine, or in a container, of another name, where its process cannot
            be looked for from here, and that process is over. Makes no difference to a run of this machine.
        world, agent, sampler: the class of your own that the run was made with, as for :func:`load`.
        changes: settings to change, by dotted name: ``resume(path, epochs=480)``. Safe to change are the number of
            epochs, the device, and everything about evaluation, checkpoints, processes, and free-running pacing. Those
            that :meth:`Run.change` takes change from the checkpoint on.

    Raises:
        RunError: the run has not ended, or is finished and not made longer.
        RecordError: another run holds the folder, or the folder cannot be loaded.
        CheckpointError: there is no whole checkpoint, or the configuration differs where it must not.
        ConfigError: a change breaks a rule.
        MemoryError, OSError: as for :func:`launch`.
    """
    given = {"world": world, "agent": agent, "sampler": sampler}
    return resuming.resume(Run, _hooks_of, given, path, config, start, parent_is_gone, changes)


def _hooks_of(earlier: loading.LoadedRun, config: Config) -> list[Hook]:
    """What the launch of an earlier run switched on, for the configuration that the run continues with."""
    said = earlier.description
    switched_on = prepare(earlier.faults, config, earlier.mode, earlier.lag)
    return [*switched_on, *_watching(config, bool(said.get("timeline")), bool(said.get("probes")))]


def _watching(config: Config, timeline: bool, probes: bool) -> list[Hook]:
    """What only looks. The stopwatch comes first, so that the time of the probes is not counted as the work's."""
    drawn = [DrawnRows()] if DrawnRows.wanted(config) else []
    return [*([Stopwatch()] if timeline else []), *drawn, *([Probes()] if probes else [])]


def _page(shown: object) -> str:
    from workbench.view.html import page

    return page(shown)


def _register_pages() -> None:
    """Tell the notebook, where this is one, to show our objects as pages; their ``repr`` stays as it is."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        for name, module in _SHOWN.items():
            shell.display_formatter.formatters["text/html"].for_type_by_name(module, name, _page)


_register_pages()

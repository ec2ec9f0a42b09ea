"""A workbench for multiprocess reinforcement learning: one trainer, run sequentially and multiprocess, side by side."""

import importlib
from typing import TYPE_CHECKING, Any

from workbench.compare import Comparison, compare
from workbench.config import Config, ConfigError, preset, presets
from workbench.processes.supervisor import ChildFailed
from workbench.record.folder import RecordError
from workbench.record.result import Result
from workbench.resume import resume
from workbench.run import Run, launch
from workbench.run_view import LoadedRun, RunError, load
from workbench.runs import runs

if TYPE_CHECKING:
    from workbench import export, report
    from workbench.view.figures import comparison_figure, side_by_side
    from workbench.view.film import film
    from workbench.view.panel import Panel
    from workbench.view.timeline import Timeline
    from workbench.view.world_view import WorldView

_ROOMS = ("export", "report")
_VIEW = {
    "Panel": "panel",
    "Timeline": "timeline",
    "WorldView": "world_view",
    "comparison_figure": "figures",
    "film": "film",
    "side_by_side": "figures",
}

__all__ = [
    "ChildFailed",
    "Comparison",
    "Config",
    "ConfigError",
    "LoadedRun",
    "Panel",
    "RecordError",
    "Result",
    "Run",
    "RunError",
    "Timeline",
    "WorldView",
    "compare",
    "comparison_figure",
    "export",
    "film",
    "launch",
    "load",
    "preset",
    "presets",
    "report",
    "resume",
    "runs",
    "side_by_side",
]


def __getattr__(name: str) -> Any:
    """Import what draws and what exports when it is first asked for; a child process never needs it."""
    if name in _ROOMS:
        return importlib.import_module(f"workbench.{name}")
    if name in _VIEW:
        return getattr(importlib.import_module(f"workbench.view.{_VIEW[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")

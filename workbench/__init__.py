"""A workbench for multiprocess reinforcement learning: one trainer, run sequentially and multiprocess, side by side."""

import importlib
from typing import TYPE_CHECKING, Any

from workbench.core.config import Config, ConfigError, preset, presets
from workbench.core.processes.supervisor import ChildFailed
from workbench.runs.compare import Comparison, compare
from workbench.runs.folder import RecordError
from workbench.runs.listing import runs
from workbench.runs.loaded import LoadedRun, RunError, load
from workbench.runs.recovery.resume import resume
from workbench.runs.result import Result
from workbench.runs.run import Run, launch

if TYPE_CHECKING:
    from workbench import export, report
    from workbench.view.figures import comparison_figure, side_by_side
    from workbench.view.panel.panel import Panel
    from workbench.view.timeline.timeline import Timeline
    from workbench.view.world.film import film
    from workbench.view.world.world_view import WorldView

_ROOMS = ("export", "report")
_VIEW = {
    "Panel": "panel.panel",
    "Timeline": "timeline.timeline",
    "WorldView": "world.world_view",
    "comparison_figure": "figures",
    "film": "world.film",
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


def _page(config: Config) -> str:
    """How a configuration is shown in a notebook."""
    from workbench.view.html import page

    return page(config)


Config._repr_html_ = _page  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """Import what draws and what exports when it is first asked for; a child process never needs it."""
    if name in _ROOMS:
        return importlib.import_module(f"workbench.{name}")
    if name in _VIEW:
        return getattr(importlib.import_module(f"workbench.view.{_VIEW[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")

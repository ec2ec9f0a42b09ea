"""A workbench for multiprocess reinforcement learning: one trainer, run sequentially and multiprocess, side by side.

Everything that is offered here is made in :mod:`workbench.api`, which is imported when a name of it is first asked for:
a child process, which needs none of it, starts sooner.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.api import *
else:
    from workbench import runs, sweep

    del runs, sweep  # the folders are imported once and for all, so their names stay free for functions

__all__ = [
    "ChildFailed", "Comparison", "Config", "ConfigError", "LoadedRun", "Panel", "RecordError", "Result", "Run",
    "RunError", "Sweep", "Timeline", "Watch", "WorldView", "archive", "compare", "comparison_figure", "delete",
    "doctor", "export", "film", "launch", "load", "pick", "preset", "presets", "report", "resume", "runs",
    "side_by_side", "sweep", "watching",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    from workbench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__

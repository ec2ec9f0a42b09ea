"""A workbench for multiprocess reinforcement learning: one trainer, run sequentially and multiprocess, side by side."""

from workbench.compare import Comparison, compare
from workbench.config import Config, ConfigError, preset, presets
from workbench.processes.supervisor import ChildFailed
from workbench.record.folder import RecordError
from workbench.record.result import Result
from workbench.run import LoadedRun, Run, RunError, launch, load

__all__ = [
    "ChildFailed",
    "Comparison",
    "Config",
    "ConfigError",
    "LoadedRun",
    "RecordError",
    "Result",
    "Run",
    "RunError",
    "compare",
    "launch",
    "load",
    "preset",
    "presets",
]

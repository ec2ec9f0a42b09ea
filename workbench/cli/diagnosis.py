"""``workbench doctor``: what is wrong with a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from workbench.cli.options import load_named


@dataclass(frozen=True)
class DoctorOptions:
    """Check what a run has recorded, while it is running or after its end.

    The exit code is 0 if every check passes, 1 if one fails, 2 if one cannot tell.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""


def doctor(arguments: list[str]) -> int:
    """Print every check of a run, the methods of sync verification and the verdict on whether weights are synced."""
    options = tyro.cli(DoctorOptions, prog="workbench doctor", args=arguments)
    diagnosis = load_named(options.run).diagnose()
    print(diagnosis.text)
    return diagnosis.exit_code

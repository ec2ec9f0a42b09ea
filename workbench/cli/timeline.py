"""``workbench timeline``: what each process of a run did when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from workbench.cli.options import load_named


@dataclass(frozen=True)
class TimelineOptions:
    """Print how much each process of a run worked and waited, while it goes on or after its end.

    With --out also a figure of the last seconds, or the whole as a trace for https://ui.perfetto.dev.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""
    last: float | None = None
    """Seconds to look at. Default: all of training in the table, three in a figure."""
    until: float | None = None
    """Where they end, in seconds since the start. Default: the end of training."""
    out: Path | None = None
    """File to write: .png, .svg or .pdf for a figure, .json for a trace."""


def timeline(arguments: list[str]) -> int:
    """Print the shares of a stretch of time; write a figure of it, or the trace."""
    from workbench.view.timeline.timeline import check_name  # here, so that matplotlib is read when it is needed

    options = tyro.cli(TimelineOptions, prog="workbench timeline", args=arguments)
    out = None if options.out is None else check_name(options.out)
    found = load_named(options.run).timeline()
    print(f"Run {found.run.name}: {found.run.label}, {found.run.status}\n\n{found.shares(options.last, options.until)}")
    if out is not None:
        print(f"\nwritten: {found.save(out, options.last, options.until)}")
    return 0

"""``workbench doctor``, ``timeline``, ``figures``, ``film``, ``export``, ``unpack``: what recorded runs tell.

A command imports what it alone needs when it is called, so that no other command waits for matplotlib.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from workbench.cli.options import Classes, OwnClasses, at_least, load_named
from workbench.core.config import ConfigError

FigureNames = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="figure", metavar="NAME")]
Settings = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SETTING")]


@dataclass(frozen=True)
class DoctorOptions:
    """Check what a run has recorded, while it is running or after its end.

    The exit code is 0 if every check passes, 1 if one fails, 2 if one cannot tell.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""
    own: OwnClasses = field(default_factory=Classes)


def doctor(arguments: list[str]) -> int:
    """Print every check of a run, the methods of sync verification and the verdict on whether weights are synced."""
    options = tyro.cli(DoctorOptions, prog="workbench doctor", args=arguments)
    diagnosis = load_named(options.run, options.own).diagnose()
    print(diagnosis.text)
    return diagnosis.exit_code


@dataclass(frozen=True)
class TimelineOptions:
    """Print how much each process of a run worked and waited, during the run or after it.

    With --out also a figure of the last seconds, or the whole as a trace for https://ui.perfetto.dev.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""
    own: OwnClasses = field(default_factory=Classes)
    last: float | None = None
    """Seconds to look at. Default: all of training in the table, three in a figure."""
    until: float | None = None
    """Where they end, in seconds since the start. Default: the end of training."""
    out: Path | None = None
    """File to write: .png, .svg or .pdf for a figure, .json for a trace."""


def timeline(arguments: list[str]) -> int:
    """Print the shares of a stretch of time; write a figure of it, or the trace."""
    from workbench.view.timeline.timeline import check_name

    options = tyro.cli(TimelineOptions, prog="workbench timeline", args=arguments)
    out = None if options.out is None else check_name(options.out)
    found = load_named(options.run, options.own).timeline()
    print(f"Run {found.run.name}: {found.run.label}, {found.run.status}\n\n{found.shares(options.last, options.until)}")
    if out is not None:
        print(f"\nwritten: {found.save(out, options.last, options.until)}")
    return 0


@dataclass(frozen=True)
class FiguresOptions:
    """Make the figures of a report from run folders: PDF, SVG and PNG, captions, Markdown and LaTeX tables.

    The same runs give the same files, to the byte. Runs that differ in nothing but the seed are one group. Figures
    that cannot be made of what is there are named, with the reason; the exit code is 2 if one of them was asked for by
    name, or if none could be made.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, folders that hold several at any depth, or names in data/runs."""
    out: Path
    """Folder to write to; files of the same names are replaced."""
    columns: Literal["single", "double"] = "double"
    """Width: one column of a two-column page (3.4 inches), or the whole page (7 inches)."""
    figures: FigureNames = ()
    """A figure to make; can be given several times. Default: all that can be made."""
    bands: bool = True
    """Whether to draw 95 % intervals over seeds, of which each group must then have at least 3."""
    smoothing: float = 0.05
    """Window of the moving average over noisy curves, as a share of a run's length; 0 for none."""
    pool: Settings = ()
    """A setting whose values are strata of one group, in place of groups of their own; can be given several times."""
    matrix: Path | None = None
    """File of ``python -m tests.campaigns.matrix``. Default: data/reference/matrix.json, where there is one."""
    bench: Path | None = None
    """File of ``python -m tests.campaigns.bench``, to draw its speed-ups beside those of the runs."""
    last: float | None = None
    """Seconds that the timeline shows. Default: four epochs in the middle of training."""
    until: float | None = None
    """Where the timeline ends, in seconds since the start; with --last and without this, at the end of training."""


def figures(arguments: list[str]) -> int:
    """Draw what can be drawn and write it; the written page on stdout, what was left out on stderr."""
    from workbench.report import ReportError, make

    given = vars(tyro.cli(FiguresOptions, prog="workbench figures", args=arguments))
    out: Path = given.pop("out")
    report = make(**given)
    for reason in report.selection.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    for name, reason in report.left_out.items():
        print(f"no figure {name}: {reason}", file=sys.stderr)
    if not report.figures:
        raise ReportError("no figure could be made of these runs; the reasons are above")
    written = report.save(out)
    print(f"{report.results}\nwritten: {len(written)} files in {out}: {', '.join(report)}; see report.md")
    return 0


@dataclass(frozen=True)
class FilmOptions:
    """Play one greedy epoch with the final weights of each run, or those of a checkpoint, and film it: the runs side
    by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs, or their names in data/runs."""
    out: Path
    """File to write: .gif for an animation, .html for a page with a slider."""
    own: OwnClasses = field(default_factory=Classes)
    seed: int = 0
    """Of the random stream that all games share; it is none of the runs'."""
    checkpoint: int | Literal["newest"] | None = None
    """Epoch of the checkpoint whose weights play, or "newest". Default: the final weights."""


def film(arguments: list[str]) -> int:
    """Load the runs, play, write the file and say what was earned."""
    options = tyro.cli(FilmOptions, prog="workbench film", args=arguments)
    if not options.runs:
        raise ConfigError("no run is given; name at least one run folder")
    if options.out.suffix not in (".gif", ".html"):
        raise ConfigError(f"--out is {options.out}; its name must end in .gif or .html")
    at_least(0, seed=options.seed)
    from workbench.view.world.film import film as play

    made = play([load_named(path, options.own) for path in options.runs], options.seed, checkpoint=options.checkpoint)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    made.save(options.out)
    print(f"{made.alt}\nwritten: {options.out}")
    return 0


@dataclass(frozen=True)
class ExportOptions:
    """Give a run to other tools: tables, TensorBoard's event files, or one archive to send to a colleague."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""
    to: Literal["csv", "parquet", "tensorboard", "archive"]
    """csv, parquet: a file per table. tensorboard: every metric as a curve. archive: the run folder as one file."""
    out: Path
    """Folder to write to; for an archive a file that ends in .tar.gz, or a folder."""
    own: OwnClasses = field(default_factory=Classes)


def export(arguments: list[str]) -> int:
    """Export a run and print what was written."""
    from workbench import export as exports

    options = tyro.cli(ExportOptions, prog="workbench export", args=arguments)
    for path in exports.write(load_named(options.run, options.own), options.to, options.out):
        print(path)
    return 0


@dataclass(frozen=True)
class UnpackOptions:
    """Open an archive that ``workbench export --to archive`` made. Whatever would leave the run's folder is refused."""

    archive: tyro.conf.Positional[Path]
    """The file."""
    out: Path | None = None
    """Folder that gets the run folder. Default: data/runs."""


def unpack(arguments: list[str]) -> int:
    """Unpack a run and print its folder."""
    from workbench import export as exports

    options = tyro.cli(UnpackOptions, prog="workbench unpack", args=arguments)
    print(exports.unpack(options.archive, options.out).folder.path)
    return 0

"""``workbench figures``, ``workbench export``, ``workbench unpack``: what leaves the workbench."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import workbench
from workbench.runs.folder import data_folder
from workbench.runs.loaded import LoadedRun

FigureNames = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME")]
Settings = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SETTING")]


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
    figure: FigureNames = ()
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
    from workbench.report import ReportError, make  # here, since no other command needs it

    options = tyro.cli(FiguresOptions, prog="workbench figures", args=arguments)
    report = make(
        options.runs, columns=options.columns, figures=options.figure or None, bands=options.bands,
        smoothing=options.smoothing, pool=options.pool, matrix=options.matrix, bench=options.bench,
        last=options.last, until=options.until,
    )  # fmt: skip
    for reason in report.selection.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    for name, reason in report.left_out.items():
        print(f"no figure {name}: {reason}", file=sys.stderr)
    if not report.figures:
        raise ReportError("no figure could be made of these runs; the reasons are above")
    written = report.save(options.out)
    print(f"{report.results}\nwritten: {len(written)} files in {options.out}: {', '.join(report)}; see report.md")
    return 0


@dataclass(frozen=True)
class ExportOptions:
    """Give a run to other tools: tables, TensorBoard's event files, or one archive to send to a colleague."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""
    to: Literal["csv", "parquet", "tensorboard", "archive"]
    """csv, parquet: a file per table. tensorboard: every metric as a curve. archive: the run folder as one file."""
    out: Path
    """Folder to write to; for an archive a file that ends in .tar.gz or .zip, or a folder."""


def export(arguments: list[str]) -> int:
    """Export a run and print what was written."""
    from workbench import export as exports  # here, since no other command needs it

    options = tyro.cli(ExportOptions, prog="workbench export", args=arguments)
    for path in exports.write(_run(options.run), options.to, options.out):
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


def _run(path: Path) -> LoadedRun:
    named = data_folder() / "runs" / path
    return workbench.load(path if path.exists() or not named.exists() else named)

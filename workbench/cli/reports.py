"""``workbench doctor``, ``timeline``, ``figures``, ``film``, ``export``, ``unpack``: what recorded runs tell.

A command imports what it alone needs when it is called, so that no other command waits for matplotlib.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from workbench import api
from workbench import export as exports
from workbench.cli.options import NONE, Maybe, OwnClasses, RunPath, command
from workbench.core.settings import require
from workbench.runs.table import tell

FigureNames = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="figure", metavar="NAME")]
Settings = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SETTING")]


@command
def doctor(run: RunPath, own: OwnClasses = NONE) -> int:
    """Check what a run has recorded, while it is running or after its end.

    The exit code is 0 if every check passes, 1 if one fails, 2 if one other than "learning" cannot tell.

    Args:
        run: The run's folder, or its name in data/runs.
        own: Classes of your own that the run was made with.
    """
    diagnosis = api.load(run, **vars(own)).diagnose()
    tell(diagnosis.text)
    return diagnosis.exit_code


@command
def timeline(
    run: RunPath, last: Maybe[float] = None, until: Maybe[float] = None, out: Maybe[Path] = None,
    own: OwnClasses = NONE,
) -> None:  # fmt: skip
    """Print how much each process of a run worked and waited, during the run or after it.

    With --out also a figure of the last seconds, or the whole as a trace for https://ui.perfetto.dev.

    Args:
        run: The run's folder, or its name in data/runs.
        last: Seconds to look at. Default: all of training in the table, three in a figure.
        until: Where they end, in seconds since the start. Default: the end of training.
        out: File to write: .png, .svg or .pdf for a figure, .json for a trace.
        own: Classes of your own that the run was made with.
    """
    from workbench.view.timeline.timeline import check_name

    if out is not None:
        check_name(out)
    found = api.load(run, **vars(own)).timeline()
    tell(f"Run {found.run.name}: {found.run.label}, {found.run.status}\n\n{found.shares(last, until)}")
    if out is not None:
        tell(f"\nwritten: {found.save(out, last, until)}")


@command
def figures(
    runs: tyro.conf.Positional[tuple[Path, ...]], out: Path, columns: Literal["single", "double"] = "double",
    figures: FigureNames = (), bands: bool = True, smoothing: float = 0.05, pool: Settings = (),
    matrix: Maybe[Path] = None, last: Maybe[float] = None, until: Maybe[float] = None,
) -> None:  # fmt: skip
    """Make the figures of a report from run folders: PDF, SVG and PNG, captions, Markdown and LaTeX tables.

    The same runs give the same files, to the byte. Runs that differ in nothing but the seed are one group. Figures
    that cannot be made of what is there are named, with the reason; the exit code is 2 if one of them was asked for by
    name, or if none could be made.

    Args:
        runs: Run folders, folders that hold several at any depth, or names in data/runs.
        out: Folder to write to; files of the same names are replaced.
        columns: Width: one column of a two-column page (3.4 inches), or the whole page (7 inches).
        figures: A figure to make; can be given several times. Default: all that can be made.
        bands: Whether to draw 95 % intervals over seeds, of which each group must then have at least 3.
        smoothing: Window of the moving average over noisy curves, as a share of a run's length; 0 for none.
        pool: A setting whose values are strata of one group, in place of groups of their own; can be given several
            times.
        matrix: File of ``python -m tests.campaigns.matrix``. Default: data/reference/matrix.json, where there is one.
        last: Seconds that the timeline shows. Default: four epochs in the middle of training.
        until: Where the timeline ends, in seconds since the start; with --last and without this, at the end of
            training.
    """
    from workbench.report import ReportError, make

    report = make(
        runs, columns=columns, figures=figures, bands=bands, smoothing=smoothing, pool=pool, matrix=matrix,
        last=last, until=until,
    )  # fmt: skip
    for reason in report.selection.left_out:
        tell(f"left out: {reason}", sys.stderr)
    for name, reason in report.left_out.items():
        tell(f"no figure {name}: {reason}", sys.stderr)
    ReportError.unless(bool(report.figures), "no figure could be made of these runs; the reasons are above")
    written = report.save(out)
    tell(f"{report.results}\nwritten: {len(written)} files in {out}: {', '.join(report)}; see report.md")


@command
def film(
    runs: tyro.conf.Positional[tuple[Path, ...]], out: Path, seed: int = 0,
    checkpoint: Maybe[int | Literal["newest"]] = None, own: OwnClasses = NONE,
) -> None:  # fmt: skip
    """Play one greedy epoch with the weights of each run, and film it: the runs side by side.

    Args:
        runs: Folders of the runs, or their names in data/runs.
        out: File to write, a .gif.
        seed: Of the random stream that all games share; it is none of the runs'.
        checkpoint: Epoch of the checkpoint whose weights play, or "newest". Default: the final weights.
        own: Classes of your own that the runs were made with.
    """
    require(out.suffix == ".gif", "--out", str(out), "its name must end in .gif")
    require(seed >= 0, "seed", seed, "it must be 0 or more")
    from workbench.view.world.film import film as play

    made = play([api.load(path, **vars(own)) for path in runs], seed, checkpoint=checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.save(out)
    tell(f"{made.alt}\nwritten: {out}")


@command
def export(run: RunPath, to: exports.Format, out: Path, own: OwnClasses = NONE) -> None:
    """Give a run to other tools: tables, TensorBoard's event files, or one archive to send to a colleague.

    Args:
        run: The run's folder, or its name in data/runs.
        to: csv, parquet: a file per table. safetensors: the newest weights. tensorboard: every metric as a curve.
            archive: the run folder as one file.
        out: Folder to write to; for an archive a file that ends in .tar.gz, or a folder.
        own: Classes of your own that the run was made with.
    """
    for path in exports.write(api.load(run, **vars(own)), to, out):
        tell(path)


@command
def unpack(archive: tyro.conf.Positional[Path], out: Maybe[Path] = None, own: OwnClasses = NONE) -> None:
    """Open a run that `workbench export --to archive` packed. Whatever would leave the run's folder is refused.

    Args:
        archive: The file.
        out: Folder that gets the run folder. Default: data/runs.
        own: Classes of your own that the run was made with.
    """
    tell(exports.unpack(archive, out, **vars(own)).folder.path)

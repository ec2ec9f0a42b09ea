"""A report: figures with captions and tables, made from run folders and written to a folder.

The same runs give the same bytes. Nothing of the machine that draws, of the time, or of the order and the place of the
folders is in a file; only the versions of matplotlib and of its fonts can change one.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.report.curves import greedy_reward, loss_and_q, reward
from workbench.report.fault_matrix import fault_matrix
from workbench.report.intervals import estimate, have_interval, interval
from workbench.report.load import memory
from workbench.report.material import Columns, Material, ReportFigure
from workbench.report.selection import QUANTITIES, Group, ReportError, Runs, Selection, demand, select
from workbench.report.sentences import said
from workbench.report.settings import lost_sentence, origin_sentence, settings_sentence, task_sentence
from workbench.report.speedup import speedup
from workbench.report.sweep import sweep
from workbench.report.sync_lag import sync_lag
from workbench.report.timeline import timeline
from workbench.runs.files import at, write_whole
from workbench.runs.folder import RecordError, read_json, reference_path
from workbench.runs.result import value_at
from workbench.runs.statistics import listed, not_finite
from workbench.runs.table import Table, plain
from workbench.view.sentences import counted
from workbench.view.style import COLUMN_WIDTHS, PRINT_DPI, own_settings

# Name, which is also the file's, to the function that draws it, in the order of the report.
#
# A function raises :class:`~workbench.report.selection.ReportError` where the material is not enough.
FIGURES: dict[str, Callable[[Material], ReportFigure]] = {
    draws.__name__: draws for draws in (
        greedy_reward, reward, loss_and_q, sync_lag, speedup, memory, timeline, sweep, fault_matrix,
    )
}  # fmt: skip
SUFFIXES = (".pdf", ".svg", ".png")
_WIDTH = 110
# Groups that have a column each in the table of results.
MOST_COLUMNS = 4


@dataclasses.dataclass(frozen=True)
class Report:
    """The figures of some runs. ``report["sync_lag"]`` shows one in a notebook.

    Attributes:
        results: What every group reached.
        left_out: Figures that could not be made, and why.
    """

    figures: Mapping[str, ReportFigure]
    results: Table
    selection: Selection
    left_out: Mapping[str, str]

    def __getitem__(self, name: str) -> ReportFigure:
        demand(name not in self.left_out, self.left_out.get(name, ""))
        if name not in self.figures:
            raise KeyError(f"there is no figure {name!r} in this report; it has {', '.join(self.figures)}")
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def save(self, out: Path | str) -> list[Path]:
        """Write every figure as PDF, SVG and PNG with its caption and its table, the table of results, and a page.

        Files of the same names are replaced.

        Args:
            out: folder to write to; it is made if it is not there.

        Returns:
            The files, in the order in which they were written.
        """
        folder = at(out)
        folder.mkdir(parents=True, exist_ok=True)
        pictures, texts = list[Path](), dict[str, str]()
        for name, figure in self.figures.items():
            pictures += [figure.picture.save(folder / f"{name}{suffix}", PRINT_DPI) for suffix in SUFFIXES]
            texts[f"{name}.txt"] = textwrap.fill(figure.caption, _WIDTH) + "\n"
            texts |= {f"{name}.md": figure.table.markdown, f"{name}.tex": figure.table.latex}
        texts |= {"results.md": self.results.markdown, "results.tex": self.results.latex, "report.md": self.page}
        for name, text in texts.items():
            write_whole(folder / name, plain(text))
        return [*pictures, *(folder / name for name in texts)]

    @property
    def page(self) -> str:
        """All figures with their captions and tables, in Markdown; it links to the files beside it."""
        parts = ["# Report\n", "## Results\n", self.results.markdown]
        for name, figure in self.figures.items():
            picture = f"![{figure.picture.alt}]({name}.png)\n"
            parts += [f"## {name}\n", picture, f"{figure.caption}\n", figure.table.markdown]
        if self.left_out:
            reasons = (f"- {name}: {why}\n" for name, why in self.left_out.items())
            parts += ["## Figures that could not be made\n", *reasons]
        if self.selection.left_out:
            parts += ["## Runs that were left out\n", *(f"- {why}\n" for why in self.selection.left_out)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        """The results, what each figure shows, and why others could not be made."""
        made = ((name, figure.caption.partition(". ")[0]) for name, figure in self.figures.items())
        return self.results.html + Table(("figure", "shows"), (*made, *self.left_out.items()), numbers=False).html

    def __repr__(self) -> str:
        about = f"{counted(len(self.selection.runs), 'run')} in {counted(len(self.selection.groups), 'group')}"
        return f"<Report on {about}: {', '.join(self.figures) or 'no figure'}>"


def make(
    runs: Sequence[Runs] | Runs, *, columns: Columns = "double", figures: Sequence[str] = (),
    bands: bool | None = True, smoothing: float = 0.05, pool: Sequence[str] = (), matrix: Path | str | None = None,
    last: float | None = None, until: float | None = None,
) -> Report:  # fmt: skip
    """Draw the figures of some runs.

    Args:
        runs: runs, their folders, or folders that hold several.
        columns: width of the figures: "single" (3.4 inches) or "double" (7 inches).
        figures: names of :data:`~workbench.report.make.FIGURES`; each of them must succeed. Empty for all that can
            be made of what is there; the others are named in :attr:`Report.left_out`.
        bands: whether to draw intervals over seeds, which need several; None for where each group has enough.
        smoothing: window of the moving average over noisy curves, as a share of a run's length; 0 for none.
        pool: settings whose values are strata of one group, in place of groups of their own.
        matrix: file of ``tests.campaigns.matrix``; None for ``data/reference/matrix.json`` where there is one.
        last: seconds that the timeline shows; None for four epochs in the middle of training, or for all there is until
            ``until``, if that is given.
        until: where they end, in seconds since the start; None for the end of training, if ``last`` is given.

    Raises:
        ReportError: no runs, no such figure, or a figure that was asked for by name cannot be made.
        ConfigError: the seconds that the timeline is to show are not within a run that it shows.
        RecordError: a run folder is damaged or of another version.
    """
    _check(columns, figures, smoothing)
    selection = select([runs] if isinstance(runs, Runs) else list(runs), pool)
    enough = all(have_interval(group.strata) for group in selection.groups)
    drawn = bands is None or bands, enough if bands is None else bands
    material = Material(selection, columns, *drawn, smoothing, _matrix(matrix), last, until)
    made, left_out = dict[str, ReportFigure](), dict[str, str]()
    for name in figures or FIGURES:
        try:
            made[name] = draw(name, material)
        except ReportError as error:
            if figures:
                raise
            left_out[name] = str(error)
    return Report(made, results_table(selection, material.bands), selection, left_out)


def draw(name: str, material: Material) -> ReportFigure:
    """One figure, its caption complete.

    Raises:
        ReportError: there is no such figure, or it cannot be made of the material.
    """
    with own_settings():
        figure = FIGURES[name](material)
        figure.picture.draw_without_rendering()
        figure.picture.set_layout_engine("none")  # laid out once: it looks alike whatever is shown or saved later
    if not figure.of_runs:
        return figure
    about = material.selection
    ends = (lost_sentence(about), task_sentence(about), settings_sentence(about), origin_sentence(about))
    return dataclasses.replace(figure, caption=" ".join([figure.caption, *filter(None, ends)]))


def results_table(selection: Selection, bands: bool = True) -> Table:
    """What the runs of each group say of each number, with 95 % intervals where there are enough runs.

    A few groups are columns, so that the table fits on a page; many are rows, so that it can be read at all.

    Args:
        selection: the groups.
        bands: False leaves the intervals out.
    """
    groups = selection.groups
    seeds = ("seeds", *(listed(group.seeds) for group in groups))
    rows = ((name, *(_cell(group, path, bands) for group in groups)) for name, path in QUANTITIES.items())
    table = (("", *(group.label for group in groups)), seeds, *rows)
    head, *rest = table if len(groups) <= MOST_COLUMNS else zip(*table, strict=True)
    return Table(head, tuple(rest))


def _cell(group: Group, path: str, bands: bool) -> str:
    found = [value_at(run.result, path) for run in group.runs]
    return not_finite(found, [run.config.seed for run in group.runs]) or interval(estimate(found, group.strata, bands))


def _check(columns: str, figures: Sequence[str], smoothing: float) -> None:
    demand(columns in COLUMN_WIDTHS, said("make.columns", columns=columns, known=", ".join(COLUMN_WIDTHS)))
    for name in figures:
        demand(name in FIGURES, said("make.figure", name=name, known=", ".join(FIGURES)))
    demand(0 <= smoothing < 1, said("make.smoothing", smoothing=smoothing))


def _matrix(path: Path | str | None) -> Mapping[str, Any] | None:
    """What a matrix's file holds; if none is named, that of the one that is kept for reference, where there is one."""
    if path is None and not reference_path("matrix.json").exists():
        return None
    try:
        return read_json(reference_path("matrix.json") if path is None else at(path))
    except RecordError as error:
        raise ReportError(f"{error}; give a file that `python -m tests.campaigns.matrix` wrote") from None

"""The fault matrix at the width of a page or of a column: what each fault costs, and which checks notice it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from workbench.diagnose.catalogue import CHECKS, effect_text
from workbench.report.material import Columns, Material, ReportFigure, line_look, new_picture
from workbench.report.selection import ReportError
from workbench.report.sentences import said
from workbench.runs.sentences import beside
from workbench.runs.table import Table, number
from workbench.view.picture import Picture
from workbench.view.style import FAINT, GREY, INK, PRINT, WARNING, few_ticks, legend_above, own_settings, style_axes

Lines = Sequence[Mapping[str, Any]]

# What makes the file of a matrix.
COMMAND = "python -m tests.campaigns.matrix"

# Height of a row in inches.
ROW = {"single": 0.118, "double": 0.128}
# Size of the names in points.
TEXT = {"single": 4.8, "double": 5.6}
HEAD = ("fault", "must be noticed by", "noticed", "in epoch", "effect on greedy reward", "noticed as well by")
COST, OTHER = line_look(0)["color"], line_look(4)["color"]
# What the legend explains, in both widths and in each, as ``fault_matrix.toml`` says.
KEY: dict[str, list[dict[str, Any]]] = beside(__file__)


def fault_matrix(material: Material) -> ReportFigure:
    """The figure of the matrix that a report was given.

    Raises:
        ReportError: there is no matrix, or the file is of something else.
    """
    if material.matrix is None:
        raise ReportError(said("matrix.none", command=COMMAND))
    return matrix_figure(material.matrix, material.columns)


def matrix_figure(data: Mapping[str, Any], columns: Columns = "double") -> ReportFigure:
    """A row per fault: its effect on the greedy reward, and the checks that noticed it.

    Args:
        data: what the campaign wrote, such as ``data/reference/matrix.json``.
        columns: width of the figure.

    Raises:
        ReportError: the data are of something else.
    """
    try:
        lines, sound, machine = data["faults"], data["sound"], data["machine"]
        rows = tuple(_row(line) for line in lines)
        with own_settings():
            picture = _picture(lines, sound, columns)
    except (KeyError, TypeError, AttributeError) as error:
        raise ReportError(said("matrix.other", error=error, command=COMMAND)) from None
    sd, mean, alarms = sound["reward_sd"], sound["reward_mean"], len(sound["alarms"])
    spread = "" if sd is None else said("matrix.spread", mean=number(mean), sd=number(sd))
    told = said("matrix.told", seen=sum(line["noticed"] for line in lines), count=len(lines))
    caption = said("matrix.caption", told=told, runs=sound["runs"], alarms=alarms, spread=spread, machine=machine)
    picture.alt = said("matrix.alt", count=len(lines), told=told)
    return ReportFigure(picture, caption, Table(HEAD, rows), of_runs=False)


def _picture(lines: Lines, sound: Mapping[str, Any], columns: Columns) -> Picture:
    wide, small = columns == "double", TEXT[columns]
    picture = new_picture(columns, 1.05 + ROW[columns] * max(len(lines), 4))
    effects, who = picture.subplots(1, 2, sharey=True, width_ratios=(1, 1.5) if wide else (1, 0.7))
    style_axes(effects, "", "greedy reward, fault minus sound", "", PRINT)
    style_axes(who, "", "", "", PRINT)
    effects.set_ylim(len(lines) - 0.5, -0.5)
    effects.set_yticks(range(len(lines)), [line["name"] for line in lines], fontsize=small)
    effects.tick_params(axis="y", length=0)
    _effects(effects, lines, sound, small)
    who.spines[["left", "bottom"]].set_visible(False)
    who.tick_params(length=0, pad=1)
    (_grid if wide else _verdicts)(who, lines, small)
    marks = [*KEY["both"], *KEY[columns]]
    key = [Line2D([], [], linewidth=0.9, markersize=3.4, markeredgewidth=0.7, **mark) for mark in marks]
    legend_above(picture, key, 2 if wide else 1, PRINT)
    return picture


def _effects(axes: Axes, lines: Lines, sound: Mapping[str, Any], small: float) -> None:
    few_ticks(axes.xaxis)
    if sound["reward_sd"] is not None:
        axes.axvspan(-sound["reward_sd"], sound["reward_sd"], color=FAINT, linewidth=0, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.6)
    for row, line in enumerate(lines):
        if line["effect"] is None:
            text = line["outcome"] if line["outcome"] != "finished" else "nothing to compare with"
            look: dict[str, Any] = {"fontsize": small, "color": GREY, "va": "center", "style": "italic"}
            axes.text(0.02, row, text, transform=axes.get_yaxis_transform(), **look)
            continue
        colour, face = (COST, COST) if line["measurable"] else (GREY, "white")
        ends = line["effect_interval"] or [line["effect"]] * 2
        axes.plot(ends, [row, row], color=colour, linewidth=0.9, solid_capstyle="butt")
        axes.plot([line["effect"]], [row], "o", color=colour, markersize=2.6, markerfacecolor=face, markeredgewidth=0.7)
    axes.margins(x=0.06)


def _grid(axes: Axes, lines: Lines, small: float) -> None:
    """A column per check."""
    axes.set_xlim(-0.6, len(CHECKS) - 0.4)
    axes.set_xticks(range(len(CHECKS)), CHECKS, rotation=55, ha="left", rotation_mode="anchor", fontsize=small)
    axes.xaxis.tick_top()
    for row, line in enumerate(lines):
        for column, check in enumerate(CHECKS):
            share = line["noticed_in"].get(check, 0) / len(line["seeds"])
            if check == line["expected_probe"]:
                _square(axes, column, row, line, small)
            elif share:
                axes.plot([column], [row], "o", color=OTHER, markersize=1.4 + 1.6 * share, markeredgewidth=0)


def _verdicts(axes: Axes, lines: Lines, small: float) -> None:
    """One column: the check that must notice, its square, and how many others noticed."""
    axes.grid(False)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    for row, line in enumerate(lines):
        others = sum(check != line["expected_probe"] for check in line["noticed_by"])
        _square(axes, 0.075, row, line, small, wide=0.12)
        text = line["expected_probe"] + (f" +{others}" if others else "")
        axes.text(0.17, row, text, fontsize=small, color=INK, va="center")


def _square(axes: Axes, column: float, row: int, line: Mapping[str, Any], small: float, wide: float = 0.86) -> None:
    epoch, always = line["epochs_to_notice"], line["noticed_in"].get(line["expected_probe"], 0) == len(line["seeds"])
    edge = COST if always else WARNING
    axes.add_patch(Rectangle((column - wide / 2, row - 0.41), wide, 0.82, fill=always, color=edge, linewidth=0.7))
    text, colour = ("no", WARNING) if epoch is None else (str(epoch), "white" if always else WARNING)
    axes.text(column, row, text, color=colour, fontsize=small - 0.9, ha="center", va="center_baseline")


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    others = [check for check in line["noticed_by"] if check != line["expected_probe"]]
    epoch = "-" if line["epochs_to_notice"] is None else str(line["epochs_to_notice"])
    seen = "yes" if line["noticed"] else "NO"
    return line["name"], line["expected_probe"], seen, epoch, effect_text(line), ", ".join(others) or "-"

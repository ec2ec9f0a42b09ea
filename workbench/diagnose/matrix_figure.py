"""The matrix as a figure: what each fault costs, and which checks notice it."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from workbench.diagnose.catalogue import CHECKS
from workbench.view.picture import Picture
from workbench.view.style import FAINT, GREY, INK, SMALL_SIZE, TEXT_SIZE, WARNING, run_style, style_axes

Lines = list[dict[str, Any]]

WIDTH, ROW, MARGIN = 11.5, 0.215, 1.95
"""Width of the figure, height of a row, and height of everything that is no row, in inches."""
MEASURABLE, WITHIN_NOISE = run_style(0).colour, GREY
NOTICED, EXPECTED = run_style(4).colour, run_style(0).colour


def figure(data: dict[str, Any]) -> Picture:
    """A row per fault: its effect on the greedy reward with an interval, and the checks that noticed it.

    Args:
        data: what :func:`tests.campaigns.matrix.run_matrix` returned.
    """
    lines: Lines = data["faults"]
    height = MARGIN + ROW * max(len(lines), 4)
    picture = Picture(figsize=(WIDTH, height), dpi=110, facecolor="white")
    low, high = 0.75 / height, 1 - 1.05 / height
    effects = picture.add_axes((0.205, low, 0.30, high - low))
    grid = picture.add_axes((0.525, low, 0.44, high - low))
    _effects(effects, lines, data["sound"])
    _grid(grid, lines)
    _key(picture, 1 - 0.3 / height)
    picture.text(0.012, 0.12 / height, _footer(data), fontsize=SMALL_SIZE, color=GREY)
    seen = sum(line["noticed"] for line in lines)
    picture.alt = (
        f"{len(lines)} faults with their effect on the greedy reward and the checks that noticed them; "
        f"{seen} were noticed by the check that must."
    )
    return picture


def _effects(axes: Axes, lines: Lines, sound: dict[str, Any]) -> None:
    style_axes(axes, "", "greedy reward per epoch, fault minus sound", "")
    _rows(axes, lines)
    axes.set_yticklabels([line["name"] for line in lines])
    if sound["reward_sd"] is not None:
        axes.axvspan(-sound["reward_sd"], sound["reward_sd"], color=FAINT, linewidth=0, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    for row, line in enumerate(lines):
        if line["effect"] is None:
            text = line["outcome"] if line["outcome"] != "finished" else "nothing to compare with"
            axes.text(
                0.02, row, text, transform=axes.get_yaxis_transform(), fontsize=SMALL_SIZE - 0.5, color=GREY,
                va="center", style="italic",
            )  # fmt: skip
            continue
        colour = MEASURABLE if line["measurable"] else WITHIN_NOISE
        if line["effect_interval"] is not None:
            axes.plot(line["effect_interval"], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        face = colour if line["measurable"] else "white"
        axes.plot([line["effect"]], [row], "o", color=colour, markersize=4.5, markerfacecolor=face)
    axes.margins(x=0.06)


def _grid(axes: Axes, lines: Lines) -> None:
    style_axes(axes, "", "", "")
    _rows(axes, lines)
    axes.set_yticklabels([])
    axes.set_xlim(-0.6, len(CHECKS) - 0.4)
    axes.xaxis.set_major_locator(FixedLocator(range(len(CHECKS))))
    axes.set_xticklabels(CHECKS, rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    for row, line in enumerate(lines):
        for column, check in enumerate(CHECKS):
            share = line["noticed_in"].get(check, 0) / len(line["seeds"])
            _cell(axes, row, column, share, check == line["expected_probe"], line["epochs_to_notice"])


def _cell(axes: Axes, row: int, column: int, share: float, expected: bool, epoch: int | None) -> None:
    """A dot where a check noticed, smaller if not in every run; a square for the check that must, with its epoch."""
    if expected:
        edge = EXPECTED if share == 1 else WARNING
        axes.add_patch(Rectangle((column - 0.42, row - 0.4), 0.84, 0.8, fill=share == 1, color=edge, linewidth=1.4))
        text, colour = ("no", WARNING) if epoch is None else (str(epoch), "white")
        axes.text(column, row, text, color=colour, fontsize=SMALL_SIZE - 2, ha="center", va="center")
    elif share:
        axes.plot([column], [row], "o", color=NOTICED, markersize=2.5 + 3 * share)


def _rows(axes: Axes, lines: Lines) -> None:
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.yaxis.set_major_locator(FixedLocator(range(len(lines))))
    axes.yaxis.set_minor_locator(NullLocator())


def _key(picture: Picture, top: float) -> None:
    def mark(marker: str, colour: str, label: str, face: str | None = None, line: bool = False) -> Line2D:
        return Line2D(
            [], [], linestyle="-" if line else "none", linewidth=1.6, marker=marker, color=colour, markersize=6,
            markerfacecolor=face or colour, label=label,
        )  # fmt: skip

    picture.text(0.012, top, "What each fault costs, and who notices", fontsize=TEXT_SIZE + 3, color=INK, va="center")
    handles = [
        mark("o", MEASURABLE, "effect, interval without 0", line=True),
        mark("o", WITHIN_NOISE, "not measurable", "white", line=True),
        mark("s", EXPECTED, "check that must notice, with the epoch in which it did"),
        mark("o", NOTICED, "noticed as well"),
    ]
    picture.legend(
        handles=handles, loc="center right", bbox_to_anchor=(0.99, top), ncols=4, frameon=False, fontsize=SMALL_SIZE,
        labelcolor=INK, handlelength=1.6, columnspacing=1.2, handletextpad=0.5, borderpad=0,
    )  # fmt: skip


def _footer(data: dict[str, Any]) -> str:
    sound, machine = data["sound"], data["machine"]
    spread = (
        "" if sound["reward_sd"] is None else f", greedy reward {sound['reward_mean']:.0f}, sd {sound['reward_sd']:.0f}"
    )
    return (
        f"Sound system: {sound['runs']} runs, {len(sound['alarms'])} alarms{spread} (grey band). "
        f"Intervals: 95 %, bootstrap over seeds.  {machine['cpu']}, {machine['cores']} cores."
    )

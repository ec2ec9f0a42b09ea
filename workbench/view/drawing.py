"""The side-by-side drawing: loss, Q-values, reward, epsilon and sync lag of some runs, built once and kept up to date.

:data:`CHARTS` says what is drawn. The live panel and the figures of a report are the same drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from workbench.record.metrics import AXES, METRICS
from workbench.run_view import RunView
from workbench.view.curves import Points, decimate, moving_average
from workbench.view.picture import DPI, Picture
from workbench.view.style import GREY, INK, SMALL_SIZE, TEXT_SIZE, WARNING, run_style, style_axes

SMOOTHING = 0.04
"""Default window of the moving averages, as a share of the run's length."""
MAX_MARKS = 40
"""Greedy evaluations drawn per run; of more, the best and the worst of every stretch."""
SIZE = (11.0, 6.0)
"""Width and height of the drawing in inches."""


@dataclass(frozen=True)
class Curve:
    """One metric in a chart."""

    metric: str
    weight: float = 1.0
    """Width of its line, relative to the run's."""
    noisy: bool = True
    """Whether a moving average is drawn over the recorded values."""


@dataclass(frozen=True)
class Chart:
    """What one of the six axes shows."""

    title: str
    unit: str
    """Label of the y axis."""
    curves: tuple[Curve, ...]
    """All over the same x."""
    marks: str | None = None
    """Metric drawn as markers."""
    references: bool = False
    """Whether the rewards of the reference policies are drawn as lines."""

    @property
    def over(self) -> str:
        """What the curves are drawn over: "update" or "epoch"."""
        return AXES[METRICS[self.curves[0].metric].table]


CHARTS = (
    Chart("Loss", "quantile Huber loss", (Curve("losses/quantile_huber"),)),
    Chart("Q-values: mean (wide) and max (thin)", METRICS["values/mean_q"].unit,
          (Curve("values/mean_q"), Curve("values/max_q", weight=0.7))),
    Chart("Reward while exploring", "reward per epoch", (Curve("charts/reward"),),
          marks="charts/greedy_reward", references=True),
    Chart("Epsilon in use", "probability", (Curve("charts/epsilon", noisy=False),)),
    Chart("Sync lag in versions", "versions behind", (Curve("sync/lag_versions"),)),
    Chart("Sync lag in time", "ms behind", (Curve("sync/lag_ms"),)),
)  # fmt: skip
X_LABELS = {"update": "updates of each agent", "epoch": "epoch"}
REFERENCES = {"random": "random", "random_no_wall": "random, never into a wall", "scripted": "scripted: nearest gem"}


class SideBySide:
    """The figure of some runs: built once, then brought up to date in place."""

    def __init__(
        self, runs: RunView | Sequence[RunView], smoothing: float = SMOOTHING, dpi: float = DPI, caption: str = ""
    ) -> None:
        """Build the figure and draw what the runs have recorded so far; arguments as in :func:`side_by_side`."""
        self.runs = (runs,) if isinstance(runs, RunView) else tuple(runs)
        if not self.runs:
            raise ValueError("there are no runs to draw; give at least one")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing!r}; it must be a share of the run's length, 0 to below 1")
        self.figure = Picture(figsize=SIZE, dpi=dpi, facecolor="white")
        axes = self.figure.subplots(2, 3).ravel()
        self._plots = [_Plot(each, chart, self.runs, smoothing) for each, chart in zip(axes, CHARTS, strict=True)]
        self._seen: list[tuple[Any, ...]] = [()] * len(self.runs)
        rows = self._add_legend(smoothing > 0)
        self._add_footer(smoothing, caption)
        self.figure.subplots_adjust(0.062, 0.155, right=0.985, top=0.925 - 0.04 * rows, wspace=0.26, hspace=0.45)
        self.update()

    def update(self) -> bool:
        """Bring the figure up to date; returns whether anything had changed."""
        changed = False
        for index, run in enumerate(self.runs):
            history = run.history
            seen = (run.ended, len(history.updates), len(history.epochs), len(history.evaluations))
            if seen != self._seen[index]:
                changed, self._seen[index] = True, seen
                for plot in self._plots:
                    plot.draw(index)
        if changed:
            for plot in self._plots:
                plot.frame()
        return changed

    @property
    def moving(self) -> list[Line2D]:
        """The artists that :meth:`update` moves, in the order in which they are drawn."""
        return sorted((line for plot in self._plots for line in plot.lines()), key=Line2D.get_zorder)

    @property
    def still(self) -> tuple[Any, ...]:
        """What everything else in the picture depends on: while this stays equal, only :attr:`moving` has changed."""
        return tuple(plot.still() for plot in self._plots)

    def _add_legend(self, smoothed: bool) -> int:
        """One legend for all charts; returns its rows."""
        keys = []
        for index, label in enumerate(labels(self.runs)):
            style = run_style(index)
            keys.append(Line2D([], [], color=style.colour, linestyle=style.dashes, linewidth=style.width, label=label))
        keys.append(Line2D([], [], color=GREY, marker="o", fillstyle="none", linewidth=0, label="greedy evaluation"))
        if smoothed:
            keys.append(Line2D([], [], color=GREY, alpha=0.5, linewidth=0.8, label="as recorded"))
        self.figure.legend(
            handles=keys, loc="upper left", bbox_to_anchor=(0.05, 1.0), ncols=4, frameon=False,
            fontsize=TEXT_SIZE, labelcolor=INK, handlelength=3.2, columnspacing=2.0,
        )  # fmt: skip
        return -(-len(keys) // 4)

    def _add_footer(self, smoothing: float, caption: str) -> None:
        note = "Loss, Q-values, epsilon and sync lag are means of the agents; reward is their sum."
        if smoothing:
            note += f" Lines are moving averages over {100 * smoothing:.2g} % of the run."
        self.figure.text(0.062, 0.018, note, fontsize=SMALL_SIZE, color=GREY)
        self.figure.text(0.062, 0.050, caption, fontsize=TEXT_SIZE, color=INK)
        drawn = "Six charts: loss, Q-values, reward, epsilon, sync lag in versions, sync lag in time. Runs"
        self.figure.alt = f"{drawn}: {'; '.join(labels(self.runs))}. {caption}".strip()


class _Plot:
    """One chart: its axes and the lines of every run in it."""

    def __init__(self, axes: Axes, chart: Chart, runs: tuple[RunView, ...], smoothing: float) -> None:
        self._axes, self._chart, self._runs, self._smoothing = axes, chart, runs, smoothing
        style_axes(axes, chart.title, X_LABELS[chart.over], chart.unit)
        self._lines = [[self._new_lines(index, curve) for curve in chart.curves] for index in range(len(runs))]
        self._marks = [self._new_marks(index) for index in range(len(runs))] if chart.marks else []
        self._reached = [0.0] * len(runs)
        self._bad = [0] * len(runs)
        self._ylim = (np.nan, np.nan)
        self._note = axes.text(
            0.5, 0.5, "", transform=axes.transAxes, ha="center", va="center", fontsize=TEXT_SIZE, color=GREY,
            path_effects=_HALO, zorder=20,
        )  # fmt: skip
        if chart.references:
            self._add_references()

    def draw(self, index: int) -> None:
        """Give the lines of one run its newest data."""
        run, self._bad[index] = self._runs[index], 0
        for curve, (raw, average) in zip(self._chart.curves, self._lines[index], strict=True):
            x, y = run.history.series(curve.metric)
            self._reached[index] = float(x.max(initial=0))
            self._bad[index] += int(np.count_nonzero(~np.isfinite(y)))
            _move(raw, decimate(x, y))
            if average is not None:
                _move(average, moving_average(x, y, round(self._smoothing * self._length(index))))
        if self._chart.marks:
            self._marks[index].set_data(*decimate(*run.history.series(self._chart.marks), MAX_MARKS))

    def frame(self) -> None:
        """Set the limits, and say so where there is nothing to see or not everything can be seen."""
        axes, bad = self._axes, sum(self._bad)
        empty = not any(len(np.asarray(line.get_xdata())) for line in self.lines())
        self._note.set_text("no data yet" if empty else f"{bad:,} values are not finite" if bad else "")
        self._note.set(color=WARNING if bad else GREY, y=0.93 if bad else 0.5)
        axes.set_xlim(0, 1.02 * max(1.0, *(self._length(index) for index in range(len(self._runs)))))
        axes.relim()
        self._set_ylim(*axes.dataLim.intervaly)

    def lines(self) -> list[Line2D]:
        """Everything that moves with the data."""
        drawn = [line for lines in self._lines for pair in lines for line in pair if line is not None]
        return drawn + self._marks

    def still(self) -> tuple[Any, ...]:
        """Limits and note: what the rest of the chart depends on."""
        return self._axes.get_xlim(), self._axes.get_ylim(), self._note.get_text()

    def _set_ylim(self, low: float, high: float) -> None:
        """Fit the y axis to the data, but leave it while the data fill most of it: a still axis reads better."""
        if not np.isfinite([low, high]).all():
            return
        bottom, top = self._ylim
        if not (bottom <= low and high <= top and high - low >= 0.75 * (top - bottom)):
            margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
            margin *= 2 if self._chart.references else 1  # room for the names of the lines
            self._ylim = low - margin, high + margin
            self._axes.set_ylim(self._ylim)

    def _length(self, index: int) -> float:
        """Length of the x axis for one run: what it did; while it goes on, what is planned, halved as often as fits."""
        run, reached = self._runs[index], self._reached[index]
        if run.ended:
            return reached
        length: float = run.config.total_updates if self._chart.over == "update" else run.config.epochs
        while length / 2 > max(reached, 10):
            length /= 2
        return length

    def _new_lines(self, index: int, curve: Curve) -> tuple[Line2D, Line2D | None]:
        """The line of the recorded values, and that of their moving average if there is one."""
        style = run_style(index)
        strong = {"linestyle": style.dashes, "linewidth": style.width * curve.weight, "zorder": 3 + index}
        faint = {"alpha": 0.3, "linewidth": 0.8 * curve.weight, "zorder": 2}
        averaged = curve.noisy and self._smoothing > 0
        (raw,) = self._axes.plot([], [], color=style.colour, markersize=4, **(faint if averaged else strong))
        return raw, self._axes.plot([], [], color=style.colour, markersize=4, **strong)[0] if averaged else None

    def _new_marks(self, index: int) -> Line2D:
        style = run_style(index)
        (marks,) = self._axes.plot(
            [], [], color=style.colour, marker=style.marker, markersize=8 - 2.5 * min(index, 1), linestyle="none",
            markerfacecolor="white", markeredgewidth=1.3, zorder=10 + index, clip_on=False,
        )  # fmt: skip
        return marks

    def _add_references(self) -> None:
        """A line for each reference policy, if all runs are of one world, named where learning curves leave room."""
        known = next((run.references for run in self._runs if run.references), {})
        if any(run.config.world != self._runs[0].config.world for run in self._runs):
            return
        means = sorted((known[name]["mean"], text) for name, text in REFERENCES.items() if name in known)
        for place, (mean, text) in enumerate(means):
            self._axes.axhline(mean, color=GREY, linewidth=0.9, linestyle=(0, (1.5, 2.0)), zorder=1)
            left, below = place == len(means) - 1, place == 0
            self._axes.annotate(
                f"{text}, {mean:.0f}", (0.0 if left else 1.0, mean), xycoords=self._axes.get_yaxis_transform(),
                xytext=(2 if left else -2, -2 if below else 2), textcoords="offset points",
                ha="left" if left else "right", va="top" if below else "bottom", fontsize=SMALL_SIZE, color=GREY,
                zorder=1.5,
            )  # fmt: skip


_HALO = [withStroke(linewidth=2.5, foreground="white")]


def labels(runs: Sequence[RunView]) -> list[str]:
    """Names for a legend: as short as tells the runs apart."""
    short = [run.label for run in runs]
    seeded = [f"{run.label}, seed {run.config.seed}" for run in runs]
    named = [f"{run.label}, {run.name}" for run in runs]
    return next((names for names in (short, seeded) if len(set(names)) == len(names)), named)


def _move(line: Line2D, points: Points) -> None:
    line.set_data(*points)
    line.set_marker("o" if len(points[0]) < 3 else "")  # a line of one point would not be seen

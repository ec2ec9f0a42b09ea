"""The side-by-side drawing: charts of some runs, built once and kept up to date in place.

:mod:`.charts` says what can be drawn. The live panel and the figures of a report are the same drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from workbench.runs.loaded import RunView
from workbench.view.curves import Points, decimate, moving_average
from workbench.view.panel.charts import Agents, Chart, Choices, Curve, charts_of
from workbench.view.panel.series import axis_label, axis_of, change_marks, curve_points, due_points, series
from workbench.view.picture import DPI, Picture
from workbench.view.style import GREY, INK, SMALL_SIZE, TEXT_SIZE, WARNING, few_ticks, log_ticks, run_style, style_axes

MAX_MARKS = 40
"""Greedy evaluations drawn per run; of more, the best and the worst of every stretch."""
WIDTH, ROW_HEIGHT = 11.0, 2.4
"""Width of the drawing and height that each row of charts adds, in inches."""
MARGIN = 1.2
"""Height in inches that legend, labels and footer take."""
REFERENCES = {"random": "random", "random_no_wall": "random, never into a wall", "scripted": "scripted: nearest gem"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class SideBySide:
    """The figure of some runs: built once, then brought up to date in place."""

    def __init__(
        self, runs: RunView | Sequence[RunView], choices: Choices | None = None, dpi: float = DPI, caption: str = ""
    ) -> None:
        """Build the figure and draw what the runs have recorded so far.

        Raises:
            ValueError: there are no runs, or none has the agent that was chosen.
        """
        self.runs = (runs,) if isinstance(runs, RunView) else tuple(runs)
        if not self.runs:
            raise ValueError("there are no runs to draw; give at least one")
        self.choices = choices or Choices()
        known = charts_of(self.runs)
        self.choices.check(known, self.runs)
        self._charts = charts = [known[name] for name in self.choices.charts]
        rows, columns = _grid(len(charts))
        height = MARGIN + rows * ROW_HEIGHT
        self.figure = Picture(figsize=(WIDTH, height), dpi=dpi, facecolor="white")
        grid = self.figure.add_gridspec(rows, columns)
        axes = [self.figure.add_subplot(grid[place]) for place in range(len(charts))]
        self._plots = [_Plot(each, chart, self.runs, self.choices) for each, chart in zip(axes, charts, strict=True)]
        self._seen: list[tuple[Any, ...]] = [()] * len(self.runs)
        keys = self._add_legend()
        self._add_footer(caption, height)
        top = 1 - (0.45 + 0.24 * keys) / height
        self.figure.subplots_adjust(0.062, 0.93 / height, right=0.985, top=top, wspace=0.26, hspace=0.45)
        self.update()

    def update(self) -> bool:
        """Bring the figure up to date; returns whether anything had changed."""
        changed = False
        for index, run in enumerate(self.runs):
            history = run.history
            seen = (run.ended, tuple(history.counts.values()), len(run.changes))
            if seen != self._seen[index]:
                changed, self._seen[index] = True, seen
                for plot in self._plots:
                    plot.draw(index)
        if changed:
            for plot in self._plots:
                plot.frame()
        return changed

    @property
    def moving(self) -> list[Artist]:
        """The artists that :meth:`update` moves or that lie above those, in the order in which they are drawn."""
        return sorted((artist for plot in self._plots for artist in plot.moving()), key=Artist.get_zorder)

    @property
    def still(self) -> tuple[Any, ...]:
        """What everything else in the picture depends on: while this stays equal, only :attr:`moving` has changed."""
        return tuple(plot.still() for plot in self._plots)

    def _add_legend(self) -> int:
        """One legend for all charts; returns its rows."""
        keys = []
        for index, label in enumerate(labels(self.runs)):
            style = run_style(index)
            keys.append(Line2D([], [], color=style.colour, linestyle=style.dashes, linewidth=style.width, label=label))
        each = self.choices.agents == "each"
        if each:
            keys.append(Line2D([], [], color=GREY, marker="$0$", linewidth=1.2, label="an agent, by its number"))
        elif any(plot.marked for plot in self._plots):
            marks = Line2D([], [], color=GREY, marker="o", fillstyle="none", linewidth=0, label="greedy evaluation")
            keys.append(marks)
        if self.choices.smoothing and not each and any(plot.averaged for plot in self._plots):
            keys.append(Line2D([], [], color=GREY, alpha=0.5, linewidth=0.8, label="as recorded"))
        self.figure.legend(
            handles=keys, loc="upper left", bbox_to_anchor=(0.05, 1.0), ncols=4, frameon=False,
            fontsize=TEXT_SIZE, labelcolor=INK, handlelength=3.2, columnspacing=2.0,
        )  # fmt: skip
        return -(-len(keys) // 4)

    def _add_footer(self, caption: str, height: float) -> None:
        note = _whose(self.choices.agents)
        if self.choices.smoothing and any(plot.averaged for plot in self._plots):
            note += f" Lines are moving averages over {100 * self.choices.smoothing:.2g} % of the run."
        self.figure.text(0.062, 0.108 / height, note, fontsize=SMALL_SIZE, color=GREY)
        self.figure.text(0.062, 0.300 / height, caption, fontsize=TEXT_SIZE, color=INK)
        titles = [chart.name for chart in self._charts]
        count = f"{NUMBERS[len(titles)].capitalize()} chart{'s' * (len(titles) > 1)}"
        self.figure.alt = f"{count}: {'; '.join(titles)}. Runs: {'; '.join(labels(self.runs))}. {caption}".strip()


def _grid(charts: int) -> tuple[int, int]:
    """Rows and columns for so many charts."""
    columns = charts if charts <= 3 else 2 if charts == 4 else 3 if charts <= 9 else 4
    return -(-charts // columns), columns


def _whose(agents: Agents) -> str:
    if agents == "together":
        return "All agents together: rewards and rates are their sum, everything else is their mean."
    return "One line for each agent." if agents == "each" else f"Agent {agents} alone."


class _Plot:
    """One chart: its axes and the lines of every run in it."""

    def __init__(self, axes: Axes, chart: Chart, runs: tuple[RunView, ...], choices: Choices) -> None:
        self._axes, self._chart, self._runs, self._choices = axes, chart, runs, choices
        style_axes(axes, chart.title, axis_label(chart, choices.over), chart.unit)
        self._lines = [self._new_lines(index) for index in range(len(runs))]
        self.averaged = choices.smoothing > 0 and any(curve.noisy for curve in chart.curves)
        self.marked = chart.marks is not None and choices.agents != "each"
        self._marks = [self._new_marks(index) for index in range(len(runs))] if self.marked else []
        self._due = [self._new_due() for _ in runs] if chart.due else []
        self._changes, self._labels = [0] * len(runs), list[Artist]()
        self._reached = [0.0] * len(runs)
        self._bad = [0] * len(runs)
        self._scale, self._limits = "linear", (np.nan, np.nan)
        self._note = axes.text(
            0.5, 0.5, "", transform=axes.transAxes, ha="center", va="center", fontsize=TEXT_SIZE, color=GREY,
            path_effects=_HALO, zorder=20,
        )  # fmt: skip
        if chart.references and choices.agents == "together":
            self._add_references()

    def draw(self, index: int) -> None:
        """Give the lines of one run its newest data."""
        run, over = self._runs[index], self._choices.over
        self._bad[index], self._reached[index] = 0, 0.0
        for curve, agent, raw, average in self._lines[index]:
            x, y = curve_points(run, curve, over, agent)
            self._reached[index] = max(self._reached[index], float(x.max(initial=0)))
            self._bad[index] += int(np.count_nonzero(~np.isfinite(y)))
            if raw is not None:
                _move(raw, decimate(x, y))
            if average is not None:
                _move(average, moving_average(x, y, self._window(index, len(x))))
        if self._marks and self._chart.marks:
            axis = axis_of(self._chart, over)
            found = series(run, self._chart.marks, axis, self._agents(index)[0])
            self._marks[index].set_data(*decimate(*found, MAX_MARKS))
        if self._due:
            self._due[index].set_data(*due_points(run, self._chart, over))
        self._mark_changes(index)

    def frame(self) -> None:
        """Set scale and limits, and say so where there is nothing to see or not everything can be seen."""
        axes, bad = self._axes, sum(self._bad)
        empty = not any(len(np.asarray(line.get_xdata())) for line in self._curves())
        axes.set_xlim(0, 1.02 * max(1.0, *(self._length(index) for index in range(len(self._runs)))))
        axes.relim()
        low, high = axes.dataLim.intervaly
        positive = bool(low > 0) and np.isfinite([low, high]).all()
        self._set_scale("log" if self._choices.log and positive and not empty else "linear")
        self._set_ylim(low, high)
        nothing = "nothing was recorded" if all(run.ended for run in self._runs) else "no data yet"
        linear = "linear: some values are 0 or below" if self._choices.log and not positive else ""
        self._note.set_text(nothing if empty else f"{bad:,} values are not finite" if bad else linear)
        self._note.set(color=WARNING if bad else GREY, y=0.5 if empty else 0.93)

    def moving(self) -> list[Artist]:
        """Everything that moves with the data, and the labels of changes, which lie above it."""
        return [*self._curves(), *self._due, *self._labels]

    def still(self) -> tuple[Any, ...]:
        """Scale, limits, note, changes: what the rest of the chart depends on."""
        limits = self._axes.get_xlim(), self._axes.get_ylim()
        return self._scale, *limits, self._note.get_text(), tuple(self._changes)

    def _curves(self) -> list[Line2D]:
        drawn = [line for lines in self._lines for (_, _, *pair) in lines for line in pair if line is not None]
        return drawn + self._marks

    def _agents(self, index: int) -> list[int | None]:
        """Whose curves are drawn of a run; None stands for all together."""
        chosen, count = self._choices.agents, self._runs[index].config.num_agents
        if chosen == "together":
            return [None]
        return list(range(count)) if chosen == "each" else [agent for agent in range(count) if agent == chosen]

    def _window(self, index: int, points: int) -> int:
        """Points under the moving average: a share of the run's length, as long as it is planned to be."""
        run = self._runs[index]
        planned = run.settings.total_updates if self._chart.over == "update" else run.config.epochs
        length = points if run.ended else min(planned, 2 * points)
        return round(self._choices.smoothing * length)

    def _set_scale(self, scale: str) -> None:
        if scale != self._scale:
            self._scale, self._limits = scale, (np.nan, np.nan)
            self._axes.set_yscale(scale)
            if scale == "linear":
                few_ticks(self._axes.yaxis)

    def _set_ylim(self, low: float, high: float) -> None:
        """Fit the y axis to the data, but leave it while the data fill most of it: a still axis reads better."""
        if not np.isfinite([low, high]).all():
            return
        low, high = np.log10([low, high]) if self._scale == "log" else (low, high)
        bottom, top = self._limits
        if not (bottom <= low and high <= top and high - low >= 0.75 * (top - bottom)):
            margin = 0.06 * (high - low) or (0.06 * abs(high) if self._scale == "linear" else 0.3) or 1.0
            margin *= 2 if self._chart.references else 1  # room for the names of the lines
            self._limits = low - margin, high + margin
            limits = self._limits if self._scale == "linear" else 10.0 ** np.array(self._limits)
            self._axes.set_ylim(*limits)
            if self._scale == "log":
                log_ticks(self._axes.yaxis, self._limits[1] - self._limits[0])

    def _length(self, index: int) -> float:
        """Length of the x axis for one run: what it did; while it goes on, what is planned, halved as often as fits."""
        run, reached = self._runs[index], self._reached[index]
        axis = axis_of(self._chart, self._choices.over)
        if run.ended:
            return reached
        if axis == "time":
            return float(10 * 2 ** np.ceil(np.log2(max(reached, 10) / 10)))
        planned = {
            "update": run.settings.total_updates,
            "epoch": run.config.epochs,
            "agent_steps": run.config.epochs * run.config.steps_per_epoch,
        }
        length, least = float(planned[axis]), 10 * run.config.steps_per_epoch if axis == "agent_steps" else 10
        while length / 2 > max(reached, least):
            length /= 2
        return max(length, reached)

    def _new_lines(self, index: int) -> list[tuple[Curve, int | None, Line2D | None, Line2D | None]]:
        """For each curve and agent the line of the recorded values and that of their moving average, if they are drawn.

        Where each agent has a line, it carries the agent's number, and only one of the two is drawn.
        """
        style, lines = run_style(index), []
        for curve in self._chart.curves:
            strong: dict[str, Any] = {
                "linestyle": style.dashes, "linewidth": style.width * curve.weight, "zorder": 3 + index,
            }  # fmt: skip
            faint: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.8 * curve.weight, "zorder": 2}
            averaged = curve.noisy and self._choices.smoothing > 0
            for agent in self._agents(index):
                if self._choices.agents == "each":
                    strong |= {
                        "marker": f"${agent}$",
                        "markevery": (0.07 * (agent or 0), 0.4),
                        "linewidth": 0.9,
                        "markersize": 6,
                    }
                raw = None if averaged and "marker" in strong else self._line(index, faint if averaged else strong)
                lines.append((curve, agent, raw, self._line(index, strong) if averaged else None))
        return lines

    def _line(self, index: int, look: dict[str, Any]) -> Line2D:
        return self._axes.plot([], [], color=run_style(index).colour, **({"markersize": 4} | look))[0]

    def _new_marks(self, index: int) -> Line2D:
        style = run_style(index)
        (marks,) = self._axes.plot(
            [], [], color=style.colour, marker=style.marker, markersize=8 - 2.5 * min(index, 1), linestyle="none",
            markerfacecolor="white", markeredgewidth=1.3, zorder=10 + index, clip_on=False,
        )  # fmt: skip
        return marks

    def _new_due(self) -> Line2D:
        return self._axes.plot([], [], color=INK, linewidth=1.1, linestyle=(0, (1.0, 2.2)), zorder=1)[0]

    def _mark_changes(self, index: int) -> None:
        """A line with a label for each change of a run that has come since the last look."""
        marks = change_marks(self._runs[index], self._chart, self._choices.over)
        for x, text in marks[self._changes[index] :]:
            self._axes.axvline(x, color=run_style(index).colour, linewidth=1.0, linestyle=(0, (6, 2)), zorder=1)
            self._labels.append(self._axes.annotate(
                text, (x, 1.0), xycoords=self._axes.get_xaxis_transform(), xytext=(2, -2), textcoords="offset points",
                rotation=90, ha="left", va="top", fontsize=SMALL_SIZE, color=INK, path_effects=_HALO, zorder=15,
                annotation_clip=True,
            ))  # fmt: skip
        self._changes[index] = len(marks)

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
                path_effects=_HALO, zorder=9,
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
    if line.get_markevery() is None:
        line.set_marker("o" if len(points[0]) < 3 else "")  # a line of one point would not be seen

"""The numbers behind the charts, taken up as the runs record them.

A :class:`Feed` reads each record once. It keeps every curve as a bounded number of rows (:class:`Buckets`), so a run of
days costs no more to draw than one of minutes, and it knows what of a curve is new: the live charts get only that.
The figures of a report are drawn from the same rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.core.agents import schedules
from workbench.core.records import Records
from workbench.runs.compare import Comparison, runs_of
from workbench.runs.history import History, points_of_all_agents
from workbench.runs.live_settings import SettingsTimeline
from workbench.runs.loaded import RunView, readers
from workbench.view.curves import MAX_POINTS, Points
from workbench.view.panel.charts import Axis, Chart, Choices, Curve, charts_of

# Rows of a curve at most: a chart is no more pixels wide.
MOST = 1_000
# Rows of a chart at most, where many lines share it; each still has :data:`LEAST`.
MOST_OF_CHART = 12_000
LEAST = 100
# Records that are read together, which bounds the memory that reading takes.
AT_ONCE = 2**16
# Share of a curve's rows that a rate is measured over.
RATE_WINDOW = 0.02

# (n, 4) float64: x, the lowest, the highest and the mean value; nan where no value is finite.
Rows = NDArray[np.float64]


class Buckets:
    """A series that grows, kept as at most ``most`` buckets of equally many points; the last may be unfinished.

    When there would be more, the size of the buckets doubles. The lowest and highest value of every bucket stay exact,
    and the result does not depend on the portions in which the points came.

    Attributes:
        most: buckets at most.
        size: points in a bucket, a power of two.
        count: points so far.
        bad: how many of them are not finite.
        end: x of the last point; 0 while there is none.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size, self.count, self.bad, self.end = 1, 0, 0, 0.0
        self._table = np.empty((0, 6))  # number and x of the first point, lowest, highest, sum and number of the finite

    def append(self, x: ArrayLike, y: ArrayLike) -> None:
        """Add points: x (n,) and y (n,)."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if not len(x):
            return
        finite = np.isfinite(y)
        low = np.where(finite, y, np.nan)
        number = self.count + np.arange(len(x))
        points = np.column_stack([number, x, low, low, np.where(finite, y, 0.0), finite])
        self.count, self.end = self.count + len(x), float(x[-1])
        self.bad += int(np.count_nonzero(~finite))
        self._table = np.concatenate([self._table[:-1], self._merged(np.concatenate([self._table[-1:], points]))])
        while len(self._table) > self.most:
            self.size *= 2
            self._table = self._merged(self._table)

    def _merged(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        bucket = rows[:, 0] // self.size
        first = np.flatnonzero(np.diff(bucket, prepend=-1))
        merged = rows[first]
        merged[:, 2] = np.fmin.reduceat(rows[:, 2], first)
        merged[:, 3] = np.fmax.reduceat(rows[:, 3], first)
        merged[:, 4:] = np.add.reduceat(rows[:, 4:], first)
        return merged

    @property
    def rows(self) -> Rows:
        """The buckets, oldest first."""
        rows, count = self._table[:, 1:5].copy(), self._table[:, 5]
        rows[:, 3] = np.divide(rows[:, 3], count, out=np.full(len(rows), np.nan), where=count > 0)
        return rows


class Reader:
    """Reads one table of a run, record by record: the points of one agent, or those that all agents have reached."""

    def __init__(self, table: str, agent: int | None) -> None:
        self._table, self._agent = table, agent
        self._history: History | None = None
        self._seen = 0

    def read(self, history: History) -> Iterator[tuple[bool, Records]]:
        """What is new, in portions: whether everything begins again, and the points (n, agents), oldest first.

        It begins again when the history is another one (a resumed run), when a further agent has its first record, and
        with every evaluation.
        """
        records, axis = history.table(self._table), history.schema.tables[self._table].axis
        again = history is not self._history or len(records) < self._seen
        again |= self._table == "evaluations" and len(records) > self._seen  # one may replace another of its epoch
        self._history = history
        if again:
            self._begin(records, set())
        while self._seen < len(records):
            fresh = records[self._seen : self._seen + AT_ONCE]
            agents = {*self._reached, *np.unique(fresh["agent"]).tolist()}
            if self._agent is None and agents != self._reached.keys():
                self._begin(records, agents)
                again = True
                continue
            self._seen += len(fresh)
            mine = fresh[fresh["agent"] == self._agent]
            yield again, self._complete(fresh, axis) if self._agent is None else points_of_all_agents(mine, axis, 1)
            again = False
        if again:
            yield again, records[:, None]

    def _begin(self, records: Records, agents: set[int]) -> None:
        self._seen, self._waiting, self._reached = 0, records[:0], dict.fromkeys(agents, -1)

    def _complete(self, fresh: Records, axis: str) -> Records:
        rows = np.concatenate([self._waiting, fresh])
        for agent in self._reached:
            mine = fresh[axis][fresh["agent"] == agent]
            self._reached[agent] = max(self._reached[agent], int(mine.max(initial=-1)))
        done = rows[axis] <= min(self._reached.values(), default=-1)
        self._waiting = rows[~done]
        return points_of_all_agents(rows[done], axis, len(self._reached))


@dataclass
class Line:
    """One line of a chart: what it shows, and its rows so far.

    Attributes:
        chart: Place of the chart; -1 for a line that no chart shows.
        run: Place of the run.
        agent: Whose; None for all together.
        kind: A metric; greedy evaluations; what is due; or the updates at each epoch, which match charts over either.
        table: Where it is recorded.
        most: Rows at most.
        span: Length of the run in rows, which smoothing takes a share of.
        ended: Whether the run has ended, which changes its chart's axis and note.
    """

    chart: int
    run: int
    agent: int | None
    kind: Literal["curve", "marks", "due", "updates"]
    curve: Curve
    table: str
    axis: Axis
    most: int
    span: float = 0.0
    ended: bool = False

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all points."""
        self.buckets = Buckets(self.most)
        self.times = Buckets(self.most)  # when the points were recorded, for a rate
        self._sent = 0  # rows that were sent
        self._told = (-1, 1, 0.0, False)  # points, size of the buckets, span and end at that time

    def take(self, run: RunView, points: Records, start: float) -> None:
        """Add points, (n, agents) records; ``start`` is the time that wall time is counted from."""
        x, y = positions(run, self.table, self.axis, points, start), self._values(run, points)
        self.buckets.append(x, y)
        if self.curve.rate:
            self.times.append(x, positions(run, self.table, "time", points, start))

    @property
    def rows(self) -> Rows:
        """What is drawn; (n, 4)."""
        rows = self.buckets.rows
        if not self.curve.rate:
            return rows
        x, y = rate(rows[:, 0], rows[:, 1], self.times.rows[:, 1])
        return np.column_stack([x, y, y, y])

    def news(self, everything: bool) -> tuple[int, NDArray[np.float32]] | None:
        """Rows to keep of what was sent before, and those that follow: x and value, or all four columns.

        Args:
            everything: whether to send all rows again.

        Returns:
            None if there is nothing new.
        """
        told = self.buckets.count, self.buckets.size, self.span, self.ended
        if told == self._told and not everything:
            return None
        rows, wide = self.rows, told[1] > 1 and not self.curve.rate
        goes_on = told[1] == self._told[1] and not everything and not self.curve.rate
        keep = max(self._sent - wide, 0) if goes_on else 0  # a wide row may have been unfinished
        self._sent, self._told = len(rows), told
        return keep, rows[keep:, : 4 if wide else 2].astype(np.float32)

    def _values(self, run: RunView, points: Records) -> NDArray[np.float64]:
        if self.kind == "updates":
            return positions(run, self.table, "update", points, 0.0)
        if self.kind == "due":
            return _due(run, self.curve.metric, points["epoch"].max(axis=1))
        if self.curve.rate:
            share = run.config.num_agents if self.agent is None else 1
            counter: Axis = "agent_steps" if self.table == "epochs" else "update"
            return share * positions(run, self.table, counter, points, 0.0)
        metric = run.history.schema.metric(self.curve.metric)
        values = points[metric.field].astype(np.float64)
        return np.asarray(values.sum(axis=1) if metric.over_agents == "sum" else values.mean(axis=1))


class Feed:
    """All lines of some charts of some runs.

    Attributes:
        runs, choices, charts: what is drawn.
        lines: in the order in which they are drawn.
    """

    def __init__(
        self, runs: Comparison | RunView | Sequence[RunView], choices: Choices, most: int = MOST, marks: int = MOST
    ) -> None:  # fmt: skip
        """Nothing is read yet; a curve will have ``most`` rows at most, greedy evaluations ``marks``.

        Raises:
            ValueError: there are no runs, or none has the agent that was chosen.
        """
        self.runs, self.choices = runs_of(runs, "draw"), choices
        known = charts_of(self.runs)
        choices.check(known, self.runs)
        self.charts = [known[name] for name in choices.charts]
        shown = sum(len(self._agents(run)) for run in self.runs)
        self._most = min(most, max(MOST_OF_CHART // shown, LEAST)) if shown else most
        self._most_marks = min(marks, self._most)
        self.lines = [line for index in range(len(self.runs)) for line in self._lines_of(index)]
        self._readers: dict[tuple[int, str, int | None], tuple[Reader, list[Line]]] = {}
        for line in self.lines:
            key = line.run, line.table, line.agent
            self._readers.setdefault(key, (Reader(line.table, line.agent), []))[1].append(line)

    def update(self, only: int | None = None) -> None:
        """Take up what the runs, or one of them by its place, have recorded since the last call.

        Raises:
            RecordError: a folder is gone or damaged.
        """
        starts = dict.fromkeys(range(len(self.runs)) if only is None else [only], 0.0)
        for (index, *_), (reader, lines) in self._readers.items():
            if index not in starts:
                continue
            run = self.runs[index]
            for again, points in reader.read(run.history):
                start = starts[index] = starts[index] or first_recorded(run)
                for line in lines:
                    if again:
                        line.clear()
                    if len(points):
                        line.take(run, points, start)
            for line in lines:
                line.span, line.ended = self._length(line) / line.buckets.size, run.ended

    def news(self, everything: bool = False) -> tuple[list[list[float]], bytes]:
        """What is new since the last call: for each line that has news its number, rows to keep, rows, columns, span.

        The rows follow each other as float32.
        """
        heads, parts = [], []
        for number, line in enumerate(self.lines):
            if (found := line.news(everything)) is not None:
                keep, rows = found
                heads.append([number, keep, *rows.shape, round(line.span, 2)])
                parts.append(rows.tobytes())
        return heads, b"".join(parts)

    def end(self, chart: int) -> float:
        """Where the x axis of a chart ends: at what the runs did, or while they run, at a round share of the plan."""
        return 1.02 * max(1.0, *(self._end(chart, index) for index in range(len(self.runs))))

    def note(self, chart: int) -> str:
        """What a chart must say beside its lines: that there is nothing to see, or not all can be seen."""
        curves = [line.buckets for line in self.lines if line.chart == chart and line.kind in ("curve", "marks")]
        if not any(each.count for each in curves):
            return "nothing was recorded" if all(run.ended for run in self.runs) else "no data yet"
        bad = sum(each.bad for each in curves)
        return f"{bad:,} value{'s are' if bad > 1 else ' is'} not finite" if bad else ""

    def changes(self, chart: int) -> list[tuple[float, str, int]]:
        """Where to draw what was changed while runs were running, what to write there, and the place of the run."""
        marks, axis = [], axis_of(self.charts[chart], self.choices.over)
        for index, run in enumerate(self.runs):
            for when, epoch, values in run.changes:
                steps, updates = epoch * run.config.steps_per_epoch, run.settings.updates_due(epoch)
                places = {"time": when - first_recorded(run), "update": updates, "agent_steps": steps, "epoch": epoch}
                marks.append((float(places[axis]), change_text(values), index))
        return marks

    def _agents(self, run: RunView) -> list[int | None]:
        """Whose curves are drawn of a run; None stands for all together."""
        chosen, count = self.choices.agents, run.config.num_agents
        return [None] if chosen == "together" else [agent for agent in range(count) if chosen in ("each", agent)]

    def _lines_of(self, index: int) -> Iterator[Line]:
        agents, schema = self._agents(self.runs[index]), self.runs[index].history.schema

        def line(chart: int, agent: int | None, kind: Any, curve: Curve, axis: Axis) -> Line:
            most = self._most_marks if kind == "marks" else self._most
            return Line(chart, index, agent, kind, curve, schema.metric(curve.metric).table, axis, most)

        for number, chart in enumerate(self.charts):
            if chart.curves[0].metric not in schema.metrics:  # another run's hook measures it
                continue
            axis = axis_of(chart, self.choices.over)
            for curve in chart.curves:
                yield from (line(number, agent, "curve", curve, axis) for agent in agents)
            if chart.marks and self.choices.agents != "each":
                yield from (line(number, agent, "marks", Curve(chart.marks, noisy=False), axis) for agent in agents)
            if chart.due and self.runs[index].mode not in readers:  # a watched trainer's settings are its own
                yield line(number, None, "due", chart.curves[0], axis)
        if len({axis_of(chart, self.choices.over) for chart in self.charts}) > 1:
            yield line(-1, None, "updates", Curve("charts/replay_ratio"), "epoch")

    def _length(self, line: Line) -> float:
        """Points of a line that smoothing takes a share of: of the whole run, as long as it is planned to be."""
        run, points = self.runs[line.run], line.buckets.count
        planned = run.settings.total_updates if self.charts[line.chart].over == "update" else run.config.epochs
        return points if run.ended else min(planned, 2 * points)

    def _end(self, chart: int, index: int) -> float:
        """The end of the x axis for one run: what is planned, halved as often as what was reached fits."""
        run, axis = self.runs[index], axis_of(self.charts[chart], self.choices.over)
        drawn = (line for line in self.lines if (line.chart, line.run) == (chart, index) and line.kind != "due")
        reached = max((line.buckets.end for line in drawn), default=0.0)
        if run.ended:
            return reached
        if axis == "time":
            return float(10 * 2 ** np.ceil(np.log2(max(reached, 10) / 10)))
        unit = run.config.steps_per_epoch if axis == "agent_steps" else 1
        length = float(run.settings.total_updates if axis == "update" else unit * run.config.epochs)
        halvings = max(0.0, np.ceil(np.log2(length / max(reached, 10 * unit))) - 1)
        return float(max(length / 2**halvings, reached))


def axis_of(chart: Chart, over: Axis) -> Axis:
    """What a chart is drawn over when ``over`` was chosen."""
    own: Axis = "update" if chart.over == "update" else "epoch"
    return own if over == "own" else over


def positions(run: RunView, table: str, axis: Axis, points: Records, start: float) -> NDArray[np.float64]:
    """Where the points (n, agents) of a table lie on an axis, (n,); of several agents, where the last one is."""

    def last(name: str) -> NDArray[np.float64]:
        return np.asarray(points[name].max(axis=1), np.float64)

    if axis == "time":
        return last("time") - start
    if axis == "agent_steps" and table != "epochs":
        return (last("epoch") + 1.0) * run.config.steps_per_epoch
    if axis == "update" and table == "epochs":  # what the learner had done when the epoch ended
        ratio = points["replay_ratio"].astype(np.float64).mean(axis=1)
        return np.asarray(np.round(last("agent_steps") * ratio, 3))  # the ratio is kept in single precision
    return last(axis)


def rate(x: NDArray[Any], count: NDArray[Any], times: NDArray[Any]) -> Points:
    """Growth of a counter per second, over windows of :data:`RATE_WINDOW` of its points, 3 points at least.

    Args:
        x: (n,), where to draw each point.
        count: (n,), the counter.
        times: (n,) seconds.
    """
    window = max(2, round(RATE_WINDOW * len(x)))
    seconds = times[window:] - times[:-window]
    grown = (count[window:] - count[:-window]).astype(np.float64)
    y = np.divide(grown, seconds, out=np.full(len(grown), np.nan), where=seconds > 0)
    return np.asarray(x[window:], np.float64), y


def _due(run: RunView, metric: str, epochs: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a curve should be in some epochs, or must not pass, by the configuration and the changes of the run."""
    asked = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_POINTS)).astype(np.intp))
    due = [_due_in(metric, run.settings, epoch) for epoch in epochs[asked].tolist()]
    return np.interp(epochs, epochs[asked], due)


def _due_in(metric: str, settings: SettingsTimeline, epoch: int) -> float:
    if metric == "charts/epsilon":
        return schedules.epsilon(settings.at(epoch), epoch)
    if metric == "charts/replay_ratio":  # of all epochs so far, as it is recorded
        return settings.updates_due(epoch + 1) / ((epoch + 1) * settings.config.steps_per_epoch)
    return settings.at(epoch).learning.grad_clip


def change_text(values: dict[str, Any]) -> str:
    """A change in a few words: the last part of each name, and its new value."""
    return ", ".join(f"{name.rpartition('.')[2]} = {value:g}" for name, value in values.items())


def first_recorded(run: RunView) -> float:
    """When a run's first record was made, in seconds since 1970; 0 before there is one."""
    tables = map(run.history.table, ("events", "epochs", "updates"))
    return min((float(table["time"][0]) for table in tables if len(table)), default=0.0)

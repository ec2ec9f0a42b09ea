"""The figures: what is drawn, that nothing is lost or invented on the way, and that equal runs give equal bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

from tests.unit.watched import TABLES
from workbench.api import load
from workbench.core.config import Config
from workbench.runs.folder import RunFolder
from workbench.runs.history import History
from workbench.runs.loaded import RunView
from workbench.runs.presets import preset
from workbench.runs.result import Result
from workbench.view.curves import MAX_POINTS, moving_average
from workbench.view.figures import MAX_MARKS, comparison_figure, side_by_side
from workbench.view.panel.charts import AXIS_LABELS, CHARTS, STANDARD, Axis
from workbench.view.panel.feed import rate
from workbench.view.picture import to_png

QUICK = preset("tiny")
GENERATED = "20260101-000000-by-hand-seed0-abcd"
"""A name that nobody chose."""
REFERENCES = {name: {"mean": mean, "sd": 1.0, "epochs": 9} for name, mean in [("random", 20.0), ("scripted", 61.5)]}


class RecordedRun(RunView):
    """A run whose records are made by hand."""

    def __init__(
        self, mode: str = "sequential", lag: int | None = 1, config: Config = QUICK, name: str = GENERATED
    ) -> None:
        super().__init__(RunFolder(Path(name)), config, History(), {"mode": mode, "lag": lag})
        self.state = "running"
        self.outcome: Result | None = None
        self.made: list[tuple[float, int, dict[str, Any]]] = []

    @property
    def status(self) -> str:
        return self.state

    @property
    def changes(self) -> list[tuple[float, int, dict[str, Any]]]:
        return self.made

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def references(self) -> dict[str, dict[str, float]]:
        return REFERENCES

    @property
    def result(self) -> Result:
        assert self.outcome is not None
        return self.outcome

    def record(self, table: str, **columns: Any) -> None:
        """Append as many records as the columns have, one agent if they do not say."""
        records = np.zeros(len(next(iter(columns.values()))), TABLES[table])
        for field, values in columns.items():
            records[field] = values
        self.history.append(table, records)

    def learn(self, updates: int, first: int = 1, **columns: Any) -> RecordedRun:
        """Append updates of one agent."""
        number = np.arange(first, first + updates)
        self.record("updates", update=number, **({"loss": 1 / number, "mean_q": number, "max_q": 2 * number} | columns))
        return self

    def collect(self, epochs: int, **columns: Any) -> RecordedRun:
        """Append epochs of one agent."""
        number = np.arange(epochs)
        values = {"reward": 10.0 * number, "epsilon": 1 / (1 + number), "sync_lag_versions": number % 2}
        self.record("epochs", epoch=number, **(values | columns))
        return self


def drawn(figure: Any, title: str) -> Any:
    """The axes with that title."""
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def curves(axes: Any) -> list[Any]:
    """The lines with data, without the reference lines."""
    return [line for line in axes.lines if len(line.get_xdata()) and line.get_zorder() > 1]


# --- curves --------------------------------------------------------------------------------------------------------

values = st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.just(np.inf), st.just(-np.inf))


@given(y=st.lists(values, max_size=60), window=st.integers(0, 80))
def test_the_moving_average_is_the_mean_of_the_finite_values_in_the_window(y: list[float], window: int) -> None:
    x, average = moving_average(np.arange(len(y)), y, window)
    half = window // 2
    for centre, mean in zip(x.astype(int), average, strict=True):
        near = [value for value in y[max(0, centre - half) : centre + half + 1] if np.isfinite(value)]
        assert np.isnan(mean) if not near else mean == pytest.approx(sum(near) / len(near), rel=1e-9, abs=1e-6)
    np.testing.assert_array_equal(x, np.arange(len(y)))


def test_a_long_moving_average_has_few_points_and_both_ends() -> None:
    x, average = moving_average(np.arange(50_000), np.full(50_000, 3.0), 101)
    assert len(x) == MAX_POINTS
    assert (x[0], x[-1]) == (0, 49_999)
    np.testing.assert_allclose(average, 3.0)


def test_a_spike_leaves_the_averages_beside_its_window_untouched() -> None:
    y = np.ones(1000)
    y[500] = 1e30
    _, average = moving_average(np.arange(1000), y, 11, limit=1000)
    np.testing.assert_array_equal(average[506:], 1.0)


# --- what is drawn -------------------------------------------------------------------------------------------------


def test_curves_show_the_recorded_values() -> None:
    run = RecordedRun().learn(40).collect(12)
    figure = side_by_side(run, smoothing=0)
    (loss,) = curves(drawn(figure, "Loss"))
    np.testing.assert_allclose(loss.get_xdata(), np.arange(1, 41))
    np.testing.assert_allclose(loss.get_ydata(), 1 / np.arange(1, 41), rtol=1e-6)
    mean_q, max_q = curves(drawn(figure, "Q-values"))
    np.testing.assert_allclose(2 * mean_q.get_ydata(), max_q.get_ydata())
    (epsilon,) = curves(drawn(figure, "Epsilon"))
    np.testing.assert_allclose(epsilon.get_ydata(), 1 / np.arange(1, 13), rtol=1e-6)
    (lag,) = curves(drawn(figure, "Sync lag in versions"))
    np.testing.assert_array_equal(lag.get_ydata(), np.arange(12) % 2)


def test_smoothing_draws_the_average_over_the_faint_recorded_values() -> None:
    run = RecordedRun().learn(40, loss=np.tile([0.0, 10.0], 20))
    recorded, average = curves(drawn(side_by_side(run, smoothing=0.5), "Loss"))
    assert np.ptp(recorded.get_ydata()) == 10 > 2 > np.ptp(average.get_ydata())
    assert recorded.get_alpha() < 0.5 and average.get_alpha() is None
    assert average.get_linewidth() > recorded.get_linewidth()


def test_every_chart_has_a_title_and_units_and_there_is_one_legend() -> None:
    figure = side_by_side([RecordedRun(), RecordedRun("multiprocess")])
    assert len(figure.axes) == len(STANDARD) == 6
    for axes in figure.axes:
        assert axes.get_title(loc="left") and axes.get_xlabel() and axes.get_ylabel()
        assert axes.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["sequential", "multiprocess"]


def test_runs_differ_in_colour_and_in_dashes_and_equal_curves_are_all_seen() -> None:
    figure = side_by_side([RecordedRun().learn(40), RecordedRun("multiprocess").learn(40)], smoothing=0)
    first, second = curves(drawn(figure, "Loss"))
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() == "-" and second.get_linestyle() != "-"
    assert first.get_linewidth() > second.get_linewidth() and first.get_zorder() < second.get_zorder()


def test_reference_rewards_are_named_lines() -> None:
    axes = drawn(side_by_side([RecordedRun().collect(5)]), "Reward")
    heights = {line.get_ydata()[0] for line in axes.lines if line.get_zorder() == 1}
    assert heights == {20.0, 61.5}
    assert {text.get_text() for text in axes.texts if text.get_text()} == {"random, 20", "scripted: nearest gem, 62"}
    low, high = axes.get_ylim()
    assert low < 0 and high > 61.5


def test_reference_rewards_of_different_worlds_are_left_out() -> None:
    other = RecordedRun(config=QUICK.replace(**{"world.spawn_prob": 0.5}))
    axes = drawn(side_by_side([RecordedRun().collect(5), other]), "Reward")
    assert not [line for line in axes.lines if line.get_zorder() == 1]


def test_greedy_evaluations_are_marks() -> None:
    run = RecordedRun().collect(12)
    run.record("evaluations", agent=[0, 1, 0, 1], epoch=[3, 3, 7, 7], reward=[1.0, 2.0, 10.0, 20.0])
    (marks,) = [line for line in curves(drawn(side_by_side(run), "Reward")) if line.get_linestyle() == "None"]
    np.testing.assert_array_equal(marks.get_xdata(), [3, 7])
    np.testing.assert_array_equal(marks.get_ydata(), [3.0, 30.0])


def test_of_many_greedy_evaluations_the_best_and_the_worst_are_seen() -> None:
    run, reward = RecordedRun(config=QUICK.replace(epochs=500)).collect(500), np.sin(np.arange(500.0))
    reward[[123, 321]] = 50.0, -50.0
    run.record("evaluations", agent=np.tile([0, 1], 500), epoch=np.repeat(np.arange(500), 2), reward=reward.repeat(2))
    (marks,) = [line for line in curves(drawn(side_by_side(run), "Reward")) if line.get_linestyle() == "None"]
    shown = marks.get_ydata()
    assert len(shown) <= 2 * MAX_MARKS and (shown.min(), shown.max()) == (-100.0, 100.0)


def test_no_line_has_more_points_than_a_chart_can_show() -> None:
    run = RecordedRun(config=QUICK.replace(epochs=20_000)).learn(50_000).collect(20_000)
    for axes in side_by_side(run).axes:
        assert all(4 <= len(line.get_xdata()) <= MAX_POINTS for line in curves(axes))


def test_runs_without_data_say_so() -> None:
    figure = side_by_side([RecordedRun(), RecordedRun("multiprocess")])
    assert all("no data yet" in [text.get_text() for text in axes.texts] for axes in figure.axes)
    assert to_png(figure).startswith(b"\x89PNG")


def test_values_that_are_not_finite_are_counted_aloud() -> None:
    run = RecordedRun().learn(40, loss=np.where(np.arange(40) < 30, 1.0, np.nan), mean_q=np.full(40, np.inf))
    figure = side_by_side(run)
    assert "10 values are not finite" in [text.get_text() for text in drawn(figure, "Loss").texts]
    assert "40 values are not finite" in [text.get_text() for text in drawn(figure, "Q-values").texts]
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("chosen", [{"agents": "each"}, {"log": True}], ids=str)
def test_a_chart_without_any_finite_value_is_drawn_as_any_other(chosen: dict[str, Any]) -> None:
    figure = side_by_side(RecordedRun().learn(40, loss=np.nan), charts=["loss", "q"], **chosen)
    assert "values are not finite" in drawn(figure, "Loss").texts[-1].get_text()
    assert to_png(figure).startswith(b"\x89PNG")


def test_a_run_of_one_epoch_leaves_a_visible_point() -> None:
    (epsilon,) = curves(drawn(side_by_side(RecordedRun(config=QUICK.replace(epochs=2)).collect(1)), "Epsilon"))
    assert epsilon.get_marker() == "o"


def test_a_value_between_two_that_are_not_finite_is_a_visible_point() -> None:
    loss = np.where(np.isin(np.arange(12), (2, 5, 6, 11)), 1.0, np.nan)
    run = RecordedRun(config=QUICK.replace(**{"world.num_agents": 1})).learn(12, loss=loss)
    figure = side_by_side(run, smoothing=0, charts=["loss"])
    (line,) = curves(drawn(figure, "Loss"))
    assert line.get_marker() == "o" and list(line.get_markevery()) == [2, 11]
    assert to_png(figure) != to_png(side_by_side(RecordedRun(), charts=["loss"]))
    assert "1 value is not finite" in [
        text.get_text() for text in drawn(side_by_side(RecordedRun().learn(2, loss=[1, np.inf])), "Loss").texts
    ]


@pytest.mark.parametrize("epochs", [1, 4, 30, 600, 1000])
def test_a_live_run_fills_half_of_the_axis_and_an_ended_one_all_of_it(epochs: int) -> None:
    run = RecordedRun(config=QUICK.replace(epochs=1000)).collect(epochs)
    end = drawn(side_by_side(run), "Epsilon").get_xlim()[1]
    assert epochs - 1 <= end <= max(2 * epochs, 21)
    run.state = "stopped"
    end = drawn(side_by_side(run), "Epsilon").get_xlim()[1]
    assert epochs - 1 <= end <= max(1.03 * epochs, 1.03)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no runs"):
        side_by_side([])
    with pytest.raises(ValueError, match="smoothing is 1"):
        side_by_side(RecordedRun(), smoothing=1)
    with pytest.raises(ValueError, match="gif"):
        side_by_side(RecordedRun()).save("curve.gif")


# --- what can be chosen --------------------------------------------------------------------------------------------


def recorded_twice() -> RecordedRun:
    """Two agents, 4 epochs of 20 steps with 5 updates each, an epoch every 2 s."""
    run = RecordedRun()
    epoch, agent = np.divmod(np.arange(8), 2)
    run.record(
        "epochs", epoch=epoch, agent=agent, time=100 + 2.0 * epoch, agent_steps=20 * (epoch + 1), reward=1.0 + agent,
        replay_ratio=0.25, epsilon=0.5,
    )  # fmt: skip
    update, agent = np.divmod(np.arange(40), 2)
    run.record(
        "updates", update=update + 1, agent=agent, epoch=update // 5, time=100 + (update + 1) * 0.4, loss=1.0 + agent,
        grad_norm=10.0,
    )  # fmt: skip
    run.record("evaluations", epoch=[1, 1], agent=[0, 1], update=[10, 10], reward=[3.0, 4.0], time=[103.0, 103.0])
    return run


@pytest.mark.parametrize(
    ("over", "epochs", "updates", "marks"),
    [
        ("epoch", [0, 1, 2, 3], [0, 3], 1),
        ("agent_steps", [20, 40, 60, 80], [20, 80], 40),
        ("update", [5, 10, 15, 20], [1, 20], 10),
        ("time", [0, 2, 4, 6], [0.4, 8.0], 3),
    ],
)
def test_every_chart_can_be_drawn_over_every_axis(
    over: Axis, epochs: list[float], updates: list[float], marks: float
) -> None:
    figure = side_by_side(recorded_twice(), smoothing=0, charts=["reward", "loss"], over=over)
    reward, greedy = curves(drawn(figure, "Reward"))
    np.testing.assert_allclose(reward.get_xdata(), epochs)
    np.testing.assert_allclose(reward.get_ydata(), 3.0)
    np.testing.assert_allclose(greedy.get_xdata(), [marks])
    (loss,) = curves(drawn(figure, "Loss"))
    np.testing.assert_allclose(loss.get_xdata()[[0, -1]], updates)
    assert {axes.get_xlabel() for axes in figure.axes} == {AXIS_LABELS[over]}


def test_agents_are_drawn_together_one_by_one_or_alone() -> None:
    run = recorded_twice()
    each = curves(drawn(side_by_side(run, charts=["loss"], agents="each"), "Loss"))
    assert [(line.get_marker(), line.get_ydata()[0]) for line in each] == [("$0$", 1.0), ("$1$", 2.0)]
    (alone,) = curves(drawn(side_by_side(run, smoothing=0, charts=["reward"], agents=1), "Reward"))[:1]
    np.testing.assert_allclose(alone.get_ydata(), 2.0)
    with pytest.raises(ValueError, match="agents is 2; the runs have agents 0 to 1"):
        side_by_side(run, agents=2)


def test_rates_are_of_all_agents_per_second() -> None:
    figure = side_by_side(recorded_twice(), smoothing=0, charts=["steps_rate", "updates_rate"])
    (steps,), (updates,) = (curves(drawn(figure, title)) for title in ("Acting", "Learning"))
    np.testing.assert_allclose(steps.get_ydata(), 2 * 20 / 2.0)
    np.testing.assert_allclose(updates.get_ydata(), 2 / 0.4)


@given(count=st.integers(0, 40))
def test_a_rate_is_the_growth_over_the_time_between_its_points(count: int) -> None:
    rng = np.random.default_rng(count)
    number, times = np.cumsum(rng.integers(0, 9, count)), np.cumsum(rng.random(count) + 0.1)
    x, y = rate(np.arange(count), number, times)
    assert len(x) == max(0, count - 2)
    for at, value in zip(x.astype(int), y, strict=True):
        assert value == pytest.approx((number[at] - number[at - 2]) / (times[at] - times[at - 2]))


def test_a_log_scale_is_used_where_all_values_are_above_0_and_said_where_not() -> None:
    run = RecordedRun().learn(40, loss=np.geomspace(0.1, 100, 40), mean_q=np.linspace(-1, 1, 40)).collect(5)
    figure = side_by_side(run, log=True)
    assert drawn(figure, "Loss").get_yscale() == "log" and drawn(figure, "Q-values").get_yscale() == "linear"
    charts = drawn(figure, "Q-values")
    (note,) = (text for text in charts.texts if text.get_text() == "linear: some values are 0 or below")
    low, high = charts.get_ylim()
    assert (1 - low) / (high - low) < note.get_position()[1] - 0.06, "it hides no line"
    low, high = drawn(figure, "Loss").get_ylim()
    assert 0.01 < low < 0.1 and 100 < high < 1000
    assert drawn(side_by_side(run), "Loss").get_yscale() == "linear"


def test_what_is_due_is_dotted_and_follows_the_changes_of_the_run() -> None:
    run = RecordedRun(config=QUICK.replace(epochs=40)).collect(20)
    run.made = [(0.0, 10, {"exploration.epsilon_end": 0.5})]
    axes = drawn(side_by_side(run), "Epsilon")
    (due,) = [line for line in axes.lines if line.get_zorder() == 1 and len(line.get_xdata()) == 20]
    assert due.get_ydata()[0] == 1.0 and due.get_ydata()[9] == pytest.approx(0.02) and due.get_ydata()[10] == 0.5
    assert "epsilon_end = 0.5" in [text.get_text() for text in axes.texts]


def test_a_change_is_marked_where_it_was_made_on_every_axis() -> None:
    run = recorded_twice()
    run.made = [(104.0, 2, {"learning.learning_rate": 0.1})]
    for over, place in {"epoch": 2, "agent_steps": 40, "update": 4, "time": 4}.items():
        axes = drawn(side_by_side(run, charts=["loss"], over=cast(Axis, over)), "Loss")
        upright = [set(line.get_xdata()) for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert upright == [{place}]


def test_what_was_never_recorded_is_said_so() -> None:
    run = RecordedRun()
    run.state = "stopped"
    assert "nothing was recorded" in [text.get_text() for text in drawn(side_by_side(run), "Loss").texts]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"charts": ["los"]}, "there is no chart 'los'; did you mean loss"),
        ({"charts": []}, "0 charts are chosen; choose 1 to 12"),
        ({"over": "hours"}, "over is 'hours'; it must be one of own, epoch"),
        ({"agents": "all"}, 'agents is \'all\'; it must be "together", "each" or the index'),
    ],
)
def test_choices_that_cannot_be_drawn_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        side_by_side(RecordedRun(), **wrong)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 12])
def test_any_number_of_charts_has_room(count: int) -> None:
    figure = side_by_side(RecordedRun().learn(9).collect(9), charts=list(CHARTS)[:count])
    assert len(figure.axes) == count
    assert all(axes.get_position().height * figure.get_figheight() > 1 for axes in figure.axes)
    assert figure.alt.startswith("Charts: ")


# --- pictures ------------------------------------------------------------------------------------------------------


def test_the_same_runs_give_the_same_bytes_and_other_runs_others(tmp_path: Path) -> None:
    first, again = (side_by_side(RecordedRun().learn(40).collect(12)) for _ in range(2))
    other = side_by_side(RecordedRun().learn(39).collect(12))
    assert to_png(first) == to_png(again) == to_png(first) != to_png(other)
    assert len(to_png(first, dpi=200)) > len(to_png(first, dpi=50))
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        one, two = first.save(tmp_path / f"one{suffix}"), again.save(tmp_path / f"two{suffix}")
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(head)
        assert not any(date in one.read_bytes() for date in (b"CreationDate", b"dc:date"))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_settings_of_the_caller_change_no_figure(tmp_path: Path, suffix: str) -> None:
    def saved(name: str) -> bytes:
        run = RecordedRun(name="a name with $\\frac$ in it").collect(5).learn(5)
        return side_by_side([run]).save(tmp_path / f"{name}{suffix}").read_bytes()

    plain = saved("plain")
    theirs = {"text.usetex": True, "figure.constrained_layout.use": True, "figure.autolayout": True, "font.size": 30,
              "axes.facecolor": "black", "text.color": "white", "savefig.bbox": "tight"}  # fmt: skip
    with matplotlib.rc_context(theirs):
        assert saved("theirs") == plain
        assert {name: matplotlib.rcParams[name] for name in theirs} == theirs


def test_a_notebook_shows_a_png_with_a_description_whatever_its_backend() -> None:
    show: Any = DisplayFormatter()
    data, metadata = show.format(side_by_side(RecordedRun()))
    assert data["image/png"].startswith(b"\x89PNG")
    assert "sequential, lag 1" in metadata["image/png"]["alt"]


def test_drawing_never_touches_pyplot() -> None:
    code = "import sys, workbench.view.panel.panel; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- runs that have ended ------------------------------------------------------------------------------------------


def test_a_run_loaded_from_its_folder_is_drawn(tmp_path: Path) -> None:
    description = {"config": QUICK.to_dict(), "mode": "multiprocess", "lag": None, "status": "stopped"}
    folder = RunFolder.create("earlier", description, tmp_path)
    folder.append("updates", RecordedRun().learn(7).history.updates)
    axes = drawn(side_by_side(load(folder.path), smoothing=0), "Loss")
    assert [len(line.get_xdata()) for line in curves(axes)] == [7]


class PairByHand:
    """As much of a comparison as a figure asks for."""

    def __init__(self, *walls: float, identical: bool | None) -> None:
        self.runs = [RecordedRun(mode).learn(4).collect(4) for mode in ("sequential", "multiprocess")]
        self.sequential, self.identical = self.runs[0], identical
        self.speedup = walls[0] / walls[1] if walls else None
        for run, wall in zip(self.runs, walls, strict=False):
            run.state, run.outcome = "finished", Result.from_dict({"wall_s": wall, "mode": run.mode})


@pytest.mark.parametrize(("identical", "word"), [(True, "yes"), (False, "NO"), (None, "does not apply")])
def test_the_figure_of_a_comparison_says_how_it_ended(identical: bool | None, word: str) -> None:
    figure = comparison_figure(PairByHand(30.0, 20.0, identical=identical))  # type: ignore[arg-type]
    caption = " ".join(text.get_text() for text in figure.texts)
    assert f"Identical to the last bit: {word}." in caption
    assert "Speed-up 1.50 (30.0 s sequential, 20.0 s multiprocess)" in caption
    assert "1 thread per process, cpu" in caption
    assert caption.count("Speed-up") == 1 and "Speed-up 1.50" in figure.alt


def test_the_figure_of_an_unfinished_comparison_names_the_states() -> None:
    figure = comparison_figure(PairByHand(identical=None))  # type: ignore[arg-type]
    assert "Not both finished: sequential, lag 1 running" in " ".join(text.get_text() for text in figure.texts)

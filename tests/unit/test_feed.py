"""The numbers behind the charts: nothing is lost or invented, and what is sent adds up to what is there."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_figures import QUICK, RecordedRun
from workbench.runs.naming import labels
from workbench.view.panel.charts import CHARTS, Choices
from workbench.view.panel.feed import Buckets, Feed

values = st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.just(np.inf), st.just(-np.inf))


def in_portions(y: list[float], cuts: list[int], most: int) -> Buckets:
    """A series appended in portions that end at the cuts."""
    made = Buckets(most)
    ends = sorted({0, *(cut for cut in cuts if cut < len(y)), len(y)})
    for start, end in itertools.pairwise(ends):
        made.append(2.0 * np.arange(start, end), y[start:end])
    return made


@given(y=st.lists(values, max_size=120), cuts=st.lists(st.integers(0, 120)), most=st.integers(2, 20))
def test_buckets_hold_the_extremes_and_the_mean_of_their_points_however_these_came(
    y: list[float], cuts: list[int], most: int
) -> None:
    made = in_portions(y, cuts, most)
    np.testing.assert_allclose(made.rows, in_portions(y, [], most).rows, rtol=1e-9, atol=1e-6)
    assert len(made.rows) <= most and made.count == len(y)
    assert made.bad == np.count_nonzero(~np.isfinite(y))
    assert made.size == 1 or len(y) > most * made.size / 2, "coarser than it must be"
    for number, (x, low, high, mean) in enumerate(made.rows):
        points = np.asarray(y[number * made.size : (number + 1) * made.size], float)
        finite = points[np.isfinite(points)]
        assert x == 2.0 * number * made.size
        if len(finite):
            assert (low, high) == (finite.min(), finite.max()) and mean == pytest.approx(finite.mean(), abs=1e-6)
        else:
            assert np.isnan([low, high, mean]).all()


def told(feed: Feed, shown: dict[int, np.ndarray], everything: bool = False) -> int:
    """Do with the news what the browser does; returns the bytes."""
    heads, rows = feed.news(everything)
    numbers = np.frombuffer(rows, np.float32)
    for line, keep, count, columns, _ in heads:
        fresh, numbers = numbers[: int(count * columns)], numbers[int(count * columns) :]
        kept = shown.get(int(line), np.empty((0, int(columns)), np.float32))[: int(keep)]
        shown[int(line)] = np.concatenate([kept.reshape(-1, int(columns)), fresh.reshape(-1, int(columns))])
    assert len(numbers) == 0
    return len(rows)


@given(portions=st.lists(st.integers(0, 60), max_size=12), seed=st.integers(0, 99))
def test_what_was_sent_adds_up_to_what_is_there(portions: list[int], seed: int) -> None:
    run, rng, done = RecordedRun(), np.random.default_rng(seed), 0
    feed = Feed(run, Choices(("loss", "epsilon", "updates_rate")), most=40)
    shown: dict[int, np.ndarray] = {}
    for portion in portions:
        run.learn(portion, first=done + 1, loss=rng.random(portion), time=100.0 + done + np.arange(portion))
        done += portion
        feed.update()
        told(feed, shown)
    for number, line in enumerate(feed.lines):
        rows, sent = line.rows, shown.get(number, np.empty((0, 2)))
        columns = [0, 1, 2, 3] if sent.shape[1] == 4 else [0, 1]
        np.testing.assert_array_equal(sent, rows[:, columns].astype(np.float32))
    again: dict[int, np.ndarray] = {}
    told(feed, again, everything=True)
    assert all(np.array_equal(rows, again[number], equal_nan=True) for number, rows in shown.items())


def test_an_update_costs_some_bytes_and_one_without_news_none() -> None:
    run = RecordedRun().learn(500)
    feed = Feed(run, Choices(("loss",)))
    feed.update()
    assert told(feed, {}) == 500 * 8
    feed.update()
    assert feed.news() == ([], b"")
    run.learn(1, first=501)
    feed.update()
    assert told(feed, {0: np.zeros((500, 2), np.float32)}) == 8


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@given(
    order=st.permutations([(agent, number) for agent in range(3) for number in range(1, 9)]),
    cuts=st.lists(st.integers(0, 24), max_size=6),
)
def test_all_agents_together_are_as_the_history_joins_them(
    at_once: int, order: list[tuple[int, int]], cuts: list[int]
) -> None:
    counts = dict.fromkeys(range(3), 0)
    run = RecordedRun()
    feed, records = Feed(run, Choices(("loss", "updates_rate"))), []
    for agent, _ in order:  # each agent's records come in their order, those of several agents in any
        counts[agent] += 1
        records.append((agent, counts[agent]))
    for start, end in itertools.pairwise(sorted({0, *cuts, len(records)})):
        agents, numbers = zip(*records[start:end], strict=True)
        run.record("updates", agent=agents, update=numbers, loss=np.array(agents) * 10.0 + numbers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workbench.view.panel.feed.AT_ONCE", at_once)
            feed.update()
        x, y = run.history.series("losses/loss")
        np.testing.assert_array_equal(feed.lines[0].rows[:, 0], x)
        np.testing.assert_allclose(feed.lines[0].rows[:, 3], y)


def test_each_agent_has_its_own_line_which_waits_for_no_other() -> None:
    run = RecordedRun()
    run.record("updates", agent=[0, 0, 0, 1], update=[1, 2, 3, 1], loss=[1.0, 2.0, 3.0, 9.0])
    feed = Feed(run, Choices(("loss",), agents="each"))
    feed.update()
    assert [line.rows[:, 3].tolist() for line in feed.lines] == [[1, 2, 3], [9]]


def test_a_resumed_run_is_read_again_from_its_beginning() -> None:
    run, other = RecordedRun().learn(9), RecordedRun().learn(4)
    feed, shown = Feed(run, Choices(("loss",))), {}
    feed.update()
    told(feed, shown)
    run.history = other.history
    feed.update()
    told(feed, shown)
    assert len(shown[0]) == 4


def test_many_lines_share_the_rows_of_a_chart() -> None:
    config = QUICK.replace(**{"world.num_agents": 20})
    one, each = (Feed(RecordedRun(config=config), Choices(agents=agents)) for agents in (0, "each"))
    assert one.lines[0].buckets.most > each.lines[0].buckets.most >= 100


# --- names of runs ---------------------------------------------------------------------------------------------------


def test_runs_are_called_by_what_tells_them_apart() -> None:
    assert labels([RecordedRun("multiprocess", lag) for lag in (1, 8)]) == ["lag 1", "lag 8"]
    assert labels([RecordedRun("multiprocess", lag) for lag in (0, None)]) == ["lag 0", "free-running"]
    assert labels([RecordedRun(), RecordedRun("multiprocess")]) == ["sequential", "multiprocess"]
    assert labels([RecordedRun("multiprocess", None)]) == ["multiprocess, free-running"]
    seeds = [RecordedRun(config=QUICK.replace(seed=seed)) for seed in (3, 4)]
    assert labels(seeds) == ["seed 3", "seed 4"]
    rates = [RecordedRun(config=QUICK.replace(**{"learning.n_step": steps}), lag=2) for steps in (1, 3)]
    assert labels([*rates, RecordedRun(lag=1)])[:2] == ["lag 2, n_step 1", "lag 2, n_step 3"]


def test_a_name_that_was_given_wins_and_no_two_are_alike() -> None:
    assert labels([RecordedRun(name="mine")]) == ["mine"]
    assert labels([RecordedRun(name="mine"), RecordedRun(lag=8)]) == ["mine", "sequential, lag 8"]
    assert labels([RecordedRun(name="mine"), RecordedRun(name="mine", lag=8)]) == ["mine, lag 1", "mine, lag 8"]
    assert labels([RecordedRun(), RecordedRun()]) == ["sequential, lag 1 (1)", "sequential, lag 1 (2)"]


def test_every_chart_has_lines_of_every_run() -> None:
    feed = Feed([RecordedRun(), RecordedRun("multiprocess")], Choices(tuple(CHARTS)[:12]))
    assert {(line.chart, line.run) for line in feed.lines if line.kind == "curve"} == set(
        itertools.product(range(12), range(2))
    )


@pytest.mark.parametrize("agents", ["together", 0])
def test_an_evaluation_of_the_same_epoch_replaces_the_one_before(agents: Literal["together"] | int) -> None:
    run = RecordedRun().collect(9)
    feed = Feed(run, Choices(("reward",), agents=agents))
    for final, reward in enumerate((5.0, 7.0)):
        run.record("evaluations", epoch=[3, 8], reward=[1.0, reward], final=[0, final])
        feed.update()
        (marks,) = (line.rows for line in feed.lines if line.kind == "marks")
        np.testing.assert_array_equal(marks[:, [0, 3]], [[3, 1], [8, reward]])


def test_the_end_of_a_run_is_told_where_it_brought_no_more_rows() -> None:
    run = RecordedRun(config=QUICK.replace(epochs=8)).collect(8)
    feed = Feed(run, Choices(("loss", "epsilon"), over="time"))
    feed.update()
    shown: dict[int, np.ndarray] = {}
    told(feed, shown)
    before, run.state = {line: rows.copy() for line, rows in shown.items()}, "finished"
    feed.update()
    heads, _ = feed.news()
    assert {feed.lines[int(head[0])].chart for head in heads} == {0, 1}, "axis and note of both charts are others now"
    assert feed.note(0) == "nothing was recorded"
    told(feed, shown, everything=True)
    assert all(np.array_equal(rows, before[line], equal_nan=True) for line, rows in shown.items())
    assert feed.news() == ([], b"")


def test_over_time_the_axis_has_room_for_the_evaluation_after_the_last_epoch() -> None:
    run, epochs = RecordedRun(), np.arange(20)
    for agent in range(QUICK.num_agents):
        run.record("epochs", agent=np.full(20, agent), epoch=epochs, time=100.0 + epochs)
        run.record("evaluations", agent=np.array([agent]), epoch=np.array([19]), time=np.array([130.0]))
    run.state = "finished"
    feed = Feed([run], Choices(("reward",), over="time"))
    feed.update()
    assert feed.end(0) == pytest.approx(1.02 * 30)

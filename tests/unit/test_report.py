"""Reports: the statistics, what is a group, what each figure shows, equal bytes for equal runs, and clear refusals."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench
from tests.unit.finished import CONFIG, START, finished_run, three_seeds
from tests.unit.test_matrix import full_data
from workbench.cli import main
from workbench.core.config import ConfigError
from workbench.report import FIGURES, ReportError, Table, make
from workbench.report.curves import aligned, wall_time
from workbench.report.intervals import (
    MIN_RUNS,
    Estimate,
    estimate,
    interquartile_mean,
    interval,
    middle_and_ends,
    stratified_bootstrap,
)
from workbench.report.selection import select
from workbench.report.sync_lag import MAX_BINS, even_bins, whole_bins
from workbench.runs.statistics import listed
from workbench.runs.table import fixed, number

numbers = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both modes at lag 1, seeds 0 to 2."""
    return three_seeds(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def matrix_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("matrix") / "matrix.json"
    path.write_text(json.dumps(full_data()))
    return path


@pytest.fixture(scope="module")
def report(runs, matrix_file):
    return make(runs, matrix=matrix_file)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.picture.axes]


# --- interquartile means and intervals -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 9, 12])
def test_a_mean_with_a_number_that_is_none_is_none_whatever_the_count(count):
    values = [*range(1, count + 1), np.nan]
    assert np.isnan(interquartile_mean(values)) and not np.isnan(interquartile_mean(values[:-1]))
    assert np.isnan([vars(estimate(values))[name] for name in ("value", "low", "high")]).all()


@given(st.lists(numbers, min_size=1, max_size=40))
def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end(values):
    cut = int(len(values) / 4)
    kept = sorted(values)[cut : len(values) - cut]
    assert interquartile_mean(values) == pytest.approx(sum(kept) / len(kept), rel=1e-9, abs=1e-6)


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_interquartile_mean_goes_along_any_axis(runs, points):
    values = np.random.default_rng(runs).normal(size=(runs, points))
    expected = [interquartile_mean(column) for column in values.T]
    np.testing.assert_allclose(interquartile_mean(values, axis=0), expected)


def test_a_value_that_is_not_a_number_has_no_place_in_the_order():
    assert interquartile_mean(range(1, 10)) == 5
    assert np.isnan(interquartile_mean([*range(1, 10), np.nan])) and np.isnan(interquartile_mean([1, 2, np.nan]))


def slow_bootstrap(values, strata, resamples, seed):
    """The definition, point by point and resample by resample, from the same draws."""
    rng = np.random.default_rng(seed)
    members = [[run for run in range(len(values)) if strata[run] == stratum] for stratum in sorted(set(strata))]
    drawn = [rng.integers(len(own), size=(resamples, len(own))) for own in members]
    means = np.empty((resamples, values.shape[1]))
    for resample in range(resamples):
        chosen = [own[place] for own, draws in zip(members, drawn, strict=True) for place in draws[resample]]
        for point in range(values.shape[1]):
            means[resample, point] = interquartile_mean([values[run, point] for run in chosen])
    return np.quantile(means, 0.025, axis=0), np.quantile(means, 0.975, axis=0)


@given(st.integers(MIN_RUNS, 8), st.integers(1, 3), st.integers(0, 99))
def test_the_bootstrap_draws_within_each_stratum_and_takes_percentiles(runs, tasks, seed):
    rng = np.random.default_rng(seed)
    values, strata = rng.normal(size=(runs, 2)), rng.integers(tasks, size=runs)
    found = stratified_bootstrap(values, strata, resamples=50, seed=seed)
    np.testing.assert_allclose(found, slow_bootstrap(values, list(strata), 50, seed))


def test_strata_keep_the_number_of_runs_of_each_task():
    """Two tasks far apart: without strata, a resample could be of one task alone and the interval very wide."""
    values = np.array([[0.0], [0.1], [0.2], [100.0], [100.1], [100.2]])
    low, high = stratified_bootstrap(values, [0, 0, 0, 1, 1, 1])
    assert high[0] - low[0] < 1 < 30 < np.diff(np.ravel(stratified_bootstrap(values)))[0]


def test_an_interval_is_the_same_every_time_holds_the_estimate_and_does_not_depend_on_the_other_points():
    values = np.random.default_rng(1).normal(size=(5, 150))
    low, high = stratified_bootstrap(values)
    middle = interquartile_mean(values, axis=0)
    assert (low <= middle).all() and (middle <= high).all()
    np.testing.assert_array_equal(stratified_bootstrap(values[:, 100:101])[0], low[100:101])
    gap = values.copy()
    gap[0, 3] = np.nan
    assert np.isnan(stratified_bootstrap(gap)[0]).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize("runs", [3, 5, 9])
def test_the_interval_of_a_few_runs_holds_the_truth_as_often_as_it_says(runs):
    """Of 4,000 samples of normal numbers; the share that holds the mean is off by 0.0035 on average."""
    _, low, high = middle_and_ends(np.random.default_rng(runs).normal(size=(runs, 4000)))
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.015)


def test_strata_take_no_part_in_the_spread_of_a_few_runs():
    values = np.array([[0.0], [0.1], [0.2], [100.0], [100.1], [100.2]])
    middle, low, high = middle_and_ends(values, [0, 0, 0, 1, 1, 1])
    assert middle == pytest.approx(50.1) and high - low < 1 < 30 < np.diff(np.ravel(middle_and_ends(values)[1:]))


def test_from_ten_runs_on_it_is_the_interquartile_mean_with_a_bootstrap_interval():
    values = np.random.default_rng(2).normal(size=(10, 3))
    middle, *ends = middle_and_ends(values)
    np.testing.assert_array_equal(middle, interquartile_mean(values, axis=0))
    np.testing.assert_array_equal(ends, stratified_bootstrap(values))


@pytest.mark.parametrize("strata", [range(12), [0, 1, 1, 1] * 3 + [2], range(3)])
def test_where_a_pooled_setting_has_a_run_for_each_value_there_is_no_interval_rather_than_one_without_width(strata):
    found = estimate(np.random.default_rng(0).normal(size=len(strata)), list(strata))
    assert "[" not in interval(found) and np.isfinite(found.value)


def test_a_figure_of_one_run_for_each_pooled_value_is_refused_with_bands(tmp_path):
    for seed in range(3):
        finished_run(tmp_path, seed=seed)
    message = "more than its values of what is pooled.*sequential, lag 1 has 3 .*do not pool"
    with pytest.raises(ReportError, match=message):
        make(tmp_path, figures=["loss_and_q"], pool=["seed"])
    assert "no intervals are drawn" in make(tmp_path, bands=None, pool=["seed"])["loss_and_q"].caption


def test_intervals_of_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="there are 2 runs; an interval needs at least 3"):
        stratified_bootstrap(np.zeros((2, 4)))


# --- curves on one axis, bins ----------------------------------------------------------------------------------------


def test_curves_of_the_same_x_keep_it_and_others_are_interpolated_where_all_have_begun():
    x = np.array([1.0, 2.0, 4.0])
    kept, _ = aligned([(x, x), (x, 2 * x)], hold=False)
    np.testing.assert_array_equal(kept, x)
    late = np.array([2.0, 8.0])
    cut, values = aligned([(x, 10 * x), (late, late)], hold=False)
    assert (cut[0], cut[-1]) == (2.0, 4.0)
    np.testing.assert_allclose(values, [10 * cut, cut])
    held, values = aligned([(x, 10 * x), (late, late)], hold=True)
    assert (held[0], held[-1]) == (2.0, 8.0)
    np.testing.assert_allclose(values[0], 10 * np.minimum(held, 4.0))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30))
def test_whole_bins_hold_every_version_and_equally_many_of_them(lags):
    edges = whole_bins([np.array(lags, float)])
    counts, _ = np.histogram(lags, edges)
    assert counts.sum() == len(lags) and len(counts) <= MAX_BINS
    assert set(edges % 1) == {0.5} and len(set(np.diff(edges))) == 1


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=30))
def test_even_bins_begin_at_zero_and_only_the_last_is_open(lags):
    edges = even_bins([np.array(lags)])
    assert edges[0] == 0 and (np.diff(edges) > 0).all()
    assert np.histogram(np.minimum(lags, edges[-1]), edges)[0].sum() == len(lags)


# --- which runs ------------------------------------------------------------------------------------------------------


def test_runs_are_grouped_by_mode_lag_and_faults_the_sequential_ones_first(tmp_path):
    for seed in (1, 0):
        finished_run(tmp_path / "deep" / "deeper", "multiprocess", None, seed)
        finished_run(tmp_path, "multiprocess", 1, seed, faults=["sync_rarely=5"])
        finished_run(tmp_path, "multiprocess", 1, seed)
        finished_run(tmp_path, "sequential", 0, seed)
    groups = select([tmp_path]).groups
    assert [group.label for group in groups] == [
        "sequential, lag 0", "multiprocess, lag 1", "multiprocess, lag 1, sync_rarely=5", "multiprocess, free-running",
    ]  # fmt: skip
    assert all(group.seeds == (0, 1) for group in groups)


def test_settings_that_differ_make_groups_that_say_so(tmp_path):
    finished_run(tmp_path, name="a")
    finished_run(tmp_path, name="b", config=CONFIG.replace(**{"learning.n_step": 1, "learning.gamma": 0.9}))
    assert [group.label for group in select([tmp_path]).groups] == [
        "sequential, lag 1, learning.gamma = 0.9, learning.n_step = 1",
        "sequential, lag 1, learning.gamma = 0.99, learning.n_step = 3",
    ]


def test_pooled_settings_are_strata_of_one_group_and_worlds_are_put_on_one_scale(tmp_path):
    for spawn in (0.02, 0.05):
        for seed in range(2):
            config = CONFIG.replace(**{"world.spawn_prob": spawn})
            finished_run(tmp_path, seed=seed, config=config, name=f"{spawn}-{seed}")
    (group,) = select([tmp_path], ["world.spawn_prob"]).groups
    assert group.strata.tolist() == [0, 0, 1, 1]
    figure = make(tmp_path, figures=["greedy_reward"], pool=["world.spawn_prob"])["greedy_reward"]
    assert (
        "0 is the random policy, 1 the scripted one" in figure.caption and "Strata: world.spawn_prob" in figure.caption
    )
    runs = [workbench.load(path) for path in sorted(tmp_path.iterdir())]
    rewards = [(run.history.series("charts/greedy_reward")[1][-1] - 20) / 40 for run in runs]
    (last,) = [row for row in figure.table.rows if row[2:4] == ("agent steps", "480")]
    assert last[4].startswith(number(float(interquartile_mean(rewards)), 1.0)[:4])


def test_what_is_left_out_is_named(tmp_path):
    finished_run(tmp_path, name="older", created=1.0)
    finished_run(tmp_path, name="newer", created=2.0)
    finished_run(tmp_path, seed=1, name="broken", status="failed")
    made = select([tmp_path])
    assert [run.name for run in made.runs] == ["newer"]
    assert made.left_out == (
        "broken is failed; only finished runs that have a result are drawn",
        "older has the settings and the seed of newer, which is newer",
    )
    assert "- older has the settings" in make(tmp_path).page


def test_a_watched_trainer_is_left_out_as_what_it_is(tmp_path):
    with workbench.Watch("sequential", out=tmp_path):
        pass
    with pytest.raises(ReportError, match="sequential is a watched trainer's run, which no report draws"):
        make(tmp_path)


def test_a_report_that_does_not_know_a_world_says_how_to_have_it_known(tmp_path):
    pytest.importorskip("gymnasium")
    finished_run(tmp_path, config=CONFIG.replace(world="gymnasium:CartPole-v1"), name="pole")
    script = f"from workbench.report import make; make({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "world is 'gymnasium'" in done.stderr and "`import workbench as wb` and take wb.report.make" in done.stderr


def test_settings_of_another_agent_are_in_the_caption_and_can_be_pooled(tmp_path):
    pytest.importorskip("gymnasium")
    config = CONFIG.replace(world="gymnasium:CartPole-v1", agent="dqn", **{"replay.sampler": "prioritised"})
    finished_run(tmp_path, config=config, name="pole")
    made = make(tmp_path, bands=False, figures=["reward"], pool=["replay.sampler.beta"])
    told = made["reward"].caption.partition("Settings other than the defaults: ")[2]
    for words in ("world.env_id = CartPole-v1", "agent.name = dqn", "sampler.name = prioritised", "sampler.alpha = "):
        assert words in told
    assert "changed on the way" not in told


def test_runs_are_found_by_their_name_and_taken_from_objects(tmp_path, monkeypatch):
    path = finished_run(tmp_path / "runs", name="mine")
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert [run.name for run in select(["mine"]).runs] == ["mine"]
    assert [run.name for run in select([workbench.load(path), path]).runs] == ["mine"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there are no runs to report on; name run folders"),
        (["nowhere"], "there is no nowhere, neither here nor in"),
        (["empty"], "empty is no run folder and holds none: there is no run.json"),
        (["file.txt"], "file.txt is no run folder and holds none"),
    ],
)
def test_what_is_no_run_is_refused_by_name(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(ReportError, match=re.escape(message)):
        make(given)


def test_runs_that_never_finished_are_no_report(tmp_path):
    finished_run(tmp_path, status="stopped", name="early")
    with pytest.raises(ReportError, match="none of the 1 runs can be drawn: early is stopped"):
        make(tmp_path)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_every_figure_is_made_with_a_caption_a_table_and_a_description(report):
    assert list(report) == list(FIGURES) and not report.left_out
    for name in report:
        figure = report[name]
        assert figure.caption.endswith(".") and figure.picture.alt and figure.table.rows
        assert figure.picture.get_figwidth() == 7.0


def test_a_curve_of_few_seeds_is_their_mean_with_its_band(runs, report):
    steps, time = report["greedy_reward"].picture.axes
    histories = [run.history for run in select([runs]).groups[0].runs]
    curves = [history.series("charts/greedy_reward") for history in histories]
    (line,) = [line for line in steps.lines if line.get_zorder() == 3]
    world = CONFIG.world
    np.testing.assert_allclose(line.get_xdata(), (curves[0][0] + 1) * world.max_turns * world.num_agents)
    values = np.stack([y for _, y in curves])
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
    _, low, high = middle_and_ends(values)
    band = steps.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((low.min(), high.max()))
    (timed,) = [line for line in time.lines if line.get_zorder() == 3]
    assert 3 < timed.get_xdata()[0] < timed.get_xdata()[-1] < 14  # seconds since the barrier opened, not since 1970
    assert timed.get_ydata()[-1] == pytest.approx(values[:, -1].mean())


def test_groups_differ_in_more_than_colour(report):
    lines = [line for line in report["loss_and_q"].picture.axes[0].lines if line.get_zorder() >= 3]
    assert len(lines) == 2
    for look in ("get_color", "get_linestyle", "get_marker", "get_linewidth"):
        assert len({str(getattr(line, look)()) for line in lines}) == 2
    bars = {patch.get_hatch() for patch in report["sync_lag"].picture.axes[0].patches}
    assert len(bars) == 2


def test_a_caption_has_the_seeds_the_settings_the_numbers_and_where_they_come_from(report):
    caption = report["greedy_reward"].caption
    for words in (
        "sequential, lag 1 (seeds 0, 1, 2; 3 runs)", "95 % intervals by Student's t",
        "world.height = 7", "replay ratio 0.2", "a processor, 2 cores", "torch 2.13.0", "commit 0123456789ab",
    ):  # fmt: skip
        assert words in caption
    last = [row for row in report["greedy_reward"].table.rows if row[2] == "agent steps"][-1]
    assert f"multiprocess, lag 1, greedy reward {last[4]} at {last[3]} agent steps" in caption


def test_the_sync_lag_is_counted_over_epochs_agents_and_seeds(report):
    versions = report["sync_lag"].picture.axes[0]
    shares = sorted(patch.get_height() for patch in versions.patches)
    assert shares == pytest.approx([1 / 12, 1 / 12, 11 / 12, 11 / 12])  # the first of 12 epochs is not behind
    row = report["sync_lag"].table.rows[0]
    assert row[:4] == ("sequential, lag 1", "versions", "72", "0.9167")


def test_the_memory_of_a_run_is_that_of_its_processes_and_is_shared_out_to_its_agents(report):
    table = report["memory"].table
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["sequential, lag 1"] == ("1", "65.50", "-", "65.50", "32.75")  # the median of 60 to 71
    assert rows["multiprocess, lag 1"] == ("3", "65.50", "131", "196.5", "98.25")
    widths = [patch.get_width() for patch in report["memory"].picture.axes[0].patches]
    assert widths == pytest.approx([65.5, 65.5, np.nan, 131], nan_ok=True)  # what is not there has no edge either


def test_runs_without_samples_have_no_figure_of_memory(tmp_path):
    finished_run(tmp_path, leave_out=("acting_load",))
    assert "samples of run sequential-lag1-seed0" in make(tmp_path).left_out["memory"]


def test_a_speed_up_is_the_mean_of_the_ratios_of_equal_seeds_beside_what_is_ideal(report):
    row = report["speedup"].table.rows[0]
    ratio = np.mean([10 / 5, 11 / 6, 12 / 7])
    assert row[:2] == ("multiprocess, lag 1", "sequential, lag 1") and row[2].startswith(f"{ratio:.3f} [")
    assert row[3] == "2"  # of three processes, on two cores
    (axes,) = report["speedup"].picture.axes
    assert axes.patches[0].get_width() == pytest.approx(ratio)
    drawn = [set(path.vertices[:, 0]) for lines in axes.collections for path in lines.get_paths()]
    assert {2.0} in drawn


def test_an_interval_of_a_speed_up_is_drawn_to_its_end(tmp_path):
    for seed, wall_s in enumerate((2.0, 5.0, 11.0)):
        finished_run(tmp_path, "sequential", seed=seed)
        finished_run(tmp_path, "multiprocess", seed=seed, wall_s=wall_s)
    axes = make(tmp_path, figures=["speedup"])["speedup"].picture.axes[0]
    high = estimate([10 / 2, 10 / 5, 10 / 11]).high
    assert max(line[1][0] for bars in axes.collections for line in bars.get_segments()) == pytest.approx(high)
    assert axes.get_xlim()[1] > high


def test_runs_of_worlds_with_other_settings_have_a_report(tmp_path):
    pytest.importorskip("gymnasium")
    finished_run(tmp_path, "sequential", config=CONFIG.replace(world="gymnasium:CartPole-v1"), name="pole")
    finished_run(tmp_path, "multiprocess")
    made = make(tmp_path, bands=False, figures=["reward", "memory"])
    assert (
        "env_id = CartPole-v1" in made["reward"].caption
        and "world.height" not in made["memory"].caption.split("Settings")[1]
    )


def test_the_timeline_has_a_lane_per_process_over_equally_many_seconds_of_a_run_of_each_mode(report):
    one, several = report["timeline"].picture.axes
    assert titles(report["timeline"]) == ["(a) sequential, lag 1", "(b) multiprocess, lag 1"]
    assert one.get_ylim() == (1, 0) and several.get_ylim() == (3, 0)
    assert np.ptp(one.get_xlim()) == pytest.approx(4 * 10 / 12) == pytest.approx(np.ptp(several.get_xlim()))
    assert np.mean(several.get_xlim()) == pytest.approx(2.5)  # the middle of its five seconds
    assert [label.get_text() for label in several.get_yticklabels()] == ["actor", "learner 0", "learner 1"]
    key = [text.get_text() for text in report["timeline"].picture.legends[0].get_texts()]
    assert key == ["waiting", "acting", "syncing", "learning", "updating", "other"]


def test_the_numbers_of_the_timeline_are_shares_of_the_whole_training(report):
    table = report["timeline"].table
    assert table.head == (
        "run", "process", "working", "on a core", "waiting", "other", "acting", "syncing", "learning", "updating"
    )  # fmt: skip
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["sequential, lag 1", "sequential"][:5] == ("100.0 %", "50.0 %", "0.0 %", "0.0 %", "45.0 %")
    assert rows["multiprocess, lag 1", "learner 1"][:4] == ("50.0 %", "25.0 %", "50.0 %", "0.0 %")
    assert "learner 1 works 50% of the time and is on a core for 25% of it, waits 50%" in report["timeline"].caption


def test_the_stretch_of_time_of_a_timeline_can_be_chosen(runs, tmp_path):
    picture = make(runs, figures=["timeline"], columns="single", last=1.5, until=4)["timeline"].picture
    assert [axes.get_xlim() for axes in picture.axes] == [(2.5, 4), (2.5, 4)]
    with pytest.raises(ConfigError, match=r"until is 400 s; what is recorded of run .* reaches"):
        make(runs, until=400)
    finished_run(tmp_path, leave_out=["spans"])
    finished_run(tmp_path, seed=1)
    assert "seed1 from" in make(tmp_path, figures=["timeline"])["timeline"].caption


def test_a_timeline_needs_a_run_that_recorded_one(tmp_path):
    finished_run(tmp_path, leave_out=["spans"])
    with pytest.raises(ReportError, match=r"none of the 1 runs did: .* launched without one; .*--timeline"):
        make(tmp_path, figures=["timeline"])
    assert "timeline" in make(tmp_path).left_out


def test_the_ideal_counts_the_actor_where_it_may_work_beside_the_learners(tmp_path):
    one = CONFIG.replace(**{"processes.learners": 1})
    for mode, lag in (("sequential", 0), ("multiprocess", 0), ("multiprocess", 1)):
        finished_run(tmp_path, mode, lag, config=one, cores=8)
    rows = make(tmp_path, bands=False)["speedup"].table.rows
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("multiprocess, lag 0", "sequential, lag 0", "1"), ("multiprocess, lag 1", "sequential, lag 0", "2"),
    ]  # fmt: skip


def test_the_matrix_names_every_fault_at_both_widths(runs, matrix_file):
    lines = full_data()["faults"]
    for columns, width in (("single", 3.4), ("double", 7.0)):
        figure = make(runs, figures=["fault_matrix"], matrix=matrix_file, columns=columns)["fault_matrix"]
        names = [label.get_text() for label in figure.picture.axes[0].get_yticklabels()]
        assert names == [line["name"] for line in lines] == [row[0] for row in figure.table.rows]
        assert figure.picture.get_figwidth() == width and "36 of 37 faults were noticed" in figure.caption


def test_without_bands_a_sweep_has_none_either_and_they_can_be_had_where_there_are_seeds_enough(tmp_path):
    for seed, rate in itertools.product(range(2), (1e-3, 3e-3)):
        finished_run(
            tmp_path, seed=seed, config=CONFIG.replace(learning={"learning_rate": rate}), name=f"{rate}-{seed}"
        )
    made = make(tmp_path, bands=None)
    assert made["sweep"].table.rows[0][1] == "50.50 ± 6.35" and "95 % intervals" in made["sweep"].caption
    assert "no intervals are drawn" in made["reward"].caption
    without = make(tmp_path, bands=False)["sweep"]
    assert without.table.rows[0][1] == "50.50" and "interval" not in without.caption.partition("Groups")[0]
    assert len(without.picture.axes[0].collections) < len(made["sweep"].picture.axes[0].collections)


def test_without_bands_one_seed_is_enough(tmp_path):
    finished_run(tmp_path)
    figure = make(tmp_path, figures=["reward"], bands=False)["reward"]
    assert not figure.picture.axes[0].collections and "no intervals are drawn" in figure.caption


def test_a_run_without_finite_values_leaves_a_gap_and_is_said(tmp_path):
    for seed in range(3):
        finished_run(tmp_path, seed=seed, loss=np.nan if seed == 1 else 1.0)
    made = make(tmp_path, figures=["loss_and_q"])
    words = (
        "Values that are not finite are left out of the moving averages (2 of 3 runs are finite, seed 1 not from update"
    )
    assert words in made["loss_and_q"].caption
    (line,) = [line for line in made["loss_and_q"].picture.axes[0].lines if line.get_zorder() == 3]
    assert np.isnan(line.get_ydata()).all()  # a mean of the other two would flatter the group
    made.save(tmp_path / "out")


def test_lost_records_are_said_in_the_caption(tmp_path):
    finished_run(tmp_path, lost=1234, name="gappy")
    assert "Records were lost on their way to the run folder: 1,234 of gappy." in make(tmp_path)["sync_lag"].caption


def test_text_in_print_is_legible_and_within_the_figure(report):
    for name in report:
        picture = report[name].picture
        picture.canvas.draw()
        for text in picture.findobj(lambda each: hasattr(each, "get_fontsize")):
            if text.get_text() and text.get_visible():
                assert text.get_fontsize() >= 3.9, (name, text.get_text())
        for label in [each for axes in picture.axes for each in axes.get_yticklabels() if each.get_text()]:
            assert label.get_window_extent().x0 >= -1, (name, label.get_text())


# --- many runs, odd runs ---------------------------------------------------------------------------------------------


def say(path, **said):
    """Let the description of a run say something else."""
    head = json.loads((path / "run.json").read_text())
    head["description"] |= said
    (path / "run.json").write_text(json.dumps(head))


@pytest.mark.parametrize(
    "references", [{}, {name: {"mean": 7.0, "sd": 0.0, "epochs": 9} for name in ("random", "scripted")}]
)
def test_rewards_that_cannot_be_normalised_cost_their_figures_and_no_other(references, tmp_path):
    for seed in range(3):
        path = finished_run(tmp_path, seed=seed)
    say(path, references=references)
    made = make(tmp_path, pool=["world.spawn_prob"])
    assert re.search(r"run sequential-lag1-seed2 cannot be normalised: .*earns (7|nan)", made.left_out["reward"])
    assert {"loss_and_q", "sync_lag"} <= set(made)
    page = made._repr_html_()  # what a notebook shows
    assert page.count("<table") == 2 and "sync_lag" in page and "cannot be normalised" in page


def test_the_wall_time_of_a_resumed_run_has_no_part_in_which_nothing_ran(tmp_path):
    finished_run(tmp_path, name="straight")
    path = finished_run(tmp_path, name="resumed", seed=1)
    history = workbench.load(path).history
    for table in ("updates", "epochs", "evaluations"):
        records = history.table(table).copy()
        records["time"][records["time"] > START + 5] += 3600  # it was stopped for an hour
        file = next(path.glob(f"{table}*"))
        file.write_bytes(file.read_bytes()[: -records.nbytes] + records.tobytes())
    say(path, resumed=[{"time": START + 3600, "epoch": 6, "changed": {}}])
    straight, resumed = (series_over_time(tmp_path / name) for name in ("straight", "resumed"))
    np.testing.assert_allclose(resumed, straight, atol=1.0)


def series_over_time(path):
    """Wall time of the points of a run's reward in the report."""
    run = workbench.load(path)
    return wall_time(run, run.history.series("charts/reward", over="time")[0])


def test_an_extended_run_is_a_group_of_its_own_and_every_place_it_was_at_is_named(tmp_path):
    finished_run(tmp_path, name="straight")
    path = finished_run(tmp_path, name="extended")
    first = {"host": "there", "pid": 1, "cpu": "an older one", "cores": 4, "commit": "fedcba9876543210", "versions": {}}
    say(path, resumed=[{
        "epoch": 6, "changed": {"epochs": [6, 12]}, "step_size": [1e-4, 5.65e-4], "machine": first, "device": "cpu",
    }])  # fmt: skip
    made = make(tmp_path, bands=False)
    extended = "epochs 6 → 12 at epoch 6 (step size 0.0001 → 0.000565)"
    assert [group.label for group in made.selection.groups] == [
        "sequential, lag 1", f"sequential, lag 1, changed on the way = {extended}",
    ]  # fmt: skip
    for words in (extended, "a processor, 2 cores and an older one, 4 cores", "0123456789ab", "fedcba987654"):
        assert words in made["reward"].caption
    assert extended in str(workbench.runs(tmp_path)[0].relations | workbench.runs(tmp_path)[1].relations)


def test_a_damaged_folder_is_left_out_by_name(tmp_path):
    for seed in range(3):
        finished_run(tmp_path, seed=seed)
    for name in ("cut", "old", "odd"):
        finished_run(tmp_path, seed=9, name=name)
    (tmp_path / "cut" / "result.json").write_text("{")
    (tmp_path / "old" / "run.json").write_text('{"format": 1}')
    (tmp_path / "odd" / "result.json").write_text('{"reward": 3}')
    for name, field in (("bare", "machine"), ("cloud", "cores")):
        file = finished_run(tmp_path, mode="multiprocess", seed=9, name=name) / "run.json"
        head = json.loads(file.read_text())
        del (head["description"] if field == "machine" else head["description"]["machine"])[field]
        file.write_text(json.dumps(head))
    made = make(tmp_path)
    assert len(made.selection.runs) == 3 and "reward" in made
    assert [re.split("[ :]", why)[0] for why in made.selection.left_out] == ["bare", "cloud", "cut", "odd", "old"]
    assert all("cannot be read" in why for why in made.selection.left_out)


def test_many_seeds_and_great_numbers_are_short_in_words(tmp_path):
    assert listed(range(1100)) == "0 to 1099" and listed([2, 0, 1, 7, 8, 9, 10]) == "0, 1, 2, 7 to 10"
    assert listed(range(0, 2200, 2)) == "1,100 seeds from 0 to 2198"
    for seed in range(5):
        finished_run(tmp_path, seed=seed, loss=1e30)
    made = make(tmp_path)
    assert "seeds 0 to 4; 5 runs" in made["loss_and_q"].caption and "1e+30" in made["loss_and_q"].caption
    assert not re.search(r"\d{30}|(,\d{3}){9}", made.page)
    assert fixed(-1e300, 1) == "-1e+300" and fixed(12.34, 1) == "12.3"


def test_a_run_of_one_update_lacks_no_records(tmp_path):
    short = CONFIG.replace(**{"epochs": 2, "replay.learning_starts": 40, "pacing.updates_per_epoch": 1})
    finished_run(tmp_path, config=short, name="short")
    left = make(tmp_path, bands=False).left_out
    assert "of which run short has 1 of at least 2 points" in left["loss_and_q"]
    assert "(it is 4) of half of them at most" in left["greedy_reward"]


@pytest.mark.parametrize("columns", ["single", "double"])
def test_many_groups_with_long_names_have_room_or_are_refused_with_the_number_that_fits(columns, tmp_path):
    for place in range(16):
        swept = {"learning.learning_rate": 1e-4 * (1 + place), "learning.tau": 0.01 + place / 1e3}
        swept["learning.gamma"] = 0.9 + place / 1e3
        finished_run(tmp_path, name=f"run-{place}", config=CONFIG.replace(**swept))
    made = make(tmp_path, bands=False, columns=columns, figures=["reward", "sync_lag", "memory", "sweep"])
    for figure in made.figures.values():
        width, height = figure.picture.get_size_inches()
        assert all(axes.get_position().height * height > 1.3 for axes in figure.picture.axes) and height < 9.6
        left, _, wide, _ = figure.picture.get_tightbbox(figure.picture.canvas.get_renderer()).bounds
        assert left >= 0 and left + wide <= width
    for place in range(16, 30):
        rate = {"learning.learning_rate": 1e-4 * (1 + place)}
        finished_run(tmp_path, name=f"run-{place}", config=CONFIG.replace(**rate))
    refused = make(tmp_path, bands=False, columns=columns).left_out["reward"]
    assert re.search(r"there are 30 groups; .* tells (1\d|2\d) ", refused)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_legend_of_many_groups_says_what_differs_and_leaves_room_for_the_curves(tmp_path):
    for rate, capacity in itertools.product((1e-4, 3e-4, 5e-4, 7e-4, 1e-3, 2e-3), (400, 800)):
        config = CONFIG.replace(learning={"learning_rate": rate}, replay={"capacity": capacity})
        finished_run(tmp_path, config=config, name=f"{rate}-{capacity}")
    picture = make(tmp_path, bands=False, figures=["reward"])["reward"].picture
    (legend,) = picture.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:2] == ["capacity = 400, learning_rate = 0.0001", "capacity = 800, learning_rate = 0.0001"]
    assert legend.get_window_extent().height < picture.bbox.height / 3


def test_one_of_something_is_no_plural(tmp_path):
    finished_run(tmp_path, config=CONFIG.replace(**{"world.num_agents": 1}))
    made = make(tmp_path, bands=False, figures=["reward"])
    assert "<Report on 1 run in 1 group: " in repr(made) and "Task: 1 agent in " in made["reward"].caption


def test_the_results_of_many_groups_have_a_row_for_each_and_of_a_few_a_column(tmp_path):
    for place in range(5):
        config = CONFIG.replace(learning={"learning_rate": 1e-4 * (1 + place)})
        finished_run(tmp_path, config=config, name=f"run-{place}")
    many, few = (make(found, bands=False).results for found in (tmp_path, [tmp_path / "run-0", tmp_path / "run-1"]))
    assert many.head[1:3] == ("seeds", "greedy reward") and len(many.rows) == 5 and "learning_rate" in many.rows[0][0]
    assert len(few.head) == 3 and few.rows[1][0] == "greedy reward" and few.rows[1][1] == many.rows[0][2]


def test_points_of_a_sweep_lie_about_their_tick_and_a_free_lag_is_called_so(tmp_path):
    for rate, lag in [(1e-3, 0), (1e-3, 1), (3e-3, 1), (1e-3, None)]:
        config = CONFIG.replace(learning={"learning_rate": rate})
        finished_run(tmp_path, "multiprocess", lag, config=config, name=f"{rate}-{lag}")
    figure = make(tmp_path, bands=False, figures=["sweep"])["sweep"]
    (axes,) = [axes for axes in figure.picture.axes if axes.get_xlabel() == "lag"][:1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "free"]
    places = sorted(axes.lines[0].get_xdata())
    assert places[0] == 0 and places[-1] == 2 and places[1] + places[2] == pytest.approx(2)


def test_runs_with_a_fault_are_no_cell_of_those_without(tmp_path):
    for rate, faults in itertools.product((1e-3, 3e-3), ((), ("sync_rarely=5",))):
        config = CONFIG.replace(learning={"learning_rate": rate})
        finished_run(tmp_path, faults=faults, config=config, name=f"{rate}-{len(faults)}")
    figure = make(tmp_path, bands=False, figures=["sweep"])["sweep"]
    assert figure.table.head[:2] == ("faults", "learning.learning_rate")
    assert [row[:2] for row in figure.table.rows] == [
        ("none", "0.001"), ("none", "0.003"), ("sync_rarely=5", "0.001"), ("sync_rarely=5", "0.003"),
    ]  # fmt: skip
    assert len({text.get_position() for text in figure.picture.axes[2].texts}) == 4  # of the heat map


def test_a_swept_setting_may_be_a_list(tmp_path):
    for place, desc in enumerate((["SF", "FG"], ["SFF", "FFF", "FFG"])):
        world = {"world": "gymnasium:FrozenLake-v1", "world.env_args": {"desc": desc}}
        finished_run(tmp_path, config=CONFIG.replace(**world), name=f"map-{place}")
    table = make(tmp_path, bands=False)["sweep"].table
    assert {row[0] for row in table.rows} == {"['SF', 'FG']", "['SFF', 'FFF', 'FFG']"}


def test_the_results_say_which_run_has_no_finite_number(tmp_path):
    for seed in range(3):
        path = finished_run(tmp_path, seed=seed)
        if seed == 1:
            result = json.loads((path / "result.json").read_text())
            (path / "result.json").write_text(json.dumps(result | {"greedy_reward": None}))
    (row,) = [row for row in make(tmp_path, bands=False).results.rows if row[0] == "greedy reward"]
    assert row[1] == "2 of 3 runs finite, not seed 1"


@pytest.mark.parametrize("name", ["greedy_reward", "reward", "loss_and_q"])
def test_a_figure_that_needs_several_seeds_says_so(name, tmp_path):
    finished_run(tmp_path, seed=4)
    with pytest.raises(ReportError) as refusal:
        make(tmp_path, figures=[name])
    for words in (name, "at least 3 seeds", "sequential, lag 1 has 1 (seed 4)", "--seed N", "--no-bands"):
        assert words in str(refusal.value)


def test_a_curve_that_was_not_recorded_is_named_with_its_run_and_the_remedy(tmp_path):
    for seed in range(3):
        finished_run(tmp_path, seed=seed, leave_out=["evaluations"] if seed == 1 else [])
    with pytest.raises(
        ReportError, match=r"greedy_reward needs .* charts/greedy_reward, of which run .* has 0 of at least 2 points"
    ):
        make(tmp_path, figures=["greedy_reward"])
    made = make(tmp_path)
    assert "or leave the run out" in made.left_out["greedy_reward"] and "reward" in made.figures
    with pytest.raises(ReportError, match="has 0 of at least 2 points"):
        made["greedy_reward"]


def test_only_a_final_evaluation_is_no_curve(tmp_path):
    for seed in range(3):
        finished_run(tmp_path, seed=seed, config=CONFIG.replace(**{"evaluation.interval": 0}))
    with pytest.raises(ReportError, match=r"has 1 of at least 2 points .* with an evaluation.interval \(it is 0\)"):
        make(tmp_path, figures=["greedy_reward"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"figures": ["loss"]}, "there is no figure 'loss'; choose from greedy_reward"),
        ({"columns": "wide"}, "columns is 'wide'; it must be one of single, double"),
        ({"smoothing": 1}, "smoothing is 1"),
        ({"pool": ["world.size"]}, "there is no setting 'world.size' to pool"),
        ({"matrix": "gone.json"}, "cannot read gone.json"),
        (
            {"figures": ["fault_matrix"]},
            "figure fault_matrix needs the file of a matrix; make it with `python -m tests.campaigns.matrix`",
        ),
        ({"figures": ["fault_matrix"], "matrix": "own.json"}, "the matrix lacks 'faults'"),
    ],
)
def test_mistakes_are_named(options, message, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.json").write_text("{}")
    with pytest.raises(ReportError, match=re.escape(message)):
        make(runs, **options)


def test_a_speed_up_needs_both_modes(tmp_path):
    finished_run(tmp_path)
    with pytest.raises(ReportError, match=r"needs a sequential and a multiprocess run .* found are sequential, lag 1"):
        make(tmp_path, figures=["speedup"])


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(519.24, "519.2"), (0.12345, "0.1235"), (12345.6, "12,346"), (2.0, "2"), (0.0, "0"), (None, "-"),
     (float("nan"), "-"), (0.000012345, "1.23e-05"), (-3.14159, "-3.142")],
)  # fmt: skip
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


def test_an_interval_has_the_same_decimals_throughout():
    assert interval(Estimate(-11.5, -18.46, -0.1667)) == "-11.50 [-18.46, -0.17]"
    assert interval(Estimate(2.5, float("nan"), float("nan"))) == "2.500"


def test_a_table_is_aligned_in_markdown_and_escaped_in_latex():
    table = Table(("group", "n"), (("sync_rarely=5 | 50 %", "12"), ("a", "3")))
    lines = table.markdown.splitlines()
    assert lines[1] == "|:" + "-" * 22 + "|----:|" and len({len(line) for line in lines}) == 1
    assert r"sync\_rarely=5 | 50 \% & 12 \\" in table.latex and r"\begin{tabular}{lr}" in table.latex
    with pytest.raises(ValueError, match="another length"):
        Table(("a", "b"), (("x",),))


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(runs, tmp_path):
    """In another process with other hashes, other settings of matplotlib, another order, and copies of the folders."""
    copies = tmp_path / "copies"
    shutil.copytree(runs, copies)
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nfont.family: serif\naxes.facecolor: red\npdf.fonttype: 3\n")
    command = [sys.executable, "-m", "workbench", "figures", *sorted(map(str, copies.iterdir()), reverse=True)]
    environment = os.environ | {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    subprocess.run([*command, "--out", tmp_path / "other"], env=environment, check=True, capture_output=True)
    here = make(runs).save(tmp_path / "here")
    assert {path.name for path in here} == {path.name for path in (tmp_path / "other").iterdir()}
    assert [path.name for path in here if path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()] == []


def test_showing_a_figure_first_changes_no_file(runs, tmp_path):
    shown, fresh = (make(runs, figures=["loss_and_q", "speedup"]) for _ in range(2))
    for name in shown:
        data, about = shown[name]._repr_png_()
        assert data.startswith(b"\x89PNG") and about["alt"]
    pairs = zip(shown.save(tmp_path / "one"), fresh.save(tmp_path / "two"), strict=True)
    assert [one.name for one, two in pairs if one.read_bytes() != two.read_bytes()] == []


def test_fonts_are_embedded_letters_are_outlines_and_no_file_knows_a_date_or_a_path(report, tmp_path):
    written = report.save(tmp_path / "out")
    for name in FIGURES:
        assert {f"{name}{suffix}" for suffix in (".pdf", ".svg", ".png", ".txt", ".md", ".tex")} <= {
            path.name for path in written
        }
        pdf, svg = (tmp_path / "out" / f"{name}.pdf").read_bytes(), (tmp_path / "out" / f"{name}.svg").read_text()
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/CreationDate" not in pdf
        assert "<text" not in svg and "<dc:date>" not in svg and "<title>" in svg
    for path in written:
        assert str(tmp_path).encode() not in path.read_bytes() and b"somewhere" not in path.read_bytes()
    page = (tmp_path / "out" / "report.md").read_text()
    assert all(f"]({name}.png)" in page for name in FIGURES)


def test_settings_of_the_caller_are_left_alone(runs):
    import matplotlib

    before = dict(matplotlib.rcParams)
    make(runs, figures=["sync_lag"])
    assert dict(matplotlib.rcParams) == before


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_what_it_can_and_says_what_it_cannot(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert main(["figures", str(runs), "--out", str(tmp_path / "out"), "--columns", "single"]) == 0
    shown = capsys.readouterr()
    assert "no figure fault_matrix: figure fault_matrix needs the file of a matrix" in shown.err
    assert "greedy reward " in shown.out and f"files in {tmp_path / 'out'}" in shown.out
    assert (tmp_path / "out" / "greedy_reward.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "greedy_reward"], "needs at least 3 seeds"),
        ([], "no figure could be made"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "data"))
    run = finished_run(tmp_path, leave_out=["epochs", "spans", "acting_load"])
    assert main(["figures", str(run), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""The matrix without its runs: what is planned, how runs are made two at a time, and the table that follows."""

import itertools
import json
import re

import numpy as np
import pytest

from tests.campaigns import matrix
from tests.campaigns.matrix import Case, Matrix
from workbench.core.config import ConfigError
from workbench.diagnose.catalogue import CHECKS, fault_names
from workbench.diagnose.faults import FAULTS, prepare
from workbench.report.fault_matrix import matrix_figure
from workbench.runs.folder import RecordError
from workbench.runs.launch_rules import check_launch

FULL = matrix.matrix_config("full")
QUICK = matrix.matrix_config("quick")


def record(fault="", seed=0, reward=100.0, noticed=(), mode="sequential", lag=1, status="finished", variant=""):
    noticed = dict(noticed)
    return {
        "fault": fault, "mode": mode, "lag": lag, "seed": seed, "variant": variant, "status": status,
        "noticed": noticed,
        "cannot_tell": [], "sentences": {check: f"{check} found something." for check in noticed},
        "greedy_reward": reward, "error": None, "wall_s": 1.0, "startup_s": 1.0,
    }  # fmt: skip


def sound(*rewards, **settings):
    return [record(seed=seed, reward=reward, **settings) for seed, reward in enumerate(rewards)]


# --- what is planned -------------------------------------------------------------------------------------------------


def test_the_full_plan_has_every_fault_and_the_whole_sound_system():
    cases = matrix.plan(FULL, "full")
    runs = [case for case in cases if not case.fault]
    assert len(runs) >= 20 and len(set(cases)) == len(cases)
    assert {(case.mode, case.lag) for case in runs} == {
        *itertools.product(["sequential", "multiprocess"], [0, 1, 3]), ("multiprocess", None),
    }  # fmt: skip
    faults = [case.fault.partition("=")[0] for case in cases if case.fault]
    assert set(faults) == set(FAULTS) == set(fault_names())
    assert all(faults.count(name) == 10 for name in FAULTS)


@pytest.mark.parametrize("budget", ["full", "quick"])
def test_every_planned_run_would_be_accepted_and_has_sound_runs_to_be_compared_with(budget):
    config = matrix.matrix_config(budget)
    cases = matrix.plan(config, budget)
    there = {(case.lag, case.seed, case.variant) for case in cases if not case.fault}
    for case in cases:
        check_launch(case.config(config), case.mode, case.lag)
        prepare([case.fault] if case.fault else [], case.config(config), case.mode, case.lag)
        assert (case.lag, case.seed, case.variant) in there or case.variant == "impatient"
        assert re.fullmatch(r"[\w.-]{1,100}", case.name)  # as a run folder may be called
    assert len({case.name for case in cases}) == len(cases)


def test_both_modes_have_seeds_of_their_own_at_the_same_lag():
    """The same ones would give the same run twice, and the spread would seem smaller than it is."""
    runs = [case for case in matrix.plan(FULL, "full") if not case.fault]
    assert len({(case.lag, case.seed, case.variant) for case in runs}) == len(runs)


def test_a_choice_of_faults_comes_with_the_sound_runs_of_its_lags():
    cases = matrix.plan(FULL, "full", ["sync_rarely=5"], seeds=3)
    assert {(case.fault, case.mode, case.lag) for case in cases} == {
        ("", "sequential", 1), ("sync_rarely=5", "sequential", 1),
    }  # fmt: skip
    assert sorted(case.seed for case in cases) == [0, 0, 1, 1, 2, 2]
    free = matrix.plan(FULL, "full", ["unpaced_learner"], seeds=1)
    assert {(case.mode, case.lag) for case in free} == {("multiprocess", None)}
    assert {(case.fault[:8], case.variant) for case in free} == {
        ("", ""), ("", "few updates per epoch"), ("unpaced_", "few updates per epoch"),
    }  # fmt: skip


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ConfigError, match="did you mean sync_never"):
        matrix.plan(FULL, "full", ["sync_nevr"])
    with pytest.raises(ConfigError, match="seeds is 0"):
        matrix.plan(FULL, "full", seeds=0)
    with pytest.raises(ConfigError, match="budget is 'huge'"):
        matrix.matrix_config("huge")
    with pytest.raises(ConfigError, match=r"kill_actor=200.*makes no sense in any mode of the matrix: it would happen"):
        matrix.plan(FULL, "full", ["kill_actor=200"])


# --- how runs are made -----------------------------------------------------------------------------------------------


class FakeRun:
    """A run that ends at the third look."""

    going, most, stopped = 0, 0, 0

    def __init__(self):
        self.looks = 0
        FakeRun.going += 1
        FakeRun.most = max(FakeRun.most, FakeRun.going)
        self.progress = {"elapsed_s": 1.0}

    def wait(self, timeout):
        self.looks += 1
        if self.looks < 3:
            raise TimeoutError
        FakeRun.going -= 1

    def stop(self):
        FakeRun.stopped += 1


@pytest.fixture
def fakes(monkeypatch):
    for name in ("going", "most", "stopped"):
        monkeypatch.setattr(FakeRun, name, 0)
    monkeypatch.setattr(matrix, "_launch", lambda case, config, folder: FakeRun())
    monkeypatch.setattr(matrix, "record_of", lambda case, run: record(case.fault, case.seed))


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_no_more_runs_than_jobs_go_on_at_a_time(fakes, tmp_path, jobs):
    cases, kept = [Case("", "sequential", 1, seed) for seed in range(7)], []
    matrix.run_cases(cases, FULL, kept.append, jobs, tmp_path)
    assert sorted(each["seed"] for each in kept) == list(range(7))
    assert FakeRun.most == jobs and FakeRun.stopped == 0


def test_an_interruption_stops_what_is_running_and_loses_nothing_that_was_kept(fakes, tmp_path):
    kept = []

    def keep(what):
        kept.append(what)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        matrix.run_cases([Case("", "sequential", 1, seed) for seed in range(5)], FULL, keep, 2, tmp_path)
    assert len(kept) == 1 and FakeRun.stopped == FakeRun.going == 1


def test_the_file_is_whole_after_every_run_and_is_gone_on_with(fakes, tmp_path):
    path, lines = tmp_path / "matrix.json", []
    first = matrix.run_matrix(path, "quick", "a command", lines.append, ["sync_never"])
    assert [line.partition("  ")[0] for line in lines] == ["1 of 2", "2 of 2"]
    assert json.loads(path.read_text()) == first and first["command"] == "a command"
    again = matrix.run_matrix(path, "quick", "a command", lines.append, ["sync_never", "stale_reset"])
    assert len(lines) == 3 and [line["name"] for line in again["faults"]] == ["stale_reset", "sync_never"]
    fresh = matrix.run_matrix(path, "quick", "a command", lines.append, ["sync_never"], fresh=True)
    assert len(lines) == 5 and [line["name"] for line in fresh["faults"]] == ["sync_never"]


def test_a_file_of_another_configuration_or_no_file_of_ours_is_refused(tmp_path):
    path = tmp_path / "matrix.json"
    Matrix(path, QUICK, "", budget="quick").keep(record())
    assert len(Matrix(path, QUICK, "", budget="quick").runs) == 1
    with pytest.raises(RecordError, match="another config, and one file must not mix them"):
        Matrix(path, QUICK.replace(epochs=25), "", budget="quick")
    path.write_text("[]")
    with pytest.raises(RecordError, match="is damaged"):
        Matrix(path, QUICK, "", budget="quick")


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_fault_is_noticed_only_if_its_own_check_saw_it_in_every_run():
    runs = [record("sync_never", 0, noticed={"sync": 1}), record("sync_never", 1, noticed={"sync": 4, "value": 2})]
    line = matrix.fault_line(runs, [])
    assert line["noticed"] and line["epochs_to_notice"] == 4
    assert line["noticed_by"] == ["sync"] and line["noticed_in"] == {"sync": 2, "value": 1}
    assert line["first_epochs"] == {"sync": [1, 4], "value": [None, 2]}
    assert (line["expected_probe"], line["ids"], line["seeds"]) == ("sync", ["W3"], [0, 1])

    runs[1]["noticed"] = {"value": 2}
    line = matrix.fault_line(runs, [])
    assert not line["noticed"] and line["epochs_to_notice"] is None and line["noticed_by"] == []


def test_the_effect_is_taken_against_the_sound_runs_of_the_same_lag_and_seeds():
    runs = [record("sync_never", 0, 40.0), record("sync_never", 1, 44.0)]
    others = [record(reward=1000.0, lag=0), record(reward=1000.0, variant="noisy"), record(seed=7, reward=1000.0)]
    line = matrix.fault_line(runs, [*others, *sound(100.0, 104.5)])
    assert line["effect"] == -60.25 and line["effect_interval"] == pytest.approx([-63.43, -57.07], abs=0.01)
    assert line["chance"] == pytest.approx(0.0026, abs=1e-4)
    assert matrix.fault_line(runs, sound(40.0, 44.0))["effect_interval"] == [0, 0]


def test_what_is_called_measurable_counts_how_much_was_tried():
    near = [record("sync_never", seed, 40.0 + seed) for seed in range(3)]
    far = [record("stale_reset", seed, reward) for seed, reward in enumerate((90.0, 93.0, 104.0))]
    beside = sound(100.0, 101.5, 102.0)
    alone, both = matrix.summary([*near, *beside])["faults"], matrix.summary([*near, *far, *beside])["faults"]
    assert alone[0]["measurable"] is True
    assert {line["name"]: line["measurable"] for line in both} == {"sync_never": True, "stale_reset": False}


def test_a_variant_of_processes_alone_is_compared_with_the_sound_runs_of_the_task_itself():
    runs = [record("hang_learner=5", seed, 44.0, variant="impatient", mode="multiprocess") for seed in (0, 1)]
    assert matrix.fault_line(runs, sound(100.0, 104.0))["effect"] == -58
    assert (
        matrix.fault_line(runs, [record(seed=seed, reward=1.0, variant="noisy") for seed in (0, 1)])["effect"] is None
    )


@pytest.mark.parametrize("missing", ["own", "sound", "other seed"])
def test_without_a_reward_there_is_no_effect(missing):
    runs, beside = [record("sync_never", 0), record("sync_never", 1)], sound(1.0, 2.0)
    if missing == "own":
        runs[1]["greedy_reward"] = None
    elif missing == "sound":
        beside[0]["greedy_reward"] = None
    else:
        beside = beside[:1]
    line = matrix.fault_line(runs, beside)
    assert line["effect"] is None and line["effect_interval"] is None and line["chance"] is None


def test_an_alarm_of_the_sound_system_is_listed_with_its_run():
    runs = sound(100.0, 110.0, 120.0)
    assert matrix.sound_line(runs) == {
        "runs": 3, "alarms": [], "unfinished": [], "reward_mean": 110.0, "reward_sd": 10.0,
    }  # fmt: skip
    runs[1] |= {"noticed": {"pacing": 3}, "sentences": {"pacing": "It ran ahead."}}
    assert matrix.sound_line(runs)["alarms"] == [
        {"mode": "sequential", "lag": 1, "seed": 1, "variant": "", "check": "pacing", "sentence": "It ran ahead."}
    ]


def test_a_matrix_is_sound_without_misses_alarms_and_runs_that_never_ended():
    def data(noticed, *runs):
        return matrix.summary([record("sync_never", noticed=noticed), *runs])

    assert matrix.is_sound(data({"sync": 1}, record()))
    assert matrix.not_noticed(data({"value": 1}, record())) == ["sync_never"]
    assert not matrix.is_sound(data({"value": 1}, record()))
    assert not matrix.is_sound(data({"sync": 1}, record(noticed={"sync": 1})))
    assert not matrix.is_sound(data({"sync": 1}, record(status="stopped", reward=None)))


def test_a_refused_run_says_so_and_keeps_its_strength_and_setting():
    refused = record("device_mismatch", noticed={"device": 0}, status="failed", reward=None)
    line = matrix.fault_line([refused], sound(1.0))
    assert line["outcome"] == "refused" and line["epochs_to_notice"] == 0 and line["strength"] is None
    killed = record("kill_actor=5", noticed={"supervisor": 5}, status="failed", reward=None, mode="multiprocess")
    line = matrix.fault_line([killed], [])
    assert (line["outcome"], line["name"], line["strength"]) == ("failed", "kill_actor", 5)
    assert (line["mode"], line["lag"]) == ("multiprocess", 1)


# --- what is shown ---------------------------------------------------------------------------------------------------


def full_data():
    """Every fault, with all kinds of outcome."""
    rng, runs = np.random.default_rng(0), sound(*np.linspace(95.0, 110.0, 3))
    for place, name in enumerate(FAULTS):
        seen = {matrix.check_of_fault(name): place % 6, CHECKS[place % len(CHECKS)]: 1} if place != 4 else {}
        refused = FAULTS[name].refuses
        for seed in range(2):
            reward = None if refused else float(rng.normal(60 + place, 6))
            runs.append(record(name, seed, reward, seen, status="failed" if refused else "finished"))
    return matrix.summary(runs) | {"machine": {"cpu": "a processor", "cores": 2}}


def test_the_table_has_a_line_for_every_fault_and_the_caption_one_on_the_sound_system():
    figure = matrix_figure(full_data())
    lines = {row[0]: row[1:] for row in figure.table.rows}
    assert list(lines) == list(FAULTS)
    assert lines["frames_mismatch"][3] == "refused"
    assert [row[2] for row in figure.table.rows].count("NO") == 1
    assert "Sound system: 3 runs, 0 alarms; greedy reward of the sound system 102.5" in figure.caption
    assert "36 of 37 faults were noticed by the check that must" in figure.caption


def test_the_figure_names_every_fault_and_check():
    effects, grid = matrix_figure(full_data()).picture.axes
    assert [label.get_text() for label in effects.get_yticklabels()] == list(FAULTS)
    assert [label.get_text() for label in grid.get_xticklabels()] == list(CHECKS)
    assert [text.get_text() for text in grid.texts].count("no") == 1


def test_the_figure_can_be_drawn_of_little():
    data = matrix.summary([record("sync_never", noticed={"sync": 1})]) | {"machine": {"cpu": "x", "cores": 2}}
    figure = matrix_figure(data)
    assert figure._repr_png_()[0].startswith(b"\x89PNG")
    assert "Sound system: 0 runs, 0 alarms." in figure.caption

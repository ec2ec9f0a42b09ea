"""The list of runs: every folder with its status, whatever its records are, and what cannot be read is said."""

import json
import os
import platform
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

import workbench as wb
from tests.unit.finished import CONFIG, START, finished_run
from tests.unit.watched import TABLES
from workbench.cli import main
from workbench.report.selection import select
from workbench.runs.folder import RecordError, RecordWarning, RunFolder
from workbench.runs.machine import process_mark
from workbench.runs.naming import labels
from workbench.runs.recovery.checkpoint import CheckpointError
from workbench.view.html import page


def edit(path, **changes):
    head = json.loads((path / "run.json").read_text())
    head["description"].update(changes)
    (path / "run.json").write_text(json.dumps(head))


def test_the_time_between_a_stop_and_a_resume_is_none_of_the_seconds_of_a_run(tmp_path):
    path, before = finished_run(tmp_path), wb.load(finished_run(tmp_path, seed=1)).progress
    for table in ("epochs", "updates"):
        records = np.fromfile(path / f"{table}.records", TABLES[table])
        records["time"][records["time"] > START + 5] += 86_400
        records.tofile(path / f"{table}.records")
    edit(path, resumed=[{"epoch": 6, "time": START + 86_400}])
    now = wb.load(path).progress
    assert before["elapsed_s"] - 1 < now["elapsed_s"] < before["elapsed_s"]
    assert now["updates_per_s"] >= before["updates_per_s"]


def test_runs_are_listed_oldest_first_with_status_and_checkpoint(tmp_path):
    second = finished_run(tmp_path, "multiprocess", lag=None, seed=4, created=2000.0, faults=("sync_never",))
    first = finished_run(tmp_path, "sequential", lag=2, created=1000.0)
    (first / "checkpoints").mkdir()
    for epoch in (40, 120):
        (first / "checkpoints" / f"epoch-{epoch:08d}.npz").touch()
    found = wb.runs(tmp_path)
    assert [(each.path, each.status, each.seed, each.checkpoint) for each in found] == [
        (first, "finished", 0, 120), (second, "finished", 4, None),
    ]  # fmt: skip
    assert found[1].label == "multiprocess, free-running, sync_never" and len(found[:1]) == 1
    assert found.columns == (
        "name",
        "status",
        "run",
        "seed",
        "epochs",
        "greedy_reward",
        "agent_steps_per_s",
        "created",
        "checkpoint",
    )
    assert "12 of 12" in repr(found) and repr(found).splitlines()[0].startswith("name ")


def test_a_run_whose_parent_died_is_cut_off_and_damage_is_named(tmp_path):
    cut_off = finished_run(tmp_path, created=1.0, name="cut-off")
    edit(cut_off, status="starting", machine={"host": platform.node(), "pid": 2**22 + 1})
    damaged = finished_run(tmp_path, created=2.0, name="damaged")
    (damaged / "run.json").write_text("{")
    assert {each.name: each.status for each in wb.runs(tmp_path)} == {"cut-off": "cut off", "damaged": "unreadable"}


def test_a_run_of_an_older_version_is_listed_as_such_in_a_line_that_can_be_read(tmp_path):
    path = finished_run(tmp_path, name="old")
    head = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(head | {"format": 2}))
    (found,) = wb.runs(tmp_path)
    assert found.status == "old format" and "format 2" in found.label
    assert "was made by an earlier version: format 2" in repr(wb.runs(tmp_path))
    assert all(len(line) <= 160 for line in repr(wb.runs(tmp_path)).splitlines())
    with pytest.raises(RecordError, match="format 2"):
        wb.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"created": 1e300}, {"created": float("nan")}, {"created": None}, {"config": []},
        {"status": "starting", "machine": {"host": platform.node(), "pid": 10**12}},
        {"status": "starting", "machine": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_one_odd_run_does_not_hide_the_others(tmp_path, change):
    good = finished_run(tmp_path, created=1.0, name="good")
    edit(finished_run(tmp_path, created=2.0, name="odd"), **change)
    (good / "checkpoints").mkdir()
    for name in ("epoch-00000120.npz", "epoch-00000160-good.npz", "epoch-00000200.npz.part", "epoch-00000240.damaged"):
        (good / "checkpoints" / name).touch()
    found = {each.name: each for each in wb.runs(tmp_path)}
    assert (found["good"].status, found["good"].checkpoint) == ("finished", 120)
    assert found["odd"].status == "unreadable" and "odd" in repr(wb.runs(tmp_path))
    (good / "run.json").write_text("{")  # and none is left whose settings are known
    assert wb.runs(tmp_path, columns=["name", "learning.learning_rate"]).table.rows == (("good", "-"), ("odd", "-"))


def test_another_process_with_the_number_of_the_parent_is_not_taken_for_it(tmp_path):
    path = finished_run(tmp_path)
    here = {"host": platform.node(), "pid": os.getpid()}
    for mark, status in ((process_mark(os.getpid()), "running"), ("another boot 17", "cut off"), (None, "running")):
        edit(path, status="starting", machine={**here, "process": mark})
        assert wb.runs(tmp_path)[0].status == status


def test_a_run_that_has_recorded_nothing_yet_is_starting(tmp_path):
    path = finished_run(tmp_path, leave_out=TABLES)
    edit(path, status="starting", machine={"host": platform.node(), "pid": os.getpid()})
    assert wb.runs(tmp_path)[0].status == wb.load(path).status == "starting"


def test_a_run_of_another_machine_is_resumed_only_if_somebody_says_that_it_is_over(tmp_path, capsys):
    """Containers and nodes come back under other names; whether the process is there cannot be seen from here."""
    path = finished_run(tmp_path)
    edit(path, status="starting", machine={"host": "somewhere else", "pid": 77})
    assert wb.runs(tmp_path)[0].status == "running"
    with pytest.raises(
        wb.RunError, match=r"in process 77 of somewhere else, which cannot be seen from here; .*gone=True"
    ):
        wb.resume(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):  # so far it gets
        wb.resume(path, parent_is_gone=True)
    assert main(["resume", str(path)]) == 1 and "--parent-is-gone" in capsys.readouterr().err
    assert main(["resume", str(path), "--parent-is-gone"]) == 2 and "no checkpoint" in capsys.readouterr().err
    edit(path, machine={"host": platform.node(), "pid": os.getpid()})
    with pytest.raises(wb.RunError, match="stop it first"):  # what can be seen is believed
        wb.resume(path, parent_is_gone=True)


def test_no_runs_and_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert main(["runs"]) == 0 and capsys.readouterr().out.startswith("no runs in ")
    with pytest.raises(RecordError, match="there is no folder"):
        wb.runs(tmp_path / "nowhere")
    assert main(["runs", str(tmp_path / "nowhere")]) == 2


def test_a_run_is_found_by_its_name_wherever_one_stands(tmp_path, monkeypatch):
    path = finished_run(tmp_path / "runs", name="mine")
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    monkeypatch.chdir("/")
    assert wb.load("mine").folder.path == path and wb.doctor("mine").checks
    assert wb.resume("mine").status == "finished", "there is nothing left to do"
    with pytest.raises(RecordError, match="yours"):
        wb.load("yours")


def test_resume_takes_settings_by_name_and_refuses_what_is_none(tmp_path, capsys):
    path = finished_run(tmp_path)
    assert main(["resume", str(path), "--set", "epochs"]) == 2
    assert "it takes name=value" in capsys.readouterr().err
    for name in ("start=true", "path=x", "config=5", "parent_is_gone=true", "epoch=3", "=", "pacing.=1"):
        assert main(["resume", str(path), "--set", name]) == 2
        assert "there is no setting" in capsys.readouterr().err
    assert main(["resume", str(path), "--set", "epochs=" + 100_000 * "["]) == 2
    assert main(["resume", str(path), "--set", "epochs=24"]) == 2
    assert "there is no checkpoint in" in capsys.readouterr().err
    assert main(["resume", str(path)]) == 0  # it is complete
    told = capsys.readouterr()
    assert json.loads(told.out)["greedy_reward"] == 50.0 and "is finished; make it longer with" in told.err


def test_a_run_that_another_process_has_just_gone_on_with_is_not_resumed(tmp_path, monkeypatch):
    """It takes the run between the first look at the folder and the lock."""
    path = finished_run(tmp_path, status="stopped")
    here = {"host": platform.node(), "pid": os.getpid()}
    monkeypatch.setattr(RunFolder, "hold", lambda folder: edit(path, status="starting", machine=here))
    with pytest.raises(wb.RunError, match="stop it first, or wait for its end"):
        wb.resume(path)


def test_runs_are_chosen_and_sorted_by_what_the_table_shows(tmp_path):
    for seed, lag in ((0, 1), (1, 1), (2, None)):
        finished_run(tmp_path, "multiprocess", lag, seed, created=1000.0 - seed)
    (tmp_path / "multiprocess-lag1-seed1" / "run.json").touch()

    def seeds(**wanted):
        return [each.seed for each in wb.runs(tmp_path, **wanted)]

    assert seeds(lag=1) == [1, 0] and seeds(lag=None) == [2] and seeds(seed=[0, 2], status="finished") == [2, 0]
    assert seeds(sort="-greedy_reward") == [2, 1, 0] and seeds(**{"world.num_agents": 3}) == []
    shown = wb.runs(tmp_path, columns=["name", "lag", "learning.tau"])
    assert shown.table.head == ("name", "lag", "learning.tau") and "free" in repr(shown)
    for name, told in (("statsu", "did you mean status"), ("tau", "did you mean .*learning.tau"), ("qqq", "known: .*")):
        with pytest.raises(wb.ConfigError, match=f"no column and no setting '{name}'; {told}") as refused:
            wb.runs(tmp_path, **{name: "finished"})
        assert "window" not in str(refused.value)  # not every setting is listed


def test_epochs_are_those_that_are_recorded(tmp_path):
    whole, cut_off = finished_run(tmp_path, seed=0), finished_run(tmp_path, seed=1, status="stopped")
    epochs = np.fromfile(cut_off / "epochs.records", TABLES["epochs"])
    epochs[epochs["epoch"] < 3].tofile(cut_off / "epochs.records")
    assert "3 of 12" in repr(wb.runs(tmp_path)) and [each.path for each in wb.runs(tmp_path, epochs=3)] == [cut_off]
    assert [each.path for each in wb.runs(tmp_path, sort="epochs")] == [cut_off, whole]


def test_words_and_numbers_can_be_sorted_and_chosen_together(tmp_path, capsys):
    for seed, learners in enumerate(("per_agent", 2, 1)):
        path = finished_run(tmp_path, seed=seed, config=CONFIG.replace(**{"processes.learners": learners}))
        wb.load(path).tags = [str(2024 + seed)]
    assert [each.seed for each in wb.runs(tmp_path, sort="processes.learners")] == [2, 1, 0]
    assert [each.seed for each in wb.runs(tmp_path, tag=["2024", "2026"], sort="seed")] == [0, 2]
    assert main(["runs", str(tmp_path), "--where", "tag=2025", "lag=free"]) == 0
    assert capsys.readouterr().out.startswith("no runs")
    assert main(["runs", str(tmp_path), "--where", "tag=2025", "--columns", "seed"]) == 0
    assert capsys.readouterr().out.split() == ["seed", "1"]
    assert main(["runs", str(tmp_path), "--where", "tag=2025", "--where", "seed=0"]) == 0
    assert capsys.readouterr().out.startswith("no runs")  # both count, not the last one alone
    assert main(["runs", str(tmp_path), "--where", "seed=1", "--columns", "seed", "--columns", "lag"]) == 0
    assert capsys.readouterr().out.split() == ["seed", "lag", "1", "1"]


def test_notes_and_tags_are_set_at_any_time_and_found(tmp_path):
    one, other = finished_run(tmp_path, seed=0), finished_run(tmp_path, seed=1)
    run = wb.load(one)
    run.note, run.tags = "looks odd", ["ablation", "paper"]
    wb.load(other).tags = ["paper"]
    assert [each.path for each in wb.runs(tmp_path, tag="ablation")] == [one] and len(
        wb.runs(tmp_path, tag="paper")
    ) == 2
    assert "looks odd" in repr(wb.runs(tmp_path)) and wb.load(other).tags == ("paper",)
    with pytest.raises(wb.ConfigError, match="list of words"):
        run.tags = "ablation"


def test_a_change_of_a_run_that_has_ended_is_seen_at_once(tmp_path):
    path = finished_run(tmp_path)
    assert wb.runs(tmp_path)[0].status == "finished"
    edit(path, status="stopped")
    assert wb.runs(tmp_path)[0].status == "stopped"


def test_relations_are_told_from_both_sides(tmp_path):
    one, other = finished_run(tmp_path, "sequential"), finished_run(tmp_path, "multiprocess")
    edit(other, relations={"compared with": one.name, "sweep": "mine"})
    found = {each.name: each.value("related") for each in wb.runs(tmp_path)}
    assert found == {one.name: f"compared with {other.name}", other.name: f"compared with {one.name}, sweep mine"}


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(isatty=lambda: True)], ids=["closed", "Ctrl-D"])
def test_a_run_is_kept_where_its_name_is_not_written(stdin, tmp_path, capsys, monkeypatch):
    path = finished_run(tmp_path)
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr("builtins.input", Mock(side_effect=EOFError))
    assert main(["delete", str(path)]) == 2 and path.exists()
    assert "is kept: confirm is ''" in capsys.readouterr().err


def test_a_run_is_deleted_or_packed_away_only_by_its_name(tmp_path, capsys):
    one, other = finished_run(tmp_path, seed=0), finished_run(tmp_path, seed=1)
    with pytest.raises(RecordError, match="is kept: confirm is 'yes'"):
        wb.delete(one, confirm="yes")
    assert main(["delete", str(one)]) == 2 and one.exists()
    assert main(["delete", str(one), "--confirm", one.name]) == 0 and not one.exists()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / f"{other.name}.tar.gz").touch()
    with pytest.raises(RecordError, match="is there already"):
        wb.archive(other, confirm=other.name, out=tmp_path / "packed")
    (tmp_path / "packed" / f"{other.name}.tar.gz").unlink()
    packed = wb.archive(other, confirm=other.name, out=tmp_path / "packed")
    assert not other.exists() and wb.export.unpack(packed, tmp_path).name == other.name


def test_the_folder_that_one_stands_in_is_deleted_only_by_its_name(tmp_path, monkeypatch):
    path = finished_run(tmp_path)
    monkeypatch.chdir(path)
    for confirm in ("", "."):
        with pytest.raises(RecordError, match=f"write its name, '{path.name}'"):
            wb.delete(".", confirm=confirm)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match="is no run folder"):
        wb.delete(tmp_path, confirm=tmp_path.name)
    assert path.exists()


def test_a_run_under_way_is_not_deleted_and_one_that_cannot_be_read_is(tmp_path):
    path = finished_run(tmp_path)
    edit(path, status="starting", machine={"host": platform.node(), "pid": os.getpid()})
    with pytest.raises(RecordError, match="the run is running; stop it first"):
        wb.delete(path, confirm=path.name)
    (path / "run.json").write_text("{")
    wb.delete(path, confirm=path.name)
    assert not path.exists()


def test_a_run_of_an_agent_of_ones_own_can_be_packed_away(tmp_path):
    given = {"agent": "tests.unit.own_agent:LinearConfig"}
    config = wb.preset("tiny").replace(device="cpu", **given)
    path = finished_run(tmp_path, config=config)
    packed = wb.archive(path, confirm=path.name, out=tmp_path / "packed")
    assert wb.export.unpack(packed, tmp_path, **given).name == path.name
    loaded = wb.runs(tmp_path).load(**given)
    assert [run.config for run in select(loaded).runs] == [run.config for run in loaded] == [config]


def test_a_name_that_somebody_chose_is_shown_and_one_of_a_sweep_is_not(tmp_path):
    chosen = wb.load(finished_run(tmp_path, seed=0, name="lr3-202406151230"))
    swept = finished_run(tmp_path, seed=1, name="lr1-202406151230")
    edit(swept, relations={"sweep": "mine"})
    assert labels([chosen, wb.load(swept)]) == ["lr3-202406151230", "sequential, lag 1"]


def test_a_notebook_gets_a_table_to_sort_and_filter(tmp_path):
    finished_run(tmp_path)
    shown = page(wb.runs(tmp_path))
    assert "onclick" in shown and "1 run" in shown and 'type="search"' in shown
    assert shown.count("<th ") == shown.count('<th tabindex="0" ') > 5


def test_runs_that_cannot_be_read_are_left_out_by_name_and_none_keeps_a_file_open(tmp_path):
    for seed in range(20):
        path = finished_run(tmp_path, seed=seed, name=f"run-{seed}")
    (path / "epochs.records").write_bytes(b"\x7f" * 80 * 20)
    with pytest.warns(RecordWarning, match=r"run-19 is left out: .*epochs\.records is damaged") as told:
        loaded = wb.runs(tmp_path).load()
    assert told[0].filename == __file__  # it points at the caller's line
    shown = wb.report.make(loaded, bands=False, figures=["reward"])
    assert len(loaded) == 19 and "seeds 0 to 18" in shown["reward"].caption
    assert all(run.diagnose().checks for run in loaded[:2])
    opened = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    assert not [each for each in opened if each.startswith(str(tmp_path.resolve()))]


def test_what_was_listed_is_found_from_any_folder_and_seeds_may_come_as_an_array(tmp_path, monkeypatch):
    for seed in range(3):
        finished_run(tmp_path / "runs", seed=seed)
    monkeypatch.chdir(tmp_path)
    found = wb.runs("runs", seed=np.arange(1, 3))
    monkeypatch.chdir("/")
    assert [each.load().config.seed for each in found] == [1, 2]


def test_what_free_learners_did_ahead_of_a_run_that_was_made_shorter_is_no_damage(tmp_path):
    most, pacing = CONFIG.total_updates, CONFIG.pacing
    assert wb.load(finished_run(tmp_path, "multiprocess", None, update=most + pacing.updates_per_epoch)).lag is None
    path = finished_run(tmp_path, "multiprocess", None, seed=1, update=most + 2 * pacing.updates_per_epoch)
    with pytest.raises(RecordError, match=r"updates\.records is damaged: update goes"):
        wb.load(path)


def test_a_filter_that_nothing_fits_says_so_and_how_many_runs_there_are(tmp_path):
    assert repr(wb.runs(tmp_path)) == f"no runs in {tmp_path}"
    finished_run(tmp_path, name="one")
    assert repr(wb.runs(tmp_path, status="failed")) == f"no runs in {tmp_path} that fit, of 1"


@pytest.mark.parametrize("name", ["world", "agent"])
def test_what_is_no_class_is_refused_as_such_and_the_folder_is_not_blamed(name, tmp_path):
    path = finished_run(tmp_path, name="one")
    with pytest.raises(wb.ConfigError, match=f"{name} is 9; it must be a dataclass of arguments"):
        wb.load(path, **{name: 9})


def test_a_class_that_is_misspelt_is_the_callers_mistake_and_the_nearest_is_named(tmp_path):
    path = finished_run(tmp_path, name="one")
    with pytest.raises(wb.ConfigError, match=r"world is 'treasrehunt'.*did you mean treasurehunt"):
        wb.load(path, world="treasrehunt")
    with pytest.raises(wb.ConfigError, match=r"No module named 'gym'.*did you mean gymnasium"):
        wb.load(path, world="gym:CartPole-v1")


@pytest.mark.parametrize("use", [wb.Panel, wb.side_by_side, wb.film, wb.WorldView, wb.export.to_pandas])
def test_what_is_no_run_is_refused_with_the_way_to_get_one(use, tmp_path):
    finished_run(tmp_path, name="one")
    for given in ("one", ["one"], wb.runs(tmp_path), wb.runs(tmp_path)[0], 5):
        with pytest.raises(wb.ConfigError, match=r"runs is .*; give runs to .*wb.load\(NAME\)"):
            use(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"note": 5}, "note is 5; it must be text"), ({"tags": [1]}, "tags are"), ({"tags": 5}, "tags are 5"),
     ({"tags": map(str, range(2))}, "tags are <map")]
)  # fmt: skip
def test_a_note_that_is_no_text_is_refused_before_there_is_a_run(given, says, tmp_path):
    with pytest.raises(wb.ConfigError, match=re.escape(says)):
        wb.launch(wb.preset("tiny"), "sequential", out=tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_a_run_is_found_by_a_name_that_reads_as_a_number(tmp_path, capsys):
    for name in ("123", "other"):
        finished_run(tmp_path, name=name)
    assert [each.name for each in wb.runs(tmp_path, name=123)] == ["123"]
    assert [each.name for each in wb.runs(tmp_path, name=["other", 123])] == ["123", "other"]
    assert main(["runs", str(tmp_path), "--where", "name=123"]) == 0 and "other" not in capsys.readouterr().out
    wb.load(tmp_path / "123").tags = ["1e-4", "true"]
    for word in ("1e-4", "true", '["x", "true"]'):
        assert main(["runs", str(tmp_path), "--where", f"tag={word}"]) == 0 and "123" in capsys.readouterr().out

"""Runs that lose processes, or their parent, and end as if nothing had happened: real processes, really killed."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import cache

import numpy as np
import pytest

import workbench as wb
from tests.process import broken
from workbench.core.processes.blocks import weight_store_layout
from workbench.runs.folder import RecordError, RecordWarning, RunFolder
from workbench.runs.recovery.checkpoint import CheckpointError, checkpoint_of, write_checkpoint

CONFIG = wb.preset("tiny").replace(**{"device": "cpu", "epochs": 40, "checkpoint.interval": 5})
DEADLINE_S = 120
MODES = [("sequential", 0), ("sequential", 3), ("multiprocess", 0), ("multiprocess", 1), ("multiprocess", 3)]


def wait_until(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@cache
def undisturbed(mode, lag, folder):
    """The digests of a run that nobody disturbed."""
    return wb.launch(CONFIG, mode, lag, out=folder).wait(DEADLINE_S).digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def reached(run, epochs):
    """Whether the run has collected this many epochs. A run that has ended never will."""
    assert not run.ended, f"{run.status}: {run.error}"
    return run.progress["epochs"] >= epochs


def nothing_twice(run):
    """Every epoch, update and publication of the run is recorded once."""
    epochs, updates = run.history.epochs, run.history.updates
    agents = run.config.num_agents
    assert len(set(zip(epochs["agent"], epochs["epoch"], strict=True))) == len(epochs) == agents * run.config.epochs
    assert len(set(zip(updates["agent"], updates["update"], strict=True))) == len(updates) == run.result.updates
    published = run.history.events[run.history.events["kind"] == 1]
    assert len(set(zip(published["agent"], published["version"], strict=True))) == len(published)
    return True


# Restart


@pytest.mark.parametrize(("mode", "lag"), MODES)
def test_a_run_whose_processes_are_killed_ends_with_the_digests_of_one_left_alone(mode, lag, folder):
    run = wb.launch(CONFIG, mode, lag, out=folder)
    victims = ["sequential"] * 2 if mode == "sequential" else ["learner 1", "actor"]
    for death, (victim, epoch) in enumerate(zip(victims, (7, 20), strict=True)):
        wait_until(lambda epoch=epoch: reached(run, epoch))
        (process,) = [each for each in run.processes if each.name == victim]
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda death=death: len(run.incidents) > death)
    result = run.wait(DEADLINE_S)
    assert len(run.incidents) == 2 and all(said.endswith("; restarted") for said in run.incidents)
    assert result.digest == undisturbed(mode, lag, folder)
    assert nothing_twice(run)
    assert wb.load(run.folder.path).description["incidents"][0]["process"] == victims[0]


def test_a_free_running_run_that_loses_processes_counts_nothing_twice_and_its_versions_never_go_back(folder):
    run = wb.launch(CONFIG, lag=None, out=folder)
    for victim, epoch in ((1, 8), (0, 20)):
        wait_until(lambda epoch=epoch: reached(run, epoch))
        os.kill(run.processes[victim].pid, signal.SIGKILL)
    assert run.wait(DEADLINE_S).status == "finished" and nothing_twice(run)
    for agent in range(CONFIG.num_agents):
        used = run.history.epochs["policy_version"][run.history.epochs["agent"] == agent]
        assert (used[1:] >= used[:-1]).all()


def test_a_stopped_process_is_killed_and_its_place_taken(folder):
    config = CONFIG.replace(**{"processes.hang_timeout_s": 3.0})
    run = wb.launch(config, lag=1, out=folder)
    wait_until(lambda: reached(run, 5))
    os.kill(run.processes[1].pid, signal.SIGSTOP)
    assert run.wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)
    assert "has sent no heartbeat for 3 s" in run.incidents[0]


@pytest.mark.parametrize("method", ["fork_server", "spawn"])
def test_a_child_is_restarted_in_the_folder_of_the_launch_wherever_its_notebook_has_gone(
    method, folder, tmp_path, monkeypatch
):
    """A class of one's own is found from that folder, as notebooks search the one that they are in."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "found_from_here.py").write_text(
        "from workbench.core.train.hooks import Hook\n\n\nclass Own(Hook):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    own = importlib.import_module("found_from_here").Own()
    config = CONFIG.replace(**{"processes.start_method": method})
    run = wb.launch(config, lag=1, out=folder, hooks=[own])
    wait_until(lambda: reached(run, 5))
    monkeypatch.chdir("elsewhere")
    os.kill(run.processes[0].pid, signal.SIGKILL)
    assert run.wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)
    assert [said.endswith("; restarted") for said in run.incidents] == [True]


def test_a_limit_for_hangs_that_is_longer_than_the_system_can_sleep_is_none(folder):
    config = CONFIG.replace(**{"processes.hang_timeout_s": 1e9})
    assert wb.launch(config, lag=1, out=folder).wait(DEADLINE_S).status == "finished"


def test_a_process_that_dies_too_often_ends_the_run_with_the_reason(folder):
    with wb.launch(CONFIG.replace(epochs=1_000_000, **{"processes.max_restarts": 1}), lag=1, out=folder) as run:
        for death in range(2):
            wait_until(lambda: run.status == "running" and run.processes[1].alive and run.processes[1].pid)
            os.kill(run.processes[1].pid, signal.SIGKILL)
            wait_until(lambda death=death: len(run.incidents) > death)
        with pytest.raises(wb.ChildFailed, match=r"it was restarted once within 60 s, and processes.max_restarts"):
            run.wait(DEADLINE_S)


def test_an_exception_that_comes_again_at_the_same_place_is_not_retried_for_ever(folder):
    run = wb.launch(CONFIG, lag=1, out=folder, hooks=[broken.FailsInAnUpdate()])
    with pytest.raises(wb.ChildFailed, match=r"the same had happened to it before, at the same place:\nTraceback"):
        run.wait(DEADLINE_S)
    assert len(run.incidents) in (2, 3)  # the place counts the actor's epochs too: it may come one further meanwhile


def test_a_hang_that_comes_again_at_the_same_place_is_not_retried_for_ever(folder):
    config = CONFIG.replace(**{"processes.hang_timeout_s": 4.0, "processes.restart_window_s": 0.1})
    run = wb.launch(config, lag=1, out=folder, hooks=[broken.HangsInAnUpdate()])
    with pytest.raises(
        wb.ChildFailed, match=r"^learner 1 \(agent 1\) has sent no heartbeat .*; the same had happened to it"
    ):
        run.wait(DEADLINE_S)
    assert sum("learner 1" in said for said in run.incidents) == 2


def test_long_work_that_is_running_is_no_hang(folder):
    """An evaluation, and the updates of an epoch, that take longer than the limit; no turn and no update does."""
    config = CONFIG.replace(**{
        "epochs": 12, "processes.hang_timeout_s": 4.0, "evaluation.interval": 0, "checkpoint.interval": 0,
        "pacing.updates_per_epoch": 16,
    })  # fmt: skip
    run = wb.launch(config, lag=1, out=folder, hooks=[broken.WorksForLong()])
    assert run.wait(DEADLINE_S).status == "finished" and run.incidents == ()


def test_a_run_can_go_on_without_an_agents_learning(folder):
    config = CONFIG.replace(**{"processes.learner_death": "continue"})
    run = wb.launch(config, lag=1, out=folder)
    wait_until(lambda: reached(run, 10))
    os.kill(run.processes[1].pid, signal.SIGKILL)
    assert run.wait(DEADLINE_S).status == "finished" and "run continues without it" in run.incidents[0]
    done = [int(run.history.updates["update"][run.history.updates["agent"] == agent].max()) for agent in (0, 1)]
    assert done[0] < done[1] == config.total_updates


def test_an_agent_that_was_left_behind_stays_so_when_its_rows_are_gone(folder):
    config = CONFIG.replace(**{"epochs": 400, "processes.learner_death": "continue"})
    run = wb.launch(config, lag=1, out=folder)
    wait_until(lambda: reached(run, 10))
    os.kill(run.processes[1].pid, signal.SIGKILL)
    wait_until(lambda: reached(run, 60))
    run.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # under which the run was counted as failed
        again = wb.resume(run.folder.path, epochs=run.progress["epochs"] + 10)
    with pytest.warns(RecordWarning, match="agent 0 learns no more, as before"):
        assert again.wait(DEADLINE_S).status == "finished" and again.incidents == run.incidents
    updates = again.history.updates
    done = [int(updates["update"][updates["agent"] == agent].max()) for agent in (0, 1)]
    assert done[0] < done[1] == again.config.total_updates


# What a checkpoint promises


def test_the_time_between_a_stop_and_a_resume_is_no_sync_lag(folder):
    day_s, run = 86_400, wb.launch(CONFIG, lag=3, out=folder)
    wait_until(lambda: reached(run, 20))
    run.stop()
    place = run.folder.path / "checkpoints"
    kept = checkpoint_of(place, "newest")
    for agent, spec in enumerate(CONFIG.spec.agents):  # it was stopped yesterday
        weight_store_layout(CONFIG, spec, 3).open(kept.arrays[f"agent {agent}/weight store"])["time"][:] -= day_s
    write_checkpoint(place, kept.epoch, kept.arrays, kept.description, keep=2)
    result = wb.resume(run.folder.path).wait(DEADLINE_S)
    assert 0 < result.sync_lag["milliseconds"]["max"] < 1e3 * day_s / 2


def test_a_checkpoint_comes_after_the_records_of_what_it_holds(folder, monkeypatch):
    run = wb.launch(CONFIG.replace(**{"checkpoint.interval": 1}), lag=None, out=folder, start=False)
    checkpoints, missing, disk = run._checkpoints, [], RunFolder.open(run.folder.path)
    sound, complete = checkpoints.write, checkpoints.complete

    def complete_late():
        time.sleep(0.02)  # a slow round of the watching thread: one becomes complete after its records were moved
        return complete()

    def write(epoch, contents):
        epochs, updates = (
            np.fromfile(disk.path_of(table), disk.schema.tables[table].dtype) for table in ("epochs", "updates")
        )  # fmt: skip
        made = sum(int(contents[f"agent {agent}/updates"]) for agent in range(CONFIG.num_agents))
        if len(epochs) < epoch * CONFIG.num_agents or len(updates) < made:
            missing.append(epoch)
        sound(epoch, contents)

    monkeypatch.setattr(checkpoints, "write", write)
    monkeypatch.setattr(checkpoints, "complete", complete_late)
    assert run.start().wait(DEADLINE_S).status == "finished" and run.checkpoints
    assert missing == []


def test_a_slow_disk_does_not_hold_the_actor_up(tmp_path, monkeypatch):
    run = wb.launch(CONFIG.replace(epochs=1_000_000), lag=1, out=tmp_path, start=False)
    sound, begun, finish = run._checkpoints.write, threading.Event(), threading.Event()

    def write(epoch, contents):
        begun.set()
        finish.wait()
        sound(epoch, contents)

    monkeypatch.setattr(run._checkpoints, "write", write)
    with run.start():
        try:
            assert begun.wait(DEADLINE_S)
            epochs = run.progress["epochs"]
            wait_until(lambda: reached(run, epochs + 4 * CONFIG.checkpoint.interval))  # several more would be due
            assert run.checkpoints == []
        finally:
            finish.set()
        wait_until(lambda: bool(run.checkpoints))
    assert wb.load(run.folder.path).description["skipped_checkpoints"] >= 3


@pytest.mark.parametrize("again", [True, False], ids=["room is made", "it stays full"])
def test_while_records_wait_for_the_disk_no_checkpoint_is_written(again, tmp_path, monkeypatch):
    """A run that is resumed from it would lack them. What waited is written once there is room, in order."""
    sound, refused = RunFolder.append, []

    def append(self, table, records):
        if table == "updates" and (not again or len(refused) < 5):
            refused.append(len(records))
            raise RecordError("there is no room")
        sound(self, table, records)

    monkeypatch.setattr(RunFolder, "append", append)
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    with pytest.warns(RecordWarning, match="there is no room|waited for the disk"):
        run.wait(DEADLINE_S)
    assert len(refused) >= 5 and run.status == "finished" and nothing_twice(run)
    kept = wb.load(run.folder.path).history.updates
    if again:
        assert np.array_equal(kept, run.history.updates) and CONFIG.epochs in run.checkpoints
    else:
        assert len(kept) == 0 and run.checkpoints == []
        assert "no checkpoint was written while records waited for the disk" in run.warnings


# Resume


@pytest.mark.parametrize(("mode", "lag"), MODES)
def test_a_run_that_was_stopped_and_resumed_ends_with_the_digests_of_one_left_alone(mode, lag, folder):
    run = wb.launch(CONFIG, mode, lag, out=folder)
    wait_until(lambda: reached(run, 13))
    run.stop(now=lag == 3)
    assert run.status == "stopped"
    again = wb.resume(run.folder.path)
    assert again.wait(DEADLINE_S).digest == undisturbed(mode, lag, folder) and nothing_twice(again)
    assert again.name == run.name and wb.load(run.folder.path).status == "finished"


CUT_OFF = """
import os, sys, time
import workbench as wb
from tests.process.test_survival import CONFIG
run = wb.launch(CONFIG, {mode!r}, {lag!r}, out={out!r}, name="cut-off")
while not any((run.folder.path / "checkpoints").glob("*.npz")):
    time.sleep(0.005)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("mode", "lag"), [("sequential", 1), ("multiprocess", 0), ("multiprocess", 3)])
def test_a_run_whose_parent_was_killed_is_resumed_from_its_last_checkpoint(mode, lag, folder, tmp_path):
    code = CUT_OFF.format(mode=mode, lag=lag, out=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], timeout=DEADLINE_S, check=False)
    assert wb.load(tmp_path / "cut-off").status == "cut off"
    run = wb.resume(tmp_path / "cut-off")
    assert run.wait(DEADLINE_S).digest == undisturbed(mode, lag, folder) and nothing_twice(run)


def test_a_damaged_checkpoint_is_passed_over_with_a_word(folder, tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 13) and bool(run.checkpoints))
    run.stop()
    newest = sorted((run.folder.path / "checkpoints").iterdir())[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.warns(RecordWarning, match=rf"{newest.name} is damaged or cut off.*the one before it"):
        again = wb.resume(run.folder.path)
    assert again.wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)
    whole = [checkpoint_of(newest.parent, epoch) for epoch in again.checkpoints]
    assert len(whole) == CONFIG.checkpoint.keep  # the damaged one is none of those that are kept
    assert newest.with_suffix(".damaged").read_bytes() == data


def test_records_that_are_gone_from_an_ended_run_are_counted_as_lost(folder, tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 13))
    run.stop()
    followed = wb.load(run.folder.path)
    assert followed.losses == []
    updates, path = run.history.updates, run.folder.path / "updates.records"
    path.write_bytes(updates[:-7].tobytes())  # at the border of a record, where nothing is cut in two
    assert followed.refresh().losses == wb.load(run.folder.path).losses == ["7 records lost (updates)"]
    again = wb.resume(run.folder.path)
    with pytest.warns(RecordWarning, match="7 records lost"):
        assert again.wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)
    assert again.losses == wb.load(run.folder.path).losses == ["7 records lost (updates)"]


def test_a_resumed_run_that_is_stopped_before_it_has_begun_is_where_it_was(folder, tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 13))
    run.stop()
    for _ in range(2):
        again = wb.resume(run.folder.path)
        assert again.progress["epochs"] == run.progress["epochs"]
        again.stop(now=True)
        assert (again.status, again.result.agent_steps) == ("stopped", run.result.agent_steps)
        assert again.result.digest == run.result.digest and again.checkpoints == run.checkpoints
    assert wb.resume(run.folder.path).wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)


def test_a_run_that_somebody_resumed_is_left_alone(tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 8))
    run.stop()
    before = {path: path.stat().st_mtime_ns for path in run.folder.path.rglob("*")}
    other = RunFolder.open(run.folder.path)
    other.hold()
    with pytest.raises(RecordError, match="is in use by another run; stop that one first"):
        wb.resume(run.folder.path)
    assert {path: path.stat().st_mtime_ns for path in run.folder.path.rglob("*")} == before
    other.release()
    with wb.resume(run.folder.path) as again, pytest.raises(RecordError):
        again.folder.open(run.folder.path).hold()


def test_runs_that_start_from_given_weights_are_equal_in_both_modes_and_survive_a_kill(tmp_path):
    config = CONFIG.replace(epochs=20)
    fresh = wb.launch(config, "sequential", 1, out=tmp_path)
    fresh.wait(DEADLINE_S)
    alone = wb.launch(config, "sequential", 1, weights=fresh.weights, out=tmp_path)
    assert alone.wait(DEADLINE_S).digest["losses"] != fresh.result.digest["losses"]
    run = wb.launch(config, lag=1, weights=fresh.weights, out=tmp_path)
    wait_until(lambda: reached(run, 4))
    os.kill(run.processes[1].pid, signal.SIGKILL)
    assert run.wait(DEADLINE_S).digest == alone.result.digest and len(run.incidents) == 1


def test_a_last_checkpoint_that_goes_wrong_takes_no_result_with_it(tmp_path, monkeypatch):
    run = wb.launch(CONFIG.replace(epochs=6, **{"checkpoint.interval": 0}), lag=1, out=tmp_path, start=False)
    monkeypatch.setattr(run._checkpoints, "as_left", lambda: 1 / 0)
    with pytest.raises(wb.ChildFailed, match="the run's end could not be recorded: ZeroDivisionError"):
        run.start().wait(DEADLINE_S)
    left = wb.load(run.folder.path)
    assert left.status == "failed" and left.result.agent_steps == 6 * 20 * 2 and len(left.weights) == 2


def test_only_what_is_safe_can_be_changed_and_the_change_is_recorded(folder, tmp_path):
    run = wb.launch(CONFIG, "sequential", 1, out=tmp_path)
    run.wait(DEADLINE_S)
    with pytest.raises(CheckpointError, match=r"learning.tau \(0.005 there, 0.5 here\)"):
        wb.resume(run.folder.path, **{"learning.tau": 0.5})
    before = (run.folder.path / "run.json").read_bytes()
    with wb.resume(run.folder.path) as complete:
        assert complete.wait() == wb.load(run.folder.path).result and complete.result.digest == run.result.digest
    assert (run.folder.path / "run.json").read_bytes() == before  # nothing of it was touched
    step_size = r"the step size was 0.0001 before the checkpoint and is 0.000\d+ after it"
    with pytest.warns(RecordWarning, match=step_size) as told:
        again = wb.resume(run.folder.path, epochs=50)
    assert [each.filename for each in told] == [__file__]  # the caller's line, not one of the package's
    assert again.wait(DEADLINE_S).agent_steps == 50 * 20 * 2 and nothing_twice(again)
    assert wb.load(run.folder.path).description["resumed"][0]["changed"] == {"epochs": [40, 50]}


def test_a_run_that_was_killed_before_it_could_say_that_it_is_complete_is_completed(tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    digest = run.wait(DEADLINE_S).digest
    head = json.loads((run.folder.path / "run.json").read_text())
    head["description"] |= {
        "status": "starting",
        "ended": None,
        "machine": head["description"]["machine"] | {"process": "x"},
    }
    (run.folder.path / "run.json").write_text(json.dumps(head))
    (run.folder.path / "result.json").unlink()
    assert wb.load(run.folder.path).status == "cut off"
    assert wb.resume(run.folder.path).wait(DEADLINE_S).digest == digest


@pytest.mark.parametrize("damage", [None, "{", "[]"])
def test_a_result_that_is_damaged_or_gone_is_made_again(damage, tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    whole, path = run.wait(DEADLINE_S), run.folder.path / "result.json"
    path.unlink()
    if damage is not None:
        path.write_text(damage)
        with pytest.raises(RecordError, match=r"result\.json is damaged: .*; wb\.resume .* makes it again"):
            _ = wb.load(run.folder.path).result
    assert wb.resume(run.folder.path).wait(DEADLINE_S).digest == whole.digest
    assert wb.load(run.folder.path).result.greedy_reward == whole.greedy_reward


@pytest.mark.parametrize(("mode", "lag"), [("sequential", 1), ("multiprocess", None)])
def test_a_step_size_is_changed_from_the_checkpoint_on(mode, lag, tmp_path):
    run = wb.launch(CONFIG, mode, lag, out=tmp_path)
    wait_until(lambda: reached(run, 13))
    run.stop()
    rate = {"learning.learning_rate": 0.125, "learning.learning_rate_end": 0.125, "pacing.updates_per_epoch": 8}
    again = wb.resume(run.folder.path, **rate)
    assert again.wait(DEADLINE_S).status == "finished" and nothing_twice(again)
    ((_, epoch, changed),) = again.changes
    updates = again.history.updates
    assert changed == rate and epoch == again.description["resumed"][0]["epoch"]
    assert (updates["learning_rate"][updates["epoch"] < epoch] < 0.01).all()
    assert (updates["learning_rate"][updates["epoch"] >= epoch] == 0.125).all()


def test_a_resume_before_the_first_checkpoint_says_so(tmp_path):
    run = wb.launch(CONFIG.replace(**{"epochs": 1_000_000, "checkpoint.interval": 500_000}), lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 3))
    run.stop()
    shutil.rmtree(run.folder.path / "checkpoints")  # one is left by a run that is stopped in order
    with pytest.raises(
        CheckpointError,
        match=r"no checkpoint in .*: the first is due when the count of epochs reaches 500000, .*; \d+ are recorded",
    ):
        wb.resume(run.folder.path)


def test_a_run_that_is_running_cannot_be_resumed(tmp_path):
    endless = wb.launch(CONFIG.replace(epochs=1_000_000), out=tmp_path)
    with endless as run, pytest.raises(wb.RunError, match="stop it first"):
        wb.resume(run.folder.path)


def test_a_paused_run_begins_no_epoch_until_it_continues(folder):
    run = wb.launch(CONFIG, lag=1, out=folder)
    wait_until(lambda: reached(run, 3))
    run.pause()
    before = -1
    while before != run.progress["epochs"]:  # what has begun is finished
        before = run.progress["epochs"]
        with pytest.raises(TimeoutError):
            run.wait(0.5)
    assert run.paused and run.status == "running" and before < CONFIG.epochs
    run.proceed()
    assert run.wait(DEADLINE_S).digest == undisturbed("multiprocess", 1, folder)
    with pytest.raises(wb.RunError, match="is finished; only a run that is under way can be paused"):
        run.pause()


def test_a_checkpoint_can_be_asked_for(folder):
    endless = CONFIG.replace(epochs=1_000_000, **{"checkpoint.interval": 0})
    with wb.launch(endless, lag=1, out=folder) as run:
        wait_until(lambda: reached(run, 3))
        run.checkpoint()
        wait_until(lambda: any((run.folder.path / "checkpoints").glob("*.npz")))


# Changes while a run is under way


@pytest.mark.parametrize(("mode", "lag"), [("sequential", 1), ("multiprocess", 1), ("multiprocess", None)])
def test_a_changed_replay_ratio_holds_for_every_agent_and_the_doctor_knows_of_all_changes(mode, lag, tmp_path):
    config = CONFIG.replace(**{"epochs": 80, "checkpoint.interval": 20, "checkpoint.keep": 100})
    before, after = config.pacing.updates_per_epoch, 3 * config.pacing.updates_per_epoch
    run = wb.launch(config, mode, lag, out=tmp_path)
    wait_until(lambda: reached(run, 5))
    run.change(**{
        "pacing.updates_per_epoch": after, "pacing.publish_interval": 7, "pacing.sync_interval": 2,
        "exploration.epsilon_end": 0.25, "learning.learning_rate": 5e-4,
    })  # fmt: skip
    first = run.wait()
    ((_, changed, _),) = run.changes
    assert 7 <= changed < 80
    learning = range(config.epochs - config.learning_epochs, config.epochs)
    due = sum(before if epoch < changed else after for epoch in learning)
    updates = run.history.updates
    for agent in range(config.num_agents):
        mine = updates[updates["agent"] == agent]
        assert mine["update"].tolist() == list(range(1, due + 1))
        if lag is not None:
            made = np.bincount(mine["epoch"], minlength=config.epochs)[learning.start :]
            assert made.tolist() == [before if epoch < changed else after for epoch in learning]
        assert mine["learning_rate"][-1] == np.float32(config.learning.learning_rate_end)
    epochs = run.history.epochs
    assert set(epochs["epsilon"][epochs["epoch"] >= max(changed, config.exploration.decay_epochs)]) == {0.25}
    for found in (run.diagnose(), wb.load(run.folder.path).diagnose()):
        failed = {check.name for check in found.checks if check.verdict == "fail"}
        assert failed <= {"learning"}, found.text  # with so small a network it earns little
    if lag is not None:  # what is done again is done with the settings of then
        for path in sorted((run.folder.path / "checkpoints").iterdir())[1:]:
            path.unlink()
        with wb.resume(run.folder.path) as again:
            assert again.wait().digest == first.digest


def test_a_resume_takes_back_a_change_that_came_after_its_checkpoint(tmp_path):
    run = wb.launch(CONFIG.replace(epochs=1_000_000, **{"checkpoint.keep": 1000}), lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 1) and bool(run.checkpoints))
    run.change(**{"learning.learning_rate": 0.125})
    ((_, epoch, _),) = run.changes
    wait_until(lambda: reached(run, epoch + 1))
    run.stop()
    for path in sorted((run.folder.path / "checkpoints").iterdir())[1:]:
        path.unlink()
    with wb.resume(run.folder.path, start=False) as again:
        assert again.settings.configs[-1].learning.learning_rate == 0.125
    rate = {"learning.learning_rate": CONFIG.learning.learning_rate}
    with wb.resume(run.folder.path, start=False, **rate) as again:
        assert again.settings.configs[-1].learning == CONFIG.learning


@pytest.mark.parametrize(("mode", "lag"), [("sequential", 1), ("multiprocess", 1), ("multiprocess", None)])
def test_a_change_is_taken_up_by_every_process_recorded_and_kept_when_resumed(mode, lag, tmp_path):
    with wb.launch(CONFIG.replace(epochs=1_000_000), mode, lag, out=tmp_path) as run:
        wait_until(lambda: reached(run, 5))
        run.change(**{"learning.learning_rate": 0.125, "learning.learning_rate_end": 0.125})
        run.change(**{"exploration.epsilon_start": 0.5, "exploration.epsilon_end": 0.5})
        wait_until(lambda: (run.history.epochs["epsilon"][-1:] == 0.5).any())  # records come a little later
        wait_until(lambda: set(run.history.updates["agent"][run.history.updates["learning_rate"] == 0.125]) == {0, 1})
        with pytest.raises(
            wb.ConfigError, match=r"agent.width cannot be changed while a run is under way; these can: lear"
        ):
            run.change(**{"agent.width": 64})
        with pytest.raises(wb.ConfigError, match="no setting was given to change; these can be: lear"):
            run.change()
        with pytest.raises(wb.ConfigError, match=r"exploration.epsilon_end is 2.0; "):
            run.change(**{"exploration.epsilon_end": 2.0})
    assert [settings for _, _, settings in run.changes] == [
        {"learning.learning_rate": 0.125, "learning.learning_rate_end": 0.125},
        {"exploration.epsilon_start": 0.5, "exploration.epsilon_end": 0.5},
    ]
    with wb.resume(run.folder.path) as again:
        with pytest.raises(wb.RunError, match="has no weights on disk; they are written at its end"):
            _ = again.weights  # those of the earlier end would be old
        assert again.changes == run.changes
        before = len(again.history.updates)
        wait_until(lambda: len(again.history.updates) > before + 10)
        assert set(again.history.updates["learning_rate"][before:]) == {0.125}
    with wb.resume(run.folder.path, start=False, **{"checkpoint.interval": 7, "pacing": {"sync_interval": 3}}) as again:
        (_, epoch, settings), newest = again.changes[-1], again.settings.configs[-1]
        assert settings == {"checkpoint.interval": 7, "pacing.sync_interval": 3}
        assert (newest.checkpoint.interval, newest.pacing.sync_interval) == (7, 3)
        assert again.settings.at(epoch - 1).checkpoint.interval == again.config.checkpoint.interval == 5

"""A run whose folder is renamed or deleted while it trains, and another one that gets its name."""

import os
import shutil
import signal
import warnings

import pytest

import workbench as wb
from tests.process.test_survival import CONFIG, DEADLINE_S, reached, wait_until
from workbench.runs.folder import RecordError

SHORT = CONFIG.replace(**{"epochs": 20, "evaluation.final_worlds": 2})


def second_of_the_name(folder):
    return wb.launch(SHORT.replace(seed=9), lag=1, name="mine", out=folder)


def is_whole(path, seed):
    run = wb.load(path)
    epochs = run.history.epochs
    assert run.status == "finished" and len(epochs) == len({*zip(epochs["agent"], epochs["epoch"], strict=True)})
    assert len(epochs) == SHORT.epochs * SHORT.num_agents
    # the two newest; one is skipped if the one before is not on disk yet
    assert run.checkpoints[0] in (5, 10, 15) and run.checkpoints[1:] == [20]
    assert {run.config.seed, run.result.seed} == {seed} and run.weights.any()
    return True


def test_a_run_writes_into_its_own_folder_wherever_that_is_now(tmp_path):
    run = wb.launch(SHORT, lag=1, name="mine", out=tmp_path)
    written = tmp_path / "mine" / "checkpoints" / "epoch-00000005.npz"
    wait_until(lambda: reached(run, 6) and written.exists())  # one that is written during the move is given up
    (tmp_path / "mine").rename(tmp_path / "moved")
    second = second_of_the_name(tmp_path)
    os.kill(run.processes[1].pid, signal.SIGKILL)  # its next process writes a log, too
    run.note = "moved"
    assert run.wait(DEADLINE_S).status == second.wait(DEADLINE_S).status == "finished"
    assert run.folder.path == tmp_path / "moved" and run.unsaved == [] and run.warnings == []
    assert is_whole(tmp_path / "moved", seed=0) and is_whole(tmp_path / "mine", seed=9)
    assert wb.load(tmp_path / "moved").note == "moved" and second.note == "" and len(run.incidents) == 1


def test_a_run_without_its_folder_writes_nowhere_and_says_so(tmp_path):
    run = wb.launch(SHORT, lag=1, name="mine", out=tmp_path)
    wait_until(lambda: reached(run, 6))

    def deleted():  # it may get a file just then
        shutil.rmtree(tmp_path / "mine", ignore_errors=True)
        return not (tmp_path / "mine").exists()

    wait_until(deleted)
    second = second_of_the_name(tmp_path)
    os.kill(run.processes[1].pid, signal.SIGKILL)  # there is no place for the log of its next process
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert run.wait(DEADLINE_S).status == "finished"
    assert any("mine, was deleted or moved" in str(warning.message) for warning in given)
    assert second.wait(DEADLINE_S).status == "finished" and is_whole(tmp_path / "mine", seed=9)
    assert {"array", "description", "result"} <= set(run.unsaved) and "records lost" in repr(run)
    assert [line.endswith("restarted") for line in run.incidents] == [True]
    with pytest.raises(RecordError, match="was deleted or moved"):
        run.note = "whose?"
    saved = wb.load(run.save(tmp_path / "elsewhere"))
    assert saved.result == run.result and 0 < len(saved.history.epochs) <= 40 and saved.weights.any()

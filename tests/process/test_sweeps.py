"""Sweeps with real runs: both modes, cut off and continued, on threads and in another process."""

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest

import workbench as wb
from tests.process import broken
from tests.unit.own_metric import WeightNorm
from workbench.runs.folder import RecordWarning

CONFIG = wb.preset("tiny").replace(device="cpu")
FIELDS = {"learning.learning_rate": [1e-3, 3e-3], "mode": ["sequential", "multiprocess"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sweep(folder):
    """Two learning rates in both modes, at lag 0."""
    return asyncio.run(awaited(wb.sweep(CONFIG, FIELDS, lag=0, out=folder)))


def until(made, condition):
    """Wait for something while a sweep continues."""
    while not condition():
        with pytest.raises(TimeoutError):
            made.wait(0.1)


async def awaited(made):
    return await made


def test_both_modes_of_a_cell_are_equal_to_the_last_bit_and_to_a_plain_run(sweep, tmp_path):
    digests = {(row["learning.learning_rate"], row["mode"]): run.result.digest for row, run in
               zip(sweep.rows, sweep.runs, strict=True)}  # fmt: skip
    assert len(digests) == 4
    for rate in (1e-3, 3e-3):
        assert digests[rate, "sequential"] == digests[rate, "multiprocess"]
    plain = wb.launch(CONFIG.replace(**{"learning.learning_rate": 3e-3}), "sequential", 0, out=tmp_path).wait()
    assert digests[3e-3, "sequential"] == plain.digest != digests[1e-3, "sequential"]


def test_the_results_are_a_frame_a_table_a_list_of_runs_and_a_figure(sweep, folder):
    frame = sweep.frame
    assert list(frame["status"]) == ["finished"] * 4 and frame["greedy_reward"].notna().all()
    assert "4 finished" in repr(sweep) and "learning_rate" in sweep.table.text
    listed = wb.runs(folder, sweep=sweep.name, sort="greedy_reward")
    assert len(listed) == 4 and "learning.learning_rate" in listed.columns
    assert "against mode and learning.learning_rate" in sweep.figure().caption


def test_what_has_finished_is_not_run_again(sweep, folder):
    before = {run.name: run.description["created"] for run in sweep.runs}
    again = wb.sweep(CONFIG, FIELDS, lag=0, out=folder).wait()
    assert {run.name: run.description["created"] for run in again.runs} == before


def test_a_sweep_that_was_stopped_continues_from_its_checkpoints(tmp_path):
    long = CONFIG.replace(epochs=60, **{"checkpoint.interval": 5})
    with wb.sweep(long, {"seed": [0, 1]}, mode="sequential", lag=1, at_once=1, out=tmp_path) as cut_off:
        until(cut_off, lambda: list(tmp_path.glob("*/checkpoints/epoch-*.npz")))
    with pytest.raises(wb.RunError, match=r"2 of 2 cells did not finish: .*stopped"):
        cut_off.wait()
    again = wb.sweep(long, {"seed": [0, 1]}, mode="sequential", lag=1, at_once=1, out=tmp_path).wait()
    assert [len(run.description["resumed"]) for run in again.runs] == [1, 0]
    assert "resumed" in wb.runs(tmp_path)[0].relations


def test_a_fault_and_a_metric_of_ones_own_go_on_in_a_sweep_that_was_stopped_and_in_a_run_that_is_resumed(tmp_path):
    long = CONFIG.replace(epochs=60, **{"checkpoint.interval": 5})
    options = {"hooks": [WeightNorm()], "faults": [broken.ForgetsToSync()], "mode": "sequential", "out": tmp_path}
    with wb.sweep(long, {"seed": [0]}, **options) as cut_off:
        until(cut_off, lambda: list(tmp_path.glob("*/checkpoints/epoch-*.npz")))
    (run,) = wb.sweep(long, {"seed": [0]}, **options).wait().runs
    assert run.description["resumed"] and run.faults == ("forgets_to_sync",)
    assert run.history.table("weights")["epoch"].max() == 60
    assert "sync" in {check.name for check in run.diagnose().failed}
    with pytest.warns(RecordWarning, match="now end after 70 epochs"):
        again = wb.resume(run.folder.path, epochs=70, hooks=[WeightNorm(), broken.ForgetsToSync()])
    again.wait(60)
    assert again.history.table("weights")["epoch"].max() == 70


@pytest.mark.slow
def test_a_sweep_whose_worker_process_was_killed_continues_elsewhere(tmp_path):
    """The children of the worker leave with it."""
    endless = CONFIG.replace(epochs=100_000, **{"checkpoint.interval": 5})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = wb.sweep(endless, {"seed": [0]}, mode="multiprocess", executor=pool, out=tmp_path)
        until(made, lambda: list(tmp_path.glob("*/checkpoints/epoch-*.npz")))
        (worker,) = pool._processes
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(wb.RunError, match="1 of 1 cells did not finish"):
            made.wait()
        assert isinstance(made.failures[made.cells[0].name], BrokenProcessPool)
    assert wb.runs(tmp_path)[0].status == "cut off"
    with wb.sweep(endless, {"seed": [0]}, mode="multiprocess", out=tmp_path) as made:
        until(made, lambda: "resumed" in wb.runs(tmp_path)[0].relations)


def test_a_script_that_ends_stops_its_sweep(tmp_path):
    """The cell that runs ends in order, and those that wait do not begin."""
    script = f"""
import workbench as wb
config = wb.preset("tiny").replace(device="cpu", epochs=100_000)
made = wb.sweep(config, {{"seed": range(3)}}, mode="sequential", at_once=1, out={str(tmp_path)!r})
while not wb.runs({str(tmp_path)!r}):
    pass
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)
    assert [run.status for run in wb.runs(tmp_path)] == ["stopped"]


def test_both_modes_over_several_seeds(tmp_path):
    many = wb.compare(CONFIG, lag=1, seeds=range(2), out=tmp_path).wait()
    assert many.identical is True and len(many.pairs) == 2
    assert "2 of 2 pairs have finished; identical to the last bit: 2" in many.table.text
    assert "±" in many.table.text and "speed-up" in many.table.text

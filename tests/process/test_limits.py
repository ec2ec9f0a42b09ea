"""Limits of a machine, met by real runs: each says what is short, and leaves nothing running."""

import gc
import os
import re
import subprocess
import sys
import time
import warnings

import pytest

import workbench as wb
from tests.process import broken
from tests.process.test_survival import CONFIG, reached, wait_until
from workbench.core.processes.blocks import Plan
from workbench.runs.folder import RecordError, RecordWarning
from workbench.runs.limits import SPARE_FILES, files_left, files_needed

DEADLINE_S = 120
ENDLESS = CONFIG.replace(epochs=1_000_000)
AS_ROOT = os.geteuid() == 0


def test_the_count_of_open_files_holds_for_a_run_that_runs(tmp_path):
    gc.collect()  # the runs of other tests, which would give theirs back meanwhile
    before = files_left()
    with wb.launch(ENDLESS, lag=1, out=tmp_path) as run:
        wait_until(lambda: reached(run, 5))
        held = before - files_left()
        assert held <= files_needed(Plan(run.config, run.mode, run.lag, ())) <= held + 2 * SPARE_FILES


FEW_FILES = """
import os, resource, sys
import workbench as wb
from tests.process.test_survival import CONFIG, wait_until
from workbench.runs import limits
config = CONFIG.replace(epochs=1_000_000)
when, out = sys.argv[1:]
def leave(files):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) - 1 + files, hard))
if when == "restart":
    run = wb.launch(config, lag=1, out=out)
    wait_until(lambda: run.progress["epochs"] > 3)
    leave(0)
    os.kill(run.processes[1].pid, 9)
else:
    if when == "start":
        run = wb.launch(config, lag=1, out=out, start=False)
        leave(2)
    else:
        leave(20)
try:
    run.wait() if when == "restart" else run.start() if when == "start" else wb.launch(config, lag=1, out=out)
except (wb.ChildFailed, OSError) as error:
    print(type(error).__name__, str(error).splitlines()[0])
if when != "launch":
    run.stop()
    print(run.status, [process.alive for process in run.processes])
"""


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("launch", r"OSError .*the run needs \d+ open files, this process may open \d+ more; .*ulimit -n"),
        ("start", r"ChildFailed the children could not be started: too many open files: raise the limit \(ulimit -n\)"),
        # the file that is one too many is the new child's, or one that the parent looks into just then
        (
            "restart",
            r"ChildFailed (learner 0 could not be restarted|the watching thread failed): too many open files: "
            r"raise the limit \(ulimit -n\)",
        ),
    ],
)
def test_too_many_open_files_end_a_run_with_the_remedy_and_nothing_left(when, told, tmp_path, family):
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, when, str(tmp_path)], capture_output=True, text=True, timeout=DEADLINE_S,
        env=os.environ | family.environment,
    )  # fmt: skip
    assert re.search(told, done.stdout), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if when != "launch":
        assert "failed [False, False, False]" in done.stdout
    assert family.wait_gone() == {}


def test_no_free_device_memory_is_said_with_the_remedy(tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path, hooks=[broken.HasNoDeviceMemory()])
    with pytest.raises(
        wb.ChildFailed,
        match=r"OutOfMemoryError: CUDA out of memory[\s\S]*no free device memory: lower learning\.batch_size",
    ):
        run.wait(DEADLINE_S)
    assert "no free device memory" in run.incidents[0]


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_jumps_ends_nothing_restarts_nothing_and_makes_no_negative_duration(hours, tmp_path, monkeypatch):
    run = wb.launch(CONFIG, lag=1, out=tmp_path, hooks=[broken.ClockJumps(3600.0 * hours)])
    wait_until(lambda: reached(run, 3))
    sound = time.time
    monkeypatch.setattr(time, "time", lambda: sound() + 3600 * hours)
    result = run.wait(DEADLINE_S)
    assert result.status == "finished" and run.incidents == ()
    assert 0 < result.wall_s < DEADLINE_S and 0 < result.startup_s < DEADLINE_S
    assert (run.history.epochs["sync_lag_ms"] >= 0).all()
    assert 0 < run.progress["elapsed_s"] < DEADLINE_S
    assert wb.load(run.folder.path).progress["elapsed_s"] >= 0


@pytest.mark.skipif(AS_ROOT, reason="nothing is read-only to root")
def test_a_folder_that_becomes_read_only_costs_the_files_and_not_the_run(tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    run.folder.path.chmod(0o500)
    try:
        with pytest.warns(RecordWarning, match=r"Permission denied|waited for the disk"):
            assert run.wait(DEADLINE_S).status == "finished"
    finally:
        run.folder.path.chmod(0o700)


@pytest.mark.skipif(AS_ROOT, reason="nothing is read-only to root")
def test_a_read_only_data_folder_is_refused_before_anything_starts(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RecordError, match=r"cannot make the run folder .*Permission denied"):
            wb.launch(CONFIG, out=tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_takes_no_checkpoint_costs_the_checkpoint_and_not_the_run(tmp_path):
    run = wb.launch(CONFIG, lag=1, out=tmp_path)
    wait_until(lambda: any((run.folder.path / "checkpoints").glob("*.npz")))
    (run.folder.path / "checkpoints").rename(run.folder.path / "before")
    (run.folder.path / "checkpoints").write_text("no folder: refused as a disk refuses, to root as well")
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert run.wait(DEADLINE_S).status == "finished"
    told = [
        str(warning.message)
        for warning in given
        if "earlier checkpoints are kept, and the run continues" in str(warning.message)
    ]
    assert len(told) == 1
    assert list((run.folder.path / "before").glob("*.npz"))

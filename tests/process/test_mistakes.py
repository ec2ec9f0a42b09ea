"""Mistakes that users make get a clear error and lose nothing. With real processes and real scripts."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import workbench as wb
from tests.process import tasks
from tests.unit.watched import TABLES
from workbench.runs.folder import RecordError, RecordWarning
from workbench.runs.run import RunError

DEADLINE_S = 120
QUICK = wb.preset("tiny").replace(device="cpu")


def script(folder, code, *arguments):
    """A script in a file, as users write them: no main guard."""
    path = folder / "train.py"
    path.write_text(code)
    return subprocess.run(
        [sys.executable, str(path), str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=folder,
    )


FORKS = """
import os, sys
import workbench as wb

run = wb.launch(wb.preset("tiny").replace(device="cpu"), "multiprocess", 1, name="mine", out=sys.argv[1])
child = os.fork()
if child == 0:
    sys.exit(0)  # in order, with all that is done at the end of an interpreter
assert os.waitpid(child, 0)[1] == 0
print(run.wait().status)
"""


def test_a_forked_child_that_ends_leaves_its_parents_run_alone(tmp_path):
    done = script(tmp_path, FORKS)
    assert (done.returncode, done.stdout.strip()) == (0, "finished"), done.stderr


STEERS = """
import os, sys
import workbench as wb

config = wb.preset("tiny").replace(device="cpu")
with wb.launch(config, "multiprocess", 1, name="mine", out=sys.argv[1]) as run:
    child = os.fork()
    if child == 0:
        for call in (run.stop, run.pause, run.wait, run.checkpoint, lambda: run.change(**{"learning.gamma": 0.5})):
            try:
                call()
            except wb.RunError as error:
                print(error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(run.wait().status, os.getpid())
"""


def test_a_fork_is_told_that_the_run_is_its_parents_to_steer(tmp_path):
    done = script(tmp_path, STEERS)
    *refused, last = done.stdout.splitlines()
    status, pid = last.split()
    assert status == "finished" and len(refused) == 5, done.stderr
    assert all(f"run mine belongs to process {pid}" in line and "steer and await it there" in line for line in refused)


def test_a_second_start_or_an_early_look_does_not_hurt_the_run(tmp_path):
    with wb.launch(QUICK, "multiprocess", 1, name="mine", out=tmp_path) as run:
        with pytest.raises(RunError, match=r"run mine was started before and is starting; launch a new one"):
            run.start()
        with pytest.raises(RunError, match=r"its result is there after run\.wait\(\) or run\.stop\(\)"):
            _ = run.result
        with pytest.raises(TimeoutError, match="it continues"):
            run.wait(timeout=0.01)
        with pytest.raises(RecordError, match="it exists already; choose another name"):
            wb.launch(QUICK, "multiprocess", 1, name="mine", out=tmp_path)
        assert run.wait(DEADLINE_S).status == "finished"
    assert run.result.updates == QUICK.total_updates * QUICK.num_agents
    assert wb.load(tmp_path / "mine").result == run.result


def test_a_script_without_a_main_guard_is_run_once_and_no_more(tmp_path):
    done = script(tmp_path, """
import sys
print("the script runs")
import workbench as wb
config = wb.preset("tiny").replace(device="cpu")
for mode in ("sequential", "multiprocess"):
    print(wb.launch(config, mode, 1, out=sys.argv[1]).wait().digest["weights"])
""")  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    first, *digests = done.stdout.splitlines()
    assert first == "the script runs" and len(digests) == 2 and len(set(digests)) == 1


def test_a_world_of_a_script_is_refused_before_anything_is_made(tmp_path):
    done = script(tmp_path, """
import sys
import workbench as wb
from workbench.core.envs.treasurehunt import TreasurehuntConfig
class Mine(TreasurehuntConfig):
    pass
wb.launch(wb.preset("tiny"), world=Mine, out=sys.argv[1] + "/runs")
""")  # fmt: skip
    assert done.returncode == 1
    assert "ConfigError: world Mine is defined in a notebook cell, a script or a function" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_daemonic_process_can_launch_a_run(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=tasks.launch_a_run, args=(tmp_path,), daemon=True)
    process.start()
    process.join(DEADLINE_S)
    assert process.exitcode == 0 and wb.load(tmp_path / "mine").status == "finished"


FULL_DISK = """
import json, resource, sys
import workbench as wb
run = wb.launch(wb.preset("tiny").replace(device="cpu"), "multiprocess", 1, name="mine", out=sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))  # this process, no child
result = run.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
unsaved = run.unsaved
run.save(sys.argv[1] + "/elsewhere")
about = {"status": result.status, "unsaved": unsaved, "left": run.unsaved, "digest": result.digest["weights"]}
print(json.dumps({**about, "updates": run.history["losses/loss"].tolist()}))
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="limits of file sizes are not kept there")
def test_a_full_disk_costs_the_files_and_not_the_run(tmp_path):
    """No file may grow beyond 1000 bytes, which is how a disk that is full looks to a writer."""
    done = script(tmp_path, FULL_DISK, "1000")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "finished"
    assert len(found["updates"]) == QUICK.total_updates * QUICK.num_agents
    warned = done.stderr.count("RecordWarning: ")
    assert "File too large" in done.stderr and "ulimit -f" in done.stderr and 1 <= warned <= len(TABLES) + 4
    kept = wb.load(tmp_path / "mine").history["losses/loss"]
    assert len(kept) < len(found["updates"])
    np.testing.assert_array_equal(kept, np.float32(found["updates"][: len(kept)]))
    assert {"array", "description", "result"} & set(found["unsaved"]) and found["left"] == []
    saved = wb.load(tmp_path / "elsewhere" / "mine")
    np.testing.assert_array_equal(saved.history["losses/loss"], np.float32(found["updates"]))
    assert saved.checkpoints == [QUICK.epochs]  # so it can be made longer
    assert (saved.status, saved.result.digest["weights"]) == ("finished", found["digest"]) and saved.weights.any()


def test_a_folder_cut_off_by_a_crash_gives_back_what_is_whole(tmp_path):
    code = """
import sys, time
import workbench as wb
config = wb.preset("tiny").replace(device="cpu", epochs=1_000_000)
run = wb.launch(config, "sequential", 1, name="mine", out=sys.argv[1])
while len(run.history.updates) < 100:
    time.sleep(0.05)
print("enough", flush=True)
run.wait()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "enough\n"
        parent.send_signal(signal.SIGKILL)
    path = tmp_path / "mine" / "updates.records"
    size = TABLES["updates"].itemsize
    os.truncate(path, path.stat().st_size // size * size - 5)
    with pytest.warns(RecordWarning, match=f"the last record is cut off after {size - 5} of {size} bytes"):
        run = wb.load(tmp_path / "mine")
    assert run.status == "cut off" and run.config.epochs == 1_000_000
    updates = run.history.updates
    assert len(updates) == path.stat().st_size // size >= 90
    for agent in range(QUICK.num_agents):
        own = updates["update"][updates["agent"] == agent]
        np.testing.assert_array_equal(own, np.arange(1, len(own) + 1))
    with pytest.raises(RunError, match="left no result; its history is there as far as it got"):
        _ = run.result

"""Fifty runs in a row in one process, whose garbage nobody collects: nothing of a run stays behind."""

import gc
import json
import os
import subprocess
import sys

import workbench as wb

FIFTY = """
import gc, json, os, sys, threading
from pathlib import Path
import workbench as wb

gc.disable()
tiny = wb.preset("tiny").replace(epochs=4, device="cpu")
config = tiny.replace(**{"evaluation.interval": 0, "exploration.decay_epochs": 2})


def held():
    (memory,) = (line.split()[1] for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
                 if line.startswith("Private_Dirty"))
    return len(os.listdir("/proc/self/fd")), threading.active_count(), int(memory) / 1024


for number in range(55):
    with wb.launch(config, "multiprocess", 1, out=sys.argv[1]) as run:
        run.wait()
    del run
    if number == 4:  # what is made once is there by now
        before = held()
print(json.dumps([before, held()]))
"""


def test_fifty_runs_leave_descriptors_threads_and_memory_as_they_were(tmp_path, family):
    done = subprocess.run(
        [sys.executable, "-c", FIFTY, str(tmp_path)], capture_output=True, text=True,
        env=os.environ | family.environment,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    (files, threads, memory), after = json.loads(done.stdout)
    assert after[:2] == [files, threads]
    assert after[2] - memory < 10  # MiB; one run that stays in a cycle takes about as much
    assert family.wait_gone() == {}


def test_what_was_never_started_is_gone_with_its_last_holder(tmp_path):
    tiny = wb.preset("tiny").replace(epochs=1000)
    wb.compare(tiny, out=tmp_path).stop()  # what is made once, such as the server, is there from now on
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        wb.launch(tiny, out=tmp_path, start=False).stop()
        wb.compare(tiny, out=tmp_path, start=False).stop()
        wb.compare(tiny, out=tmp_path).stop()  # its second run
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()

"""A process that asks for long time slices gets them, where the system knows the request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
from workbench.runs.time_slice import ask_for_time_slice
print(ask_for_time_slice({milliseconds}))
print(next((line.split()[-1] for line in open("/proc/self/sched") if line.startswith("se.slice")), None))
"""


def asked(milliseconds, nice=0):
    """(whether it was taken, slice in ns that the kernel shows, niceness that was added), of a fresh process."""
    code = f"import os; os.nice({nice})\n{ASK.format(milliseconds=milliseconds)}\nprint(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    taken, shown, niceness = done.stdout.split()
    return taken == "True", shown, int(niceness) - os.nice(0)  # of its own


def kernel_shows_slices():
    sched = Path("/proc/self/sched")
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return release >= (6, 12) and sched.exists() and "se.slice" in sched.read_text()


@pytest.mark.skipif(not kernel_shows_slices(), reason="needs Linux 6.12 or later that shows slices in /proc")
def test_the_kernel_grants_what_was_asked():
    assert asked(80) == (True, "80000000", 0)


@pytest.mark.skipif(not kernel_shows_slices(), reason="needs Linux 6.12 or later that shows slices in /proc")
def test_nothing_else_of_the_process_changes():
    assert asked(50, nice=3) == (True, "50000000", 3)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="needs Linux")
def test_a_process_of_low_priority_stays_one():
    code = f"import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n{ASK.format(milliseconds=50)}"
    code += "print(os.sched_getscheduler(0) == os.SCHED_BATCH)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "True"


def test_zero_asks_for_nothing():
    assert asked(0)[0] is False

"""A process that keeps what it frees gets no new pages for the arrays that it takes, frees and takes again."""

import os
import platform
import resource
import subprocess
import sys

import pytest

from workbench.processes.heap import SETTINGS

FAULTS = """
import resource
import numpy as np
from workbench.processes.heap import keep_freed_memory
print({kept} and keep_freed_memory())
def use():
    return [np.ones(1 << 17) for _ in range(8)]
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 8 * (1 << 20) // resource.getpagesize()
"""Pages of all arrays that the program takes."""
gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU allocator")


def faults(kept, **environment):
    """(whether the allocator took the wish, page faults of taking 8 MiB twenty times) of a fresh process."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(kept=kept)], env=inherited | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    taken, number = done.stdout.split()
    return taken == "True", int(number)


@gnu
def test_arrays_taken_again_cost_no_page_faults():
    taken, few = faults(kept=True)
    assert taken
    _, many = faults(kept=False)
    assert few < PAGES / 100 < PAGES / 2 < many


@gnu
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_is_left_as_it_is(name):
    value = {"MALLOC_TRIM_THRESHOLD_": "131072", "GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}[name]
    taken, many = faults(kept=True, **{name: value})
    assert not taken
    assert many > PAGES / 2

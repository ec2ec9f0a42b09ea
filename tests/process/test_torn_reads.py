"""A real writer against a real reader: what must not tear does not, what may is caught, and nobody is left over."""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.campaigns import torn
from tests.campaigns.torn_protocols import ROWS, WEIGHTS, Shared

TINY = torn.Budget(widths=(48, 768), pauses_ms=(0.0,), spare_epochs=(0,), reads=3_000, seconds=0.4)


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(torn.BUDGETS, "quick", TINY)
        return torn.measure("quick", seed=3)


@pytest.mark.parametrize("way", ["mutex", "weight store", "second look"])
def test_no_sound_way_tears_or_gives_another_write_than_it_says(result, way):
    assert torn.count(result, way, "reads") > 0
    assert torn.count(result, way, "torn") == torn.count(result, way, "wrong") == 0


@pytest.mark.parametrize("way", ["in place", "parameter by parameter", "load_state_dict", "no second look"])
def test_the_others_are_caught_at_it(result, way):
    assert torn.count(result, way, "torn") > 0


def test_the_second_look_redraws_what_the_unvalidated_reader_gets_wrong(result):
    assert torn.count(result, "second look", "retries") > 0


def test_a_killed_writer_keeps_the_mutex_and_leaves_the_weight_store_whole(result):
    killed = result["killed_writer"]
    assert not killed["mutex_given_back"]
    assert killed["weight_store_read_whole"]


def test_the_result_is_plain_json(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {cell["way"] for cell in result["weights"]} == set(WEIGHTS)
    assert {cell["way"] for cell in result["rows"]} == set(ROWS)
    assert {cell["floats"] for cell in result["weights"]} == {9_408, 2_362_368}
    assert set(result["ways"]) == {*WEIGHTS, *ROWS}
    assert all(cell["writes"] > 0 for cell in result["weights"])
    assert torn.is_sound(result)


def test_nobody_is_left_when_it_is_over(result):
    names = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")]
    assert not {"writer", "reader"} & set(names)


def test_a_child_that_fails_says_why():
    shared = Shared.create((48,))
    cell = torn.Cell(0, "no such way", 48, 0.0, 10, 0.1, 0)
    with torn._Pair(shared) as pair, pytest.raises(RuntimeError, match=r"the writer failed:\n(.|\n)*no such way"):
        pair.measure(cell)
    gc.collect()  # the lock has a name in the system until it is collected, and the traceback held it


def lock_names():
    return {path.name for path in Path("/dev/shm").glob("sem.mp-*")}


def test_nobody_is_left_when_the_parent_is_killed(family):
    script = (
        "from tests.campaigns import torn\n"
        "if __name__ == '__main__':\n"
        "    torn.measure('quick', say=lambda line: print(line, flush=True))\n"
    )
    before = lock_names()
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | family.environment,
    )  # fmt: skip
    with parent:
        lines = [parent.stdout.readline() for _ in range(2)]  # the second comes when ten cells are measured
        assert lines[1].startswith("cell 11 of ")
        assert len(family.running()) >= 3
        parent.kill()
    assert not family.wait_gone()
    deadline = time.monotonic() + 10  # the standard library's helper takes the lock's name away, once all are gone
    while lock_names() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lock_names() - before

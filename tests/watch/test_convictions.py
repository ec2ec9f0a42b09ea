"""Every defect of the foreign trainer is found by its check, in the agent that has it, and the sound one is cleared.

One seed; ``tests.campaigns.watch`` tries ten.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.watch import CONVICTED_BY, MODES, convicted, defects_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """What the doctor said of each training; in an interpreter of their own, whose fork server goes with it."""
    out = tmp_path_factory.mktemp("watch") / "watch.json"
    command = [sys.executable, "-m", "tests.campaigns.watch", "--num-seeds", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert out.exists(), done.stderr
    return json.loads(out.read_text())["runs"]


@pytest.mark.parametrize("mode", MODES)
def test_the_sound_trainer_is_cleared(trainings, mode):
    (run,) = [run for run in trainings if run["mode"] == mode and not run["defects"]]
    assert run["failed"] == {} and run["verdict"] == "true"


@pytest.mark.parametrize(("mode", "defect"), [(mode, defect) for mode in MODES for defect in defects_of(mode)])
def test_a_defect_is_found_in_the_agent_that_has_it(trainings, mode, defect):
    (run,) = [run for run in trainings if run["mode"] == mode and defect in run["defects"]]
    assert convicted(run, 1 + run["defects"].index(defect), defect), run["failed"].get(
        CONVICTED_BY[defect], run["failed"]
    )


@pytest.mark.parametrize("mode", MODES)
def test_agent_0_is_sound_and_never_accused(trainings, mode):
    accused = [(run["defects"], name, found) for run in trainings if run["mode"] == mode
               for name, found in run["failed"].items() if 0 in found["agents"]]  # fmt: skip
    assert accused == []

"""Runs whose agents act in one forward pass: the same bits in both modes, and nothing for the doctor to find."""

import os
import signal

import pytest

import workbench as wb
from tests.process.at_once import ActsTogether, AtOnce
from tests.process.test_survival import nothing_twice, reached, wait_until

TINY = wb.preset("tiny").replace(device="cpu")
PARALLEL = TINY.replace(world="pettingzoo:mpe2.simple_spread_v3")


@pytest.mark.parametrize("kind", ["iqn", "noisy dqn"])
def test_both_modes_agree_and_the_doctor_finds_nothing(kind, tmp_path):
    config = PARALLEL if kind == "iqn" else PARALLEL.replace(agent={"name": "dqn", "width": 32, "noisy": True})
    digests = []
    for mode in ("sequential", "multiprocess"):
        with wb.launch(config, mode, 1, out=tmp_path, hooks=[ActsTogether()]) as run:
            digests.append(run.wait(300).digest)
            assert [check.name for check in run.diagnose().failed] == []
    assert digests[0] == digests[1]


def test_a_killed_actor_is_replaced_and_the_bits_stay(tmp_path):
    config = TINY.replace(world=AtOnce, **{"epochs": 40, "checkpoint.interval": 5})
    with wb.launch(config, "sequential", 1, out=tmp_path, hooks=[ActsTogether()]) as run:
        left_alone = run.wait(300).digest
    with wb.launch(config, lag=1, out=tmp_path, hooks=[ActsTogether()]) as run:
        wait_until(lambda: reached(run, 7))
        os.kill(run.processes[0].pid, signal.SIGKILL)
        result = run.wait(300)
    assert result.digest == left_alone and nothing_twice(run)
    assert run.incidents[0].endswith("; restarted")

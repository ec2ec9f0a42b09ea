"""Runs with a fused learner: the same bits in both modes, killed or resumed, and watched as others are."""

import functools
import os
import signal

import numpy as np
import pytest

import workbench as wb
from tests.process.test_survival import nothing_twice, reached, wait_until
from tests.unit import inprocess
from tests.unit.test_fused import Batched

FUSED = {"processes.learners": "fused"}
IQN = wb.preset("tiny").replace(**FUSED, device="cpu")
DQN = IQN.replace(
    agent={"name": "dqn", "width": 32, "num_frames": 3, "noisy": True},
    **{"replay.sampler": "prioritised", "learning.accumulate": 2, "replay.max_age": 6},
)  # fmt: skip
LONG = IQN.replace(**{"epochs": 40, "checkpoint.interval": 5, "world.num_agents": 3})


@pytest.fixture(params=[(), (Batched(),)], ids=["one by one", "together"])
def hooks(request):
    return request.param


@functools.cache
def reference(config, lag, together):
    return inprocess.digests(inprocess.run(config, lag, hooks=(Batched(),) * together))


@pytest.mark.parametrize(
    ("config", "mode", "lag"),
    [(IQN, "multiprocess", 0), (IQN, "multiprocess", 1), (IQN, "multiprocess", 3), (IQN, "sequential", 1),
     (DQN, "multiprocess", 1)],
    ids=["lag 0", "lag 1", "lag 3", "sequential", "dqn"],
)  # fmt: skip
def test_both_modes_agree_to_the_last_bit_and_the_doctor_finds_nothing(config, mode, lag, hooks, tmp_path):
    with wb.launch(config, mode, lag, out=tmp_path, hooks=hooks) as run:
        result = run.wait(300)
        diagnosis = run.diagnose()
    assert result.digest == reference(config, lag, bool(hooks))
    assert result.updates == config.total_updates * config.num_agents
    assert [check.name for check in diagnosis.failed] == []
    if mode == "multiprocess":
        assert [process.name for process in run.processes] == ["actor", "learner 0"]


def test_agents_are_shared_out_among_several_fused_learners_and_the_bits_stay(hooks, tmp_path):
    config = LONG.replace(**{"epochs": 12, "processes.learners": "fused:2"})
    with wb.launch(config, lag=1, out=tmp_path, hooks=hooks) as run:
        wait_until(lambda: reached(run, 7))
        os.kill(run.processes[1].pid, signal.SIGKILL)
        result = run.wait(300)
        assert [(process.name, process.agents) for process in run.processes[1:]] == [
            ("learner 0", (0, 2)), ("learner 1", (1,))
        ]  # fmt: skip
    assert result.digest == reference(config.replace(**FUSED), 1, bool(hooks))


def test_a_free_running_fused_learner_makes_every_update_of_every_agent_once(hooks, tmp_path):
    with wb.launch(LONG, lag=None, out=tmp_path, hooks=hooks) as run:
        wait_until(lambda: reached(run, 10))
        os.kill(run.processes[1].pid, signal.SIGKILL)
        result = run.wait(300)
    assert result.updates == LONG.total_updates * 3 and nothing_twice(run)


def test_a_killed_learner_and_a_resume_end_with_the_bits_of_a_run_left_alone(hooks, tmp_path):
    run = wb.launch(LONG, lag=1, out=tmp_path, hooks=hooks)
    wait_until(lambda: reached(run, 7))
    os.kill(run.processes[1].pid, signal.SIGKILL)
    wait_until(lambda: run.incidents and reached(run, 13))
    run.stop()
    assert run.incidents[0].endswith("; restarted")
    again = wb.resume(run.folder.path, hooks=hooks)
    assert again.wait(300).digest == reference(LONG, 1, bool(hooks)) and nothing_twice(again)


def test_a_fault_is_noticed_in_the_agents_of_a_fused_learner(hooks, tmp_path):
    for fault in ("double_target_update", "publish_never"):
        with wb.launch(IQN, lag=1, out=tmp_path, faults=[fault], hooks=hooks) as run:
            run.wait(300)
            assert run.diagnose().failed, fault


def test_a_changed_step_size_reaches_every_agent(hooks, tmp_path):
    with wb.launch(LONG.replace(epochs=1_000_000), lag=1, out=tmp_path, hooks=hooks) as run:
        wait_until(lambda: reached(run, 5))
        run.change(**{"learning.learning_rate": 0.125, "learning.learning_rate_end": 0.125})

        def learned_so():
            updates = run.history.updates  # once: it grows
            return set(updates["agent"][updates["learning_rate"] == np.float32(0.125)])

        wait_until(lambda: learned_so() == {0, 1, 2})

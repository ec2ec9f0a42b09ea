"""Runs on a real card: the same bits in both modes, killed or resumed, and nothing for the doctor to find."""

import os
import signal

import pytest

import workbench as wb
from tests.process.at_once import AtOnce
from tests.process.test_survival import nothing_twice, reached, wait_until
from workbench.zoo.together import together

pytestmark = pytest.mark.gpu

IQN = wb.preset("tiny").replace(device="cuda")
DQN = IQN.replace(
    agent={"name": "dqn", "width": 32, "num_frames": 3, "noisy": True},
    **{"replay.sampler": "prioritised", "learning.accumulate": 2, "replay.max_age": 6},
)  # fmt: skip
KINDS = {
    "iqn": IQN,
    "fused": IQN.replace(**{"processes.learners": "fused"}),
    "fused dqn": DQN.replace(**{"processes.learners": "fused"}),
    "grouped dqn": DQN.replace(**{"processes.learners": 1}),
    "acting on the card": IQN.replace(
        **{"processes.acting_device": "cuda", "world.num_worlds": 8, "replay.capacity": 2000}
    ),
    "bfloat16": IQN.replace(**{"learning.precision": "bfloat16"}),
}


@pytest.mark.filterwarnings("ignore::workbench.runs.folder.RecordWarning")
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_both_modes_agree_to_the_last_bit_on_a_card_and_the_doctor_finds_nothing(config, tmp_path):
    digests = {}
    for mode, lag in (("sequential", 0), ("multiprocess", 0), ("sequential", 1), ("multiprocess", 1)):
        with wb.launch(config, mode, lag, out=tmp_path) as run:
            digests[mode, lag] = run.wait(300).digest
            assert list(run.warnings) == []
            assert [check.name for check in run.diagnose().failed] == []
    assert digests["sequential", 0] == digests["multiprocess", 0]
    assert digests["sequential", 1] == digests["multiprocess", 1]


@pytest.mark.parametrize("learners", ["per_agent", "fused"])
def test_a_killed_learner_of_a_card_is_replaced_and_the_bits_stay(learners, tmp_path):
    config = IQN.replace(**{"epochs": 40, "checkpoint.interval": 5, "processes.learners": learners})
    with wb.launch(config, "sequential", 1, out=tmp_path) as run:
        left_alone = run.wait(300).digest
    with wb.launch(config, lag=1, out=tmp_path) as run:
        wait_until(lambda: reached(run, 7))
        os.kill(run.processes[1].pid, signal.SIGKILL)
        result = run.wait(300)
    assert result.digest == left_alone and nothing_twice(run)
    assert run.incidents[0].endswith("; restarted")


@pytest.mark.parametrize("lag", [0, 1])
def test_both_modes_agree_where_agents_act_together_on_the_card(lag, tmp_path):
    config = IQN.replace(world=AtOnce, **{"processes.acting_device": "cuda"})
    assert together(config)
    found = [wb.launch(config, mode, lag, out=tmp_path).wait(300) for mode in ("sequential", "multiprocess")]
    assert found[0].digest == found[1].digest


def test_capturing_changes_no_bit(tmp_path):
    config = KINDS["fused"]
    found = [
        wb.launch(config.replace(**{"learning.capture": capture}), lag=1, out=tmp_path).wait(300).digest
        for capture in ("auto", "never")
    ]
    assert found[0] == found[1]

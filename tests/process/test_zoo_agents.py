"""The zoo's agents and samplers in the same plumbing as the core's: both modes give the same bits, resumed or not."""

import functools

import pytest

import workbench as wb
from tests.unit import inprocess

TINY = wb.preset("tiny").replace(device="cpu")
DQN = TINY.replace(agent={"name": "dqn", "width": 32, "num_frames": 3})
DUELING = DQN.replace(
    agent={"dueling": True, "noisy": True}, learning={"accumulate": 2, "double": False, "n_step": 5},
    world={"num_worlds": 2}, replay={"capacity": 640, "window": 400, "learning_starts": 100},
)  # fmt: skip


@functools.cache
def reference(config, lag):
    return inprocess.digests(inprocess.run(config, lag))


@pytest.mark.parametrize(("config", "lag"), [(DQN, 0), (DUELING, 1)], ids=["dqn", "dueling"])
def test_both_modes_agree_to_the_last_bit(config, lag, tmp_path):
    with wb.launch(config, lag=lag, out=tmp_path) as run:
        result = run.wait(300)
        diagnosis = run.diagnose()
    assert result.digest == reference(config, lag)
    assert result.updates == config.total_updates * config.num_agents
    assert [check.name for check in diagnosis.failed] == []
    assert run.history["losses/loss"].min() > 0
    assert wb.load(run.folder.path).config == config

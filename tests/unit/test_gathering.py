"""A checkpoint can be taken out of a run's memory and put back, byte for byte; another run's cannot."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.core.processes.blocks import Plan
from workbench.core.processes.supervisor import Supervisor
from workbench.runs.recovery.gathering import Checkpoints
from workbench.runs.run import OWN_HOOKS

CONFIG = wb.preset("tiny").replace(device="cpu")


def checkpoints(config=CONFIG, lag=1):
    """Those of a run that is not started."""
    supervisor = Supervisor(Plan(config, "multiprocess", lag, OWN_HOOKS), Path())
    return Checkpoints(supervisor, lambda: True, lambda epoch, contents: None)


def fill(run, seed, step):
    """Random bytes into everything that a checkpoint holds: every journal and every block."""
    rng = np.random.default_rng(seed)
    for journal in run._journals.values():
        arrays = {name: array[0] for name, array in journal._fields.items()}
        journal.save(
            step, {name: np.frombuffer(rng.bytes(a.nbytes), a.dtype).reshape(a.shape) for name, a in arrays.items()}
        )
    for block in blocks_of(run):
        block.bytes[8192:] = np.frombuffer(rng.bytes(len(block.bytes) - 8192), np.uint8)  # after the header


def blocks_of(run):
    return (*run._shared.replay_blocks, *run._shared.store_blocks)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 1000))
def test_a_checkpoint_taken_and_put_back_is_the_same_bytes(seed, step):
    run = checkpoints()
    fill(run, seed, step)
    contents = {name: np.array(array) for name, array in run.as_left().items()}
    other = checkpoints()
    other.put_back(contents, step)
    again = other.as_left()
    assert again.keys() == contents.keys()
    assert all(
        again[name].dtype == contents[name].dtype and again[name].tobytes() == contents[name].tobytes()
        for name in contents
    )
    assert other.counters.due.get() == other.counters.kept.get() == step
    for one, two in zip(blocks_of(run), blocks_of(other), strict=True):
        assert one.bytes.tobytes() == two.bytes.tobytes()


def test_there_is_no_checkpoint_before_every_process_has_kept_a_state():
    run = checkpoints()
    assert run.as_left() is None and run.complete() is None
    assert not run._copies.keys() ^ run._journals.keys()
    assert not checkpoints(CONFIG.replace(**{"checkpoint.keep": 0}))._copies


def test_a_checkpoint_is_complete_when_the_last_part_is_there_and_only_until_it_is_kept():
    run = checkpoints()
    fill(run, 1, 5)
    run.counters.begin(5)
    for owner, copy in run._copies.items():
        assert run.complete() is None
        copy.save(5, {name: array[0] for name, array in copy._fields.items()})
        assert owner in run._copies
    epoch, contents = run.complete()
    assert epoch == 5 and {name.split("/")[0] for name in contents} == set(run._copies)
    run.counters.kept.set(5)
    assert run.complete() is None


def test_an_agent_that_learns_no_more_is_taken_as_it_was_left():
    run = checkpoints()
    fill(run, 1, 3)
    run._progress.freeze(1)
    run.counters.begin(5)
    for owner in ("actor", "agent 0"):
        run._copies[owner].save(5, {name: array[0] for name, array in run._copies[owner]._fields.items()})
    _, contents = run.complete()
    assert int(contents["agent 0/at"]) == 5 and int(contents["agent 1/at"]) == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda contents: contents.update({"agent 1/vector": np.zeros(3, np.float32)}), r"vector has shape \(3,\)"),
        (lambda contents: contents.update({"agent 1/more": np.zeros(3)}), "the state holds"),
        (lambda contents: contents.pop("agent 1/vector"), "the state holds"),
    ],
)  # fmt: skip
def test_a_state_of_another_form_is_refused_by_name(damage, message):
    run = checkpoints()
    fill(run, 1, 3)
    contents = {name: np.array(array) for name, array in run.as_left().items()}
    damage(contents)
    with pytest.raises(ValueError, match=message):
        checkpoints().put_back(contents, 3)

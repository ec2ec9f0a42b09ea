"""A cut through a run can be taken out of its memory and put back, byte for byte; another run's cannot."""

import io
import multiprocessing
from multiprocessing import context, reduction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.core.processes.blocks import Plan, Shared
from workbench.core.processes.shared_memory import Block
from workbench.core.processes.supervisor import Listener, Supervisor
from workbench.runs.run import vector_size, watching

SPAWN = multiprocessing.get_context("spawn")
CONFIG = wb.preset("tiny").replace(device="cpu")


def shared(config=CONFIG, lag=1):
    plan = Plan(config, "multiprocess", lag, None, ())
    return Shared(plan, 1 + config.num_learners, lambda layout: Block.create(SPAWN, layout))


def fill(run, seed, step):
    """Random bytes into everything that a cut holds: every journal and every block."""
    rng = np.random.default_rng(seed)
    for journal in run._journals.values():
        arrays = {name: array[0] for name, array in journal._fields.items()}
        journal.save(
            step, {name: np.frombuffer(rng.bytes(a.nbytes), a.dtype).reshape(a.shape) for name, a in arrays.items()}
        )
    for block in (*run.replay_blocks, *run.store_blocks):
        block.bytes[8192:] = np.frombuffer(rng.bytes(len(block.bytes) - 8192), np.uint8)  # after the header


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 1000))
def test_a_cut_taken_and_put_back_is_the_same_bytes(seed, step):
    run = shared()
    fill(run, seed, step)
    cut = {name: np.array(array) for name, array in run.cut_as_left().items()}
    other = shared()
    other.put_back(cut, step)
    again = other.cut_as_left()
    assert again.keys() == cut.keys()
    assert all(again[name].dtype == cut[name].dtype and again[name].tobytes() == cut[name].tobytes() for name in cut)
    assert other.progress.checkpoint_due == other.progress.checkpoint_kept == step
    for one, two in zip(
        (*run.replay_blocks, *run.store_blocks), (*other.replay_blocks, *other.store_blocks), strict=True
    ):
        assert one.bytes.tobytes() == two.bytes.tobytes()


def test_there_is_no_cut_before_everybody_has_kept_a_state():
    run = shared()
    assert run.cut_as_left() is None and run.complete_cut() is None
    assert run.keeps_checkpoints and not shared(CONFIG.replace(**{"checkpoint.keep": 0})).keeps_checkpoints


def test_a_cut_is_complete_when_the_last_part_is_there_and_only_until_it_is_kept():
    run = shared()
    fill(run, 1, 5)
    run.progress.begin_checkpoint(5)
    for owner, copy in run._copies.items():
        assert run.complete_cut() is None
        copy.save(5, {name: array[0] for name, array in copy._fields.items()})
        assert owner in run._copies
    epoch, cut = run.complete_cut()
    assert epoch == 5 and {name.split("/")[0] for name in cut} == set(run._copies)
    run.progress.keep_checkpoint(5)
    assert run.complete_cut() is None


def test_an_agent_that_learns_no_more_is_taken_as_it_was_left():
    run = shared()
    fill(run, 1, 3)
    run.progress.freeze(1)
    run.progress.begin_checkpoint(5)
    for owner in ("actor", "agent 0"):
        run._copies[owner].save(5, {name: array[0] for name, array in run._copies[owner]._fields.items()})
    _, cut = run.complete_cut()
    assert int(cut["agent 0/at"]) == 5 and int(cut["agent 1/at"]) == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda cut: cut.update({"agent 0/weight store": np.zeros(3, np.uint8)}), "weight store has 3 bytes"),
        (lambda cut: cut.update({"actor/replay 1": np.zeros(3, np.uint8)}), "actor/replay 1 has 3 bytes"),
        (lambda cut: cut.update({"agent 1/vector": np.zeros(3, np.float32)}), r"vector has shape \(3,\)"),
        (lambda cut: cut.update({"agent 1/more": np.zeros(3)}), "the state holds"),
        (lambda cut: cut.pop("agent 1/vector"), "the state holds"),
        (lambda cut: cut.pop("agent 1/weight store"), "agent 1/weight store is missing"),
        (lambda cut: cut.pop("actor/at"), "actor/at is missing"),
    ],
)  # fmt: skip
def test_a_cut_of_another_form_is_refused_by_name(damage, message):
    run = shared()
    fill(run, 1, 3)
    cut = {name: np.array(array) for name, array in run.cut_as_left().items()}
    damage(cut)
    with pytest.raises(ValueError, match=message):
        shared().put_back(cut, 3)


class Spawning:
    """What multiprocessing asks for file descriptors while it writes down what a child is sent."""

    def duplicate_for_child(self, descriptor):
        return descriptor

    DupFd = duplicate_for_child


def test_what_a_child_is_sent_fits_into_a_pipe(tmp_path):
    """Beyond what a pipe holds, the parent would wait for the child to read on, for ever if it is killed meanwhile."""
    config = CONFIG.replace(**{"world.num_agents": 50, "world.height": 12, "world.width": 12})
    weights = np.zeros((50, vector_size(config)), np.float32)
    plan = Plan(config, "multiprocess", 1, weights, tuple(watching(True, True)))
    supervisor = Supervisor(plan, tmp_path, Listener())
    sent = io.BytesIO()
    context.set_spawning_popen(Spawning())
    try:
        reduction.dump(supervisor.processes[0], sent)
    finally:
        context.set_spawning_popen(None)
    assert sent.tell() < 65_536 < weights.nbytes

"""Faults in real runs: what a user is told when a process dies, hangs, is stopped, or is refused."""

import os
import re
import signal

import numpy as np
import pytest

import workbench as wb
from tests.soundness import check_replay
from workbench.core.shared.weight_store import checksum
from workbench.diagnose.faults import prepare

CONFIG = wb.preset("tiny").replace(**{
    "device": "cpu", "processes.learners": 1, "evaluation.final_worlds": 2, "processes.actor_death": "stop",
    "processes.learner_death": "stop",
})  # fmt: skip


def start(*faults, lag=1, **changes):
    config = CONFIG.replace(**changes)
    return wb.launch(config, lag=lag, hooks=prepare(faults, config, "multiprocess", lag))


def failure(run):
    """What the run says of its end."""
    with run, pytest.raises(wb.ChildFailed) as caught:
        run.wait(120)
    assert run.status == "failed" and str(caught.value) == str(wb.load(run.folder.path).error)
    return str(caught.value)


@pytest.mark.parametrize(("fault", "name"), [("kill_learner=4", "learner 0"), ("kill_actor=4", "actor")])
def test_a_killed_process_is_named_with_its_signal(fault, name):
    assert re.match(rf"{name}( \(agents 0, 1\))? was ended by signal 9 \(SIGKILL\)", failure(start(fault)))


def test_a_process_that_hangs_is_named_and_the_remedy_if_it_was_only_slow():
    run = start("hang_learner=4", **{"processes.hang_timeout_s": 5})
    message = failure(run)
    assert (
        message.startswith("learner 0 (agents 0, 1) has sent no heartbeat for 5 s and was killed")
        and "processes.hang_timeout_s" in message
    )


@pytest.mark.parametrize("process", [0, 1], ids=["actor", "learner"])
def test_a_process_that_was_stopped_counts_as_hung_even_if_it_was_waiting(process):
    """The learner's first epoch is far away, so it waits; the actor is at work."""
    run = start(**{
        "processes.hang_timeout_s": 5, "epochs": 100_000, "replay.capacity": 200_000, "replay.window": 150_000,
        "replay.learning_starts": 150_000, "evaluation.interval": 0,
    })  # fmt: skip
    while not run.progress["epochs"]:
        with pytest.raises(TimeoutError):
            run.wait(0.1)
    stopped = run._supervisor.processes[process]
    os.kill(stopped.pid, signal.SIGSTOP)
    assert re.match(rf"{stopped.name}.* has sent no heartbeat for 5 s and was killed", failure(run))


def test_a_snapshot_half_written_holds_nobody_up_and_the_last_whole_one_stays():
    run = start("kill_while_writing=4", lag=None)
    assert failure(run).startswith("learner 0 (agents 0, 1) was ended by signal 9 (SIGKILL)")
    assert run.weights.shape[0] == 2 and np.isfinite(run.weights).all()
    store = run._supervisor.shared.stores[0]
    assert store.newest == 3 and store.peek().checksum == checksum(run.weights[0])


def test_two_sides_that_disagree_on_the_observation_are_told_both_shapes():
    message = failure(start("spec_mismatch"))
    assert message.startswith("learner 0 (agents 0, 1) failed: ") and ":\nTraceback" in message
    assert "'frame' of shape (20, 21, 1, 25)" in message and "'frame' of shape (20, 21, 1, 25, 2)" in message
    assert "use one configuration on both sides" in message


def test_a_fault_that_is_no_refusal_lets_the_run_come_to_its_end():
    with start("sync_never", "corrupt_rows=2") as run:
        assert run.wait(120).status == "finished"
    assert (run.history.epochs["policy_version"] == 0).all()
    assert all(check_replay(replay)[0] is False for replay in run._supervisor.shared.replays)

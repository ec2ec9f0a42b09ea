"""The counters of a run say what was reported, to everybody who shares the block, and continue the digests."""

import hashlib
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.processes.supervisor import Supervisor
from workbench.core.shared import layout
from workbench.core.shared.counters import TIMES_KEPT, Progress


@pytest.fixture
def shared():
    """Two views of one block, as two processes have them: three agents, two processes."""
    layout = Progress.layout(3, 2)
    buffer = bytearray(layout.nbytes)
    return Progress(layout.create(buffer)), Progress(layout.open(buffer))


def chained(items):
    digest = bytes(32)
    for item in items:
        digest = hashlib.sha256(digest + item).digest()
    return digest


def test_a_new_block_says_that_nothing_was_done(shared):
    for progress in shared:
        assert not progress.stopping and not progress.started and sum(progress.ready()) == 0
        assert progress.epochs_collected == 0
        assert (
            [progress.updates(agent) for agent in range(3)]
            == [progress.epochs_learned(agent) for agent in range(3)]
            == [0] * 3
        )
        assert np.isnan(progress.start_time) and np.isnan(progress.end_time)


def test_a_stop_reaches_the_other_side(shared):
    parent, child = shared
    parent.request_stop()
    assert child.stopping


def test_the_barrier_opens_when_every_process_is_ready(shared):
    child, parent = shared
    child.report_ready(0)
    assert sum(parent.ready()) == 1
    child.report_ready(1)
    assert sum(parent.ready()) == 2 and not child.started
    before = time.monotonic()
    parent.open_barrier()
    assert child.started and before <= child.start_time <= time.monotonic()


def test_the_run_ends_with_its_last_process(shared):
    one, other = shared
    one.report_end(1)
    assert np.isnan(other.end_time)
    before = time.monotonic()
    other.report_end(0)
    assert before <= one.end_time <= time.monotonic()


def test_agents_are_counted_apart(shared):
    learner, actor = shared
    learner.report_updates(1, 4, np.zeros(4, np.float32))
    learner.report_learned(2, 7)
    assert [actor.updates(agent) for agent in range(3)] == [0, 4, 0]
    assert [actor.epochs_learned(agent) for agent in range(3)] == [0, 0, 7]


@given(
    rewards=st.lists(st.tuples(*[st.floats(width=64)] * 3), max_size=6),
    losses=st.lists(st.lists(st.floats(width=32), max_size=4), max_size=6),
)
def test_digests_chain_one_link_per_epoch_and_per_update_however_they_are_grouped(rewards, losses):
    progress = Progress(Progress.layout(3, 1).allocate())
    for epoch, values in enumerate(rewards):
        progress.add_rewards(np.array(values))
        progress.report_collected(epoch + 1)
    for group in losses:
        progress.report_updates(1, 0, np.array(group, np.float32))
    digests = progress.digests()
    for agent in range(3):
        wanted = chained(np.float64(values[agent]).tobytes() for values in rewards)
        assert digests["rewards"][agent].tobytes() == wanted
    assert digests["losses"][1].tobytes() == chained(np.float32(loss).tobytes() for group in losses for loss in group)
    assert not digests["losses"][0].any()
    assert progress.epochs_collected == len(rewards)


def test_an_epoch_has_a_time_once_it_is_counted_and_while_its_place_is_its_own(shared, monkeypatch):
    mine, theirs = shared
    for epochs in range(1, TIMES_KEPT + 9):
        assert np.isnan(theirs.collected_at(epochs - 1))  # not the time of one that had its place before
        monkeypatch.setattr(time, "monotonic", lambda epochs=epochs: 10.0 * epochs)
        mine.report_collected(epochs)
        assert theirs.collected_at(epochs - 1) == 10 * epochs
    oldest = epochs - TIMES_KEPT + 1
    assert np.isnan(theirs.collected_at(oldest - 1)) and theirs.collected_at(oldest) == 10 * (oldest + 1)


def test_digests_are_copies(shared):
    writer, reader = shared
    before = reader.digests()
    writer.add_rewards(np.ones(3))
    assert not before["rewards"].any() and reader.digests()["rewards"].all(axis=1).any()


class ReadsBefore:
    """A fence that looks, as another process might, at the moment before the counter is raised."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def __call__(self):
        self.seen.append(self.look())


def test_what_a_counter_speaks_for_is_there_before_it_is_raised(monkeypatch):
    arrays = Progress.layout(2, 1).allocate()
    fence = ReadsBefore(lambda: (int(arrays["updates"][1]), bool(arrays["loss_digest"][1].any())))
    monkeypatch.setattr(layout, "fence", fence)
    Progress(arrays).report_updates(1, 3, np.ones(3, np.float32))
    assert fence.seen == [(0, True), (3, True)]


def test_with_every_child_that_is_ready_the_others_have_their_time_once_more(monkeypatch):
    """100 children that need two seconds each are not too slow for a limit of three."""
    now, failed, opened, ready = [0.0], [], [], []
    monkeypatch.setattr("workbench.core.processes.supervisor.time", SimpleNamespace(monotonic=lambda: now[0]))
    progress = SimpleNamespace(ready=lambda: ready, open_barrier=lambda: opened.append(now[0]))
    made = SimpleNamespace(
        progress=progress, config=SimpleNamespace(processes=SimpleNamespace(start_timeout_s=3.0)), ring=lambda: None,
        children=range(100), _ready=0, _ready_time=0.0, _fail=failed.append,
    )  # fmt: skip
    for _ in range(100):
        now[0] += 2.0
        ready.append(1)
        Supervisor._look_at_the_barrier(made)
    assert opened == [200.0] and failed == []
    ready.pop()
    now[0] += 3.5
    Supervisor._look_at_the_barrier(made)
    assert "1 of 100 children were not ready within 3 s; see the logs" in str(failed[0])
    assert "processes.learners groups agents" in str(failed[0])

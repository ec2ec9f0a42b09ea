"""States are kept at every step, checkpoints are begun one at a time, and learners leave their parts of them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.config import Config
from workbench.core.train.hooks import unchanged
from workbench.runs.recovery.journal import Journal
from workbench.runs.recovery.keepers import ActorKeeper, AgentKeeper, CheckpointCounters, StateKeeper

BLOCK = np.zeros(7, np.uint8)


class Owner:
    """Stands in for a collector or a trainer; its state is one number."""

    def __init__(self, interval=0):
        self.value = 0
        self.settings = unchanged(Config().replace(**{"checkpoint.interval": interval}))

    def state(self):
        return {"value": self.value}


def keeper_of(kind, owner, block=BLOCK):
    """A keeper of that kind, its journal, its copies and the counters that it looks at."""
    journal = Journal(Journal.layout("journal", owner.state()).allocate())
    copies = Journal(Journal.layout("copy", {**owner.state(), "block": block}, slots=1).allocate())
    counters = CheckpointCounters(CheckpointCounters.layout().allocate())
    places = (journal, copies, counters, {"block": block})
    keeper = kind(owner.state, *places, *([owner.settings] if kind is ActorKeeper else []))
    return SimpleNamespace(keeper=keeper, journal=journal, copies=copies, counters=counters)


def test_the_newest_state_is_kept_with_its_step():
    owner = Owner()
    kept = keeper_of(StateKeeper, owner)
    assert kept.journal.step == -1
    for step in (1, 2, 5):
        owner.value = step
        kept.keeper.complete(step)
    assert kept.journal.step == 5 and kept.journal.load()["value"] == 5


@given(
    interval=st.integers(0, 4),
    slow=st.lists(st.booleans(), min_size=12, max_size=12),
    asked=st.sets(st.integers(1, 12)),
)
def test_one_checkpoint_at_a_time_and_every_other_is_counted_as_skipped(interval, slow, asked):
    """``slow``: whether the disk is still busy when an epoch ends; ``asked``: epochs before whose end one is wanted."""
    owner = Owner(interval)
    kept = keeper_of(ActorKeeper, owner)
    counters, begun, skipped = kept.counters, [], 0
    for epoch in range(1, 13):
        owner.value = epoch
        if epoch in asked:
            counters.wanted.set(counters.wanted.get() + 1)
        if not slow[epoch - 1] and begun:
            counters.kept.set(begun[-1])
        free = not begun or counters.kept.get() == begun[-1]
        wanted = counters.asked or (interval > 0 and epoch % interval == 0)
        kept.keeper.visible(epoch)
        if wanted and free:
            begun.append(epoch)
            assert counters.due.get() == epoch and not counters.asked
            kept.keeper.visible(epoch)  # a process that takes its place is told again
        else:
            skipped += wanted
        assert counters.skipped.get() == skipped
        assert kept.copies.step == (begun[-1] if begun else -1)
        assert not begun or kept.copies.load()["value"] == begun[-1]


@given(due=st.integers(1, 20), reached=st.lists(st.integers(0, 20), max_size=8).map(sorted))
def test_a_learner_leaves_its_part_once_and_not_before_it_got_there(due, reached):
    owner = Owner()
    kept = keeper_of(AgentKeeper, owner)
    kept.counters.begin(due)
    left = [epochs for epochs in reached if epochs >= due]
    for epochs in reached:
        owner.value = epochs
        kept.keeper.visible(epochs)
    assert kept.copies.step == (due if left else -1)
    assert not left or kept.copies.load()["value"] == left[0]


def test_a_checkpoint_holds_the_blocks_as_they_were_when_it_was_left():
    block, owner = np.arange(7, dtype=np.uint8), Owner()
    owner.value = 9
    kept = keeper_of(StateKeeper, owner, block)
    kept.keeper.leave_checkpoint(3)
    block[:] = 0
    found = kept.copies.load()
    np.testing.assert_array_equal(found["block"], np.arange(7))
    assert found["value"] == 9

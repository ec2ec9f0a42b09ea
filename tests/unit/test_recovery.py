"""Checkpoints are begun one at a time, and who takes a place gets the newest state that was kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.shared.counters import Progress
from workbench.runs.recovery.journal import Journal
from workbench.runs.recovery.state_keeper import NOTHING_KEPT, Recovery

STATE = {"value": 0}
BLOCK = np.zeros(7, np.uint8)


def progress_of_one():
    return Progress(Progress.layout(1, 1).allocate())


def recovery():
    """The places of one owner, whose checkpoint also takes a block, and the journal of the copies."""
    copies = Journal(Journal.layout("copy", {**STATE, "block": BLOCK}, slots=1).allocate())
    journal = Journal(Journal.layout("journal", STATE).allocate())
    return Recovery(journal, copies, {"block": BLOCK}), copies


def test_the_newest_state_is_recalled_with_its_step():
    kept, _ = recovery()
    assert kept.recall() == (None, -1)
    for step in (1, 2, 5):
        kept.keep(step, lambda step=step: {"value": step})
    state, step = kept.recall()
    assert step == 5 and state["value"] == 5


def test_a_run_that_nobody_can_take_over_keeps_nothing_and_builds_no_state():
    NOTHING_KEPT.keep(1, lambda: pytest.fail("a state was built for nobody"))
    NOTHING_KEPT.leave_checkpoint(1, STATE)
    progress = progress_of_one()
    progress.want_checkpoint()
    assert NOTHING_KEPT.recall() == (None, -1)
    assert not NOTHING_KEPT.checkpoint_begins(1, 1, progress) and not NOTHING_KEPT.checkpoint_is_due(1, progress)


@given(
    interval=st.integers(0, 4),
    slow=st.lists(st.booleans(), min_size=12, max_size=12),
    asked=st.sets(st.integers(1, 12)),
)
def test_one_checkpoint_at_a_time_and_every_other_is_counted_as_skipped(interval, slow, asked):
    """``slow``: whether the disk is still busy when an epoch ends; ``asked``: epochs before whose end somebody asks."""
    kept, copies = recovery()
    progress, begun, skipped = progress_of_one(), [], 0
    for epoch in range(1, 13):
        if epoch in asked:
            progress.want_checkpoint()
        if not slow[epoch - 1] and begun:
            progress.keep_checkpoint(begun[-1])
        free = not begun or progress.checkpoint_kept == begun[-1]
        wanted = progress.checkpoint_wanted or (interval > 0 and epoch % interval == 0)
        if kept.checkpoint_begins(epoch, interval, progress):
            assert wanted and free
            kept.leave_checkpoint(epoch, {"value": epoch})
            progress.begin_checkpoint(epoch)
            begun.append(epoch)
            assert not progress.checkpoint_wanted
            assert not kept.checkpoint_begins(epoch, interval, progress)  # its successor asks again
        else:
            assert not (wanted and free)
            skipped += wanted
        assert progress.checkpoints_skipped == skipped
        assert copies.step == (begun[-1] if begun else -1)


@given(due=st.integers(1, 20), reached=st.lists(st.integers(0, 20), max_size=8).map(sorted))
def test_a_learner_leaves_its_part_once_and_not_before_it_got_there(due, reached):
    kept, copies = recovery()
    progress, left = progress_of_one(), 0
    progress.begin_checkpoint(due)
    for epochs in reached:
        assert kept.checkpoint_is_due(epochs, progress) == (epochs >= due and not left)
        if kept.checkpoint_is_due(epochs, progress):
            kept.leave_checkpoint(due, {"value": epochs})
            left += 1
    assert left == (bool(reached) and reached[-1] >= due) and copies.step == (due if left else -1)


def test_a_checkpoint_holds_the_blocks_as_they_were_when_it_was_left():
    block = np.arange(7, dtype=np.uint8)
    copies = Journal(Journal.layout("copy", {**STATE, "block": block}, slots=1).allocate())
    Recovery(None, copies, {"block": block}).leave_checkpoint(3, {"value": 9})
    block[:] = 0
    found = copies.load()
    np.testing.assert_array_equal(found["block"], np.arange(7))
    assert found["value"] == 9

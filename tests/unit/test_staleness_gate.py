"""replay.max_age: rows of old policies are not drawn; a learner without enough young ones leaves its updates out."""

import numpy as np
import pytest

import workbench as wb
from tests.unit import inprocess
from tests.unit.test_own_agent import late
from tests.unit.worlds import TrialConfig
from workbench.zoo.measures import DrawnRows

TINY = wb.preset("tiny").replace(device="cpu", epochs=9)
GATED = TINY.replace(**{"replay.max_age": 4})
# Epochs of 20 rows: from the fourth on, two of them are young enough at lag 1, and a batch needs three.
STARVED = TINY.replace(**{"replay.max_age": 2, "learning.batch_size": 48, "replay.learning_starts": 60})


def ages(config, lag):
    """Age of every row of every batch, and the parts of the run."""
    with inprocess.as_in_a_child():
        parts, found = inprocess.build(config, lag), []
        agent, store = parts.trainer.agents[0], parts.trainer.stores[0]
        update = agent.update

        def watched(learning_rate):
            found.append(store.newest - agent.batch.policy_version)
            return update(learning_rate)

        agent.update = watched
        parts.trainer.publish_initial()
        inprocess.run_sequential(parts.collector, parts.trainer, lag, before_epoch=lambda: None)
    return np.concatenate(found), parts


def test_no_row_is_older_and_without_a_gate_some_are():
    gated, _ = ages(GATED, 1)
    free, _ = ages(TINY, 1)
    assert gated.max() == 4 and free.max() > 4
    assert set(gated) == {1, 2, 3, 4}  # every row that is young enough is drawn, and at lag 1 none is younger


@pytest.mark.parametrize("config", [GATED, STARVED, GATED.replace(**{"replay.sampler": "prioritised"})])
def test_timing_changes_nothing(config):
    assert inprocess.digests(inprocess.run(config, 1)) == inprocess.digests(late(config, 1))


def test_updates_without_enough_rows_are_left_out_counted_and_never_made_up_for():
    _, parts = ages(STARVED, 1)
    made, skipped = parts.trainer.agents[0].updates, parts.progress.skipped(0)
    assert (made, skipped) == (4, STARVED.total_updates - 4)
    assert parts.progress.settled(0) == STARVED.total_updates
    assert parts.progress.epochs_learned(0) == 9  # every version was published


def test_only_rows_in_which_the_agent_took_part_count():
    config = GATED.replace(world=TrialConfig(), **{"replay.learning_starts": 24, "agent.width": 8})
    replay = inprocess.run(config, 1).replays[1]
    numbers = np.arange(replay.count - replay.fill(), replay.count)
    assert replay.usable() == replay.rows["valid"].take(numbers, mode="wrap").sum() < replay.fill() < replay.window


@pytest.mark.parametrize(("lag", "least"), [(0, 1), (3, 4), (None, 1)])
def test_an_age_that_no_row_can_have_is_refused(lag, least, tmp_path):
    wb.launch(TINY.replace(**{"replay.max_age": least}), lag=lag, out=tmp_path, start=False).stop()
    if least > 1:
        with pytest.raises(wb.ConfigError, match=rf"replay.max_age is {least - 1}; .*must be at least {least}, or 0"):
            wb.launch(TINY.replace(**{"replay.max_age": least - 1}), lag=lag, out=tmp_path, start=False)


def test_what_was_dropped_and_skipped_is_in_the_history():
    config = STARVED.replace(**{"replay.sampler": "prioritised"})
    with inprocess.as_in_a_child():
        parts = inprocess.build(config, 1, [DrawnRows()])
        inprocess.take_over(parts)
        parts.trainer.publish_initial()
        inprocess.run_sequential(parts.collector, parts.trainer, 1, before_epoch=lambda: None)
    table = inprocess.history(parts).table("off_policy")
    table = table[table["agent"] == 0]
    assert table["epoch"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(table["dropped"], 1 - np.array([60, 40, 40, 40, 40, 40, 40]) / np.arange(60, 181, 20))
    assert table["skipped"].tolist() == [0, 4, 8, 12, 16, 20, 24]
    assert 1 <= table["effective"][0] <= 48 and np.isnan(table["effective"][1:]).all()
    assert not DrawnRows.wanted(TINY)

"""A history holds every record, can be read while it grows, and draws curves that never lack an agent."""

import os
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.watched import SCHEMA, TABLES
from workbench.core.records import EPOCHS, UPDATES
from workbench.runs.folder import RecordError, RunFolder
from workbench.runs.history import History
from workbench.runs.metrics import METRICS


def records_of(dtype, **columns):
    records = np.zeros(len(next(iter(columns.values()))), dtype)
    for field, values in columns.items():
        records[field] = values
    return records


@given(sizes=st.lists(st.integers(0, 400), max_size=12))
def test_records_stay_in_order_and_earlier_views_never_change(sizes):
    history, views = History(), []
    for size in sizes:
        start = len(history.updates)
        history.append("updates", records_of(UPDATES, update=np.arange(start, start + size)))
        views.append((history.updates, start + size))
    for view, length in views:
        np.testing.assert_array_equal(view["update"], np.arange(length))


@given(batches=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20), looks=st.booleans())
def test_a_table_is_read_from_its_file_as_far_as_the_disk_has_taken_it(batches, looks, tmp_path_factory):
    """Some batches reach the file with those after them only. A reader finds every record at any time."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    history, views, end, waiting = History(), [], 0, []
    for size, written in batches:
        records = records_of(UPDATES, update=np.arange(end, end + size))
        end += size
        waiting.append(records)
        if written:
            folder.append("updates", np.concatenate(waiting))
            waiting.clear()
        history.append("updates", records, folder=folder if written else None)
        if looks:
            views.append((history.updates, end))
    for view, length in [*views, (history.updates, end)]:
        np.testing.assert_array_equal(view["update"], np.arange(length))
        assert not view.flags.writeable


def test_a_large_table_takes_no_memory_and_what_was_read_outlives_its_file(tmp_path):
    folder, history = RunFolder(tmp_path), History()
    batch = 20_000
    tracemalloc.start()
    try:
        for start in range(0, 50 * batch, batch):
            records = records_of(UPDATES, update=np.arange(start, start + batch))
            folder.append("updates", records)
            history.append("updates", records, folder=folder)
        del records
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2**15 < 50 * batch * UPDATES.itemsize
    read = history.updates
    folder.path_of("updates").unlink()
    np.testing.assert_array_equal(read["update"], np.arange(50 * batch))
    with pytest.raises(RecordError, match=r"cannot read 1,000,000 records from .*updates\.records"):
        _ = history.updates
    folder.append("updates", records_of(UPDATES, update=[1]))  # a new file, which does not hold the records before
    with pytest.raises(RecordError, match=r"cannot read 1,000,000 records"):
        _ = history.updates


def test_a_table_that_has_grown_large_leaves_nothing_of_its_small_days_in_memory(tmp_path):
    folder, history = RunFolder(tmp_path), History()

    def add(count):
        records = records_of(UPDATES, update=np.arange(count))
        folder.append("updates", records)
        history.append("updates", records, folder=folder)

    add(1000)
    read = weakref.ref(history.updates)
    assert read() is history.updates  # kept, since it is small
    add(100_000)
    assert len(history.updates) == 101_000 and read() is None


def test_a_history_holds_no_file_open_between_two_looks(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append("updates", records_of(UPDATES, update=np.arange(1000)))
    before = len(os.listdir("/dev/fd"))
    history = History.of(folder)
    for _ in range(3):
        assert history.updates["update"][-1] == 999
        assert history.series("losses/loss")[0][-1] == 999
    assert len(os.listdir("/dev/fd")) == before


def test_reading_from_another_thread_sees_whole_records_in_order():
    history, batches, size = History(), 300, 17

    def write():
        for batch in range(batches):
            update = np.arange(batch * size, (batch + 1) * size)
            history.append("updates", records_of(UPDATES, update=update, target_updates=update), lost=1)

    writer = threading.Thread(target=write)
    writer.start()
    views, running = [history.updates], True
    while running:
        running = writer.is_alive()
        seen = history.updates
        if len(seen) != len(views[-1]):
            views.append(seen)
    writer.join()
    assert len(views[-1]) == batches * size
    for view in views:
        assert len(view) % size == 0
        np.testing.assert_array_equal(view["update"], np.arange(len(view)))
        np.testing.assert_array_equal(view["target_updates"], view["update"])
    assert history.lost["updates"] == batches


def test_what_was_appended_is_a_copy_and_what_is_read_is_read_only():
    history, records = History(), records_of(EPOCHS, reward=[1.0])
    history.append("epochs", records)
    records["reward"] = 2.0
    assert history["charts/reward"].tolist() == [1.0]
    with pytest.raises(ValueError, match="read-only"):
        history.epochs["reward"] = 3.0
    with pytest.raises(ValueError, match="read-only"):
        history["charts/reward"][:] = 3.0


def test_every_metric_can_be_asked_for_before_anything_is_recorded():
    history = History()
    assert set(dict(history)) == set(METRICS)
    for name in METRICS:
        assert history[name].shape == (0,)
        for agent in (None, 0):
            x, y = history.series(name, agent)
            assert (x.shape, y.shape) == ((0,), (0,))


def test_mistakes_are_refused_by_name():
    history = History()
    with pytest.raises(KeyError, match="values/mean_q"):
        history["mean_q"]
    with pytest.raises(KeyError, match="no column 'reward'"):
        history.series("values/mean_q", over="reward")
    with pytest.raises(KeyError, match="no table 'update'; did you mean updates"):
        history.append("update", np.zeros(1, UPDATES))
    with pytest.raises(TypeError, match="this table holds"):
        history.append("updates", np.zeros(1, EPOCHS))


def test_repr_counts_records_and_losses():
    history = History()
    assert repr(history) == "History(0 updates, 0 epochs, 0 events, 0 evaluations; lost: none)"
    history.append("updates", np.zeros(1500, UPDATES), lost=3)
    assert repr(history) == "History(1,500 updates, 0 epochs, 0 events, 0 evaluations; lost: 3 updates)"


def slow_series(rows, agents, combine):
    """The definition of a combined curve, point by point; ``rows`` are (agent, point, value), later ones count."""
    latest = {(agent, point): value for agent, point, value in rows}
    points = sorted({point for _, point, _ in rows})
    complete = [point for point in points if all((agent, point) in latest for agent in agents)]
    return complete, [combine([latest[agent, point] for agent in agents]) for point in complete]


rows_strategy = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(-50, 50)), max_size=40)


@given(rows=rows_strategy)
def test_series_agrees_with_its_definition(rows):
    history = History()
    agents, points, values = np.array(rows, dtype=int).reshape(-1, 3).T
    history.append("epochs", records_of(EPOCHS, agent=agents, epoch=points, reward=values))
    history.append("updates", records_of(UPDATES, agent=agents, update=points, mean_q=values))
    seen = sorted(set(agents.tolist()))
    for name, combine in (("charts/reward", sum), ("values/mean_q", np.mean)):
        x, y = history.series(name)
        expected_x, expected_y = slow_series(rows, seen, combine)
        assert x.tolist() == expected_x
        np.testing.assert_allclose(y, expected_y)
        for agent in seen:
            x, y = history.series(name, agent)
            expected_x, expected_y = slow_series([row for row in rows if row[0] == agent], [agent], sum)
            assert (x.tolist(), y.tolist()) == (expected_x, expected_y)


def test_a_curve_can_be_drawn_over_the_time_at_which_the_last_agent_got_there():
    history = History()
    time, agent, epoch = [1.0, 1.5, 2.0, 2.5], [0, 1, 0, 1], [0, 0, 1, 1]
    history.append("epochs", records_of(EPOCHS, time=time, agent=agent, epoch=epoch, reward=[1, 2, 3, 4]))
    x, y = history.series("charts/reward", over="time")
    assert (x.tolist(), y.tolist()) == ([1.5, 2.5], [3.0, 7.0])
    x, y = history.series("charts/reward", agent=0, over="time")
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [1.0, 3.0])


def test_a_loss_that_is_not_a_number_stays_visible():
    history = History()
    history.append("updates", records_of(UPDATES, update=[1, 2], loss=[0.5, np.nan]))
    _, y = history.series("losses/loss")
    np.testing.assert_array_equal(y, [0.5, np.nan])


@pytest.mark.parametrize("table", TABLES)
def test_every_table_of_the_schema_is_there_and_no_other(table):
    history = History(SCHEMA)
    history.append(table, np.zeros(2, TABLES[table]))
    assert history.table(table).dtype == TABLES[table] and len(history.table(table)) == history.counts[table] == 2
    with pytest.raises(KeyError, match="the run has no table 'spams'; did you mean spans"):
        history.table("spams")
    with pytest.raises(KeyError, match="the run has no table 'spans'"):
        History().table("spans")

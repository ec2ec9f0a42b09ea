"""What is recorded twice is kept once, whatever came when; what comes after a checkpoint can be taken back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.watched import TABLES
from workbench.core import records as core
from workbench.core.records import EventKind
from workbench.runs.history import History
from workbench.runs.metrics import Schema
from workbench.runs.recovery.deduplication import Repeats, keys, until

AGENTS = st.integers(0, 2)


def records(table, rows):
    found = np.zeros(len(rows), TABLES[table])
    for place, row in enumerate(rows):
        for name, value in row.items():
            found[name][place] = value
    return found


def rows_of(table, length):
    """The records that a run of this many steps makes of a table, of two agents, in order."""
    for step in range(length):
        for agent in range(2):
            if table == "updates":
                yield {"agent": agent, "update": step + 1, "epoch": step // 2}
            elif table == "epochs":
                yield {"agent": agent, "epoch": step}
            elif table == "evaluations":
                yield {"agent": agent, "epoch": step, "final": 0}
            else:
                yield {"agent": agent, "kind": EventKind.SYNC, "epoch": step, "version": step}
                yield {"agent": agent, "kind": EventKind.PUBLISH, "epoch": step, "version": step + 1}


KEYED = ("updates", "epochs", "evaluations", "events")


@given(
    table=st.sampled_from(KEYED), length=st.integers(1, 8),
    deaths=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=6),
)  # fmt: skip
def test_a_run_that_goes_back_any_number_of_times_is_recorded_once(table, length, deaths):
    """``deaths``: how many records a process makes, and how many of all so far its successor makes again."""
    whole = records(table, list(rows_of(table, length)))
    history, repeats, at, made_in_all = History(), Repeats(), 0, 0
    for made, again in deaths:
        began, stop = at, min(at + made, len(whole))
        history.append(table, repeats.drop(table, whole[at:stop]))
        repeats.expect(history)
        at = max(0, stop - again)
        made_in_all += stop - began
    history.append(table, repeats.drop(table, whole[at:]))
    made_in_all += len(whole) - at
    np.testing.assert_array_equal(history.table(table), whole)
    assert repeats.dropped == made_in_all - len(whole)


def test_the_first_records_of_a_run_pass_whatever_they_are():
    """Nothing was taken over, so nothing is looked at: two equal records are two."""
    twice = records("updates", [{"agent": 0, "update": 1}] * 2)
    assert len(Repeats().drop("updates", twice)) == 2


def test_agents_kinds_and_tables_do_not_hide_each_other():
    history, repeats = History(), Repeats()
    history.append("updates", records("updates", [{"agent": 0, "update": 9}]))
    history.append("events", records("events", [{"agent": 0, "kind": EventKind.PUBLISH, "version": 9}]))
    repeats.expect(history)
    assert len(repeats.drop("updates", records("updates", [{"agent": 1, "update": 1}]))) == 1
    assert len(repeats.drop("epochs", records("epochs", [{"agent": 0, "epoch": 1}]))) == 1
    assert len(repeats.drop("events", records("events", [{"agent": 0, "kind": EventKind.SYNC, "epoch": 1}]))) == 1
    assert len(repeats.drop("events", records("events", [{"agent": 0, "kind": EventKind.PUBLISH, "version": 9}]))) == 0


def test_a_hook_may_number_agents_as_it_likes():
    table = np.dtype([("agent", "<i4"), ("number", "<i8")])
    made = np.array([(-1, 4), (99, 5), (0, 6)], table)
    history, repeats = History(Schema.of(core.TABLES | {"own": core.RecordTable(table)})), Repeats()
    history.append("own", made)
    repeats.expect(history)
    assert len(repeats.drop("own", made)) == 0
    made["number"] += 1
    assert len(repeats.drop("own", made)) == 3


@pytest.mark.parametrize("fields", ["time epoch number", "epoch number", "agent number", "time final", "value"])
def test_a_hooks_table_needs_none_of_the_columns_of_others(fields):
    made = np.ones(3, [(name, "<i8") for name in fields.split()])
    history, repeats = History(Schema.of(core.TABLES | {"own": core.RecordTable(made.dtype)})), Repeats()
    history.append("own", made)
    repeats.expect(history)
    assert len(repeats.drop("own", made)) == 3 * (fields != "agent number")
    for epochs in (1, 2):  # what knows no epochs stays: it was done
        kept = until("own", made, epochs, [0], [0], 0)
        assert len(kept) == 3 * (epochs == 2 or fields != "time epoch number")


def test_the_final_evaluation_follows_the_one_after_the_last_epoch():
    history, repeats = History(), Repeats()
    history.append("evaluations", records("evaluations", [{"agent": 0, "epoch": 5, "final": 0}]))
    repeats.expect(history)
    again = records("evaluations", [{"agent": 0, "epoch": 5, "final": final} for final in (0, 1)])
    assert repeats.drop("evaluations", again)["final"].tolist() == [1]


def test_probes_may_come_twice():
    some = np.zeros(3, TABLES["probes"])
    history, repeats = History(), Repeats()
    history.append("updates", records("updates", [{"update": 1}]))
    repeats.expect(history)
    assert keys("probes", some) is None and len(repeats.drop("probes", some)) == 3


@pytest.mark.parametrize("table", KEYED)
def test_keys_of_an_agent_and_a_kind_grow_with_every_record(table):
    kind, key = keys(table, whole := records(table, list(rows_of(table, 6))))
    for agent in np.unique(whole["agent"]):
        for of in np.unique(kind):
            assert (np.diff(key[(whole["agent"] == agent) & (kind == of)]) > 0).all()


@given(
    epochs=st.integers(0, 8), updates=st.lists(st.integers(0, 8), min_size=2, max_size=2),
    versions=st.lists(st.integers(0, 8), min_size=2, max_size=2), evaluated=st.integers(0, 8),
)  # fmt: skip
def test_until_keeps_what_a_checkpoint_knows_of_and_nothing_after(epochs, updates, versions, evaluated):
    def kept(table):
        return until(table, records(table, list(rows_of(table, 8))), epochs, updates, versions, evaluated)

    assert [int((kept("updates")["agent"] == agent).sum()) for agent in (0, 1)] == updates
    assert len(kept("epochs")) == 2 * epochs and (kept("epochs")["epoch"] < epochs).all()
    assert len(kept("evaluations")) == 2 * evaluated
    events = kept("events")
    assert (events["kind"] == EventKind.SYNC).sum() == 2 * epochs
    published = events[events["kind"] == EventKind.PUBLISH]
    assert [int((published["agent"] == agent).sum()) for agent in (0, 1)] == versions
    final = records("evaluations", [{"epoch": 0, "final": 1}])
    assert not len(until("evaluations", final, epochs, updates, versions, evaluated))

"""A journal is never without a whole state, wherever its writer is cut off."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs.recovery.journal import Journal

EMPTY = {"words": np.zeros(5, np.uint64), "matrix": np.zeros((2, 3), np.float32), "total": 0}


def state(step):
    """A state that holds nothing but its step, so that a mixture of two shows."""
    return {"words": np.full(5, step, np.uint64), "matrix": np.full((2, 3), step, np.float32), "total": step}


def journals(slots=2):
    """The same journal twice, as its writer has it and as a later reader has it."""
    arrays = Journal.layout("a journal", EMPTY, slots).allocate()
    return arrays, Journal(arrays), Journal(arrays)


def holds(journal, step):
    found = journal.load()
    return journal.step == step and all((np.asarray(array) == step).all() for array in found.values())


class CutOff(Exception):
    pass


def cut_off_before(arrays, write):
    """A journal whose writer is gone before its so-manieth write into shared memory, counted from 0."""
    writes = []

    class Mortal(np.ndarray):
        def __setitem__(self, where, value):
            if len(writes) == write:
                raise CutOff
            writes.append(where)
            super().__setitem__(where, value)

    journal = Journal({name: array.view(Mortal) for name, array in arrays.items()})
    return journal


def test_a_new_journal_holds_nothing_and_says_so():
    _, _, reader = journals()
    assert reader.step == -1
    with pytest.raises(LookupError, match="holds no state yet"):
        reader.load()


@given(steps=st.lists(st.integers(0, 1000), min_size=1, max_size=9), slots=st.integers(1, 3))
def test_after_any_saves_the_newest_is_there_and_slots_alternate(steps, slots):
    arrays, writer, reader = journals(slots)
    for number, step in enumerate(steps):
        writer.save(step, state(step))
        assert holds(reader, step)
        assert arrays["at"][number % slots] == step
    assert sorted(arrays["at"][arrays["at"] >= 0]) == sorted(steps[-slots:])


@given(before=st.integers(1, 4), write=st.integers(0, 4))
def test_a_writer_cut_off_in_the_middle_of_a_save_leaves_the_state_before(before, write):
    arrays, writer, reader = journals()
    for step in range(before):
        writer.save(step, state(step))
    with pytest.raises(CutOff):
        cut_off_before(arrays, write).save(before, state(before))
    assert holds(reader, before - 1)
    successor = Journal(arrays)
    successor.save(before, state(before))
    assert holds(reader, before)


def test_what_was_loaded_stays_as_it_is_through_the_next_save():
    _, writer, reader = journals()
    writer.save(1, state(1))
    loaded = reader.load()
    writer.save(2, state(2))
    assert all((np.asarray(array) == 1).all() for array in loaded.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({**EMPTY, "more": 1}, "the state holds"),
        ({"total": 1}, "the state holds"),
        ({**EMPTY, "words": np.zeros(1, np.uint64)}, r"words has shape \(1,\); this journal keeps \(5,\)"),
        ({**EMPTY, "matrix": np.zeros(3, np.float32)}, r"matrix has shape \(3,\)"),
        (
            {**EMPTY, "total": 0.5},
            "as int64 and not as float64. A state must have the shapes",
        ),
    ],
)
def test_a_state_of_another_form_is_refused_and_the_one_before_kept(wrong, message):
    _, writer, reader = journals()
    writer.save(3, state(3))
    with pytest.raises(ValueError, match=message):
        writer.save(4, wrong)
    assert holds(reader, 3)

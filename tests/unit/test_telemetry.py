"""A ring delivers every record once, in order and whole, or counts it as lost."""

import multiprocessing
import re
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.records import RecordTable, tables_with
from workbench.core.shared import layout
from workbench.core.shared.record_ring import Channel, Ring

FIELDS = 16
RECORD = np.dtype([(f"part_{index}", "<i8") for index in range(FIELDS)])


def record_of(number):
    return dict.fromkeys(RECORD.names, number)


def make_memory(capacity):
    return np.zeros(1, np.int64), np.zeros(capacity, RECORD)


def numbers_of(records):
    """The record numbers, after checking that every record is whole: all its fields hold its number."""
    parts = np.stack([records[field] for field in RECORD.names], axis=-1)
    assert (parts == parts[:, :1]).all(), "a torn record was delivered"
    return parts[:, 0].tolist()


@given(capacity=st.integers(2, 9), writes_between_drains=st.lists(st.integers(0, 25), max_size=20))
def test_ring_agrees_with_a_bounded_queue(capacity, writes_between_drains):
    memory = make_memory(capacity)
    ring, reader = Ring(*memory), Ring(*memory)
    written = 0
    for writes in writes_between_drains:
        queue = deque(maxlen=capacity - 1)
        for _ in range(writes):
            ring.write(**record_of(written))
            queue.append(written)
            written += 1
        records, lost = reader.drain()
        assert numbers_of(records) == list(queue)
        assert lost == writes - len(queue)


class SteppedWriter:
    """A writer cut into its stores: half of the record, the other half, the count."""

    def __init__(self, count, records):
        self.count, self.records, self.steps = count, records, 0

    def step(self):
        number, phase = divmod(self.steps, 3)
        slot = number % len(self.records)
        if phase < 2:
            for field in RECORD.names[phase::2]:
                self.records[field][slot] = number
        else:
            self.count[0] = number + 1
        self.steps += 1


class RacingCount:
    """A count that lets the writer take steps after the reader's first look and before its second one."""

    shape, dtype = (1,), np.dtype(np.int64)

    def __init__(self, count, writer):
        self.count, self.writer, self.looks = count, writer, 0
        self.during_copy, self.before_second_look = 0, 0

    def __getitem__(self, index):
        self.looks += 1
        if self.looks % 2 == 0:
            self.run(self.before_second_look)
        value = self.count[index]
        if self.looks % 2 == 1:
            self.run(self.during_copy)
        return value

    def run(self, steps):
        for _ in range(steps):
            self.writer.step()


steps = st.integers(0, 40)


@given(capacity=st.integers(2, 7), drains=st.lists(st.tuples(steps, steps, steps), max_size=20))
def test_no_interleaving_of_stores_and_looks_tears_repeats_or_hides_a_record(capacity, drains):
    count, records = make_memory(capacity)
    writer = SteppedWriter(count, records)
    racing = RacingCount(count, writer)
    reader = Ring(racing, records)
    delivered, lost_so_far = [], 0
    for before, racing.during_copy, racing.before_second_look in [*drains, (0, 0, 0)]:
        racing.run(before)
        got, lost = reader.drain()
        delivered += numbers_of(got)
        lost_so_far += lost
    assert delivered == sorted(set(delivered))
    assert len(delivered) + lost_so_far == count[0]


def test_without_the_second_look_a_torn_record_would_be_delivered():
    count, records = make_memory(4)
    writer = SteppedWriter(count, records)
    for _ in range(3 * 3):
        writer.step()
    copied_before = records[:3].copy()
    for _ in range(3 + 1):  # one more record, and half of the next, which lies in slot 0
        writer.step()
    assert numbers_of(copied_before) == [0, 1, 2]
    with pytest.raises(AssertionError, match="torn"):
        numbers_of(records[:3])
    got, lost = Ring(count, records).drain()
    assert (numbers_of(got), lost) == ([1, 2, 3], 1)


def test_the_count_is_raised_after_the_record_is_stored(monkeypatch):
    class Watched:
        def __init__(self, array, name):
            self.array, self.name = array, name
            self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

        def __len__(self):
            return len(self.array)

        def __getitem__(self, index):
            return self.array[index]

        def __setitem__(self, index, value):
            order.append(self.name)
            self.array[index] = value

    order = []
    count, records = make_memory(4)
    ring = Ring(Watched(count, "count"), Watched(records, "record"))
    monkeypatch.setattr(layout, "fence", lambda: order.append("fence"))
    order.clear()
    ring.write(**record_of(0))
    assert order == ["record", "fence", "count", "fence"]


def test_a_new_writer_continues_where_a_killed_one_ended():
    memory = make_memory(8)
    reader = Ring(*memory)
    Ring(*memory).write(**record_of(0))
    memory[1]["part_0"][1] = 99  # the first writer was killed in its second record
    Ring(*memory).write(**record_of(1))
    records, lost = reader.drain()
    assert (numbers_of(records), lost) == ([0, 1], 0)


def test_delivered_records_are_the_readers_own():
    memory = make_memory(4)
    ring, reader = Ring(*memory), Ring(*memory)
    ring.write(**record_of(0))
    records, _ = reader.drain()
    for _ in range(8):
        ring.write(**record_of(7))
    assert numbers_of(records) == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("part_3"), "the record lacks part_3; give every field"),
        (lambda record: record.update(prat_3=1), "no field 'prat_3': did you mean part_3"),
        (lambda record: record.update(part_03=record.pop("part_3")), "no field 'part_03': did you mean part_3?"),
    ],
    ids=["missing", "unknown", "misspelt"],
)
def test_a_record_with_a_missing_or_an_unknown_field_is_refused_by_name_and_not_counted(change, message):
    memory, record = make_memory(4), record_of(1)
    change(record)
    with pytest.raises(ValueError, match=re.escape(message)):
        Ring(*memory).write(**record)
    assert memory[0][0] == 0


@pytest.mark.parametrize("value", ["wide", None, 2**70])
def test_a_value_that_is_no_number_of_its_kind_is_refused_by_the_name_of_its_field_and_not_counted(value):
    memory = make_memory(4)
    with pytest.raises(ValueError, match=f"the record cannot hold .*'part_3': {value!r}.*; give numbers"):
        Ring(*memory).write(**record_of(1) | {"part_3": value})
    assert memory[0][0] == 0


def test_a_record_is_written_by_name_in_any_order():
    memory = make_memory(4)
    Ring(*memory).write(**{name: index for index, name in reversed(list(enumerate(RECORD.names)))})
    assert memory[1][0].tolist() == tuple(range(FIELDS))


def test_a_channel_has_a_ring_for_each_of_its_tables_and_no_other():
    tables = {"marks": RecordTable(np.dtype([("time", "<f8"), ("value", "<i4")]), capacity=8)}
    arrays = Channel.layout(tables_with([tables])).allocate()
    Channel(arrays)["marks"].write(time=0.5, value=7)
    found = Channel(arrays).drain()
    assert set(found) == {"updates", "epochs", "events", "evaluations", "marks"}
    assert found["marks"][0].tolist() == [(0.5, 7)] and len(found["epochs"][0]) == 0
    with pytest.raises(KeyError, match=r"there is no ring for a table 'markz'; did you mean marks\?"):
        Channel(arrays)["markz"]


def test_two_tables_of_one_name_are_refused():
    table = RecordTable(np.dtype([("time", "<f8")]))
    assert tables_with([{"marks": table}, {"marks": table}])["marks"] == table
    with pytest.raises(ValueError, match="two tables of records are named 'marks'"):
        tables_with([{"marks": table}, {"marks": RecordTable(np.dtype([("time", "<f4")]))}])


def views(count_memory, record_memory):
    return np.frombuffer(count_memory, np.int64), np.frombuffer(record_memory, RECORD)


def write_at_full_speed(count_memory, record_memory, total):
    ring = Ring(*views(count_memory, record_memory))
    for number in range(total):
        ring.write(**record_of(number))


def test_no_record_is_torn_between_two_processes():
    total, capacity = 400_000, 8
    context = multiprocessing.get_context("spawn")
    memory = context.RawArray("b", 8), context.RawArray("b", capacity * RECORD.itemsize)
    writer = context.Process(target=write_at_full_speed, args=(*memory, total), daemon=True)
    writer.start()
    reader = Ring(*views(*memory))
    delivered, lost_so_far, running = [], 0, True
    while running:
        running = writer.is_alive()
        records, lost = reader.drain()
        delivered += numbers_of(records)
        lost_so_far += lost
    assert writer.exitcode == 0
    assert delivered == sorted(set(delivered))
    assert len(delivered) + lost_so_far == total
    assert delivered[-1] == total - 1

"""A block of bytes gives back what was put into it, to a reader that names the same table, and to no other."""

import fcntl
import gc
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.shared import layout
from workbench.core.shared.layout import ALIGNMENT, Counter, Field, Layout, LayoutMismatch

dtypes = st.sampled_from([np.uint8, np.int16, np.int32, np.int64, np.uint64, np.float32, np.float64])
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def layouts(draw):
    names = draw(st.lists(st.text("abc_", min_size=1, max_size=5), min_size=1, max_size=6, unique=True))
    return Layout(
        draw(st.text(max_size=5)),
        tuple(Field(name, draw(shapes), draw(dtypes), draw(st.integers(0, 100))) for name in names),
    )


@given(layout=layouts(), seed=st.integers(0, 2**32))
def test_what_one_side_writes_the_other_side_reads(layout, seed):
    buffer, rng = bytearray(layout.nbytes), np.random.default_rng(seed)
    written = layout.create(buffer)
    assert all((written[field.name] == field.fill).all() for field in layout.fields)
    kept = {}
    for field in layout.fields:
        kept[field.name] = rng.integers(0, 100, field.shape).astype(field.dtype)
        written[field.name][...] = kept[field.name]
    read = Layout(layout.title, layout.fields).open(buffer)
    assert list(read) == [field.name for field in layout.fields]
    for field in layout.fields:
        assert read[field.name].shape == field.shape and read[field.name].dtype == field.dtype
        np.testing.assert_array_equal(read[field.name], kept[field.name])


@pytest.mark.parametrize("count", [100, 300, 3000])
def test_a_table_of_any_length_has_room_in_the_header(count):
    layout = Layout("many", tuple(Field(f"array {index}", (2,), np.int64, index) for index in range(count)))
    buffer = bytearray(layout.nbytes)
    layout.create(buffer)[f"array {count - 1}"][1] = -1
    assert layout.open(buffer)["array 0"].tolist() == [0, 0]
    assert layout.open(buffer)[f"array {count - 1}"].tolist() == [count - 1, -1]
    with pytest.raises(LayoutMismatch, match="is opened as no further array"):
        Layout("many", layout.fields[:-1]).open(buffer)


@given(layout=layouts())
def test_arrays_lie_apart_on_cache_lines_within_the_block(layout):
    arrays = layout.allocate()
    starts = [array.__array_interface__["data"][0] for array in arrays.values()]
    ends = [start + array.nbytes for start, array in zip(starts, arrays.values(), strict=True)]
    assert all((start - starts[0]) % ALIGNMENT == 0 for start in starts)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] - starts[0] <= layout.nbytes


@given(layout=layouts(), other=layouts())
def test_a_block_opens_under_its_own_table_only(layout, other):
    buffer = bytearray(max(layout.nbytes, other.nbytes))
    layout.create(buffer)
    if layout.text == other.text:
        other.open(buffer)
        return
    with pytest.raises(LayoutMismatch, match=r": the block was made as .* and is opened as .*; use one configuration"):
        other.open(buffer)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("name", "'a' of shape (2, 3) and dtype float32 and is opened as 'b' of shape (2, 3) and dtype"),
        ("shape", "'a' of shape (2, 3) and dtype float32 and is opened as 'a' of shape (3, 2) and dtype"),
        (
            "dtype",
            "'a' of shape (2, 3) and dtype float32 and is opened as 'a' of shape (2, 3) and dtype int32",
        ),
        ("title", "the block was made as 'block' and is opened as 'other'"),
        (
            "length",
            "'block': the block was made as no further array and is opened as 'b' of shape (1,) and dtype uint8",
        ),
    ],
)
def test_the_first_difference_is_told_and_nothing_else(change, told):
    field, title = Field("a", (2, 3), np.float32, 0), "block"
    buffer = bytearray(Layout(title, (field,)).nbytes)
    Layout(title, (field,)).create(buffer)
    changed = {
        "name": Field("b", (2, 3), np.float32, 0),
        "shape": Field("a", (3, 2), np.float32, 0),
        "dtype": Field("a", (2, 3), np.int32, 0),
    }
    longer = (Field("b", (1,), np.uint8, 0),) if change == "length" else ()
    opened = Layout("other" if change == "title" else title, (changed.get(change, field), *longer))
    with pytest.raises(LayoutMismatch) as caught:
        opened.open(buffer + bytearray(4096))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_cannot_be_read_is_called_damaged():
    layout = Layout("block", (Field("a", (2,), np.int64, 0),))
    buffer = bytearray(layout.nbytes)
    layout.create(buffer)
    buffer[20:24] = b"\xff\x00[["
    with pytest.raises(LayoutMismatch, match="the header of the block is damaged"):
        layout.open(buffer)


def test_names_of_any_alphabet_are_names():
    named = Layout("größe", (Field("größe", (1,), np.dtype([("weiß", "<f4")]), 0), Field("名", (2,), np.int64, 7)))
    buffer = bytearray(named.nbytes)
    named.create(buffer)["名"][1] = 3
    assert list(named.open(buffer)) == ["größe", "名"] and named.open(buffer)["名"].tolist() == [7, 3]


def test_memory_that_is_no_block_is_refused():
    layout = Layout("block", (Field("a", (2,), np.int64, 0),))
    with pytest.raises(LayoutMismatch, match="no block of 'block' here"):
        layout.open(bytearray(layout.nbytes))


def test_sizes_beyond_64_bits_are_counted_right():
    layout = Layout("huge", (Field("a", (2**40, 2**40), np.float64, 0),))
    assert layout.nbytes > 8 * 2**80


def test_arrays_keep_their_memory_alive():
    array = Layout("block", (Field("a", (1000,), np.int64, 7),)).allocate()["a"]
    gc.collect()
    assert (array == 7).all()


# Counters


class Journal:
    """A fence that writes down what the word was each time it was called."""

    def __init__(self, word):
        self.word, self.seen = word, []

    def __call__(self):
        self.seen.append(int(self.word[0]))


def test_a_fence_stands_before_and_behind_every_access(monkeypatch):
    word = np.zeros(1, np.int64)
    fence = Journal(word)
    monkeypatch.setattr(layout, "fence", fence)
    counter = Counter(word)
    counter.set(5)
    assert fence.seen == [0, 5]
    assert counter.get() == 5 and fence.seen == [0, 5, 5, 5]


def test_only_machines_that_reorder_memory_take_a_lock_and_they_give_it_back_each_time(monkeypatch):
    taken = []
    monkeypatch.setattr(layout.fcntl, "lockf", lambda file, what: taken.append(what))
    monkeypatch.setattr(layout, "KEEPS_ORDER", True)
    layout.fence()
    assert taken == []
    monkeypatch.setattr(layout, "KEEPS_ORDER", False)
    for _ in range(2):
        layout.fence()
    assert taken == 2 * [fcntl.LOCK_EX, fcntl.LOCK_UN]


def test_the_word_is_stored_in_one_piece():
    buffer = bytearray(8)
    Counter(np.frombuffer(buffer, np.int64)).set(-2)
    assert struct.unpack("<q", buffer) == (-2,)

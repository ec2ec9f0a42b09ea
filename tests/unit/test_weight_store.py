"""A reader gets the version that it asked for, whole and with its own header, or an error; never a mixture."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.interleaving import Interleaving, Watched
from workbench.core.shared import weight_store as weight_store_module
from workbench.core.shared.layout import LayoutMismatch
from workbench.core.shared.weight_store import WeightStore, WeightStoreError, checksum

SIZE = 6


def make(slots=2):
    return WeightStore(WeightStore.layout(SIZE, 1234, slots).allocate())


def vector_of(version):
    return np.full(SIZE, version + 1, np.float32)


def publish(store, count=1):
    for _ in range(count):
        version = store.newest + 1
        store.publish(lambda out, version=version: np.copyto(out, vector_of(version)), 10 * version, version / 100)
    return store


def read(store, version=None):
    out = np.full(SIZE, np.nan, np.float32)
    return store.read(out, version), out


def assert_whole(snapshot, out):
    np.testing.assert_array_equal(out, vector_of(snapshot.version))
    assert (snapshot.updates, snapshot.epsilon) == (10 * snapshot.version, snapshot.version / 100)
    assert snapshot.checksum == checksum(out)


# Versions and slots


@given(slots=st.integers(2, 6), count=st.integers(0, 20), asked=st.none() | st.integers(-3, 25))
def test_the_newest_versions_can_be_read_as_many_as_there_are_slots(slots, count, asked):
    store = publish(make(slots), count)
    assert store.newest == count - 1
    version = count - 1 if asked is None else asked
    if count and max(0, count - slots) <= version < count:
        snapshot, out = read(store, asked)
        assert snapshot.version == version
        assert_whole(snapshot, out)
        assert store.peek(asked) == snapshot
        return
    for refused in (lambda: read(store, asked), lambda: store.peek(asked)):
        with pytest.raises(WeightStoreError, match=f"version {version} is ") as caught:
            refused()
    if 0 <= version < count:
        assert f"overwritten; the oldest kept is {count - slots}" in str(caught.value)
    else:
        assert f"not published yet; the newest is {count - 1}" in str(caught.value)


@given(lag=st.integers(0, 5), count=st.integers(1, 20))
def test_a_reader_at_a_lag_finds_its_version_even_while_the_next_is_written(lag, count):
    store = publish(make(lag + 2), count)
    newest = count - 1

    def write(out):
        out[: SIZE // 2] = 99
        for version in range(max(0, newest - lag), newest + 1):
            snapshot, found = read(store, version)
            assert snapshot.version == version
            assert_whole(snapshot, found)
        if newest - lag - 1 >= 0:
            with pytest.raises(WeightStoreError, match="is overwritten"):
                read(store, newest - lag - 1)
        with pytest.raises(WeightStoreError, match="not published yet"):
            read(store, newest + 1)
        out[:] = vector_of(newest + 1)

    store.publish(write, 10 * count, count / 100)
    assert_whole(*read(store))


def test_a_snapshot_says_when_it_was_published():
    before = time.time()
    store = publish(make())
    assert before <= store.peek().time <= time.time()


def test_another_network_cannot_open_the_weight_store():
    buffer = bytearray(WeightStore.layout(SIZE, 1, 2).nbytes)
    WeightStore.layout(SIZE, 1, 2).create(buffer)
    with pytest.raises(LayoutMismatch):
        WeightStore.layout(SIZE, 2, 2).open(buffer)


def test_a_learner_that_dies_while_it_writes_leaves_the_newest_version_whole():
    store = publish(make(), 3)

    def write(out):
        out[: SIZE // 2] = 99
        raise KeyError("killed")

    with pytest.raises(KeyError):
        store.publish(write, 0, 0.0)
    assert_whole(*read(store))
    with pytest.raises(WeightStoreError, match="version 1 is overwritten"):
        read(store, 1)
    publish(store)
    snapshot, out = read(store)
    assert snapshot.version == 3
    assert_whole(snapshot, out)


# Interleavings


@pytest.fixture
def in_the_copy(monkeypatch):
    """Do something in the middle of every copy that a reader makes."""
    copyto = np.copyto

    def install(action):
        def copy(out, source):
            half = len(out) // 2
            copyto(out[:half], source[:half])
            action()
            copyto(out[half:], source[half:])

        monkeypatch.setattr(weight_store_module.np, "copyto", copy)

    yield install
    monkeypatch.undo()


def fill(version):
    def write(out):
        out[:] = vector_of(version)

    return write


@pytest.mark.parametrize("slots", [2, 3, 5])
def test_a_copy_that_was_overtaken_is_made_again(in_the_copy, slots):
    for publications in range(2 * slots + 1):
        store, left, copies = publish(make(slots)), [publications], []

        def publish_meanwhile(store=store, left=left, copies=copies):
            copies.append(store.newest)
            for _ in range(left.pop() if left else 0):
                version = store.newest + 1
                store.publish(fill(version), 10 * version, version / 100)

        in_the_copy(publish_meanwhile)
        snapshot, out = read(store)
        assert_whole(snapshot, out)
        overtaken = publications >= slots
        assert copies == [0, publications] if overtaken else copies == [0]
        assert snapshot.version == (publications if overtaken else 0)


def test_an_old_version_that_is_overtaken_in_the_copy_is_refused(in_the_copy):
    store = publish(make(), 2)
    in_the_copy(lambda: store.publish(fill(2), 20, 0.02) if store.newest == 1 else None)
    with pytest.raises(WeightStoreError, match="version 0 is overwritten"):
        read(store, 0)


def test_a_reader_that_is_always_overtaken_says_what_to_do(in_the_copy):
    store = publish(make())

    def overtake():
        for _ in range(2):
            store.publish(fill(store.newest + 1), 0, 0.0)

    in_the_copy(overtake)
    with pytest.raises(WeightStoreError, match=r"raise pacing\.publish_interval"):
        read(store)


@given(turns=st.lists(st.integers(0, 60), max_size=12), slots=st.integers(2, 3), lag=st.none() | st.integers(0, 2))
def test_however_the_two_sides_interleave_what_is_read_is_whole(turns, slots, lag):
    interleaving = Interleaving(turns)
    arrays = WeightStore.layout(SIZE, 0, slots).allocate()
    watched = {name: Watched.of(array, interleaving.switch) for name, array in arrays.items()}
    writer = publish(WeightStore(arrays))
    writer = WeightStore(watched)
    reader = WeightStore(watched)

    def write():
        for version in range(1, 7):
            writer.publish(lambda out, version=version: fill_slowly(out, version), 10 * version, version / 100)

    def fill_slowly(out, version):
        for index in range(SIZE):
            out[index] = version + 1

    def look():
        found = []
        for _ in range(4):
            out = Watched.of(np.full(SIZE, np.nan, np.float32), interleaving.switch)
            try:
                snapshot = reader.read(out, None if lag is None else max(0, reader.newest - lag))
            except WeightStoreError as error:
                assert lag is not None and "is overwritten" in str(error)
                continue
            found.append((snapshot, np.asarray(out)))
        return found

    copyto = np.copyto
    try:
        np.copyto = copy_slowly
        _, found = interleaving.run(write, look)
    finally:
        np.copyto = copyto
    for snapshot, out in found:
        assert_whole(snapshot, out)
    versions = [snapshot.version for snapshot, _ in found]
    assert lag is not None or (len(found) == 4 and versions == sorted(versions))


def copy_slowly(out, source):
    for index in range(len(out)):
        out[index] = source[index]


# Checksums


@given(seed=st.integers(0, 2**32), half=st.integers(1, 50), cut=st.integers(1, 99))
def test_a_mixture_of_two_vectors_has_another_checksum_than_either(seed, half, cut):
    size = 2 * half
    one, other = np.random.default_rng(seed).random((2, size), np.float32)
    mixed = one.copy()
    mixed[cut * size // 100 :] = other[cut * size // 100 :]
    for vector in (one, other):
        assert (checksum(mixed) == checksum(vector)) == np.array_equal(mixed, vector)


@given(bit=st.integers(0, 32 * SIZE - 1))
def test_a_flipped_bit_changes_the_checksum(bit):
    vector = vector_of(3)
    before = checksum(vector)
    vector.view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert checksum(vector) != before

"""Equal digests mean equal bits; anything else is another digest."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.digest import chain
from workbench.runs.array_digest import START, array_digest


@given(links=st.lists(st.binary(max_size=20), max_size=8), cut=st.integers(0, 8))
def test_a_chain_can_be_continued_from_its_last_32_bytes(links, cut):
    whole = START
    for link in links:
        whole = hashlib.sha256(whole + link).digest()
    first = START
    for link in links[:cut]:
        first = chain(first, link)
    resumed = bytes(bytearray(first))
    for link in links[cut:]:
        resumed = chain(resumed, link)
    assert resumed == whole


def test_links_cannot_be_shifted_between_neighbours():
    assert chain(chain(START, b"ab"), b"c") != chain(chain(START, b"a"), b"bc")
    assert chain(chain(START, b"a"), b"b") != chain(START, b"ab")


def test_a_chain_that_is_not_32_bytes_is_refused():
    with pytest.raises(ValueError, match="is 3 bytes long; a chain is 32 bytes"):
        chain(b"abc", b"")


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=8), data=st.data())
def test_one_flipped_bit_changes_the_digest(values, data):
    array = np.array(values, np.float32)
    changed = array.copy()
    bit = data.draw(st.integers(0, 8 * array.nbytes - 1))
    changed.view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert array_digest(array) == array_digest(array.copy())
    assert array_digest(array) != array_digest(changed)


def test_dtype_shape_order_and_sign_of_zero_count():
    zeros = np.zeros(4, np.float32)
    digests = [
        array_digest(zeros),
        array_digest(zeros.reshape(2, 2)),
        array_digest(zeros.astype(np.int32)),
        array_digest(zeros.view([("a", "<f4")])),
        array_digest(-zeros),
        array_digest(zeros[:2], zeros[2:]),
        array_digest(zeros, zeros),
        array_digest(),
    ]
    assert len(set(digests)) == len(digests)


def test_the_layout_in_memory_does_not_count():
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert array_digest(np.asfortranarray(array)) == array_digest(array)
    assert array_digest(array[:, ::2]) == array_digest(array[:, ::2].copy())


def test_a_digest_of_arrays_is_a_chain_of_them():
    first, second = np.arange(3), np.ones(2, np.float32)
    one = chain(START, b"<i8 (3,)\n" + first.tobytes())
    assert array_digest(first, second) == chain(one, b"<f4 (2,)\n", second.tobytes()).hex()


def test_python_objects_have_no_digest():
    with pytest.raises(TypeError, match="object"):
        array_digest(np.array([{}]))

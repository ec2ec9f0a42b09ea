"""Freed memory goes back to the system, also from between pieces that are in use."""

import os
from types import SimpleNamespace

import pytest

from tests.campaigns.soak import usage
from workbench.core.processes import worker


@pytest.mark.skipif(worker._malloc_trim is int, reason="this library of C keeps what it likes")
def test_memory_that_was_freed_between_pieces_in_use_is_given_back():
    pieces = [bytearray(b"x") * 100_000 for _ in range(600)]  # too small for pages of their own
    kept = pieces[::20]
    del pieces
    before = usage(os.getpid())["memory_mib"]
    worker.Parts.trim_memory(SimpleNamespace(_next_trim=0.0))
    assert before - usage(os.getpid())["memory_mib"] > 20
    assert all(piece == bytearray(b"x") * 100_000 for piece in kept)

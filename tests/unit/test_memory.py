"""Shared memory has no name, and too much of it is refused with words instead of a dead kernel."""

import multiprocessing
import os
import tempfile

import numpy as np
import pytest

from workbench.core.processes import shared_memory as memory
from workbench.core.processes.shared_memory import Block, FileFence, machine_fence
from workbench.core.shared.layout import Field, Layout, LayoutMismatch

SPAWN = multiprocessing.get_context("spawn")


def layout_of(size):
    return Layout("thing", (Field("a", (size,), np.float64, 7),))


def test_a_block_opens_as_what_it_was_made_as():
    block = Block.create(SPAWN, layout_of(100))
    block.open()["a"][3] = 5
    found = block.open(layout_of(100))["a"]
    assert found[3] == 5 and found[4] == 7
    with pytest.raises(LayoutMismatch):
        block.open(layout_of(99))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="shared memory lies elsewhere here")
def test_a_block_leaves_no_name_behind_not_even_while_it_lives():
    before = set(os.listdir("/dev/shm"))
    block = Block.create(SPAWN, layout_of(1_000_000))
    assert set(os.listdir("/dev/shm")) <= before
    assert block.open()["a"][-1] == 7


@pytest.mark.parametrize("size", [2**45, 2**62, 2**70])
def test_more_memory_than_there_is_is_refused_with_the_remedy(size):
    with pytest.raises(MemoryError, match=r"^thing: \d+ MiB of shared memory cannot be had .*; lower replay\.capacity"):
        Block.create(SPAWN, layout_of(size))


def test_a_block_that_would_not_fit_into_its_file_system_is_never_touched(monkeypatch):
    """Writing to a mapped file beyond what is left ends the process with a bus error."""
    monkeypatch.setattr(memory, "_room", lambda: 1000)
    with pytest.raises(MemoryError, match="0 MiB are left"):
        Block.create(SPAWN, layout_of(1000))


def test_only_machines_that_reorder_memory_need_a_fence(monkeypatch):
    monkeypatch.setattr(memory.platform, "machine", lambda: "x86_64")
    assert machine_fence() is None
    monkeypatch.setattr(memory.platform, "machine", lambda: "arm64")
    with tempfile.TemporaryFile() as file:
        monkeypatch.setattr(memory.tempfile, "TemporaryFile", lambda: file)
        fence = machine_fence()
        assert isinstance(fence, FileFence)
        fence()


def test_a_fence_is_given_back_each_time():
    with tempfile.TemporaryFile() as file:
        first, second = FileFence(file), FileFence(file)
        for fence in (first, second, first):
            fence()

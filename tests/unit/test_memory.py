"""Shared memory has no name, and too much of it is refused with words instead of a dead kernel."""

import contextlib
import gc
import os
import tempfile

import numpy as np
import pytest

from tests.blocks import block_of
from workbench.core.processes import shared_memory as memory
from workbench.core.processes.shared_memory import allocate
from workbench.core.shared.layout import Field, Layout, LayoutMismatch


@pytest.fixture(params=["file in memory", "unlinked file"], autouse=True)
def kind(request, monkeypatch):
    monkeypatch.setattr(memory, "IN_MEMORY", request.param == "file in memory")
    if request.param == "file in memory" and not hasattr(os, "memfd_create"):
        pytest.skip("this system has no files in memory")


def layout_of(size, fill=7):
    return Layout("thing", (Field("a", (size,), np.float64, fill),))


def identity(descriptor):
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def times_open(file):
    """How often this process has a file open; other files may be opened and closed meanwhile."""
    times = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            times += identity(int(name)) == file
    return times


def test_a_block_opens_as_what_it_was_made_as():
    block = block_of(layout_of(100))
    block.open()["a"][3] = 5
    found = block.open(layout_of(100))["a"]
    assert found[3] == 5 and found[4] == 7
    with pytest.raises(LayoutMismatch):
        block.open(layout_of(99))


def test_blocks_lie_side_by_side_and_none_reaches_into_another():
    blocks = allocate({str(size): layout_of(size, size) for size in range(1, 40)})
    for block in blocks.values():
        block.open()["a"][:] += 1
    assert all((block.open()["a"] == int(name) + 1).all() for name, block in blocks.items())


def test_many_blocks_need_no_more_files_than_one():
    one = block_of(layout_of(1))
    many = allocate({str(size): layout_of(size) for size in range(1, 200)})
    (file,) = {identity(block.memory._file.fileno()) for block in many.values()}
    assert 1 <= times_open(file) == times_open(identity(one.memory._file.fileno())) <= 2
    del many
    gc.collect()
    assert times_open(file) == 0


def test_arrays_outlive_the_block_that_they_came_from():
    array = block_of(layout_of(1000)).open()["a"]
    gc.collect()
    assert (array == 7).all()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="shared memory lies elsewhere here")
def test_a_block_leaves_no_name_behind_not_even_while_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(os.listdir("/dev/shm"))
    block = block_of(layout_of(1_000_000))
    assert set(os.listdir("/dev/shm")) <= before and list(tmp_path.iterdir()) == []
    assert block.open()["a"][-1] == 7

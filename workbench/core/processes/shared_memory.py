"""Shared memory without a name: all blocks of a run lie in one file that exists only as long as somebody has it open.

The file has no name, so nothing can be left behind, not even when a whole process group is killed at once. Children get
its descriptor when they are started, and one file for all blocks keeps the number of descriptors small.
"""

import mmap
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.shared.layout import Arrays, Layout

# Whether the system has files that lie in memory alone; elsewhere they are temporary files, unlinked at once.
IN_MEMORY = sys.platform == "linux" and hasattr(os, "memfd_create")


class Descriptor:
    """A file descriptor that closes with its last holder, and goes along when a child is sent what holds it."""

    def __init__(self, number: int) -> None:
        self._number = number
        os.set_inheritable(number, False)

    def fileno(self) -> int:
        """The descriptor's number in this process."""
        return self._number

    def __del__(self) -> None:
        os.close(self._number)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self._number),)


def _received(duplicate: Any) -> Descriptor:
    return Descriptor(duplicate.detach())


def nameless_file(nbytes: int = 0) -> Descriptor:
    """A new file without a name, of that many zero bytes."""
    if IN_MEMORY:
        file = Descriptor(os.memfd_create("workbench"))
    else:
        with tempfile.TemporaryFile() as temporary:
            file = Descriptor(os.dup(temporary.fileno()))
    os.truncate(file.fileno(), nbytes)
    return file


class Memory:
    """A nameless file, mapped into this process. A child that is sent it maps the same file."""

    def __init__(self, file: Descriptor) -> None:
        self._file, self.map = file, mmap.mmap(file.fileno(), 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Memory, (self._file,)


@dataclass
class Block:
    """A part of shared memory and the layout that it was made with. A child can be sent it when it is started."""

    layout: Layout
    memory: Memory
    offset: int = 0

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The whole block, header and all: (nbytes,) uint8, a view."""
        return np.frombuffer(self.memory.map, np.uint8, self.layout.nbytes, self.offset)

    def open(self, layout: Layout | None = None) -> Arrays:
        """The arrays, under the layout that the reader expects (default: the one it was made with)."""
        return (layout or self.layout).open(self.bytes)


def allocate(layouts: Mapping[str, Layout]) -> dict[str, Block]:
    """Take one piece of memory for blocks of these layouts, and write their headers and fill values.

    Whether there is that much is for the caller to know: a write beyond what is left would end this process.

    Raises:
        OSError: the system refuses memory, addresses or a file.
    """
    memory, offset, blocks = Memory(nameless_file(sum(layout.nbytes for layout in layouts.values()))), 0, {}
    for name, layout in layouts.items():
        blocks[name] = Block(layout, memory, offset)
        layout.create(blocks[name].bytes)
        offset += layout.nbytes
    return blocks

"""Nameless shared memory: blocks that exist only as long as somebody has them open.

A ``RawArray`` of a spawn context is an unlinked file whose descriptor goes to a child when it is spawned. It has no
name, so nothing can be left in ``/dev/shm``, not even when a whole process group is killed at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from ctypes import Array, c_byte
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.shared.layout import Arrays, Layout


@dataclass
class Block:
    """Shared memory and the layout that it was made with. It can be handed to a child at spawn, and only then."""

    layout: Layout
    raw: Array[c_byte]

    @classmethod
    def create(cls, context: SpawnContext, layout: Layout) -> Block:
        """Take the memory and write header and fill values.

        Raises:
            MemoryError: the system has not got that much; the message says how much was asked for.
        """
        try:
            if layout.nbytes > _room():
                raise MemoryError(f"{_room() / 2**20:.0f} MiB are left")
            raw = context.RawArray(c_byte, layout.nbytes)
            layout.create(raw)
        except (OSError, MemoryError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise  # no want of memory
            raise MemoryError(
                f"{layout.title}: {layout.nbytes / 2**20:.0f} MiB of shared memory cannot be had ({error}); "
                "lower replay.capacity or world.num_worlds"
            ) from error
        return cls(layout, raw)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The whole block, header and all: (nbytes,) uint8, a view."""
        view: NDArray[np.uint8] = np.frombuffer(memoryview(self.raw).cast("B"), np.uint8)
        return view

    def open(self, layout: Layout | None = None) -> Arrays:
        """The arrays, under the layout that the reader expects (default: the one it was made with)."""
        return (layout or self.layout).open(self.raw)


def _room() -> int:
    """Bytes left in the file systems that shared memory lies in; a write beyond them would kill this process."""
    folders = [folder for folder in ("/dev/shm", tempfile.gettempdir()) if os.path.isdir(folder)]
    return max(shutil.disk_usage(folder).free for folder in folders)


def machine_fence() -> Callable[[], None] | None:
    """What orders memory across processes on this machine: nothing on x86-64, a file lock elsewhere.

    x86-64 keeps the order of stores and of loads. Elsewhere taking and giving back a lock on an unlinked file orders
    them; the kernel gives the lock back when its holder is killed, so it cannot be left held.
    """
    if platform.machine().lower() in ("x86_64", "amd64", "i686", "i386"):
        return None
    return FileFence(tempfile.TemporaryFile())


class FileFence:
    """A full memory barrier made of a lock on a file that no other process needs to share."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __call__(self) -> None:
        """Take the lock and give it back."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        fcntl.lockf(self._file, fcntl.LOCK_UN)

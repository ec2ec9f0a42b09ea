"""Named arrays in one block of bytes, laid out from one table and described in the block's own header.

A block opens only under the layout that it was made with: the header holds the table as text, so two processes that
disagree on a shape or a dtype are told what differs instead of reading each other's bytes wrongly.
"""

import fcntl
import functools
import itertools
import math
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Arrays = dict[str, NDArray[Any]]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

ALIGNMENT = 64  # bytes: a cache line, and what vectorised arithmetic likes best
MAGIC = b"WBLAYOUT"
_HEADER = 8192  # bytes, or as many more pages of it as the table takes as text


class LayoutMismatch(ValueError):
    """A block was opened under another layout than the one it was made with."""


class Field(NamedTuple):
    """One array of a block.

    Attributes:
        fill: Value before the first write; improbable where a use of unwritten memory should show.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike
    fill: float


def fields_of(table: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Field, ...]:
    """The fields that a table says, by name: kind, first value, and a shape of numbers and of words for ``sizes``."""
    shapes = {name: tuple(sizes.get(length, length) for length in row["shape"]) for name, row in table.items()}
    return tuple(Field(name, shapes[name], row["kind"], row["fill"]) for name, row in table.items())


@dataclass(frozen=True)
class Layout:
    """The arrays of one block, in order."""

    title: str
    fields: tuple[Field, ...]

    @property
    def text(self) -> str:
        """The table in lines of text: the title, then name, shape and dtype of each array."""
        rows = (f"{field.name!r} of shape {field.shape} and dtype {np.dtype(field.dtype)}" for field in self.fields)
        return "\n".join((ascii(self.title), *rows)).encode("ascii", "backslashreplace").decode()

    @property
    def nbytes(self) -> int:
        """Bytes of the whole block, header and alignment included."""
        return self._header + sum(map(_room, self.fields))

    def create(self, buffer: Any) -> Arrays:
        """Write the header, and all that is not 0, into at least :attr:`nbytes` writable zeros; return the arrays."""
        text, arrays, memory = self.text.encode(), self._views(buffer), memoryview(buffer).cast("B")
        memory[8 : self._header] = (len(text).to_bytes(8, "little") + text).ljust(self._header - 8, b"\0")
        for field in (each for each in self.fields if each.fill):  # memory that is not touched is not taken yet
            arrays[field.name].fill(field.fill)
        memory[:8] = MAGIC
        return arrays

    def open(self, buffer: Any) -> Arrays:
        """The arrays of a block that :meth:`create` made.

        Raises:
            LayoutMismatch: the block is none, or was made with another table; the message has what differs first.
        """
        memory = memoryview(buffer).cast("B")
        if (start := bytes(memory[:8])) != MAGIC:
            raise LayoutMismatch(f"no block of {self.title!r} here: it starts with {start!r}, not {MAGIC!r}")
        found = str(memory[16 : 16 + int.from_bytes(memory[8:16], "little")], errors="replace")
        if "\0" in found or not found.isascii():
            raise LayoutMismatch(f"the header of the block is damaged: it says {found[:80]!r}")
        if found != self.text:
            pairs = itertools.zip_longest(found.split("\n"), self.text.split("\n"), fillvalue="no further array")
            made, own = next(pair for pair in pairs if pair[0] != pair[1])
            told = f"{self.title!a}: the block was made as {made} and is opened as {own}"
            raise LayoutMismatch(f"{told}; use one configuration on both sides")
        return self._views(buffer)

    def allocate(self) -> Arrays:
        """The arrays in ordinary memory of this process."""
        return self.create(np.zeros(self.nbytes, np.uint8))

    @property
    def _header(self) -> int:
        return _HEADER * math.ceil((16 + len(self.text.encode())) / _HEADER)

    def _views(self, buffer: Any) -> Arrays:
        arrays, offset = {}, self._header
        for field in self.fields:
            # frombuffer keeps the memory alive; np.ndarray(buffer=...) would not
            arrays[field.name] = np.frombuffer(buffer, field.dtype, math.prod(field.shape), offset).reshape(field.shape)
            offset += _room(field)
        return arrays


# x86-64 keeps the order of stores and of loads; weakly ordered machines (Apple silicon, other ARM) do not
KEEPS_ORDER = platform.machine().lower() in ("x86_64", "amd64", "i686", "i386")


def fence() -> None:
    """Order memory across processes, where the machine does not do so itself.

    Taking and giving back a lock on an unlinked file is a full barrier; no other process needs to share the file. The
    kernel gives the lock back when its holder is killed, so it cannot be left held.
    """
    if not KEEPS_ORDER:
        fcntl.lockf(_fence_file(), fcntl.LOCK_EX)
        fcntl.lockf(_fence_file(), fcntl.LOCK_UN)


@functools.cache
def _fence_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


class Counter:
    """Words that one process each sets and others read, ordered against the data that they speak for."""

    def __init__(self, words: NDArray[np.int64]) -> None:
        self._words = words

    def get(self, index: int = 0) -> int:
        """The value of a word now; data read after this call is at least as new."""
        fence()
        value = int(self._words[index])
        fence()
        return value

    def set(self, value: int, index: int = 0) -> None:
        """Set the value of a word; data stored before this call is there for everyone who sees it."""
        fence()
        self._words[index] = value
        fence()


def _room(field: Field) -> int:
    """Bytes that an array takes, up to where the next may begin."""
    nbytes = math.prod(field.shape) * np.dtype(field.dtype).itemsize
    return -(-nbytes // ALIGNMENT) * ALIGNMENT

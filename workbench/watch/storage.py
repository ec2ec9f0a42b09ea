"""The file that one process records into: memory that the system keeps whatever happens to the process.

A head, and blocks of 64 KiB that each belong to one table of fixed-size records. A record is stored first and counted
then, so a ``kill -9`` loses at most the one that is being stored. There is no lock and nothing to close. The disk space
is taken before it is mapped, so a full disk is an error here and never a signal.

    head    magic, blocks, bytes of text, heartbeat, calls, seconds, lost, ended; then the text: a JSON value per line
    block   number of the table and of its records so far, then the records
"""

import json
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.records import Records
from workbench.runs.files import plain_file, private
from workbench.runs.folder import RecordError
from workbench.runs.limits import check_memory
from workbench.runs.sentences import rule

MAGIC, HEAD, TEXT, BLOCK, GROW = b"wbwatch1", 1 << 18, 4096, 1 << 16, 16
# What the head says: where each number lies, and how it is stored.
NUMBERS = {
    "blocks": (8, "<q"), "text": (16, "<q"), "heartbeat": (24, "<d"), "calls": (32, "<q"), "seconds": (40, "<d"),
    "lost": (48, "<q"), "ended": (56, "<q"), "lost_since": (64, "<d"),
}  # fmt: skip
# How a process came to its end; 0 if nothing is known of that.
IN_ORDER, RAISED = 1, 2
_LETTERS = {"<f8": "d", "<f4": "f", "<i8": "q", "<i4": "i", "|i1": "b"}
# Name and kind of each field, and how many numbers it holds.
Fields = Sequence[tuple[str, str, int]]


def dtype_of(fields: Fields) -> np.dtype[np.void]:
    """The dtype of a table's records."""
    return np.dtype([(name, kind, (many,)) if many > 1 else (name, kind) for name, kind, many in fields])


class Table:
    """The writer's side of one table: where its block is, and how full."""

    def __init__(self, number: int, fields: Fields, bulk: bool) -> None:
        self.number, self.bulk, self.dtype = number, bulk, dtype_of(fields)
        self.pack = struct.Struct("<" + "".join(f"{many}{_LETTERS[kind]}" for _, kind, many in fields)).pack
        self.size = self.dtype.itemsize
        self.room = (BLOCK - 16) // self.size
        self.block, self.count = 0, self.room  # full: the first record opens a block


class RecordFile:
    """The writer's side of a file."""

    def __init__(self, path: Path, about: Mapping[str, Any], may_grow: Callable[[int, bool], bool]) -> None:
        """Make the file and describe it.

        Args:
            path: of the file, which is empty where this was tried before.
            about: plain values, the first line of the text.
            may_grow: asked before the file grows, with the bytes and whether they are for what is written in bulk.

        Raises:
            OSError: the disk refuses.
        """
        self._may_grow, self._tables, self._length, self._blocks = may_grow, 0, HEAD, 0
        self._descriptor = private(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.posix_fallocate(self._descriptor, 0, HEAD)
            self._map = mmap.mmap(self._descriptor, HEAD)
        except OSError:
            os.close(self._descriptor)
            raise
        self._text, self.lost, self.lost_since = 0, 0, 0.0
        self.say(about)
        self._map[: len(MAGIC)] = MAGIC

    def say(self, value: Any) -> None:
        """Add a line to the text; nothing if there is no more room for it.

        Raises:
            OSError: there is none.
        """
        line = json.dumps(value).encode() + b"\n"
        begin = TEXT + self._text
        if begin + len(line) > HEAD:
            raise OSError("the text of the record file is full")
        self._map[begin : begin + len(line)] = line
        self._text += len(line)
        self.set("text", self._text)

    def set(self, name: str, value: float) -> None:
        """Store one of :data:`NUMBERS`."""
        place, form = NUMBERS[name]
        struct.pack_into(form, self._map, place, value)

    def beat(self, heartbeat: float, calls: int, seconds: float) -> None:
        """Store three of :data:`NUMBERS` at once."""
        struct.pack_into("<dqd", self._map, NUMBERS["heartbeat"][0], heartbeat, calls, seconds)

    def table(self, name: str, fields: Fields, bulk: bool = False) -> Table:
        """A new table of a name and fields."""
        self.say({"table": name, "fields": [list(field) for field in fields]})
        self._tables += 1
        return Table(self._tables - 1, fields, bulk)

    def write(self, table: Table, data: bytes) -> None:
        """Append whole records; those that there is no room for are counted as lost."""
        size = table.size
        for done in range(0, len(data), size):
            try:
                if table.count == table.room:
                    self._open_block(table)
            except (OSError, RecordError) as error:
                self.lose((len(data) - done) // size, time.time(), f"no room for records: {error}")
                return
            begin = table.block + 16 + table.count * size
            self._map[begin : begin + size] = data[done : done + size]
            table.count += 1
            struct.pack_into("<q", self._map, table.block + 8, table.count)

    def lose(self, many: int, since: float, why: str) -> None:
        """Count records that there was no room for; the first time, keep since when that is so, and why."""
        if not self.lost_since:
            self.lost_since = since
            self.set("lost_since", since)
            with suppress(OSError):  # the text is full
                self.say({"error": why})
        self.lost += many
        self.set("lost", self.lost)

    def _open_block(self, table: Table) -> None:
        """Give a table a new block.

        Raises:
            RecordError: a record is larger than a block, or the records may take no more space.
            OSError: the disk refuses.
        """
        if not table.room:
            raise RecordError(f"one takes {table.size:,} bytes, of at most {BLOCK - 16:,}; watch a smaller part of it")
        begin = HEAD + self._blocks * BLOCK
        if begin == self._length:
            if not self._may_grow(GROW * BLOCK, table.bulk):
                raise RecordError("they take all that they may; give wb.Watch a larger max_mb")
            os.posix_fallocate(self._descriptor, begin, GROW * BLOCK)
            self._map.resize(begin + GROW * BLOCK)
            self._length += GROW * BLOCK
        struct.pack_into("<qq", self._map, begin, table.number, 0)
        self._blocks += 1
        self.set("blocks", self._blocks)
        table.block, table.count = begin, 0


class FileReader:
    """The reader's side of a file, while it is written or afterwards. It reads every record once."""

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, dict[int, int]()
        self.about: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []

    def numbers(self) -> dict[str, float]:
        """What the head says, by name; nothing of a file that is just being made."""
        with plain_file(self.path) as file:
            head = file.read(TEXT)
        if not head.startswith(MAGIC):
            return {}
        return {name: struct.unpack_from(form, head, place)[0] for name, (place, form) in NUMBERS.items()}

    def read(self, wanted: Sequence[str] | None = None) -> Iterator[tuple[str, Records]]:
        """What is new in the tables of some names, or in all: name and records, several times for one name.

        Records of one table may differ in how many numbers their last field holds.

        Raises:
            RecordError: no process has written that, or work with it takes more memory than there is.
        """
        try:
            with plain_file(self.path) as file:
                yield from self._new(file.fileno(), wanted)
        except (OSError, LookupError, TypeError, ValueError, struct.error, RecursionError, MemoryError) as error:
            raise RecordError(f"{self.path} cannot be read: {error}") from None

    def _new(self, file: int, wanted: Sequence[str] | None) -> Iterator[tuple[str, Records]]:
        if not self._read:
            check_memory(os.fstat(file).st_size)
        # what a record needs of the text was there before it: so the text is read after it was counted
        blocks = [struct.unpack("<qq", os.pread(file, 16, HEAD + block * BLOCK))
                  for block in range(int(self.numbers().get("blocks", 0)))]  # fmt: skip
        if not (numbers := self.numbers()):
            return
        text = os.pread(file, HEAD - TEXT, TEXT)[: int(numbers["text"])]
        self.about, *self.lines = rule(__file__)([json.loads(line) for line in text.splitlines()])
        tables = [(each["table"], dtype_of(each["fields"])) for each in self.lines if "table" in each]
        for block, (number, count) in enumerate(blocks):
            name, dtype = tables[number]
            if number < 0 or not 0 <= count * dtype.itemsize <= BLOCK - 16:
                raise ValueError(f"block {block} is said to hold {count:,} records of table {number}")
            seen = self._read.get(block, 0)
            if count > seen and (wanted is None or name in wanted):
                self._read[block] = count
                begin = HEAD + block * BLOCK + 16 + seen * dtype.itemsize
                yield name, np.frombuffer(os.pread(file, (count - seen) * dtype.itemsize, begin), dtype, count - seen)

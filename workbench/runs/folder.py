"""The run folder: everything that is kept of a run, in files that describe themselves.

    run.json        format, tables, metrics, and the run's description
    TABLE.records   raw fixed-size records of one table, appended while the run is under way
    result.json     the outcome, once there is one
    note.json       a note and tags, apart from the rest so that they can be set while the run is under way anywhere

Nothing in it is ever unpickled. Files are opened only while they are written, so nothing has to be closed and a killed
parent loses at most the records in its hands. Folders and files are private to the user.
"""

import fcntl
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from workbench.core.config import ConfigError
from workbench.core.records import Records
from workbench.core.settings import require
from workbench.runs import machine
from workbench.runs.files import at, private, read_text, remedy, write_whole
from workbench.runs.metrics import Schema
from workbench.runs.sentences import said
from workbench.runs.uninterrupted import users_line

# Version of the layout of a run folder. It is raised with every change to the files or to what the core records.
FORMAT = 3

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NOTE = "note.json"
_TAG = re.compile(r"[\w.-]{1,40}")


class Refusal(Exception):
    """Something was asked for that cannot be. The message says why, and what to do."""

    @classmethod
    def unless(cls, holds: bool, words: str) -> None:
        """Raise this error, with these words, unless something holds."""
        if not holds:
            raise cls(words)


class RecordError(Refusal):
    """A run folder cannot be made, written or read. The message names the path, the cause and the remedy."""


class OldFormat(RecordError):
    """A run folder was made by another version of this package. The message says what to do."""


class FolderGone(RecordError):
    """A run folder is no longer where it was, and what is there is not that run."""


class RecordWarning(UserWarning):
    """What the user of a run should know, though nothing failed: what was lost, left out, or may surprise."""


def warn(text: str) -> None:
    """Give a :class:`RecordWarning` at the line of the user's that led here."""
    warnings.warn_explicit(text, RecordWarning, *users_line())


def data_folder() -> Path:
    """Where results are kept: the environment variable ``WORKBENCH_DATA``, else ``data``.

    That lies in the clone of this project where the current folder is one of the clone's, as a notebook's is, and else
    in the current folder.
    """
    given, clone = os.environ.get("WORKBENCH_DATA"), machine.PACKAGE.parent
    within = clone in Path.cwd().parents and (clone / "pyproject.toml").exists()
    return at(given) if given else clone / "data" if within else Path("data")


def runs_folder() -> Path:
    """Where run folders are made: ``runs`` in the data folder."""
    return data_folder() / "runs"


def named_path(run: Path | str) -> Path:
    """Where a run is that is given by a path, or by its name in the folder of the runs; the path if it is nowhere."""
    path, named = at(run), runs_folder() / run
    return path if os.path.exists(path) or not os.path.exists(named) else named


def reference_path(name: str) -> Path:
    """Where a file of measurements that are kept for reference lies: in ``reference`` in the data folder."""
    return data_folder() / "reference" / name


class RunFolder:
    """One run on disk. Made by :meth:`create`, found again by :meth:`open`.

    Attributes:
        path: where it was seen last. What reads or writes asks for :attr:`place`, which looks again.
    """

    def __init__(self, path: Path, schema: Schema | None = None) -> None:
        self.schema = schema or Schema()
        self._held: int | None = None
        self._created: Any = None  # when its run was, which tells it from others of its name
        self._seen: tuple[int, ...] = ()
        self._move(path)

    def _move(self, path: Path) -> None:
        self.path = path
        # kept: pathlib interns the parts of every path that it makes, and Python's table of those grows when they come
        # and go ten times a second
        self._paths = {table: path / f"{table}.records" for table in self.schema.tables}
        self._description = path / "run.json"

    @classmethod
    def create(
        cls, name: str, description: Mapping[str, Any], parent: Path | str | None = None,
        schema: Schema | None = None, subfolders: Sequence[str] = (),
    ) -> Self:  # fmt: skip
        """Make a new folder for a run and describe it.

        Args:
            name: 1 to 100 letters, digits, ``_``, ``-`` and ``.``, beginning with a letter, a digit or ``_``.
            description: what :meth:`write_description` takes.
            parent: where to make it; None for :func:`runs_folder`.
            schema: tables and metrics of the run; None for the core's.
            subfolders: names of folders in it, which are there before it is a run folder.

        Raises:
            RecordError: the name breaks the rule, the folder exists already, or the disk refuses.
        """
        RecordError.unless(bool(NAME.fullmatch(name)), said("folder.name", name=name))
        path = (runs_folder() if parent is None else at(parent)).absolute() / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        except OSError as error:
            reason = said("folder.taken") if os.path.lexists(path) else said("folder.place", error=error)
            raise RecordError(f"cannot make the run folder {path}: {reason}") from error
        folder = cls(path, schema)
        try:
            for each in subfolders:
                folder.subfolder(each)
            folder.write_description(description)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return folder

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The run folder at a path, to be read.

        Raises:
            OldFormat: it was made by an earlier version, or by a later one.
            RecordError: there is none, or it is damaged.
        """
        path = at(path).absolute()
        head = _read_head(path)
        try:
            if not isinstance(head["description"], dict):
                raise TypeError("the description is no object")
            folder = cls(path, Schema.from_dict(head))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise RecordError(f"{path / 'run.json'} is damaged: {error or type(error).__name__}") from None
        folder._created = head["description"].get("created")
        return folder

    @property
    def place(self) -> Path:
        """Where the folder is now. One that is held is followed when it is moved.

        Raises:
            FolderGone: it was deleted, or moved while nobody held it. Another run may have its name.
        """
        try:
            if self._held is not None:
                if not _is(self.path, self._held):
                    moved = _path_of(self._held)
                    if not _is(moved, self._held):
                        raise FileNotFoundError
                    self._move(moved)
            elif self._created is not None:
                now = os.stat(self._description)
                mark = now.st_ino, now.st_mtime_ns, now.st_size
                if mark != self._seen and _read_head(self.path)["description"].get("created") != self._created:
                    raise FileNotFoundError
                self._seen = mark
        except (FileNotFoundError, NotADirectoryError):
            raise FolderGone(said("folder.gone", path=self.path)) from None
        except OSError as error:
            raise RecordError(f"cannot read {self.path}: {error.strerror}") from None
        return self.path

    def subfolder(self, name: str, meanwhile: str = "") -> Path:
        """A folder in this one to write to, made if it is not there; ``meanwhile`` is what holds where it cannot be.

        Raises:
            RecordError: there is something else, such as a link, by which files elsewhere would be written.
        """
        path = self.place / name
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        about = f"{path} is a link, or no folder; nothing is written there. Take it away{meanwhile}"
        RecordError.unless(path.is_dir() and not path.is_symlink(), about)
        return path

    def hold(self) -> None:
        """Let no other run use this folder until :meth:`release`, or until this process is gone.

        Raises:
            RecordError: another one does.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)  # a pipe would be waited for
        except OSError as error:
            raise RecordError(f"{self.path} is no folder for a run: {error.strerror}; take it away") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RecordError(said("folder.in use", path=self.path)) from None
        except OSError:
            pass  # a file system that knows no locks of folders
        self._held = descriptor

    def release(self) -> None:
        """Let others resume the run; nothing happens if it is not held."""
        descriptor, self._held = self._held, None
        if descriptor is not None:
            with suppress(OSError):  # as above
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a fork of this process may hold the descriptor too
            os.close(descriptor)

    def remove(self) -> None:
        """Delete the folder, which must be held; ``run.json`` goes first, so that what a kill leaves is no run."""
        (self.place / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.path)

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Replace the description: plain values, nested dictionaries and lists, NumPy numbers and arrays.

        The new file is written beside the old one and renamed, so one of the two is always whole.

        Raises:
            RecordError: the disk refuses; the old description is kept.
        """
        self._write_json("run.json", {"format": FORMAT, **self.schema.to_dict(), "description": dict(description)})
        self._created = description.get("created")

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the outcome of the run, by the rules of :meth:`write_description`."""
        self._write_json("result.json", dict(result))

    def write_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write a plain array to a ``.npy`` file beside the others, by the rules of :meth:`write_description`."""
        packed = io.BytesIO()  # which NumPy writes to a file without saying what the system refused
        np.save(packed, array, allow_pickle=False)
        write(self.place / name, packed.getvalue())

    def replace(self, table: str, records: Records) -> None:
        """Write a whole table in place of what it held, by the rules of :meth:`write_description`."""
        write(self.path_of(table), records.tobytes())

    def append(self, table: str, records: Records) -> None:
        """Add records to the end of a table, all of them or none.

        Args:
            table: name of a table of the folder's schema.
            records: (n,) of the table's dtype.

        Raises:
            KeyError: there is no such table.
            TypeError: the records have another dtype.
            RecordError: the disk refuses, for instance because it is full. The table is as before; try again later.
        """
        if records.dtype != (expected := self.schema.tables[table].dtype):
            raise TypeError(f"the records are {records.dtype}; table {table} holds {expected}")
        path = self.path_of(table)
        try:
            with open(path, "ab", buffering=0, opener=private) as file:
                _append_whole(cast(BinaryIO, file), records)
        except OSError as error:
            about = {"count": len(records), "path": path, "error": error, "remedy": remedy(error)}
            raise RecordError(said("folder.append", **about)) from error

    def path_of(self, table: str) -> Path:
        """The file of a table; raises :class:`FolderGone` as :attr:`place` does."""
        _ = self.place
        return self._paths[table]

    def read_description(self) -> dict[str, Any]:
        """What :meth:`write_description` wrote last."""
        return dict(_read_head(self.place)["description"])

    def read_result(self) -> dict[str, Any] | None:
        """What :meth:`write_result` wrote; None while the run has no result.

        Raises:
            RecordError: it is damaged.
        """
        path = self.place / "result.json"
        return read_json(path, said("folder.result")) if path.exists() else None

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def _write_json(self, name: str, data: dict[str, Any]) -> None:
        text = json.dumps(data, indent=2, default=_plain, ensure_ascii=False) + "\n"
        write(self.place / name, text.encode(errors="replace"))


def write(path: Path, content: str | bytes) -> None:
    """Write a file of a run folder, whole or not at all; raises RecordError, with the remedy, if the disk refuses."""
    try:
        write_whole(path, content)
    except OSError as error:
        why = error.strerror or error
        raise RecordError(said("folder.write", path=path, why=why, remedy=remedy(error))) from error


def _is(path: Path, descriptor: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _path_of(descriptor: int) -> Path:
    """Where an open folder is now, as the system says it."""
    if hasattr(fcntl, "F_GETPATH"):  # macOS
        return Path(os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


def _append_whole(file: BinaryIO, records: Records) -> None:
    size = file.seek(0, os.SEEK_END) // records.itemsize * records.itemsize  # without one cut off by an earlier crash
    file.truncate(size)
    data = memoryview(records.tobytes())
    try:
        while data:  # a disk that is nearly full takes a part of it first
            data = data[file.write(data) :]
    except OSError:
        with suppress(OSError):
            file.truncate(size)
        raise


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}; JSON has no such thing, and nothing is pickled")


def _read_head(path: Path) -> dict[str, Any]:
    """What run.json says, of this format."""
    try:
        there = (path / "run.json").exists()
    except OSError as error:  # a name that no file system takes
        raise RecordError(f"cannot read {path}: {error.strerror}") from None
    RecordError.unless(there, said("folder.none", path=path, runs=runs_folder()))
    head = read_json(path / "run.json", said("folder.head"))
    if (found := head.get("format")) != FORMAT:
        if type(found) is not int:
            raise RecordError(f"{path / 'run.json'} is damaged: its format is {found!r}")
        which = "an earlier" if found < FORMAT else "a later"
        raise OldFormat(said("folder.format", path=path, which=which, found=found, format=FORMAT))
    return head


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """The object that a file of JSON holds, which may come from anyone; ``remedy`` is what helps if there is none.

    Raises:
        RecordError: there is no such file, or it is damaged.
    """
    try:
        data = json.loads(read_text(path))
        json.dumps(data, ensure_ascii=False).encode()  # half a character can be written nowhere
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: {error}{remedy}") from None
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}{remedy}") from error
    about = f"{path} is damaged: it holds a {type(data).__name__}, not an object{remedy}"
    RecordError.unless(isinstance(data, dict), about)
    return dict(data)


def read_note(folder: Path) -> tuple[str, tuple[str, ...]]:
    """The note and the tags of a run; empty where nobody set any, or the file is damaged."""
    try:
        kept = json.loads(read_text(folder / _NOTE))
        return str(kept["note"]), tuple(map(str, kept["tags"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", ()


def write_note(folder: Path, note: str, tags: Sequence[str]) -> None:
    """Replace the note and the tags of a run.

    Raises:
        ConfigError: the note is no text, or a tag is no word of at most 40 letters, digits, ``_``, ``-`` and ``.``.
        RecordError: the disk refuses; what was there before is kept.
    """
    check_note(note, tags)
    write(folder / _NOTE, json.dumps({"note": note, "tags": list(dict.fromkeys(tags))}) + "\n")


def check_note(note: str, tags: Sequence[str]) -> None:
    """Refuse what is no note, or no tag; see :func:`write_note`."""
    require(isinstance(note, str), "note", note, "it must be text")
    several = isinstance(tags, Collection) and not isinstance(tags, str)  # what can be looked at twice
    if not several or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
        raise ConfigError(f"tags are {tags!r}; give a list of words of letters, digits, '_', '-' and '.'")

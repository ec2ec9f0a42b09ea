"""A run folder as one file to send to a colleague, and back again.

The same folder gives the same bytes: members are sorted, and carry no time, no owner and one mode. An archive may come
from anywhere, so opening one trusts no name in it: whatever would land outside of the one folder, and whatever is no
plain file, is refused before anything is written.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from workbench.export.needed import ExportError
from workbench.runs.folder import RecordError, RunFolder, runs_folder
from workbench.runs.loaded import LoadedRun, RunView

SUFFIXES = (".tar.gz", ".zip")
MAX_BYTES = 8 * 2**30
"""An archive that unfolds to more is refused; a run of a day is well below."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    """Path inside the archive, with forward slashes."""
    is_file: bool
    is_folder: bool
    size: int


def archive(run: RunView | Path | str, out: Path | str) -> Path:
    """Pack the folder of a run that has ended.

    The folder holds the name of the host and of its processor, and the logs of the processes: look at it first if that
    is more than the other side should know.

    Args:
        run: a run, or its folder.
        out: the file, whose name ends in ``.tar.gz`` or ``.zip``, or a folder that gets ``NAME.tar.gz``. What is there
            is replaced.

    Returns:
        The file.

    Raises:
        ExportError: the run goes on, the folder holds a link, or the name has another ending.
        RecordError: there is no run.
    """
    view = run if isinstance(run, RunView) else LoadedRun(run)
    if not view.ended:
        raise ExportError(f"run {view.name} is {view.status}; stop it or wait for its end, then pack its folder")
    path = Path(out) / f"{view.name}.tar.gz" if Path(out).is_dir() else Path(out)
    write = _writer(path)
    folder = view.folder.path
    files = sorted(each for each in folder.rglob("*") if not each.is_dir() or each.is_symlink())
    if odd := [each for each in files if each.is_symlink() or not each.is_file()]:
        raise ExportError(f"{odd[0]} is a link or no plain file; take it out of the run folder, then pack it")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(part, [(f"{view.name}/{each.relative_to(folder).as_posix()}", each) for each in files])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def unpack(path: Path | str, out: Path | str | None = None) -> LoadedRun:
    """Open an archive that :func:`archive` made.

    Args:
        path: the file.
        out: folder that gets the run folder; None for ``data/runs``.

    Returns:
        The run.

    Raises:
        ExportError: it is no such archive, a name in it would leave the folder, or the run is there already.
        RecordError: the folder in it is no run, or one of another version. Nothing is kept of it then.
    """
    path, parent = Path(path), runs_folder() if out is None else Path(out)
    if not path.is_file():
        raise ExportError(f"there is no file {path}")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _Opened(path) as (members, extract):
        name = checked_name(members, path)
        target = parent.absolute() / name
        if os.path.lexists(target):
            raise ExportError(f"{target} is there already; delete it first, or unpack into another folder with --out")
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=parent) as temporary:
            for member in members:
                if member.is_file:
                    extract(member, Path(temporary).joinpath(*PurePosixPath(member.name).parts))
            fresh = Path(temporary) / name
            try:
                RunFolder.open(fresh)
            except RecordError as error:
                raise RecordError(str(error).replace(str(fresh.absolute()), f"{path}: {name}")) from None
            os.replace(fresh, target)
    return LoadedRun(target)


def checked_name(members: Iterable[Member], path: Path) -> str:
    """The one folder that all members lie in.

    Raises:
        ExportError: a member is no plain file or folder, would land outside, comes twice, or all of it is too large.
    """
    seen, roots, total = set[str](), set[str](), 0
    for member in members:
        parts = member.name.removesuffix("/").split("/")
        bad = any(part in ("", ".", "..") or re.search(r"[\\:\0-\x1f]", part) for part in parts)
        if bad or member.name.startswith("/"):
            raise ExportError(
                f"{path} holds the name {member.name!r}, which could leave the run's folder; not unpacked"
            )
        if not (member.is_file or member.is_folder):
            raise ExportError(f"{path} holds {member.name!r}, which is a link or a device; not unpacked")
        if member.name.casefold() in seen:
            raise ExportError(f"{path} holds {member.name!r} twice; not unpacked")
        if member.is_file and len(parts) == 1:
            raise ExportError(f"{path} holds the file {member.name!r} outside of any folder; it is no packed run")
        seen.add(member.name.casefold())
        roots.add(parts[0])
        total += member.size
    if len(roots) != 1:
        raise ExportError(f"{path} holds {len(roots)} folders; a packed run is exactly one")
    if total > MAX_BYTES:
        raise ExportError(f"{path} unfolds to {total:,} bytes, more than {MAX_BYTES:,}; not unpacked")
    return roots.pop()


# --- the two formats -------------------------------------------------------------------------------------------------

Files = list[tuple[str, Path]]


def _writer(path: Path) -> Callable[[Path, Files], None]:
    if path.name.endswith(".tar.gz"):
        return _write_tar
    if path.suffix == ".zip":
        return _write_zip
    raise ExportError(f"cannot pack a run as {path.name!r}; the name must end in {' or '.join(SUFFIXES)}")


def _write_tar(path: Path, files: Files) -> None:
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, file in files:
            data = file.read_bytes()
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(data), 0o600
            tar.addfile(about, io.BytesIO(data))


def _write_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, file in files:
            about = zipfile.ZipInfo(name, _EPOCH)
            about.compress_type, about.create_system, about.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100600 << 16
            packed.writestr(about, file.read_bytes())


class _Opened:
    """An archive of either format: its members, and what writes one of them to a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar: tarfile.TarFile | None = None
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> tuple[list[Member], Callable[[Member, Path], None]]:
        try:
            if zipfile.is_zipfile(self._path):
                self._zip = zipfile.ZipFile(self._path)
                return [_zip_member(each) for each in self._zip.infolist()], self._extract
            self._tar = tarfile.open(self._path, "r:gz")
            return [_tar_member(each) for each in self._tar.getmembers()], self._extract
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            self.__exit__()
            raise ExportError(f"{self._path} is no whole archive: {error}; ask for it again") from None

    def __exit__(self, *_: object) -> None:
        for opened in (self._tar, self._zip):
            if opened is not None:
                opened.close()

    def _extract(self, member: Member, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            source = self._zip.open(member.name) if self._zip else self._tar and self._tar.extractfile(member.name)
            assert source
            with source, open(target, "xb", opener=_private) as file:
                shutil.copyfileobj(source, file)
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise ExportError(
                f"{self._path}: cannot unpack {member.name}: {error}; ask for the archive again"
            ) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tar_member(each: tarfile.TarInfo) -> Member:
    return Member(each.name, each.isreg(), each.isdir(), each.size)


def _zip_member(each: zipfile.ZipInfo) -> Member:
    kind = (each.external_attr >> 16) & 0o170000
    folder = each.is_dir()
    return Member(each.filename, not folder and kind in (0, 0o100000), folder, each.file_size)

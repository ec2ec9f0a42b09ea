"""A run folder as one file to send to a colleague, and back again.

The same folder gives the same bytes: members are sorted, and carry no time, no owner and one mode. An archive may come
from anywhere, so opening one trusts nothing in it: every part of every name obeys the rule for names of runs, nothing
but plain files and folders is made, each once and private to the user, and bytes are counted while they are read.
"""

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from workbench.export.needed import ExportError, check
from workbench.export.sentences import said
from workbench.runs import loaded
from workbench.runs.files import at, private, whole_file
from workbench.runs.folder import NAME, RecordError, RunFolder, named_path, runs_folder
from workbench.runs.listing import info_of
from workbench.runs.loaded import LoadedRun, RunView

SUFFIX = ".tar.gz"
# An archive that unfolds to more bytes or files, or has longer headers, is refused; a run of a day is well below.
MAX_BYTES = 8 * 2**30
MAX_MEMBERS = 4_000
MAX_AT_ONCE = 2**16


def archive(run: RunView | Path | str, out: Path | str) -> Path:
    """Pack the folder of a run that has ended.

    The folder holds the name of the host and of its processor, and the logs of the processes: look at it first if that
    is more than the other side should know.

    Args:
        run: a run, its folder, or its name in ``data/runs``.
        out: the file, whose name ends in ``.tar.gz``, or a folder that gets ``NAME.tar.gz``. What is there is replaced.

    Returns:
        The file.

    Raises:
        ExportError: the run is under way, the folder holds a link or more than can be unpacked again, the file would
            lie in that folder itself, or its name has another ending.
        RecordError: there is no run.
    """
    folder = (run.folder if isinstance(run, RunView) else RunFolder.open(named_path(run))).place
    status = run.status if isinstance(run, RunView) else info_of(folder).status  # of a world of the user's own too
    check(status in ("finished", "stopped", "failed", "cut off"), said("archive.now", name=folder.name, status=status))
    path = at(out) / f"{folder.name}{SUFFIX}" if at(out).is_dir() else at(out)
    check(folder.resolve() not in path.resolve().parents, said("archive.inside", path=path, folder=folder))
    check(path.name.endswith(SUFFIX), f"cannot pack a run as {path.name!r}; the name must end in {SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.add(folder, folder.name, filter=_without_origin)
        if len(tar.getmembers()) > MAX_MEMBERS or tar.offset > MAX_BYTES - 2 * MAX_AT_ONCE:  # as is read
            raise ExportError(said("archive.large", path=folder, members=MAX_MEMBERS, size=MAX_BYTES))
    return path


def unpack(path: Path | str, out: Path | str | None = None, **given: type | str | None) -> LoadedRun:
    """Open an archive that :func:`archive` made.

    Args:
        path: the file.
        out: folder that gets the run folder; None for ``data/runs``.
        given: classes of the user's own that the run was made with, as for :func:`workbench.load`.

    Returns:
        The run.

    Raises:
        ExportError: it is no such archive, something in it would leave the folder, or the run is there already.
        RecordError: the folder in it is no run, or one of another version. Nothing is kept of it then.
    """
    path, parent = at(path), runs_folder() if out is None else at(out)
    check(path.is_file(), f"there is no file {path}")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=parent) as temporary:
        most = min(MAX_BYTES, shutil.disk_usage(parent).free)
        try:
            with _Bounded(path, most) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                name = _extract(tar, Path(temporary))
                while file.read(MAX_AT_ONCE):  # to the checksum at the end, which a reader of the members never meets
                    pass
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
            raise ExportError(f"{path} is no whole archive of a run: {error}; ask for it again") from None
        target = parent.absolute() / name
        check(not os.path.lexists(target), said("archive.there", target=target))
        unpacked = Path(temporary) / name
        try:
            RunFolder.open(unpacked)
        except RecordError as error:
            raise RecordError(str(error).replace(str(unpacked.absolute()), f"{path}: {name}")) from None
        unpacked.replace(target)
    return loaded.opened_as(target, **given)


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without anything that says when, by whom and where it was made."""
    if not (member.isreg() or member.isdir()) or not all(map(NAME.fullmatch, PurePosixPath(member.name).parts)):
        raise ExportError(said("archive.member", name=member.name))
    mode = 0o700 if member.isdir() else 0o600
    return member.replace(mtime=0, mode=mode, uid=0, gid=0, uname="", gname="", deep=False)


class _Bounded(gzip.GzipFile):
    """A packed file that is not unfolded beyond a number of bytes, nor by more than a header or a buffer at once."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "rb")
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_AT_ONCE:
            raise ExportError(f"{self.name!r} has a header of {size} bytes, which no packed run has; not unpacked")
        self._check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, end: int) -> None:
        check(end <= self._most, said("archive.unfolds", name=self.name, most=self._most))


def _extract(tar: tarfile.TarFile, into: Path) -> str:
    """Write what an archive holds to an empty folder; the name of the one folder in it."""
    roots = set[str]()
    for count, member in enumerate(tar):
        parts = PurePosixPath(member.name).parts
        roots.add("".join(parts[:1]))
        plain = member.type in (tarfile.REGTYPE, tarfile.DIRTYPE) and member.sparse is None
        if not plain or len(roots) > 1 or count >= MAX_MEMBERS or not all(map(NAME.fullmatch, parts)):
            raise ExportError(f"{tar.name!r} holds {member.name[:200]!r}, which no packed run does; not unpacked")
        for depth in range(1, len(parts) + member.isdir()):
            into.joinpath(*parts[:depth]).mkdir(mode=0o700, exist_ok=True)
        if data := tar.extractfile(member):
            with open(into.joinpath(*parts), "xb", opener=private) as file:
                shutil.copyfileobj(data, file, MAX_AT_ONCE)
    check(bool(roots), f"{tar.name!r} holds nothing; a packed run is exactly one folder")
    return min(roots)

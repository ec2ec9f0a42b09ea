"""A run folder as one file to send to a colleague, and back again.

The same folder gives the same bytes: members are sorted, and carry no time, no owner and one mode. An archive may come
from anywhere, so opening one trusts nothing in it: the standard library's data filter refuses what would land outside
of the folder, and what is no plain file is refused too.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from workbench.export.needed import ExportError
from workbench.runs import loaded
from workbench.runs.files import at, whole_file
from workbench.runs.folder import NAME, RecordError, RunFolder, runs_folder
from workbench.runs.listing import info_of
from workbench.runs.loaded import LoadedRun, RunView

SUFFIX = ".tar.gz"
# An archive that unfolds to more is refused; a run of a day is well below.
MAX_BYTES = 8 * 2**30


def archive(run: RunView | Path | str, out: Path | str) -> Path:
    """Pack the folder of a run that has ended.

    The folder holds the name of the host and of its processor, and the logs of the processes: look at it first if that
    is more than the other side should know.

    Args:
        run: a run, or its folder.
        out: the file, whose name ends in ``.tar.gz``, or a folder that gets ``NAME.tar.gz``. What is there is replaced.

    Returns:
        The file.

    Raises:
        ExportError: the run is under way, the folder holds a link, or the name has another ending.
        RecordError: there is no run.
    """
    folder = (run.folder if isinstance(run, RunView) else RunFolder.open(run)).path
    status = run.status if isinstance(run, RunView) else info_of(folder).status  # of a world of the user's own too
    if status not in ("finished", "stopped", "failed", "cut off"):
        raise ExportError(f"run {folder.name} is {status}; stop it or wait for its end, then pack its folder")
    path = at(out) / f"{folder.name}{SUFFIX}" if at(out).is_dir() else at(out)
    if not path.name.endswith(SUFFIX):
        raise ExportError(f"cannot pack a run as {path.name!r}; the name must end in {SUFFIX}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.add(folder, folder.name, filter=_without_origin)
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
    if not path.is_file():
        raise ExportError(f"there is no file {path}")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=parent) as temporary:
        try:
            with tarfile.open(path, "r:gz") as tar:
                name = _only_folder(tar, path)
                target = parent.absolute() / name
                if os.path.lexists(target):
                    raise ExportError(
                        f"{target} is there already; delete it first, or unpack into another folder with --out"
                    )
                tar.extractall(temporary, filter=_plain)
        except tarfile.FilterError as error:
            raise ExportError(f"{path} holds what no packed run does: {error}; not unpacked") from None
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise ExportError(f"{path} is no whole archive: {error}; ask for it again") from None
        unpacked = Path(temporary) / name
        try:
            RunFolder.open(unpacked)
        except RecordError as error:
            raise RecordError(str(error).replace(str(unpacked.absolute()), f"{path}: {name}")) from None
        unpacked.replace(target)
    return loaded.opened_as(target, **given)


def _without_origin(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without anything that says when, by whom and where it was made."""
    if not (member.isreg() or member.isdir()):
        raise ExportError(f"{member.name} is a link or no plain file; take it out of the run folder, then pack it")
    made = tarfile.TarInfo(member.name)
    made.type, made.size, made.mode = member.type, member.size, _mode(member)
    return made


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """The standard library's filter for data, which also refuses links, and makes everything private to the user."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder).replace(mode=_mode(member), deep=False)


def _mode(member: tarfile.TarInfo) -> int:
    return 0o700 if member.isdir() else 0o600


def _only_folder(tar: tarfile.TarFile, path: Path) -> str:
    """The name of the one folder that everything in an archive lies in."""
    members = tar.getmembers()
    if (total := sum(member.size for member in members)) > MAX_BYTES:
        raise ExportError(f"{path} unfolds to {total:,} bytes, more than {MAX_BYTES:,}; not unpacked")
    roots = {PurePosixPath(member.name).parts[:1] for member in members}
    if len(roots) != 1:
        raise ExportError(f"{path} holds {len(roots)} folders; a packed run is exactly one")
    name = "".join(*roots)
    if not NAME.fullmatch(name):
        raise ExportError(f"{path} holds the folder {name!r}, which is none of a run; not unpacked")
    return name

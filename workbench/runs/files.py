"""Files that are written whole or not at all, and that only the user can read; and files that may come from anyone."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from workbench.runs.sentences import SENTENCES

# Bytes of a text that are read; the description of a run with a thousand deaths and changes has a tenth of it.
MOST_TEXT = 16 * 2**20


# What helps where the system refuses to write, by the name of the error.
_REMEDIES: dict[str, str] = SENTENCES["refused writing"]


def remedy(error: OSError) -> str:
    """What to do about an error of writing."""
    return _REMEDIES.get(errno.errorcode.get(error.errno or 0, ""), _REMEDIES["any"])


def at(path: Path | str) -> Path:
    """A path as it was given, with ``~`` as the home folder, where there is one."""
    return Path(os.path.expanduser(path))


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder, for what must stay in it even if it is renamed meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in the place of ``path``, which is replaced when the block ends, and kept if it raises.

    The new file, ``path`` with ``.part`` after it, lies beside the old one and is on the disk before it is renamed, so
    that one of the two is always whole. Both lie in the folder as it was opened, even if that is renamed meanwhile. A
    link in the place of either is never followed. Only the user can read a file that was not there before; one that
    was keeps its mode.

    Raises:
        OSError: the disk refuses.
    """
    part = f"{path.name}.part"
    with opened_folder(path.parent) as folder:
        try:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)  # by a writer that was killed
            with open(part, "xb", opener=lambda name, flags: private(name, flags, folder)) as file:
                with suppress(FileNotFoundError):
                    before = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
                    if stat.S_ISREG(before):
                        os.fchmod(file.fileno(), stat.S_IMODE(before))
                yield cast(BinaryIO, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
            if isinstance(error, OSError):
                error.filename = str(path)  # which one of writing does not say
            raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by the rules of :func:`whole_file`, text as UTF-8.

    Raises:
        OSError: the disk refuses.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def private(path: str, flags: int, folder: int | None = None) -> int:
    """An opener for :func:`open` that follows no link, and whose new files only the user can read."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)


def plain_file(path: Path | str) -> BinaryIO:
    """A file to read. What would be waited for, such as a pipe, or has no end, such as a device, is refused.

    Raises:
        OSError: there is none, or it is of another kind.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    return open(path, "rb")


def read_text(path: Path) -> str:
    """A text that may come from anyone.

    Raises:
        OSError: there is none, it is no plain file, or has more than :data:`MOST_TEXT` bytes.
        UnicodeDecodeError: it is no UTF-8.
    """
    with plain_file(path) as file:
        found = file.read(MOST_TEXT + 1)
    if len(found) > MOST_TEXT:
        raise OSError(errno.EFBIG, f"it has more than {MOST_TEXT:,} bytes")
    return found.decode()

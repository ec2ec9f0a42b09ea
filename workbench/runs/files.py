"""Files that are written whole or not at all, and that only the user can read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast


def at(path: Path | str) -> Path:
    """A path as it was given, with ``~`` as the home folder."""
    return Path(path).expanduser()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in the place of ``path``, which is replaced when the block ends, and kept if it raises.

    The new file, ``path`` with ``.part`` after it, lies beside the old one and is on the disk before it is renamed, so
    that one of the two is always whole. A link in the place of either is never followed. Only the user can read a file
    that was not there before; one that was keeps its mode.

    Raises:
        OSError: the disk refuses.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)  # by a writer that was killed
    try:
        with open(part, "xb", opener=private) as file:
            if path.is_file() and not path.is_symlink():
                os.fchmod(file.fileno(), path.stat().st_mode)
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by the rules of :func:`whole_file`, text as UTF-8.

    Raises:
        OSError: the disk refuses.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def private(path: str, flags: int) -> int:
    """An opener for :func:`open` that follows no link, and whose new files only the user can read."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)

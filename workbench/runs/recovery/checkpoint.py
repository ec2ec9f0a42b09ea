"""Checkpoints: a run as it was after one epoch, in one file, written beside and renamed, read without pickle.

    checkpoints/epoch-00000120.npz     arrays by owner/name, and "description": JSON text as bytes

Every array carries the archive's CRC-32, and the description the SHA-256 of them all, so a damaged or partial file is
recognised; a reader then takes the one before, and says so.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from workbench.core.config import Config, ConfigError
from workbench.core.shared.layout import Arrays
from workbench.runs.array_digest import array_digest
from workbench.runs.files import opened_folder, plain_file, remedy, whole_file
from workbench.runs.folder import RecordError
from workbench.runs.sentences import said

# Version of what a checkpoint holds.
FORMAT = 1

_NAME = re.compile(r"epoch-(\d{8}|[1-9]\d{8,18})\.npz")
_DESCRIPTION = "description"


class CheckpointError(RecordError):
    """A checkpoint cannot be written, read, or used. The message names the file, the cause and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read.

    Attributes:
        epoch: Epochs that were collected.
        description: What the writer said of the run: its configuration, mode, lag, counters.
        arrays: What it holds, by ``owner/name``.
    """

    path: Path
    epoch: int
    description: dict[str, Any]
    arrays: Arrays

    def config(self, **given: type | str | None) -> Config:
        """The configuration that it was made with; ``given`` are classes of the user's own.

        Raises:
            CheckpointError: it holds none of this version.
        """
        try:
            return Config.from_dict(self.description["config"], **given)
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(said("checkpoint.config", path=self.path, error=error)) from None


def write_checkpoint(folder: Path, epoch: int, arrays: Arrays, description: Mapping[str, Any], keep: int) -> Path:
    """Write the checkpoint of an epoch, whole or not at all, and delete all but the newest ``keep``.

    Raises:
        CheckpointError: the disk refuses. Checkpoints that were there before are kept.
    """
    path = folder / _name(epoch)
    head = {**description, "format": FORMAT, "epoch": epoch, "sha256": _digest(arrays)}
    contents: dict[str, Any] = {_DESCRIPTION: np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays}
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with opened_folder(folder) as its:  # which stays this run's if another gets its name meanwhile
            for left in os.listdir(its):  # by a writer that was killed
                if left.endswith(".part"):
                    os.unlink(left, dir_fd=its)
            with whole_file(path) as file:
                np.savez(file, **contents)
            for old in kept_epochs(its)[::-1][keep:]:
                os.unlink(_name(old), dir_fd=its)
    except OSError as error:
        why = error.strerror or error
        raise CheckpointError(said("checkpoint.write", path=path, why=why, remedy=remedy(error))) from error
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and check every byte of it.

    Raises:
        CheckpointError: it is missing, damaged, cut off, or of another version.
    """
    try:
        with plain_file(path) as file, cast(Any, np.lib.npyio.NpzFile(file, allow_pickle=False)) as archive:
            if sum(each.file_size for each in archive.zip.infolist()) > os.fstat(file.fileno()).st_size:
                raise ValueError("it unpacks to more than its own size; no run compresses its checkpoints")
            arrays = dict(archive)
        head = json.loads(arrays.pop(_DESCRIPTION).tobytes())
        found, epoch = head["format"], int(head["epoch"])
        if found == FORMAT and head["sha256"] != _digest(arrays):
            raise ValueError("its checksum does not match its contents")
    except Exception as error:  # one flipped bit can name another compression, a password, a shape without end
        raise CheckpointError(f"{path} is damaged or cut off: {error or type(error).__name__}") from error
    CheckpointError.unless(found == FORMAT, said("checkpoint.format", path=path, found=found, format=FORMAT))
    return Checkpoint(path, epoch, head, arrays)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest checkpoint of a folder that is whole, and what was wrong with those after it.

    Raises:
        CheckpointError: there is none, or none is whole.
    """
    refused: list[str] = []
    for epoch in reversed(kept_epochs(folder)):
        try:
            return read_checkpoint(folder / _name(epoch)), refused
        except CheckpointError as error:
            refused.append(str(error))
    broken = said("checkpoint.broken", folder=folder, refused="; ".join(refused))
    raise CheckpointError(broken if refused else said("checkpoint.none", folder=folder))


def checkpoint_of(folder: Path, epoch: int | Literal["newest"]) -> Checkpoint:
    """The checkpoint of an epoch, or the newest one that is whole.

    Raises:
        CheckpointError: there is none, it is damaged, or there are those of other epochs only, which are named.
    """
    if epoch == "newest":
        return newest_checkpoint(folder)[0]
    there = kept_epochs(folder)
    listed = f"those of epochs {', '.join(map(str, there))} are kept" if there else "none is kept"
    CheckpointError.unless(epoch in there, said("checkpoint.other", epoch=epoch, folder=folder, listed=listed))
    return read_checkpoint(folder / _name(epoch))


def set_aside(folder: Path, after: int) -> None:
    """Rename the checkpoints of later epochs to ``.damaged``, so that they count no longer among those that are kept.

    Raises:
        CheckpointError: the disk refuses.
    """
    for path in [folder / _name(epoch) for epoch in kept_epochs(folder) if epoch > after]:
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError as error:
            raise CheckpointError(f"cannot rename {path}, which is damaged: {error.strerror or error}") from error


def kept_epochs(folder: Path | int) -> list[int]:
    """Epochs of the checkpoints in a folder, or in one of that descriptor, oldest first; none if there is no folder."""
    names = os.listdir(folder) if isinstance(folder, int) or folder.is_dir() else ()
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def _name(epoch: int) -> str:
    return f"epoch-{epoch:08d}.npz"


def _digest(arrays: Arrays) -> str:
    names = [np.frombuffer(name.encode(), np.uint8) for name in sorted(arrays)]
    return array_digest(*names, *(arrays[name] for name in sorted(arrays)))

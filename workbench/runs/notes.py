"""A note and tags of a run, in a file of their own: they can be set while the run is under way anywhere."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from workbench.core.config import ConfigError
from workbench.core.settings import require
from workbench.runs.files import read_text
from workbench.runs.folder import write

FILE = "note.json"
_TAG = re.compile(r"[\w.-]{1,40}")


def read_note(folder: Path) -> tuple[str, tuple[str, ...]]:
    """The note and the tags of a run; empty where nobody set any, or the file is damaged."""
    try:
        said = json.loads(read_text(folder / FILE))
        return str(said["note"]), tuple(map(str, said["tags"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", ()


def write_note(folder: Path, note: str, tags: Sequence[str]) -> None:
    """Replace the note and the tags of a run.

    Raises:
        ConfigError: the note is no text, or a tag is no word of at most 40 letters, digits, ``_``, ``-`` and ``.``.
        RecordError: the disk refuses; what was there before is kept.
    """
    check_note(note, tags)
    write(folder / FILE, json.dumps({"note": note, "tags": list(dict.fromkeys(tags))}) + "\n")


def check_note(note: str, tags: Sequence[str]) -> None:
    """Refuse what is no note, or no tag; see :func:`write_note`."""
    require(isinstance(note, str), "note", note, "it must be text")
    several = isinstance(tags, Collection) and not isinstance(tags, str)  # what can be looked at twice
    if not several or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
        raise ConfigError(f"tags are {tags!r}; give a list of words of letters, digits, '_', '-' and '.'")

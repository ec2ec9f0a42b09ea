"""What captions and refusals of a report say, out of ``sentences.toml``."""

import tomllib
from pathlib import Path
from typing import Any

SENTENCES: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def said(which: str, **about: Any) -> str:
    """A sentence by its part and name, ``said("curves.smooth", percent=5)``, with its numbers filled in."""
    part, _, name = which.partition(".")
    return SENTENCES[part][name].format(**about)

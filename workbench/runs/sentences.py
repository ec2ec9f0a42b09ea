"""Sentences that are data: what captions and refusals say is in a file of TOML beside the code that says it."""

import tomllib
from collections.abc import Callable
from pathlib import Path


def sentences(module: str) -> Callable[..., str]:
    """What looks a sentence up by its part and name and fills its numbers in: ``said("folder.gone", path=path)``.

    Args:
        module: the file of a module; its sentences are beside it, under the same name with ``.toml``.
    """
    known = tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))

    def look_up(which: str, /, **about: object) -> str:
        """The sentence, in which "{...}" are attributes and items of what it is ``about``."""
        part, _, name = which.partition(".")
        return str(known[part][name]).format(**about)

    return look_up


said = sentences(__file__)

"""The words of messages: sentences, and the end of one about an unknown name, which has the nearest known ones.

Sentences are data and no code, as looks and tables are: they stand in a file of TOML beside the module that reads it.
"""

import difflib
import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


@functools.cache
def beside(module: str) -> dict[str, Any]:
    """What lies beside the file of a module, under the same name with ``.toml``. It is read once."""
    return tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))


def sentences(module: str) -> Callable[..., str]:
    """What looks a sentence up by its part and name and fills its numbers in: ``said("folder.gone", path=path)``.

    Args:
        module: the file of a module; its sentences are :func:`beside` it, and are read when the first is looked up.
    """

    def look_up(which: str, /, **about: object) -> str:
        """The sentence, in which "{...}" are attributes and items of what it is ``about``."""
        part, _, name = which.partition(".")
        return str(beside(module)[part][name]).format(**about)

    return look_up


said = sentences(__file__)


def did_you_mean(name: object, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: "did you mean A or B?", or "known: A, B, C" where none is near.

    ``aliases`` are other words, each with the name that it stands for.
    """
    names = {each: each for each in known if each != name}  # elsewhere it may be known: a setting of another world
    words = {**(aliases or {}), **names}
    near = dict.fromkeys(words[each] for each in difflib.get_close_matches(str(name), words, n=3, cutoff=0.5))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names) or 'none'}"

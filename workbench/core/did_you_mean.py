"""The remedy in the message about an unknown name: the nearest known ones."""

import difflib
from collections.abc import Iterable, Mapping


def did_you_mean(name: object, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: "did you mean A or B?", or "known: A, B, C" where none is near.

    ``aliases`` are other words, each with the name that it stands for.
    """
    names = {each: each for each in known}
    words = {**(aliases or {}), **names}
    near = dict.fromkeys(words[each] for each in difflib.get_close_matches(str(name), words, n=3, cutoff=0.5))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names) or 'none'}"

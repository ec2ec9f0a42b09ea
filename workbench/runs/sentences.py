"""What runs say, out of ``sentences.toml``, and rules of what may be read from files, as JSON schemas in TOML."""

import functools
from collections.abc import Callable
from typing import Any, cast

from workbench.core.sentences import beside as beside
from workbench.core.sentences import sentences as sentences


@functools.cache
def rule(module: str) -> Callable[[Any], Any]:
    """What checks a value as the JSON schema :func:`beside` a module says, and returns it; compiled once."""
    import fastjsonschema  # here, so that a child does not load it

    return cast(Callable[[Any], Any], fastjsonschema.compile(beside(module)))


SENTENCES = beside(__file__)
said = sentences(__file__)

"""What runs say, out of ``sentences.toml``, and rules of what may be read from files, as JSON schemas in TOML."""

import functools
import reprlib
from collections.abc import Callable
from typing import Any

from workbench.core.sentences import beside as beside
from workbench.core.sentences import sentences as sentences


@functools.cache
def rule(module: str) -> Callable[[Any], Any]:
    """What checks a value as the JSON schema :func:`beside` a module says, and returns it; compiled once.

    It raises ValueError, with the part that is wrong, the rule, and what is there.
    """
    import fastjsonschema  # here, so that a child does not load it

    compiled = fastjsonschema.compile(beside(module))

    def checked(value: Any) -> Any:
        """The value, if it is as the schema says."""
        try:
            return compiled(value)
        except fastjsonschema.JsonSchemaValueException as error:
            part = error.message.removeprefix("data.")
            raise ValueError(f"{part}; it is {reprlib.repr(error.value)}") from None

    return checked


SENTENCES = beside(__file__)
said = sentences(__file__)


def counted(count: int, word: str) -> str:
    """A number of things: "1 agent", "2 agents"."""
    return f"{count:,} {word}{'s' * (count != 1)}"

"""The tables that a watched process writes, as ``tables.toml`` says them, and what the numbers in them stand for."""

from workbench.runs.sentences import beside
from workbench.watch.storage import Fields

# What an event is.
SYNC, PUBLISH, RESULT = 1, 2, 3
# What a look at a model sees; of a copy, ten times its kind is added.
SOURCE_BEFORE, SOURCE, TARGET_BEFORE, TARGET, ONLINE_BEFORE, ONLINE, ACTS, HELD = range(1, 9)
_KINDS = {"d": "<f8", "f": "<f4", "q": "<i8", "i": "<i4", "b": "|i1"}


def _fields(text: str) -> Fields:
    """Fields from ``name:kind`` words, in which a number before the kind is how many there are."""
    return [(name, _KINDS[kind[-1]], int(kind[:-1] or 1)) for name, kind in (word.split(":") for word in text.split())]


# Fields of each table, and whether it is written in bulk.
TABLES = {name: (_fields(about["fields"]), bool(about["bulk"])) for name, about in beside(__file__).items()}

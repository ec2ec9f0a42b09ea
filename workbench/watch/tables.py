"""The tables that a watched process writes: name, kind and count of each field, and what the numbers stand for."""

from __future__ import annotations

from workbench.watch.storage import Fields
from workbench.watch.tensors import PICKS

# What an event is.
SYNC, PUBLISH, RESULT = 1, 2, 3
# What a look at a model sees; of a copy, ten times its kind is added.
SOURCE_BEFORE, SOURCE, TARGET_BEFORE, TARGET, ONLINE_BEFORE, ONLINE, ACTS, HELD = range(1, 9)


def _fields(text: str) -> Fields:
    """Fields from ``name:kind`` words: d float64, f float32, q int64, i int32, b int8."""
    kinds = {"d": "<f8", "f": "<f4", "q": "<i8", "i": "<i4", "b": "|i1"}
    return [(name, kinds[kind], 1) for name, _, kind in (word.partition(":") for word in text.split())]


# Fields of each table, and whether it is written in bulk. The last field may hold more than one number.
TABLES: dict[str, tuple[Fields, bool]] = {
    "events": (_fields(
        "begin:d time:d event:q kind:i agent:i update:q source_epsilon_before:d target_epsilon_before:d "
        "source_epsilon:d target_epsilon:d"), False),
    "looks": ([
        *_fields("time:d event:q agent:i role:i layout:i identity:q"), ("picks", "<f4", PICKS), ("sums", "<i8", 1),
    ], False),
    "acts": (_fields(
        "time:d seconds:d event:q agent:i env:i forwards:i training:i sensitive:i size:i action:d epsilon_before:d "
        "epsilon:d"), True),
    "episodes": (_fields("time:d agent:i env:i"), False),
    "stored": (_fields(
        "time:d agent:i env:i episode:i step:i row:q index:q size:i chunks:i action:d reward:d done:i truncated:i "
        "has_next:i fed_size:i frames:q"), True),
    "epochs": (_fields("time:d agent:i epoch:i name:i value:d"), False),
    "sampled": (_fields(
        "time:d agent:i batch:q row:i rows:i update:q size:i next_size:i chunks:i action:d reward:d done:i valid:i "
        "discount:d index:q weight:d frames:q"), True),
    "updates": (_fields(
        "time:d begin:d event:q agent:i update:q count:i training:i sensitive:i size:i target_grad:i device:i "
        "looked:i loss:d mean_q:d max_q:d grad_norm:d optimizer_has:d optimizer_own:d learning_rate:d discount:d "
        "discount_low:d discount_high:d discount_rows:d terminal_error:d epsilon:d"), False),
}  # fmt: skip

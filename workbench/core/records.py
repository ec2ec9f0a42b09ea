"""Records: what a process tells the parent of its work, in tables of fixed-size records.

A table is a packed, little-endian structured dtype, the same in shared memory, in arrays and on disk. The core's own
tables are here; a hook brings others (:attr:`workbench.core.train.hooks.Hook.tables`). A metric is one field
of a table under a public name; the other fields say when and where a record was made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from workbench.core.sentences import beside, did_you_mean, said

# A structured array of shape (n,) whose dtype is that of a table.
Records: TypeAlias = npt.NDArray[np.void]


def _dtype(fields: str) -> np.dtype[np.void]:
    """The dtype of records whose fields are said as ``name:kind`` words."""
    return np.dtype([(name, f"<{kind}") for name, _, kind in (word.partition(":") for word in fields.split())])


_FIELDS = beside(__file__)
UPDATES, EPOCHS, EVENTS, EVALUATIONS, POINT = (
    _dtype(_FIELDS[name]) for name in ("updates", "epochs", "events", "evaluations", "point")
)


class EventKind(IntEnum):
    """What happened to a policy."""

    PUBLISH = 1  # a learner put a new version into the weight store
    SYNC = 2  # the actor took a version out of the weight store


@dataclass(frozen=True)
class RecordTable:
    """A table of records: of the core, or of a hook that measures something.

    Attributes:
        dtype: of a record.
        capacity: records per process that wait for the parent before the oldest is overwritten and counted as lost.
        axis: the column that its metrics are drawn over; "" where its records are no points of curves.
        words: columns whose numbers stand for words: number k for the k-th word.
    """

    dtype: np.dtype[np.void]
    capacity: int = 32768
    axis: Literal["", "update", "epoch"] = ""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One measured quantity: the one line that makes a field of a table a curve.

    Attributes:
        name: public name, ``group/quantity``.
        table: name of the table.
        field: of the table.
        unit: of one value.
        definition: what exactly is measured.
        over_agents: how the agents' values become one curve.
    """

    name: str
    table: str
    field: str
    unit: str
    definition: str
    over_agents: Literal["mean", "sum"] = "mean"


def words_of(kinds: type[IntEnum]) -> tuple[str, ...]:
    """The words of an enumeration by its numbers; a number that it leaves out has the empty word."""
    named = {kind.value: kind.name.lower() for kind in kinds}
    return tuple(named.get(number, "") for number in range(max(named) + 1))


# The core's tables, by name.
TABLES: dict[str, RecordTable] = {
    "updates": RecordTable(UPDATES, 16384, axis="update"),
    "epochs": RecordTable(EPOCHS, 4096, axis="epoch"),
    "events": RecordTable(EVENTS, 8192, words={"kind": words_of(EventKind)}),
    "evaluations": RecordTable(EVALUATIONS, 512, axis="epoch"),
}


def tables_with(brought: Iterable[Mapping[str, RecordTable]], metrics: Iterable[Metric] = ()) -> dict[str, RecordTable]:
    """The tables of a run, by name: the core's, those that hooks bring, and a float32 field for each metric.

    Raises:
        ValueError: two different tables have the same name, a metric belongs to no table or to one without an axis, or
            a table with an axis lacks a column of :data:`POINT`.
    """
    tables = dict(TABLES)
    for more in brought:
        for name, table in more.items():
            if tables.setdefault(name, table) != table:
                raise ValueError(f"two tables of records are named {name!r}; give the hook's table another name")
            if table.axis and not set(POINT.fields or ()) <= set(table.dtype.fields or ()):
                raise ValueError(f"table {name!r} has an axis and lacks time, agent, epoch or update; begin with POINT")
    for metric in metrics:
        if metric.table not in tables:
            raise ValueError(said("records.table", metric=metric, nearest=did_you_mean(metric.table, tables)))
        table = tables[metric.table]
        if not table.axis:
            raise ValueError(f"metric {metric.name!r} is of table {metric.table!r}, which has no axis; give it one")
        if metric.field not in (table.dtype.names or ()):
            tables[metric.table] = replace(table, dtype=np.dtype([*table.dtype.descr, (metric.field, "<f4")]))
    return tables

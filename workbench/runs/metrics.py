"""What a run measures: its tables of records and its metrics, as ``run.json`` says them.

The core's metrics are in ``metrics.md``, each with its definition, and the meaning of the other columns. A hook or an
agent brings its own (:attr:`workbench.core.train.hooks.Hook.metrics`). Readers of a run go by its :class:`Schema`.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np

from workbench.core.config import Config
from workbench.core.records import TABLES, Metric, RecordTable
from workbench.core.sentences import did_you_mean
from workbench.runs.sentences import rule
from workbench.runs.table import markdown_rows


def metrics_beside(module: str, tables: Container[str]) -> tuple[Metric, ...]:
    """The metrics of some tables that lie beside the file of a module, under the same name with ``.md``."""
    rows = [row for row in markdown_rows(Path(module).with_suffix(".md")) if len(row) == 6]  # else of another table
    return tuple(
        Metric(name.strip("`"), table, field.strip("`"), unit, definition, cast(Literal["mean", "sum"], over_agents))
        for name, table, field, unit, over_agents, definition in rows if table in tables
    )  # fmt: skip


# The core's metrics by name, as ``metrics.md`` lists them; it also says what the other columns of its tables are.
METRICS: dict[str, Metric] = {each.name: each for each in metrics_beside(__file__, TABLES)}


def loss_name(configs: Iterable[Config]) -> str:
    """What the agents of some configurations call their loss, for a label."""
    return " or ".join(dict.fromkeys(config.agent.loss for config in configs))


@dataclass(frozen=True)
class Schema:
    """The tables and metrics of one run, by name."""

    tables: Mapping[str, RecordTable] = field(default_factory=lambda: dict(TABLES))
    metrics: Mapping[str, Metric] = field(default_factory=lambda: dict(METRICS))

    @classmethod
    def of(cls, tables: Mapping[str, RecordTable], metrics: Iterable[Metric] = ()) -> Self:
        """The schema of a run with these tables, whose metrics are the core's and more.

        Raises:
            ValueError: two different metrics have the same name, or a name or a dtype is none that a file may have.
        """
        known = dict(METRICS)
        for each in metrics:
            if known.setdefault(each.name, each) != each:
                raise ValueError(f"two metrics are named {each.name!r}; give yours another name")
        return cls.from_dict(cls(tables, known).to_dict())

    def metric(self, name: str) -> Metric:
        """The metric of that public name.

        Raises:
            KeyError: there is none; the nearest names are given.
        """
        if name in self.metrics:
            return self.metrics[name]
        by_part = {part: each.name for each in self.metrics.values() for part in (each.name.split("/")[-1], each.field)}
        raise KeyError(f"there is no metric {name!r}; {did_you_mean(name, self.metrics, by_part)}")

    def axis(self, name: str) -> str:
        """The column that a metric is drawn over."""
        return self.tables[self.metric(name).table].axis

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. The capacity of a table, which says nothing of its records, is left out."""
        tables = {}
        for name, table in self.tables.items():
            fields = [[field, table.dtype[field].str] for field in table.dtype.names or ()]
            words = {column: list(each) for column, each in table.words.items()}
            tables[name] = {"fields": fields, "axis": table.axis, "words": words}
        return {"tables": tables, "metrics": [asdict(each) for each in self.metrics.values()]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, for what may come from anywhere.

        Raises:
            ValueError, KeyError: it is no such thing, or lacks a table or a field that every run has.
        """
        tables = {name: _table(name, **about) for name, about in rule(__file__)(data)["tables"].items()}
        for name, table in TABLES.items():
            if not set(table.dtype.descr) <= set(tables[name].dtype.descr):
                raise ValueError(f"table {name!r} lacks a field that it must have")
        metrics = [Metric(**each) for each in data["metrics"]]
        for each in metrics:
            if each.field not in (tables[each.table].dtype.names or ()) or not tables[each.table].axis:
                raise ValueError(f"metric {each.name!r} is none of its table")
        if missing := METRICS.keys() - {each.name for each in metrics}:
            raise ValueError(f"metric {min(missing)!r} is missing, which every run has")
        return cls(tables, {each.name: each for each in metrics})


def _table(name: str, fields: list[tuple[str, str]], axis: Any, words: dict[str, list[str]]) -> RecordTable:
    """A table as it is described in a file: of plain numbers, under names that are safe as names of files."""
    for text in (name, *(column for column, _ in fields)):
        if not NAME.fullmatch(text):
            raise ValueError(f"a table or field is named {text!r}; it must be small letters, digits and '_'")
    dtype = np.dtype([(column, kind) for column, kind in fields])
    if {axis, *words} - {"", *(dtype.names or ())}:
        raise ValueError(f"table {name!r} has words or an axis of no field")
    return RecordTable(dtype, axis=axis, words={column: tuple(each) for column, each in words.items()})


NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

"""The vocabulary is closed: every field of every table is explained exactly once."""

import re
from pathlib import Path

import pytest

from tests.unit.watched import SCHEMA, TABLES
from workbench.core.records import TABLES as CORE_TABLES
from workbench.runs import metrics
from workbench.runs.metrics import METRICS
from workbench.runs.table import markdown_rows

ROWS = markdown_rows(Path(metrics.__file__).with_suffix(".md"))
COLUMNS = {row[0].strip("`") for row in ROWS if len(row) == 2}


def test_every_field_is_a_metric_or_an_explained_column_and_never_both():
    for table in CORE_TABLES:
        dtype = TABLES[table]
        measured = [each.field for each in METRICS.values() if each.table == table]
        columns = [field for field in dtype.names if field not in measured]
        assert sorted(measured + columns) == sorted(dtype.names), table
        assert set(columns) <= COLUMNS, table


def test_no_column_is_explained_that_no_table_has():
    fields = {field for dtype in TABLES.values() for field in dtype.names}
    assert fields >= COLUMNS


@pytest.mark.parametrize("each", METRICS.values(), ids=METRICS)
def test_a_metric_has_a_grouped_name_a_unit_and_a_definition(each):
    assert re.fullmatch(r"[a-z]+/[a-z_]+", each.name)
    assert each.unit
    assert each.definition.endswith(".")
    assert CORE_TABLES[each.table].axis in TABLES[each.table].names


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_packed_and_the_same_on_every_machine(table):
    dtype = TABLES[table]
    assert dtype.itemsize == sum(dtype[field].itemsize for field in dtype.names)
    assert not dtype.hasobject
    assert all(dtype[field].str[0] in "<|" for field in dtype.names)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("losses/los", "losses/loss"), ("mean_q", "values/mean_q"), ("lag_ms", "sync/lag_ms")],
)
def test_an_unknown_name_is_refused_with_the_nearest(wrong, nearest):
    with pytest.raises(KeyError, match=f"{wrong}.*did you mean.*{nearest}"):
        SCHEMA.metric(wrong)


def test_a_name_like_no_other_is_refused_with_all_names():
    with pytest.raises(KeyError, match=r"known: losses/loss, .*charts/greedy_reward"):
        SCHEMA.metric("xyzzy")

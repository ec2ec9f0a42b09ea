"""What a run records that is watched by the probes and the timeline, as runs are unless somebody says otherwise."""

from workbench.core.records import tables_with
from workbench.diagnose.measurements import PROBE_TABLES
from workbench.runs.metrics import Schema
from workbench.view.system import SystemLoad
from workbench.view.timeline.spans import SPAN_TABLES

SCHEMA = Schema.of(tables_with([PROBE_TABLES, SPAN_TABLES, SystemLoad.tables], SystemLoad.metrics), SystemLoad.metrics)
TABLES = {name: table.dtype for name, table in SCHEMA.tables.items()}
"""Dtypes, by the name of the table."""

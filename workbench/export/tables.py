"""The tables of a history as pandas frames, CSV and Parquet: one row per record, with the run it belongs to.

Every field keeps its name, type and unit (:mod:`workbench.runs.metrics`). What is a number there and a word for
people is written as the word, as the run's schema has it: the kind of an event, the measurement of a probe.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from workbench.export.needed import need
from workbench.runs.compare import runs_of
from workbench.runs.files import at, whole_file
from workbench.runs.limits import check_tables
from workbench.runs.loaded import RunView
from workbench.runs.table import plain

if TYPE_CHECKING:
    import pandas as pd

# A run, or several.
Runs = RunView | Sequence[RunView]
# Columns that say which run a row is of, and their types; ``lag`` is missing where a run is free-running.
RUN_COLUMNS = {"run": "str", "mode": "str", "lag": "Int64", "faults": "str", "seed": "int64"}


def to_pandas(runs: Runs) -> "dict[str, pd.DataFrame]":
    """Every table of one or more runs, as far as they are. A run has no rows in a table that it lacks.

    Args:
        runs: live or loaded; the rows of several follow each other.

    Returns:
        Name of the table to a frame with :data:`RUN_COLUMNS` and the fields of the table, in the order of arrival.

    Raises:
        ConfigError: there are no runs.
        ExportError: pandas is not installed.
    """
    pandas = need("pandas")
    frames: dict[str, list[pd.DataFrame]] = {}
    for name, run in _named(runs_of(runs, "export")).items():
        check_tables(run.history)
        for table in run.history.schema.tables:
            frames.setdefault(table, []).append(_frame(pandas, name, run, table))
    return {table: pandas.concat(each, ignore_index=True) for table, each in frames.items()}


def to_csv(runs: Runs, out: Path | str) -> list[Path]:
    """One CSV file per table, in a folder.

    Numbers are written so that reading them into the type of their field gives the same bits.

    Args:
        runs: live or loaded.
        out: folder; it is made if it is not there, and files of the same names are replaced.

    Returns:
        The files: ``updates.csv``, ``epochs.csv`` and so on.

    Raises:
        ConfigError: there are no runs.
        ExportError: pandas is not installed.
    """

    def write(frame: "pd.DataFrame", file: BinaryIO) -> None:
        words = {name: column.map(_cell) for name, column in frame.items() if column.dtype == "str"}
        frame.assign(**words).to_csv(file, index=False, lineterminator="\n")

    return _save(runs, out, ".csv", write)


def to_parquet(runs: Runs, out: Path | str) -> list[Path]:
    """One Parquet file per table, in a folder, with the runs' descriptions in each file's metadata.

    ``pandas.read_parquet("epochs.parquet")`` gives the frame of :func:`to_pandas` back;
    ``json.loads(pyarrow.parquet.read_schema("epochs.parquet").metadata[b"workbench"])`` the descriptions, by name.

    Args:
        runs: live or loaded.
        out: folder; it is made if it is not there, and files of the same names are replaced.

    Returns:
        The files: ``updates.parquet``, ``epochs.parquet`` and so on.

    Raises:
        ConfigError: there are no runs.
        ExportError: pandas or pyarrow is not installed.
    """
    arrow, parquet, runs = need("pyarrow"), need("pyarrow.parquet"), runs_of(runs, "export")
    about = json.dumps({name: run.folder.read_description() for name, run in _named(runs).items()}).encode()

    def write(frame: "pd.DataFrame", file: BinaryIO) -> None:
        table = arrow.Table.from_pandas(frame, preserve_index=False)
        parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, b"workbench": about}), file)

    return _save(runs, out, ".parquet", write)


def _cell(text: str) -> str:
    """Text for a spreadsheet, which computes what begins like a formula."""
    return f"'{plain(text)}" if text.startswith(("=", "+", "-", "@")) else plain(text)


def _named(runs: Sequence[RunView]) -> dict[str, RunView]:
    """Runs by name; those of different folders that share one by their path."""
    names = [path.name for path in {run.folder.path for run in runs}]
    return {str(run.folder.path) if names.count(run.name) > 1 else run.name: run for run in runs}


def _frame(pandas: Any, name: str, run: RunView, table: str) -> "pd.DataFrame":
    records, words_of = run.history.table(table), run.history.schema.tables[table].words
    known = {field: dict(enumerate(words)) for field, words in words_of.items()}
    which = (name, run.mode, run.lag, " ".join(run.faults), run.config.seed)
    fields = {field: np.ascontiguousarray(records[field]) for field in records.dtype.names or ()}
    words = {field: [of.get(each, str(each)) for each in fields[field].tolist()] for field, of in known.items()}
    columns = dict(zip(RUN_COLUMNS, which, strict=True)) | fields | words
    frame: pd.DataFrame = pandas.DataFrame(columns, range(len(records)))
    return frame.astype(RUN_COLUMNS | dict.fromkeys(words, "str"))


def _save(runs: Runs, out: Path | str, suffix: str, write: "Callable[[pd.DataFrame, BinaryIO], None]") -> list[Path]:
    frames = {at(out) / f"{table}{suffix}": frame for table, frame in to_pandas(runs).items()}
    at(out).mkdir(parents=True, exist_ok=True)
    for path, frame in frames.items():
        with whole_file(path) as file:
            write(frame, file)
    return list(frames)

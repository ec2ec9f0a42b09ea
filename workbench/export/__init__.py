"""A run for other tools and other people: pandas, CSV, Parquet, TensorBoard, and one archive to send.

    import workbench.export as export

    export.to_pandas(run)["epochs"]              # a DataFrame of every table
    export.to_parquet(run, "parquet")            # one file per table
    export.to_tensorboard(run, "logs")           # tensorboard --logdir logs
    export.to_safetensors(run, "weights")        # the newest weights, by name
    run.log_to(export.TensorBoard("live"))       # live, and to any tracker with the same four methods
    export.archive(run, "run.tar.gz")            # and export.unpack("run.tar.gz") at the other end
    run.to_pandas(), run.export("csv", "tables") # the same, as methods of a run

Tables, safetensors and TensorBoard need packages that the extra ``export`` brings; archives need none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from workbench.export.archive import archive, unpack
from workbench.export.needed import ExportError, check
from workbench.export.safetensors import to_safetensors
from workbench.export.tables import to_csv, to_pandas, to_parquet
from workbench.export.trackers import TensorBoard, Tracker, log_to, to_tensorboard
from workbench.runs.loaded import RunView

__all__ = [
    "FORMATS", "ExportError", "Format", "TensorBoard", "Tracker", "archive", "log_to", "to_csv", "to_pandas",
    "to_parquet", "to_safetensors", "to_tensorboard", "unpack", "write",
]  # fmt: skip

Format = Literal["csv", "parquet", "safetensors", "tensorboard", "archive"]

# What a run can be written as, and how.
FORMATS: dict[Format, Callable[[RunView, Path | str], list[Path]]] = {
    "csv": to_csv, "parquet": to_parquet, "safetensors": to_safetensors, "tensorboard": to_tensorboard,
    "archive": lambda run, out: [archive(run, out)],
}  # fmt: skip


def write(run: RunView, to: Format, out: Path | str) -> list[Path]:
    """Write a run for other tools or other people: ``run.export("csv", "tables")``.

    Args:
        run: live or loaded; an archive needs one that has ended.
        to: "csv" or "parquet" (a file per table), "safetensors" (the newest weights), "tensorboard" (event files),
            "archive" (the run folder as one file).
        out: folder to write to; for an archive a file that ends in ``.tar.gz``, or a folder.

    Returns:
        The files.

    Raises:
        ExportError: there is no such format, a package is not installed, or the run cannot be written as that.
    """
    check(to in FORMATS, f"a run cannot be exported to {to!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[to](run, out)

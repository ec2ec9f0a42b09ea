"""A run for other tools and other people: pandas, CSV, Parquet, TensorBoard, and one archive to send.

    import workbench.export as export

    export.to_pandas(run)["epochs"]              # a DataFrame of every table
    export.to_parquet(run, "parquet")            # one file per table
    export.to_tensorboard(run, "logs")           # tensorboard --logdir logs
    export.archive(run, "run.tar.gz")            # and export.unpack("run.tar.gz") at the other end

Tables and TensorBoard need packages that the extra ``export`` brings; archives need none.
"""

from workbench.export.archive import archive, unpack
from workbench.export.needed import ExportError
from workbench.export.tables import to_csv, to_pandas, to_parquet
from workbench.export.tensorboard import to_tensorboard

__all__ = ["ExportError", "archive", "to_csv", "to_pandas", "to_parquet", "to_tensorboard", "unpack"]

"""Where the cells of a sweep run, if one machine is not enough: a cluster of dask, Slurm or Ray."""

import importlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from workbench.core.config import ConfigError
from workbench.core.settings import require
from workbench.sweep.cells import LOOK_S, Cell

# Tasks that are handed to an engine at once, which queues them itself.
MOST_WAITING = 1000


class Remote(ThreadPoolExecutor):
    """An executor over an engine that has none: a thread for each task hands it over and waits for it.

    Example:
        ``Remote(lambda function, *arguments: engine.call(function, *arguments))``
    """

    def __init__(self, call: Callable[..., Any], at_once: int = MOST_WAITING) -> None:
        """``call(function, *arguments)`` calls a function elsewhere and returns what it returned."""
        super().__init__(at_once, "remote")
        self._call = call

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """As every executor's."""
        return super().submit(self._call, function, *arguments, **named)


def executor(on: str, address: str | None = None, **options: Any) -> Executor | None:
    """The executor that ``workbench sweep --on`` names; None for threads of this process.

    Every worker needs this package and the folder of the runs, on a disk that all share.

    Args:
        on: "local", "dask" (the cluster at ``address``; else two worker processes here), "slurm" (submitit; its logs
            go to the folder at ``address``), or "ray" (the cluster at ``address``, else one that is started here).
        address: where the cluster is, or the logs go.
        options: for ``AutoExecutor.update_parameters`` of submitit, ``Client`` of dask or ``ray.init``.

    Raises:
        ConfigError: there is no such engine, or its package is not installed.
    """
    engines = {"dask": _dask, "slurm": _slurm, "ray": _ray}
    require(on == "local" or on in engines, "on", on, "choose one of local, dask, slurm, ray")
    try:
        return engines[on](address, options) if on in engines else None
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; install it with: pip install 'workbench[{on}]'") from None


def _dask(address: str | None, options: dict[str, Any]) -> Executor:
    client = importlib.import_module("distributed").Client
    here = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    made: Executor = (client(address, **options) if address else client(**here | options)).get_executor(pure=False)
    return made


def _slurm(address: str | None, options: dict[str, Any]) -> Executor:
    engine = importlib.import_module("submitit").AutoExecutor(folder=address or "slurm-logs")
    engine.update_parameters(**options)

    def call(function: Callable[[Cell], Any], cell: Cell) -> Any:
        """Submit a cell as a job and wait for it."""
        job = engine.submit(function, cell)
        while not job.done():
            if cell.stopped and job.state == "PENDING":  # one that runs sees it by itself
                job.cancel()
            time.sleep(LOOK_S)
        return job.result()

    return Remote(call)


def _ray(address: str | None, options: dict[str, Any]) -> Executor:
    ray = importlib.import_module("ray")
    ray.init(address, ignore_reinit_error=True, **options)

    def call(function: Callable[[Cell], Any], cell: Cell) -> Any:
        most = max(node["Resources"].get("CPU", 1) for node in ray.nodes())  # it would wait for more without end
        plain = ray.remote(num_cpus=min(cell.cores, most))(lambda: function(cell))  # it takes nothing that is bound
        return ray.get(plain.remote())

    return Remote(call)

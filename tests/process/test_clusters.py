"""Sweeps on engines of clusters, as far as one machine can show it; each where its package is installed.

Dask with a worker that is killed, submitit, Ray with a task that is cancelled, joblib's workers, and daemonic pools.
"""

import functools
import os
import signal
from multiprocessing import get_context

import psutil
import pytest

import workbench as wb
from workbench import api
from workbench.sweep.cells import run_cell
from workbench.sweep.executors import Remote, executor

pytestmark = pytest.mark.slow
CONFIG = wb.preset("tiny").replace(device="cpu")


def digests(made):
    return {(run.config.seed, run.mode): run.result.digest for run in made.runs}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the cells give on threads of this process."""
    return digests(wb.sweep(CONFIG, FIELDS, lag=0, out=tmp_path_factory.mktemp("plain")).wait())


FIELDS = {"seed": [0], "mode": ["sequential", "multiprocess"]}


@pytest.mark.filterwarnings("ignore")  # of the engine's own
def test_a_dask_cluster_finishes_a_sweep_whose_worker_is_killed(plain, tmp_path):
    distributed = pytest.importorskip("distributed")
    engine = executor("dask")
    client = distributed.default_client()
    try:
        with wb.sweep(CONFIG, FIELDS, lag=0, executor=engine, out=tmp_path) as made:
            while not wb.runs(tmp_path):
                with pytest.raises(TimeoutError):
                    made.wait(0.05)
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            made.wait()
        assert digests(made) == plain
    finally:
        client.shutdown()


def test_jobs_of_submitit_give_what_threads_give(plain, tmp_path):
    """Its local executor stands in for Slurm, which is called in the same way."""
    submitit = pytest.importorskip("submitit")
    jobs = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="local")
    jobs.update_parameters(timeout_min=5)
    with Remote(lambda function, *arguments: jobs.submit(function, *arguments).result(), 2) as engine:
        made = wb.sweep(CONFIG, FIELDS, lag=0, executor=engine, out=tmp_path / "runs").wait()
    assert digests(made) == plain


RUN_CELL = functools.partial(run_cell, api.launch, api.resume)


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, which takes up to a minute to start."""
    found = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        yield found
        found.shutdown()


def on_ray():
    return executor("ray", include_dashboard=False, num_cpus=2, _node_ip_address="127.0.0.1")


@pytest.mark.filterwarnings("ignore")  # of the engine's own
def test_tasks_of_ray_give_what_threads_give(ray, plain, tmp_path):
    made = wb.sweep(CONFIG, FIELDS, lag=0, executor=on_ray(), out=tmp_path).wait()
    assert digests(made) == plain


@pytest.mark.filterwarnings("ignore")  # of the engine's own
@pytest.mark.parametrize("of_a_sweep", [True, False], ids=["cell", "run"])
def test_a_task_of_ray_that_is_cancelled_ends_its_children(ray, of_a_sweep, tmp_path):
    """A cell of a sweep does so by itself, a run as the context manager that it is."""
    on_ray()
    endless = CONFIG.replace(epochs=1_000_000)
    (cell,) = wb.sweep(endless, {"seed": [0]}, lag=0, out=tmp_path, start=False).cells

    def work():
        if of_a_sweep:
            return RUN_CELL(cell)
        with wb.launch(endless, "multiprocess", 0, out=tmp_path) as run:
            return run.wait()

    task = ray.remote(num_cpus=1)(work).remote()
    while not (found := wb.runs(tmp_path, status="running")):
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get(task, timeout=0.05)
    worker = psutil.Process(found[0].load().description["machine"]["pid"])
    children = [each for each in worker.children(recursive=True) if each.name().startswith(("actor", "learner"))]
    assert len(children) == 3
    ray.cancel(task)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(task)
    assert psutil.wait_procs(children, timeout=60)[1] == [] and worker.is_running()
    assert [run.status for run in wb.runs(tmp_path)] == ["stopped"]


@pytest.mark.filterwarnings("ignore")  # of the engine's own
def test_workers_of_joblib_give_what_threads_give(plain, tmp_path):
    """Its default backend, loky, gives them a start method of its own."""
    joblib = pytest.importorskip("joblib")
    made = wb.sweep(CONFIG, FIELDS, lag=0, out=tmp_path, start=False)
    results = joblib.Parallel(n_jobs=2, temp_folder=tmp_path / "joblib")(
        joblib.delayed(RUN_CELL)(cell) for cell in made.cells
    )
    assert {(0, each.mode): each.digest for each in results} == plain
    joblib.externals.loky.get_reusable_executor().shutdown()


def test_daemonic_workers_give_what_threads_give(plain, tmp_path):
    """Those of a pool may have no children by multiprocessing; ours come from a server of their own."""
    made = wb.sweep(CONFIG, FIELDS, lag=0, out=tmp_path, start=False)
    with get_context("spawn").Pool(2) as pool:
        results = pool.map(RUN_CELL, made.cells)
    assert {(0, each.mode): each.digest for each in results} == plain

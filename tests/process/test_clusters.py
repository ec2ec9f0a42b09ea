"""Sweeps on engines of clusters, as far as one machine can show it: dask with a worker that is killed, and submitit."""

import os
import signal

import pytest

import workbench as wb
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

"""What a sweep makes of its fields, and what it does with cells, without a process."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import workbench as wb
from tests.unit.finished import finished_run
from workbench.cli import main
from workbench.runs import limits, machine
from workbench.runs.statistics import mean_and_half_width, student_t
from workbench.sweep.cells import points
from workbench.sweep.executors import Remote, executor
from workbench.sweep.sweep import at_once_here

CONFIG = wb.preset("tiny").replace(device="cpu")


def sweep(fields, out, **options):
    return wb.sweep(CONFIG, fields, out=out, start=False, **options)


def test_a_grid_has_every_combination_the_last_field_fastest():
    assert points({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


def test_random_cells_are_the_same_each_time_and_each_is_there_once():
    fields = {"a": range(4), "b": lambda rng: float(rng.uniform())}
    assert points(fields, 6) == points(fields, 6) != points(fields, 6, seed=1)
    few = points({"a": range(3)}, 10)
    assert sorted(each["a"] for each in few) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {}, "nothing is swept"),
        ({"seed": []}, {}, "seed is swept over"),
        ({"seed": "123"}, {}, "give a list"),
        ({"sead": [1]}, {}, "did you mean seed"),
        ({"lag": [-1]}, {}, "lag is -1"),
        ({"learning.tau": [0.1, 7.0]}, {}, "learning.tau is 7.0"),
        ({"seed": lambda rng: 1}, {}, "say how many cells"),
        ({"seed": [1]}, {"random": 0}, "random is 0"),
        ({"seed": [1]}, {"at_once": 0}, "at_once is 0"),
    ],
)
def test_what_is_refused_is_refused_before_anything_runs(tmp_path, fields, options, message):
    with pytest.raises(wb.ConfigError, match=message):
        sweep(fields, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_cell_is_named_by_all_that_its_run_depends_on(tmp_path):
    one, two = sweep({"seed": [3], "learning.learning_rate": [1e-3, 2e-3]}, tmp_path).cells
    assert one.name.startswith("seed3-learning_rate0.001-") and one.name != two.name
    again = sweep({"seed": [3], "learning.learning_rate": [1e-3]}, tmp_path, name="other").cells[0]
    assert again.name == one.name
    assert sweep({"seed": [3], "learning.learning_rate": [1e-3]}, tmp_path, lag=0).cells[0].name != one.name


def test_threads_are_as_many_as_cores_and_memory_allow(tmp_path, monkeypatch):
    made = sweep({"seed": range(9)}, tmp_path, mode="sequential")
    monkeypatch.setattr(machine, "cores", lambda: 6)
    assert at_once_here(made.cells) == 6
    assert at_once_here(sweep({"seed": range(9)}, tmp_path).cells) == 2  # an actor and two learners each
    monkeypatch.setattr(limits, "memory_available", lambda: 500 * 2**20)
    assert at_once_here(made.cells) == 2


def test_any_executor_runs_the_cells_and_a_failure_does_not_end_the_others(tmp_path):
    """As many at a time as there are threads; a bad cell is named at the end."""
    calls, together = [], threading.Barrier(2)

    def call(function, cell):
        together.wait()
        calls.append(cell.name)
        if cell.values["seed"] == 2:
            raise OSError("no space")

    with Remote(call, at_once=2) as engine:
        made = sweep({"seed": range(4)}, tmp_path, executor=engine).start()
        with pytest.raises(wb.RunError, match=r"1 of 4 cells did not finish: seed2-.*no space"):
            made.wait()
    assert len(calls) == 4 and made.ended
    with pytest.raises(wb.RunError, match="started before"):
        made.start()


def test_cells_that_have_not_begun_are_cancelled_by_a_stop(tmp_path):
    pool, begun, free = ThreadPoolExecutor(1), threading.Event(), threading.Event()
    pool.submit(lambda: (begun.set(), free.wait()))
    begun.wait()
    made = sweep({"seed": range(2)}, tmp_path, executor=pool).start()
    with pytest.raises(TimeoutError, match="it continues"):
        made.wait(0)
    made.stop()
    free.set()
    pool.shutdown()
    assert set(made.failures) == {cell.name for cell in made.cells} and not list(tmp_path.glob("seed*"))


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(wb.ConfigError, match=r"pip install 'workbench\[ray\]'"):
        executor("ray")
    with pytest.raises(wb.ConfigError, match="choose one of local, dask, slurm, ray"):
        executor("spark")
    assert executor("local") is None


@pytest.mark.parametrize(
    "freedom, t", [(1, 12.706), (3, 3.1824), (8, 2.3060), (9, 2.2622), (30, 2.0423), (999, 1.9623)]
)
def test_quantiles_are_those_of_students_t(freedom, t):
    assert student_t(freedom) == pytest.approx(t, rel=2e-4)


def test_an_interval_needs_two_values():
    assert mean_and_half_width([1.0, 2.0, 3.0])[1] == pytest.approx(2.484, abs=1e-3)
    assert np.isnan(mean_and_half_width([1.0])[1]) and np.isnan(mean_and_half_width([])[0])


def test_the_command_says_what_is_wrong_with_a_field(tmp_path, capsys):
    assert main(["sweep", "--preset", "tiny", "--over", "seed", "--out", str(tmp_path)]) == 2
    assert "it takes a setting and its values" in capsys.readouterr().err
    assert main(["sweep", "--preset", "tiny", "--out", str(tmp_path)]) == 2
    assert "nothing is swept" in capsys.readouterr().err


def test_the_figure_draws_each_field_and_a_heat_map_of_two(tmp_path):
    for place, (rate, batch) in enumerate(itertools.product((1e-3, 3e-3), (8, 16))):
        changed = CONFIG.replace(**{"learning.learning_rate": rate, "learning.batch_size": batch})
        for seed in range(2):
            finished_run(tmp_path, seed=seed, config=changed, name=f"run-{place}-{seed}")
    figure = wb.report.make(tmp_path, figures=["sweep"])["sweep"]
    assert figure.table.head == ("learning.batch_size", "learning.learning_rate", "greedy reward per epoch", "runs")
    assert {row[2] for row in figure.table.rows} == {"50.50 ± 6.35"} and len(figure.picture.axes) == 3
    with pytest.raises(wb.report.ReportError, match="differ in none"):
        wb.report.make(tmp_path / "run-0-0", figures=["sweep"])

"""What a sweep makes of its fields, and what it does with cells, without a process."""

import errno
import functools
import inspect
import itertools
import json
import os
import platform
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.unit.finished import finished_run
from workbench.cli import main
from workbench.diagnose import faults
from workbench.runs import limits, machine
from workbench.runs.folder import RunFolder
from workbench.runs.statistics import mean_and_half_width, student_t, with_interval
from workbench.sweep.cells import points, run_cell
from workbench.sweep.executors import Remote, executor
from workbench.sweep.sweep import at_once_here

CONFIG = wb.preset("tiny").replace(device="cpu")


def sweep(fields, out, config=None, **options):
    return wb.sweep(CONFIG.replace(**config or {}), fields, out=out, start=False, **options)


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
        ({"seed": []}, {}, "a sweep needs a list of values"),
        ({"seed": "123"}, {}, "a sweep needs a list"),
        ({"seed": 5}, {}, "seed is 5; a sweep needs a list"),
        ({"seed": range(10**12)}, {}, "the sweep has 1,000,000,000,000 cells, and may have 100,000; give fewer"),
        ({"sead": [1]}, {}, "did you mean seed"),
        ({"lag": [-1]}, {}, "lag is -1"),
        ({"learning.tau": [0.1, 7.0]}, {}, "learning.tau is 7.0"),
        ({"seed": lambda rng: 1}, {}, "say how many cells"),
        ({"seed": [1]}, {"random": 0}, "random is 0"),
        ({"seed": [1]}, {"at_once": 0}, "at_once is 0"),
        ([("seed", [1])], {}, "nothing is swept: .*; give settings with values"),
        ({3: [1]}, {}, "nothing is swept: .*; give settings with values"),
        ({"seed": [1]}, {"random": float("nan")}, "random is nan; it must be 1 or more"),
        ({"seed": [1]}, {"random": "3"}, "random is '3'; it must be 1 or more"),
        ({"seed": [1]}, {"at_once": float("nan")}, "at_once is nan; it must be 1 or more"),
        ({"seed": [1]}, {"name": "a/b"}, "the sweep's name is 'a/b'"),
        ({"seed": [1]}, {"fault": ["sync_never"]}, "no option 'fault'; did you mean faults"),
        ({"seed": [1]}, {"relations": {}}, "no option 'relations'"),
        ({"seed": [1]}, {"world": "treasure"}, "did you mean treasurehunt"),
        ({"seed": [1]}, {"weights": object()}, "cannot be an option of a sweep"),
        ({"seed": np.array(5)}, {}, "seed is 5; a sweep needs a list"),
        ({"seed": {1: 2}}, {}, "seed is {1: 2}; a sweep needs a list"),
        ({"seed": b"12"}, {}, "seed is b'12'; a sweep needs a list"),
        (
            {"seed": lambda rng: int(rng.integers(10**12))},
            {"random": 10**9},
            "1,000,000,000 cells, and may have 100,000",
        ),
        ({"seed": [1]}, {"random": 1, "random_seed": -1}, "random_seed is -1; it must be 0 or more"),
        ({"seed": [1]}, {"executor": "dask"}, r"executor is 'dask'; it must have a submit\(\)"),
        ({"seed": [1]}, {"faults": ["sync_newer"]}, "did you mean sync_never"),
        ({"seed": [1], "mode": ["multiprocess", "sequential"]}, {"faults": ["kill_learner"]}, "makes no sense here"),
        ({"seed": [1]}, {"tags": "abc"}, "tags are 'abc'"),
    ],
)
def test_what_is_refused_is_refused_before_anything_runs(tmp_path, fields, options, message):
    with pytest.raises(wb.ConfigError, match=message):
        sweep(fields, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_values_may_come_as_an_array_a_column_or_a_set_whose_order_is_the_same_in_every_process(tmp_path):
    column = pd.DataFrame({"seed": [0, 3, 4]})["seed"][1:]
    for values in (np.array([3, 4]), column, {4, 3}, {3: 0, 4: 0}.keys()):
        assert [cell.values["seed"] for cell in sweep({"seed": values}, tmp_path).cells] == [3, 4]
        drawn = [cell.name for cell in sweep({"seed": values}, tmp_path, random=2).cells]
        assert drawn == [cell.name for cell in sweep({"seed": [3, 4]}, tmp_path, random=2).cells]


def test_a_cell_is_named_by_all_that_its_run_depends_on(tmp_path):
    one, two = sweep({"seed": [3], "learning.learning_rate": [1e-3, 2e-3]}, tmp_path).cells
    assert one.name.startswith("learning_rate0.001-seed3-") and one.name != two.name
    again = sweep({"learning.learning_rate": [1e-3], "seed": [3]}, tmp_path, name="other", note="n", tags=["t"]).cells[
        0
    ]
    assert again.name == one.name
    assert len({sweep({"seed": [3]}, tmp_path, faults=[faults.make("sync_rarely=9")]).cells[0].name for _ in "12"}) == 1
    long, other = np.zeros(3000, np.float32), np.eye(1, 3000, 1500, dtype=np.float32)[0]
    assert len({sweep({"seed": [3]}, tmp_path, weights=each).cells[0].name for each in (long, other, other)}) == 2
    assert sweep({"seed": [3], "learning.learning_rate": [1e-3]}, tmp_path, lag=0).cells[0].name != one.name


def test_a_draw_of_more_cells_than_there_are_ends_with_all_of_them(tmp_path):
    assert sorted(each["seed"] for each in points({"seed": range(40)}, random=10**9)) == list(range(40))


def test_what_is_said_twice_is_one_cell_and_other_cells_are_another_sweep(tmp_path):
    assert len(sweep({"seed": [0, 0, 1, 1.0, np.int64(1)]}, tmp_path).cells) == 2
    assert len(wb.compare(CONFIG, seeds=iter([0, 0, 1]), out=tmp_path, start=False).cells) == 4
    assert sweep({"seed": [0, 1]}, tmp_path).name == sweep({"seed": [1, 0]}, tmp_path).name
    assert sweep({"seed": [0]}, tmp_path).name != sweep({"seed": [1]}, tmp_path).name
    for seeds in ([], 5):
        with pytest.raises(wb.ConfigError, match="a sweep needs a list of values"):
            wb.compare(CONFIG, seeds=seeds, out=tmp_path, start=False)


def begin(cell):
    """Where the run of a cell comes from."""

    class Over:
        unsaved, folder = (), RunFolder(cell.path)

        def __init__(self, said):
            self.said = said

        def wait(self, seconds):
            return self.said

        def stop(self):
            pass

    launched = run_cell(lambda *_, **__: Over("launched"), lambda *_, **__: Over("resumed"), cell)
    return launched if isinstance(launched, str) else launched.status


def test_a_cell_is_done_only_if_its_folder_holds_that_very_run(tmp_path):
    (cell,) = sweep({"seed": [3]}, tmp_path).cells

    def folder(**options):
        return finished_run(
            tmp_path, cell.mode, cell.lag, 3, config=options.pop("config", CONFIG), name=cell.name, **options
        )

    assert begin(cell) == "launched"
    path = folder()
    assert begin(cell) == "finished"
    (path / "result.json").unlink()
    assert begin(cell) == "launched" and not path.exists()
    path = folder(config=CONFIG.replace(epochs=13))
    with pytest.raises(wb.RecordError, match=r"not the run that the sweep wants: epochs is 13, not 12;"):
        begin(cell)
    made = sweep({"seed": [3]}, tmp_path)
    assert made.rows[0]["status"] == "changed: epochs" and made.rows[0]["greedy_reward"] is None
    assert not made.finished and "1 changed: epochs" in made.table.text
    RunFolder(path).remove()
    path = folder(status="stopped")
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "epoch-00000004.npz").touch()
    assert begin(cell) == "resumed"
    (path / "run.json").unlink()  # a kill between two steps
    assert begin(cell) == "launched" and not path.exists()


@pytest.mark.parametrize("what", ["a file", "a pipe", "a link", "a folder of somebody", "a file in the run's folder"])
def test_what_no_run_has_made_is_kept_named_and_not_waited_for(what, tmp_path):
    (cell,) = sweep({"seed": [3]}, tmp_path / "out").cells
    (tmp_path / "out").mkdir()
    path, theirs = cell.path, tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("mine")
    if what == "a file":
        path.write_text("mine")
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a link":
        path.symlink_to(theirs)
    elif what == "a folder of somebody":
        path = theirs.rename(path)
    else:
        finished_run(tmp_path / "out", cell.mode, cell.lag, 3, name=cell.name, status="stopped")
        (path / "thesis.txt").write_text("mine")
    with pytest.raises(wb.RecordError, match=f"{cell.name} (is no folder for a run|holds 'thesis.txt')"):
        begin(cell)
    assert what == "a pipe" or "mine" in (path if what == "a file" else path / "thesis.txt").read_text()


@pytest.mark.parametrize("moved", [False, True])
def test_a_cell_that_left_nothing_in_its_folder_has_not_finished(moved, tmp_path):
    (cell,) = sweep({"seed": [3]}, tmp_path).cells
    run = SimpleNamespace(
        wait=lambda seconds: "result", stop=lambda: None, unsaved=[] if moved else ["result"], warnings=["no room"],
        folder=RunFolder(tmp_path / "elsewhere" if moved else cell.path),
    )  # fmt: skip
    with pytest.raises(wb.RunError, match="it finished in .*elsewhere, where" if moved else "result are lost: no room"):
        run_cell(lambda *_, **__: run, None, cell)


def test_a_cell_whose_end_the_disk_refused_can_be_tried_again_in_the_same_notebook(tmp_path):
    """Its folder says for good that it is running, in a process that is there."""
    (cell,) = sweep({"seed": [3]}, tmp_path).cells
    full = SimpleNamespace(wait=lambda seconds: "result", stop=lambda: None, unsaved=["result"], warnings=["no room"])
    with pytest.raises(wb.RunError, match="result are lost: no room"):
        run_cell(lambda *_, **__: full, None, cell)
    path = finished_run(tmp_path, cell.mode, cell.lag, 3, name=cell.name, status="running")
    head = json.loads((path / "run.json").read_text())
    head["description"] |= {"machine": {"host": platform.node(), "pid": os.getpid()}}
    (path / "run.json").write_text(json.dumps(head))
    assert begin(cell) == "launched"


def test_the_file_that_stops_a_sweep_is_no_way_to_another_file(tmp_path):
    made = sweep({"seed": [3]}, tmp_path / "out")
    (tmp_path / "out").mkdir()
    made.cells[0].stop_file.symlink_to(tmp_path / "elsewhere")
    assert made.cells[0].stopped
    made.stop()
    assert not (tmp_path / "elsewhere").exists()


def test_the_run_of_another_worker_is_left_alone(tmp_path):
    (cell,) = sweep({"seed": [3]}, tmp_path).cells
    path = finished_run(tmp_path, cell.mode, cell.lag, 3, name=cell.name, status="stopped")
    held = RunFolder(path)
    held.hold()
    with pytest.raises(wb.RecordError, match="in use by another run"):
        begin(cell)
    held.release()
    head = json.loads((path / "run.json").read_text())
    head["description"] |= {"status": "created", "machine": {"host": platform.node(), "pid": os.getpid()}}
    (path / "run.json").write_text(json.dumps(head))
    with pytest.raises(wb.RecordError, match="in use by another run"):
        begin(cell)
    assert (path / "run.json").exists()


def test_a_sweep_that_was_only_looked_at_does_not_stop_the_same_one_elsewhere(tmp_path):
    with sweep({"seed": range(3)}, tmp_path) as looked_at:
        assert "3 waiting" in looked_at.table.text
    assert not looked_at.cells[0].stopped and not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_file_does_not_keep_a_sweep_from_stopping(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EDQUOT, "no room")

    def launch(*_, **__):
        def wait(seconds):
            begun.set()
            raise TimeoutError

        return SimpleNamespace(wait=wait, stop=lambda: None, status="running")

    begun = threading.Event()
    made = sweep({"seed": range(2)}, tmp_path, at_once=1)
    made._run_cell = functools.partial(run_cell, launch, None)
    monkeypatch.setattr(sys.modules["workbench.sweep.sweep"], "private", refuse)
    with made.start():
        begun.wait()
    first, second = (str(error) for error in made.failures.values())
    assert "was stopped while" in first and second == "cancelled" and not list(tmp_path.iterdir())
    assert sweep({"seed": range(2)}, tmp_path).cells[0].stopped
    made = sweep({"seed": range(2)}, tmp_path, executor=Remote(lambda *_: None)).start().wait()
    assert not made.cells[0].stopped


def test_an_error_without_words_is_told_by_its_kind(tmp_path):
    def call(*_):
        raise MemoryError

    with Remote(call) as engine, pytest.raises(wb.RunError, match=r"1 of 1 cells .*: seed3-.*: MemoryError\(\)"):
        sweep({"seed": [3]}, tmp_path, executor=engine).start().wait()


def test_a_sweep_that_did_not_begin_or_began_in_part_can_be_stopped(tmp_path):
    with sweep({"seed": range(3)}, tmp_path) as made:
        made.stop()

    class Full(ThreadPoolExecutor):
        def submit(self, function, cell):
            if cell.values["seed"] == 1:
                raise OSError("no room")
            return super().submit(lambda: None)

    with (
        Full(1) as engine,
        pytest.raises(OSError, match="no room"),
        sweep({"seed": range(3)}, tmp_path, executor=engine) as made,
    ):
        made.start()
    assert made.done == 1


def test_a_swept_number_of_epochs_is_that_of_the_table(tmp_path):
    assert [row["epochs"] for row in sweep({"epochs": [12, 24]}, tmp_path).rows] == [12, 24]


def test_threads_are_as_many_as_cores_and_memory_allow(tmp_path, monkeypatch):
    made = sweep({"seed": range(9)}, tmp_path, mode="sequential")
    monkeypatch.setattr(machine, "cores", lambda: 6)
    assert at_once_here(made.cells) == 6
    assert len(sweep({"seed": range(9)}, tmp_path, mode="sequential", at_once=np.int64(2)).cells) == 9  # a NumPy number
    assert at_once_here(sweep({"seed": range(9)}, tmp_path).cells) == 2  # an actor and two learners each
    assert at_once_here(sweep({"seed": [0]}, tmp_path, mode="sequential", config={"processes.threads": 3}).cells) == 2
    monkeypatch.setattr(limits, "memory_available", lambda: 500 * 2**20)
    assert at_once_here(made.cells) == 2
    monkeypatch.setattr(limits, "memory_needed", lambda plan: {"all": 2**30 * plan.lag})
    monkeypatch.setattr(limits, "memory_available", lambda: 2**32)
    assert at_once_here(sweep({"lag": [2, 0]}, tmp_path, mode="sequential").cells) == 1


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
    assert made.table.caption.endswith(": 2 waiting")  # for the same sweep once more


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(wb.ConfigError, match=r"pip install 'workbench\[ray\]'"):
        executor("ray")
    with pytest.raises(wb.ConfigError, match="choose one of local, dask, slurm, ray"):
        executor("spark")
    assert executor("local") is None


def test_ray_is_given_a_plain_function_and_the_cores_of_the_cell(tmp_path, monkeypatch):
    class Ray:
        def init(self, address, **_):
            pass

        def nodes(self):
            return [{"Resources": {"CPU": 2.0}}]

        def remote(self, num_cpus):
            assert num_cpus == 2.0  # an actor and two learners, as far as there are cores

            def made(plain):
                assert inspect.isfunction(plain)
                return types.SimpleNamespace(remote=plain)

            return made

        def get(self, answer):
            return answer

    monkeypatch.setitem(sys.modules, "ray", Ray())
    (cell,) = sweep({"seed": [3]}, tmp_path).cells
    with executor("ray") as engine:
        assert engine.submit(functools.partial(lambda first, cell: (first, cell), 1), cell).result() == (1, cell)


def test_a_job_that_still_waits_in_the_queue_is_cancelled_by_a_stop(tmp_path, monkeypatch):
    class Job:
        state, over = "PENDING", threading.Event()

        def done(self):
            return self.over.is_set()

        def cancel(self):
            self.over.set()

        def result(self):
            raise OSError("the job was cancelled")

    engine = types.SimpleNamespace(update_parameters=lambda **options: options, submit=lambda *_: Job())
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=lambda folder: engine))
    with executor("slurm", timeout_min=9) as pool, sweep({"seed": [3]}, tmp_path, executor=pool) as made:
        made.start()
        made.stop()
    assert "the job was cancelled" in str(made.failures)


@pytest.mark.parametrize(
    "freedom, t", [(1, 12.706), (3, 3.1824), (8, 2.3060), (9, 2.2622), (30, 2.0423), (999, 1.9623)]
)
def test_quantiles_are_those_of_students_t(freedom, t):
    assert student_t(freedom) == pytest.approx(t, rel=2e-4)


def test_an_interval_needs_two_values():
    assert mean_and_half_width([1.0, 2.0, 3.0])[1] == pytest.approx(2.484, abs=1e-3)
    assert np.isnan(mean_and_half_width([1.0])[1]) and np.isnan(mean_and_half_width([])[0])
    assert with_interval([518.6, 518.6003], [0, 1]) == "518.6 ± 0.001906" and with_interval([2.0], [0]) == "2"


def test_a_seed_that_diverged_is_named_and_pairs_that_need_not_be_equal_are_not_counted(tmp_path):
    many = wb.compare(CONFIG, lag=None, seeds=range(3), out=tmp_path, start=False)
    for cell in many.cells:
        finished_run(tmp_path, cell.mode, cell.lag, cell.config.seed, name=cell.name)
    diverged = many.cells[3].path / "result.json"
    diverged.write_text(json.dumps(json.loads(diverged.read_text()) | {"greedy_reward": None}))
    assert "2 of 3 runs finite, not seed 1" in many.table.text and "± 0" in many.table.text
    assert many.identical is None and "identical to the last bit: does not apply" in many.table.text
    assert "little" not in many.table.text


def test_pairs_that_took_too_short_say_that_their_speed_up_means_little(tmp_path):
    many = wb.compare(CONFIG, seeds=range(2), out=tmp_path, start=False)
    assert "little" not in many.table.text
    for cell in many.cells:
        finished_run(tmp_path, cell.mode, cell.lag, cell.config.seed, name=cell.name, wall_s=3.0 + 9 * cell.config.seed)
    assert "\nthe speed-up means little: 2 of 4 runs took less than 10 s; compare longer" in many.table.text


def test_the_command_says_what_is_wrong_with_a_field(tmp_path, capsys):
    assert main(["sweep", "--preset", "tiny", "--over", "seed", "--out", str(tmp_path)]) == 2
    assert "it takes name=value" in capsys.readouterr().err
    assert main(["sweep", "--preset", "tiny", "--out", str(tmp_path)]) == 2
    assert "nothing is swept" in capsys.readouterr().err
    assert main(["sweep", "--preset", "tiny", "--over", "lag=0,free", "--over", "lag=1", "--out", str(tmp_path)]) == 2
    assert "lag was given twice" in capsys.readouterr().err
    words = ["--preset", "tiny", "--over", "lag=1,free", "--mode", "sequential", "--out", str(tmp_path)]
    assert main(["sweep", *words]) == 2 and "lag is None" in capsys.readouterr().err


def test_the_figure_draws_each_field_and_a_heat_map_of_two(tmp_path):
    for place, (rate, batch) in enumerate(itertools.product((1e-3, 3e-3), (8, 16))):
        changed = CONFIG.replace(**{"learning.learning_rate": rate, "learning.batch_size": batch})
        for seed in range(2):
            finished_run(tmp_path, seed=seed, config=changed, name=f"run-{place}-{seed}")
    figure = wb.report.make(tmp_path, figures=["sweep"])["sweep"]
    assert figure.table.head == ("learning.batch_size", "learning.learning_rate", "greedy reward per epoch", "runs")
    assert {row[2] for row in figure.table.rows} == {"50.50 ± 6.35"} and len(figure.picture.axes) == 3
    diverged = tmp_path / "run-3-1" / "result.json"
    diverged.write_text(json.dumps(json.loads(diverged.read_text()) | {"greedy_reward": None}))
    figure = wb.report.make(tmp_path, figures=["sweep"])["sweep"]
    assert "1 of 2 runs finite, not seed 1" in [row[2] for row in figure.table.rows]
    with pytest.raises(wb.report.ReportError, match="differ in none"):
        wb.report.make(tmp_path / "run-0-0", figures=["sweep"])


@pytest.mark.parametrize("random", [None, 3])
def test_a_range_without_end_is_refused_by_name(random):
    with pytest.raises(wb.ConfigError, match=r"seed is range\(0, 10+\); a range must be of fewer than 2\*\*63 values"):
        points({"seed": range(10**20)}, random)

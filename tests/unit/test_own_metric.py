"""One line in a user's own file: a metric that appears wherever metrics do, live and in the folder."""

import csv
import shutil

import numpy as np
import pytest

import workbench as wb
from tests.unit.own_metric import Spread, WatchedIQN, WeightNorm
from workbench.core.records import POINT, Metric, RecordTable, tables_with
from workbench.core.train.hooks import Hook
from workbench.runs.folder import RecordWarning
from workbench.runs.metrics import Schema
from workbench.view.figures import side_by_side
from workbench.view.panel.charts import charts_of

CONFIG = wb.preset("tiny").replace(device="cpu", epochs=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = wb.launch(CONFIG, "sequential", 1, out=tmp_path_factory.mktemp("runs"), hooks=[WeightNorm()])
    made.wait(120)
    return made


def test_it_is_in_the_history_of_the_run_and_of_its_folder(run):
    loaded = wb.load(run.folder.path)  # reads what run.json says, and imports nothing of the hook
    for history in (run.history, loaded.history):
        assert "weights/norm" in dict(history)
        points, norms = history.series("weights/norm", agent=0)
        assert len(points) > 1 and (norms > 0).all() and norms[0] != norms[-1]
    np.testing.assert_array_equal(run.history["weights/norm"], loaded.history["weights/norm"])


def test_it_is_among_the_charts_and_is_drawn_over_every_axis(run):
    loaded = wb.load(run.folder.path)
    assert charts_of([loaded])["weights/norm"].unit == "1"
    for over in ("own", "epoch", "agent_steps", "update", "time"):
        figure = side_by_side(loaded, charts=["loss", "weights/norm"], over=over)
        _, axes = figure.axes
        assert axes.get_title(loc="left") == "weights/norm" and any(len(line.get_xdata()) > 1 for line in axes.lines)


def test_it_is_a_column_of_the_tables_for_other_tools(run, tmp_path):
    paths = {path.stem: path for path in run.export("csv", tmp_path)}
    with open(paths["weights"], newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([np.float32(row["norm"]) for row in rows], run.history["weights/norm"])
    assert run.to_pandas()["weights"].columns[-1] == "norm"


@pytest.mark.filterwarnings("ignore:the step size was")
def test_a_run_that_is_resumed_without_the_hook_says_what_is_not_measured_any_more(run, tmp_path):
    folder = shutil.copytree(run.folder.path, tmp_path / run.name)
    with pytest.warns(RecordWarning, match=r"records of weights, which nothing measures .* hooks=\[\.\.\.\]\)"):
        wb.resume(folder, epochs=run.config.epochs + 1, start=False).stop()


def test_an_agent_may_measure_more_than_others_with_every_update(tmp_path):
    config = CONFIG.replace(agent=WatchedIQN())
    made = wb.launch(config, "sequential", 1, out=tmp_path, hooks=[Spread()], probes=False)
    made.wait(120)
    updates, spreads = made.history.series("weights/spread", agent=1)
    assert len(updates) == config.total_updates and (spreads > 0).all()
    assert made.to_pandas()["updates"].columns[-1] == "spread" and "weights/spread" in charts_of([made])


def test_a_run_without_the_hook_has_no_such_ring_table_or_chart(tmp_path):
    with wb.launch(CONFIG, "sequential", 1, out=tmp_path, start=False, probes=False, timeline=False) as made:
        assert list(made.history.schema.tables) == ["updates", "epochs", "events", "evaluations"]
        assert "weights/norm" not in charts_of([made])
        with pytest.raises(ValueError, match=r"there is no chart 'weights/norm'; known: loss"):
            side_by_side(made, charts=["weights/norm"])


LINE = Metric("weights/norm", "weights", "norm", "1", "How large.")


def test_a_metric_outside_a_tuple_is_refused_with_what_to_write(tmp_path):
    bare = type("Bare", (Hook,), {"metrics": LINE})()
    with pytest.raises(wb.ConfigError, match=r"its metrics a tuple, also of one: \(Metric\(\.\.\.\),\)"):
        wb.launch(CONFIG, hooks=[bare], out=tmp_path)


@pytest.mark.parametrize(
    ("tables", "metrics", "message"),
    [
        ({}, [LINE], "metric 'weights/norm' is of table 'weights', which does not exist"),
        ({"weights": RecordTable(POINT)}, [LINE], "has no axis; give it one"),
        ({"weights": RecordTable(np.dtype([("time", "<f8")]), axis="epoch")}, [LINE], "begin with POINT"),
        ({"my weights": RecordTable(POINT)}, [], "is named 'my weights'; it must be small letters"),
        ({"weights": RecordTable(np.dtype([("who", "<U9")]))}, [], r"tables\.weights\.fields.* must match .*'<U9'"),
        ({"weights": RecordTable(POINT, axis="update")}, [LINE, Metric("weights/norm", "weights", "n", "1", "")],
         "two metrics are named 'weights/norm'"),
        ({"weights": RecordTable(POINT, axis="update")}, [Metric("norm", "weights", "norm", "1", "")],
         r"metrics.*\.name must match .*; it is 'norm'"),
    ],
)  # fmt: skip
def test_a_mistake_in_such_a_line_is_refused_by_name(tables, metrics, message):
    with pytest.raises(ValueError, match=message):
        Schema.of(tables_with([tables], metrics), metrics)

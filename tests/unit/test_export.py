"""Exports: what was recorded comes back the same, from every format, and an archive is opened without trust."""

import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import workbench
import workbench as wb
from tests.unit.finished import CONFIG, finished_run
from tests.unit.test_figures import QUICK, RecordedRun
from tests.unit.watched import TABLES
from workbench.cli import main
from workbench.export import FORMATS, ExportError, archive, to_csv, to_pandas, to_parquet, to_tensorboard, unpack
from workbench.export.needed import need
from workbench.runs.folder import RecordError
from workbench.runs.metrics import METRICS

SUFFIXES = (".tar.gz", ".zip")


def random_weights(config):
    size = config.agent.layout(config.spec.agents[0]).size
    return np.random.default_rng(0).normal(size=(config.num_agents, 2 * size)).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    path = finished_run(tmp_path / "runs", "multiprocess", None, 3, ["sync_rarely=5"], name="free")
    np.save(path / "weights.npy", random_weights(CONFIG))
    return workbench.load(path)


def same(frame, records):
    """Whether every plain field of a frame has the bits of the records."""
    words = {"kind", "measurement"}
    for field in set(records.dtype.names) - words:
        np.testing.assert_array_equal(frame[field].to_numpy().astype(records.dtype[field]), records[field])
    return len(frame) == len(records)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_frame_has_every_record_with_its_type_and_the_run_it_is_of(run):
    frames = to_pandas(run)
    assert list(frames) == list(TABLES)
    for table, frame in frames.items():
        records = run.history.table(table)
        assert same(frame, records)
        plain = {"agent", "time", "start"} & set(records.dtype.names)
        assert len(plain) == 2 and all(frame[field].dtype == records.dtype[field] for field in plain)
        assert set(frame["run"]) == {"free"} and set(frame["faults"]) == {"sync_rarely=5"} and set(frame["seed"]) == {3}
        assert frame["lag"].isna().all()  # free-running
    assert set(frames["events"]["kind"]) == {"publish", "sync"}
    assert set(frames["probes"]["measurement"]) == {"sync/checksum"}


def test_the_rows_of_several_runs_follow_each_other(run, tmp_path):
    other = workbench.load(finished_run(tmp_path, lag=2))
    frame = to_pandas([run, other])["epochs"]
    assert same(frame[frame["mode"] == "sequential"], other.history.epochs)
    assert frame["lag"].dropna().unique().tolist() == [2]
    with pytest.raises(wb.ConfigError, match="there are no runs to export"):
        to_pandas([])


@pytest.mark.parametrize(
    ("write", "read"), [(to_csv, pd.read_csv), (to_parquet, pd.read_parquet)], ids=["csv", "parquet"]
)
def test_files_give_every_bit_back_and_are_the_same_twice(write, read, run, tmp_path):
    paths, again = write(run, tmp_path / "one"), write(run, tmp_path / "two")
    assert [path.stem for path in paths] == list(TABLES)
    for path, twin in zip(paths, again, strict=True):
        assert same(read(path), run.history.table(path.stem))
        assert path.read_bytes() == twin.read_bytes()


def test_two_runs_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
    twin = workbench.load(finished_run(tmp_path / "elsewhere", name="free", seed=4))
    path = to_parquet([run, twin], tmp_path)[0]
    about = json.loads(pyarrow.parquet.read_schema(path).metadata[b"workbench"])
    assert about == {str(each.folder.path): each.description for each in (run, twin)}
    assert pd.read_parquet(path).groupby("run")["seed"].first().to_dict() == {
        str(run.folder.path): 3, str(twin.folder.path): 4,
    }  # fmt: skip
    assert set(to_pandas([run, workbench.load(run.folder.path)])["epochs"]["run"]) == {"free"}  # one run, given twice


def test_a_parquet_file_describes_its_runs(run, tmp_path):
    path = to_parquet(run, tmp_path)[0]
    about = json.loads(pyarrow.parquet.read_schema(path).metadata[b"workbench"])
    assert about == {"free": run.description}
    assert len(to_parquet((each for each in [run]), tmp_path)) == len(TABLES)  # not a list
    pd.testing.assert_frame_equal(pd.read_parquet(path), to_pandas(run)["updates"])


# --- tensorboard -----------------------------------------------------------------------------------------------------


def test_tensorboard_reads_every_curve_with_its_times(run, tmp_path):
    paths = to_tensorboard(run, tmp_path)
    assert [path.parent.name for path in paths] == ["all", "agent-0", "agent-1"]
    for path, agent in zip(paths, [None, 0, 1], strict=True):
        found = EventAccumulator(str(path.parent), size_guidance={"scalars": 0}).Reload()
        recorded = {name for name in run.history if len(run.history.series(name, agent)[0])}
        assert set(found.Tags()["scalars"]) == recorded >= set(METRICS)
        for name in METRICS:
            steps, values = run.history.series(name, agent)
            times, _ = run.history.series(name, agent, over="time")
            events = found.Scalars(name)
            assert [event.step for event in events] == steps.tolist()
            np.testing.assert_array_equal(np.float32([event.value for event in events]), np.float32(values))
            assert [event.wall_time for event in events] == times.tolist()


def test_a_run_that_grows_while_it_is_written_is_written_as_far_as_it_was_there(run, tmp_path, monkeypatch):
    whole = run.history.series

    def growing(name, agent=None, **over):
        x, y = whole(name, agent, **over)
        return (x[:-1], y[:-1]) if over else (x, y)  # the times are read first

    monkeypatch.setattr(run.history, "series", growing)
    path = to_tensorboard(run, tmp_path)[0]
    found = EventAccumulator(str(path.parent), size_guidance={"scalars": 0}).Reload()
    steps, values = whole("losses/loss")
    assert [event.step for event in found.Scalars("losses/loss")] == steps[:-1].tolist()
    assert [event.value for event in found.Scalars("losses/loss")] == np.float32(values[:-1]).tolist()


class Notebook:
    """A tracker of one's own: it keeps what it is told."""

    def __init__(self):
        self.told, self.curves, self.closed = {}, {}, False

    def settings(self, values):
        self.told |= values

    def scalars(self, name, steps, times, values):
        known = self.curves.setdefault(name, ([], [], []))
        for kept, new in zip(known, (steps, times, values), strict=True):
            kept.extend(new)

    def figure(self, name, png):
        self.told[name] = png[1:4]

    def close(self):
        self.closed = True


def test_a_tracker_is_told_every_point_once_and_closed(run):
    tracker = Notebook()
    run.log_to(tracker).join(60)
    assert tracker.closed and tracker.told["charts"] == b"PNG" and tracker.told["lag"] is None
    assert tracker.told["world.height"] == CONFIG.world.height
    for name in run.history:
        steps, values = run.history.series(name)
        if len(steps):
            np.testing.assert_array_equal(tracker.curves[name][0], steps)
            np.testing.assert_array_equal(tracker.curves[name][2], values)


def test_a_tracker_is_told_the_mean_of_all_agents_also_of_what_one_has_recorded_before_the_others(monkeypatch):
    run, tracker, left = RecordedRun(), Notebook(), list(range(QUICK.num_agents))

    def learn_one(_):
        if left:
            run.record("updates", agent=[agent := left.pop()] * 2, update=[1, 2], loss=[agent, agent + 1.0])
        else:
            run.state = "finished"

    monkeypatch.setattr("workbench.export.trackers.time.sleep", learn_one)
    wb.export.log_to(run, tracker).join(60)
    steps, values = run.history.series("losses/loss")
    assert tracker.curves["losses/loss"][0] == steps.tolist() == [1, 2]
    assert tracker.curves["losses/loss"][2] == values.tolist()


def test_a_tracker_is_told_the_final_evaluation_in_place_of_another_one_of_its_epoch(monkeypatch):
    run, tracker, rewards = RecordedRun(), Notebook(), [5.0, 7.0]

    def evaluate(_):
        if rewards:
            run.record("evaluations", agent=[0, 1], epoch=[11, 11], reward=[rewards.pop(0)] * 2)
        else:
            run.state = "finished"

    monkeypatch.setattr("workbench.export.trackers.time.sleep", evaluate)
    wb.export.log_to(run, tracker).join(60)
    assert tracker.curves["charts/greedy_reward"][::2] == ([11], [14.0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tracker_that_fails_is_closed_too(run):
    class Offline(Notebook):
        def scalars(self, name, steps, times, values):
            raise OSError("no network")

    tracker = Offline()
    run.log_to(tracker).join(60)
    assert tracker.closed


def test_tensorboard_is_a_tracker_too(run, tmp_path):
    run.log_to(wb.export.TensorBoard(tmp_path / "live")).join(60)
    found = EventAccumulator(str(tmp_path / "live")).Reload()
    steps, values = run.history.series("losses/loss")
    assert [event.step for event in found.Scalars("losses/loss")] == steps.tolist()
    assert [event.value for event in found.Scalars("losses/loss")] == pytest.approx(values.tolist())
    assert found.Tags()["images"] == ["charts"]


@pytest.mark.filterwarnings("ignore")  # of MLflow's own
def test_mlflow_is_a_tracker_in_a_few_lines(run, tmp_path, monkeypatch):
    """To a folder, without a server, an account or a network."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    key = client.create_run(client.create_experiment("workbench"), run_name=run.name).info.run_id

    class MLflow:
        def settings(self, values):
            for name, value in values.items():
                client.log_param(key, name, value)

        def scalars(self, name, steps, times, values):
            for step, when, value in zip(steps.tolist(), times.tolist(), values.tolist(), strict=True):
                client.log_metric(key, name, value, round(1000 * when), step)

        def figure(self, name, png):
            (tmp_path / f"{name}.png").write_bytes(png)
            client.log_artifact(key, str(tmp_path / f"{name}.png"))

        def close(self):
            client.set_terminated(key)

    run.log_to(MLflow()).join(60)
    steps, values = run.history.series("losses/loss")
    kept = client.get_metric_history(key, "losses/loss")
    assert [each.step for each in kept] == steps.tolist() and [each.value for each in kept] == values.tolist()
    assert [each.path for each in client.list_artifacts(key)] == ["charts.png"]
    assert client.get_run(key).data.params["world.height"] == str(CONFIG.world.height)
    assert client.get_run(key).info.status == "FINISHED"


def test_weights_are_read_by_name_from_safetensors(tmp_path, capsys):
    path = finished_run(tmp_path / "runs", name="trained")
    layouts = [CONFIG.agent.layout(spec) for spec in CONFIG.spec.agents]
    weights = random_weights(CONFIG)
    np.save(path / "weights.npy", weights)
    assert main(["export", str(path), "--to", "safetensors", "--out", str(tmp_path)]) == 0
    found = safetensors.numpy.load_file(tmp_path / "trained.safetensors")
    for agent, layout in enumerate(layouts):
        for half, part in enumerate(("online", "target")):
            mine = [found[f"agent-{agent}/{part}/{name}"] for name in layout.names]
            assert [each.shape for each in mine] == list(layout.shapes)
            flat, begin = np.concatenate([each.ravel() for each in mine]), half * layout.size
            np.testing.assert_array_equal(flat, weights[agent, begin : begin + len(flat)])


def test_tensorboard_shows_the_settings(run, tmp_path):
    found = EventAccumulator(str(to_tensorboard(run, tmp_path)[0].parent)).Reload()
    text = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "multiprocess, free-running, sync_rarely=5, seed 3" in text and '"num_agents": 2' in text
    assert found.SummaryMetadata("settings/text_summary").plugin_data.plugin_name == "text"


def test_event_files_are_the_same_every_time_and_replace_those_of_the_same_run(run, tmp_path):
    first = [path.read_bytes() for path in to_tensorboard(run, tmp_path)]
    assert [path.read_bytes() for path in to_tensorboard(run, tmp_path)] == first
    assert len(list(tmp_path.glob("free/**/*tfevents*"))) == 3


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_has_its_exports_as_methods(to, run, tmp_path):
    out = "run.tar.gz" if to == "archive" else to
    written = run.export(to, tmp_path / "one" if to != "archive" else tmp_path / out)
    assert written and all(path.is_file() for path in written)
    again = FORMATS[to](run, tmp_path / "two" if to != "archive" else tmp_path / f"again-{out}")
    assert [path.name.removeprefix("again-") for path in again] == [path.name for path in written]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    assert list(run.to_pandas()) == list(TABLES)
    with pytest.raises(
        ExportError, match="cannot be exported to 'excel'; choose from csv, parquet, safetensors, tensorb"
    ):
        run.export("excel", tmp_path)


def test_a_run_without_records_is_no_export(tmp_path):
    path = finished_run(tmp_path, leave_out=["updates", "epochs", "evaluations", "acting_load"])
    with pytest.raises(ExportError, match="has recorded no curve"):
        to_tensorboard(workbench.load(path), tmp_path)


# --- missing packages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "write"), [("pandas", to_csv), ("pyarrow", to_parquet), ("tensorboard", to_tensorboard)]
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package, write, run, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Hidden(package), *sys.meta_path])
    with pytest.raises(
        ExportError, match=rf"{package} is not installed; it comes with the extra 'export': .*\[export\]"
    ):
        write(run, tmp_path / "out")


class Hidden:
    """Finds a package missing."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_package_that_is_there_and_broken_keeps_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_module_that_is_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        need("broken_package")


def test_exports_wait_until_they_are_asked_for():
    late = "{'pandas', 'pyarrow', 'tensorboard', 'matplotlib'}"
    code = f"import sys, workbench.cli, workbench.export; sys.exit(bool({late} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- archives --------------------------------------------------------------------------------------------------------


def test_a_run_that_was_packed_is_the_same_run_elsewhere(run, tmp_path):
    (run.folder.path / "logs").mkdir()
    (run.folder.path / "logs" / "actor.log").write_text("words")
    packed = archive(run, tmp_path / "packed.tar.gz")
    opened = unpack(packed, tmp_path / "colleague")
    assert isinstance(opened, wb.LoadedRun)  # with all that it can do
    assert opened.folder.path == tmp_path / "colleague" / "free"
    assert opened.description == run.description and opened.result == run.result
    for table in TABLES:
        np.testing.assert_array_equal(opened.history.table(table), run.history.table(table))
    files = sorted(path.relative_to(run.folder.path) for path in run.folder.path.rglob("*") if path.is_file())
    assert all((opened.folder.path / file).read_bytes() == (run.folder.path / file).read_bytes() for file in files)
    assert [path.name for path in (tmp_path / "colleague").iterdir()] == ["free"]


def test_a_packed_run_is_the_same_file_every_time_by_path_and_by_name(run, tmp_path, monkeypatch):
    first = archive(run, tmp_path / "one.tar.gz").read_bytes()
    for file in run.folder.path.iterdir():
        file.chmod(0o644)
        file.touch()
    assert archive(run.folder.path, tmp_path / "two.tar.gz").read_bytes() == first
    assert archive(run, tmp_path).name == "free.tar.gz"
    monkeypatch.setattr(sys.modules["workbench.runs.folder"], "runs_folder", lambda: run.folder.path.parent)
    assert archive("free", tmp_path / "three.tar.gz").read_bytes() == first
    assert list(tmp_path.glob("*.part")) == []


def test_what_cannot_be_packed_is_refused(run, tmp_path):
    with pytest.raises(ExportError, match=r"as 'run\.rar'; the name must end in \.tar\.gz"):
        archive(run, tmp_path / "run.rar")
    (run.folder.path / "secret").symlink_to("/etc/passwd")
    with pytest.raises(ExportError, match="secret is a link"):
        archive(run, tmp_path / "run.tar.gz")
    with pytest.raises(RecordError, match="no run folder"):
        archive(tmp_path / "nowhere", tmp_path / "run.tar.gz")


@pytest.mark.parametrize(("what", "most"), [("MAX_MEMBERS", 3), ("MAX_BYTES", 2**17 + 1000)])
def test_nothing_is_packed_that_could_not_be_unpacked(what, most, run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[archive.__module__], what, most)
    with pytest.raises(ExportError, match=r"free has more than the [\d,]+ files or [\d,]+ bytes"):
        archive(run, tmp_path / "out" / "run.tar.gz")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_that_is_running_is_not_packed(tmp_path):
    waiting = workbench.launch(CONFIG, "sequential", out=tmp_path, start=False)
    with waiting, pytest.raises(ExportError, match="is created; stop it or wait for its end"):
        archive(waiting, tmp_path / "run.tar.gz")


def test_a_run_is_not_packed_into_its_own_folder_which_would_then_be_deleted_with_the_archive(tmp_path):
    path = finished_run(tmp_path, name="kept")
    with pytest.raises(ExportError, match="would lie in the run folder that goes into it"):
        workbench.archive(path, confirm="kept", out=path)
    assert workbench.load(path).status == "finished" and not list(path.glob("*.tar.gz*"))


def test_an_archive_never_replaces_a_run(run, tmp_path):
    packed = archive(run, tmp_path / "run.tar.gz")
    with pytest.raises(ExportError, match="free is there already; delete it first"):
        unpack(packed, run.folder.path.parent)


def write_archive(path, members):
    """An archive of some names and contents; a content of None makes a link to /etc/passwd."""
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content or b"")
            if content is None:
                about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed.addfile(about, io.BytesIO(content or b""))
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil", b"x")], r"holds '\.\./evil', which no packed run does"),
        ([("/etc/evil", b"x")], "holds '/etc/evil', which no packed run does"),
        ([("run/../../evil", b"x")], r"holds 'run/\.\./\.\./evil', which no packed run does"),
        ([("run/run.json", b"{}"), ("run/link", None)], "holds 'run/link', which no packed run does"),
        ([("run/run.json", b"{}"), ("other/run.json", b"x")], "holds 'other/run.json', which no packed run does"),
        ([], "holds nothing"),
        ([("run/run.json", b"{}"), ("run/run.json", b"[]")], "is no whole archive"),
        ([("run/a", b"{}"), ("run/a/b", b"[]")], "is no whole archive"),
        ([("run/\x1b[2J", b"{}")], r"holds 'run/\\x1b\[2J', which no packed run does"),
        ([("run/.hidden", b"{}")], "which no packed run does"),
    ],
)
def test_an_archive_that_is_no_packed_run_leaves_nothing_behind(members, message, tmp_path):
    path = write_archive(tmp_path / "evil.tar.gz", members)
    with pytest.raises(ExportError, match=message):
        unpack(path, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, "runs"]


def test_a_folder_that_is_no_run_is_not_kept(tmp_path):
    path = write_archive(tmp_path / "other.tar.gz", [("photos/cat.png", b"x")])
    with pytest.raises(RecordError, match=r"other.*: photos is no run folder: it has no run\.json"):
        unpack(path, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.98])
def test_half_an_archive_is_refused(keep, run, tmp_path):
    whole = archive(run, tmp_path / "run.tar.gz")
    data = whole.read_bytes()
    whole.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ExportError, match=r"ask for (it|the archive) again"):
        unpack(whole, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def bomb(path, kind):
    """Archives of some kilobytes that become gigabytes in memory or on disk."""
    about = tarfile.TarInfo("run/updates.records")
    with tarfile.open(path, "w:gz") as packed:
        if kind == "a header":
            about.pax_headers = {"comment": "x" * 20_000_000}
        elif kind == "members":
            for number in range(5_000):
                packed.addfile(tarfile.TarInfo(f"run/{number}"))
        elif kind == "headers in headers":
            for _ in range(3_000):
                packed.fileobj.write(tarfile.TarInfo.create_pax_global_header({"comment": "x"}))
                packed.fileobj.write(about.create_pax_header({**about.get_info(), "name": "é"}, "utf-8")[:1024])
        packed.addfile(about)
        if kind == "a size":
            about.size = 2**45
            packed.fileobj.write(about.tobuf(tarfile.GNU_FORMAT))
    return path


@pytest.mark.parametrize("kind", ["a header", "members", "headers in headers", "a size"])
def test_a_bomb_is_refused_while_it_is_read_and_leaves_nothing(kind, tmp_path):
    path = bomb(tmp_path / "bomb.tar.gz", kind)
    assert path.stat().st_size < 200_000
    with pytest.raises(ExportError, match=r"bomb\.tar\.gz"):
        unpack(path, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_unpacked_folder_is_as_private_as_one_made_here(run, tmp_path):
    (run.folder.path / "logs").mkdir(mode=0o755, exist_ok=True)
    (run.folder.path / "logs" / "actor.log").write_text("x")
    before = os.umask(0)
    try:
        with tarfile.open(tmp_path / "run.tar.gz", "w:gz") as packed:
            for file in run.folder.path.rglob("*"):
                if file.is_file():  # so that no member says what the folders are
                    packed.add(file, f"free/{file.relative_to(run.folder.path)}")
        again = unpack(tmp_path / "run.tar.gz", tmp_path / "there").folder.path
    finally:
        os.umask(before)
    assert [path for path in (again, *again.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert (again / "logs" / "actor.log").read_text() == "x"


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"there is no file .*gone\.tar\.gz"):
        unpack(tmp_path / "gone.tar.gz")


def test_an_archive_that_unfolds_without_end_is_refused(run, tmp_path, monkeypatch):
    packed = archive(run, tmp_path / "run.tar.gz")
    monkeypatch.setattr(sys.modules[archive.__module__], "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match=r"run\.tar\.gz' unpacks to more than 1,000 bytes"):
        unpack(packed, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12))
def test_whatever_its_members_are_called_nothing_is_written_outside_of_the_folder(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    path = write_archive(folder / "any.tar.gz", [("run/run.json", b"{}"), (f"run/{name}", b"x"), (name, b"x")])
    with pytest.raises(RecordError):
        unpack(path, folder / "runs")
    assert list((folder / "runs").iterdir()) == []
    assert sorted(each.name for each in folder.iterdir()) == ["any.tar.gz", "runs"]


# --- the commands ----------------------------------------------------------------------------------------------------


def test_the_commands_write_what_they_print(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))  # so that a name is enough
    for kind, count in (("csv", len(TABLES)), ("parquet", len(TABLES)), ("tensorboard", 3)):
        assert main(["export", "free", "--to", kind, "--out", str(tmp_path / kind)]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == count == len([path for path in (tmp_path / kind).rglob("*") if path.is_file()])
    assert main(["export", "free", "--to", "archive", "--out", str(tmp_path / "free.tar.gz")]) == 0
    assert main(["unpack", str(tmp_path / "free.tar.gz"), "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "again" / "free")


def test_the_commands_refuse_in_one_line(run, tmp_path, capsys):
    assert main(["export", str(tmp_path / "nowhere"), "--to", "csv", "--out", str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert main(["export", str(run.folder.path), "--to", "archive", "--out", str(tmp_path / "x.rar")]) == 2
    assert capsys.readouterr().err.count("\n") == 1

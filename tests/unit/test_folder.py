"""A run folder survives full disks, crashes and other versions, and says what happened."""

import errno
import io
import json
import os
import re
import stat
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.watched import SCHEMA, TABLES
from workbench.core.records import UPDATES
from workbench.runs import files, machine
from workbench.runs import folder as folder_module
from workbench.runs.folder import FORMAT, OldFormat, RecordError, RecordWarning, RunFolder, runs_folder
from workbench.runs.history import History
from workbench.runs.metrics import Schema


def updates(start, stop):
    records = np.zeros(stop - start, UPDATES)
    records["update"] = np.arange(start, stop)
    records["loss"] = np.arange(start, stop) / 7
    return records


@pytest.fixture
def run_folder(tmp_path):
    return RunFolder.create("run", {"status": "running"}, tmp_path, SCHEMA)


# Making one


@pytest.mark.parametrize("name", ["a", "2025-11-21_multiprocess-lag1.0", "_", "x" * 100])
def test_ordinary_names_make_a_folder_inside_the_parent(tmp_path, name):
    assert RunFolder.create(name, {}, tmp_path).path == tmp_path / name


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "..", "nul\0", "a\n", "-rf", "a b", "/abs", "x" * 101])
def test_names_that_could_leave_the_parent_or_surprise_are_refused_by_the_rule(tmp_path, name):
    parent = tmp_path / "runs"
    with pytest.raises(RecordError, match="it must be 1 to 100 letters"):
        RunFolder.create(name, {}, parent)
    assert list(tmp_path.iterdir()) == []


@given(name=st.text(max_size=8))
def test_a_name_is_refused_or_is_one_visible_path_component(name):
    if folder_module.NAME.fullmatch(name):
        assert os.path.basename(name) == name
        assert not name.startswith((".", "-"))


def test_an_existing_folder_is_refused_and_untouched(run_folder, tmp_path):
    with pytest.raises(RecordError, match="run: it exists already; choose another name"):
        RunFolder.create("run", {"status": "second"}, tmp_path)
    assert run_folder.read_description() == {"status": "running"}


def test_folder_and_files_are_private_to_the_user(run_folder):
    run_folder.append("updates", updates(0, 1))
    run_folder.write_result({})
    assert stat.S_IMODE(run_folder.path.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in run_folder.path.iterdir()}
    assert files == {"run.json": 0o600, "result.json": 0o600, "updates.records": 0o600}


def test_a_folder_that_was_let_go_is_free_although_a_fork_of_this_process_lives(run_folder):
    run_folder.hold()
    forked = os.dup(run_folder._held)
    with pytest.raises(RecordError, match="is in use by another run"):
        RunFolder.open(run_folder.path).hold()
    run_folder.release()
    again = RunFolder.open(run_folder.path)
    again.hold()
    again.release()
    os.close(forked)


def test_runs_are_kept_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    assert RunFolder.create("a", {}).path == tmp_path / "data" / "runs" / "a"
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "elsewhere"))
    assert runs_folder() == tmp_path / "elsewhere" / "runs"
    assert RunFolder.create("b", {}).path == tmp_path / "elsewhere" / "runs" / "b"


def test_a_description_that_cannot_be_written_leaves_no_folder(tmp_path):
    with pytest.raises(TypeError, match="nothing is pickled"):
        RunFolder.create("run", {"world": object()}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot make the run folder"):
        RunFolder.create("run", {}, tmp_path / "file")


# Description and result

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(description=st.dictionaries(st.text(max_size=5), plain_values, max_size=4))
def test_description_and_result_come_back_as_they_were(tmp_path_factory, description):
    folder = RunFolder.create("run", {}, tmp_path_factory.mktemp("data"))
    folder.write_description(description)
    folder.write_result(description)
    found = RunFolder.open(folder.path)
    assert found.read_description() == description
    assert found.read_result() == description


def test_numpy_values_and_paths_are_written_plainly(run_folder):
    result = {"reward": np.float32(1.5), "versions": np.arange(2), "lost": np.int64(3), "path": run_folder.path}
    run_folder.write_result(result)
    expected = {"reward": 1.5, "versions": [0, 1], "lost": 3, "path": str(run_folder.path)}
    assert run_folder.read_result() == expected


def test_a_run_without_an_end_has_no_result(run_folder):
    assert RunFolder.open(run_folder.path).read_result() is None


def test_the_machine_can_be_described_in_it(run_folder):
    run_folder.write_description(machine.describe())
    description = run_folder.read_description()
    assert description["versions"]["numpy"] == np.__version__
    assert description["cores"] >= 1
    assert description["pid"] == os.getpid()


def test_a_description_that_cannot_be_replaced_is_kept(run_folder, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device; what was there before is kept"):
        run_folder.write_description({"status": "finished"})
    assert run_folder.read_description() == {"status": "running"}
    assert [file.name for file in run_folder.path.iterdir()] == ["run.json"]


# Records


@given(sizes=st.lists(st.integers(0, 5), max_size=6))
def test_records_come_back_in_order(tmp_path_factory, sizes):
    folder, written = RunFolder.create("run", {}, tmp_path_factory.mktemp("data")), 0
    for size in sizes:
        folder.append("updates", updates(written, written + size))
        written += size
    np.testing.assert_array_equal(History.of(RunFolder.open(folder.path)).updates, updates(0, written))


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_kept_bit_for_bit(run_folder, table):
    dtype = TABLES[table]
    records = np.frombuffer(np.random.default_rng(0).bytes(9 * dtype.itemsize), dtype)
    run_folder.append(table, records)
    assert History.of(RunFolder.open(run_folder.path)).table(table).tobytes() == records.tobytes()


def test_records_of_another_table_are_refused(run_folder):
    with pytest.raises(TypeError, match="table epochs holds"):
        run_folder.append("epochs", updates(0, 1))
    with pytest.raises(KeyError):
        run_folder.append("../updates", updates(0, 1))


@given(cut=st.integers(0, 5 * UPDATES.itemsize))
def test_a_record_cut_off_by_a_crash_is_dropped_and_reported(tmp_path_factory, cut):
    folder = RunFolder.create("run", {}, tmp_path_factory.mktemp("data"))
    folder.append("updates", updates(0, 5))
    os.truncate(folder.path / "updates.records", cut)
    whole, rest = divmod(cut, UPDATES.itemsize)
    if rest:
        with pytest.warns(RecordWarning, match=f"cut off after {rest} of {UPDATES.itemsize} bytes"):
            history = History.of(folder)
    else:
        history = History.of(folder)
    np.testing.assert_array_equal(history.updates, updates(0, whole))
    folder.append("updates", updates(whole, 7))
    np.testing.assert_array_equal(History.of(folder).updates, updates(0, 7))


class FullDisk(io.FileIO):
    """A file on a disk that takes half of what it is given."""

    def write(self, data):
        super().write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SlowDisk(io.FileIO):
    """A file that takes at most 10 bytes at a time, as a system call may."""

    def write(self, data):
        return super().write(data[:10])


def on_disk(disk):
    return lambda path, mode, buffering, opener: disk(path, mode, opener=opener)


def test_a_full_disk_loses_and_misaligns_nothing(run_folder, monkeypatch):
    run_folder.append("updates", updates(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "open", on_disk(FullDisk), raising=False)
        with pytest.raises(RecordError, match=r"updates\.records: No space left on device; .*make room"):
            run_folder.append("updates", updates(3, 8))
    np.testing.assert_array_equal(History.of(run_folder).updates, updates(0, 3))
    run_folder.append("updates", updates(3, 8))
    np.testing.assert_array_equal(History.of(run_folder).updates, updates(0, 8))


def test_a_write_in_pieces_is_completed(run_folder, monkeypatch):
    monkeypatch.setattr(folder_module, "open", on_disk(SlowDisk), raising=False)
    run_folder.append("updates", updates(0, 3))
    np.testing.assert_array_equal(History.of(run_folder).updates, updates(0, 3))


def test_a_limit_of_the_system_is_reported_like_a_full_disk(run_folder):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (UPDATES.itemsize * 5 // 2, limits[1]))
    try:
        with pytest.raises(RecordError, match="cannot write 5 records"):
            run_folder.append("updates", updates(0, 5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(History.of(run_folder).updates) == 0


# Folders that are not as expected


def edit_head(run_folder, **changes):
    path = run_folder.path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("other", "version"), [(FORMAT - 1, "an earlier"), (FORMAT + 1, "a later")])
def test_another_format_is_refused_with_both_versions_and_a_remedy(run_folder, other, version):
    edit_head(run_folder, format=other)
    expected = (
        f"run was made by {version} version: format {other}; this version reads format {FORMAT}; run it again, or read "
        "it with the commit that its run.json names"
    )
    with pytest.raises(OldFormat, match=re.escape(expected)):
        RunFolder.open(run_folder.path)


def test_a_folder_says_what_its_tables_and_metrics_are(run_folder):
    head = json.loads((run_folder.path / "run.json").read_text())
    assert head["tables"]["events"]["fields"][:2] == [["time", "<f8"], ["kind", "<i4"]]
    assert head["tables"]["events"]["words"] == {"kind": ["", "publish", "sync"]}
    assert head["metrics"][0]["definition"].startswith("Loss of the update, before the step")
    assert RunFolder.open(run_folder.path).schema == Schema.from_dict(SCHEMA.to_dict())


def edit_tables(run_folder, edit):
    path = run_folder.path / "run.json"
    head = json.loads(path.read_text())
    edit(head["tables"], head["metrics"])
    path.write_text(json.dumps(head))


@pytest.mark.parametrize(
    "edit",
    [
        lambda tables, _: tables.pop("updates"),
        lambda tables, _: tables["updates"]["fields"].pop(0),
        lambda tables, _: tables["updates"]["fields"].append(["more", "|O"]),
        lambda tables, _: tables["updates"]["fields"].append(["more", "<U99999"]),
        lambda tables, _: tables["updates"]["fields"].append(["a" * 99, "<f4"]),
        lambda tables, _: tables.update({"../updates": tables["updates"]}),
        lambda tables, _: tables["events"].update(words={"kind": [1]}),
        lambda tables, _: tables["events"].update(words={"kinds": []}),
        lambda tables, _: tables["epochs"].update(axis="reward"),
        lambda _, metrics: metrics[0].update(name="<b>"),
        lambda _, metrics: metrics[0].update(field="none"),
        lambda _, metrics: metrics[0].update(table="events"),
        lambda _, metrics: metrics[0].update(over_agents="max"),
        lambda _, metrics: metrics[0].update(more=1),
        lambda _, metrics: metrics[0].pop("unit"),
    ],
)
def test_tables_and_metrics_that_no_run_can_have_are_refused(run_folder, edit):
    edit_tables(run_folder, edit)
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        RunFolder.open(run_folder.path)


@pytest.mark.parametrize(
    "damage",
    [b"", b'{"format": 1', b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": %d}' % FORMAT],
    ids=["empty", "cut off", "a list", "not text", "endless", "no tables"],
)
def test_damaged_json_is_a_clear_error(run_folder, damage):
    (run_folder.path / "run.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"run\.json is damaged"):
        RunFolder.open(run_folder.path)


def test_a_damaged_result_is_a_clear_error_and_the_history_stays_readable(run_folder):
    run_folder.append("updates", updates(0, 2))
    (run_folder.path / "result.json").write_text("{")
    folder = RunFolder.open(run_folder.path)
    with pytest.raises(RecordError, match=r"result\.json is damaged"):
        folder.read_result()
    assert len(History.of(folder).updates) == 2


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_without_a_description_is_no_run_folder(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=rf"it has no run\.json; .* lists the runs of {runs_folder()}, where"):
        RunFolder.open(tmp_path / name)


# The commit that goes into a description


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def test_commit_and_dirty_flag_follow_the_repository(tmp_path):
    nothing = {"commit": None, "dirty": None}
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("1")
    assert machine.commit(package) == nothing

    git(tmp_path, "init")
    assert machine.commit(package) == nothing
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-m", "first")
    clean = machine.commit(package)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False

    (tmp_path / "notes.txt").touch()
    assert machine.commit(package) == clean
    (package / "module.py").write_text("2")
    assert machine.commit(package) == clean | {"dirty": True}


def test_a_package_inside_another_projects_repository_has_no_commit(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "project.py").touch()
    git(tmp_path, "add", "project.py")
    git(tmp_path, "commit", "-m", "first")
    package = tmp_path / "venv" / "package"
    package.mkdir(parents=True)
    (package / "module.py").touch()
    assert machine.commit(package) == {"commit": None, "dirty": None}


# Following one that is still running


@given(parts=st.lists(st.integers(0, 5), max_size=6))
def test_a_follower_gets_every_record_once_and_leaves_half_a_record_for_later(tmp_path_factory, parts):
    folder = RunFolder.create("run", {"status": "running"}, tmp_path_factory.mktemp("followed"))
    path, followed, end = folder.path_of("updates"), History(), 0
    for part in parts:
        folder.append("updates", updates(end, end + part))
        end += part
        with path.open("ab") as file:
            file.write(b"half")  # of a record that is just being written
        followed.read("updates", folder)
        np.testing.assert_array_equal(followed.updates, updates(0, end))
    followed.read("epochs", folder)
    assert len(followed.epochs) == 0


# Read-only


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EMFILE])
def test_a_read_only_folder_is_a_clear_error_of_every_writer(run_folder, tmp_path, monkeypatch, number):
    def refuse(path, flags, folder=None):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_module, "private", refuse)
    monkeypatch.setattr(files, "private", refuse)
    for write in (
        lambda: run_folder.append("updates", updates(0, 1)), lambda: run_folder.replace("updates", updates(0, 1)),
        lambda: run_folder.write_description({}), lambda: run_folder.write_result({}),
        lambda: run_folder.write_array("weights.npy", np.zeros(2)), lambda: RunFolder.create("other", {}, tmp_path),
    ):  # fmt: skip
        with pytest.raises(RecordError, match=os.strerror(number)):
            write()
    assert run_folder.read_description() == {"status": "running"} and not (tmp_path / "other").exists()

"""Whatever happened to a run folder: only the documented errors come out of loading, resuming and diagnosing it."""

import json
import multiprocessing.process
import re
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.unit import inprocess
from tests.unit.watched import SCHEMA, TABLES
from workbench.runs.folder import RecordError, RecordWarning, RunFolder
from workbench.runs.loaded import RunError
from workbench.runs.recovery.checkpoint import CheckpointError, newest_checkpoint, write_checkpoint

CONFIG = wb.preset("tiny").replace(**{"epochs": 4, "device": "cpu", "evaluation.interval": 2})
DOCUMENTED = (RecordError, RunError)  # a CheckpointError is a RecordError


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of a whole run, without its checkpoints."""
    parts = inprocess.run(CONFIG, 1)
    with wb.launch(CONFIG, "sequential", 1, out=tmp_path_factory.mktemp("begun"), start=False) as run:
        begun = run.description
    said = begun | {
        "status": "finished",
        "ended": 1.0,
    }
    folder = RunFolder.create("sound", said, tmp_path_factory.mktemp("runs"), SCHEMA)
    history = inprocess.history(parts)
    for table, dtype in TABLES.items():
        folder.append(table, history.table(table) if table in history.schema.tables else np.empty(0, dtype))
    numbers = ("wall_s", "startup_s", "agent_steps", "updates", "agent_steps_per_s", "updates_per_s", "replay_ratio")
    folder.write_result({
        "mode": "sequential", "lag": 1, "seed": 0, "status": "finished", **dict.fromkeys(numbers, 1), "digest": {},
        "sync_lag": {unit: {"mean": 1.0, "max": None} for unit in ("versions", "updates", "milliseconds")},
        "reward": {"first_tenth": 1.0, "last_tenth": None}, "greedy_reward": 1.0,
    })  # fmt: skip
    folder.write_array("weights.npy", inprocess.weights(parts))
    return folder.path


def use(path):
    """Everything that reads a run folder; what is refused must be refused in the documented way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RecordWarning)
        for look in (
            lambda run: run.result, lambda run: run.weights, lambda run: run.progress, lambda run: run.error,
            lambda run: (run.status, run.label, run.references, repr(run)), lambda run: run.diagnose().text,
        ):  # fmt: skip
            try:
                look(wb.load(path))
            except DOCUMENTED as error:
                assert str(error)
        assert path.name in repr(wb.runs(path.parent))
        try:  # there is no checkpoint; with one, see below
            assert wb.resume(path).status == "finished"
        except DOCUMENTED as error:
            assert str(error)


def copy_of(sound, folder):
    return shutil.copytree(sound, folder / "run")


def test_a_sound_folder_is_read_in_every_way(sound):
    run = wb.load(sound)
    assert run.result.status == "finished" and run.progress["epochs"] == 4 and run.diagnose().text
    assert len(run.weights) == 2


FILES = ("run.json", "result.json", "weights.npy", *(f"{table}.records" for table in TABLES))


@settings(max_examples=60)
@given(file=st.sampled_from(FILES), place=st.floats(0, 1), value=st.integers(1, 255), cut=st.none() | st.floats(0, 1))
def test_a_flipped_byte_or_a_cut_anywhere(sound, tmp_path_factory, file, place, value, cut):
    path = copy_of(sound, tmp_path_factory.mktemp("damaged"))
    data = bytearray((path / file).read_bytes())
    if data:
        data[int(place * (len(data) - 1))] ^= value
    (path / file).write_bytes(data if cut is None else data[: int(cut * len(data))])
    use(path)


@settings(max_examples=30)
@given(file=st.sampled_from(FILES), data=st.binary(max_size=400))
def test_a_file_that_holds_something_else_or_more(sound, tmp_path_factory, file, data):
    path = copy_of(sound, tmp_path_factory.mktemp("damaged"))
    (path / file).write_bytes(data + (path / file).read_bytes() if len(data) % 2 else data)
    use(path)


@settings(max_examples=20)
@given(gone=st.sets(st.sampled_from(FILES), min_size=1), folders=st.booleans())
def test_files_that_are_gone_or_are_folders(sound, tmp_path_factory, gone, folders):
    path = copy_of(sound, tmp_path_factory.mktemp("damaged"))
    for file in gone:
        (path / file).unlink()
        if folders:
            (path / file).mkdir()
    use(path)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([[], {}, [1]])


@settings(max_examples=80)
@given(data=st.data(), value=VALUES, gone=st.booleans(), file=st.sampled_from(["run.json", "result.json"]))
def test_a_description_or_a_result_with_another_value_anywhere(sound, tmp_path_factory, data, value, gone, file):
    path = copy_of(sound, tmp_path_factory.mktemp("damaged"))
    alter(path / file, data, value, gone)
    use(path)


def alter(file, data, value, gone, within=None):
    """Put another value somewhere into a file of JSON, or into one of its objects, or leave one out."""
    whole = json.loads(file.read_text())
    inner = whole[within] if within else whole
    while True:
        name = data.draw(st.sampled_from(sorted(inner)))
        if isinstance(inner[name], dict) and inner[name] and data.draw(st.booleans()):
            inner = inner[name]
            continue
        if gone:
            del inner[name]
        else:
            inner[name] = value
        break
    file.write_text(json.dumps(whole))


@settings(max_examples=30)
@given(name=st.text(max_size=300))
@example(name="x" * 300)
@example(name="x/" * 3000)
@example(name="\0")
def test_any_path_is_a_run_or_is_refused(tmp_path_factory, name):
    with pytest.raises(RecordError):
        wb.load(tmp_path_factory.mktemp("runs") / "runs" / name.lstrip("/"))


@pytest.mark.parametrize(
    ("said", "arrays"),
    [
        ({}, {}),
        ({"config": 3}, {}),
        ({"config": {"seed": "x"}}, {}),
        ({"config": CONFIG.to_dict()}, {}),
        ({"config": CONFIG.to_dict(), "elapsed_s": 1.0}, {"actor/at": np.array(2)}),
        ({"config": CONFIG.to_dict(), "elapsed_s": 1.0}, {"agent 0/weight store": np.zeros(3, np.uint8)}),
    ],
)
def test_a_checkpoint_that_no_run_has_written_is_refused_and_the_records_stay(sound, tmp_path, said, arrays):
    path = copy_of(sound, tmp_path)
    write_checkpoint(path / "checkpoints", 2, arrays, said, keep=1)
    with pytest.raises(CheckpointError, match=r"epoch-00000002\.npz"):
        wb.resume(path, epochs=8)
    assert (path / "updates.records").read_bytes() == (sound / "updates.records").read_bytes()
    assert wb.load(path).status == "finished"


# With checkpoints

LONGER = pytest.mark.filterwarnings("ignore:the step size was")


@pytest.fixture(scope="module")
def resumable(tmp_path_factory):
    """The folder of a real run that was finished, with its checkpoints."""
    config = CONFIG.replace(**{"checkpoint.interval": 2, "evaluation.final_worlds": 2})
    run = wb.launch(config, "multiprocess", 1, out=tmp_path_factory.mktemp("runs"))
    run.wait(120)
    return run.folder.path


@pytest.fixture
def no_child(monkeypatch):
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", lambda self: pytest.fail("a child was started"))


def records(path):
    return {file.name: file.read_bytes() for file in path.glob("*.records")}


@LONGER
@pytest.mark.filterwarnings("ignore:the run has records of")
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=VALUES, gone=st.booleans())
def test_a_run_that_could_be_resumed_with_another_value_in_its_description(
    resumable, no_child, tmp_path_factory, data, value, gone
):
    """It is resumed like one that was stopped, or is refused in the documented way and loses nothing."""
    path = copy_of(resumable, tmp_path_factory.mktemp("altered"))
    alter(path / "run.json", data, value, gone, within="description")
    try:
        run = wb.resume(path, start=False, epochs=8)
    except (*DOCUMENTED, wb.ConfigError, MemoryError) as error:
        assert str(error) and records(path) == records(resumable)
        assert (path / "result.json").exists() and (path / "weights.npy").exists()
        return
    run.stop()
    assert run.status == wb.load(path).status == "stopped" and run.incidents == () and run.changes == []


@pytest.mark.parametrize("change", [{"lag": 3}, {"lag": None}, {"mode": "sequential"}], ids=str)
def test_a_run_with_the_mode_or_the_lag_of_another_is_refused(resumable, no_child, tmp_path, change):
    path = copy_of(resumable, tmp_path)
    head = json.loads((path / "run.json").read_text())
    head["description"].update(change)
    (path / "run.json").write_text(json.dumps(head))
    with pytest.raises(CheckpointError, match="is of a run with mode 'multiprocess' and lag 1; this one has mode"):
        wb.resume(path, epochs=8)
    assert records(path) == records(resumable) and (path / "weights.npy").exists()


@pytest.mark.parametrize("name", ["result.json", "weights.npy"])
def test_a_folder_in_the_place_of_what_a_run_writes_at_its_end_is_named_before_anything_is_dropped(
    resumable, no_child, tmp_path, name
):
    path = copy_of(resumable, tmp_path)
    (path / name).unlink()
    (path / name).mkdir()
    before = (path / "run.json").read_text()
    with pytest.raises(RecordError, match=rf"{name} is a folder, .* Take it away"):
        wb.resume(path, start=False, epochs=8)
    assert records(path) == records(resumable) and (path / "run.json").read_text() == before


@LONGER
def test_a_run_without_the_parts_of_its_description_that_have_defaults_is_resumed(resumable, no_child, tmp_path):
    path = copy_of(resumable, tmp_path)
    head = json.loads((path / "run.json").read_text())
    for name in ("faults", "incidents", "changes", "resumed"):
        del head["description"][name]
    (path / "run.json").write_text(json.dumps(head))
    run = wb.resume(path, start=False, epochs=8)
    run.stop()
    assert run.incidents == () and run.changes == [] and wb.load(path).description["resumed"][0]["epoch"] == 4


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), how=st.sampled_from(["gone", "longer", "shorter", "another dtype", "another name"]))
def test_a_checkpoint_of_other_arrays_is_refused_and_named(resumable, no_child, tmp_path_factory, data, how):
    path = copy_of(resumable, tmp_path_factory.mktemp("altered"))
    whole, _ = newest_checkpoint(path / "checkpoints")
    name = data.draw(st.sampled_from(sorted(whole.arrays)))
    arrays = dict(whole.arrays)
    array = arrays.pop(name)
    if how == "longer":
        arrays[name] = np.append(array, array.reshape(-1)[:1])
    elif how == "shorter":
        arrays[name] = array.reshape(-1)[1:]
    elif how == "another dtype":
        arrays[name] = array.astype(np.float64 if array.dtype != np.float64 else np.float32)
    elif how == "another name":
        arrays[f"{name}s"] = array
    write_checkpoint(path / "checkpoints", whole.epoch, arrays, whole.description, keep=1)
    with pytest.raises(CheckpointError, match=rf"is not of a run with this configuration: {re.escape(name)}"):
        wb.resume(path, epochs=8)
    assert records(path) == records(resumable)

"""Run folders that vanish, are another's, or come from somebody who means no good."""

import contextlib
import errno
import json
import os
import resource
import shutil
import sys
import zipfile

import numpy as np
import pytest

import workbench as wb
from tests.campaigns.mutations import attack, sound_run
from tests.unit.finished import CONFIG, finished_run
from workbench import export
from workbench.core.processes.spawn import in_words
from workbench.core.records import EVALUATIONS, EVENTS
from workbench.runs import folder, limits
from workbench.runs.folder import RecordError, RunFolder
from workbench.runs.initial_weights import initial_weights
from workbench.runs.recovery.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from workbench.view.timeline.spans import SPANS

# Looks at a loaded run that must not be about nothing, or about another run.
LOOKS = {
    "csv": lambda run, out: export.to_csv(run, out), "parquet": lambda run, out: export.to_parquet(run, out),
    "tensorboard": lambda run, out: export.to_tensorboard(run, out),
    "archive": lambda run, out: export.archive(run, out / "run.tar.gz"), "note": lambda run, out: run.note,
    "writing a note": lambda run, out: setattr(run, "note", "x"), "tags": lambda run, out: setattr(run, "tags", ["x"]),
    "history": lambda run, out: run.history.updates, "result": lambda run, out: run.result,
    "weights": lambda run, out: run.weights, "checkpoints": lambda run, out: run.checkpoints,
    "refresh": lambda run, out: run.refresh(), "doctor": lambda run, out: run.diagnose(),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return sound_run(wb.preset("tiny").replace(device="cpu"), tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "runs" / "sound")


def contents(path):
    """Every file in a folder, by its name."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("how", ["deleted", "moved", "another"])
def test_a_folder_that_vanishes_under_a_loaded_run_is_missed_by_all_that_look(how, tmp_path):
    path = finished_run(tmp_path / "runs", name="mine")
    run = wb.load(path)
    assert len(run.history.updates) > 0
    shutil.rmtree(path) if how == "deleted" else path.rename(tmp_path / "elsewhere")
    if how == "another":
        finished_run(tmp_path / "runs", seed=5, name="mine", created=1.6e9)
    out = tmp_path / "out"
    out.mkdir()
    for name, look in LOOKS.items():
        with pytest.raises(RecordError, match="mine, was deleted or moved"):
            pytest.fail(f"{name}: {look(run, out)}")
    assert [file for file in out.rglob("*") if file.is_file()] == []
    assert not (path / "note.json").exists() and "mine" in repr(run)


@pytest.mark.parametrize(
    "name", ["run.json", "result.json", "weights.npy", "updates.records", "note.json", "epochs.records"]
)
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_and_not_waited_for(name, copy, tmp_path):
    (copy / name).unlink(missing_ok=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(copy / name)
        try:
            run = wb.load(copy)
            assert (run.note, run.tags) == ("", ()) if name == "note.json" else name in ("result.json", "weights.npy")
            if name != "note.json":
                _ = run.result, run.weights
        except RecordError as error:
            assert name in str(error) and "it is no plain file" in str(error)
        assert wb.runs(copy.parent)[0].status in ("unreadable", "finished")
        (copy / name).unlink()


@pytest.mark.parametrize("name", ["checkpoints", "logs"])
def test_a_link_in_place_of_a_folder_is_not_written_through(name, copy, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (copy / name).rename(elsewhere)
    (copy / name).symlink_to(elsewhere)
    before = contents(copy), contents(elsewhere)
    with pytest.raises(RecordError, match=f"{name} is a link, or no folder"):
        wb.resume(copy, start=False, epochs=8)
    assert (contents(copy), contents(elsewhere)) == before


def test_a_file_in_place_of_the_folder_of_the_logs_is_refused_before_anything_changes(copy):
    shutil.rmtree(copy / "logs")
    (copy / "logs").write_text("mine")
    before = contents(copy)
    with pytest.raises(RecordError, match=r"logs is a link, or no folder; nothing is written there\. Take it away"):
        wb.resume(copy, start=False, epochs=8)
    assert contents(copy) == before


@pytest.mark.parametrize(("name", "remedy"), [("run.json", "put it back from a copy"), ("result.json", "wb.resume")])
def test_a_folder_in_place_of_a_file_is_refused_with_the_remedy(name, remedy, copy):
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(RecordError, match=rf"cannot read .*/{name}: it is no plain file; {remedy}"):
        _ = wb.load(copy).result
    assert f"it is no plain file; {remedy}" in wb.runs(copy.parent)[0].label


def test_a_link_in_place_of_a_part_is_not_followed(copy, tmp_path):
    (tmp_path / "precious").write_text("as it was")
    names = ["run.json", "result.json", "note.json", "updates.records", "weights.npy"]
    for name in names:
        (copy / f"{name}.part").symlink_to(tmp_path / "precious")
    (copy.parent / ".index.json.part").symlink_to(tmp_path / "precious")
    wb.load(copy).note = "x"
    wb.runs(copy.parent)
    wb.resume(copy, start=False, epochs=8).stop()
    assert (tmp_path / "precious").read_text() == "as it was" and wb.load(copy).note == "x"


def test_a_checkpoint_that_unfolds_to_more_than_it_is_is_refused(tmp_path):
    path = write_checkpoint(tmp_path, 2, {"actor/at": np.zeros(10_000_000, np.uint8)}, {}, keep=1)
    assert read_checkpoint(path).arrays["actor/at"].size == 10_000_000
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(CheckpointError, match="unpacks to more than its own size"):
        read_checkpoint(tmp_path / "bomb.npz")


def test_weights_and_texts_that_are_too_large_are_not_read(copy):
    np.save(copy / "weights.npy", np.zeros((2, 10_000_000), np.float32))
    with pytest.raises(RecordError, match=r"larger than the weights of this run; run\.weights_at"):
        _ = wb.load(copy).weights
    with open(copy / "run.json", "ab") as file:
        file.truncate(2**40)  # with a hole: it takes no room on the disk
    with pytest.raises(RecordError, match=r"run\.json: it has more than 16,777,216 bytes"):
        wb.load(copy)


def test_records_that_do_not_fit_into_memory_are_told_before_they_are_copied(copy, monkeypatch):
    monkeypatch.setattr(limits, "memory_available", lambda: 1000)
    for look in (lambda run: run.diagnose(), lambda run: run.to_pandas()):
        with pytest.raises(MemoryError, match=r"the records of the run are \d+ MiB, and 0 MiB of memory are left"):
            look(wb.load(copy))


@pytest.mark.parametrize("place", ["world", "agent", "replay.sampler", "world.env_id", "checkpoint"])
def test_nothing_is_imported_because_a_folder_names_it(place, copy, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('planted was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    head = json.loads((copy / "run.json").read_text())
    config = head["description"]["config"]
    if place == "world.env_id":
        config["world"] = {"name": "gymnasium", "env_id": "planted:Env-v0"}
    else:
        owner = (
            config["replay"]["sampler"] if place == "replay.sampler" else config[place.replace("checkpoint", "world")]
        )
        owner["name"] = "planted:Class"
    if place == "checkpoint":
        for file in (copy / "checkpoints").iterdir():
            found = read_checkpoint(file)
            write_checkpoint(file.parent, found.epoch, found.arrays, found.description | {"config": config}, keep=9)
    else:
        (copy / "run.json").write_text(json.dumps(head))
    for use in (
        wb.load, lambda path: wb.resume(path, start=False, epochs=8), lambda path: initial_weights(path, CONFIG),
        lambda path: initial_weights(path / "checkpoints" / "epoch-00000006.npz", CONFIG),
        lambda path: wb.report.make([path]), lambda path: wb.runs(path.parent),
        lambda path: export.archive(path, tmp_path),
    ):  # fmt: skip
        with contextlib.suppress(RecordError, wb.RunError, wb.ConfigError):
            use(copy)
    assert "planted" not in sys.modules


@pytest.mark.parametrize("seed", range(0, 240, 6))
def test_a_senseless_value_anywhere_is_used_or_refused(seed, sound):
    """A few of those of the campaign: ``python -m tests.campaigns.mutations``."""
    assert attack(sound, seed, report=False) == []


def test_what_nothing_here_could_have_described_is_refused_and_what_lacks_a_lane_has_no_timeline(copy):
    head = json.loads((copy / "run.json").read_text())
    for changed in ({}, {"epochs": 0}, {"sd": "wide"}):
        scripted = {"mean": 1.0, "sd": 1e308, **changed}
        said = head["description"] | {
            "references": {"random": {"mean": 0.0, "sd": 1.0, "epochs": 9}, "scripted": scripted}
        }
        (copy / "run.json").write_text(json.dumps(head | {"description": said}))
        with pytest.raises(RecordError, match=r"run\.json is damaged: references\.scripted"):
            wb.load(copy)
    said["references"]["scripted"] = {"mean": 1.0, "sd": 1e308, "epochs": 9}
    del said["processes"], said["timeline"], said["clock_offset_ns"]
    (copy / "run.json").write_text(json.dumps(head | {"description": said}))
    assert wb.load(copy).diagnose().text
    with pytest.raises(RecordError, match="has no timeline"):
        wb.load(copy).timeline()


@pytest.mark.parametrize(("number", "told"), [(errno.EROFS, "use the copy"), (errno.ENOSPC, "make room")])
def test_a_note_that_the_disk_refuses_is_told_with_the_remedy(number, told, copy, monkeypatch):
    def refuse(path, content):
        raise OSError(number, "refused")

    run = wb.load(copy)
    monkeypatch.setattr(folder, "write_whole", refuse)
    with pytest.raises(
        RecordError, match=rf"cannot write .*note\.json: refused; what was there before is kept; .*{told}"
    ):
        run.note = "x"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"wall_s": "long"}, "wall_s must be number; it is 'long'"),
        ({"sync_lag": {"versions": 3}}, "sync_lag must contain"),
    ],
)
def test_a_result_that_no_run_can_have_is_refused_with_the_file_and_the_remedy(changed, told, copy):
    said = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps(said | changed))
    with pytest.raises(RecordError, match=rf"result\.json is damaged: {told}.*workbench resume"):
        _ = wb.load(copy).result


def test_a_metric_of_the_core_that_is_left_out_is_missed(copy):
    head = json.loads((copy / "run.json").read_text())
    head["metrics"] = [each for each in head["metrics"] if each["name"] != "losses/loss"]
    (copy / "run.json").write_text(json.dumps(head))
    with pytest.raises(RecordError, match="damaged: metric 'losses/loss' is missing"):
        wb.load(copy)


def test_a_span_of_no_kind_is_refused(copy):
    spans = np.fromfile(copy / "spans.records", SPANS)
    spans["kind"][3] = 139
    spans.tofile(copy / "spans.records")
    with pytest.raises(RecordError, match="the spans of sound are damaged"):
        wb.load(copy).timeline()


@pytest.mark.parametrize("when", [np.nan, np.inf, -np.inf])
def test_records_of_no_time_are_refused(when, copy):
    events = np.fromfile(copy / "events.records", EVENTS)
    events["time"][-2:] = when
    events.tofile(copy / "events.records")
    with pytest.raises(RecordError, match=r"events\.records is damaged: time goes from"):
        wb.load(copy)


@pytest.mark.parametrize("worlds", [0, -1])
def test_an_evaluation_in_no_world_is_taken_as_one_in_a_single_world(worlds, copy):
    evaluations = np.fromfile(copy / "evaluations.records", EVALUATIONS)
    evaluations["worlds"] = worlds
    evaluations.tofile(copy / "evaluations.records")
    assert "learning" in wb.load(copy).diagnose().text


def test_the_limit_that_was_met_is_named(tmp_path):
    assert "ulimit -u" in in_words(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
    assert "ulimit -u" in in_words(RuntimeError("can't start new thread"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"a file of \d+ MiB, this process may write files of 0 MiB; .*ulimit -f"):
            wb.launch(wb.preset("tiny"), out=tmp_path)
        folder = RunFolder.create("mine", {}, tmp_path)
        with pytest.raises(RecordError, match=r"File too large.*ulimit -f"):
            folder.write_array("weights.npy", np.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.rglob("*.npy*")] == []

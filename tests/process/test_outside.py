"""What is around a command and a run: signals, a closed stderr, a reader that leaves, numbers that are not finite."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import workbench as wb
from tests.process.test_survival import wait_until
from tests.unit.finished import finished_run
from workbench import export
from workbench.cli import main
from workbench.export.needed import ExportError
from workbench.view.picture import to_png

TINY = ["--preset", "tiny", "--device", "cpu"]
COMMAND = [sys.executable, "-m", "workbench"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_ends_a_run_in_order_with_a_checkpoint(number, tmp_path):
    words = ["run", *TINY, "--epochs", "1000000", "--out", str(tmp_path), "--name", "mine"]
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (tmp_path / "mine" / "updates.records").exists() and wb.runs(tmp_path)[0].epochs > 5)
        process.send_signal(number)
        process.communicate(timeout=120)
    run = wb.load(tmp_path / "mine")
    assert process.returncode == 130 and run.status == "stopped" and len(run.checkpoints) >= 1
    assert run.checkpoints[-1] == run.history.epochs["epoch"].max() + 1


def test_a_run_whose_stderr_is_closed_runs_without_progress(tmp_path):
    words = ["run", *TINY, "--epochs", "3", "--out", str(tmp_path), "--name", "mine"]
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *COMMAND, *words], capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "finished"
    assert wb.load(tmp_path / "mine").status == "finished"


def test_a_reader_that_leaves_is_no_failure(tmp_path):
    for seed in range(300):
        (tmp_path / f"run-{seed}").mkdir()
        (tmp_path / f"run-{seed}" / "run.json").write_text("{")
    line = '"$@" | head -1; echo "${PIPESTATUS[0]}"'
    words = ["bash", "-c", line, "bash", *COMMAND, "runs", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0" and done.stderr == ""


def test_a_number_that_is_not_finite_is_told_while_the_run_is_under_way(tmp_path):
    pytest.importorskip("gymnasium")
    config = wb.preset("tiny").replace(
        world="gymnasium:tests.unit.own_environments:Odd", device="cpu", epochs=4,
        **{"world.max_turns": 20, "world.env_args": {"shows": "np.array([np.nan, 0.0])"}},
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"a number is not finite, .*: loss is nan, agent 0, update 1, epoch \d"):
        wb.launch(config, "sequential", 0, out=tmp_path).wait()


def test_whole_numbers_are_taken_as_what_they_are():
    config = wb.Config().replace(epochs=1e3, seed=np.int64(3), **{"learning.batch_size": np.float32(8)})
    assert (config.epochs, config.seed, config.learning.batch_size) == (1000, 3, 8)
    assert {type(each) for each in (config.epochs, config.seed, config.learning.batch_size)} == {int}
    with pytest.raises(wb.ConfigError, match=r"epochs is 1\.5; it must be a whole number"):
        config.replace(epochs=1.5)


@pytest.mark.parametrize(
    "changed", [{"learning.batch_size": 1}, {"world.max_turns": 1, "replay.learning_starts": 20}], ids=["batch", "turn"]
)
def test_the_doctor_comes_to_an_end_with_batches_of_one_row_and_epochs_of_one_turn(changed, tmp_path, capsys):
    config = wb.preset("tiny").replace(device="cpu", epochs=40, **changed)
    wb.launch(config, "multiprocess", 1, out=tmp_path, name="mine").wait()
    code = main(["doctor", str(tmp_path / "mine")])
    told = capsys.readouterr().out
    assert ("recorded (yet)" not in told and code != 2) or "does not apply" in told, told


def test_an_archive_that_is_encrypted_is_refused_in_one_line(tmp_path, capsys):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mine/run.json", "{}")
    locked = bytearray(path.read_bytes())
    for place in (locked.find(b"PK\x03\x04") + 6, locked.find(b"PK\x01\x02") + 8):
        locked[place] |= 1  # the flag that says so
    path.write_bytes(locked)
    assert main(["unpack", str(path), "--out", str(tmp_path / "there")]) in (1, 2)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "Traceback" not in told and "a.zip" in told
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9, -8, -1])
def test_a_byte_that_was_changed_anywhere_in_an_archive_is_noticed(place, tmp_path):
    path = export.archive(finished_run(tmp_path / "runs", name="mine"), tmp_path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExportError, match=r"is no whole archive of a run: .*ask for it again"):
        export.unpack(path, tmp_path / "there")
    assert os.listdir(tmp_path / "there") == []


@pytest.mark.filterwarnings("ignore:the step size was")
def test_every_life_keeps_the_machine_that_it_was_on(tmp_path):
    with wb.launch(wb.preset("tiny").replace(device="cpu", epochs=6), "sequential", 1, out=tmp_path) as run:
        run.wait()
    head = json.loads((run.folder.path / "run.json").read_text())
    there = {"host": "there", "commit": "f" * 40, "versions": {"torch": "1.0"}, "pid": 1}
    head["description"]["machine"] |= there
    (run.folder.path / "run.json").write_text(json.dumps(head))
    with wb.resume(run.folder.path, epochs=12) as again:
        again.wait()
    first, last = [each["machine"] for each in wb.load(run.folder.path).places]
    assert {name: first[name] for name in there} == there and last["host"] == os.uname().nodename


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = wb.preset("tiny").replace(device="cpu", epochs=4)
    run = wb.launch(config, "sequential", 1, out="~/runs", name="mine")
    run.wait()
    loaded = wb.load("~/runs/mine")
    wb.runs("~/runs")
    loaded.timeline().save("~/strip.svg")
    loaded.export("archive", "~/a.tar.gz")
    loaded.export("csv", "~/csv")
    export.unpack("~/a.tar.gz", "~/unpacked")
    wb.report.make(["~/runs/mine"], bands=False, figures=["sync_lag"]).save("~/report")
    wb.side_by_side([loaded]).save("~/pair.png")
    wb.launch(config, "sequential", 1, out="~/runs", name="warm", weights="~/runs/mine").wait()
    wb.sweep(config, {"seed": [1]}, mode="sequential", out="~/sweep").wait()
    with wb.Watch("watched", out="~/runs"):
        pass
    made = {path.name for path in tmp_path.iterdir()}
    assert {"runs", "strip.svg", "a.tar.gz", "csv", "unpacked", "report", "pair.png", "sweep"} <= made
    assert "~" not in made and {path.name for path in (tmp_path / "runs").iterdir()} >= {"mine", "warm", "watched"}


def test_boards_legends_and_panels_are_drawn_as_under_the_defaults(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    theirs = {"text.usetex": True, "figure.constrained_layout.use": True, "figure.autolayout": True, "font.size": 30,
              "axes.facecolor": "black", "text.color": "white", "savefig.bbox": "tight"}  # fmt: skip
    run = wb.load(finished_run(tmp_path, name="mine"))

    def pictures():
        panel = wb.Panel(run)
        panel.wait(60)
        made = wb.report.make([run], bands=False, figures=["reward"])["reward"].picture
        timeline, shown = run.timeline().figure(), panel.figure()
        panel.close()
        return [to_png(each) for each in (timeline, shown, made)]

    plain = pictures()
    with matplotlib.rc_context(theirs):
        assert pictures() == plain

"""Folders of watched trainers that come from somebody who means no good, and trainers whose watch cannot record."""

import json
import multiprocessing as mp
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import workbench as wb
from tests.campaigns.mutations import attack, sound_watch
from tests.unit.test_watch_recording import train
from workbench.cli import main
from workbench.runs.folder import RecordError, RecordWarning
from workbench.view.html import page
from workbench.watch.storage import BLOCK, HEAD
from workbench.watch.watch import NoWatch

NASTY = ["=1+1", r"$\frac$", "\x1b]0;mine\x07", "<script>", "\ud800", "time", "update", "größe", "_x", "a" * 80]
"""Names under which a trainer may report something; the others have nothing in them that is a number's."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return sound_watch(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "runs" / "watched")


@pytest.fixture
def watch(tmp_path):
    with wb.Watch("mine", agents=2, gamma=0.9, n_step=1, tau=0.5, frames=2, out=tmp_path) as made:
        yield made


def file_of(path):
    (file,) = (path / "watch").iterdir()
    return file


@pytest.mark.parametrize("how", ["pipe", "device", "nowhere", "folder", "circle", "noise in it"])
def test_a_file_of_another_kind_is_refused_by_name_and_not_waited_for(how, copy, capsys):
    file = file_of(copy)
    file.unlink()
    {
        "pipe": lambda: os.mkfifo(file), "device": lambda: file.symlink_to("/dev/zero"), "folder": file.mkdir,
        "nowhere": lambda: file.symlink_to("/nowhere"), "circle": lambda: file.symlink_to(file),
        "noise in it": lambda: file.write_bytes(b"wbwatch1" + np.random.default_rng(0).bytes(2 * HEAD)),
    }[how]()  # fmt: skip
    with pytest.raises(RecordError, match=rf"{re.escape(file.name)} cannot be read: "):
        wb.load(copy)
    assert main(["doctor", str(copy)]) == 2
    told = "".join(capsys.readouterr())
    assert file.name in told and told.count("\n") == 1


@pytest.mark.parametrize("how", ["gone", "a file"])
def test_a_folder_whose_records_are_missing_says_so_by_name(how, copy, capsys):
    followed = wb.load(copy)
    (copy / "watch").rename(copy / "elsewhere")
    if how == "a file":
        (copy / "watch").write_text("mine")
    for use in (lambda: wb.load(copy), followed.refresh, lambda: followed.diagnose()):
        with pytest.raises(RecordError, match=rf"{re.escape(str(copy / 'watch'))} is missing"):
            pytest.fail(f"it was read: {use()}")
    for words in (["doctor", str(copy)], ["figures", str(copy), "--out", str(copy.parent)]):
        assert main(words) == 2
        told = "".join(capsys.readouterr())
        assert str(copy / "watch") in told and "Traceback" not in told


def test_a_file_that_is_larger_than_memory_is_refused_at_once(copy):
    with open(file_of(copy), "r+b") as file:
        file.truncate(2**42)  # with a hole: it takes no room on the disk
        file.seek(8)
        file.write(struct.pack("<q", (2**42 - HEAD) // BLOCK))
    with pytest.raises(RecordError, match=r"\.watch cannot be read: the records of the run are 4194304 MiB"):
        wb.load(copy)


@pytest.mark.parametrize(
    ("place", "value"),
    [(HEAD, 99), (HEAD, -1), (HEAD + 8, 2**40), (HEAD + 8, -1), (8, 2**50), (16, 2**62)],
    ids=["no table", "a table before the first", "too many records", "fewer than none", "blocks", "text"],
)  # fmt: skip
def test_numbers_that_lead_out_of_the_file_are_refused(place, value, copy):
    with open(file_of(copy), "r+b") as file:
        file.seek(place)
        file.write(struct.pack("<q", value))
    with pytest.raises(RecordError, match=r"\.watch cannot be read"):
        pytest.fail(f"it was read: {wb.load(copy)}")


@pytest.mark.parametrize("seed", range(0, 320, 8))
def test_a_senseless_value_anywhere_is_used_or_refused(seed, sound):
    """A few of those of the campaign: ``python -m tests.campaigns.mutations``."""
    assert attack(sound, seed + (1 if seed % 3 else 5), report=seed % 80 == 0) == []


def test_a_description_without_what_was_declared_is_refused(copy):
    head = json.loads((copy / "run.json").read_text())
    for changed in ({}, {"agents": 10**9}, head["description"]["watched"] | {"frames": "x"}, None):
        said = head["description"] | {"watched": changed}
        (copy / "run.json").write_text(json.dumps(head | {"description": said}))
        with pytest.raises(RecordError, match=r"run\.json is damaged: watched"):
            wb.load(copy)


class Odd(torch.nn.Module):
    """A model whose parameter has a name that steers."""

    def __init__(self):
        super().__init__()
        self.register_parameter("\x1b[2J<script>", torch.nn.Parameter(torch.zeros(3)))


class Unkind:
    """An observation that cannot be had."""

    def __array__(self, *given, **named):
        raise ValueError("".join(NASTY))


def test_text_of_a_trainer_reaches_nothing_as_it_is(watch, tmp_path, capsys):
    train(watch)
    for name in NASTY:
        watch.epoch(3, **{name: 1.5})
    with watch.sync(1, source=Odd(), target=Odd()):
        pass
    watch.store(0, Unkind(), 0, 0.0, False)
    watch.close("".join(NASTY))
    run = wb.load(watch.path)
    assert {"reported/loss"} == {name for name in run.history.schema.metrics if name.startswith("reported")}
    for words in (["doctor"], ["timeline"], ["figures", "--out", str(tmp_path), "--no-bands"]):
        main([words[0], str(watch.path), *words[1:]])
    for kind in ("csv", "tensorboard"):
        assert main(["export", str(watch.path), "--to", kind, "--out", str(tmp_path / kind)]) == 0
    main(["runs", str(tmp_path)])
    told = "".join(capsys.readouterr())
    assert "Traceback" not in told and told.replace("\n", "").isprintable(), told
    for shown in (page(run), page(run.diagnose()), repr(run)):
        assert "<script>" not in shown and shown.replace("\n", "").isprintable()
    panel = wb.Panel(run)
    assert panel.wait(60)
    panel.close()


# Writing

FULL = """
import resource, sys
import numpy as np
import workbench as wb
from pathlib import Path
watch = wb.Watch("mine", agents=1, out=Path(sys.argv[1]))
watch.episode()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
for step in range(20_000):
    watch.store(0, np.ones(3), 0, 1.0, False)
print("trained")
"""


@pytest.mark.parametrize("room", [2**19, 2 * 2**20])
def test_a_full_disk_stops_no_trainer_and_is_told(room, tmp_path, capsys):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path, str(room)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("trained\n", "")
    main(["doctor", str(tmp_path / "mine")])
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"[\d,]+ records could not be taken: no room for records: \[Errno 27\] File too large", told), told


def test_a_process_whose_file_cannot_be_made_tries_again_and_counts_what_it_missed(watch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for epoch in range(3):
            watch.epoch(epoch, reward=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    watch.epoch(3, reward=1.0)
    watch.close()
    run = wb.load(watch.path)
    assert run.history.epochs["epoch"].tolist() == [3, 3]
    assert [reader.numbers()["lost"] for reader in run.history.recording.files.values()] == [3]


def _child(epoch):
    wb.watching().epoch(epoch, agent=1, reward=1.0)


def test_a_watch_follows_its_folder_and_never_records_into_another_of_its_name(watch, tmp_path):
    watch.epoch(0, reward=1.0)
    watch.path.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "mine")
    head = json.loads((tmp_path / "mine" / "run.json").read_text())
    head["description"]["created"] += 1
    (tmp_path / "mine" / "run.json").write_text(json.dumps(head))
    kept = {file: file.read_bytes() for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    for method in ("spawn", "fork"):  # which of them has the folder open, and which looks for it
        child = mp.get_context(method).Process(target=_child, args=(7,))
        child.start()
        child.join()
        assert child.exitcode == 0
    assert isinstance(pickle.loads(pickle.dumps(watch)), NoWatch)
    watch.epoch(1, reward=1.0)
    watch.close()
    assert {file: file.read_bytes() for file in (tmp_path / "mine").rglob("*") if file.is_file()} == kept
    run = wb.load(tmp_path / "moved")
    assert run.status == "finished" and run.history.epochs["epoch"].tolist() == [0, 0, 7, 1, 1]


def test_a_watch_without_its_folder_records_nowhere_and_says_so(watch, tmp_path):
    watch.epoch(0, reward=1.0)
    shutil.rmtree(watch.path)
    assert isinstance(pickle.loads(pickle.dumps(watch)), NoWatch)
    for _ in range(30_000):
        watch.epoch(1, reward=1.0)
    with pytest.warns(RecordWarning, match="what the watch has recorded is lost: .*was deleted or moved"):
        watch.close()
    assert not watch.path.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with wb.Watch("other", out=tmp_path) as other:
            shutil.rmtree(other.path)


def test_a_child_does_not_end_the_run_of_its_parent(watch):
    child = mp.get_context("fork").Process(target=watch.close)
    child.start()
    child.join()
    assert child.exitcode == 0 and wb.load(watch.path).status == "running"


def test_what_counts_without_an_end_does_not_run_over(watch):
    from workbench.watch.watch import _process_of

    here = _process_of(os.getpid(), watch.folder, watch.max_mb)
    here.episodes[0, 0][:] = [2**33, 2**34, 2**35]
    here.updates[0] = here.sampled[0] = 2**33
    watch.store(0, np.ones(2), 0, 1.0, False)
    with watch.update(0):
        pass
    watch.close()
    run = wb.load(watch.path)
    assert sum(reader.numbers()["lost"] for reader in run.history.recording.files.values()) == 0
    (row,) = run.history.recording.table("stored")
    assert (row["episode"], row["step"], row["row"]) == (2**33, 2**34, 2**35)
    assert run.history.updates["update"].tolist() == [2**33 + 1]


@pytest.mark.parametrize("max_mb", [0, -5, "x", None, float("nan")])
def test_room_for_records_that_is_no_number_of_megabytes_is_refused(max_mb, tmp_path):
    with pytest.raises(wb.ConfigError, match=r"max_mb is .*; it must be a number of megabytes above 0"):
        wb.Watch("mine", max_mb=max_mb, out=tmp_path)
    assert not (tmp_path / "mine").exists()

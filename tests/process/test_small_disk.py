"""What happens on a disk that is full, a real one of a few megabytes; skipped where none may be mounted."""

import os
import re
import subprocess
import sys

import pytest

import workbench as wb

TRAIN = ["--preset", "tiny", "--device", "cpu", "--epochs", "40"]


@pytest.fixture
def disk(tmp_path):
    """A file system with room for 8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The folder of a run that has finished, elsewhere."""
    run = wb.launch(wb.preset("tiny").replace(device="cpu"), "multiprocess", 1, out=tmp_path_factory.mktemp("runs"))
    run.wait()
    return run.folder.path


def leave(disk, room):
    """Fill a disk but for some bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(bytes(free - room))


def workbench(*words):
    """What a command leaves: its exit code and everything that it printed."""
    words = [sys.executable, "-m", "workbench", *map(str, words)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def partial(folder):
    """Files that were not written whole."""
    return [path for kind in ("part", "new", "tmp") for path in folder.rglob(f"*.{kind}")]


@pytest.mark.parametrize("room", [2**20, 30_000])
def test_a_training_ends_with_an_exit_code_of_its_own_and_says_what_is_not_saved(room, disk):
    leave(disk, room)
    code, told = workbench("run", *TRAIN, "--out", disk, "--name", "mine")
    assert code == 3 and re.search(r"NOT SAVED, as the disk refused: [\d,]+ records of updates", told)
    assert "No space left on device" in told and '"greedy_reward"' in told
    assert partial(disk) == [] and not (disk / "mine" / "result.json").exists()
    found = wb.load(disk / "mine")
    assert found.status == "cut off" and len(found.history.updates) < 2 * 156


def test_a_training_that_finds_no_room_leaves_no_folder(disk):
    leave(disk, 0)
    code, told = workbench("run", *TRAIN, "--out", disk, "--name", "mine")
    assert code == 2 and "run.json: No space left on device" in told
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_sweep_counts_no_cell_whose_results_the_disk_refused(disk):
    leave(disk, 2**20)
    code, told = workbench("sweep", *TRAIN, "--over", "seed=0,1", "--mode", "sequential", "--out", disk)
    assert code == 1 and "2 failed" in told and partial(disk) == []
    assert re.search(r"seed0-\w+: it finished, and [\d,]+ records of .* are lost: ", told)
    assert re.search(r"seed1-\w+: (cannot write .*run\.json|it finished, and [\d,]+ records of .* are lost)", told)


@pytest.mark.parametrize("room", [20_000, 0])
def test_what_could_not_be_written_whole_is_not_there_and_is_named(room, good, disk):
    leave(disk, room)
    words = {"svg": ["timeline", good, "--out", disk / "a.svg"], "json": ["timeline", good, "--out", disk / "a.json"],
             "figures": ["figures", good, "--out", disk / "figures", "--no-bands"]}  # fmt: skip
    words |= {kind: ["export", good, "--to", kind, "--out", disk] for kind in ("archive", "csv", "safetensors")}
    for name, each in words.items():
        code, told = workbench(*each)
        assert code == 1 and re.search(rf"No space left on device: '{disk}/", told), (name, told)
        left = [path for path in disk.rglob("*") if path.is_file() and path.name != "filler"]
        assert name == "csv" or left == [], name
        for path in left:  # of the tables, those that there was room for
            assert path.suffix == ".csv" and path.stat().st_size
            path.unlink()


WATCH = """
import sys
import numpy as np
import workbench as wb
watch = wb.Watch("mine", agents=1, out=sys.argv[1])
for step in range(30_000):
    watch.store(0, np.ones(30), 0, 1.0, False)
watch.close()
print("trained")
"""


@pytest.mark.parametrize(("room", "told"), [(2**21, "records could not be taken"), (60_000, "had no room for a file")])
def test_a_watch_on_a_full_disk_lets_the_trainer_end_and_the_doctor_says_what_is_missing(room, told, disk):
    leave(disk, room)
    done = subprocess.run([sys.executable, "-c", WATCH, disk], capture_output=True, text=True, check=True)
    assert done.stdout == "trained\n"
    warned = "what the watch has recorded is lost: [Errno 28] No space left on device" in done.stderr
    assert warned == (room < 2**18)
    code, words = workbench("doctor", disk / "mine")
    assert code == 2 and told in " ".join(words.split())

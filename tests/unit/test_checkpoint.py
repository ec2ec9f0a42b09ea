"""Checkpoints come back as they were or not at all; what is there is kept until what replaces it is whole."""

import errno
import json
import os
import pickle
import stat
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from workbench.runs.recovery import checkpoint as checkpoint_module
from workbench.runs.recovery.checkpoint import (
    FORMAT,
    CheckpointError,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

CUT = {
    "actor/at": np.array(3),
    "agent 0/vector": np.arange(6, dtype=np.float32),
    "actor/replay 0": np.ones(40, np.uint8),
}
SAID = {"config": {"seed": 4}, "elapsed_s": 1.5}
NAMES = st.from_regex(r"(actor|agent [0-9])/[a-z_]{1,9}( [0-9])?", fullmatch=True)
ARRAYS = arrays_of.arrays(
    st.sampled_from([np.uint8, np.int64, np.uint64, np.float32, np.float64, np.bool_]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == np.asarray(array).dtype
        and found[name].shape == np.shape(array)
        and found[name].tobytes() == np.asarray(array).tobytes()
        for name, array in expected.items()
    )


@given(cut=st.dictionaries(NAMES, ARRAYS, max_size=4), epoch=st.integers(0, 10**12))
def test_a_checkpoint_comes_back_to_the_last_bit(tmp_path_factory, cut, epoch):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    path = write_checkpoint(folder, epoch, cut, SAID, keep=1)
    found, refused = newest_checkpoint(folder)
    assert found.path == path and found.epoch == epoch and refused == []
    assert same(found.arrays, cut) and found.description.items() >= SAID.items()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoints", 3, CUT, SAID, keep=1).read_bytes()


def reads_as_it_was_or_is_refused(folder, data):
    path = folder / "epoch-00000003.npz"
    path.write_bytes(data)
    try:
        found = read_checkpoint(path)
    except CheckpointError as error:
        assert str(error).startswith(str(path))
        return
    assert same(found.arrays, CUT) and found.epoch == 3 and found.description.items() >= SAID.items()


@given(data=st.data(), value=st.integers(1, 255))
def test_a_flipped_byte_is_recognised_or_lies_where_nothing_is_said(tmp_path_factory, written, data, value):
    damaged = bytearray(written)
    damaged[data.draw(st.integers(0, len(written) - 1))] ^= value
    reads_as_it_was_or_is_refused(tmp_path_factory.mktemp("run"), damaged)


def test_every_single_byte_can_be_flipped_without_harm(tmp_path, written):
    for place in range(len(written)):
        damaged = bytearray(written)
        damaged[place] ^= 1 << place % 8
        reads_as_it_was_or_is_refused(tmp_path, damaged)


@given(data=st.data())
def test_a_checkpoint_that_is_cut_off_is_recognised(tmp_path_factory, written, data):
    path = tmp_path_factory.mktemp("run") / "epoch-00000003.npz"
    path.write_bytes(written[: data.draw(st.integers(0, len(written) - 1))])
    with pytest.raises(CheckpointError, match="is damaged or cut off"):
        read_checkpoint(path)


@given(data=st.binary(max_size=300))
def test_anything_else_under_its_name_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("run") / "epoch-00000003.npz"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@given(
    epochs=st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True).map(sorted), keep=st.integers(1, 4),
    damaged=st.integers(0, 4),
)  # fmt: skip
def test_the_newest_are_kept_and_the_newest_whole_one_is_used(tmp_path_factory, epochs, keep, damaged):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    for epoch in epochs:
        write_checkpoint(folder, epoch, {**CUT, "actor/at": np.array(epoch)}, SAID, keep)
    kept = epochs[-keep:]
    assert sorted(path.name for path in folder.iterdir()) == [f"epoch-{epoch:08d}.npz" for epoch in kept]
    for epoch in kept[::-1][:damaged]:
        (folder / f"epoch-{epoch:08d}.npz").write_bytes(b"PK")
    if damaged >= len(kept):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole: .*; launch the run again"):
            newest_checkpoint(folder)
        return
    found, refused = newest_checkpoint(folder)
    assert found.arrays["actor/at"] == found.epoch == kept[::-1][damaged] and len(refused) == damaged


def test_what_a_killed_writer_left_is_no_checkpoint_and_does_not_hinder_the_next(tmp_path):
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, 3, CUT, SAID, keep=2)
    for epoch in (1, 4):
        (folder / f"epoch-{epoch:08d}.part").write_bytes(b"half of it")
    (folder / "notes.txt").write_text("of the user")
    assert newest_checkpoint(folder)[0].epoch == 3
    write_checkpoint(folder, 4, CUT, SAID, keep=2)
    assert newest_checkpoint(folder)[0].epoch == 4 and not list(folder.glob("*.part"))
    assert (folder / "notes.txt").exists()


def test_no_checkpoint_at_all_is_said_with_the_setting(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*checkpoint\.keep say which"):
        newest_checkpoint(tmp_path / "checkpoints")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("form", ["an object array", "a pickle instead of the file", "a pickle instead of an array"])
def test_nothing_is_ever_unpickled(tmp_path, form):
    bomb, path = Bomb(tmp_path / "went off"), tmp_path / "epoch-00000003.npz"
    if form == "an object array":
        np.savez(path, description=np.array([bomb], object), allow_pickle=True)
    elif form == "a pickle instead of the file":
        path.write_bytes(pickle.dumps(bomb))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("description.npy", pickle.dumps(bomb))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not bomb.path.exists()


def test_another_format_is_refused_with_both_versions(tmp_path):
    path = tmp_path / "epoch-00000003.npz"
    head = np.frombuffer(json.dumps({"format": FORMAT + 1, "epoch": 3}).encode(), np.uint8)
    np.savez(path, description=head)
    with pytest.raises(CheckpointError, match=f"has format {FORMAT + 1}, this version reads {FORMAT}"):
        read_checkpoint(path)


# Disks that refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_costs_the_new_checkpoint_and_no_other(tmp_path, monkeypatch, number):
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, 3, CUT, SAID, keep=1)

    def refuse(_descriptor):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.os, "fsync", refuse)
        with pytest.raises(
            CheckpointError, match=rf"{os.strerror(number)}; earlier checkpoints are kept, and the run continues"
        ):
            write_checkpoint(folder, 4, CUT, SAID, keep=1)
    assert newest_checkpoint(folder)[0].epoch == 3 and len(list(folder.iterdir())) == 1
    write_checkpoint(folder, 5, CUT, SAID, keep=1)
    assert newest_checkpoint(folder)[0].epoch == 5


def test_a_limit_of_the_system_in_the_middle_of_an_array_is_reported_with_its_reason(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large"):
            write_checkpoint(tmp_path / "checkpoints", 3, {"actor/big": np.zeros(200_000)}, SAID, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_checkpoints_are_private_to_the_user_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        path = write_checkpoint(tmp_path / "checkpoints", 3, CUT, SAID, keep=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700

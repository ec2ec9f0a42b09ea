"""A file is written whole or not at all, whatever lies in its place, and only the user can read a new one."""

import errno
import os
import stat

import pytest

from workbench.runs.files import whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["file"]
    write_whole(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("x")], ids=repr)
def test_what_was_there_stays_if_the_new_one_does_not_get_whole(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error)), whole_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_what_a_killed_writer_left_is_no_hindrance(tmp_path):
    (tmp_path / "file.part").write_text("half")
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole" and names(tmp_path) == ["file"]


@pytest.mark.parametrize("place", ["file", "file.part"])
def test_no_link_is_followed(tmp_path, place):
    (tmp_path / "elsewhere").write_text("of somebody")
    (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "file", b"mine")
    assert (tmp_path / "elsewhere").read_text() == "of somebody"
    assert (tmp_path / "file").read_bytes() == b"mine" and not (tmp_path / "file").is_symlink()


def test_a_new_file_is_private_and_one_that_is_replaced_keeps_its_mode(tmp_path):
    before = os.umask(0)
    try:
        write_whole(tmp_path / "file", b"1")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
        (tmp_path / "file").chmod(0o644)
        write_whole(tmp_path / "file", b"2")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    finally:
        os.umask(before)

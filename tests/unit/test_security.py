"""Private to the user, on this machine only, and nothing from disk is ever run."""

import ast
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.unit.watched import SCHEMA, TABLES
from workbench.cli import main, notebooks
from workbench.runs.folder import RecordError, RunFolder

PACKAGE = Path(wb.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture
def permissive():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_run_folder_is_private_whatever_the_umask(permissive, tmp_path):
    folder = RunFolder.create("run", {}, tmp_path / "data" / "runs", SCHEMA)
    for table, dtype in TABLES.items():
        folder.append(table, np.zeros(1, dtype))
        folder.replace(table, np.zeros(2, dtype))
    folder.write_result({})
    folder.write_array("weights.npy", np.zeros(3))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()}
    assert set(modes.values()) == {0o600} and len(modes) == len(TABLES) + 3
    assert stat.S_IMODE(folder.path.stat().st_mode) == stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700


def test_a_whole_run_leaves_nothing_that_others_can_read(permissive, tmp_path):
    config = wb.preset("tiny").replace(**{"device": "cpu", "epochs": 6, "checkpoint.interval": 2})
    run = wb.launch(config, "sequential", 1, out=tmp_path)
    run.wait(120)
    found = [run.folder.path, *run.folder.path.rglob("*")]
    assert any(path.suffix == ".npz" for path in found) and any(path.suffix == ".log" for path in found)
    assert [path for path in found if path.stat().st_mode & 0o077] == []


def calls(source):
    """Names of the functions that a module calls, and the keywords that it gives them."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


CHILD = PACKAGE / "core" / "processes" / "child.py"
"""It unpickles what its own parent sends through a socket that nobody else has, and nothing from a file."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_unpickles_or_evaluates_anything(source):
    tree = ast.parse(source.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if source != CHILD:
        assert not imported & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for name, keywords in calls(source):
        assert name not in ("eval", "exec", "torch.load"), name
        assert keywords.get("allow_pickle", "False") == "False"
        if name in ("np.load", "np.lib.format.read_array"):
            assert keywords["allow_pickle"] == "False"


@given(name=st.text(max_size=12) | st.from_regex(r"(\.\.|[a-z/~$]){1,6}", fullmatch=True))
def test_no_name_of_a_run_leads_out_of_the_data_folder(tmp_path_factory, name):
    parent = tmp_path_factory.mktemp("data")
    try:
        folder = RunFolder.create(name, {}, parent / "runs")
    except RecordError:
        assert list(parent.iterdir()) == []
    else:
        assert folder.path.resolve().parent == (parent / "runs").resolve()


def test_a_link_in_the_place_of_a_run_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="it exists already"):
        RunFolder.create("run", {}, tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


# JupyterLab


@pytest.fixture
def started(monkeypatch):
    """The command line that would have become JupyterLab."""
    seen = []
    monkeypatch.setattr(notebooks.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(notebooks.os, "execve", lambda path, arguments, environment: seen.append(arguments))
    return seen


def test_lab_is_told_to_stay_on_this_machine_and_keeps_its_token(started):
    notebooks.lab(["--no-browser", "--port", "8899", "--ServerApp.ip=127.0.0.1", "--ip", "localhost"])
    (arguments,) = started
    assert "--ServerApp.ip=127.0.0.1" in arguments and arguments[-2:] == ["--ip", "localhost"]
    assert not any("token" in argument or "password" in argument for argument in arguments)


def test_root_is_told_what_to_write(started, monkeypatch, capsys):
    monkeypatch.setattr(notebooks.os, "geteuid", lambda: 0)
    assert main(["lab"]) == 2 and "workbench lab --allow-root" in capsys.readouterr().err and started == []
    notebooks.lab(["--allow-root"])
    assert len(started) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ip", "0.0.0.0"], ["--ip=0.0.0.0"], ["--ip=*"], ["--ip", "::"], ["--ip="], ["--ip"],
        ["--ServerApp.ip=192.168.0.1"], ["--NotebookApp.ip", "0.0.0.0"], ["--LabApp.ip=example.org"],
        ["--ServerApp.token="], ["--token", ""], ["--IdentityProvider.token=''"], ["--NotebookApp.token=x"],
        ["--ServerApp.password="], ["--PasswordIdentityProvider.hashed_password=x"],
        ["--ServerApp.allow_remote_access=True"], ["--ServerApp.disable_check_xsrf=True"],
        ["--ServerApp.allow_unauthenticated_access=True"], ["--ServerApp.allow_origin=*"],
        ["--no-browser", "--port", "1", "--ip", "0.0.0.0"],
    ],
)  # fmt: skip
def test_lab_refuses_what_would_let_others_in(arguments, started, capsys):
    assert main(["lab", *arguments]) == 2
    assert "is refused: JupyterLab stays on this machine" in capsys.readouterr().err and started == []

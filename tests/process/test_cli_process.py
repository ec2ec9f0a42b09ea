"""The command line with real processes: what it prints, what it leaves on disk, and that it leaves nothing else."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from workbench import load

DEADLINE_S = 120
QUICK = ("--preset", "tiny", "--device", "cpu")
ENDLESS = (*QUICK, "--epochs", "1000000")
RUN_KEYS = {
    "mode", "lag", "seed", "status", "wall_s", "startup_s", "agent_steps", "updates", "agent_steps_per_s",
    "updates_per_s", "replay_ratio", "sync_lag", "reward", "greedy_reward", "digest",
}  # fmt: skip


@contextlib.contextmanager
def started(family, *arguments, **environment):
    """The command as a process group of its own, as a shell would start it; nothing of it survives the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", *map(str, arguments)], env=os.environ | family.environment | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for number in family.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate()


def workbench(family, *arguments, **environment) -> subprocess.CompletedProcess:
    with started(family, *arguments, **environment) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in err
    assert family.wait_gone() == {}
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_until(holds, process=None):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to that"
        assert process is None or process.poll() is None, f"it ended before: {process.communicate()}"
        time.sleep(0.05)
    return found


def first_records(folder: Path) -> bool:
    """Whether the run folder holds records of an epoch, so that the run is surely under way."""
    table = folder / "epochs.records"
    return table.exists() and table.stat().st_size > 0


# --- run and compare -----------------------------------------------------------------------------------------------


def test_run_prints_its_result_and_keeps_its_folder(family, tmp_path):
    done = workbench(family, "run", *QUICK, "--mode", "sequential", "--lag", 0, "--out", tmp_path, "--name", "mine")
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert printed.pop("folder") == str(tmp_path / "mine")
    assert set(printed) == RUN_KEYS and (printed["mode"], printed["lag"], printed["status"]) == (
        "sequential",
        0,
        "finished",
    )
    assert load(tmp_path / "mine").result.to_dict() == printed
    assert "sequential, lag 0: finished at epoch 12 of 12" in done.stderr


def test_compare_ends_with_a_table_a_figure_and_a_summary(family, tmp_path):
    out = tmp_path / "comparison"
    done = workbench(family, "compare", *QUICK, "--out", out)
    assert done.returncode == 0
    summary = json.loads((out / "summary.json").read_text())
    assert {"runs", "identical", "speedup", "cores", "threads", "device"} <= set(summary)
    assert summary["identical"] is True and summary["speedup"] > 0 and summary["device"] == "cpu"
    assert [(run["mode"], run["lag"]) for run in summary["runs"]] == [("sequential", 1), ("multiprocess", 1)]
    for run in summary["runs"]:
        assert set(run) >= RUN_KEYS and run["status"] == "finished"
        assert set(run["digest"]) == {"weights", "replay", "rewards", "losses"}
        assert set(run["sync_lag"]) == {"versions", "updates", "milliseconds"}
        assert all(set(lag) == {"mean", "max"} for lag in run["sync_lag"].values())
        assert set(run["reward"]) == {"first_tenth", "last_tenth"}
    assert (out / "side_by_side.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((out / "runs").iterdir())) == 2
    assert "identical to the last bit: yes" in done.stdout and str(out / "summary.json") in done.stdout

    kept = (out / "summary.json").read_bytes()
    again = workbench(family, "compare", *QUICK, "--out", out)
    assert again.returncode == 2 and "holds a comparison already" in again.stderr
    assert (out / "summary.json").read_bytes() == kept and len(list((out / "runs").iterdir())) == 2


def test_compare_makes_a_folder_of_its_own_and_takes_another_lag_for_the_baseline(family, tmp_path):
    done = workbench(family, "compare", *QUICK, "--lag", "free", WORKBENCH_DATA=str(tmp_path))
    assert done.returncode == 0
    (path,) = (tmp_path / "comparisons").glob("*/summary.json")
    summary = json.loads(path.read_text())
    assert [run["lag"] for run in summary["runs"]] == [0, None] and summary["identical"] is None
    assert "does not apply" in done.stdout


def test_a_run_folder_that_exists_is_refused_and_left_alone(family, tmp_path):
    (tmp_path / "mine").mkdir()
    done = workbench(family, "run", *QUICK, "--out", tmp_path, "--name", "mine")
    assert done.returncode == 2 and done.stdout == ""
    assert "exists already" in done.stderr and list((tmp_path / "mine").iterdir()) == []


def test_an_unknown_setting_is_refused_with_the_nearest_name(family):
    done = workbench(family, "run", "--world.num-agent", 3)
    assert done.returncode == 2 and "--world.num-agents" in done.stderr and done.stdout == ""


# --- interruptions and failures ------------------------------------------------------------------------------------


def interrupt(process: subprocess.Popen, how: str) -> None:
    """As a terminal does it, to the whole group, or as batch systems do it, to the process alone or to its group."""
    if how == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)


def test_a_second_interruption_stops_at_once_and_saves_what_was_done(family, tmp_path):
    """A child that stands still cannot leave in order, and nobody has to wait until its time to do so is over."""
    patient = (*ENDLESS, "--processes.stop-timeout-s", 600, "--processes.hang-timeout-s", 600)
    with started(family, "run", *patient, "--out", tmp_path, "--name", "mine") as process:
        wait_until(lambda: first_records(tmp_path / "mine"), process)
        os.kill(max(set(family.running()) - {process.pid}), signal.SIGSTOP)
        interrupt(process, "Ctrl-C")
        said = "".join(iter(process.stderr.readline, "stopping in order; Ctrl-C again stops at once\n"))
        interrupt(process, "Ctrl-C")
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert family.wait_gone() == {}
    assert "stopping at once" in err and "stopped at epoch" in err and "Traceback" not in said + err
    assert load(tmp_path / "mine").status == "stopped" and len(load(tmp_path / "mine").history.epochs)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGTERM to the group"])
def test_an_interruption_stops_a_run_in_order(how, family, tmp_path):
    with started(family, "run", *ENDLESS, "--out", tmp_path, "--name", "mine") as process:
        wait_until(lambda: first_records(tmp_path / "mine"), process)
        interrupt(process, how)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert family.wait_gone() == {}
    assert out == "" and "Traceback" not in err
    assert "stopping in order" in err and "stopped at epoch" in err and err.endswith("workbench: interrupted\n")
    left = load(tmp_path / "mine")
    assert left.status == "stopped" and len(left.history.epochs) > 0
    if how != "Ctrl-C":
        return
    longer = left.checkpoints[-1] + 5
    done = workbench(family, "resume", tmp_path / "mine", "--set", f"epochs={longer}")
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "finished"
    assert load(tmp_path / "mine").progress["epochs"] == longer


def test_the_command_hears_its_children_end_also_where_its_own_starter_does_not(family, tmp_path):
    """A shell that ignores SIGCHLD hands that on."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-m", "workbench", "run", *QUICK, "--out", str(tmp_path), "--name", "mine"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=os.environ | family.environment, capture_output=True, text=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished" and family.wait_gone() == {}


def test_ctrl_c_while_the_children_start_stops_them_without_a_word_from_them(family, tmp_path):
    with started(family, "run", *ENDLESS, "--out", tmp_path, "--name", "mine") as process:
        wait_until(lambda: "actor: " in " ".join(family.running().values()), process)
        interrupt(process, "Ctrl-C")
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert family.wait_gone() == {}
    assert "Traceback" not in err and load(tmp_path / "mine").status == "stopped"


def test_ctrl_c_stops_a_comparison_before_its_second_run(family, tmp_path):
    with started(family, "compare", *ENDLESS, "--out", tmp_path) as process:
        wait_until(lambda: any(map(first_records, (tmp_path / "runs").glob("*-sequential-*"))), process)
        interrupt(process, "Ctrl-C")
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert family.wait_gone() == {}
    assert "Traceback" not in err
    assert [load(path).status for path in (tmp_path / "runs").iterdir()] == ["stopped", "stopped"]


def test_a_child_that_dies_is_named_and_the_command_fails(family, tmp_path):
    with started(
        family,
        "run",
        *ENDLESS,
        "--mode",
        "sequential",
        "--processes.actor-death",
        "stop",
        "--out",
        tmp_path,
        "--name",
        "mine",
    ) as process:
        wait_until(lambda: first_records(tmp_path / "mine"), process)
        (child,) = (number for number, command in family.running().items() if command.startswith("sequential: "))
        os.kill(child, signal.SIGKILL)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        assert family.wait_gone() == {}
    assert out == "" and "workbench: sequential (agents 0, 1) was ended by signal 9 (SIGKILL)" in err
    assert load(tmp_path / "mine").status == "failed"


# --- notebooks -----------------------------------------------------------------------------------------------------


def write_notebook(path: Path, *sources: str) -> bytes:
    cells = [nbformat.v4.new_markdown_cell("# A notebook"), *map(nbformat.v4.new_code_cell, sources)]
    metadata = {"kernelspec": {"name": "some-other-python", "display_name": "Another"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path.read_bytes()


def test_notebooks_are_executed_on_this_python_and_saved(family, tmp_path):
    path = tmp_path / "good.ipynb"
    write_notebook(path, "import os, sys\nimport workbench", "print(sys.executable, os.environ['WORKBENCH_DATA'])")
    done = workbench(family, "notebooks", path, WORKBENCH_DATA="results")
    assert done.returncode == 0 and "good.ipynb" in done.stdout
    notebook = nbformat.read(path, as_version=4)
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, 2]
    assert notebook.cells[2].outputs[0].text == f"{sys.executable} {Path('results').absolute()}\n"
    assert [cell.metadata for cell in notebook.cells] == [
        {},
        {},
        {},
    ] and "version" not in notebook.metadata.language_info
    assert list(tmp_path.iterdir()) == [path]


def test_a_notebook_that_fails_is_named_with_its_cell_and_left_as_it_was(family, tmp_path):
    path = tmp_path / "bad.ipynb"
    before = write_notebook(path, "x = 1", "raise ValueError('no such thing')", "x = 2")
    with started(family, "notebooks", path) as process:
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1
        assert family.wait_gone() == {}
    assert (
        f"{path}: An error occurred" in err
        and "raise ValueError('no such thing')" in err
        and "ValueError: no such thing" in err
        and "\x1b" not in err
    )
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_a_notebook_as_it_was_and_no_kernel(family, tmp_path):
    path = tmp_path / "long.ipynb"
    before = write_notebook(path, "open('begun', 'w')\nimport time\ntime.sleep(1000)")
    with started(family, "notebooks", path) as process:
        wait_until((tmp_path / "begun").exists, process)
        interrupt(process, "Ctrl-C")
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert family.wait_gone() == {}
    assert path.read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--ip=localhost"]], ids=["as it is", "localhost"])
def test_lab_serves_the_notebooks_to_this_machine_and_asks_for_a_token(more, family, tmp_path):
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(tmp_path / name) for name in folders}
    with started(family, "lab", "--no-browser", "--allow-root", "--ServerApp.port=0", *more, **own) as server:
        address = wait_until(lambda: _address(tmp_path / "JUPYTER_RUNTIME_DIR"), server)
        wait_until(lambda: _listens_on(address["port"]), server)  # it writes down its address a moment before
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address['url']}api/contents")
        with urllib.request.urlopen(f"{address['url']}api/contents?token={address['token']}") as answer:
            names = {entry["name"] for entry in json.load(answer)["content"]}
        assert re.match(r"http://(127\.0\.0\.1|localhost):\d+/", address["url"])
        assert _listens_on(address["port"]) == {"0100007F"}  # 127.0.0.1, as the kernel writes it
        assert "01_side_by_side.ipynb" in names
        os.kill(server.pid, signal.SIGTERM)
        server.communicate(timeout=DEADLINE_S)
        assert family.wait_gone() == {}


def _address(runtime: Path) -> dict | None:
    """What a running server writes down about itself."""
    for path in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(ValueError):
            return json.loads(path.read_text())
    return None


def _listens_on(port: int) -> set[str]:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}

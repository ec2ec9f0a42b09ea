"""However a run ends, nothing of it stays: no process, no name in shared memory. With real processes and real kills."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

import workbench as wb

DEADLINE_S = 120
LONG = """
import workbench as wb
run = wb.launch(wb.preset("quick").replace(device="cpu", epochs=1_000_000), "{mode}", out={out!r})
while (status := run.status) != "running":
    assert status == "starting", run.error
print("running", flush=True)
"""
QUICK = wb.preset("quick").replace(device="cpu")
ENDLESS = QUICK.replace(epochs=1_000_000)


@pytest.fixture(autouse=True)
def nothing_stays(family, monkeypatch):
    """Every process of the test carries the family's mark, orphans too; none of them may be left, nor any name."""
    names = set(os.listdir("/dev/shm"))
    for name, value in family.environment.items():
        monkeypatch.setenv(name, value)
    yield
    left = family.wait_gone(30)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert left == {}
    assert {name for name in set(os.listdir("/dev/shm")) - names if not name.startswith(".org.chromium.")} == set()


def running(config, *arguments, **options):
    """A run that has passed its barrier."""
    run = wb.launch(config, *arguments, **options)
    wait_until(lambda: run.status != "starting")
    assert run.status == "running", run.error
    return run


def wait_until(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


@pytest.fixture(params=["sequential", "multiprocess"])
def script(request, tmp_path):
    """A script without a main guard, in a process group of its own, with a run that goes on for ever."""
    code = LONG.format(mode=request.param, out=str(tmp_path)) + "run.wait()\n"
    process = subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    process.stdin.write(code)
    process.stdin.close()
    process.stdin = None
    assert process.stdout.readline() == "running\n", process.stderr.read()
    yield process
    process.kill()
    process.communicate()


def test_a_killed_parent_takes_its_children_along(script):
    script.kill()
    assert script.wait(DEADLINE_S) == -signal.SIGKILL


def test_ctrl_c_reaches_the_parent_alone_and_ends_everything(script):
    os.killpg(script.pid, signal.SIGINT)
    _, errors = script.communicate(timeout=DEADLINE_S)
    assert script.returncode == -signal.SIGINT or script.returncode == 1
    assert errors.count("KeyboardInterrupt") == 1  # the parent's own; a child that heard it would print another


def test_a_killed_process_group_leaves_nothing(script):
    os.killpg(script.pid, signal.SIGKILL)
    script.wait(DEADLINE_S)


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_stopped_run_is_over_at_once_and_keeps_what_it_recorded(tmp_path, mode):
    with running(ENDLESS, mode, 1, out=tmp_path) as run:
        wait_until(lambda: len(run.history.updates))
    assert run.status == run.result.status == "stopped" and run.result.updates > 0
    assert len(wb.load(run.folder.path).history.updates) == len(run.history.updates)


def test_an_interrupted_wait_does_not_hurt_the_run(tmp_path):
    with running(ENDLESS, out=tmp_path) as run:
        before = run.progress["epochs"]
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                run.wait()
        finally:
            signal.signal(signal.SIGALRM, previous)
        wait_until(lambda: run.progress["epochs"] > before + 5)
        assert run.status == "running"


@pytest.mark.parametrize(("process", "name"), [(0, "actor"), (1, "learner 0")])
def test_a_killed_child_is_named_and_the_others_leave(tmp_path, process, name):
    run = running(ENDLESS, out=tmp_path)
    os.kill(run._supervisor.processes[process].pid, signal.SIGKILL)
    with pytest.raises(wb.ChildFailed, match=rf"{name} was ended by signal 9 \(SIGKILL\)"):
        run.wait(DEADLINE_S)
    assert run.status == "failed"


@pytest.mark.parametrize("restart", [True, False], ids=["restart now", "kill"])
def test_the_end_of_a_kernel_is_the_end_of_its_run(tmp_path, restart):
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(cwd=str(Path(wb.__file__).parents[1]))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(DEADLINE_S)
        code = LONG.format(mode="multiprocess", out=str(tmp_path))
        reply = client.execute_interactive(code, timeout=DEADLINE_S, output_hook=lambda _: None)
        assert reply["content"]["status"] == "ok", reply["content"]
        (folder,) = tmp_path.iterdir()
        if restart:
            manager.restart_kernel(now=True)
        else:
            os.kill(manager.provisioner.pid, signal.SIGKILL)
        wait_until(lambda: wb.load(folder).status == "cut off")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

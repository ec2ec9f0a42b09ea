"""However a run ends, nothing of it stays: no process, no name in shared memory. With real processes and real kills."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

import workbench as wb
from tests.process import broken

DEADLINE_S = 120
QUICK = wb.preset("tiny").replace(device="cpu")
ENDLESS = QUICK.replace(epochs=1_000_000)
MORTAL = {"processes.actor_death": "stop", "processes.learner_death": "stop"}
LAUNCH = """
import sys, time
import workbench as wb
config = wb.preset("tiny").replace(device="cpu", epochs=1_000_000)
run = wb.launch(config, {mode!r}, out={out!r})
"""
SAY_WHEN_IT_RUNS = """
while run.status == "starting" or (run.status == "running" and not run.progress["epochs"]):
    time.sleep(0.05)
print(run.status, flush=True)
"""
START = LAUNCH + SAY_WHEN_IT_RUNS


@pytest.fixture(autouse=True)
def nothing_stays(family, monkeypatch):
    """Every process of the test carries the family's mark, orphans too; none of them may be left, nor any name."""
    names = shared_names()
    for name, value in family.environment.items():
        monkeypatch.setenv(name, value)
    yield
    left = family.wait_gone(30)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert left == {}
    assert shared_names() <= names


def shared_names():
    """Names in shared memory, without those that others on this machine make and take away: browsers, locks."""
    names = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    return {name for name in names if not name.startswith((".org.chromium.", "sem.mp-"))}


def wait_until(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def running(config, *arguments, **options):
    """A run that has passed its barrier."""
    run = wb.launch(config, *arguments, **options)
    wait_until(lambda: run.status != "starting")
    assert run.status == "running", run.error
    return run


def children(run):
    return [process.pid for process in run._supervisor.processes]


def exists(process):
    if process is None:  # it has not said which process it is
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


# Runs of this process


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_when_a_finished_run_has_been_waited_for_its_processes_are_gone(tmp_path, mode):
    run = wb.launch(QUICK, mode, 1, out=tmp_path)
    wait_until(lambda: None not in children(run))
    processes = children(run)
    assert all(exists(process) for process in processes)
    assert run.wait(DEADLINE_S).status == "finished"
    assert not any(exists(process) for process in processes)


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_stopped_run_is_over_at_once_and_keeps_what_it_recorded(tmp_path, mode):
    with running(ENDLESS, mode, 1, out=tmp_path) as run:
        wait_until(lambda: len(run.history.updates))
    assert not any(exists(process) for process in children(run))
    assert run.status == run.result.status == "stopped" and run.result.updates > 0
    assert len(wb.load(run.folder.path).history.updates) == len(run.history.updates)


def test_a_run_can_be_stopped_before_its_children_are_ready(tmp_path):
    run = wb.launch(ENDLESS, out=tmp_path)
    assert run.status == "starting"
    run.stop()
    assert run.status == "stopped" and not any(exists(process) for process in children(run))
    assert run.result.agent_steps == 0


def test_a_child_that_does_not_leave_in_time_is_killed_and_the_run_still_counts_as_stopped(tmp_path):
    run = running(ENDLESS.replace(**{"processes.stop_timeout_s": 0.5}), out=tmp_path)
    os.kill(children(run)[1], signal.SIGSTOP)
    run.stop()
    assert run.status == "stopped" and run.error is None
    assert not any(exists(process) for process in children(run))


def test_an_interrupted_wait_does_not_hurt_the_run(tmp_path):
    with running(ENDLESS, "sequential", 1, out=tmp_path) as run:
        before = run.progress["epochs"]
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(KeyboardInterrupt):
                run.wait()
        finally:
            signal.signal(signal.SIGALRM, previous)
        wait_until(lambda: run.progress["epochs"] > before + 5)
        assert run.status == "running"


def test_an_interrupt_while_children_are_started_ends_those_that_were(tmp_path, monkeypatch):
    run = wb.launch(ENDLESS, out=tmp_path, start=False)
    first, second, third = run._supervisor.processes

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(second, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.start()
    run.stop()
    assert run.status == "failed" and "could not be started: KeyboardInterrupt" in str(run.error)
    assert not exists(first.pid) and not first.is_alive() and third.pid is None
    with pytest.raises(wb.ChildFailed):
        run.wait(DEADLINE_S)


def test_two_threads_can_start_runs_at_once_and_the_callers_module_stays_in_place(tmp_path):
    main, runs = sys.modules["__main__"], []
    threads = [
        threading.Thread(target=lambda: runs.append(wb.launch(QUICK, "sequential", 1, out=tmp_path))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.modules["__main__"] is main
    assert runs[0].wait(DEADLINE_S).digest == runs[1].wait(DEADLINE_S).digest


# Children that die


@pytest.mark.parametrize(
    ("mode", "process", "name"),
    [("multiprocess", 0, "actor"), ("multiprocess", 1, "learner 0"), ("sequential", 0, "sequential")],
)
def test_a_killed_child_is_named_and_the_others_leave(tmp_path, mode, process, name):
    run = running(ENDLESS.replace(**MORTAL), mode, 1, out=tmp_path)
    os.kill(children(run)[process], signal.SIGKILL)
    with pytest.raises(wb.ChildFailed, match=rf"^{name}.* was ended by signal 9 \(SIGKILL\); \d+ epochs? w"):
        run.wait(DEADLINE_S)
    assert run.status == "failed" and not any(exists(process) for process in children(run))
    assert wb.load(run.folder.path).status == "failed"


def test_a_child_that_hangs_is_named_and_the_others_leave(tmp_path):
    run = running(ENDLESS.replace(**MORTAL | {"processes.hang_timeout_s": 2.0}), out=tmp_path)
    os.kill(children(run)[2], signal.SIGSTOP)
    with pytest.raises(wb.ChildFailed, match=r"^learner 1 \(agent 1\) has sent no heartbeat for 2 s"):
        run.wait(DEADLINE_S)
    assert not any(exists(process) for process in children(run))


@pytest.mark.parametrize(
    ("hook", "mode", "name", "error"),
    [
        (broken.FailsBeforeTheBarrier, "multiprocess", "learner 1", "LookupError: the trainer of agent 1 is broken"),
        (broken.FailsInAnUpdate, "multiprocess", "learner 1", "ArithmeticError: the fifth update is broken"),
        (broken.FailsInSeveralLines, "multiprocess", "learner 1", "RuntimeError: CUDA error: an assert triggered"),
        (broken.FailsInAnEpoch, "sequential", "sequential", "RuntimeError: the third epoch is broken"),
    ],
)
def test_an_exception_in_a_child_reaches_the_caller_with_its_name_and_traceback(tmp_path, hook, mode, name, error):
    run = wb.launch(ENDLESS, mode, 1, out=tmp_path, hooks=[hook()])
    with pytest.raises(wb.ChildFailed) as caught:
        run.wait(DEADLINE_S)
    text = str(caught.value)
    whose = {"learner 1": " (agent 1)", "sequential": " (agents 0, 1)"}[name]
    first = text.splitlines()[0]  # says it all: who, whose, what, how far
    assert re.fullmatch(
        rf"{re.escape(name + whose)} failed: {error}; \d+ epochs? w\w+ collected until then, \d+ updates? made(; .*)?:",
        first,
    )
    assert ":\nTraceback (most recent call last):\n" in text
    assert "broken.py" in text  # the line that raised
    assert not any(exists(process) for process in children(run))
    assert error in str(wb.load(run.folder.path).error)
    assert error in (run.folder.path / "logs" / f"{name.replace(' ', '-')}.log").read_text()


def test_a_failure_is_told_also_where_the_disk_is_full_and_a_long_story_with_its_beginning_and_its_end(tmp_path):
    run = wb.launch(ENDLESS.replace(**MORTAL), out=tmp_path, hooks=[broken.FailsOnAFullDisk()])
    with pytest.raises(wb.ChildFailed) as caught:
        run.wait(DEADLINE_S)
    text = str(caught.value)
    assert ":\nTraceback (most recent call last):\n" in text and text.rstrip().endswith("xx at the end")
    assert "bytes left out; the whole is in" in text


def test_a_child_that_leaves_without_a_word_is_named(tmp_path):
    run = wb.launch(ENDLESS, out=tmp_path, hooks=[broken.LeavesWithoutAWord()])
    with pytest.raises(wb.ChildFailed, match=r"^actor exited with code 7 and no traceback; see its log"):
        run.wait(DEADLINE_S)


# Parents that die


@contextlib.contextmanager
def script(code):
    """A script without a main guard, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # not read to its end: an orphan, if there is one, holds it open
        process.stderr.close()


def say(process):
    line = process.stdout.readline()
    return line.strip() or process.stderr.read()


@pytest.fixture
def run_script(tmp_path):
    """A script whose run has passed its barrier; ``mode`` and what the script does then are given."""

    @contextlib.contextmanager
    def start(then="run.wait()\n", mode="multiprocess"):
        with script(START.format(mode=mode, out=str(tmp_path)) + then) as process:
            assert say(process) == "running"
            yield process

    return start


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_killed_parent_takes_its_children_along_and_its_run_is_cut_off(run_script, tmp_path, mode):
    with run_script(mode=mode) as parent:
        parent.kill()
        parent.wait(DEADLINE_S)
    (folder,) = tmp_path.iterdir()
    assert wb.load(folder).status == "cut off"


def test_a_killed_process_group_leaves_nothing(run_script):
    with run_script(mode="sequential") as parent:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait(DEADLINE_S)


def test_ctrl_c_reaches_the_parent_alone_and_ends_everything(run_script, tmp_path):
    with run_script() as parent:
        os.killpg(parent.pid, signal.SIGINT)
        _, errors = parent.communicate(timeout=DEADLINE_S)
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1  # the parent's own
    (folder,) = tmp_path.iterdir()
    assert wb.load(folder).status == "stopped"  # in order, at the interpreter's end


def test_ctrl_c_while_the_children_start_does_not_hurt_them(tmp_path):
    """A cell is interrupted in the seconds in which the children still import what they need."""
    then = """
try:
    print("launched", flush=True)
    run.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with script(LAUNCH.format(mode="multiprocess", out=str(tmp_path)) + then + SAY_WHEN_IT_RUNS) as parent:
        assert say(parent) == "launched"
        os.killpg(parent.pid, signal.SIGINT)
        assert say(parent) == "interrupted"
        assert say(parent) == "running"
        _, errors = parent.communicate(timeout=DEADLINE_S)
    assert errors == "" and parent.returncode == 0


def test_a_script_that_just_ends_stops_its_run_in_order(run_script, tmp_path):
    with run_script(then="", mode="sequential") as parent:
        _, errors = parent.communicate(timeout=DEADLINE_S)
    assert parent.returncode == 0 and errors == ""
    (folder,) = tmp_path.iterdir()
    assert wb.load(folder).status == "stopped"


# Notebooks


@pytest.fixture
def kernel(tmp_path):
    """A kernel, its client, and a function that runs code in it and gives back what that prints."""
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(cwd=str(Path(wb.__file__).parents[1]))
    client = manager.client()
    client.start_channels()

    def execute(code):
        printed = []
        reply = client.execute_interactive(
            code, timeout=DEADLINE_S, output_hook=lambda message: printed.append(message["content"].get("text", ""))
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    try:
        client.wait_for_ready(DEADLINE_S)
        yield manager, client, execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(("end", "mode"), [("restart now", "multiprocess"), ("kill", "sequential")])
def test_the_end_of_a_kernel_is_the_end_of_its_run(kernel, tmp_path, family, end, mode):
    manager, _, execute = kernel
    assert execute(START.format(mode=mode, out=str(tmp_path))) == "running\n"
    processes = [int(process) for process in execute("print(*[p.pid for p in run._supervisor.processes])").split()]
    assert processes and set(processes) <= set(family.running())
    if end == "restart now":
        manager.restart_kernel(now=True)
    else:
        os.kill(manager.provisioner.pid, signal.SIGKILL)
    wait_until(lambda: not any(exists(process) for process in processes))
    (folder,) = tmp_path.iterdir()
    wait_until(lambda: wb.load(folder).status == "cut off")


@pytest.mark.parametrize("mode", ["multiprocess", "sequential"])
def test_a_kernel_that_is_restarted_in_order_stops_its_run_which_can_be_resumed(kernel, tmp_path, mode):
    manager, client, execute = kernel
    assert execute(START.format(mode=mode, out=str(tmp_path))) == "running\n"
    manager.restart_kernel()  # the kernel ends the children in its own group, where no run's are; then the run stops
    client.wait_for_ready(DEADLINE_S)
    (folder,) = tmp_path.iterdir()
    left = wb.load(folder)
    assert left.status == "stopped" and left.error is None and not left.description["incidents"]
    before = left.progress["epochs"]
    with wb.resume(folder) as run:
        wait_until(lambda: run.progress["epochs"] > before)


def test_an_interrupted_cell_leaves_the_run_going(kernel, tmp_path):
    manager, client, execute = kernel
    execute(START.format(mode="sequential", out=str(tmp_path)))
    asked = client.execute("run.wait()", stop_on_error=False)
    wait_until(lambda: client.get_iopub_msg(timeout=DEADLINE_S)["header"]["msg_type"] == "execute_input")
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=DEADLINE_S)
    while reply["parent_header"].get("msg_id") != asked:
        reply = client.get_shell_msg(timeout=DEADLINE_S)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    epochs = "print(run.progress['epochs'] > 0, run.status)"
    assert execute(epochs) == "True running\n"
    assert execute("run.stop(); print(run.status)") == "stopped\n"

"""Children that a server forks are what spawned ones are, and the server may die: nobody notices but the next start."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.process import tasks
from workbench.core.processes import spawn, worker
from workbench.core.processes.shared_memory import nameless_file
from workbench.runs import fork_server
from workbench.runs.fork_server import HOW_UNKNOWN, end_servers, new_process
from workbench.runs.limits import files_left

pytestmark = pytest.mark.skipif(not fork_server.available(), reason="this system cannot have fork servers")

DEADLINE_S = 120
TINY = wb.preset("tiny").replace(device="cpu")
MODES = ["sequential", "multiprocess"]
WAYS = ["fork_server", "spawn"]
ROOT = Path(wb.__file__).parents[1]


def wait_until(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@pytest.fixture(scope="module", autouse=True)
def no_server_stays():
    yield
    end_servers()


@pytest.fixture
def sleeper(tmp_path):
    """A child that sleeps until it is asked to leave."""
    process = new_process("auto", "sleeper", tasks.say_and_sleep, tmp_path / "sleeper")
    process.start()
    wait_until((tmp_path / "sleeper").exists)
    yield process
    process.kill()


def ask_to_leave(folder):
    (folder / "sleeper.leave").touch()


def ended(*what, method="auto", name="child"):
    """A child that has run something to its end."""
    process = new_process(method, name, *what)
    process.start()
    process.join(DEADLINE_S)
    return process


def server():
    """The process id of the server that takes requests."""
    return fork_server._servers[-1].popen.pid


def kill_server():
    fork_server._servers[-1].popen.kill()
    fork_server._servers[-1].popen.wait()


# A child is the same, whatever way it is started


def test_a_forked_child_finds_itself_as_a_spawned_one_does(tmp_path, monkeypatch):
    ended(tasks.leave, 0)  # a server that is older than what follows
    monkeypatch.setenv("A_NEW_ONE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before, nice = os.umask(0o037), os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice + 1)
        given = [nameless_file() for _ in range(3)]
        for method in WAYS:
            assert ended(tasks.describe, tmp_path / method, *given, method=method, name="child 1").exitcode == 0
    finally:
        os.umask(before)
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
    forked, spawned = (json.loads((tmp_path / method).read_text()) for method in WAYS)
    assert forked["said"] == spawned["said"]
    assert forked["said"]["name"] == "child 1" and forked["said"]["torch_threads"] == 2
    assert forked["said"]["descriptors"] == [os.fstat(each.fileno()).st_ino for each in given]
    assert forked["others"]["files"] <= spawned["others"]["files"]
    wings = [f"workbench.{name}" for name in ("runs.run", "diagnose", "view", "report", "cli")]
    assert not {*wings, "matplotlib", "IPython"} & set(forked["others"]["modules"])


def test_children_draw_different_numbers(tmp_path):
    for child in "ab":
        ended(tasks.describe, tmp_path / child)
    a, b = (json.loads((tmp_path / child).read_text())["others"]["random"] for child in "ab")
    assert all(one != other for one, other in zip(a, b, strict=True))


@pytest.mark.parametrize("method", WAYS)
def test_how_a_child_ended_is_known(method):
    assert ended(tasks.leave, 0, method=method).exitcode == 0
    assert ended(tasks.leave, 7, method=method).exitcode == 7
    assert ended(tasks.end_by, signal.SIGKILL, method=method).exitcode == -signal.SIGKILL
    assert ended(tasks.end_by, signal.SIGTERM, method=method).exitcode == -signal.SIGTERM
    fine, failed = ended(int, 3, method=method), ended(tasks.fail, "a word", method=method)
    assert fine.exitcode == 0 and fine.last_words == "" and not fine.is_alive()
    assert failed.exitcode == 1 and failed.last_words.endswith("LookupError: a word\n")
    assert len(ended(tasks.fail, "x" * 100_000, method=method).last_words) < 8_000
    advised = ended(tasks.fail, "what it is\nand what to do", method=method).last_words.splitlines()
    assert advised[-3:] == ["LookupError: what it is", "and what to do", "LookupError: what it is"]


@pytest.mark.parametrize("method", WAYS)
def test_a_wait_for_a_child_ends_though_another_thread_has_just_seen_its_end(method, tmp_path, monkeypatch):
    """What stands for the child is closed then, and its number may already be that of a file that is never ready."""
    process, others = new_process(method, "child", tasks.say_and_sleep, tmp_path / "there"), []
    process.start()

    def wait(objects, timeout=None):
        if not others:
            process.kill()
            connection.wait([process.sentinel])
            assert process.exitcode == -signal.SIGKILL
            others.extend(os.eventfd(0) for _ in range(9))
        return connection.wait(objects, timeout)

    monkeypatch.setattr(spawn, "connection", SimpleNamespace(wait=wait))
    waits = threading.Thread(target=process.join, daemon=True)
    waits.start()
    waits.join(DEADLINE_S)
    assert not waits.is_alive() and len(others) == 9
    for number in others:
        os.close(number)


@pytest.mark.skipif(worker._malloc_trim is int, reason="this library of C keeps what it likes")
@pytest.mark.parametrize("method", WAYS)
def test_a_child_keeps_what_it_has_freed_for_its_next_update_unless_the_user_wants_otherwise(
    method, tmp_path, monkeypatch
):
    ended(tasks.allocate_again, tmp_path / "kept", method=method)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    ended(tasks.allocate_again, tmp_path / "given back", method=method)
    pages = {file.name: json.loads(file.read_text()) for file in tmp_path.iterdir()}
    assert 10 * pages["kept"] < pages["given back"], pages  # each time that memory takes more than 1,100 pages


@pytest.mark.parametrize("method", WAYS)
def test_what_cannot_be_pickled_is_refused_at_the_start_and_what_cannot_be_imported_in_the_child(method, tmp_path):
    process = new_process(method, "child", lambda: None)
    with pytest.raises(Exception, match="pickle"):
        process.start()
    assert not process.is_alive()
    process.kill()
    process.join()


@pytest.mark.parametrize("method", WAYS)
def test_a_child_can_be_killed_before_it_has_begun(method, tmp_path):
    for seconds in (0, 0.001, 0.01, 0.1):
        process = new_process(method, "child", tasks.say_and_sleep, tmp_path / "there")
        process.start()
        time.sleep(seconds)
        process.kill()
        process.join(DEADLINE_S)
        assert process.exitcode == -signal.SIGKILL


def test_waiting_for_a_child_can_be_given_up(sleeper):
    began = time.monotonic()
    sleeper.join(0.05)
    assert sleeper.is_alive() and sleeper.exitcode is None and time.monotonic() - began >= 0.05


def test_more_descriptors_than_one_message_holds_reach_a_child(tmp_path):
    given = [nameless_file() for _ in range(620)]
    assert ended(tasks.describe, tmp_path / "said", *given).exitcode == 0
    said = json.loads((tmp_path / "said").read_text())["said"]
    assert said["descriptors"] == [os.fstat(each.fileno()).st_ino for each in given]


# The server


def test_one_server_serves_until_something_changes_that_a_spawned_child_would_take_over(tmp_path, monkeypatch):
    core = tmp_path / "core"
    core.mkdir()
    (core / "file.py").write_text("one")
    monkeypatch.setattr(fork_server, "CORE", core)
    servers = []

    def start():
        assert ended(tasks.leave, 0).exitcode == 0
        servers.append(server())

    start()
    start()
    assert servers[0] == servers[1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    start()
    monkeypatch.syspath_prepend(tmp_path)
    start()
    (core / "file.py").write_text("other")
    start()
    (core / "more.py").write_text("")
    start()
    before = os.umask(0o027)
    start()
    os.umask(before)
    assert len(set(servers)) == 6
    wait_until(lambda: not any(Path(f"/proc/{old}/cmdline").exists() and _alive(old) for old in servers[:-1]))


def _alive(pid):
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_what_an_editor_leaves_beside_a_file_of_the_core_hinders_no_start(tmp_path, monkeypatch):
    (tmp_path / ".#config.py").symlink_to("somebody@somewhere")  # of Emacs, while a buffer is not saved
    monkeypatch.setattr(fork_server, "CORE", tmp_path)
    assert ended(tasks.leave, 0).exitcode == 0


def test_a_server_has_one_thread_and_no_cuda():
    ended(tasks.leave, 0)
    assert len(os.listdir(f"/proc/{server()}/task")) == 1
    assert "libcuda" not in Path(f"/proc/{server()}/maps").read_text()


def test_a_server_is_deaf_to_what_its_children_hear(tmp_path):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        there = tmp_path / number.name
        process = new_process("auto", "child", tasks.say_and_sleep, there)
        process.start()
        wait_until(there.exists)
        for deaf in (signal.SIGINT, number):
            os.kill(server(), deaf)
        os.kill(process.pid, signal.SIGINT)
        assert process.is_alive()
        os.kill(process.pid, number)
        process.join(DEADLINE_S)
        assert process.exitcode == -number
    assert _alive(server())


@pytest.mark.parametrize("how", ["in order", "killed"])
def test_children_outlive_their_server(how, sleeper, tmp_path):
    first = server()
    kill_server()
    assert sleeper.is_alive() and sleeper.exitcode is None
    assert ended(tasks.leave, 5).exitcode == 5 and server() != first
    assert sleeper.is_alive()
    if how == "killed":
        sleeper.kill()
    else:
        ask_to_leave(tmp_path)
    sleeper.join(DEADLINE_S)
    assert sleeper.exitcode == (HOW_UNKNOWN if how == "killed" else 0)


def test_a_replaced_server_still_says_how_its_children_end_and_then_leaves(sleeper, monkeypatch):
    first = server()
    monkeypatch.setenv("SOMETHING", "new")
    ended(tasks.leave, 0)
    assert server() != first and _alive(first)
    os.kill(sleeper.pid, signal.SIGTERM)
    sleeper.join(DEADLINE_S)
    assert sleeper.exitcode == -signal.SIGTERM
    wait_until(lambda: not _alive(first))


def test_a_server_that_dies_before_it_has_forked_is_replaced_without_a_word(tmp_path):
    ended(tasks.leave, 0)
    os.kill(server(), signal.SIGSTOP)
    process = new_process("auto", "child", tasks.leave, 3)
    process.start()
    assert process.is_alive() and process.pid is None
    kill_server()
    process.join(DEADLINE_S)
    assert process.exitcode == 3


def test_when_every_server_dies_a_child_counts_as_failed_and_says_why(monkeypatch):
    end_servers()
    monkeypatch.setattr(fork_server, "interpreter", lambda *what, **more: subprocess.Popen(["true"]))
    process = ended(tasks.leave, 0, method="fork_server")
    assert process.exitcode == 1 and process.last_words == "3 fork servers died before they had started it"


def test_a_silent_server_does_not_hold_up_who_asks_how_its_child_ended(sleeper, monkeypatch):
    monkeypatch.setattr(fork_server, "PATIENCE_S", 0.1)
    os.kill(server(), signal.SIGSTOP)
    sleeper.kill()
    sleeper.join(DEADLINE_S)
    assert sleeper.exitcode == HOW_UNKNOWN
    kill_server()


# Runs


def test_a_run_whose_server_is_killed_ends_as_if_nothing_had_happened_and_a_learner_that_dies_after_it_is_restarted(
    tmp_path,
):
    config = TINY.replace(epochs=40)
    undisturbed = wb.launch(config, lag=1, out=tmp_path).wait(DEADLINE_S)
    run = wb.launch(config, lag=1, out=tmp_path)
    wait_until(lambda: run.progress["epochs"] > 3)
    kill_server()
    assert all(process.alive for process in run.processes) or run.ended
    wait_until(lambda: run.progress["epochs"] > 8)
    assert run.incidents == ()
    os.kill(run.processes[1].pid, signal.SIGKILL)
    result = run.wait(DEADLINE_S)
    assert result.status == "finished" and result.digest == undisturbed.digest
    (incident,) = run.incidents
    assert "learner 0 (agent 0) ended; how is not known, since the fork server had died;" in incident


def test_a_run_that_loses_its_server_again_and_again_finishes_without_an_incident(tmp_path):
    run = wb.launch(TINY.replace(epochs=40), lag=1, out=tmp_path)
    for _ in range(3):
        wait_until(lambda: run.status == "running" or run.ended)
        kill_server()
        ended(tasks.leave, 0)
    assert run.wait(DEADLINE_S).status == "finished" and run.incidents == ()


@pytest.mark.parametrize("method", WAYS)
def test_both_ways_give_the_same_digests(method, tmp_path):
    config = TINY.replace(**{"processes.start_method": method})
    digests = {mode: wb.launch(config, mode, 1, out=tmp_path).wait(DEADLINE_S).digest for mode in MODES}
    assert digests["sequential"] == digests["multiprocess"]


def script(code, *arguments, **environment):
    """A script in a file, without a main guard."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=os.environ | environment, cwd=ROOT, text=True,
        capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip


@pytest.mark.parametrize("method", WAYS)
def test_the_package_is_found_where_the_caller_has_left_the_folder_that_it_was_found_from(method, tmp_path):
    """As with %cd in a notebook of a clone that is not installed; -S hides one that is."""
    code = f"""
import os, sys
sys.path += {[path for path in sys.path if path.endswith("-packages")]}
import workbench as wb
os.chdir(sys.argv[1])
config = wb.preset("tiny").replace(device="cpu", **{{"processes.start_method": "{method}"}})
print(wb.__file__, wb.launch(config, "sequential", 1, out="runs").wait({DEADLINE_S}).status)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path)], env=environment, cwd=ROOT, text=True, capture_output=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.stdout.split() == [wb.__file__, "finished"], done.stderr


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_parent_that_is_killed_takes_its_children_and_their_server_along(when, tmp_path, family):
    code = "import sys; from tests.process import tasks; tasks.die_with_run(*sys.argv[1:])"
    done = script(code, tmp_path, when, **family.environment)
    assert done.returncode == -signal.SIGKILL
    assert family.wait_gone(30) == {}


def test_a_parent_that_is_killed_takes_its_children_along_although_a_fork_of_it_lives(tmp_path, family):
    code = """
import os, sys, time
from tests.process import tasks
if os.fork() == 0:
    time.sleep(100)
tasks.die_with_run(sys.argv[1], "later")
"""
    forks_later = code.replace("if os.fork", "import workbench as wb\nif os.fork")
    child = subprocess.Popen(
        [sys.executable, "-c", forks_later, str(tmp_path)], env=os.environ | family.environment, cwd=ROOT
    )
    assert child.wait(DEADLINE_S) == -signal.SIGKILL
    wait_until(lambda: len(family.running()) == 1)
    os.kill(next(iter(family.running())), signal.SIGKILL)


def test_a_script_that_runs_without_a_main_guard_is_not_run_again_in_its_children(tmp_path, family):
    (tmp_path / "script.py").write_text(
        "import sys\nfrom tests.process import tasks\nprint('once')\ntasks.run_one(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path], env=os.environ | family.environment, text=True,
        capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("once\n", "")
    assert json.loads((tmp_path / "told").read_text())[0] == "finished" and family.wait_gone() == {}


@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_a_daemonic_process_and_a_fork_of_one_with_a_server_can_launch_runs(context, tmp_path):
    code = """
import multiprocessing, sys, workbench as wb
from tests.process import tasks
if __name__ == "__main__":
    tasks.run_one(sys.argv[1] + "/first")
    process = multiprocessing.get_context(sys.argv[2]).Process(
        target=tasks.run_one, args=(sys.argv[1] + "/second",), daemon=True
    )
    process.start()
    process.join(100)
    tasks.run_one(sys.argv[1] + "/third")
    print(process.exitcode)
"""
    (tmp_path / "script.py").write_text(code)
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path, context], text=True, capture_output=True, timeout=DEADLINE_S
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    told = [json.loads((tmp_path / name / "told").read_text()) for name in ("first", "second", "third")]
    assert told[0] == told[1] == told[2] and told[0][0] == "finished"


def test_a_run_can_be_launched_from_a_thread_that_ends_and_under_a_long_name_for_temporary_files(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 200)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    runs = []
    thread = threading.Thread(target=lambda: runs.append(wb.launch(TINY, lag=1, out=tmp_path)))
    thread.start()
    thread.join()
    assert runs[0].wait(DEADLINE_S).status == "finished"


def test_an_edited_file_of_the_core_and_of_the_users_own_is_what_the_next_child_loads(tmp_path):
    shutil.copytree(ROOT / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(tasks.__file__, tmp_path / "tasks.py")
    (tmp_path / "mine.py").write_text("MARK = 1\n")
    code = """
import json, sys
from pathlib import Path
import mine, tasks
from workbench.runs.fork_server import new_process
here = Path(mine.__file__).parent
def look(module, name):
    process = new_process("fork_server", "child", tasks.look_up, "found", module, name)
    process.start()
    process.join()
    return json.loads(Path("found").read_text())
def edit(file, text):
    (here / file).write_text((here / file).read_text() + text)
print(look("workbench.core.seeding", "MARK"), look("mine", "MARK"))
edit("mine.py", "MARK = 22\\n")
print(look("mine", "MARK"))
edit("workbench/core/seeding.py", "MARK = 3\\n")
print(look("workbench.core.seeding", "MARK"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True,
        capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("None 1\n22\n3\n", "")


# Nothing is kept


def test_fifty_children_leak_nothing():
    def held():
        return len(os.listdir("/dev/fd")), threading.active_count(), len(os.listdir(f"/proc/{server()}/fd"))

    ended(tasks.leave, 0)
    before = held()
    for _ in range(50):
        assert ended(tasks.leave, 0).exitcode == 0
    wait_until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))  # the last one leaves late


def test_a_run_of_fifty_agents_needs_few_open_files(tmp_path):
    config = TINY.replace(**{
        "epochs": 1_000_000, "world.num_agents": 50, "world.height": 12, "world.width": 12, "processes.learners": 2,
    })  # fmt: skip
    before = files_left()
    with wb.launch(config, lag=1, out=tmp_path) as run:
        wait_until(lambda: run.status == "running")
        assert before - files_left() < 30

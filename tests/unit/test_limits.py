"""What a run needs is counted out and compared with what there is, before anything is taken."""

import errno
import os
import re
import resource
import signal
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.core.processes import shared_memory
from workbench.core.processes.blocks import Plan, allocate_shared
from workbench.core.processes.spawn import in_words
from workbench.core.processes.supervisor import children_of
from workbench.runs import limits
from workbench.runs.folder import RecordWarning
from workbench.runs.limits import (
    REMEDIES,
    check_limits,
    left_in_groups,
    memory_available,
    memory_needed,
)
from workbench.runs.recovery.keepers import COPIES
from workbench.runs.run import OWN_HOOKS

QUICK = wb.preset("tiny").replace(device="cpu")


def plan(config=QUICK, mode="multiprocess", lag=1):
    return Plan(config, mode, lag, OWN_HOOKS)


@settings(max_examples=20)
@given(
    agents=st.integers(1, 4), worlds=st.integers(1, 3), keep=st.integers(0, 2), lag=st.sampled_from([0, 1, 3, None]),
    mode=st.sampled_from(["sequential", "multiprocess"]),
)  # fmt: skip
def test_what_is_counted_is_what_is_taken_to_the_byte(agents, worlds, keep, lag, mode):
    config = QUICK.replace(**{"world.num_agents": agents, "world.num_worlds": worlds, "checkpoint.keep": keep})
    wanted = plan(config, mode, lag if mode == "multiprocess" else lag or 0)
    shared = allocate_shared(wanted, len(children_of(wanted.config, wanted.mode)))
    assert sum(memory_needed(wanted).values()) == len(shared.blocks["progress"].memory.map)
    assert REMEDIES.keys() - memory_needed(wanted).keys() == (set() if keep else {COPIES})


@pytest.mark.parametrize(
    ("changes", "remedies"),
    [
        ({"replay.capacity": 2_000_000}, ("replay.capacity", "world.num_worlds", "checkpoint.keep to 0")),
        ({"replay.capacity": 2_000_000, "checkpoint.keep": 0}, ("replay.capacity", "world.num_worlds")),
        ({"agent.width": 2048, "checkpoint.keep": 0}, ("agent.width",)),
    ],
)
def test_too_little_memory_is_said_in_mib_with_the_largest_parts_and_what_to_lower(monkeypatch, changes, remedies):
    monkeypatch.setattr(limits, "memory_available", lambda: 20 * 2**20)
    wanted = plan(QUICK.replace(**changes))
    with pytest.raises(MemoryError) as caught:
        check_limits(wanted)
    told = re.match(
        r"the run needs (\d+) MiB of shared memory \((\d+) MiB for .*, .*\); 20 MiB are available; ", str(caught.value)
    )
    assert told and int(told[1]) == round(sum(memory_needed(wanted).values()) / 2**20)
    assert all(remedy in str(caught.value) for remedy in remedies)


def test_a_replay_without_measure_is_refused_in_the_same_words(tmp_path):
    with pytest.raises(
        MemoryError, match=r"MiB for replays.*are available; .*lower replay.capacity or world.num_worlds"
    ):
        wb.launch(QUICK.replace(**{"replay.capacity": 10**12}), "sequential", 0, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_have_its_memory_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "memory_available", lambda: 1000)
    with pytest.raises(MemoryError, match="0 MiB are available"):
        wb.launch(QUICK, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_blocks_that_fit_one_by_one_are_refused_together(monkeypatch):
    needed = memory_needed(plan())
    monkeypatch.setattr(limits, "memory_available", lambda: sum(needed.values()) - 1)
    assert max(needed.values()) < sum(needed.values()) - 1
    with pytest.raises(MemoryError):
        check_limits(plan())
    monkeypatch.setattr(limits, "memory_available", lambda: sum(needed.values()))
    check_limits(plan())


def test_available_is_what_the_system_says_and_no_more_than_a_file_system_holds(monkeypatch):
    assert 2**20 < memory_available() < 2**50
    monkeypatch.setattr(limits, "left_in_groups", lambda: [])
    monkeypatch.setattr(shared_memory, "IN_MEMORY", True)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=7))
    assert memory_available() == 7
    monkeypatch.setattr(shared_memory, "IN_MEMORY", False)
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    assert memory_available() == 10


@pytest.mark.parametrize(
    ("controllers", "names"),
    [("", ("memory.max", "memory.current")), ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"))],
)
def test_the_limit_of_a_container_or_a_batch_job_counts(controllers, names, tmp_path, monkeypatch):
    job = tmp_path / controllers / "jobs" / "mine"
    job.mkdir(parents=True)
    (tmp_path / "cgroup").write_text(f"7:pids:/elsewhere\n3:{controllers}:/jobs/mine\n")

    def limit(folder, most):
        for name, value in zip(names, (most, 900), strict=True):
            (folder / name).write_text(f"{value}\n")
        (folder / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")

    limit(job, "max")
    assert left_in_groups(tmp_path, tmp_path / "cgroup") == []
    limit(job.parent, 1000)  # that of a group around it holds as well
    assert left_in_groups(tmp_path, tmp_path / "cgroup") == [1000 - 900 + 200]
    limit(job, 600)
    assert left_in_groups(tmp_path, tmp_path / "cgroup") == [0, 300]
    assert left_in_groups(tmp_path, tmp_path / "none") == []
    monkeypatch.setattr(limits, "left_in_groups", lambda: [0, 300])
    with pytest.raises(MemoryError, match="0 MiB are available"):
        check_limits(plan())


def test_a_process_that_would_not_see_its_spawned_children_end_is_told_so(tmp_path):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(
            OSError, match=r"ignores SIGCHLD.*; call signal\.signal\(signal\.SIGCHLD, signal\.SIG_DFL\)"
        ):
            wb.launch(QUICK.replace(**{"processes.start_method": "spawn"}), out=tmp_path)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert list(tmp_path.iterdir()) == []


def test_a_fork_server_that_the_system_cannot_have_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(limits.fork_server, "available", lambda: False)
    with pytest.raises(OSError, match=r"start_method is 'fork_server', which needs Linux 5\.3.*; set it to 'auto'"):
        wb.launch(QUICK.replace(**{"processes.start_method": "fork_server"}), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_few_open_files_are_said_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "files_left", lambda: 10)
    with pytest.raises(OSError, match=r"needs \d+ open files, this process may open 10 more; .*ulimit -n"):
        wb.launch(QUICK, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "too many processes"),
        (ValueError("something else"), "something else"),
    ],
)
def test_an_error_of_the_system_comes_with_its_remedy(error, told):
    assert told in in_words(error)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EMFILE, "too many open files: raise"), (errno.ENOMEM, "too little memory; end what")]
)
def test_what_the_system_refuses_after_all_is_said_with_the_remedy(number, told, monkeypatch, tmp_path):
    def refuse(nbytes):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shared_memory, "nameless_file", refuse)
    with pytest.raises(OSError, match=told):
        wb.launch(QUICK, out=tmp_path)
    assert wb.load(next(tmp_path.iterdir())).status == "failed"


def test_far_more_learners_than_cores_are_said_before_the_start_with_the_setting(monkeypatch):
    monkeypatch.setattr(limits.machine, "cores", lambda: 2)
    many = wb.preset("tiny").replace(**{"world.num_agents": 17, "world.width": 12, "world.height": 12})
    with pytest.warns(RecordWarning, match="17 learner processes .* 2 cores, .*learners = 'auto'"):
        check_limits(Plan(many, "multiprocess", 1, ()))
    for mode, config in (("sequential", many), ("multiprocess", many.replace(**{"processes.learners": "auto"}))):
        check_limits(Plan(config, mode, 1, ()))  # a warning would be an error here


def test_a_limit_on_addresses_is_named_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(limits.resource, "getrlimit", lambda kind: (10**6 if kind == resource.RLIMIT_AS else -1,) * 2)
    with pytest.raises(OSError, match=r"takes addresses for .* MiB, it may have 1 MiB; .*ulimit -v"):
        check_limits(Plan(wb.preset("tiny"), "sequential", 1, ()))

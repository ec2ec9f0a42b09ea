"""What holds for every test, notebooks included: small runs, a data folder of their own, nothing left at the end."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from workbench.runs import fork_server

SHARED_MEMORY = Path("/dev/shm")

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


class Family:
    """Processes that inherited a mark in their environment. Orphans are among them: a look at children misses those."""

    def __init__(self):
        self.environment = {"WORKBENCH_TEST_" + uuid.uuid4().hex: "1"}

    def running(self) -> dict[int, str]:
        """Process id to name and command line, without this process and those that stay as long as it does."""
        (name,) = self.environment
        return {
            process: f"{said.strip()}: {command}".replace("\0", " ")
            for process, (environment, said, command) in _read_all("environ", "comm", "cmdline")
            if name in environment and process not in _staying() and "resource_tracker" not in command
        }

    def wait_gone(self, seconds: float = 10) -> dict[int, str]:
        """Those that still run once they have had the time to leave, which nobody may be there to wait for."""
        deadline = time.monotonic() + seconds
        while (running := self.running()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return running


@pytest.fixture
def family() -> Family:
    """Start a process with ``os.environ | family.environment`` and it can be told what it left behind."""
    return Family()


_session = Family()


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a data folder of their own, which goes with them."""
    data = tempfile.mkdtemp(prefix="workbench-tests-")
    config.add_cleanup(lambda: shutil.rmtree(data, ignore_errors=True))
    search = os.pathsep.join(filter(None, [str(config.rootpath), os.environ.get("PYTHONPATH")]))
    os.environ |= {"WORKBENCH_DATA": data, "PYTHONPATH": search, **_session.environment}
    os.environ.setdefault("WORKBENCH_BUDGET", "quick")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_left():
    """After the last test, notebooks included: no process that a test started, and no new name in shared memory."""
    names = _shared_names()
    yield
    fork_server.end_servers()
    running = _session.wait_gone()
    assert not running, f"left running: {running}"
    left, deadline = _shared_names() - names, time.monotonic() + 10
    while left and time.monotonic() < deadline:  # others have names for a moment, too
        left = {name for name in left & _shared_names() if not _in_use(name)}
        time.sleep(0.1 if left else 0)
    assert not left, f"left in {SHARED_MEMORY}: {sorted(left)}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Hide the name of the present test from the environment: a fork server would be replaced for every test."""
    with _without_the_name():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """As for a test itself."""
    with _without_the_name():
        return (yield)


@contextlib.contextmanager
def _without_the_name() -> Iterator[None]:
    name = os.environ.pop("PYTEST_CURRENT_TEST", None)
    try:
        yield
    finally:
        if name is not None:  # pytest takes it away again
            os.environ["PYTEST_CURRENT_TEST"] = name


def _staying() -> set[int]:
    """This process, and its fork servers, which it keeps for its next run."""
    return {os.getpid(), *(server.popen.pid for server in fork_server._servers)}


def _read_all(*files: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Some files of every process that lets itself be looked at."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            texts = tuple((folder / file).read_bytes().decode(errors="replace") for file in files)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        yield int(folder.name), texts


def _in_use(name: str) -> bool:
    """Whether another process has it open: with those we started all gone, it is somebody else's."""
    return any(name in maps for process, (maps,) in _read_all("maps") if process != os.getpid())


def _shared_names() -> set[str]:
    names = {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()
    return {name for name in names if not name.startswith(".org.chromium.")}  # the browser's own

"""Children that are warm from the start: a server that has imported torch and the core forks them.

The server is a fresh interpreter with a single thread, no CUDA and no run's data in it. It is started with the first
child and kept for the next ones. It does nothing but fork, and say how a child ended. Everything else is between the
parent and the child: a child tells its parent which process it is before it begins, and its death is seen by a
descriptor of the process, never by what the server says. So the server may die at any moment: its children live on,
none of them is taken for dead, and a new server is started when one is needed.

A server is also replaced when a child of it would differ from one that is spawned: when the environment, the search
path, limits or a file of the core have changed.
"""

import atexit
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.processes import child
from workbench.core.processes.child import Line
from workbench.core.processes.shared_memory import Descriptor
from workbench.core.processes.spawn import HOW_UNKNOWN, TOO_MANY_FILES, Process, in_words, interpreter, pidfd_of

CORE = Path(child.__file__).parents[1]
SERVE = "from workbench.runs import fork_server as begun; begun.serve"  # leaves the same names as a spawned child's
DEAF_TO = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
# A process with several threads must not fork. Children set the threads of their arithmetic by themselves.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
MOST_IN_ONE_MESSAGE = 200  # descriptors; the system's limit is 253
PATIENCE_S = 20.0  # for how long a server is waited for that does not say how a child ended
ATTEMPTS = 3  # servers that are tried to start one child with


class Forked(Process):
    """A child that the server forks."""

    _attempts = 0
    _killed = False

    def begin(self, ours: Line, theirs: Line, sent: list[int]) -> None:
        """Send the descriptors ahead, and have a child forked that takes them in."""
        for first in range(0, len(sent), MOST_IN_ONE_MESSAGE):
            socket.send_fds(ours, [len(sent).to_bytes(4)], sent[first : first + MOST_IN_ONE_MESSAGE])
        self._attempts += 1
        request(theirs)

    def look(self, line: Line) -> int | None:
        """The child tells which process it is before it begins; if the line ends before that, there is no child."""
        ended = self.hear(line)
        if self.pidfd is None and "pid" in self.said and "code" not in self.said:
            line.shutdown(socket.SHUT_WR)  # the descriptor of the child was lost on its way; the child leaves
            self.said |= {"code": child.FAILED, "words": TOO_MANY_FILES}
        if self.pidfd is None:
            return self._look_for_another() if ended else None
        if not connection.wait([self.pidfd.fileno()], 0):
            return None
        while not self.hear(line) and "seen" not in self.said and connection.wait([line], PATIENCE_S):
            pass  # until the server has said how it ended, or is dead
        return int(self.said.get("seen", self.said.get("code", -signal.SIGKILL if self._killed else HOW_UNKNOWN)))

    def _look_for_another(self) -> int | None:
        """The server died before it had forked the child, or could not, or the child must not begin any more."""
        if self._killed:
            return -signal.SIGKILL
        if "code" in self.said:
            return child.FAILED
        try:
            if self._attempts < ATTEMPTS:
                self.start()
                return None
            self.said["words"] = f"{ATTEMPTS} fork servers died before they had started it"
        except OSError as error:
            self.said["words"] = f"the fork server died, and there is no other: {in_words(error)}"
        return child.FAILED

    def kill(self) -> None:
        """End the child at once, or see to it that it never begins."""
        with self.lock:
            if self.is_alive() and self.pidfd is None and self.line is not None:
                self._killed = True
                self.line.shutdown(socket.SHUT_RDWR)  # from now on the child cannot tell which it is, and leaves
            if self.is_alive() and self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd.fileno(), signal.SIGKILL)


# --- the parent's side of the server --------------------------------------------------------------------------------


class ForkServer:
    """One server of this process."""

    def __init__(self, inherited: Any) -> None:
        self.inherited = inherited
        self.line, theirs = Line.pair()
        me = Descriptor(os.pidfd_open(os.getpid()))
        with theirs:
            given = theirs.fileno(), me.fileno()
            self.popen = interpreter(SERVE + str(given), [*given], DEAF_TO, **ONE_THREAD)


_lock = threading.Lock()
_servers: list[ForkServer] = []  # those of this process that have not left yet; only the last takes requests


def new_process(method: str, name: str, target: Callable[..., object], *arguments: Any) -> Process:
    """A child that is started in the way that a configuration's ``processes.start_method`` says."""
    forked = method == "fork_server" or (method == "auto" and available())
    return (Forked if forked else Process)(name, target, *arguments)


def available() -> bool:
    """Whether this system can have fork servers."""
    return sys.platform == "linux" and pidfd_of(os.getpid()) is not None


def request(theirs: Line) -> None:
    """Have a child forked that has this end of a line."""
    with _lock:
        inherited = _inherited()
        _servers[:] = [server for server in _servers if server.popen.poll() is None]
        if not _servers or _servers[-1].inherited != inherited:
            for server in _servers:  # let each leave as soon as it has no children
                with contextlib.suppress(OSError):
                    server.line.shutdown(socket.SHUT_WR)
            _servers.append(ForkServer(inherited))
        with contextlib.suppress(OSError):  # it has just died, as the end of the line will show
            socket.send_fds(_servers[-1].line, [b"fork"], [theirs.fileno()])


def _inherited() -> Any:
    """All that a spawned child would take over from this process by itself, and the code that it would load."""
    code = sorted(file for file in [*CORE.rglob("*.py"), Path(__file__)] if file.is_file())  # no editor's broken link
    files = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in code]
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    umask = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask")]
    share = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0)
    return sys.executable, sys.path[:], dict(os.environ), files, limits, umask, share


@atexit.register
def end_servers() -> None:
    """End the servers of this process; their children live on, and the next child is forked by a new one."""
    while _servers:
        with _servers.pop().popen as server:
            server.kill()


def _forget() -> None:
    """A fork of this process has no server of its own yet, and must not use its parent's."""
    global _lock
    _lock = threading.Lock()
    while _servers:
        _servers.pop().popen.returncode = 0  # not this process's to wait for


os.register_at_fork(after_in_child=_forget)


# --- the server's side ----------------------------------------------------------------------------------------------


def serve(line: int, parent: int) -> None:
    """All that the server does, in a fresh interpreter that blocks the signals of :data:`DEAF_TO`.

    Args:
        line: its end of what joins it to its parent; the child's end of another line comes with each request.
        parent: stands for the parent.
    """
    from workbench.core.agents import iqn_agent  # noqa: F401
    from workbench.core.envs import treasurehunt  # noqa: F401
    from workbench.core.processes import roles  # noqa: F401

    Path("/proc/self/comm").write_text("fork server")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # what is there now stays in pages that all children share
    requests = Line(fileno=line)
    children: dict[int, tuple[int, Line]] = {}  # by what stands for it: process id, and the child's end of its line
    wanted = True
    while wanted or children:
        for ready in connection.wait([parent, *children, *([line] if wanted else [])]):
            if ready == parent:
                os._exit(0)
            elif ready == line:
                with contextlib.suppress(ConnectionResetError):  # the parent is gone
                    said, given, *_ = socket.recv_fds(requests, 4, 1, socket.MSG_CMSG_CLOEXEC)
                    wanted = bool(said)
                    if given:
                        _fork(Line(fileno=given[0]), children, [line, parent])
            else:
                assert isinstance(ready, int)
                pid, theirs = children.pop(ready)
                os.close(ready)
                theirs.say(seen=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                theirs.close()


def _fork(theirs: Line, children: dict[int, tuple[int, Line]], held: list[int]) -> None:
    """Fork a child, which lets go of all that belongs to the server and to other children."""
    try:
        pid = os.fork()
    except OSError as error:
        theirs.say(code=child.FAILED, words=f"it could not be forked: {in_words(error)}")
        return
    if pid:
        children[os.pidfd_open(pid)] = pid, theirs
        return
    try:
        for number in (*held, *children):
            os.close(number)
        children.clear()
        os.setpgid(0, 0)  # as a spawned one
        np.random.seed()  # a spawned child would have states of its own, too
        sys.modules["torch"].default_generator.seed()
        me = Descriptor(os.pidfd_open(os.getpid()))
        socket.send_fds(theirs, [child.message(pid=os.getpid())], [me.fileno()])
        del me
        received = _receive(theirs)
        child.main(theirs.detach(), received)
    finally:
        os._exit(child.FAILED)


def _receive(theirs: Line) -> list[int]:
    received: list[int] = []
    while True:
        said, given, *_ = socket.recv_fds(theirs, 4, MOST_IN_ONE_MESSAGE)
        received += given
        if not said or len(received) == int.from_bytes(said):
            return received

"""Children that are warm from the start: a server that has imported torch and the core forks them.

The server is a fresh interpreter with a single thread, no CUDA and no run's data in it. It is started with the first
child and kept for the next ones. It does nothing but fork, and say how a child ended. Everything else is between the
parent and the child: a child tells its parent which process it is before it begins, and its death is seen by a
descriptor of the process, never by what the server says. So the server may die at any moment: its children live on,
none of them is taken for dead, and a new server is started when one is needed.

A server is also replaced when a child of it would differ from one that is spawned: when the environment, the search
path, limits or a file of the core have changed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import itertools
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.processes import child
from workbench.core.processes.child import LAST_WORDS, Line
from workbench.core.processes.shared_memory import Descriptor
from workbench.core.processes.spawn import Process, Spawned, deaf_to, interpreter, pidfd_of

CORE = Path(__file__).parents[1]
DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
"""A process with more threads than one must not fork. Children set the threads of their arithmetic by themselves."""
NUMBER = struct.Struct("=q")
"""Of a request to fork; and, from the child, of its process."""
ENDED = struct.Struct("=qi")
"""A request's number, and the exit code of the child that came of it."""
HOW_UNKNOWN = 256
"""Exit code of a child that was ended from outside and whose server had died: nobody has seen how."""
MOST_IN_ONE_MESSAGE = 200
"""Descriptors; the system's limit is 253."""
PATIENCE_S = 2.0
"""For how long a server that does not say how a child ended is waited for."""
ATTEMPTS = 3
"""Servers that are tried to start one child with."""


class Forked(Process):
    """A child that the server forks."""

    _server: ForkServer
    _pid: int | None = None
    _killed = False
    _attempts = 0

    def _begin(self, theirs: Line, sent: list[int]) -> None:
        assert self._line is not None
        count = NUMBER.pack(len(sent))
        for first in range(0, len(sent), MOST_IN_ONE_MESSAGE):
            socket.send_fds(self._line, [count], sent[first : first + MOST_IN_ONE_MESSAGE])
        self._attempts += 1
        self._server, self._number = request(theirs)

    @property
    def pid(self) -> int | None:
        """The child's process id; None until it has told which it is."""
        with self._lock:
            self._connect()
            return self._pid

    def _connect(self) -> bool:
        """Hear from the child which process it is, if it has told by now; whether that is known.

        The line ends before that if the server dies. Then no child has it, so another may be forked.
        """
        if self._pid is not None or self._line is None:
            return self._pid is not None
        try:
            said, found, *_ = socket.recv_fds(self._line, NUMBER.size, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            said, found = b"", []
        if said and found:
            (self._pid,), self._pidfd = NUMBER.unpack(said), Descriptor(found[0])
        elif said:  # could not be forked
            self._exitcode = self._hear_last_words()
        elif self._killed:
            self._exitcode = -signal.SIGKILL
        elif self._attempts < ATTEMPTS:
            self._start_again()
        else:
            self._exitcode, self.last_words = child.FAILED, f"{ATTEMPTS} fork servers died before they had started it"
        return self._pid is not None

    def _start_again(self) -> None:
        try:
            self.start()
        except OSError as error:
            self._exitcode, self.last_words = child.FAILED, f"the fork server died, and another failed: {error}"

    def _look(self) -> int | None:
        if not self._connect():
            return self._exitcode
        assert self._pidfd is not None
        if not _readable(self._pidfd.fileno()):
            return None
        said, seen = self._hear_last_words(), self._server.exit_code(self._number)
        return said if seen == HOW_UNKNOWN and said is not None else seen

    def kill(self) -> None:
        """End the child at once, or see to it that it never begins."""
        with self._lock:
            if self._line is None or self._exitcode is not None:
                return
            if not self._connect() and self._exitcode is None:
                self._killed = True
                self._line.shutdown(socket.SHUT_RDWR)  # from now on the child cannot tell which it is, and leaves
                self._connect()
            if self._pidfd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)


# --- the parent's side of the server --------------------------------------------------------------------------------


class ForkServer:
    """One server of this process."""

    def __init__(self, inherited: Any) -> None:
        self.inherited, self.owner = inherited, os.getpid()
        self._line, theirs = Line.pair(socket.SOCK_SEQPACKET)
        self._ended: dict[int, int] = {}
        self._lock = threading.Lock()
        parent = pidfd_of(self.owner)
        assert parent is not None
        given = [theirs.fileno(), parent.fileno()]
        with theirs, deaf_to(*DEAF_TO):
            self.popen = interpreter("fork_server", "serve", f"serve{tuple(given)}", given, **ONE_THREAD)

    def fork(self, number: int, theirs: Line) -> None:
        """Ask for a child that has this end of a line."""
        socket.send_fds(self._line, [NUMBER.pack(number)], [theirs.fileno()])

    def exit_code(self, number: int) -> int:
        """How the dead child of a request ended, as soon as the server has said it."""
        with self._lock:
            while number not in self._ended and _readable(self._line.fileno(), PATIENCE_S):
                if not (said := self._line.everything()):  # it is dead
                    break
                self._ended.update(ENDED.iter_unpack(said))
            return self._ended.pop(number, HOW_UNKNOWN)

    def retire(self) -> None:
        """Let the server leave as soon as it has no children."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)


_lock = threading.Lock()
_servers: list[ForkServer] = []
"""Those of this process that have not left yet; only the last takes requests."""
_numbers = itertools.count()


def new_process(method: str, name: str, target: Callable[..., object], *arguments: Any) -> Process:
    """A child that is started in the way that a configuration's ``processes.start_method`` says."""
    forked = method == "fork_server" or (method == "auto" and available())
    return (Forked if forked else Spawned)(name, target, *arguments)


def available() -> bool:
    """Whether this system can have fork servers."""
    return sys.platform == "linux" and pidfd_of(os.getpid()) is not None


def request(theirs: Line) -> tuple[ForkServer, int]:
    """Have a child forked that has this end of a line; the server that was asked, and the request's number."""
    with _lock:
        number, inherited = next(_numbers), _inherited()
        _servers[:] = [server for server in _servers if server.popen.poll() is None]
        if not _servers or _servers[-1].inherited != inherited:
            for server in _servers:
                server.retire()
            _servers.append(ForkServer(inherited))
        with contextlib.suppress(OSError):  # it has just died, as the end of the line will show
            _servers[-1].fork(number, theirs)
        return _servers[-1], number


def _inherited() -> Any:
    """All that a spawned child would take over from this process by itself, and the code that it would load."""
    files = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(CORE.rglob("*.py"))]
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    umask = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask")]
    share = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    return sys.executable, sys.path[:], dict(os.environ), files, limits, umask, share, os.getpgrp()


@atexit.register
def end_servers() -> None:
    """End the servers of this process, each as soon as it has no children; the next child is forked by a new one."""
    while _servers:
        server = _servers.pop()
        server.retire()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.popen.wait(PATIENCE_S)


def _forget() -> None:
    """A fork of this process has no server of its own yet, and must not use its parent's."""
    global _lock
    _lock = threading.Lock()
    while _servers:
        _servers.pop().popen.returncode = 0  # not this process's to wait for


os.register_at_fork(after_in_child=_forget)


# --- the server's side ----------------------------------------------------------------------------------------------


def serve(line: int, parent: int) -> None:
    """All that the server does, in a fresh interpreter that blocks the signals of :data:`DEAF_TO`."""
    from workbench.core.processes import actor, learner, sequential  # noqa: F401

    Path("/proc/self/comm").write_text("fork server")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests, poll = Line(fileno=line), select.poll()
    children: dict[int, tuple[int, int]] = {}  # by the descriptor of its process: number of the request, process id
    for watched in (line, parent):
        poll.register(watched, select.POLLIN)
    gc.collect()
    gc.freeze()  # what is there now stays in pages that all children share
    wanted = True
    while wanted or children:
        for ready, _ in poll.poll():
            if ready == parent:
                os._exit(0)
            elif ready in children:
                number, pid = children.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError):  # nobody listens
                    requests.send(ENDED.pack(number, code), socket.MSG_DONTWAIT)
            else:
                said, given = b"", list[int]()
                with contextlib.suppress(ConnectionResetError):
                    said, given, *_ = socket.recv_fds(requests, NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC)
                if not said:  # this server is retired, or the parent is gone
                    poll.unregister(line)
                    wanted = False
                    continue
                with Line(fileno=given[0]) as theirs:
                    if pid := _fork(theirs, [line, parent, *children]):
                        pidfd = os.pidfd_open(pid)
                        children[pidfd] = NUMBER.unpack(said)[0], pid
                        poll.register(pidfd, select.POLLIN)


def _fork(theirs: Line, held: list[int]) -> int:
    """Fork a child that lets go of what the server holds; its process id, or 0 if the system refuses."""
    try:
        pid = os.fork()
    except OSError as error:
        said = NUMBER.pack(0) + LAST_WORDS.pack(child.FAILED) + f"it could not be forked: {error}".encode()
        theirs.sendall(said, socket.MSG_DONTWAIT)
        return 0
    if pid == 0:
        try:
            for number in held:
                os.close(number)
            np.random.seed()  # a spawned child would have a state of its own, too
            socket.send_fds(theirs, [NUMBER.pack(os.getpid())], [os.pidfd_open(os.getpid())])
            received = _receive(theirs)
            child.main(theirs.detach(), received)
        finally:
            os._exit(child.FAILED)
    return pid


def _receive(theirs: Line) -> list[int]:
    received: list[int] = []
    while True:
        said, found, *_ = socket.recv_fds(theirs, NUMBER.size, MOST_IN_ONE_MESSAGE, socket.MSG_CMSG_CLOEXEC)
        received += found
        if not said or len(received) == NUMBER.unpack(said)[0]:
            return received


def _readable(number: int, timeout_s: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(1e3 * timeout_s))

"""One handle for a child process, whatever way it is started, and the way that every system has: a fresh interpreter.

A child runs a function that it can import, on arguments that it is sent. A pair of sockets joins it to its parent: the
child's last words come through it, and a child whose parent has let go of the other end leaves. The caller's script is
never run again in a child, and a caller may be a script, a notebook's kernel, a thread, or a daemonic process.
"""

import contextlib
import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection, context, reduction, util
from typing import Any, cast

from workbench.core.processes.child import Line, Received
from workbench.core.processes.shared_memory import Descriptor, nameless_file

TOO_MANY_FILES = "too many open files: raise the limit (ulimit -n), or close what holds them, such as runs you hold"
SEARCH_PATH = f"import sys; sys.path[:] = [*sys.argv[1:], {__file__.rpartition('workbench')[0]!r}]; "
# The GNU C library would give memory back after every update, and the next one would wait for 250 pages.
KEEP_FREED = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
HOW_UNKNOWN = 256  # exit code of a child that was ended from outside, and nobody who lives has seen how


class Process:
    """A child that runs ``target(*arguments)`` in a fresh interpreter. Any thread may ask it anything.

    One that is started in another way overrides :meth:`begin`, :meth:`look` and :meth:`kill`.

    Attributes:
        sentinel: a descriptor that is readable when the child has ended, or when there is something to ask it for.
        folder: where the child works: where its caller is when it is started, unless it is set before.
        last_words: the traceback of a child that failed; there once :attr:`exitcode` is.
        line: the parent's end of what joins the two, until the child has ended.
        pidfd: stands for the child, where the system has such descriptors and it is known.
        said: what the child, or the server that forked it, has said on the line so far.
        lock: held whenever one of these three is looked at or changed.
    """

    def __init__(self, name: str, target: Callable[..., object], *arguments: Any) -> None:
        """Nothing is started yet. Target and arguments are pickled when it is."""
        self.name, self.sentinel, self.last_words, self.folder = name, -1, "", ""
        self._work = target, arguments
        self.lock = threading.RLock()
        self.line: Line | None = None
        self.pidfd: Descriptor | None = None
        self.said: dict[str, Any] = {}
        self._exitcode: int | None = None

    def start(self) -> None:
        """Start the child and return at once.

        Raises:
            OSError: the system refused.
        """
        self.folder = self.folder or os.getcwd()
        with self.lock, _packed(self.name, self.folder, self._work) as sent:
            self.line, theirs = Line.pair()
            self.line.setblocking(False)
            self.sentinel, self.said = self.line.fileno(), {}
            try:
                self.begin(self.line, theirs, sent)
            except BaseException:
                self.line = None  # what has been begun leaves
                raise
            finally:
                theirs.close()

    def begin(self, ours: Line, theirs: Line, sent: list[int]) -> None:
        """Start the child, which gets its end of the line and these descriptors; the lock is held."""
        call = f"from workbench.core.processes import child as begun; begun.main({theirs.fileno()}, {sent})"
        self._popen = interpreter(call, [theirs.fileno(), *sent], {signal.SIGINT})  # until the child ignores it
        self.said["pid"] = self._popen.pid
        self._watch(pidfd_of(self._popen.pid))

    def _watch(self, pidfd: Descriptor | None) -> None:
        if pidfd is not None:
            self.pidfd, self.sentinel = pidfd, pidfd.fileno()

    @property
    def pid(self) -> int | None:
        """The child's process id; None until it is known."""
        self.is_alive()  # hears what it has told
        return cast(int | None, self.said.get("pid"))

    @property
    def exitcode(self) -> int | None:
        """How the child ended, as :class:`subprocess.Popen` says it; None while it lives or was not started."""
        with self.lock:
            if self._exitcode is None and self.line is not None:
                self._exitcode = self.look(self.line)
                if self._exitcode is not None:
                    self.last_words = self.said.get("words", "")
                    self.line = self.pidfd = None
            return self._exitcode

    def look(self, line: Line) -> int | None:
        """The exit code of a child that has ended; the lock is held."""
        code = self._popen.poll()
        if code is not None:
            self.hear(line)
        return code

    def hear(self, line: Line) -> bool:
        """Take in what was said on the line so far; whether that was the last of it."""
        try:
            while True:
                said, given, *_ = socket.recv_fds(line, 65536, 1)
                if not said:
                    return True
                for message in said.splitlines():
                    self.said |= json.loads(message)
                if given:
                    self._watch(Descriptor(given[0]))
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def is_alive(self) -> bool:
        """Whether the child was started and has not ended."""
        with self.lock:
            return self.exitcode is None and self.line is not None

    def kill(self) -> None:
        """End the child at once. One that has ended, or was not started, is left alone."""
        if self.is_alive():
            self._popen.kill()

    def join(self, timeout: float | None = None) -> None:
        """Sleep until the child has ended, at most ``timeout`` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (left := deadline - time.monotonic()) > 0:
            connection.wait([self.sentinel], min(left, 1.0))  # another who asks may have closed it


def interpreter(
    call: str, descriptors: list[int], deaf_to: Iterable[signal.Signals], **variables: str
) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter with this one's options and search path, which blocks signals from its first moment on.

    It leads a process group of its own. In its parent's group, a server that dies while one of its children is stopped
    would have the system hang up on the whole group, parent included; and a notebook's kernel, before it leaves, waits
    for everyone in its group.

    Args:
        call: what it executes; it finds this package also where the caller has left the folder that it was found from.
        descriptors: what it inherits.
        deaf_to: the signals.
        variables: added to its environment.
    """
    options = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
    try:
        return subprocess.Popen(
            [sys.executable, *options, "-c", SEARCH_PATH + call, *map(os.fspath, sys.path)],
            stdin=subprocess.DEVNULL, pass_fds=descriptors, env=KEEP_FREED | os.environ | variables, process_group=0,
        )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_words(error: BaseException) -> str:
    """An error of the system, or one that comes of it, with the remedy where there is one."""
    system: BaseException | None = error
    while system and not isinstance(system, OSError):
        system = system.__cause__ or system.__context__
    if isinstance(system, OSError) and system.errno in (errno.EMFILE, errno.ENFILE):
        return TOO_MANY_FILES
    if isinstance(system, OSError) and system.errno == errno.ENOMEM:
        return f"{system.strerror}: too little memory; end what you do not need"
    if isinstance(system, BlockingIOError) or "start new thread" in str(error):
        return "too many processes: raise the limit (ulimit -u, or that of the container), or end what you do not need"
    return repr(error)


def pidfd_of(pid: int) -> Descriptor | None:
    """A descriptor that stands for a process and becomes readable when it ends; None where the system has none."""
    try:
        return Descriptor(os.pidfd_open(pid))
    except (AttributeError, OSError):  # not Linux, or older than 5.3
        return None


class _Packing:
    """What multiprocessing asks for descriptors while it pickles what a child is sent."""

    DupFd = Received

    def __init__(self, file: Descriptor) -> None:
        self.numbers = [file.fileno()]

    def duplicate_for_child(self, number: int) -> int:
        """Send a descriptor along; its place among those that are sent."""
        self.numbers.append(number)
        return len(self.numbers) - 1


@contextlib.contextmanager
def _packed(name: str, folder: str, work: object) -> Iterator[list[int]]:
    """The descriptors that a child is sent: first the file that holds its work, then what that refers to."""
    file, parent = nameless_file(), pidfd_of(os.getpid())
    packing = _Packing(file)
    with open(os.dup(file.fileno()), "wb") as writer:
        context.set_spawning_popen(packing)  # type: ignore[arg-type]
        try:
            reduction.dump((name, parent, folder, sys.path, sys.argv, dict(os.environ)), writer)
            reduction.dump(work, writer)
        finally:
            context.set_spawning_popen(None)
    yield packing.numbers

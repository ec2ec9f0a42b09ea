"""One handle for a child process, whatever way it is started, and the way that every system has: a fresh interpreter.

A child runs a function that it can import, on arguments that it is sent. A pair of sockets joins it to its parent: the
child's last words come through it, and a child whose parent has let go of the other end leaves. The caller's script is
never run again in a child, and a caller may be a script, a notebook's kernel, a thread, or a daemonic process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from multiprocessing import connection, context, reduction, util
from typing import Any

from workbench.core.processes.child import LAST_WORDS, Line, Received, Surroundings
from workbench.core.processes.shared_memory import Descriptor, nameless_file

BOOTSTRAP = "import sys; sys.path[:] = sys.argv[1:]; from workbench.core.processes.{module} import {function}; {call}"


class Process(ABC):
    """A child process that runs ``target(*arguments)`` and leaves with this one. Any thread may ask it anything."""

    def __init__(self, name: str, target: Callable[..., object], *arguments: Any) -> None:
        """Nothing is started yet. Target and arguments are pickled when it is."""
        self.name = name
        self.last_words = ""
        """The traceback of a child that failed; there once :attr:`exitcode` is."""
        self._work = target, arguments
        self._lock = threading.RLock()
        self._line: Line | None = None
        self._pidfd: Descriptor | None = None
        self._exitcode: int | None = None

    def start(self) -> None:
        """Start the child and return at once.

        Raises:
            OSError: the system refused.
        """
        with self._lock, _packed(self.name, self._work) as sent:
            self._line, theirs = Line.pair()
            with theirs:
                try:
                    self._begin(theirs, sent)
                except BaseException:
                    self.close()  # whatever was begun leaves
                    raise

    @abstractmethod
    def _begin(self, theirs: Line, sent: list[int]) -> None:
        """Make a process that has the child's end of the line and these descriptors, and runs ``child.main``."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The child's process id; None before there is one."""

    @property
    def exitcode(self) -> int | None:
        """How the child ended, as :class:`subprocess.Popen` says it; None while it lives or was not started."""
        with self._lock:
            if self._exitcode is None and self._line is not None:
                self._exitcode = self._look()
            return self._exitcode

    @abstractmethod
    def _look(self) -> int | None:
        """The exit code if the child has ended. Its last words must be heard then."""

    def is_alive(self) -> bool:
        """Whether the child was started and has not ended."""
        return self.exitcode is None and self._line is not None

    @abstractmethod
    def kill(self) -> None:
        """End the child at once. One that has ended, or was not started, is left alone."""

    def join(self, timeout: float | None = None) -> None:
        """Sleep until the child has ended, at most ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (deadline is None or time.monotonic() < deadline):
            connection.wait([self.sentinel], None if deadline is None else max(0.0, deadline - time.monotonic()))

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the child ends, or when there is something to ask it for."""
        found = self._pidfd or self._line
        assert found is not None, f"{self.name} was not started"
        return found.fileno()

    def close(self) -> None:
        """Give back the descriptors of a child that has ended; what is known of it stays."""
        with self._lock:
            for held in (self._line, self._pidfd):
                if held is not None:
                    held.close()
            self._line = self._pidfd = None

    def _hear_last_words(self) -> int | None:
        """Keep the traceback that a dead child has left; return its exit code if it left in order, or failed."""
        assert self._line is not None
        said = self._line.everything()
        if len(said) < LAST_WORDS.size:
            return None
        self.last_words = said[LAST_WORDS.size :].decode(errors="replace")
        return int(LAST_WORDS.unpack_from(said)[0])


class Spawned(Process):
    """A child in a fresh interpreter, which imports everything again."""

    _popen: subprocess.Popen[bytes] | None = None

    def _begin(self, theirs: Line, sent: list[int]) -> None:
        call = f"main({theirs.fileno()}, {sent})"
        with deaf_to(signal.SIGINT):  # until the child ignores it by itself
            self._popen = interpreter("child", "main", call, [theirs.fileno(), *sent])
        self._pidfd = pidfd_of(self._popen.pid)

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the start."""
        return None if self._popen is None else self._popen.pid

    def _look(self) -> int | None:
        code = None if self._popen is None else self._popen.poll()
        if code is not None:
            self._hear_last_words()
        return code

    def kill(self) -> None:
        """End the child at once."""
        if self._popen is not None:
            self._popen.kill()


def interpreter(
    module: str, function: str, call: str, descriptors: list[int], **variables: str
) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter with this one's options and search path; it calls a function of this package."""
    options = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    bootstrap = BOOTSTRAP.format(module=module, function=function, call=call)
    return subprocess.Popen(
        [sys.executable, *options, "-c", bootstrap, *map(os.fspath, sys.path)],
        stdin=subprocess.DEVNULL, pass_fds=descriptors, env=os.environ | variables,
    )  # fmt: skip


@contextlib.contextmanager
def deaf_to(*signals: signal.Signals) -> Iterator[None]:
    """Block signals in this thread; processes that are started meanwhile block them from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pidfd_of(pid: int) -> Descriptor | None:
    """A descriptor that stands for a process and becomes readable when it ends; None where the system has none."""
    try:
        return Descriptor(os.pidfd_open(pid))
    except (AttributeError, OSError):  # not Linux, or older than 5.3
        return None


class _Packing:
    """What multiprocessing asks for descriptors while it pickles what a child is sent."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def duplicate_for_child(self, number: int) -> int:
        """Send a descriptor along; its place among those that are sent."""
        self.numbers.append(number)
        return len(self.numbers)

    DupFd = Received


@contextlib.contextmanager
def _packed(name: str, work: object) -> Iterator[list[int]]:
    """The descriptors that a child is sent: first the file that holds its work, then what that refers to."""
    packing, file, parent = _Packing(), nameless_file(), pidfd_of(os.getpid())
    surroundings = Surroundings(name, list(sys.path), list(sys.argv), os.getcwd(), dict(os.environ), parent)
    with open(os.dup(file.fileno()), "wb") as writer:
        context.set_spawning_popen(packing)  # type: ignore[arg-type]
        try:
            for each in (surroundings, work):
                reduction.dump(each, writer)
        finally:
            context.set_spawning_popen(None)
    yield [file.fileno(), *packing.numbers]

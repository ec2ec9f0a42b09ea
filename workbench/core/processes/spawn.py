"""Starting children from a process that does other things: a script, a notebook's kernel, a thread of either."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess


def start_all(processes: Iterable[SpawnProcess], then: Callable[[], object] | None = None) -> None:
    """Start children that neither run the caller's script again nor hear its Ctrl-C.

    ``then`` is called when all are started, before an interrupt can come.
    """
    with _bare_main(), _deaf_to_interrupts():
        for process in processes:
            process.start()
        if then is not None:
            then()


@contextlib.contextmanager
def _bare_main() -> Iterator[None]:
    """Spawn without running the caller's script again in every child: all that a child needs lies in this package."""
    with _main_lock:  # two threads that start runs at once would take each other's stand-in for the caller's module
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


_main_lock = threading.Lock()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Spawn children that inherit a blocked SIGINT: Ctrl-C must not reach them before they can ignore it themselves.

    An interrupt of this process is kept back until all are started: half a child would be left with half its job. The
    block alone does not do that, since another thread, such as one of a numerical library, may take the signal.
    """
    resource_tracker.ensure_running()  # here, because it unblocks SIGINT when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _interrupts_kept_back():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _interrupts_kept_back() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # KeyboardInterrupt is raised in the main thread only
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)

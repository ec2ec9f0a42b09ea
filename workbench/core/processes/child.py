"""The life of every child process: quiet, deaf to Ctrl-C, gone with its parent, and never silent about a failure."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import NoReturn, Self

from workbench.core.processes.shared_memory import Descriptor
from workbench.core.processes.time_slice import ask_for_time_slice
from workbench.core.processes.wakeup import Stopped
from workbench.core.processes.worker import Job

LAST_WORDS = struct.Struct("=i")
"""How a child's last words begin: its exit code. The traceback, if it failed, follows."""
MOST_SENT = 12_000
"""Bytes of a traceback that are sent home: so few that they go in one write."""
FAILED = 1
PARENT_GONE = 3
NO_DEVICE_MEMORY = (
    "no free device memory: lower learning.batch_size or agent.width, raise learning.accumulate, end what else uses "
    "the device, or set device to cpu\n"
)


class Line(socket.socket):
    """One end of what joins a child to its parent."""

    @classmethod
    def pair(cls, kind: socket.SocketKind = socket.SOCK_STREAM) -> tuple[Self, Self]:
        """Both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        return cls(fileno=one.detach()), cls(fileno=other.detach())

    def everything(self) -> bytes:
        """What the other end has sent so far."""
        parts = []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while part := self.recv(65536, socket.MSG_DONTWAIT):
                parts.append(part)
        return b"".join(parts)

    def __del__(self) -> None:
        self.close()


@dataclass
class Surroundings:
    """What a child takes over from its parent, as that was when it started the child."""

    name: str
    path: list[str]
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    parent: Descriptor | None
    """Readable once the parent is gone."""


@dataclass
class Received:
    """A descriptor in what a child is sent: its place among those that are sent along."""

    place: int

    def detach(self) -> int:
        """Its number in this process."""
        return _received[self.place]


_received: list[int] = []


def main(line: int, received: list[int]) -> NoReturn:
    """All that a child does, from its first moment to its last.

    Args:
        line: its end of what joins it to its parent.
        received: descriptors that it was sent; the first is of the file that holds its work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    home, said = Line(fileno=line), LAST_WORDS.pack(0)
    try:
        _received[:] = received
        with open(received[0], "rb") as file:
            file.seek(0)
            _take_over(pickle.load(file), home)
            target, arguments = pickle.load(file)
        target(*arguments)
    except BaseException as error:
        said = LAST_WORDS.pack(FAILED) + _words(error)
    finally:
        atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # the parent is gone
        home.sendall(said)  # in one write: of half a message, left by a process that is killed, nobody sees the end
    os._exit(LAST_WORDS.unpack_from(said)[0])


def _take_over(surroundings: Surroundings, home: Line) -> None:
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/comm").write_text(surroundings.name)
    sys.path[:], sys.argv[:] = surroundings.path, surroundings.arguments
    if os.environ != surroundings.environment:
        os.environ.clear()
        os.environ.update(surroundings.environment)
    os.chdir(surroundings.folder)
    leave = partial(_leave_with_parent, home, surroundings.parent)
    threading.Thread(target=leave, name="leave with parent", daemon=True).start()


def _leave_with_parent(home: Line, parent: Descriptor | None) -> None:
    """Sleep until the parent is gone, then end this process at once."""
    connection.wait([home, *([parent.fileno()] if parent else [])])
    os._exit(PARENT_GONE)


def _words(error: BaseException) -> bytes:
    """A failure's traceback, printed as a whole and shortened."""
    text = traceback.format_exc()
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it where it is not needed
        text += NO_DEVICE_MEMORY
    with contextlib.suppress(OSError, ValueError):  # a full disk, or no such character
        print(text, flush=True)
    data = text.encode(errors="backslashreplace")
    if len(data) > MOST_SENT:
        cut = f"\n... {len(data) - MOST_SENT:,} bytes left out; the whole is in the process's log\n".encode()
        data = data[: MOST_SENT // 4] + cut + data[-MOST_SENT * 3 // 4 :]
    return data


def run(job: Job) -> None:
    """Prepare the process for a role and do the role's work."""
    from workbench.core.processes import actor, learner, sequential

    role = {"actor": actor.act, "learner": learner.learn, "sequential": sequential.act_and_learn}[job.role]
    _prepare(job)
    with contextlib.suppress(Stopped):
        role(job)


def _prepare(job: Job) -> None:
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before CUDA starts: makes its matrix products repeatable
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):  # a notebook would show what a child prints in whichever cell ran last
        os.dup2(log, stream)
    _set_threads(job.config.processes.threads)
    ask_for_time_slice(job.config.processes.time_slice_ms)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)

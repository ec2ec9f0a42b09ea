"""The life of every child process: quiet, deaf to Ctrl-C, gone with its parent, and never silent about a failure."""

import atexit
import contextlib
import json
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, NoReturn, Self

from workbench.core.processes.shared_memory import Descriptor
from workbench.core.processes.wakeup import Stopped
from workbench.core.processes.worker import Job
from workbench.core.sentences import said

MOST_SENT = 6_000  # bytes of a traceback that are sent home: so few that they go in one write
FAILED = 1
PARENT_GONE = 3


class Line(socket.socket):
    """One end of what joins a child to its parent. It closes with its last holder."""

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Both ends."""
        one, other = socket.socketpair()
        return cls(fileno=one.detach()), cls(fileno=other.detach())

    def say(self, **what: Any) -> None:
        """Tell the other end something, in one write; nothing happens if it is gone."""
        with contextlib.suppress(OSError):
            self.sendall(message(**what))

    def __del__(self) -> None:
        self.close()


def message(**what: Any) -> bytes:
    """Something to say, as a line of JSON: a parent unpickles nothing that its children tell."""
    return json.dumps(what, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


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
    home, code, words = Line(fileno=line), 0, ""
    home.set_inheritable(False)
    try:
        _received[:] = received
        with open(received[0], "rb") as file:
            file.seek(0)
            _take_over(home, *pickle.load(file))
            target, arguments = pickle.load(file)
        target(*arguments)
    except BaseException as error:
        code, words = FAILED, _words(error)
    finally:
        atexit._run_exitfuncs()
    home.say(code=code, words=words)
    os._exit(code)


def _take_over(
    home: Line, name: str, parent: Descriptor | None, folder: str, path: list[str], arguments: list[str],
    environment: dict[str, str],
) -> None:  # fmt: skip
    """Be as the parent was when it started this process."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/comm").write_text(name)
    sys.path[:], sys.argv[:] = path, arguments
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=_leave_with_parent, args=(home, parent), name="leave with parent", daemon=True).start()


def _leave_with_parent(home: Line, parent: Descriptor | None) -> None:
    """Sleep until the parent is gone, then end this process at once."""
    connection.wait([home, *([parent.fileno()] if parent else [])])
    os._exit(PARENT_GONE)


def _words(error: BaseException) -> str:
    """A failure's traceback, printed as a whole and shortened. Its last line alone tells what was raised."""
    text = traceback.format_exc()
    last = next(line for line in "".join(traceback.format_exception_only(error)).splitlines() if line[:1] != " ")
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it where it is not needed
        last = said("child.device memory")
    text = text.removesuffix(f"{last}\n") + f"{last}\n"
    with contextlib.suppress(OSError, ValueError):  # a full disk, or no such character
        print(text, flush=True)
    data = text.encode(errors="backslashreplace")
    if len(data) > MOST_SENT:
        cut = f"\n... {len(data) - MOST_SENT:,} bytes left out; the whole is in the process's log\n".encode()
        data = data[: MOST_SENT // 4] + cut + data[-MOST_SENT * 3 // 4 :]
    return data.decode(errors="replace")


def run(job: Job) -> None:
    """Prepare the process for a role and do the role's work."""
    import torch

    from workbench.core.processes import roles

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before CUDA starts: makes its matrix products repeatable
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # never a file elsewhere, or a pipe
    there = os.fstat(job.logs.fileno()).st_nlink  # a folder that was deleted while the run is under way takes no log
    log = os.open(f"{job.name.replace(' ', '-')}.log" if there else os.devnull, flags, 0o600, dir_fd=job.logs.fileno())
    for stream in (1, 2):  # a notebook would show what a child prints in whichever cell ran last
        os.dup2(log, stream)
    torch.set_num_threads(job.plan.config.processes.threads)
    torch.set_num_interop_threads(1)
    torch.set_deterministic_debug_mode("warn")  # the same as use_deterministic_algorithms, which imports a compiler
    role = {"actor": roles.act, "learner": roles.learn, "sequential": roles.act_and_learn}[job.role]
    with contextlib.suppress(Stopped):
        role(job)

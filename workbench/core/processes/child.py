"""The life of every child process: quiet, deaf to Ctrl-C, gone with its parent, and never silent about a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from multiprocessing import connection, parent_process

from workbench.core.processes.time_slice import ask_for_time_slice
from workbench.core.processes.wakeup import Stopped
from workbench.core.processes.worker import Job

MOST_SENT = 12_000
"""Bytes of a traceback that are sent home: so few that they go into the pipe in one write."""
FAILED = 1
PARENT_GONE = 3
NO_DEVICE_MEMORY = (
    "no free device memory: lower learning.batch_size or agent.width, raise learning.accumulate, end what else uses "
    "the device, or set device to cpu\n"
)


def run(job: Job) -> None:
    """Target of every child: prepare the process, do the role's work, send a traceback home if it fails."""
    try:
        _prepare(job)
        _role(job.role)(job)
    except Stopped:
        pass
    except BaseException as error:
        text = traceback.format_exc()
        if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it where it is not needed
            text += NO_DEVICE_MEMORY
        with contextlib.suppress(OSError, ValueError):  # a full disk, or no such character
            print(text, flush=True)
        _send(job, text)
        raise SystemExit(FAILED) from None


def _send(job: Job, text: str) -> None:
    """Send a traceback home in one write: of half a message, left by a process that is killed, nobody sees the end."""
    data = text.encode(errors="backslashreplace")
    if len(data) > MOST_SENT:
        cut = f"\n... {len(data) - MOST_SENT:,} bytes left out; the whole is in {job.log}\n".encode()
        data = data[: MOST_SENT // 4] + cut + data[-MOST_SENT * 3 // 4 :]
    with contextlib.suppress(OSError):  # the parent is gone
        job.errors.send(data.decode(errors="replace"))


def _role(role: str):  # type: ignore[no-untyped-def]
    from workbench.core.processes import actor, learner, sequential

    return {"actor": actor.act, "learner": learner.learn, "sequential": sequential.act_and_learn}[role]


def _prepare(job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, see spawning.py
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before CUDA starts: makes its matrix products repeatable
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):  # a notebook would show what a child prints in whichever cell ran last
        os.dup2(log, stream)
    threading.Thread(target=leave_with_parent, name="leave with parent", daemon=True).start()
    _set_threads(job.config.processes.threads)
    ask_for_time_slice(job.config.processes.time_slice_ms)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def leave_with_parent() -> None:
    """Sleep until the parent is gone, then end this process at once; the target of a thread of its own."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(PARENT_GONE)

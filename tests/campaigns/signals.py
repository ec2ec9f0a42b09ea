"""How the campaigns end processes from outside, and which ones there are besides a run's own."""

from __future__ import annotations

import os
import signal
import time

from workbench.runs import fork_server

SIGNALS = ("SIGKILL", "SIGTERM", "SIGSTOP")
"""Manners of ending a process; one that is stopped is killed soon after."""


def end(pid: int | None, how: str) -> float | None:
    """End a process in one of the manners of :data:`SIGNALS`.

    Returns:
        When the last signal was sent, in seconds since the epoch; None if there is no such process.
    """
    if pid is None:
        return None
    try:
        if how == "SIGSTOP":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
        at = time.time()
        os.kill(pid, signal.SIGKILL if how == "SIGSTOP" else getattr(signal, how))
    except ProcessLookupError:
        return None
    return at


def server_pid() -> int | None:
    """The fork server that this process would ask for its next child; None where there is none."""
    servers = [server.popen for server in fork_server._servers if server.popen.poll() is None]
    return servers[-1].pid if servers else None

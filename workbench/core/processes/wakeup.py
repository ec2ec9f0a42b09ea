"""Waiting that costs no CPU: a pipe for each process that may have to wait.

Whoever changes a counter rings the bells of those who may wait for it, after the change. A waiter looks at the
counters, then sleeps until its bell rings. (That its parent dies is another thread's business: ``child.py``.) A ring
is one byte; the bell holds no state, so a ring too many is harmless and a killed ringer leaves nothing behind. Now and
then a waiter wakes to send a heartbeat, so that the parent can tell it from one that hangs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext

from workbench.core.shared.counters import Progress


class Stopped(Exception):
    """The parent asked this process to leave in order."""


@dataclass
class Bell:
    """One process's bell: it holds the reading end, everybody else may ring. Handed to children at spawn."""

    reader: connection.Connection
    writer: connection.Connection
    owner: int = 0
    """Place of the process that may wait among the run's processes."""
    alive_interval_s: float | None = None
    """Seconds between two heartbeats while it waits; None sleeps through."""

    @classmethod
    def create(cls, context: SpawnContext, owner: int = 0, alive_interval_s: float | None = None) -> Bell:
        """A new bell."""
        return cls(*context.Pipe(duplex=False), owner, alive_interval_s)

    def ring(self) -> None:
        """Wake the owner. Never blocks: a full pipe wakes it just as well."""
        os.set_blocking(self.writer.fileno(), False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.writer.fileno(), b"!")

    def wait_until(self, holds: Callable[[], bool], progress: Progress) -> None:
        """Sleep until ``holds()``.

        Raises:
            Stopped: a stop was requested meanwhile.
        """
        while True:
            self.drain()
            if progress.stopping:
                raise Stopped
            progress.beat(self.owner)
            if holds():
                return
            connection.wait([self.reader], self.alive_interval_s)

    def drain(self) -> None:
        """Forget every ring so far."""
        os.set_blocking(self.reader.fileno(), False)
        try:
            while os.read(self.reader.fileno(), 4096):
                pass
        except BlockingIOError:
            pass

"""Waiting that costs no CPU: a wakeup for each process that may have to wait.

A process that changes a counter notifies those that may wait for it, after the change. A waiter looks at the counters,
then sleeps until it is notified. (That its parent dies is another thread's business: ``child.py``.) A wakeup holds no
state, so one too many is harmless and a process that is killed while it notifies leaves nothing behind. Now and then a
waiter wakes to send a heartbeat, so that the parent can tell it from one that hangs.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection

from workbench.core.processes.shared_memory import Descriptor
from workbench.core.shared.counters import Progress

ONE = (1).to_bytes(8, "little")  # an event counter takes 8 bytes; any number above 0 wakes, so in either byte order


class Stopped(Exception):
    """The parent asked this process to leave in order."""


@dataclass
class Wakeup:
    """Wakes one process, its owner; others may notify it. It is sent to children when they are started.

    Attributes:
        reader: readable when the owner was notified.
        writer: where others write; the same, for an event counter.
        owner: its place among the run's processes.
        heartbeat_interval_s: seconds between two heartbeats while it waits; None sleeps through.
    """

    reader: Descriptor
    writer: Descriptor
    owner: int = 0
    heartbeat_interval_s: float | None = None

    @classmethod
    def create(cls, owner: int = 0, heartbeat_interval_s: float | None = None) -> "Wakeup":
        """A new wakeup: an event counter, which is one descriptor, or a pipe where the system has none."""
        if hasattr(os, "eventfd"):
            reader = writer = Descriptor(os.eventfd(0))
        else:
            reader, writer = (Descriptor(number) for number in os.pipe())
        for end in (reader, writer):
            os.set_blocking(end.fileno(), False)
        return cls(reader, writer, owner, heartbeat_interval_s)

    def notify(self) -> None:
        """Wake the owner. Never blocks: a full pipe wakes it just as well."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.writer.fileno(), ONE)

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
            connection.wait([self.reader.fileno()], self.heartbeat_interval_s)

    def drain(self) -> None:
        """Forget every notification so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader.fileno(), 4096):
                pass

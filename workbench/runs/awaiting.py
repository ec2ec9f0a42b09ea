"""``await run``: sleep until something has ended, and leave the kernel of a notebook free meanwhile."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

# Seconds between two looks.
INTERVAL_S = 0.1
# Seconds that a wait sleeps in one call: what another thread raises in this one arrives only between two calls.
STEP_S = 0.5

# What has buttons in this notebook now, and is not over.
with_buttons: WeakSet[Any] = WeakSet()

Outcome = TypeVar("Outcome", covariant=True)


class Awaitable(Generic[Outcome]):
    """Something with a ``wait`` that can be awaited as well. An interrupt ends the sleep, not what is waited for.

    Also a context manager that stops it at the end.
    """

    @abstractmethod
    def wait(self, timeout: float | None = None) -> Outcome:
        """Sleep until it has ended, and return what came out; raises TimeoutError after ``timeout`` seconds."""

    @abstractmethod
    def stop(self) -> None:
        """End it in order; what has ended stays as it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __await__(self) -> Generator[Any, None, Outcome]:
        """Sleep like :meth:`wait`, while buttons work."""
        while True:
            try:
                return self.wait(0)
            except TimeoutError:
                yield from asyncio.sleep(INTERVAL_S).__await__()


def wait_for(word: str, name: str, sleep: Callable[[float], object], timeout: float | None) -> None:
    """Sleep until something is over; in a notebook with buttons, say first how its buttons need not wait too.

    Args:
        word: what it is called in a notebook.
        name: what it is called in a message.
        sleep: sleeps that many seconds at most; true if it is over.
        timeout: None for as long as it takes.

    Raises:
        TimeoutError: it is not over after ``timeout`` seconds.
    """
    with suppress(RuntimeError):  # of a script, or a thread of its own: no button waits
        if with_buttons and timeout != 0 and asyncio.get_running_loop():
            print(f"Buttons may wait for {word}.wait() to end; in a notebook write `await {word}`.")
            with_buttons.clear()  # once is enough
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    while not sleep(max(0.0, min(STEP_S, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{name} is not over after {timeout:g} s; it continues, unless it is paused")

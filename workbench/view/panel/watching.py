"""How often a panel looks at its runs, and what it makes of two looks: the time that a run still needs.

Looking and drawing take cores from the runs that are looked at, so both are bounded twice: by a shortest interval and
by a share of the machine's cores.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from workbench.runs.machine import cores

# Shortest time between two looks at the runs.
MIN_INTERVAL_S = 0.24
# Shortest time between two diagnoses.
DOCTOR_INTERVAL_S = 5.0
# Largest share of the machine's cores that looking and drawing may take from the runs; diagnoses may take as much.
MAX_SHARE = 0.01
# Looks that the time left is worked out from, a minute or more.
REMEMBERED = 120


class Watcher:
    """A thread that looks again and again, until a look says that it was the last one or nobody watches any more."""

    def __init__(
        self, look: Callable[[], object], on_error: Callable[[Exception], None], name: str = "panel",
        interval_s: float = MIN_INTERVAL_S, share: float | None = None,
    ) -> None:  # fmt: skip
        """Start at once.

        Args:
            look: one look; returns whether there is nothing more to see.
            on_error: told what a look raised; the thread leaves then.
            name: of the thread.
            interval_s: shortest time from one look to the next.
            share: of a core that looks may take; None for :data:`MAX_SHARE` of all cores.
        """
        self._look, self._on_error, self._interval_s = look, on_error, interval_s
        self._share = share or MAX_SHARE * cores()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the last look, at most ``timeout`` seconds; whether it is over."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self, wait: bool = True) -> None:
        """Look no longer, and wait for the thread to leave."""
        self._closing.set()
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        try:
            while True:
                began, on_core = time.monotonic(), time.thread_time()
                over, cost = self._look(), (time.thread_time() - on_core) / self._share
                if over or self._closing.wait(max(began + self._interval_s - time.monotonic(), cost)):
                    return
        except Exception as error:
            self._on_error(error)


class TimeLeft:
    """Seconds that a run still needs if it continues as fast as it lately did."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def look(self, now: float, done: float, planned: float, moving: bool) -> float | None:
        """Take one more look.

        Args:
            now: seconds on a clock that does not jump.
            done: how much is done.
            planned: how much there is to do.
            moving: whether the run is running; one that is paused or over has no time left to tell.

        Returns:
            Seconds; None as long as that cannot be told.
        """
        if not moving:
            self._looks.clear()
            return None
        self._looks.append((now, done))
        first, done_first = self._looks[0]
        return (planned - done) * (now - first) / (done - done_first) if done > done_first else None


def in_words(seconds: float) -> str:
    """A length of time, with as many figures as one reads."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

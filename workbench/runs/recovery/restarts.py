"""Deaths of children and what follows them: who died and why, who may come back, how long one may be silent."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Literal

from workbench.core.config import ProcessConfig
from workbench.core.processes.worker import Role

Action = Literal["restarted", "run goes on without it", "run ended"]


@dataclass(frozen=True)
class Incident:
    """One death of a child, as it is shown and written to the run folder."""

    time: float
    """When it was seen, in seconds since 1970."""
    process: str
    agents: tuple[int, ...]
    """Whose updates it made; none for the actor."""
    cause: str
    """How it ended: signal, exit code, a hang, or the last line of its traceback."""
    epochs: int
    """Epochs that were collected until then."""
    updates: int
    """Updates that its agents had made together, of all agents for the actor."""
    restarts: int
    """How often it had been started anew before."""
    action: Action

    @property
    def what_happened(self) -> str:
        """Who died, of what, and how far the run was, in one line."""
        whose = f" (agent{'s' * (len(self.agents) > 1)} {', '.join(map(str, self.agents))})" if self.agents else ""
        return (
            f"{self.process}{whose} {self.cause}; {self.epochs} epochs were collected until then, "
            f"{self.updates} updates made"
        )

    def __str__(self) -> str:
        return f"{self.what_happened}; {self.action}"


class Restarts:
    """How often one process may still be started anew."""

    def __init__(self, config: ProcessConfig) -> None:
        self._most, self._window_s = config.max_restarts, config.restart_window_s
        self._times: list[float] = []
        self._last_failure: tuple[str, tuple[int, int]] | None = None

    @property
    def count(self) -> int:
        """Restarts so far."""
        return len(self._times)

    def why_not(self, failure: str, done: tuple[int, int]) -> str:
        """Why the process is not started again after this death; empty if it is, and then that is counted.

        Args:
            failure: what it raised, or that it hung; empty if it was killed or left without a word.
            done: epochs and updates so far.
        """
        now = time.monotonic()
        if failure and self._last_failure == (failure, done):
            return "the same had happened to it before, at the same place"
        recent = [moment for moment in self._times if now - moment <= self._window_s]
        if len(recent) >= self._most:
            if not self._most:
                return "processes.max_restarts is 0"
            often = "once" if len(recent) == 1 else f"{len(recent)} times"
            return f"it was restarted {often} within {self._window_s:g} s, and processes.max_restarts allows no more"
        self._times.append(now)
        self._last_failure = (failure, done)
        return ""


def policy(config: ProcessConfig, role: Role) -> str:
    """What follows the death of a process in that role."""
    return config.learner_death if role == "learner" else config.actor_death


def how_it_ended(code: int) -> str:
    """A process's exit code in words."""
    if code < 0:
        named = {number.value: number.name for number in signal.Signals}
        return f"was ended by signal {-code} ({named.get(-code, 'without a name')})"
    return f"exited with code {code} and no traceback; see its log"


class Silence:
    """For how long each child has given no sign of life, in time during which this process was awake itself."""

    def __init__(self, num_processes: int) -> None:
        self._signs, self._seconds = [-1] * num_processes, [0.0] * num_processes
        self._looked = time.monotonic()

    def look(self, signs: list[int], ready: list[bool]) -> list[float]:
        """Seconds of silence of each child.

        Args:
            signs: how many signs of life each has given, its predecessors included.
            ready: whether each has built its parts; before that it gives none, and its silence has not begun.
        """
        now = time.monotonic()
        awake = min(now - self._looked, 1.0)  # more is a look that came late: a suspended machine, a Ctrl-Z
        self._looked = now
        for process, (before, given) in enumerate(zip(self._signs, signs, strict=True)):
            silent = given == before and ready[process]
            self._seconds[process] = self._seconds[process] + awake if silent else 0.0
        self._signs = list(signs)
        return self.seconds

    @property
    def seconds(self) -> list[float]:
        """What :meth:`look` found last."""
        return list(self._seconds)

"""The restart policy: what follows the death of a child, how often one may be restarted, how long one may be silent."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from workbench.core.config import ProcessConfig
from workbench.core.processes.supervisor import Supervisor
from workbench.core.train.hooks import Action, Death, Listener, Verdict
from workbench.runs.sentences import said


@dataclass(frozen=True)
class Incident(Death):
    """One death of a child, as it is shown and written to the run folder.

    Attributes:
        time: When it was seen, in seconds since 1970.
    """

    time: float
    action: Action

    def __str__(self) -> str:
        return f"{self.what_happened}; {self.action}"


class RestartPolicy(Listener):
    """Restarts a run's children as its configuration says, and kills those that hang.

    Attributes:
        silence: of each child.
    """

    def __init__(self, supervisor: Supervisor, note: Callable[[Incident], object]) -> None:
        """Take the run's supervisor; ``note`` writes an incident down, before anything is done about it."""
        self._supervisor, self._note = supervisor, note
        self._limits, self._progress = supervisor.config.processes, supervisor.progress
        self._restarts = {child.job.name: Restarts(self._limits) for child in supervisor.children}
        self._learners = [child.job.name for child in supervisor.children if child.job.role == "learner"]
        self.silence = Silence(len(supervisor.children))

    def after_death(self, death: Death, failure: str) -> Verdict:
        """What the configuration says, and how often the same has happened."""
        verdict = self._verdict(death, failure)
        self._note(Incident(**vars(death), time=time.time(), action=verdict.action))
        return verdict

    def _verdict(self, death: Death, failure: str) -> Verdict:
        wanted = self._limits.learner_death if death.process in self._learners else self._limits.actor_death
        if self._progress.stopping or not self._progress.started or wanted == "stop":
            return Verdict("run ended")
        if wanted == "continue":
            return Verdict("run continues without it")
        why_not = self._restarts[death.process].why_not(failure, (death.epochs, death.updates))
        return Verdict("run ended", why_not) if why_not else Verdict("restarted")

    def look(self) -> None:
        """Kill every child that has been silent for too long."""
        ready = self._progress.ready()
        silences = self.silence.look(self._progress.heartbeats(), ready)
        for child, silence_s in zip(self._supervisor.children, silences, strict=True):
            limit = self._limits.hang_timeout_s
            if not ready[child.job.index]:  # restarted, and not there yet
                limit, silence_s = self._limits.start_timeout_s, time.monotonic() - child.started
            if silence_s > limit and child.process.is_alive():
                self._supervisor.kill(child, said("restarts.silent", limit=limit))


class Restarts:
    """How often one process may still be restarted."""

    def __init__(self, config: ProcessConfig) -> None:
        self._most, self._window_s = config.max_restarts, config.restart_window_s
        self._times: list[float] = []
        self._last_failure: tuple[str, tuple[int, int]] | None = None

    def why_not(self, failure: str, done: tuple[int, int]) -> str:
        """Why the process is not restarted after this death; empty if it is, and then that is counted.

        Args:
            failure: what it raised, or that it hung; empty if it was killed, or ended without an error.
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
            return said("restarts.often", often=often, window_s=self._window_s)
        self._times.append(now)
        self._last_failure = (failure, done)
        return ""


class Silence:
    """For how long each child has sent no heartbeat, in time during which this process was awake itself.

    Attributes:
        seconds: what :meth:`look` found last.
    """

    def __init__(self, num_processes: int) -> None:
        self._beats, self.seconds = [-1] * num_processes, [0.0] * num_processes
        self._looked = time.monotonic()

    def look(self, beats: list[int], ready: list[bool]) -> list[float]:
        """Seconds of silence of each child.

        Args:
            beats: heartbeats of each, of the processes that it replaced included.
            ready: whether each has built its parts; before that it sends none, and its silence has not begun.
        """
        now = time.monotonic()
        awake = min(now - self._looked, 1.0)  # more is a look that came late: a suspended machine, a Ctrl-Z
        looks = zip(self.seconds, self._beats, beats, ready, strict=True)
        self.seconds = [was + awake if given == before and there else 0.0 for was, before, given, there in looks]
        self._looked, self._beats = now, list(beats)
        return self.seconds

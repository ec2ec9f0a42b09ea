"""The parent's side of a run: children, a thread that watches them and drains their records, an orderly end.

:meth:`Supervisor.start` returns at once. From then on one thread does everything: it opens the ready barrier, moves
records from the children's rings to the listeners, sees a death at once, does what a listener says must follow, and
stops what is left. The caller's thread is never needed, so a notebook's cells stay free.
"""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

import numpy as np

from workbench.core import registry
from workbench.core.config import Config
from workbench.core.processes import child
from workbench.core.processes.blocks import Plan, allocate_shared
from workbench.core.processes.shared_memory import Descriptor
from workbench.core.processes.spawn import HOW_UNKNOWN, Process, in_words
from workbench.core.processes.wakeup import Wakeup
from workbench.core.processes.worker import Job, Role
from workbench.core.sentences import said
from workbench.core.shared.record_ring import Channel
from workbench.core.train.hooks import Death, Listener, Verdict
from workbench.core.train.learners import Learner

LOOK_INTERVAL_S = 0.1  # between two rounds of the watching thread; a death wakes it at once
MOST_SAID = 400  # characters of an exception that go into the line about a death; the traceback has them all


class ChildFailed(RuntimeError):
    """A child process raised, was killed, or did not start. The message names it and holds its traceback."""


@dataclass
class Child:
    """One child: its job, its present process, and what was seen of it."""

    job: Job
    process: Process
    started: float = 0.0
    killed_because: str = ""
    gone: bool = False  # dead, and not replaced


class Supervisor:
    """One run's children and everything that they share.

    Attributes:
        listeners: told and asked in this order; add them before the start.
    """

    def __init__(self, plan: Plan, logs: Path, new_process: Callable[..., Process] = Process) -> None:
        """Take the memory for a run; nothing is started yet.

        Args:
            plan: the run, already checked against mode and lag.
            logs: folder for the children's logs.
            new_process: makes a child out of its name, what it calls, and what with; by default one that is started in
                a fresh interpreter.

        Raises:
            OSError: the system refuses it; the message says what to do.
        """
        self.config, self._new_process = plan.config, new_process
        self.error: ChildFailed | None = None
        self.listeners: list[Listener] = []
        roles = children_of(plan.config, plan.mode)
        try:
            self.shared = allocate_shared(plan, len(roles))
        except OSError as error:
            raise OSError(error.errno, in_words(error)) from error
        self.progress = self.shared.progress
        self._channels = [Channel(self.shared.blocks[f"channel {index}"].open()) for index in range(len(roles))]
        folder = Descriptor(os.open(logs, os.O_RDONLY | os.O_DIRECTORY))  # stays the same folder if it is renamed
        beat_s = min(plan.config.processes.hang_timeout_s / 4, 60.0)  # of more than 24 days the system refuses to sleep
        self._wakeups = [Wakeup.create(index, beat_s) for index in range(len(roles))]
        learner: type[Learner] = registry.registered("learner", plan.config.processes.learner[0]) or Learner
        shared = plan, self.shared.blocks, self._wakeups, folder, learner
        jobs = [Job(name, role, index, agents, *shared) for index, (name, role, agents) in enumerate(roles)]
        self.children = [Child(job, new_process(job.name, child.run, job)) for job in jobs]
        self._wake = Wakeup.create()
        self._launch_time, self._stop_time = np.nan, np.inf
        self._ready, self._ready_time = 0, np.nan
        self._killed, self._ended = False, threading.Event()

    @property
    def processes(self) -> list[Process]:
        """The present process of each child."""
        return [each.process for each in self.children]

    def start(self) -> None:
        """Start every child and the thread that watches them. If that fails, or is interrupted, the run has ended."""
        watcher = threading.Thread(target=self._watch, name="watch run", daemon=True)
        try:
            self._launch_time = self._ready_time = time.monotonic()
            for each in self.children:
                each.started = time.monotonic()
                each.process.start()
            watcher.start()
        except BaseException as error:
            if watcher.ident is None:
                self._fail(ChildFailed(f"the children could not be started: {in_words(error)}"))
                self._kill()
                self._end()
                if isinstance(error, OSError):
                    raise self.error or error from error
            raise

    def stop(self, now: bool = False) -> None:
        """Ask the children to leave in order; returns at once. Late ones are killed, or all if ``now``."""
        self._stop_time = -np.inf if now else min(self._stop_time, time.monotonic())
        self.progress.request_stop()
        self.ring()

    def ring(self) -> None:
        """Wake every process: something has changed that it may be waiting for."""
        for wakeup in [*self._wakeups, self._wake]:
            wakeup.notify()

    def let_go(self) -> None:
        """Count the run as ended; one that was never started has no thread that does so."""
        self.listeners.clear()  # they know this supervisor: without them, all memory goes with the run's last holder
        self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the run has ended, at most ``timeout`` seconds; whether it has."""
        return self._ended.wait(timeout)

    @property
    def startup_s(self) -> float:
        """Seconds from the start of the children to the opening of the barrier; nan before."""
        return self.progress.start_time - self._launch_time

    # --- the watching thread ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            while True:
                alive = self._alive()
                self._look()  # after asking who is alive: it sees what the dead left, and may restart them
                if not alive and not self._alive():
                    break
                sentinels = [process.sentinel for process in self._alive()]
                connection.wait([*sentinels, self._wake.reader.fileno()], LOOK_INTERVAL_S)
                self._wake.drain()
        except BaseException as error:  # a bug: the run must not continue unwatched
            self._fail(ChildFailed(f"the watching thread failed: {in_words(error)}"))
            self._kill()
        finally:
            self._end()

    def _alive(self) -> list[Process]:
        return [process for process in self.processes if process.is_alive()]

    def _end(self) -> None:
        for finish in (self.drain, *(listener.end for listener in self.listeners)):
            try:
                finish()
            except BaseException as error:  # a caller that waits must be let go
                self._fail(ChildFailed(f"the run's end could not be recorded: {in_words(error)}"))
        self.let_go()

    def _look(self) -> None:
        """One round: records, barrier, deaths, listeners, time limits."""
        self.drain()
        progress, limits = self.progress, self.config.processes
        if not progress.started and not progress.stopping:
            self._look_at_the_barrier()
        for each in self.children:
            self._look_at(each)
        if progress.started and not progress.stopping:
            for listener in self.listeners:
                listener.look()
        overdue = time.monotonic() - self._stop_time > limits.stop_timeout_s
        if overdue or (progress.stopping and not progress.started):  # before the barrier there is nothing to lose
            self._kill()

    def _look_at_the_barrier(self) -> None:
        """Open it when all are ready. With every child that is, the others have their time once more."""
        ready, limit = sum(self.progress.ready()), self.config.processes.start_timeout_s
        if ready > self._ready:
            self._ready, self._ready_time = ready, time.monotonic()
        if ready == len(self.children):
            self.progress.open_barrier()
            self.ring()
        elif time.monotonic() - self._ready_time > limit:
            late = {"late": len(self.children) - ready, "children": len(self.children), "limit": limit}
            self._fail(ChildFailed(said("supervisor.late", **late)))

    def drain(self) -> None:
        """Hand the records that have come to the listeners; for the watching thread, and what it calls."""
        for channel in self._channels:
            for table, (records, lost) in channel.drain().items():
                if len(records) or lost:
                    for listener in self.listeners:
                        listener.take_records(table, records, lost)

    # --- deaths ----------------------------------------------------------------------------------------------------

    def _look_at(self, each: Child) -> None:
        code = each.process.exitcode
        if code is None or each.gone or self._killed:
            return
        done = self.progress.ended(each.job.index) and (each.job.role == "learner" or code == 0)
        # what stops the parent, such as a service manager, may send SIGTERM to its children too
        each.gone = done or (code in (0, -signal.SIGTERM) and self.progress.stopping)
        if not each.gone:
            self._died(each, code)

    def _died(self, each: Child, code: int) -> None:
        """Do what must follow a death."""
        self.drain()  # the next process writes to the same rings
        job, progress = each.job, self.progress
        traceback = each.process.last_words
        killed, each.killed_because = each.killed_because, ""
        agents = job.agents or range(self.config.num_agents)
        raised = traceback.strip().splitlines()[-1][:MOST_SAID] if traceback else ""
        cause = f"failed: {raised}" if traceback else killed or how_it_ended(code)
        updates = sum(progress.updates(agent) for agent in agents)
        death = Death(job.name, job.agents, cause, progress.epochs_collected, updates, job.restarts)
        answers = (listener.after_death(death, traceback or killed) for listener in self.listeners)
        action, why = next(filter(None, answers), Verdict("run ended"))
        each.gone = action != "restarted"
        if action == "restarted":
            self._restart(each)
        elif action == "run continues without it":
            for agent in job.agents:
                progress.freeze(agent)
            progress.report_end(job.index)
            self.ring()
        else:
            because = f"; {why}" if why else ""
            self._fail(ChildFailed(death.what_happened + because + (f":\n{traceback}" if traceback else "")))

    def _restart(self, each: Child) -> None:
        each.job = dataclasses.replace(each.job, restarts=each.job.restarts + 1)
        self.progress.forget_ready(each.job.index)
        folder, each.process = each.process.folder, self._new_process(each.job.name, child.run, each.job)
        each.process.folder = folder  # wherever the caller is by now: own modules may have been found from there
        each.started = time.monotonic()
        try:
            each.process.start()
        except OSError as error:
            each.gone = True
            self._fail(ChildFailed(f"{each.job.name} could not be restarted: {in_words(error)}"))

    def kill(self, child: Child, because: str) -> None:
        """Kill a child, which then counts as dead for this reason."""
        child.killed_because = because
        child.process.kill()

    # --- the end ---------------------------------------------------------------------------------------------------

    def _fail(self, error: ChildFailed) -> None:
        """Keep the first failure and stop the rest."""
        if self.error is None:
            self.error = error
            self.stop()

    def _kill(self) -> None:
        self._killed = True
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


def how_it_ended(code: int) -> str:
    """A process's exit code in words."""
    if code < 0:
        named = {number.value: number.name for number in signal.Signals}
        return f"was ended by signal {-code} ({named.get(-code, 'without a name')})"
    if code == HOW_UNKNOWN:
        return "ended; how is not known, since the fork server had died"
    return f"exited with code {code} and no traceback; see its log"


def children_of(config: Config, mode: str) -> list[tuple[str, Role, tuple[int, ...]]]:
    """Name, role and agents of each child."""
    agents = tuple(range(config.num_agents))
    if mode == "sequential":
        return [("sequential", "sequential", agents)]
    groups = [agents[first :: config.num_learners] for first in range(config.num_learners)]
    return [("actor", "actor", ()), *((f"learner {i}", "learner", group) for i, group in enumerate(groups))]

"""The parent's side of a run: children, a thread that watches them and drains their records, an orderly end.

:meth:`Supervisor.start` returns at once. From then on one thread does everything: it opens the ready barrier, moves
records from the children's rings to whoever wants them, sees a death at once, starts the dead anew or ends the run, as
the configuration says, and stops what is left. The caller's thread is never needed, so a notebook's cells stay free.
Checkpoints are written by a thread of their own, so that a slow disk delays none of this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np

from workbench.core.config import Config
from workbench.core.processes import child
from workbench.core.processes.blocks import Cut, Plan, Shared
from workbench.core.processes.jupyter_shutdown import kernel_is_ending
from workbench.core.processes.shared_memory import Block, machine_fence
from workbench.core.processes.spawn import start_all
from workbench.core.processes.wakeup import Bell
from workbench.core.processes.worker import Job, Role, record_tables
from workbench.core.records import Records
from workbench.core.shared.layout import Layout
from workbench.core.shared.record_ring import Channel, ChannelReader
from workbench.runs.limits import advice
from workbench.runs.recovery.restarts import Action, Incident, Restarts, Silence, how_it_ended, policy

DRAIN_INTERVAL_S = 0.1
"""How often records are moved and hangs are looked for; a death wakes the watching thread at once."""

MOST_SAID = 400
"""Characters of an exception's own words that go into the line about a death; the traceback has them all."""


class ChildFailed(RuntimeError):
    """A child process raised, was killed, or did not start. The message names it and holds its traceback."""


class Listener:
    """What a supervisor tells: the run that it belongs to overrides what it wants to know."""

    def take_records(self, table: str, records: Records, lost: int) -> None:
        """Records of a table as they come, and how many were lost before them; in the watching thread."""

    def keep_records(self) -> bool:
        """Keep all records so far; whether they are, so that a checkpoint may follow. In the watching thread."""
        return True

    def take_incident(self, incident: Incident) -> None:
        """A child has died; in the watching thread, after every record of it."""

    def take_checkpoint(self, epoch: int, cut: Cut) -> None:
        """A checkpoint to write; in a thread of its own. The arrays change once this returns."""

    def take_end(self) -> None:
        """Every child has left and every record is delivered; once, in the watching thread."""


@dataclass
class _Child:
    """One child: its job, its present process, and what was seen of it."""

    job: Job
    process: SpawnProcess
    errors: connection.Connection
    restarts: Restarts
    started: float = 0.0
    traceback: str = ""
    hung: str = ""
    gone: bool = False  # dead, and nobody takes its place


class Supervisor:
    """One run's children and everything that they share."""

    def __init__(self, plan: Plan, logs: Path, listener: Listener, cut: Cut | None = None, epoch: int = 0) -> None:
        """Take the memory for a run; nothing is started yet.

        Args:
            plan: the run, already checked against mode and lag.
            logs: folder for the children's logs.
            listener: who is told.
            cut: where to go on from; None for the beginning.
            epoch: epoch of that cut.

        Raises:
            MemoryError: there is not enough memory.
        """
        self._context = multiprocessing.get_context("spawn")
        self.config: Config = plan.config
        self.error: ChildFailed | None = None
        self._listener = listener
        roles = children_of(plan.config, plan.mode)
        self.shared = Shared(plan, len(roles), self._create)
        if cut is not None:
            self.shared.put_back(cut, epoch)
        self.progress = self.shared.progress
        channels = [self._create(Channel.layout(record_tables(plan.modifiers))) for _ in roles]
        self._channels = [ChannelReader(block.open(), machine_fence()) for block in channels]
        alive_interval_s = plan.config.processes.hang_timeout_s / 4
        self._bells = [Bell.create(self._context, index, alive_interval_s) for index in range(len(roles))]
        self.children = [
            self._child(plan, name, role, index, owned, channels[index], logs)
            for index, (name, role, owned) in enumerate(roles)
        ]
        self._wake = Bell.create(self._context)
        self._silence = Silence(len(roles))
        self._watcher = threading.Thread(target=self._watch, name="watch run", daemon=True)
        self._writer: threading.Thread | None = None
        self._launch_time = np.nan
        self._stop_time = np.inf
        self._killed = False
        self._ended = threading.Event()

    def _create(self, layout: Layout) -> Block:
        return Block.create(self._context, layout)

    def _child(
        self, plan: Plan, name: str, role: Role, index: int, agents: tuple[int, ...], channel: Block, logs: Path
    ) -> _Child:
        shared, (reader, writer) = self.shared, self._context.Pipe(duplex=False)
        job = Job(
            name, role, index, plan.config, plan.lag, agents, shared.progress_block, shared.replay_blocks,
            shared.store_blocks, shared.journal_blocks, shared.changes_block, channel, self._bells, writer,
            str(logs / f"{name.replace(' ', '-')}.log"), shared.weights_block, plan.modifiers,
        )  # fmt: skip
        return _Child(job, self._process(job), reader, Restarts(plan.config.processes))

    def _process(self, job: Job) -> SpawnProcess:
        return self._context.Process(target=child.run, args=(job,), name=job.name, daemon=True)

    @property
    def processes(self) -> list[SpawnProcess]:
        """The present process of each child."""
        return [each.process for each in self.children]

    @property
    def silence_s(self) -> list[float]:
        """For how long each child has given no sign of life."""
        return self._silence.seconds

    def start(self) -> None:
        """Start every child and the thread that watches them. If that fails, or is interrupted, the run has ended."""
        try:
            self._launch_time = time.monotonic()
            for each in self.children:
                each.started = time.monotonic()
            start_all(self.processes, then=self._watcher.start)
        except BaseException as error:
            if self._watcher.ident is None:
                self._fail(ChildFailed(f"the children could not be started: {advice(error)}"))
                self._kill()
                self._end()
                if isinstance(error, OSError):
                    raise self.error or error from error
            raise

    def stop(self, now: bool = False) -> None:
        """Ask the children to leave in order; returns at once. Whoever has not left in time, or ``now``, is killed."""
        self._stop_time = -np.inf if now else min(self._stop_time, time.monotonic())
        self.progress.request_stop()
        self.ring()

    def ring(self) -> None:
        """Wake everybody: something has changed that they may be waiting for."""
        for bell in [*self._bells, self._wake]:
            bell.ring()

    def abandon(self) -> None:
        """Count a run that was never started as ended."""
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
                self._look()  # after asking who is alive: it sees what the dead left, and may start them anew
                if not alive and not self._alive():
                    break
                connection.wait([*(process.sentinel for process in self._alive()), self._wake.reader], DRAIN_INTERVAL_S)
                self._wake.drain()
        except BaseException as error:  # a bug: the run must not go on unseen
            self._fail(ChildFailed(f"the watching thread failed: {error!r}"))
            self._kill()
        finally:
            self._end()

    def _alive(self) -> list[SpawnProcess]:
        return [process for process in self.processes if process.is_alive()]

    def _end(self) -> None:
        for finish in (self._write_last_checkpoint, self._listener.take_end):
            try:
                finish()
            except BaseException as error:  # whoever waits must be let go
                self._fail(ChildFailed(f"the run's end could not be recorded: {error!r}"))
        self._ended.set()

    def _look(self) -> None:
        """One round: records, barrier, deaths, hangs, checkpoints, time limits."""
        self._drain()
        progress, limits = self.progress, self.config.processes
        if not self._killed and kernel_is_ending():
            self.stop(now=True)
            self._kill()
        if not progress.started and not progress.stopping and progress.all_ready():
            progress.open_barrier()
            for bell in self._bells:
                bell.ring()
        for each in self.children:
            self._look_at(each)
        if progress.started and not progress.stopping:
            self._look_for_hangs()
            self._look_for_checkpoint()
        if not progress.started and time.monotonic() - self._launch_time > limits.start_timeout_s:
            self._fail(ChildFailed(f"the children were not ready within {limits.start_timeout_s:g} s; see the logs"))
        overdue = time.monotonic() - self._stop_time > limits.stop_timeout_s
        if overdue or (progress.stopping and not progress.started):  # before the barrier there is nothing to lose
            self._kill()

    def _drain(self) -> None:
        for channel in self._channels:
            for table, (records, lost) in channel.drain().items():
                if len(records) or lost:
                    self._listener.take_records(table, records, lost)

    # --- deaths ----------------------------------------------------------------------------------------------------

    def _look_at(self, each: _Child) -> None:
        code = each.process.exitcode  # before the pipe: what a process sent, it sent before it ended
        with contextlib.suppress(EOFError):
            if each.errors.poll():
                each.traceback = each.errors.recv()
                each.process.join(1.0)
                code = each.process.exitcode
                if code is None:
                    each.process.kill()
                    each.process.join()
                    code = each.process.exitcode
        if code is None or each.gone or self._killed:
            return
        done = self.progress.ended(each.job.index) and (each.job.role == "learner" or code == 0)
        if done or (code in (0, -signal.SIGTERM) and self.progress.stopping):  # who stops us may tell our group
            each.gone = True
            return
        self._died(each, code)

    def _died(self, each: _Child, code: int) -> None:
        """Do what the policy says about a death."""
        self._drain()  # whoever takes its place writes to the same rings
        job, progress = each.job, self.progress
        traceback, each.traceback = each.traceback, ""
        hung, each.hung = each.hung, ""
        agents = job.agents or range(self.config.num_agents)
        done = (progress.epochs_collected, sum(progress.updates(agent) for agent in agents))
        raised = traceback.strip().splitlines()[-1][:MOST_SAID] if traceback else ""
        cause = f"failed: {raised}" if traceback else hung or how_it_ended(code)
        action, why_not = self._what_follows(each, traceback or hung, done)
        incident = Incident(
            time.time(), job.name, job.agents, cause, done[0], done[1], job.restarts, action
        )  # fmt: skip
        self._listener.take_incident(incident)
        if action == "restarted":
            self._restart(each)
            return
        each.gone = True
        if action == "run goes on without it":
            for agent in job.agents:
                progress.freeze(agent)
            progress.report_end(job.index)
            self.ring()
            return
        because = f"; {why_not}" if why_not else ""
        self._fail(ChildFailed(incident.what_happened + because + (f":\n{traceback}" if traceback else "")))

    def _what_follows(self, each: _Child, failure: str, done: tuple[int, int]) -> tuple[Action, str]:
        """What to do about a death, and why there is no restart although there might be."""
        if self.progress.stopping or not self.progress.started:
            return "run ended", ""
        wanted = policy(self.config.processes, each.job.role)
        if wanted == "continue":
            return "run goes on without it", ""
        why_not = "" if wanted == "stop" else each.restarts.why_not(failure, done)
        return ("run ended", why_not) if wanted == "stop" or why_not else ("restarted", "")

    def _restart(self, each: _Child) -> None:
        each.job = dataclasses.replace(each.job, restarts=each.restarts.count)
        self.progress.forget_ready(each.job.index)
        each.process, each.started = self._process(each.job), time.monotonic()
        try:
            start_all([each.process])
        except OSError as error:
            each.gone = True
            self._fail(ChildFailed(f"{each.job.name} could not be started anew: {advice(error)}"))

    def _look_for_hangs(self) -> None:
        limits, progress = self.config.processes, self.progress
        ready = [progress.ready(each.job.index) for each in self.children]
        silences = self._silence.look(progress.signs_of_life(), ready)
        for each, silence_s in zip(self.children, silences, strict=True):
            if not each.process.is_alive():
                continue
            if not ready[each.job.index]:  # started anew, and not there yet
                limit, silence_s = limits.start_timeout_s, time.monotonic() - each.started
            else:
                limit = limits.hang_timeout_s
            if silence_s > limit:
                each.hung = (
                    f"has given no sign of life for {limit:g} s and was killed. It hung or was stopped, see its log; "
                    "if one turn of all worlds, or one update, may take that long, raise processes.hang_timeout_s"
                )
                each.process.kill()

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def _look_for_checkpoint(self) -> None:
        if self._writer is not None and self._writer.is_alive():
            return
        found = self.shared.complete_cut()
        if found is None:
            return
        self._drain()  # what it was preceded by must be on disk before it
        if self._listener.keep_records():
            self._writer = threading.Thread(target=self._write_checkpoint, args=found, name="checkpoint", daemon=True)
            self._writer.start()

    def _write_checkpoint(self, epoch: int, cut: Cut) -> None:
        try:
            self._listener.take_checkpoint(epoch, cut)
        finally:
            self.progress.keep_checkpoint(epoch)

    def _write_last_checkpoint(self) -> None:
        """Keep the run as it was left, so that it can be resumed however it ended."""
        if self._writer is not None:
            self._writer.join()
        self._drain()  # if the watching thread has failed, nobody else has
        cut = self.shared.cut_as_left() if self.shared.keeps_checkpoints else None
        if cut is not None and self._listener.keep_records():
            self._listener.take_checkpoint(self.progress.epochs_collected, cut)

    # --- the end ---------------------------------------------------------------------------------------------------

    def _fail(self, error: ChildFailed) -> None:
        """Keep the first failure and stop the rest."""
        if self.error is None:
            self.error = error
            self.stop()

    def _kill(self) -> None:
        self._killed = True
        for process in self.processes:
            if process.pid is not None and process.is_alive():
                process.kill()
        for process in self.processes:
            if process.pid is not None:
                process.join()


def children_of(config: Config, mode: str) -> list[tuple[str, Role, tuple[int, ...]]]:
    """Name, role and agents of each child."""
    agents = tuple(range(config.num_agents))
    if mode == "sequential":
        return [("sequential", "sequential", agents)]
    groups = [agents[first :: config.num_learners] for first in range(config.num_learners)]
    return [("actor", "actor", ()), *((f"learner {i}", "learner", group) for i, group in enumerate(groups))]

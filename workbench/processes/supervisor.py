"""The parent's side of a run: memory, children, a thread that watches them and drains their records, an orderly end.

:meth:`Supervisor.start` returns at once. From then on one thread does everything: it opens the ready barrier, moves
records from the children's rings to whoever wants them, notices a death within a tenth of a second, and stops what is
left. The caller's thread is never needed, so a notebook's cells stay free.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.config import Config
from workbench.exchange.layout import Layout
from workbench.exchange.mailbox import Mailbox
from workbench.exchange.progress import Progress
from workbench.exchange.replay import Replay
from workbench.processes import child
from workbench.processes.bell import Bell
from workbench.processes.job import Job, Modifier, Role, mailbox_layout
from workbench.processes.memory import Block, machine_fence
from workbench.record.channel import Channel, ChannelReader
from workbench.record.metrics import Records
from workbench.world.treasurehunt import Treasurehunt

DRAIN_INTERVAL_S = 0.1
"""How often records are moved and deaths are looked for."""

OnRecords = Callable[[str, Records, int], None]
"""Called with table, records and how many were lost before them."""


class ChildFailed(RuntimeError):
    """A child process raised, was killed, or did not start. The message names it and holds its traceback."""


class Supervisor:
    """One run's children and everything that they share."""

    def __init__(
        self, config: Config, mode: str, lag: int | None, logs: Path, world: type[Treasurehunt],
        weights: NDArray[np.float32] | None, modifiers: tuple[Modifier, ...],
        on_records: OnRecords, on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        """Take the memory for a run; nothing is started yet.

        Args:
            config: the configuration, already checked against mode and lag.
            mode: "sequential" or "multiprocess".
            lag: the dial.
            logs: folder for the children's logs.
            world: class of the world, importable in a child.
            weights: (agents, vector size) float32 to start from, or None.
            modifiers: what wraps or replaces parts in the children.
            on_records: takes the records as they come, in the watching thread.
            on_end: called once, in the watching thread, when every child has left and every record is delivered.
        """
        self._context = multiprocessing.get_context("spawn")
        self.config = config
        self.error: ChildFailed | None = None
        self._on_records, self._on_end = on_records, on_end
        roles = children_of(config, mode)
        agents = range(config.world.num_agents)
        create, fence = self._create, machine_fence()
        progress = create(Progress.layout(len(agents), len(roles)))
        replays = [create(Replay.layout(config)) for _ in agents]
        mailboxes = [create(mailbox_layout(config, lag)) for _ in agents]
        channels = [create(Channel.layout()) for _ in roles]
        self.progress = Progress(progress.open(), fence)
        self.replays = [Replay(config, block.open(), fence) for block in replays]
        self.mailboxes = [Mailbox(block.open(), fence) for block in mailboxes]
        self._channels = [ChannelReader(block.open(), fence) for block in channels]
        alive_interval_s = config.processes.hang_timeout_s / 4
        self._bells = [Bell.create(self._context, index, alive_interval_s) for index in range(len(roles))]
        errors = [self._context.Pipe(duplex=False) for _ in roles]
        self._errors = [reader for reader, _ in errors]
        jobs = [
            Job(name, role, index, config, lag, owned, progress, replays, mailboxes, channels[index], self._bells,
                errors[index][1], str(logs / f"{name.replace(' ', '-')}.log"), world, weights, modifiers)
            for index, (name, role, owned) in enumerate(roles)
        ]  # fmt: skip
        self.processes: list[SpawnProcess] = [
            self._context.Process(target=child.run, args=(job,), name=job.name, daemon=True) for job in jobs
        ]
        self._wake = Bell.create(self._context)
        self._silence = Silence(len(roles))
        self._watcher = threading.Thread(target=self._watch, name="watch run", daemon=True)
        self._launch_time = np.nan
        self._stop_time = np.inf
        self._killed = False
        self._ended = threading.Event()

    def _create(self, layout: Layout) -> Block:
        return Block.create(self._context, layout)

    def start(self) -> None:
        """Start every child and the thread that watches them. If that fails, or is interrupted, the run has ended."""
        self._launch_time = time.time()
        try:
            with _bare_main(), _deaf_to_interrupts():
                for process in self.processes:
                    process.start()
                self._watcher.start()  # before an interrupt can come: whoever stops the run then is let go by it
        except BaseException as error:
            if self._watcher.ident is None:
                self._fail(ChildFailed(f"the children could not be started: {error!r}"))
                self._kill()
                self._end()
            raise

    def stop(self) -> None:
        """Ask the children to leave in order; returns at once. Whoever has not left in time is killed."""
        self._stop_time = min(self._stop_time, time.monotonic())
        self.progress.request_stop()
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
            while any(process.is_alive() for process in self.processes):
                self._look()
                sentinels = [process.sentinel for process in self.processes if process.is_alive()]
                connection.wait([*sentinels, self._wake.reader], DRAIN_INTERVAL_S)
                self._wake.drain()
            self._look()
        except BaseException as error:  # a full disk, a bug: the run must not go on unseen
            self._fail(ChildFailed(f"the watching thread failed: {error!r}"))
            self._kill()
        finally:
            self._end()

    def _end(self) -> None:
        try:
            self._on_end()
        except BaseException as error:  # whoever waits must be let go
            self._fail(ChildFailed(f"the run's end could not be recorded: {error!r}"))
        finally:
            self._ended.set()

    def _look(self) -> None:
        """One round: records, barrier, deaths, time limits."""
        for channel in self._channels:
            for table, (records, lost) in channel.drain().items():
                if len(records) or lost:
                    self._on_records(table, records, lost)
        progress, limits = self.progress, self.config.processes
        if not progress.started and not progress.stopping and progress.all_ready():
            progress.open_barrier()
            for bell in self._bells:
                bell.ring()
        for process, errors in zip(self.processes, self._errors, strict=True):
            self._look_at(process, errors)
        if progress.started and not progress.stopping:
            self._look_for_hangs()
        if not progress.started and time.time() - self._launch_time > limits.start_timeout_s:
            self._fail(ChildFailed(f"the children were not ready within {limits.start_timeout_s:g} s; see the logs"))
        overdue = time.monotonic() - self._stop_time > limits.stop_timeout_s
        if overdue or (progress.stopping and not progress.started):  # before the barrier there is nothing to lose
            self._kill()

    def _look_at(self, process: SpawnProcess, errors: connection.Connection) -> None:
        code = process.exitcode  # before the pipe: what a process sent, it sent before it ended
        with contextlib.suppress(EOFError):
            if errors.poll():
                self._fail(ChildFailed(f"{process.name} failed:\n{errors.recv()}"))
        if code is not None and code != 0 and not self._killed:
            self._fail(ChildFailed(f"{process.name} {_how_it_ended(code)}{self._where()}"))

    def _look_for_hangs(self) -> None:
        limit = self.config.processes.hang_timeout_s
        for process, seconds in zip(self.processes, self._silence.look(self.progress.signs_of_life()), strict=True):
            if seconds > limit and process.is_alive():
                self._fail(ChildFailed(
                    f"{process.name} has given no sign of life for {limit:g} s{self._where()}. It hangs or was "
                    "stopped, see its log; if an epoch may take that long, raise processes.hang_timeout_s"
                ))  # fmt: skip
                process.kill()

    def _where(self) -> str:
        return f"; {self.progress.epochs_collected} epochs were collected until then"

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


class Silence:
    """For how long each child has given no sign of life, in time during which this process was awake itself."""

    def __init__(self, num_processes: int) -> None:
        self._signs, self._seconds = [-1] * num_processes, [0.0] * num_processes
        self._looked = time.monotonic()

    def look(self, signs: list[int]) -> list[float]:
        """Seconds of silence of each child, given how many signs of life each has given."""
        now = time.monotonic()
        awake = min(now - self._looked, 1.0)  # more is a look that came late: a suspended machine, a Ctrl-Z
        self._looked = now
        for process, (before, given) in enumerate(zip(self._signs, signs, strict=True)):
            self._seconds[process] = self._seconds[process] + awake if given == before else 0.0
        self._signs = list(signs)
        return list(self._seconds)


@contextlib.contextmanager
def _bare_main() -> Iterator[None]:
    """Spawn without running the caller's script again in every child: all that a child needs lies in this package."""
    with _main_lock:  # two threads that start runs at once would take each other's stand-in for the caller's module
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


_main_lock = threading.Lock()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Spawn children that inherit a blocked SIGINT: Ctrl-C must not reach them before they can ignore it themselves.

    An interrupt of this process is kept back until all are started: half a child would be left with half its job. The
    block alone does not do that, since another thread, such as one of a numerical library, may take the signal.
    """
    resource_tracker.ensure_running()  # here, because it unblocks SIGINT when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _interrupts_kept_back():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _interrupts_kept_back() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # KeyboardInterrupt is raised in the main thread only
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def children_of(config: Config, mode: str) -> list[tuple[str, Role, tuple[int, ...]]]:
    """Name, role and agents of each child."""
    agents = tuple(range(config.world.num_agents))
    if mode == "sequential":
        return [("sequential", "sequential", agents)]
    groups = [agents[first :: config.num_learners] for first in range(config.num_learners)]
    return [("actor", "actor", ()), *((f"learner {i}", "learner", group) for i, group in enumerate(groups))]


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"exited with code {code} and no traceback; see its log"

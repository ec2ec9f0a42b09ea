"""A run of this process: what it is asked, what it records, and how it is launched.

Nothing here blocks unless it is called ``wait``. Both modes run in child processes; a run's records arrive in
:attr:`Run.history` while it is under way.
"""

import atexit
import dataclasses
import functools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config, ConfigError
from workbench.core.processes.blocks import Plan
from workbench.core.processes.supervisor import ChildFailed, Supervisor, children_of
from workbench.core.records import Metric, Records
from workbench.core.registry import check_importable
from workbench.core.settings import require
from workbench.core.train.hooks import Hook, Listener, metrics_of, record_tables
from workbench.runs import machine
from workbench.runs.array_digest import array_digest
from workbench.runs.awaiting import Awaitable, wait_for
from workbench.runs.evaluation import Evaluation
from workbench.runs.finite import COMPUTED, first_not_finite
from workbench.runs.folder import FolderGone, RecordError, RunFolder, read_note, warn, write_note
from workbench.runs.fork_server import new_process
from workbench.runs.history import History
from workbench.runs.initial_weights import InitialWeights, WeightSource, initial_weights
from workbench.runs.limits import check_limits
from workbench.runs.live_settings import BLOCK, CHANGEABLE, Changes, LiveSettings
from workbench.runs.loaded import RunError, RunView, history_of, padded, progress_numbers
from workbench.runs.metrics import Schema
from workbench.runs.own_classes import GlobalDraws, OwnClasses, drawn_globally, unseeded
from workbench.runs.recovery.checkpoint import Checkpoint, write_checkpoint
from workbench.runs.recovery.deduplication import Repeats
from workbench.runs.recovery.gathering import Checkpoints, Contents
from workbench.runs.recovery.keepers import Recovery
from workbench.runs.recovery.restarts import Incident, RestartPolicy
from workbench.runs.reference_policies import reference_rewards
from workbench.runs.result import Result, greedy_reward, reward_tenths, sync_lag
from workbench.runs.rows import rows_of
from workbench.runs.sentences import counted, said
from workbench.runs.time_slice import TimeSlice
from workbench.runs.uninterrupted import uninterrupted

# Epochs behind the reference lines of a run's figures, or as many as a world lets be played side by side.
REFERENCE_EPOCHS = 400

# What every run has, before all other hooks.
OWN_HOOKS: tuple[Hook, ...] = (GlobalDraws(), OwnClasses(), Evaluation(), Recovery(), LiveSettings(), TimeSlice())


@dataclass(frozen=True)
class ProcessView:
    """One child of a run as it is now.

    Attributes:
        agents: Whose updates it makes.
        silence_s: Seconds since its last heartbeat, while it lives.
        restarts: How often it was restarted.
    """

    name: str
    role: str
    agents: tuple[int, ...]
    pid: int | None
    alive: bool
    silence_s: float
    restarts: int


class Run(RunView, Listener, Awaitable[Result]):
    """A run of this process. Made by :func:`launch`; also a context manager that stops it at the end."""

    def __init__(self, plan: Plan, folder: RunFolder, description: dict[str, Any], start: Checkpoint | None) -> None:
        """Take the memory for a run that :func:`launch` has checked. :meth:`start` starts it.

        Args:
            plan: what is run.
            folder: where it is recorded.
            description: what the folder says of it.
            start: the checkpoint to continue from, if there is one; the folder then holds what was recorded up to it.

        Raises:
            OSError: the system refuses it; the folder says that the run failed.
        """
        super().__init__(folder, plan.config, History(folder.schema), description)
        self._warnings: dict[str, str] = {}
        self._refused: set[str] = set()
        self._unwritten: dict[str, deque[Records]] = {table: deque() for table in folder.schema.tables}
        self._repeats = Repeats()
        self._elapsed_before = 0.0 if start is None else float(start.description["elapsed_s"])
        self._result: Result | None = None
        self._status, self._process = "created", os.getpid()
        self._lock, self._steering, self._noting = threading.Lock(), threading.Lock(), threading.RLock()
        try:
            if start is not None:
                self.history = history_of(folder, description)
                self._repeats.expect(self.history)  # what follows a kept state is done again, for one a publication
            plan = dataclasses.replace(plan, config=plan.config.replace(device=description["device"]))
            children = functools.partial(new_process, plan.config.processes.start_method)
            self._supervisor = Supervisor(plan, folder.subfolder("logs"), children)
            me = weakref.proxy(self)  # neither may hold the run, which holds both: all memory goes with its last holder
            self._checkpoints = Checkpoints(
                self._supervisor, lambda: me._keep_records(), lambda *what: me._write_checkpoint(*what)
            )
            self._restarts = RestartPolicy(self._supervisor, lambda incident: me._note_incident(incident))
            self._supervisor.listeners += [self._restarts, self._checkpoints, self]
            if start is not None:
                self._checkpoints.put_back(start.arrays, start.epoch)
                shared, progress = self._supervisor.shared, self._supervisor.progress
                for agent, replay in enumerate(shared.replays):
                    published = shared.store_blocks[agent].open()["time"]
                    published += time.time() - published.max()  # the time in which nothing ran is no sync lag
                    gone = replay.oldest_intact // replay.steps_per_epoch  # epochs without rows
                    if self.lag is not None and progress.epochs_learned(agent) < gone:
                        progress.freeze(agent)  # its learner had died, and the run continued without it
                        progress.report_learned(agent, self.config.epochs)
                        self._warnings[f"agent {agent}"] = said("resume.left behind", agent=agent)
        except BaseException:
            folder.write_description(description | {"status": "failed"})
            folder.release()
            raise
        self._changes = Changes(plan.config, self._supervisor.shared.blocks[BLOCK].open())
        if self.changes:  # of the run that is resumed
            self._changes.set(self.settings)

    @uninterrupted(undo=lambda run: run.stop())
    def start(self) -> Self:
        """Start the children and return at once.

        Raises:
            RunError: the run was started before.
        """
        self._require_own()
        with self._lock:
            RunError.unless(self._status == "created", said("run.again", run=self))
            self._describe({"status": "starting"})  # first: if this is interrupted, the run was never started
            self._status = "starting"
        _live.add(self)
        self._supervisor.start()
        return self

    def pause(self) -> None:
        """Let no new epoch begin, until :meth:`proceed`; what has begun is finished.

        Raises:
            RunError: the run is not under way.
        """
        self._require_going("paused")
        with self._steering:
            self._supervisor.progress.pause(True)
            self._describe({"paused_until": None})

    def proceed(self) -> None:
        """Continue after a :meth:`pause`.

        Raises:
            RunError: the run is not under way.
        """
        self._require_going("continued")
        with self._steering:
            self._describe({"paused_until": time.time()})
            self._supervisor.progress.pause(False)
        self._supervisor.ring()

    @property
    def paused(self) -> bool:
        """Whether the run waits for :meth:`proceed`."""
        return self._supervisor.progress.paused and not self.ended

    def checkpoint(self) -> None:
        """Ask for a checkpoint at the end of the epoch that is being collected; returns at once.

        Raises:
            RunError: the run is not under way, or keeps no checkpoints.
        """
        self._require_going("checkpointed")
        RunError.unless(self.config.checkpoint.keep > 0, said("run.no checkpoints", run=self))
        wanted = self._checkpoints.counters.wanted
        wanted.set(wanted.get() + 1)

    changeable = CHANGEABLE
    """Settings that :meth:`change` takes."""

    def change(self, **settings: Any) -> None:
        """Change settings while the run is under way: ``run.change(**{"learning.learning_rate": 1e-4})``.

        They hold from the epoch after the next on, in every process from the same one: no process can have begun it.
        The change is kept in :attr:`changes`, and a resumed run continues with it; the digests are then those of this
        run alone.
        With ``pacing.updates_per_epoch`` the replay ratio changes; the step size continues from where it is, and
        comes to its end at the end of the run as before.

        Raises:
            ConfigError: no setting is given, one cannot be changed now, a value breaks a rule, or the run is in its
                last two epochs; nothing is changed then.
            RunError: the run is not under way.
        """
        self._require_going("changed")
        if not settings:
            raise ConfigError(said("live_settings.none", changeable=", ".join(CHANGEABLE)))
        if fixed := settings.keys() - set(CHANGEABLE):
            raise ConfigError(said("live_settings.fixed", name=min(fixed), changeable=", ".join(CHANGEABLE)))
        with self._steering:
            made, progress = {"time": time.time(), "settings": settings}, self._supervisor.progress
            try:
                self._changes.make(progress, settings, lambda epoch: self._note("changes", {**made, "epoch": epoch}))
            finally:
                self._supervisor.ring()

    def _require_own(self) -> None:
        RunError.unless(os.getpid() == self._process, said("run.forked", run=self, pid=os.getpid()))

    def _require_going(self, what: str) -> None:
        self._require_own()
        RunError.unless(self.status in ("starting", "running"), said("run.not going", run=self, what=what))

    @property
    def processes(self) -> list[ProcessView]:
        """The run's children, as they are now."""
        found = []
        for each, silence_s in zip(self._supervisor.children, self._restarts.silence.seconds, strict=True):
            job, pid, alive = each.job, each.process.pid, each.process.is_alive()
            silent_s = silence_s if alive else 0.0
            found.append(ProcessView(job.name, job.role, job.agents, pid, alive, silent_s, job.restarts))
        return found

    @property
    def status(self) -> str:
        """One of created, starting, running, finished, stopped, failed."""
        return "running" if self._status == "starting" and self._supervisor.progress.started else self._status

    @functools.cached_property
    def references(self) -> dict[str, dict[str, float]]:
        """Rewards of the reference policies in this run's world (mean, sd, epochs), in units of the reward curve.

        Nothing else depends on them: if a world of your own fails in them, there are none and a warning says so.
        """
        epochs = max(2, min(REFERENCE_EPOCHS, self.config.spec.max_copies))
        try:
            return reference_rewards(self.config.world, epochs, self.config.seed)
        except (Exception, SystemExit) as error:
            self._warnings["references"] = f"the reference policies could not play in the run's world: {error!r}"
            return {}

    @property
    def warnings(self) -> list[str]:
        """What was lost, or could not be written to the run folder or done beside the run: the first of each kind."""
        return [*filter(None, [self.description.get("unseeded"), *self._warnings.values()]), *self.losses]

    @property
    def unsaved(self) -> list[str]:
        """What is not in the run folder, as the disk refused it; all of it is in memory still. See :meth:`save`."""
        waiting = {table: sum(map(len, parts)) for table, parts in self._unwritten.items() if parts}
        return [*(f"{counted(many, 'record')} of {table}" for table, many in waiting.items()), *sorted(self._refused)]

    def save(self, out: Path | str) -> Path:
        """Write the whole run, which has ended, to a new folder in ``out``, for instance on a disk that has room.

        Raises:
            RunError: the run has not ended.
            RecordError: there is a folder of that name already, or the disk refuses.
        """
        RunError.unless(self.ended, f"run {self.name} is {self.status}; stop it first, or wait for its end")
        folder = RunFolder.create(self.name, self.description, out, self.folder.schema)
        for table in folder.schema.tables:
            folder.append(table, self.history.table(table))
        write_note(folder.path, *read_note(self.folder.path))
        self.folder = folder
        self._refused.clear()
        for table, waiting in self._unwritten.items():
            self.history.read(table, folder)  # the old folder may go
            waiting.clear()
        self._checkpoints.end()
        self._finish_folder(self.status)
        return folder.path

    @property
    def error(self) -> ChildFailed | None:
        """Why the run failed, with the child's name and traceback."""
        return self._supervisor.error

    @property
    def progress(self) -> dict[str, float]:
        """Where the run is: epochs collected, agent steps and updates of all agents, rows per agent, seconds, rates."""
        progress, agents = self._supervisor.progress, self.config.num_agents
        worked = np.nan_to_num(np.fmin(progress.end_time, time.monotonic()) - progress.start_time)  # nan before
        updates = sum(progress.updates(agent) for agent in range(agents))
        epochs = progress.epochs_collected
        rows = epochs * self.config.steps_per_epoch
        elapsed_s = self._result.wall_s if self._result else self._elapsed_before + float(worked)
        return progress_numbers(epochs, rows, agents, updates, elapsed_s)

    @property
    def result(self) -> Result:
        """Outcome, throughput and digests; raises RunError before the end."""
        if self._result is None:
            raise RunError(said("run.no result", run=self) if self.ended else said("run.not yet", run=self))
        return self._result

    @property
    def newest_weights(self) -> NDArray[np.float32]:
        """Weights as they were published last, at any time and whatever the disk; raises RunError if none were."""
        if not (vectors := self._read_weights()):
            raise RunError(f"run {self.name} is {self.status} and has published no weights yet; start it, or wait")
        return padded(vectors)

    def wait(self, timeout: float | None = None) -> Result:
        """Sleep until the run has ended; interrupting this does not hurt the run.

        Args:
            timeout: seconds at most; None waits as long as it takes.

        Raises:
            TimeoutError: the run has not ended.
            ChildFailed: a child failed; the message has its name and traceback.
        """
        self._require_own()
        RunError.unless(self._status != "created", f"run {self.name} was never started; call run.start()")
        wait_for("run", f"run {self.name}", self._supervisor.wait, timeout)
        for text in self.warnings:
            warn(text)
        if self.error is not None:
            raise self.error
        return self.result

    @uninterrupted(undo=lambda stopped: None)
    def stop(self, now: bool = False) -> None:
        """End the run in order and wait for its children to leave. A run that has ended stays as it is.

        Either way the run can be resumed from where it was; ``now`` kills the children instead of letting them finish
        what they are at.
        """
        self._stop(now)

    def _stop(self, now: bool = False) -> None:
        self._require_own()
        with self._lock:
            if self._status == "created":
                self._finish_folder("stopped")
                self._status = "stopped"
                self.folder.release()
                self._supervisor.let_go()
                return
        self._supervisor.stop(now)
        self._supervisor.wait()

    # --- called by the watching thread -----------------------------------------------------------------------------

    def take_records(self, table: str, records: Records, lost: int) -> None:
        """Keep records that are new, on disk and in the history."""
        records = self._repeats.drop(table, records)
        if table in COMPUTED and "finite" not in self._warnings and (bad := first_not_finite({table: records})):
            self._warnings["finite"] = f"a number is not finite, and so is what is computed from it: {bad}"
        warned = self.folder.schema.tables[table].words.get("warning", ())  # a hook's column of that name
        self._warnings |= {warned[number]: warned[number] for number in records["warning"]} if warned else {}
        if len(records):
            self._unwritten[table].append(records)
        self.history.append(table, records, lost, self.folder if self._write_waiting(table) else None)

    def _keep_records(self) -> bool:
        """Write what waits; return whether all is on disk. A checkpoint without it would leave a gap in the history."""
        kept = all([self._write_waiting(table) for table in self._unwritten])
        if not kept:
            self._warnings.setdefault("waiting", "no checkpoint was written while records waited for the disk")
        return kept

    def _write_waiting(self, table: str) -> bool:
        """Write the records of a table that wait for the disk, oldest first; whether none is left."""
        waiting = self._unwritten[table]
        try:
            while waiting:
                self.folder.append(table, waiting[0])
                waiting.popleft()
        except RecordError as error:  # kept, and tried again with the next records
            self._refuse(table, error)
        return not waiting

    def _refuse(self, what: str, error: RecordError) -> None:
        """Remember what was not written, and why. With the folder, the records in it are gone."""
        gone = isinstance(error, FolderGone)
        self._warnings.setdefault("folder" if gone else what, str(error))
        if gone:
            self.history.forget()

    def _note_incident(self, incident: Incident) -> None:
        """Write down a death; what the next process does again must not be counted twice."""
        self._note("incidents", dataclasses.asdict(incident) | {"text": str(incident)})  # first: it finds a folder gone
        self._repeats.expect(self.history)

    def _write_checkpoint(self, epoch: int, contents: Contents) -> None:
        """Write a checkpoint; a disk that refuses is a warning."""
        described = {
            **{name: self.description[name] for name in ("config", "mode", "lag", "faults")},
            "elapsed_s": self.progress["elapsed_s"], "created": time.time(), "versions": machine.versions(),
        }  # fmt: skip

        def checkpoint() -> None:
            """Write it where this run's own folder of checkpoints is."""
            folder = self.folder.subfolder("checkpoints", said("checkpoint.meanwhile"))
            write_checkpoint(folder, epoch, contents, described, self.config.checkpoint.keep)

        self._write(checkpoint)

    def end(self) -> None:
        """Sum up, and finish the folder."""
        progress = self._supervisor.progress
        # finds a folder gone, too
        self._describe({"unseeded": self.description.get("unseeded") or drawn_globally(self._supervisor.shared)})
        trained = progress.epochs_collected == self.config.epochs and np.isfinite(progress.end_time)
        complete = trained and not self.error and greedy_reward(self.history) is not None
        status = "failed" if self.error else "finished" if complete else "stopped"
        try:
            self._result = self._summarise(status)
            for table in self._unwritten:
                self._write_waiting(table)
            self._finish_folder(status)
        except BaseException as error:
            status = "failed"
            self._describe({"status": status, "ended": time.time(), "error": repr(error)})
            raise
        finally:
            self._status = status  # last: who sees it finds everything written
            self.folder.release()
            _live.discard(self)

    def _summarise(self, status: str) -> Result:
        now = self.progress
        steps, updates = int(now["agent_steps"]), int(now["updates"])
        return Result(
            mode=self.mode, lag=self.lag, seed=self.config.seed, status=status, wall_s=now["elapsed_s"],
            startup_s=self._supervisor.startup_s, agent_steps=steps, updates=updates,
            agent_steps_per_s=now["agent_steps_per_s"], updates_per_s=now["updates_per_s"],
            replay_ratio=updates / steps if steps else None, sync_lag=sync_lag(self.history),
            reward=reward_tenths(self.history), greedy_reward=greedy_reward(self.history),
            digest=self._digests(),
        )  # fmt: skip

    def _digests(self) -> dict[str, str]:
        rows = [field for replay in self._supervisor.shared.replays for field in rows_of(replay).values()]
        chains = {name: [chain] for name, chain in self._supervisor.progress.digests().items()}
        parts = {"weights": self._read_weights(), "replay": rows} | chains
        # a run with a fault never equals a sound one
        faults = [np.frombuffer(fault.encode(), np.uint8) for fault in self.faults]
        return {name: array_digest(*arrays, *faults) for name, arrays in parts.items()}

    def _read_weights(self) -> list[NDArray[np.float32]]:
        """The newest snapshot of every agent; none at all if the run ended before the initial ones were there."""
        stores = self._supervisor.shared.stores
        vectors = [np.empty(2 * self.config.agent.layout(spec).size, np.float32) for spec in self.config.spec.agents]
        if any(store.newest < 0 for store in stores):
            return []
        for store, vector in zip(stores, vectors, strict=True):
            store.read(vector)
        return vectors

    def _note(self, name: str, entry: dict[str, Any]) -> None:
        """Add to one of the description's lists, on disk too."""
        with self._noting:
            self._describe({name: [*self.description[name], entry]})

    def _describe(self, news: dict[str, Any]) -> None:
        """Say something more in the description, on disk too."""
        with self._noting:
            self.description = self.description | news
            self._write(self.folder.write_description, self.description)

    def _finish_folder(self, status: str) -> None:
        if self._result is not None:
            self._write(self.folder.write_result, self._result.to_dict())
            if vectors := self._read_weights():
                self._write(self.folder.write_array, "weights.npy", padded(vectors))
        self._describe({
            "status": status, "ended": self.description["ended"] or time.time(), "references": self.references,
            "error": str(self.error) if self.error else None, "lost_records": self.history.lost,
            "records": self.history.counts, "repeated_records": self._repeats.dropped,
            "skipped_checkpoints": self._checkpoints.counters.skipped.get(),
        })  # fmt: skip

    def _write(self, write: Callable[..., object], *what: Any) -> None:
        """Write to the run folder; a disk that refuses is a warning, not the end of a run."""
        name = write.__name__.removeprefix("write_")
        try:
            write(*what)
            self._refused.discard(name)
        except RecordError as error:
            self._refuse(name, error)
            self._refused.add(name)


R = TypeVar("R", bound=Run)


def launch(
    kind: type[R], config: Config, mode: str, lag: int | None, *, name: str | None, out: Path | str | None,
    weights: WeightSource | None, hooks: Sequence[Hook], faults: Sequence[str], notes: Mapping[str, Any], start: bool,
) -> R:  # fmt: skip
    """Start a run and return at once: :func:`workbench.launch`, which sees to it that no interrupt cuts this in two.

    Args:
        kind: class of the run: :class:`Run`, or one derived from it.
        config: every setting; see :func:`workbench.preset`.
        mode: "multiprocess" (an actor and learner processes) or "sequential" (the baseline, in one child process).
        lag: staleness in epochs: epoch e is collected with the weights that came out of the updates of epoch
            e - 1 - lag. None runs free, multiprocess only.
        name: name of the run folder; None for one that is made from mode, lag, seed and time.
        out: folder that the run folder is made in; None for ``data/runs``.
        weights: what to start from, or None; see :func:`workbench.runs.initial_weights.initial_weights`.
        hooks: what comes in from outside; see :class:`workbench.core.train.hooks.Hook`.
        faults: names of the faults among them; they are in the run's label and in its digests.
        notes: what else the run folder is to say of the run, so that a resumed run gets the same hooks.
        start: False leaves it to ``run.start()``.

    Raises:
        ConfigError: the configuration does not go with this mode, lag or machine, or a child process could
            not import a class of your own.
        RecordError: the run folder exists already or cannot be made.
        RunError: the weights do not fit.
        MemoryError: the run needs more memory than there is.
        OSError: the run needs more open files than there may be, or this process ignores SIGCHLD.
    """
    for choice in (config.world, config.agent, config.replay.sampler):
        check_importable(choice.group, type(choice))
    unsure = unseeded(config)
    starting = () if weights is None else (InitialWeights(initial_weights(weights, config)),)
    brought = (*starting, *OWN_HOOKS, *hooks)
    for hook in brought:
        require(isinstance(hook, Hook) and not isinstance(hook.metrics, Metric), "hooks", hook, said("run.hook"))
        check_importable("hook", type(hook))
    plan, place = planned(config, mode, lag, brought)
    description = {
        "status": "created", "mode": plan.mode, "lag": plan.lag, "unseeded": unsure,
        "warm_start": weights is not None, "faults": list(faults), **notes,
        "created": time.time(), "incidents": [], "changes": [], "resumed": [], **place,
        "clock_offset_ns": time.time_ns() - time.monotonic_ns(),
    }  # fmt: skip
    schema = Schema.of(record_tables(config, brought), metrics_of(config, brought))
    folder = RunFolder.create(name or new_name(config, mode, lag), description, out, schema)
    folder.hold()
    return begin(kind(plan, folder, description, None), start)


def begin(run: R, start: bool) -> R:
    """Start a run, if wanted; if that fails, it has ended."""
    if start:
        try:
            run.start()
        except BaseException:
            run.stop()
            raise
    return run


_live: weakref.WeakSet[Run] = weakref.WeakSet()
os.register_at_fork(after_in_child=_live.clear)  # they are the parent's runs, which its child does not end


@atexit.register
def _stop_all() -> None:
    """An interpreter that ends in order ends its runs in order."""
    for run in list(_live):
        run._stop()  # in this thread: none can be started any more


def new_name(config: Config, mode: str, lag: int | None) -> str:
    """A name that nobody else has: when, what, and an ending that no other of the same second gets."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    dial = "free" if lag is None else f"lag{lag}"
    return f"{stamp}-{mode}-{dial}-seed{config.seed}-{os.urandom(4).hex()}"


def planned(config: Config, mode: str, lag: int | None, hooks: tuple[Hook, ...]) -> tuple[Plan, dict[str, Any]]:
    """What is run, and what a run folder says of its beginning here: configuration, machine and children.

    Raises:
        ConfigError, MemoryError, OSError: this machine has not what the run needs.
    """
    device = str(resolve_device(config.device))
    resolve_device(config.processes.acting_device)
    plan = Plan(config, mode, lag, hooks)
    check_limits(plan)
    return plan, {
        "config": config.to_dict(), "device": device, "device_name": machine.device_name(device),
        "threads": config.processes.threads, "ended": None, "error": None, "machine": machine.describe(),
        "processes": [name for name, *_ in children_of(config, mode)], "paused_until": time.time(), "records": {},
    }  # fmt: skip

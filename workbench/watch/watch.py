"""The calls that a trainer makes: one line here, a ``with`` there, and everything else is left as it is.

A call records what happened into the file of its process, and never waits. It draws no random number, leaves nothing in
the trainer's objects, and raises for wrong use alone; whatever else goes wrong is counted, and told by the doctor.
Where looking takes too much of a process's time, some calls are only counted: most updates, batches and choices of
actions first, what copies arrived in last. The doctor says which share was looked at.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import math
import multiprocessing
import operator
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from multiprocessing import util
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from workbench.runs import machine
from workbench.runs.folder import RunFolder, warn
from workbench.runs.sentences import beside
from workbench.watch import tables, tensors
from workbench.watch.storage import IN_ORDER, RAISED, RecordFile, Table
from workbench.watch.tensors import NO_PICKS, View, Views, epsilon_of, hash_frames, hash_row, number_of, numbers_of

# Where a child finds the folder of the run that watches it.
VARIABLE = "WORKBENCH_WATCH"
# Rows of a batch that are looked at, and of the first batches more, if their states have no more elements than that.
ROWS, MOST = 16, 2**15
# Share of a process's time that watching may take before it looks at a part only, and calls that are always looked at:
# updates with their batches, copies, and choices of actions.
BUDGET, ALWAYS, ALWAYS_COPIES, ALWAYS_ACTS = 0.02, 50, 20, 500
# The target of every copy is looked at while that takes at most this share of the time. Otherwise these are looked at:
# the first ones, and all those that are made in every eighth second.
BUDGET_ARRIVED, ALWAYS_ARRIVED, SECONDS = 0.005, 200, 8
# Share of the space that is for rows and updates; publications, syncs and epochs have the rest too.
BULK_SHARE = 0.85


class WrongUse(ValueError):
    """A call cannot be meant as it was made. The message says what to write."""


class _Process:
    """What one process has at hand to record with."""

    def __init__(self, run: RunFolder, max_mb: float) -> None:
        self.lock, self.views, self.events = threading.RLock(), Views(), itertools.count(1)
        self.seconds, self.calls, self.began = 0.0, 0, time.perf_counter()
        self._depth, self._entered = 0, 0.0
        self.errors: set[str] = set()
        self._run, self._most, self._used, self._missed = run, max_mb * 1e6, 0.0, 0
        self._name = f"watch/{os.getpid()}-{time.time_ns()}.watch"
        self._looks: dict[str, list[int]] = defaultdict(lambda: [0, 1])
        self._numbers: dict[str, dict[Any, int]] = defaultdict(dict)
        self._tables: dict[tuple[str, int], Table] = {}
        self.episodes: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])  # episode, step, row
        self.fed: dict[tuple[int, int], tuple[Any, int]] = {}
        self.batches: dict[int, tuple[Any, Any, Any]] = {}
        # by agent; the last one is how often it had acted when it last synced
        self.updates, self.sampled, self.acts, self.synced = (Counter[int]() for _ in range(4))
        self.unstored = Counter[tuple[int, int | None]]()  # by agent and environment, actions since the last row
        # what copies arrived in: how often, looks at that, their seconds; and the last ones, if not looked at
        self._arrived, self._unseen = (0, 0, 0.0), dict[tuple[int, int], tuple[int, View]]()
        util.Finalize(None, self.leave, exitpriority=0)

    def __enter__(self) -> Self:
        """Record something: nothing that goes wrong inside comes out, and the time is counted."""
        self.lock.acquire()
        if not self._depth:
            self._entered = time.perf_counter()
        self._depth += 1  # a call within this one is a part of it
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        caught = isinstance(error, Exception) and not isinstance(error, WrongUse)
        try:
            with suppress(Exception):  # there is no file
                self._depth -= 1
                if error is not None and caught:
                    self.failed(error)
                if not self._depth:
                    self.calls += 1
                    self.seconds += time.perf_counter() - self._entered
                    self.file.beat(time.time(), self.calls, self.seconds)
        finally:
            self.lock.release()
        return caught

    @functools.cached_property
    def file(self) -> RecordFile:
        """What is recorded into, made when it is first used.

        Raises:
            RecordError: the folder is gone, or is another run's.
            OSError: the disk is full. It is tried again with the next call.
        """
        about = {
            "pid": os.getpid(), "process": machine.process_mark(os.getpid()), "parent": os.getppid(),
            "name": multiprocessing.current_process().name, "time": time.time(),
        }  # fmt: skip
        made = RecordFile(self._run.place / self._name, about, self._may_grow)
        if self._missed:  # since the first call
            since = time.time() - time.perf_counter() + self.began
            made.lose(self._missed, since, "at first there was no room for a file of records; make room")
        return made

    def _may_grow(self, size: int, bulk: bool) -> bool:
        self._used = (size + sum(each.stat().st_size for each in os.scandir(self._run.place / "watch"))) / self._most
        return self._used <= (BULK_SHARE if bulk else 1.0)

    def looks(self, what: str, always: int = ALWAYS) -> bool:
        """Whether a call is looked at: all the first ones, then as many runs of eight as time and space allow.

        Where there is no time, it is one run in 128.
        """
        kept = self._looks[what]
        kept[0] += 1
        if kept[0] > always and kept[0] % 8 == 0:
            rare = 4 ** max(0, int(8 * self._used / BULK_SHARE) - 4)  # from a half of the space on
            dear = self.seconds > BUDGET * (time.perf_counter() - self.began)
            kept[1] = int(kept[0] // 8 % max(rare, 128 * dear) == 0)
        return bool(kept[1])

    def table(self, name: str, width: int = 1) -> Table:
        """A table of :mod:`workbench.watch.tables`, whose last field holds that many numbers."""
        if (name, width) not in self._tables:
            fields, bulk = tables.TABLES[name]
            *first, (last, kind, _) = fields
            self._tables[name, width] = self.file.table(name, [*first, (last, kind, width)], bulk)
        return self._tables[name, width]

    def write(self, name: str, *values: Any, width: int = 1) -> None:
        table = self.table(name, width)
        self.file.write(table, table.pack(*values))

    def number(self, kind: str, key: Any, said: Any) -> int:
        """The number of a line of the file's text, which is written when it is first needed."""
        numbers = self._numbers[kind]
        if key not in numbers:
            self.file.say({kind: said})
            numbers[key] = len(numbers)
        return numbers[key]

    def look(self, event: int, agent: int, role: int, view: View) -> None:
        """Record the fingerprints of an agent's model, and at an update some of its numbers."""
        self._unseen.pop((agent, role), None)
        sums, picks = view.sums(), view.picks() if role < tables.ACTS else NO_PICKS
        if view.number is None:
            view.number = self.number("layout", view.layout, vars(view.layout))
        self.write("looks", time.time(), event, agent, role, view.number, view.identity, *picks, *sums, width=len(sums))

    def look_in_turn(self, event: int, agent: int, role: int, view: View) -> None:
        """Look at the target of a copy; where looking at all of them takes too long, only in some seconds.

        They are the same seconds in all processes, so that a sync and what it copies are looked at together.
        """
        now, (made, looks, seconds) = time.perf_counter(), self._arrived
        dear = made > ALWAYS_ARRIVED and seconds / max(looks, 1) * made > BUDGET_ARRIVED * (now - self.began)
        if dear and int(time.time()) % SECONDS:
            self._unseen[agent, role] = event, view
        else:
            self.look(event, agent, role, view)
            looks, seconds = looks + 1, seconds + time.perf_counter() - now
        self._arrived = made + 1, looks, seconds

    def catch_up(self) -> None:
        """Look at the last publications, if that is still to be done: the trainer may be left with one of them."""
        for (agent, role), (event, view) in list(self._unseen.items()):
            if role == PUBLISHED:
                self.look(event, agent, role, view)

    def failed(self, error: BaseException) -> None:
        """Keep what could not be recorded, each kind of trouble once."""
        said = _told(error)
        with suppress(Exception):  # there is no file, or its text is full
            self.file.lost += 1
            self.file.set("lost", self.file.lost)
            if said not in self.errors and len(self.errors) < 50:
                self.errors.add(said)
                self.file.say({"error": said})
        self._missed += 1  # counts where there is no file yet

    def leave(self) -> None:
        """Say that the process came to its end: in order, or by an error that nobody has caught."""
        child = multiprocessing.parent_process() is not None  # where the last error may be one of its parent
        error = sys.exc_info()[1] or (None if child else getattr(sys, "last_value", None))
        if isinstance(error, SystemExit) and not error.code:
            error = None
        with suppress(Exception):  # there is no file
            if error is not None:
                self.file.say({"raised": _told(error)})
            self.file.set("ended", IN_ORDER if error is None else RAISED)
            self.catch_up()


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


@functools.lru_cache(maxsize=8)
def _process_of(pid: int, run: RunFolder, max_mb: float) -> _Process:
    """What this process records with: another one after a fork."""
    return _Process(run, max_mb)


class Watch(AbstractContextManager["Watch"]):
    """A watched trainer: its run folder, and the calls that record into it. Every call is optional.

    Made once by the process that starts the others, which find it with :func:`watching`; it can also be sent to them.

    Attributes:
        path: the run folder.

    Example:
        ``watch = wb.Watch("my_trainer", agents=5, gamma=0.99, n_step=3, tau=0.001, frames=5)``
    """

    _made: ClassVar[Watch | None] = None  # by this process, and not closed

    def __init__(
        self, name: str, agents: int = 1, gamma: float | None = None, n_step: int | None = None,
        tau: float | None = None, frames: int = 1, capacity: int | None = None, max_mb: float = 200,
        epochs: int | None = None, out: Path | str | None = None,
    ) -> None:  # fmt: skip
        """Make the run folder, and let children find it.

        Args:
            name: of the run folder.
            agents: how many there are; they are numbered from 0.
            gamma: discount of one step, as the trainer means it.
            n_step: steps that a row spans, likewise.
            tau: share of the online network that flows into the target network at an update; 1 for a hard copy.
            frames: observations that are stacked into one state.
            capacity: rows that a buffer holds.
            max_mb: megabytes that all records together may take.
            epochs: how many are planned.
            out: folder that the run folder is made in; default ``data/runs``.

        Raises:
            ValueError: a number breaks its rule.
            RecordError: the folder exists already or cannot be made.
        """
        from workbench.watch.folder import make

        if Watch._made is not None:
            Watch._made.close()
        declared = {"agents": agents, "gamma": gamma, "n_step": n_step, "tau": tau, "frames": frames,
                    "capacity": capacity, "max_mb": max_mb, "epochs": epochs}  # fmt: skip
        self._attach(make(name, declared, out))
        self.folder.hold()
        os.environ[VARIABLE] = _settings_of_children()[VARIABLE] = self._sign
        Watch._made, self._maker = self, os.getpid()
        atexit.register(lambda: self.__exit__(None, getattr(sys, "last_value", None), None))

    def _attach(self, folder: RunFolder) -> None:
        said = folder.read_description()
        declared = said["watched"]
        self.folder, self.path, self._sign = folder, folder.path, f"{said['created']} {folder.path}"
        self.agents: int = declared["agents"]
        self.frames: int = declared["frames"]
        self.max_mb: float = declared["max_mb"]

    def __reduce__(self) -> Any:
        return _found, (self._sign,)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close(None if error is None else _told(error))

    def __repr__(self) -> str:
        return f"<Watch of {self.agents} agents into {self.path}>"

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self, error: str | None = None) -> None:
        """Say that the run is over, as the process that made the watch; nothing happens elsewhere, or a second time."""
        if not self._is_maker:
            return
        Watch._made = None
        os.environ.pop(VARIABLE, None)
        _settings_of_children().pop(VARIABLE, None)
        with self._call() as here:
            pass  # it counts
        try:
            self._end("failed" if error else "finished", error)
            here.file.set("ended", IN_ORDER)  # which says so where there is no file
            here.leave()
        except Exception as refused:  # somebody has deleted the folder
            with suppress(Exception):  # where warnings are errors
                warn(f"what the watch has recorded is lost: {refused}")
        self.folder.release()

    @property
    def _is_maker(self) -> bool:
        return Watch._made is self and self._maker == os.getpid()

    def _end(self, status: str, error: str | None = None) -> None:
        said = self.folder.read_description()
        self.folder.write_description(said | {"status": status, "error": error, "ended": time.time()})

    # --- what every call has in common -----------------------------------------------------------------------------

    def _call(self) -> _Process:
        return _process_of(os.getpid(), self.folder, self.max_mb)

    def _agent(self, agent: Any) -> int:
        try:
            number = operator.index(agent)
        except TypeError:
            number = -1
        if not 0 <= number < self.agents:
            raise WrongUse(beside(__file__)["agent"].format(agent=agent, last=self.agents - 1, agents=self.agents))
        return number

    # --- the calls of an actor -------------------------------------------------------------------------------------

    def sync(self, agent: int, *, source: Any = None, target: Any) -> Copy:
        """Around the copy of published weights into the model that acts: ``with watch.sync(agent, source=, target=):``.

        Args:
            agent: whose weights.
            source: what is copied: a module, a mapping of tensors, or an object with modules as attributes; left out if
                it comes from a queue or a file.
            target: what it is copied into.
        """
        return Copy(self, tables.SYNC, self._agent(agent), source, target)

    def publish(self, agent: int, *, source: Any, target: Any = None) -> Copy:
        """Around the copy of trained weights to where the actor finds them; arguments as for :meth:`sync`.

        Where they go into a queue, a file or a manager's dictionary, leave ``target`` out.
        """
        return Copy(self, tables.PUBLISH, self._agent(agent), source, target)

    def episode(self, agent: int | None = None, env: int | None = None) -> None:
        """A new episode starts: for one agent or for all, in one environment or in all."""
        agents = range(self.agents) if agent is None else [self._agent(agent)]
        with self._call() as here:
            for each in agents:
                envs = {key[1] for key in here.episodes if key[0] == each} | {0} if env is None else {env}
                for place in envs:
                    kept = here.episodes[each, place]
                    kept[0], kept[1] = kept[0] + 1, 0

    def act(self, agent: int, *, model: Any = None, env: int | None = 0) -> Act | NoWatch:
        """Around the choice of an action: ``with watch.act(agent, model=model) as act: act.action = ...``.

        Args:
            agent: who acts.
            model: what it acts with; what is fed to it first within the block is recorded. No forward pass within
                the block means that the action was random. Of very many actions only some are looked at, among them the
                first after each sync.
            env: which environment; None for a batch of all of them.
        """
        agent, due = self._agent(agent), False
        with self._call() as here:
            here.acts[agent] += 1
            here.unstored[agent, env] += 1
            due = (here.acts[agent] - here.synced[agent]) % 50 == 1  # to tell epsilon, and now and then the weights
            if not here.looks(f"act {agent}", ALWAYS_ACTS) and not due:
                return NoWatch()
        return Act(self, agent, model, env, due)

    def store(
        self, agent: int, obs: Any, action: Any, reward: Any, done: Any, *, next_obs: Any = None,
        truncated: Any = None, index: Any = None, env: int | None = 0,
    ) -> None:  # fmt: skip
        """A row goes into the buffer: one call at every step, with the reward of that step, however many a row spans.

        Args:
            agent: whose buffer.
            obs: the newest observation, or the stack of ``frames`` of them, oldest first; an array or a tensor.
            action: what the agent did.
            reward: what it earned.
            done: whether the episode ended.
            next_obs: what it saw then, if the buffer keeps that.
            truncated: whether the episode was cut off, by a time limit for instance, if the trainer tells.
            index: where in the buffer the row goes, if it is known.
            env: which environment; None where all arguments have a leading axis of environments.
        """
        agent = self._agent(agent)
        with self._call() as here:
            if env is None:
                self._store_all(here, agent, obs, next_obs, action, reward, done, truncated, index)
                return
            none = [0] * self.frames
            frames, chunks, size, whole = hash_row(obs, self.frames)
            following = none if next_obs is None else hash_row(next_obs, self.frames)[0]
            fed, fed_size = here.fed.pop((agent, env), (none, 0))
            if here.unstored.pop((agent, env), 0) > 1:  # it is not known which of the actions this row is of
                fed, fed_size = none, 0
            ended, cut = number_of(done, 0) != 0, number_of(truncated, -1)
            kept, did = here.episodes[agent, env], -1.0 if action is None else float(tensors.actions_of(action, 1)[0])
            here.write(
                "stored", time.time(), agent, env, *kept, int(number_of(index, -1)), size, chunks, did,
                number_of(reward, 0), ended, int(cut), next_obs is not None, fed_size, *fed, *following, *frames, whole,
                width=3 * self.frames + 1,
            )  # fmt: skip
            over = ended or cut > 0
            kept[:] = kept[0] + over, 0 if over else kept[1] + 1, kept[2] + 1

    def _store_all(self, here: _Process, agent: int, obs: Any, next_obs: Any, *numbers: Any) -> None:
        """A row of each environment; the numbers are action, reward, done, truncated and index, one of each a row."""
        frames, chunks, size = hash_frames(obs, self.frames, slice(None))
        following = np.zeros_like(frames) if next_obs is None else hash_frames(next_obs, self.frames, slice(None))[0]
        many, nothing, table = len(frames), ([0] * self.frames, 0), here.table("stored", 3 * self.frames + 1)
        fed, fed_size = zip(*(here.fed.pop((agent, env), nothing) for env in range(many)), strict=True)
        kept, rows = [here.episodes[agent, env] for env in range(many)], np.zeros(many, table.dtype)
        rows["time"], rows["agent"], rows["env"] = time.time(), agent, np.arange(many)
        rows["episode"], rows["step"], rows["row"] = np.transpose(kept)
        rows["size"], rows["chunks"], rows["has_next"], rows["fed_size"] = size, chunks, next_obs is not None, fed_size
        names, defaults = ("action", "reward", "done", "truncated", "index"), (-1, 0, 0, -1, -1)
        _fill(rows, zip(names, numbers, defaults, strict=True), many)
        rows["frames"] = np.concatenate([fed, following, frames, hash_frames(obs, 1, slice(None))[0]], 1)
        here.file.write(table, rows.tobytes())
        for each, over in zip(kept, ((rows["done"] != 0) | (rows["truncated"] > 0)).tolist(), strict=True):
            each[:] = each[0] + over, 0 if over else each[1] + 1, each[2] + 1

    def epoch(self, epoch: int, agent: int | None = None, **numbers: Any) -> None:
        """An epoch is over; with whatever numbers the trainer reports: ``watch.epoch(3, reward=12.5, loss=0.1)``."""
        which = -1 if agent is None else self._agent(agent)
        with self._call() as here:
            now = time.time()
            for name, value in {"": math.nan, **numbers}.items():
                here.write("epochs", now, which, int(epoch), here.number("name", name, name), number_of(value))

    # --- the calls of a learner ------------------------------------------------------------------------------------

    def sample(
        self, agent: int, states: Any, actions: Any, rewards: Any, next_states: Any, dones: Any, *,
        valid: Any = None, discounts: Any = None, indices: Any = None, weights: Any = None,
    ) -> None:  # fmt: skip
        """A batch was drawn; arrays or tensors whose first axis are the rows.

        Args:
            agent: whose buffer.
            states, actions, rewards, next_states, dones: the batch; without dones a discount of 0 is an end.
            valid: which rows count.
            discounts: of the next state's value, where rows differ in it.
            indices: where in the buffer the rows lie.
            weights: of importance.
        """
        agent = self._agent(agent)
        with self._call() as here:
            here.sampled[agent] += 1
            some = next(iter(states.values())) if isinstance(states, Mapping) else states
            if dones is None and discounts is not None:
                dones = numbers_of(discounts, len(some)) == 0
            many, here.batches[agent] = len(some), (rewards, dones, valid)
            if not here.looks(f"sample {agent}"):
                return
            most = max(ROWS, MOST // max(math.prod(np.shape(some[0])), 1)) if here.sampled[agent] <= ALWAYS else ROWS
            few = min(many, most)
            picked = np.unique((np.arange(few) * many // few + here.sampled[agent]) % many)
            frames, chunks, size = hash_frames(states, self.frames, picked)
            after, _, next_size = hash_frames(next_states, self.frames, picked)
            table = here.table("sampled", 2 * self.frames)
            records = np.zeros(len(picked), table.dtype)
            records["time"], records["agent"], records["batch"] = time.time(), agent, here.sampled[agent]
            records["update"], records["rows"], records["row"] = here.updates[agent], many, picked
            records["size"], records["next_size"], records["chunks"] = size, next_size, chunks
            _fill(records, (
                ("action", actions, -1), ("reward", rewards, 0), ("done", dones, 0), ("valid", valid, 1),
                ("discount", discounts, math.nan), ("index", indices, -1), ("weight", weights, 1),
            ), many, picked)  # fmt: skip
            records["frames"] = np.concatenate([frames, after], 1)
            here.file.write(table, records.tobytes())

    def update(
        self, agent: int, *, online: Any = None, target: Any = None, optimizer: Any = None, count: int = 1
    ) -> Update:
        """Around an update: ``with watch.update(agent, online=, target=, optimizer=) as update: update.log(loss=...)``.

        Args:
            agent: whose networks.
            online: the network that learns.
            target: the target network.
            optimizer: of the online network; a list or a dictionary, if it has several.
            count: updates within the block; the steps of the optimiser, if these are more.
        """
        return Update(self, self._agent(agent), online, target, optimizer, count)

    def buffer(self, agent: int, buffer: Any) -> Any:
        """A stand-in for a buffer, whose rows are watched as they go in and come out; else it is the buffer.

        Watched are ``add``, ``push``, ``store`` and ``append``, and what ``sample`` returns. A row may be given as
        arguments, a tuple or a dictionary; a batch may be columns or a list of rows. Their parts are known by the usual
        names (``state``, ``next_obs``), or else by their order, which must be a usual one: states, actions, rewards,
        next states, dones and, perhaps, which rows are valid. Where neither tells, the doctor says so; record it with
        :meth:`store` and :meth:`sample` then.
        """
        from workbench.watch.buffer import WatchedBuffer

        return WatchedBuffer(self, self._agent(agent), buffer)

    def result(self, models: Any) -> None:
        """What the process that made the watch is left with after training: the models, by agent, or the only one."""
        many = list(models) if isinstance(models, list | tuple) else [models]
        agents = [self._agent(agent) for agent, _ in enumerate(many)]
        with self._call() as here:
            here.catch_up()
            for agent, model in zip(agents, many, strict=True):
                event = next(here.events)
                here.look(event, agent, tables.HELD, here.views.of(model))
                here.write("events", now := time.time(), now, event, tables.RESULT, agent, 0, 0, 0, math.nan, math.nan)
            if self._is_maker:
                self._end("finished")


def _fill(records: Any, columns: Iterable[tuple[str, Any, float]], many: int, picked: Any = slice(None)) -> None:
    """Fill columns of records, by name, value and default, with the picked ones of many rows; by default with all."""
    for name, value, default in columns:
        of = tensors.actions_of if name == "action" else numbers_of
        records[name] = default if value is None else of(value, many)[picked]


class _Block:
    """What a ``with`` of a watch has in common: what is done before and after the trainer's own lines."""

    def __init__(self, watch: Watch, agent: int) -> None:
        self._watch, self._agent, self._begin, self._event, self._looks = watch, agent, 0.0, 0, False
        self._hooks: list[RemovableHandle] = []  # what is there only within the block

    def __enter__(self) -> Self:
        with self._watch._call() as here:
            self._before(here)
        self._begin = time.time()
        return self

    def __exit__(self, *error: object) -> None:
        end = time.time()
        while self._hooks:
            self._hooks.pop().remove()
        with self._watch._call() as here:
            self._after(here, self._begin, end)

    def _look(self, here: _Process, *seen: tuple[int, Any]) -> None:
        """Look at models in their roles, as far as there are any and time allows."""
        for role, model in seen:
            if model is not None and self._looks:
                here.look(self._event, self._agent, role, here.views.of(model))

    def _before(self, here: _Process) -> None:
        """Record what is there before the trainer's lines."""

    def _after(self, here: _Process, begin: float, end: float) -> None:
        """Record what they have left, and when they began and ended."""


# What a copy has arrived in: it is looked at as often as possible, for it is what others read.
PUBLISHED = 10 * tables.PUBLISH + tables.TARGET
ARRIVED = 10 * tables.SYNC + tables.TARGET, PUBLISHED


class Copy(_Block):
    """A sync or a publication."""

    def __init__(self, watch: Watch, kind: int, agent: int, source: Any, target: Any) -> None:
        super().__init__(watch, agent)
        self._kind, self._models = kind, (source, target)

    def _see(self, here: _Process, *roles: int) -> list[int]:
        """Look at the source and the target in these roles, and return what identifies their memory; 0: unknown."""
        where = [0, 0]
        for place in [k for k, model in enumerate(self._models) if model is not None]:
            with suppress(*() if self._looks else (TypeError,)):  # a model without tensors is told of by a look
                view, role = here.views.of(self._models[place]), 10 * self._kind + roles[place]
                if self._looks or role in ARRIVED:
                    look = here.look_in_turn if role in ARRIVED else here.look
                    look(self._event, self._agent, role, view)
                where[place] = view.identity
        return where

    def _before(self, here: _Process) -> None:
        looks = here.looks(f"copy {self._kind} {self._agent}", ALWAYS_COPIES)
        self._event, self._looks = next(here.events), looks or self._models[1] is None
        if self._looks:
            self._see(here, tables.SOURCE_BEFORE, tables.TARGET_BEFORE)

    def _after(self, here: _Process, begin: float, end: float) -> None:
        where = self._see(here, tables.SOURCE, tables.TARGET)
        if self._kind == tables.SYNC:
            here.synced[self._agent] = here.acts[self._agent]
        about = begin, end, self._event, self._kind, self._agent, here.updates[self._agent]
        here.write("events", *about, *where, *map(epsilon_of, self._models))


class _Seer(_Block):
    """A block that sees what is fed to a model first."""

    def __init__(self, watch: Watch, agent: int, model: Any) -> None:
        super().__init__(watch, agent)
        self._model = model
        self._view: View | None = None
        self._first: Any = None
        self._training = -1
        self._thread = threading.get_ident()

    def _before(self, here: _Process) -> None:
        if self._looks and self._model is not None:
            self._view = here.views.of(self._model)
            compiles = "torch._dynamo" in sys.modules  # which must not take this for a part of the model
            see = torch.compiler.disable(self._see) if compiles else self._see  # type: ignore[no-untyped-call]
            self._hooks.append(register_module_forward_pre_hook(see))

    def _see(self, module: Any, arguments: Any) -> None:
        if self._view is None or id(module) not in self._view.modules or threading.get_ident() != self._thread:
            return
        fed = [each for each in arguments if isinstance(each, torch.Tensor)]
        self._training, self._first = int(module.training), fed[0].detach() if fed else None
        if torch.is_grad_enabled() or isinstance(self, Act):  # in an update, what is learned from counts
            self._hooks.pop().remove()

    @property
    def _mode(self) -> tuple[int, int]:
        """1 in training, 0 in evaluation, -1 if no network was seen; and whether that makes a difference to it."""
        return self._training, int(bool(self._view and self._view.layout.sensitive))


class Act(_Seer):
    """The choice of an action.

    Attributes:
        action: set it within the block to what was chosen.
    """

    def __init__(self, watch: Watch, agent: int, model: Any, env: int | None, weights_due: bool) -> None:
        super().__init__(watch, agent, model)
        self._env, self._weights_due, self._looks, self.action = env, weights_due, True, None

    def _after(self, here: _Process, begin: float, end: float) -> None:
        if self._first is not None:
            fed, _, size = hash_frames(self._first, self._watch.frames, slice(None) if self._env is None else None)
            for k, frames in enumerate(fed.tolist()):
                here.fed[self._agent, k if self._env is None else self._env] = frames, size
        first = here.acts[self._agent] - here.synced[self._agent] == 1  # what a sync is for, and looked at as such
        if self._weights_due and here.looks(f"weights {first} {self._agent}", ALWAYS_COPIES):
            self._event = next(here.events)
            self._look(here, (tables.ACTS, self._model))
        action = math.nan if self.action is None else float(numbers_of(self.action).flat[0])
        here.write(
            "acts", end, end - begin, self._event, self._agent, -1 if self._env is None else self._env,
            here.acts[self._agent], *self._mode, action, epsilon_of(self._model),
        )  # fmt: skip


class Update(_Seer):
    """An update, or several."""

    def __init__(self, watch: Watch, agent: int, online: Any, target: Any, optimizer: Any, count: int) -> None:
        super().__init__(watch, agent, online)
        self._target, self._count, self._steps = target, count, 0
        given = optimizer if isinstance(optimizer, list | tuple | dict) else [] if optimizer is None else [optimizer]
        self._optimizers = list(given.values() if isinstance(given, dict) else given)
        self._logged: dict[str, Any] = {}

    def log(self, *, loss: Any = None, q: Any = None, target: Any = None, bootstrap: Any = None) -> None:
        """What was computed in the update, as tensors, arrays or numbers, which are read when the block ends.

        Args:
            loss: of the batch.
            q: values of the rows.
            target: what the values were drawn to, rows first.
            bootstrap: the next states' values that it was made of, before the discount, rows first.
        """
        given = {"loss": loss, "q": q, "target": target, "bootstrap": bootstrap}
        self._logged |= {name: value for name, value in given.items() if value is not None}

    def _before(self, here: _Process) -> None:
        if self._optimizers and isinstance(first := self._optimizers[0], torch.optim.Optimizer):
            self._hooks.append(first.register_step_post_hook(self._stepped))
        self._looks, self._event = here.looks(f"update {self._agent}"), next(here.events)
        super()._before(here)
        online = None if here.updates[self._agent] else self._model
        self._look(here, (tables.ONLINE_BEFORE, online), (tables.TARGET_BEFORE, self._target))

    def _stepped(self, *_: Any) -> None:
        self._steps += 1

    def _after(self, here: _Process, begin: float, end: float) -> None:
        self._count = max(self._count, self._steps)
        logged, self._logged = self._logged, {}  # a loss would keep all that it was computed from
        here.updates[self._agent] += self._count
        self._look(here, (tables.ONLINE, self._model), (tables.TARGET, self._target))
        said, target, discount = [math.nan] * 3, logged.get("target"), [math.nan] * 5
        with here:  # what was logged may be anything
            said[0] = number_of(logged.get("loss"))
            if "loss" in logged and math.isnan(said[0]):
                said[0] = math.inf  # nan would be none
            if (q := logged.get("q")) is not None:
                values = q.flatten().tolist() if isinstance(q, torch.Tensor) else numbers_of(q).ravel().tolist()
                mean = sum(values) / len(values)
                said[1:] = mean, mean if math.isnan(mean) else max(values)
            if self._looks and target is not None and "bootstrap" in logged and self._agent in here.batches:
                discount = _discount_used(*here.batches[self._agent], target, logged["bootstrap"])
        target_grad = int(self._looks and tensors.flows_through(logged.get("loss"), target))
        groups = [group for each in self._optimizers for group in each.param_groups]
        rate = number_of(groups[0]["lr"]) if groups else math.nan
        if self._looks and self._target is not None:
            target_grad |= 2 * any(tensor.grad is not None for tensor in here.views.of(self._target).tensors)
        norm = self._view.gradient_norm() if self._view else math.nan
        share = self._view.share_in(groups) if self._view and groups else math.nan
        here.write(
            "updates", end, begin, self._event, self._agent, here.updates[self._agent], self._count,
            *self._mode, target_grad, self._looks, *said, norm, share, rate, *discount,
            epsilon_of(self._model) if self._looks else math.nan,
        )  # fmt: skip


def _discount_used(rewards: Any, ends: Any, valid: Any, target: Any, bootstrap: Any) -> list[float]:
    """The discount behind the targets of a batch: median, 10 % and 90 % of the rows, rows; and the error of ended rows.

    From target = reward + discount * bootstrap, row by row. A target of several numbers per row counts by its mean.
    """
    many, rows = len(rewards), numbers_of(target).reshape(len(rewards), -1)
    if rows.shape[1] > 1 and np.allclose(rows.sum(1), 1, atol=1e-3):  # probabilities are no values
        return [math.nan, math.nan, math.nan, 0.0, math.nan]
    goal, following, rewards = rows.mean(1), numbers_of(bootstrap, many), numbers_of(rewards, many)
    counts = np.ones(many, bool) if valid is None else numbers_of(valid, many) != 0
    ended = np.zeros(many, bool) if ends is None else numbers_of(ends, many) != 0
    told = counts & ~ended & (np.abs(following) > 0.01 * np.abs(goal)) & (np.abs(following) > 1e-6)
    off = np.abs(goal - rewards)[counts & ended] / np.maximum(1e-6, np.abs(following[counts & ended]))
    errors = sorted(off.tolist()) or [math.nan]
    used = sorted(((goal[told] - rewards[told]) / following[told]).tolist()) or [math.nan]
    places = len(used) // 2, len(used) // 10, -1 - len(used) // 10
    return [*(used[place] for place in places), float(told.sum()), errors[len(errors) // 2]]


class NoWatch(AbstractContextManager["NoWatch"]):
    """What :func:`watching` gives where nothing is watched: it has every call, does nothing, and is false.

    So does what its calls return, which is a block where a block is needed.
    """

    action: Any = None

    def __bool__(self) -> bool:
        return False

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., NoWatch]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *given, **named: NoWatch()

    def buffer(self, agent: int, buffer: Any) -> Any:
        """The buffer itself."""
        return buffer


def _settings_of_children() -> dict[str, Any]:
    """What multiprocessing hands on to every child, one of a fork server that began before the watch included."""
    return getattr(multiprocessing.current_process(), "_config", {})


@functools.lru_cache(maxsize=8)
def _found(sign: str) -> Watch | NoWatch:
    """The watch that another process has made.

    Its sign is when the run was created, and its folder, which may be gone or another run's by now.
    """
    watch = Watch.__new__(Watch)
    with suppress(Exception):
        watch._attach(RunFolder.open(sign.partition(" ")[2]))
        if watch._sign == sign:
            return watch
    return NoWatch()


@functools.lru_cache(maxsize=8)
def _greeted(watch: Watch | NoWatch, pid: int) -> Watch | NoWatch:
    """A watch that was asked for, with a first sign of life of this process; one that was only sent along has none."""
    if isinstance(watch, Watch):
        with watch._call():
            pass
    return watch


def watching() -> Watch | NoWatch:
    """The watch that this process or a parent of it has made; one that does nothing if there is none.

    Example:
        ``watch = wb.watching()``
    """
    if Watch._made is not None:
        return Watch._made
    sign = _settings_of_children().get(VARIABLE) or os.environ.get(VARIABLE)
    return _greeted(_found(sign), os.getpid()) if sign else NoWatch()

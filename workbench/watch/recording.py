"""What the processes of a watched trainer have recorded: all of it as tables, and its numbers as a run's history."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.recfunctions import append_fields, repack_fields
from numpy.typing import NDArray

from workbench.core.records import EPOCHS, EVENTS, POINT, TABLES, UPDATES, EventKind, Metric, Records, RecordTable
from workbench.runs.folder import RecordError
from workbench.runs.history import History
from workbench.runs.loaded import LoadedRun, RunView
from workbench.runs.metrics import NAME, Schema
from workbench.watch import tables
from workbench.watch.storage import FileReader, dtype_of

Array = NDArray[Any]
# What is reported of an epoch under these names is drawn as the workbench's own numbers; the rest is "reported/NAME".
OWN = ("", "reward", "epsilon")
# Seconds after which a record of a live run is taken to have no earlier one behind it.
SETTLED_S = 1.0


class Recording:
    """All records of a run folder, from all its processes in the order of time, as far as they were read."""

    def __init__(self, run: RunView, wanted: Sequence[str] = tuple(tables.TABLES)) -> None:
        """Nothing is read yet of the tables that are wanted."""
        self._folder, self._agents, self._wanted = run.folder.place / "watch", run.config.num_agents, wanted
        self.files: dict[str, FileReader] = {}
        self._found: dict[str, list[Records]] = {}

    def read(self) -> None:
        """Take up what has come since the last call; raises RecordError where no watch has written that."""
        if not self._folder.is_dir():
            raise RecordError(f"{self._folder} is missing; the records of the run lie in it. Put it back")
        for path in sorted(self._folder.glob("*.watch")):
            reader = self.files.setdefault(path.name, FileReader(path))
            for name, records in reader.read(self._wanted):
                records = self._known(reader, name, records)
                files = np.full(len(records), list(self.files).index(path.name), "<i4")
                self._found.setdefault(name, []).append(append_fields(records, "file", files, usemask=False))

    def _known(self, reader: FileReader, name: str, records: Records) -> Records:
        """Records without fields that are no longer read; refuses those of another form, or with a senseless number."""
        known = {kind: sum(kind in line for line in reader.lines) for kind in ("name", "layout")}
        due = dtype_of(tables.TABLES[name][0])
        records = repack_fields(records[[each for each in records.dtype.names or () if each in (due.names or ())]])
        known["agent"], known["time"], found = self._agents, 2**40, records.dtype.names or ()
        if (found, _kinds(records.dtype)) != (due.names, _kinds(due)) or any(
            not -(kind == "agent") <= records[kind].min() <= records[kind].max() < most
            for kind, most in known.items() if kind in found
        ):  # fmt: skip
            raise RecordError(f"{reader.path} is damaged: no watch has written its records of {name!r}")
        return records

    def table(self, name: str, agent: int | None = None) -> Records:
        """The records of a table in the order of time, of one agent or of all, where all have the same form.

        They have a field more: the ``file`` that they are from, its number.
        """
        [records] = self.by_width(name) or [np.empty(0, [*dtype_of(tables.TABLES[name][0]).descr, ("file", "<i4")])]
        return records if agent is None else records[records["agent"] == agent]

    def by_width(self, name: str) -> list[Records]:
        """The same, apart for each count of numbers that the last field of a record holds, from the least."""
        parts = self._found.get(name, [])
        forms = sorted({part.dtype for part in parts}, key=lambda form: form.itemsize)
        self._found[name] = [np.concatenate([part for part in parts if part.dtype == form]) for form in forms]
        return [each[np.argsort(each["time"], kind="stable")] for each in self._found[name]]

    def said(self, kind: str, file: int | None = None) -> list[Any]:
        """Texts of one kind, from one file or from all. A record's number is a place in the list of its own file."""
        chosen = [reader for number, reader in enumerate(self.files.values()) if file in (None, number)]
        return [line[kind] for reader in chosen for line in reader.lines if kind in line]


def _kinds(dtype: np.dtype[np.void]) -> list[Any]:
    """Kind and shape of each field but the last, whose shape is free."""
    return [(kind[1], *shape) for _, kind, *shape in dtype.descr[:-1]]


class WatchedHistory(History):
    """The history of a watched run, which is made of what its processes have recorded."""

    def __init__(self, recording: Recording, agents: int, capacity: int | None, reported: Sequence[str]) -> None:
        """Nothing is taken up yet; ``reported`` are the names of numbers that the trainer reports of its epochs."""
        self.recording, self._agents, self._capacity, self.reported = recording, agents, capacity, tuple(reported)
        fields = [(name, "<f4") for name in self.reported]
        more = {"reported": RecordTable(np.dtype([*POINT.descr, *fields]), axis="epoch")} if fields else {}
        super().__init__(Schema.of({**TABLES, **more}, [
            Metric(f"reported/{name}", "reported", name, "as reported", f"What the trainer reports as {name}.")
            for name in self.reported
        ]))  # fmt: skip

    @np.errstate(over="ignore")
    def take_up(self, until: float) -> None:
        """Add what was recorded up to a time, in single precision: a number beyond it, of a trainer astray, is inf."""
        for name, records in {"updates": self._updates(), "events": self._events(), **self._epochs()}.items():
            new = records[self.counts[name] : np.searchsorted(records["time"], until, "right")]
            if len(new):
                self.append(name, new)

    def _updates(self) -> Records:
        found = self.recording.table("updates")
        made = np.zeros(len(found), UPDATES)
        for name in ("time", "agent", "update", "loss", "mean_q", "max_q", "grad_norm", "learning_rate"):
            made[name] = found[name]
        made["td_error"] = made["sample_age"] = math.nan
        made["epoch"] = epochs_at(self.recording.table("epochs"), found["time"])
        stored = self.recording.table("stored")
        for agent in range(self._agents):
            mine = made["agent"] == agent
            made["replay_fill"][mine] = np.searchsorted(stored["time"][stored["agent"] == agent], made["time"][mine])
        made["replay_fill"] = np.minimum(made["replay_fill"], self._capacity or len(stored))
        return made

    def _events(self) -> Records:
        found = self.recording.table("events")
        found = found[found["kind"] != tables.RESULT]
        made = np.zeros(len(found), EVENTS)
        made["time"], made["agent"], made["update"] = found["time"], found["agent"], found["update"]
        made["epoch"] = epochs_at(self.recording.table("epochs"), found["time"])
        made["kind"] = np.where(found["kind"] == tables.SYNC, EventKind.SYNC, EventKind.PUBLISH)
        made["epsilon"] = found["target_epsilon"]
        for agent in range(self._agents):
            mine = made["agent"] == agent
            made["version"][mine] = np.cumsum(made["kind"][mine] == EventKind.PUBLISH)
        made["version_before"] = np.maximum(made["version"] - 1, 0)
        return made

    def _epochs(self) -> dict[str, Records]:
        """A row for each agent at each call that reports an epoch; one for all agents gives each an equal part."""
        numbers = self.recording.table("epochs")
        names = {file: self.recording.said("name", file) for file in np.unique(numbers["file"]).tolist()}
        facts = [self._facts_of(agent) for agent in range(self._agents)]
        rows, reported = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        said: dict[tuple[int, int], dict[str, float]] = {}
        for call in np.split(numbers, np.flatnonzero(np.diff(numbers["time"]) > 0) + 1) if len(numbers) else ():
            first = call[0]
            values = {names[int(each["file"])][each["name"]]: float(each["value"]) for each in call}
            agents = range(self._agents) if first["agent"] < 0 else [int(first["agent"])]
            for agent in agents:
                known = said.setdefault((agent, int(first["epoch"])), {})
                known |= values | ({"reward": values["reward"] / len(agents)} if "reward" in values else {})
                updates, row = facts[agent](float(first["time"]), int(first["epoch"]), known)
                rows.append(row)
                told = (known.get(name, math.nan) for name in self.reported)
                reported.append((first["time"], agent, first["epoch"], updates, *told))
        made = {"epochs": np.array(rows, EPOCHS)}
        if self.reported:
            made["reported"] = np.array(reported, self.schema.tables["reported"].dtype)
        return made

    def _facts_of(self, agent: int) -> Any:
        """What was done of an agent's work at a time, as a function that makes a row of the table of epochs."""
        names = ("stored", "acts", "updates", "events")
        stored, acts, taught, events = (self.recording.table(name, agent=agent) for name in names)
        steps = stored if len(stored) else acts
        published, synced = (events[events["kind"] == kind] for kind in (tables.PUBLISH, tables.SYNC))
        counted = steps, taught, published, synced, acts

        def row(now: float, epoch: int, known: Mapping[str, float]) -> tuple[int, tuple[Any, ...]]:
            """The updates until ``now``, and the row of that epoch; what the trainer told (``known``) comes first."""
            done, lessons, versions, syncs, acted = (int(np.searchsorted(each["time"], now)) for each in counted)
            done = int(steps["act"][done - 1]) if done and steps is acts else done
            updates = int(taught["update"][lessons - 1]) if lessons else 0
            used = int(np.searchsorted(published["time"], synced["begin"][syncs - 1])) if syncs else 0
            behind = int(published["update"][used - 1]) if used else 0
            late = 1e3 * (published["time"][versions - 1] - published["time"][used - 1]) if used else math.nan
            epsilon = known.get("epsilon", float(acts["epsilon"][acted - 1]) if acted else math.nan)
            return updates, (
                now, agent, epoch, done, known.get("reward", math.nan), epsilon, used, behind,
                versions - used, updates - behind, late, updates / done if done else math.nan,
            )  # fmt: skip

        return row


def epochs_at(reported: Records, times: Array) -> NDArray[np.int64]:
    """The epoch in which something happened: the one whose report comes next."""
    epochs = reported["epoch"].astype(np.int64)
    return np.append(epochs, epochs.max(initial=-1) + 1)[np.searchsorted(reported["time"], times)]


def follow(run: LoadedRun) -> None:
    """Bring a watched run up to date: its history, which is another one once further numbers are reported."""
    declared, known = run.description["watched"], run.history
    light = ("events", "updates", "epochs", "acts", "stored")
    recording = known.recording if isinstance(known, WatchedHistory) else Recording(run, light)
    recording.read()
    reported = sorted({name for name in recording.said("name") if NAME.fullmatch(name)} - {*OWN, *(POINT.names or ())})
    if not isinstance(known, WatchedHistory) or known.reported != tuple(reported):
        known = WatchedHistory(recording, run.config.num_agents, declared["capacity"], reported)
    known.take_up(math.inf if run.ended else time.time() - SETTLED_S)
    run.history = known
    if declared["epochs"] is None:  # as many as there are
        run.config = run.config.replace(epochs=max(1, int(known.epochs["epoch"].max(initial=0)) + 1))

"""What can be looked at in a run, whether it is a run of this process or was read from its folder."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import padded
from workbench.core.config import Config, ConfigError, check_launch
from workbench.core.registry import NotGiven
from workbench.runs import machine
from workbench.runs.folder import RecordError, RunFolder
from workbench.runs.history import History
from workbench.runs.live_settings import CHANGEABLE, SettingsTimeline
from workbench.runs.recovery.checkpoint import CheckpointError, checkpoint_of, kept_epochs
from workbench.runs.result import Result

# Classes of the user's own, by ``world``, ``agent`` and ``sampler``, as the caller gives them for a run folder.
Given = dict[str, type | str | None]


class RunError(RuntimeError):
    """A run was asked for something that its state does not allow."""


class RunView:
    """What can be looked at in any run, live or loaded from its folder."""

    def __init__(
        self, folder: RunFolder, config: Config, mode: str, lag: int | None, history: History,
        faults: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """``faults`` are those that are switched on, with their strengths."""
        self.folder, self.config, self.mode, self.lag, self.history = folder, config, mode, lag, history
        self.faults = tuple(faults)
        self._settings: tuple[int, SettingsTimeline] | None = None

    @property
    def name(self) -> str:
        """Name of the run, which is that of its folder."""
        return self.folder.path.name

    @property
    def device(self) -> str:
        """Device that the updates were computed on."""
        return str(self.folder.read_description().get("device", "unknown"))

    @property
    def label(self) -> str:
        """Short text for legends."""
        return self.label_of(self.mode, self.lag, self.faults)

    @staticmethod
    def label_of(mode: str, lag: int | None, faults: Sequence[str] = ()) -> str:
        """The label of a run of that kind."""
        return ", ".join([mode, "free-running" if lag is None else f"lag {lag}", *faults])

    @property
    def status(self) -> str:
        """One of created, starting, running, finished, stopped, failed; of a loaded run also "cut off"."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """Whether the run is over, however it ended."""
        return self.status in ("finished", "stopped", "failed", "cut off")

    @property
    def error(self) -> BaseException | None:
        """Why the run failed, with the child's name and traceback; None if it did not."""
        raise NotImplementedError

    @property
    def progress(self) -> dict[str, float]:
        """Where the run is: epochs collected, agent steps and updates of all agents, rows per agent, seconds, rates."""
        raise NotImplementedError

    @property
    def result(self) -> Result:
        """Outcome, throughput and digests.

        Raises:
            RunError: the run has not ended.
        """
        raise NotImplementedError

    @property
    def weights(self) -> NDArray[np.float32]:
        """Final weights, (agents, vector size) float32: online network first, then target network.

        Agents whose spaces differ have vectors of different sizes: shorter ones are followed by nan.

        They can be given to :func:`launch` as a warm start.

        Raises:
            RunError: the run has none (yet).
        RecordError: they are damaged.
        """
        path = self.folder.path / "weights.npy"
        if not path.exists():
            raise RunError(f"run {self.name} is {self.status} and has no weights on disk; they are written at its end")
        try:
            with open(path, "rb") as file:
                loaded: NDArray[np.float32] = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, MemoryError) as error:
            raise RecordError(f"{path} is damaged or cannot be read: {error}") from None
        return loaded

    @property
    def newest_weights(self) -> NDArray[np.float32]:
        """Weights as they were published last, shaped as :attr:`weights`; raises RunError where there are none."""
        return self.weights

    @property
    def checkpoints(self) -> list[int]:
        """Epochs of the checkpoints that are kept in the run folder, oldest first."""
        return kept_epochs(self.folder.path / "checkpoints")

    def weights_at(self, checkpoint: int | Literal["newest"]) -> NDArray[np.float32]:
        """Weights that a checkpoint holds, shaped as :attr:`weights`: after the updates of that many epochs.

        Args:
            checkpoint: one of :attr:`checkpoints`, or "newest".

        Raises:
            CheckpointError: there is none of that epoch, or it is damaged.
        """
        found = checkpoint_of(self.folder.path / "checkpoints", checkpoint)
        try:
            vectors = [found.arrays[f"agent {agent}/vector"] for agent in range(self.config.num_agents)]
            return padded([np.asarray(vector).astype(np.float32, casting="no") for vector in vectors])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{found.path} holds no weights of this run's agents: {error}") from None

    @property
    def references(self) -> dict[str, dict[str, float]]:
        """Rewards of the reference policies in this run's world (mean, sd, epochs), in units of the reward curve."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.label}, {', '.join([self.status, *self.losses])}>"

    @property
    def changes(self) -> list[tuple[float, int, dict[str, Any]]]:
        """Changes so far, oldest first: when (seconds since 1970), from which epoch on, settings by name."""
        return []

    @property
    def settings(self) -> SettingsTimeline:
        """The settings of each epoch: the configuration, and what was changed while the run was under way."""
        changes = self.changes
        if self._settings is None or self._settings[0] != len(changes):
            timeline = SettingsTimeline(self.config, [(epoch, changed) for _, epoch, changed in changes])
            self._settings = len(changes), timeline
        return self._settings[1]

    @property
    def incidents(self) -> tuple[str, ...]:
        """Deaths of children and what followed them, oldest first."""
        return ()

    @property
    def losses(self) -> list[str]:
        """What to know of telemetry that was dropped: nothing if none was. Training never waits for its records."""
        lost = {table: count for table, count in self.history.lost.items() if count}
        return [f"{sum(lost.values()):,} records lost ({', '.join(lost)})"] if lost else []


class LoadedRun(RunView):
    """A run read from its folder."""

    def __init__(self, path: Path | str, **given: type | str | None) -> None:
        """``given`` are classes of the user's own that the run was made with: ``world=``, ``agent=``, ``sampler=``."""
        folder = RunFolder.open(path)
        self.description = said = folder.read_description()
        try:
            config = Config.from_dict(said["config"], **given)
            check_launch(config, said["mode"], said["lag"])
            _check_description(said, folder.schema.tables)
            timeline = SettingsTimeline(config, [(epoch, changed) for _, epoch, changed in changes_in(said)])
        except NotGiven as error:
            raise RecordError(f"{folder.path} cannot be read: {error}") from None
        except ConfigError as error:
            raise RecordError(
                f"{folder.path} was made with settings that this version refuses: {error}; "
                "open it with the version of workbench that made it"
            ) from error
        except (KeyError, TypeError) as error:
            raise RecordError(f"{folder.path / 'run.json'} is damaged: {error}") from None
        history = history_of(folder, said)
        _check_history(history, timeline, folder)
        super().__init__(folder, config, said["mode"], said["lag"], history, said.get("faults", ()))

    def refresh(self) -> LoadedRun:
        """Read what has come into the folder since; a run that is under way elsewhere is followed that way.

        Raises:
            RecordError: the folder is gone or damaged.
        """
        resumed = len(self.description.get("resumed", []))
        self.description = self.folder.read_description()  # first: what it says is over has written its records
        if len(self.description.get("resumed", [])) != resumed:  # its records begin again at the checkpoint
            self.history, self._settings = history_of(self.folder, self.description), None
            return self
        for table in self.folder.schema.tables:
            self.history.read(table, self.folder.path_of(table))
        return self

    @property
    def status(self) -> str:
        """As the run left it; "cut off" if its parent died before the end."""
        return status_of(self.description, begun=self.history.counts["epochs"] > 0)

    @property
    def incidents(self) -> tuple[str, ...]:
        """Deaths of children and what followed them, as the run left them."""
        return incidents_in(self.description)

    @property
    def result(self) -> Result:
        """Outcome, throughput and digests; raises RunError if the run never got to write them."""
        data = self.folder.read_result()
        if data is None:
            raise RunError(
                f"run {self.name} is {self.status} and left no result; its history is there as far as it got"
            )
        return Result.from_dict(data)

    @property
    def changes(self) -> list[tuple[float, int, dict[str, Any]]]:
        """Changes as the run left them."""
        return changes_in(self.description)

    @property
    def error(self) -> RunError | None:
        """What the run left as the reason of its failure."""
        return RunError(self.description["error"]) if self.description.get("error") else None

    @property
    def progress(self) -> dict[str, float]:
        """Where the run got to."""
        epochs, updates, agents = self.history.epochs, self.history.updates, self.config.num_agents
        times = np.concatenate([epochs["time"], updates["time"]])
        elapsed = float(np.ptp(times)) if len(times) else 0.0
        steps = int(epochs["agent_steps"].max(initial=0))
        return progress_numbers(steps // self.config.steps_per_epoch, steps, agents, len(updates), elapsed)

    @property
    def references(self) -> dict[str, dict[str, float]]:
        """Rewards of the reference policies in the run's world, as the run left them; empty if it was cut off."""
        found: dict[str, dict[str, float]] = self.description.get("references", {})
        return found


def status_of(description: Mapping[str, Any], begun: bool) -> str:
    """What a run's description says of its status; "cut off" if it says that it is under way and cannot be.

    Args:
        description: of the run, from its folder.
        begun: whether an epoch is recorded; that it runs, a run tells nobody but by its records.
    """
    status = str(description["status"])
    if status not in ("created", "starting", "running"):
        return status
    if not _parent_alive(description):
        return "cut off"
    return "running" if begun and status == "starting" else status


def _parent_alive(description: Mapping[str, Any]) -> bool:
    """Whether the process that launched the run still is there; of another machine's, which cannot be told, yes."""
    found = description.get("machine")
    if found is None:
        return False
    return elsewhere(description) or machine.process_runs(int(found["pid"]), found.get("process"))


def elsewhere(description: Mapping[str, Any]) -> bool:
    """Whether a run was launched on a machine, or in a container, of another name than this one's."""
    return bool(description.get("machine", {}).get("host", platform.node()) != platform.node())


def changes_in(description: Mapping[str, Any]) -> list[tuple[float, int, dict[str, Any]]]:
    """What a run's description says of changes: when, from which epoch on, settings by name."""
    return [(each["time"], each["epoch"], dict(each["settings"])) for each in description.get("changes", ())]


def incidents_in(description: Mapping[str, Any]) -> tuple[str, ...]:
    """What a run's description says of deaths of children and what followed them, oldest first."""
    return tuple(each["text"] for each in description.get("incidents", ()))


def history_of(folder: RunFolder, description: Mapping[str, Any]) -> History:
    """What is on disk of a run's records, and how many its description says were lost on the way there."""
    history = History.of(folder)
    for table, lost in description.get("lost_records", {}).items():
        history.lost[table] = lost
    return history


def _check_description(said: Mapping[str, Any], tables: Collection[str]) -> None:
    """Refuse what nothing here could have written: the fields that are read, by type."""
    kinds: dict[str, Any] = {
        "status": str, "device": str, "error": (str, type(None)), "faults": list, "probes": bool,
        "ended": (int, float, type(None)), "references": dict, "incidents": list, "resumed": list, "machine": dict,
        "lost_records": dict, "changes": list,
    }  # fmt: skip
    for name, kind in kinds.items():
        if name in said and not isinstance(said[name], kind):
            raise TypeError(f"{name} is {said[name]!r}")
    of = said.get("machine", {"pid": 1, "host": ""})
    if type(of["pid"]) is not int or not 0 < of["pid"] < 2**31 or not isinstance(of["host"], str):
        raise TypeError(f"machine is {of!r}")
    if not isinstance(of.get("process"), str | None):
        raise TypeError(f"machine is {of!r}")
    if said["status"] not in ("created", "starting", "running", "finished", "stopped", "failed"):
        raise TypeError(f"status is {said['status']!r}")
    if not all(isinstance(fault, str) for fault in said.get("faults", [])):
        raise TypeError(f"faults is {said['faults']!r}")
    if not all(isinstance(incident["text"], str) for incident in said.get("incidents", [])):
        raise TypeError(f"incidents is {said['incidents']!r}")
    for each in said.get("changes", []):
        if (
            not isinstance(each["time"], int | float)
            or type(each["epoch"]) is not int
            or not 0 <= each["epoch"] < 2**62
        ):
            raise TypeError(f"a change is {each!r}")
        if not isinstance(each["settings"], Mapping) or not each["settings"].keys() <= set(CHANGEABLE):
            raise TypeError(f"a change is {each!r}")
    for table, lost in said.get("lost_records", {}).items():
        if table not in tables or type(lost) is not int or not 0 <= lost < 2**62:
            raise TypeError(f"of table {table!r}, {lost!r} records were lost")
    for policy, numbers in said.get("references", {}).items():
        if not isinstance(numbers, Mapping) or not all(isinstance(n, int | float) for n in numbers.values()):
            raise TypeError(f"the reference {policy} is {numbers!r}")


def _check_history(history: History, settings: SettingsTimeline, folder: RunFolder) -> None:
    """Refuse records of agents, epochs and updates that the run cannot have had."""
    config = settings.config
    # what free-running learners did ahead is not unmade where the replay ratio is lowered
    most = config.learning_epochs * int(settings.largest(lambda each: each.pacing.updates_per_epoch))
    limits = {"agent": config.num_agents, "epoch": config.epochs + 1, "update": most + 1}
    for table in folder.schema.tables:
        records = history.table(table)
        for field in limits.keys() & set(records.dtype.names or ()):
            column = records[field]
            if len(column) and not -1 <= column.min() <= column.max() < limits[field]:
                raise RecordError(
                    f"{folder.path / table}.records is damaged: {field} goes from {column.min()} to {column.max()}"
                )


def progress_numbers(epochs: int, rows: int, agents: int, updates: int, elapsed_s: float) -> dict[str, float]:
    """Where a run is, under the names of :attr:`RunView.progress`."""
    return {
        "epochs": epochs,
        "agent_steps": rows * agents,
        "updates": updates,
        "rows": rows,
        "elapsed_s": elapsed_s,
        "agent_steps_per_s": rows * agents / elapsed_s if elapsed_s else 0.0,
        "updates_per_s": updates / elapsed_s if elapsed_s else 0.0,
    }


# What a run is loaded as by those who know this file only: ``api.py`` names its own class, which has more methods.
opened_as: type[LoadedRun] = LoadedRun

"""What can be looked at in a run, whether it is a run of this process or was read from its folder."""

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config, ConfigError
from workbench.core.registry import NotGiven, find
from workbench.runs import machine
from workbench.runs.awaiting import Awaitable
from workbench.runs.files import plain_file
from workbench.runs.folder import RecordError, Refusal, RunFolder, read_note, warn, write_note
from workbench.runs.history import History
from workbench.runs.launch_rules import check_launch
from workbench.runs.live_settings import CHANGEABLE, SettingsTimeline
from workbench.runs.recovery.checkpoint import Checkpoint, CheckpointError, checkpoint_of, kept_epochs
from workbench.runs.result import Result
from workbench.runs.sentences import counted, rule, said
from workbench.runs.table import plain

# Classes of the user's own, by ``world``, ``agent`` and ``sampler``, as the caller gives them for a run folder.
Given = dict[str, type | str | None]


class RunError(Refusal, RuntimeError):
    """A run was asked for something that its state does not allow."""


class RunView:
    """What can be looked at in any run, live or loaded from its folder: what its description and its records say."""

    def __init__(self, folder: RunFolder, config: Config, history: History, description: dict[str, Any]) -> None:
        """``description`` is what the folder says of the run; its ``faults`` are those that are switched on."""
        self.folder, self.config, self.history, self.description = folder, config, history, description
        self.mode: str = description["mode"]
        self.lag: int | None = description["lag"]
        self.faults: tuple[str, ...] = tuple(description.get("faults", ()))
        self._settings: tuple[list[tuple[int, dict[str, Any]]], SettingsTimeline] | None = None

    @property
    def name(self) -> str:
        """Name of the run, which is that of its folder."""
        return self.folder.path.name

    @property
    def note(self) -> str:
        """What somebody wrote about the run; set it at any time: ``run.note = "looks odd after epoch 80"``."""
        return read_note(self.folder.place)[0]

    @note.setter
    def note(self, note: str) -> None:
        write_note(self.folder.place, note, self.tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the run by, with ``wb.runs(tag="ablation")``; set them at any time."""
        return read_note(self.folder.place)[1]

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        write_note(self.folder.place, self.note, tags)

    @property
    def device(self) -> str:
        """Device that the updates were computed on."""
        return str(self.description.get("device", "unknown"))

    @property
    def label(self) -> str:
        """Short text for legends."""
        return self.label_of(self.mode, self.lag, self.faults)

    @staticmethod
    def label_of(mode: str, lag: int | None, faults: Sequence[str] = ()) -> str:
        """The label of a run of that kind; one that is only watched has neither lag nor faults."""
        return mode if mode in readers else ", ".join([mode, "free-running" if lag is None else f"lag {lag}", *faults])

    @property
    def status(self) -> str:
        """One of created, starting, running, finished, stopped, failed; "cut off" if its parent died before the end."""
        return status_of(self.description, begun=self.history.counts["epochs"] > 0)

    @property
    def ended(self) -> bool:
        """Whether the run is over, however it ended."""
        return self.status in ("finished", "stopped", "failed", "cut off")

    @property
    def error(self) -> BaseException | None:
        """Why the run failed, with the child's name and traceback; None if it did not."""
        return RunError(self.description["error"]) if self.description.get("error") else None

    @property
    def progress(self) -> dict[str, float]:
        """Where the run is: epochs collected, agent steps and updates of all agents, rows per agent, seconds, rates."""
        epochs, updates, agents = self.history.epochs, self.history.updates, self.config.num_agents
        times = np.sort(np.concatenate([epochs["time"], updates["time"]]))
        ends = np.searchsorted(times, [each.get("time", 0.0) for each in self.description.get("resumed", ())])
        elapsed = float(sum(np.ptp(life) for life in np.split(times, ends) if len(life)))  # between them nothing ran
        steps = int(epochs["agent_steps"].max(initial=0))
        return progress_numbers(steps // self.config.steps_per_epoch, steps, agents, len(updates), elapsed)

    @property
    def result(self) -> Result:
        """Outcome, throughput and digests.

        Raises:
            RunError: the run has not ended, or never got to write them.
            RecordError: they are damaged.
        """
        if (data := self.folder.read_result()) is None:
            raise RunError(said("loaded.no result", run=self))
        try:
            return Result.from_dict(rule(_RESULT)(data))
        except ValueError as error:
            raise RecordError(f"{self.folder.path}/result.json is damaged: {error}{said('folder.result')}") from None

    @property
    def weights(self) -> NDArray[np.float32]:
        """Final weights, (agents, vector size) float32: online network first, then target network.

        Agents whose spaces differ have vectors of different sizes: shorter ones are followed by nan.

        They can be given to :func:`launch` as a warm start.

        Raises:
            RunError: the run has none (yet).
            RecordError: they are damaged.
        """
        path = self.folder.place / "weights.npy"
        RunError.unless(path.exists(), said("loaded.no weights", run=self))
        try:
            with plain_file(path) as file:
                sizes = [self.config.agent.layout(spec).size for spec in self.config.spec.agents]
                if os.fstat(file.fileno()).st_size > 8 * len(sizes) * max(sizes) + 4096:
                    raise ValueError("it is larger than the weights of this run")
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except (OSError, ValueError, MemoryError) as error:
            raise RecordError(said("loaded.weights", path=path, error=error)) from None

    @property
    def newest_weights(self) -> NDArray[np.float32]:
        """Weights as they were published last, or of the newest checkpoint of a run that has not come to its end.

        They are shaped as :attr:`weights`.

        Raises:
            RunError: there are none.
            RecordError: they are damaged.
        """
        final = (self.folder.place / "weights.npy").exists() or not self.checkpoints
        return self.weights if final else self.weights_at("newest")

    @property
    def checkpoints(self) -> list[int]:
        """Epochs of the checkpoints that are kept in the run folder, oldest first."""
        return kept_epochs(self.folder.place / "checkpoints")

    def weights_at(self, checkpoint: int | Literal["newest"]) -> NDArray[np.float32]:
        """Weights that a checkpoint holds, shaped as :attr:`weights`: after the updates of that many epochs.

        Args:
            checkpoint: one of :attr:`checkpoints`, or "newest".

        Raises:
            CheckpointError: there is none of that epoch, or it is damaged.
        """
        return weights_in(checkpoint_of(self.folder.place / "checkpoints", checkpoint), self.config.num_agents)

    @property
    def references(self) -> dict[str, dict[str, float]]:
        """Rewards of the reference policies in this run's world (mean, sd, epochs), in units of the reward curve.

        Empty for a run that was cut off before it had them.
        """
        return dict(self.description.get("references", {}))

    def __repr__(self) -> str:
        return plain(f"<Run {self.name}: {self.label}, {', '.join([self.status, *self.losses])}>")

    @property
    def changes(self) -> list[tuple[float, int, dict[str, Any]]]:
        """Changes so far, oldest first: when (seconds since 1970), from which epoch on, settings by name."""
        return [(each["time"], each["epoch"], dict(each["settings"])) for each in self.description.get("changes", ())]

    @property
    def settings(self) -> SettingsTimeline:
        """The settings of each epoch: the configuration, and what was changed while the run was under way."""
        changes = [(epoch, changed) for _, epoch, changed in self.changes]
        if self._settings is None or self._settings[0] != changes:
            self._settings = changes, SettingsTimeline(self.config, changes)
        return self._settings[1]

    @property
    def places(self) -> list[Mapping[str, Any]]:
        """What the folder says of where the run was under way, machine and device, before each resume and now."""
        return [*(each for each in self.description.get("resumed", ()) if "machine" in each), self.description]

    @property
    def incidents(self) -> tuple[str, ...]:
        """Deaths of children and what followed them, oldest first."""
        return tuple(each["text"] for each in self.description.get("incidents", ()))

    @property
    def losses(self) -> list[str]:
        """What to know of records that were dropped, or are gone from the folder since: nothing if none are."""
        lost = {table: count for table, count in self.history.lost.items() if count}
        return [f"{counted(sum(lost.values()), 'record')} lost ({', '.join(lost)})"] if lost else []


def weights_in(checkpoint: Checkpoint, num_agents: int) -> NDArray[np.float32]:
    """The weights of all agents in a checkpoint, shaped as :attr:`RunView.weights`.

    Raises:
        CheckpointError: it holds none of that many agents.
    """
    try:
        vectors = [checkpoint.arrays[f"agent {agent}/vector"] for agent in range(num_agents)]
        return padded([np.asarray(vector).astype(np.float32, casting="no") for vector in vectors])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path} holds no weights of this run's agents: {error}") from None


def padded(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Snapshots of all agents in one array, (agents, longest) float32; shorter ones have nan behind their end."""
    weights = np.full((len(vectors), max(map(len, vectors))), np.nan, np.float32)
    for row, vector in zip(weights, vectors, strict=True):
        row[: len(vector)] = vector
    return weights


def unpadded(weights: NDArray[np.float32], config: Config) -> list[NDArray[np.float32]]:
    """The snapshot of each agent out of what :func:`padded` made: a view of (2 * size,) float32 each.

    Raises:
        RunError: there are other agents, or snapshots of other lengths.
    """
    sizes = [2 * config.agent.layout(spec).size for spec in config.spec.agents]
    if np.shape(weights) != (wanted := (len(sizes), max(sizes))):
        raise RunError(said("initial_weights.shape", found=np.shape(weights), wanted=wanted))
    return [row[:size] for row, size in zip(weights, sizes, strict=True)]


class LoadedRun(RunView, Awaitable[Result]):
    """A run read from its folder. It can be started, waited for and stopped like one that is over."""

    def __init__(self, path: Path | str, **given: type | str | None) -> None:
        """``given`` are classes of the user's own that the run was made with: ``world=``, ``agent=``, ``sampler=``."""
        folder = RunFolder.open(path)
        description = _description_of(folder)
        for kind, each in given.items():
            if each is not None:  # a name that is wrong is the caller's mistake, not the folder's
                find({"sampler": "replay.sampler"}.get(kind, kind), each)
        try:
            config = Config.from_dict(description["config"], **given)
            if description["mode"] in readers:
                super().__init__(folder, config, History(), description)
                readers[description["mode"]](self)
                return
            check_launch(config, description["mode"], description["lag"])
            super().__init__(folder, config, history_of(folder, description), description)
            _check_history(self)
        except NotGiven as error:
            raise RecordError(f"{folder.path} cannot be read: {error}") from None
        except ConfigError as error:
            raise RecordError(said("loaded.refused", path=folder.path, error=error)) from error
        except (KeyError, TypeError) as error:
            raise RecordError(f"{folder.path / 'run.json'} is damaged: {error}") from None

    def start(self) -> Self:
        """Nothing happens: whatever the run does, another process does it."""
        return self

    def stop(self, now: bool = False) -> None:
        """Nothing happens, as in :meth:`start`."""

    def wait(self, timeout: float | None = None) -> Result:
        """The result of the run; raises RunError if it has none."""
        return self.result

    def refresh(self) -> Self:
        """Read what has come into the folder since; a run that is under way elsewhere is followed that way.

        Raises:
            RecordError: the folder is gone or damaged.
        """
        resumed = len(self.description.get("resumed", []))
        self.description = _description_of(self.folder)  # first: what it says is over has written its records
        if self.mode in readers:
            readers[self.mode](self)
        elif len(self.description.get("resumed", [])) != resumed:  # its records begin again at the checkpoint
            self.history = history_of(self.folder, self.description)
        else:
            for table in self.folder.schema.tables:
                self.history.read(table, self.folder)
            count_lost(self.history, self.description)
        return self


def classes_of(config: Config) -> Given:
    """The classes of world, agent and sampler, which may be the user's own."""
    return {"world": type(config.world), "agent": type(config.agent), "sampler": type(config.replay.sampler)}


def status_of(description: Mapping[str, Any], begun: bool) -> str:
    """What a run's description says of its status; "cut off" if it says that it is under way and cannot be.

    Args:
        description: of the run, from its folder.
        begun: whether an epoch is recorded; that it runs, a run tells nobody but by its records.
    """
    status, parent = str(description["status"]), description.get("machine")
    if status not in ("created", "starting", "running"):
        return status
    # what another machine's process does cannot be told from here
    if not parent or not (elsewhere(description) or machine.process_runs(int(parent["pid"]), parent.get("process"))):
        return "cut off"
    return "running" if begun and status == "starting" else status


def extensions(description: Mapping[str, Any]) -> list[str]:
    """What was changed when a run was resumed and is no change of its settings: ``epochs 12 → 24 at epoch 12``."""
    parts = []
    for each in description.get("resumed", ()):
        before, after = each.get("step_size", (0.0, 0.0))
        steps = "" if math.isclose(before, after, rel_tol=0.1) else f" (step size {before:.3g} → {after:.3g})"
        parts += [
            f"{name} {one} → {other} at epoch {each['epoch']}{steps * (name == 'epochs')}"
            for name, (one, other) in each.get("changed", {}).items() if name in ("epochs", "device")
        ]  # fmt: skip
    return parts


def elsewhere(description: Mapping[str, Any]) -> bool:
    """Whether a run was launched on a machine, or in a container, of another name than this one's."""
    return bool(description.get("machine", {}).get("host", platform.node()) != platform.node())


def history_of(folder: RunFolder, description: Mapping[str, Any]) -> History:
    """What is on disk of a run's records, and how many are not."""
    history = History.of(folder)
    count_lost(history, description)
    return history


def count_lost(history: History, description: Mapping[str, Any]) -> None:
    """Count as lost what never came to the run folder, and what is no longer in it of a run that has ended."""
    lost, written = description.get("lost_records", {}), description.get("records", {})
    for table, count in history.counts.items():
        history.lost[table] = lost.get(table, 0) + max(0, written.get(table, 0) - count)


# What the fields of a description, and of a result, must be lies beside these names.
_DESCRIPTION, _RESULT = (str(Path(__file__).with_name(name)) for name in ("description", "result"))


def _description_of(folder: RunFolder) -> dict[str, Any]:
    """What a folder says of its run; raises RecordError where nothing here could have written that."""
    description = folder.read_description()
    try:
        rule(_DESCRIPTION)(description)
        changed = {name for each in description.get("changes", ()) for name in each["settings"]}
        tables = description.get("lost_records", {}).keys() | description.get("records", {})
        if unknown := (changed - set(CHANGEABLE)) | (tables - set(folder.schema.tables)):
            raise ValueError(said("loaded.unknown", name=min(unknown)))
    except ValueError as error:
        raise RecordError(f"{folder.path / 'run.json'} is damaged: {error}") from None
    return description


def _check_history(run: RunView) -> None:
    """Refuse records of agents, epochs and updates that the run cannot have had, and of no time."""
    config = run.config
    # what free-running learners did ahead is not unmade where the replay ratio is lowered, or the run made shorter
    paces = [each.pacing for each in run.settings.configs]
    most = (config.learning_epochs + max(it.max_ahead for it in paces)) * max(it.updates_per_epoch for it in paces)
    limits = {"agent": config.num_agents, "epoch": config.epochs + 1, "update": most + 1, "time": math.inf}
    for table in run.folder.schema.tables:
        records = run.history.table(table)
        for field in limits.keys() & set(records.dtype.names or ()):
            column = records[field]
            if len(column) and not -1 <= column.min() <= column.max() < limits[field]:
                about = {"path": run.folder.path / table, "low": column.min(), "high": column.max()}
                raise RecordError(said("loaded.records", field=field, **about))


def progress_numbers(epochs: int, rows: int, agents: int, updates: int, elapsed_s: float) -> dict[str, float]:
    """Where a run is, under the names of :attr:`RunView.progress`."""
    done = {"agent_steps": rows * agents, "updates": updates}
    rates = {f"{name}_per_s": count / elapsed_s if elapsed_s else 0.0 for name, count in done.items()}
    return {"epochs": epochs, **done, "rows": rows, "elapsed_s": elapsed_s, **rates}


# What brings the history of runs that are none of this workbench's own up to date, by their mode.
readers: dict[str, Callable[[LoadedRun], None]] = {}


def readable(found: Iterable[tuple[Path, Given]]) -> list[LoadedRun]:
    """The runs in some folders; a folder that cannot be read is left out with a :class:`RecordWarning`."""
    runs = []
    for path, given in found:
        try:
            runs.append(opened_as(path, **given))
        except RecordError as error:
            warn(f"{path.name} is left out: {error}")
    return runs


# What a run is loaded as by those who know this file only: ``api.py`` names its own class, which has more methods.
opened_as: type[LoadedRun] = LoadedRun

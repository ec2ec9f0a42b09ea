"""What runs there are: a line for every run folder, read from its description and one table: a thousand in a second."""

import dataclasses
import json
import os
import textwrap
import time
from collections import UserList
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.config import Config, ConfigError
from workbench.core.sentences import did_you_mean
from workbench.core.settings import flat
from workbench.runs import loaded
from workbench.runs.files import at, read_text
from workbench.runs.folder import OldFormat, RecordError, RunFolder, read_note, reference_path, runs_folder
from workbench.runs.history import History
from workbench.runs.loaded import LoadedRun, RunView, extensions, status_of
from workbench.runs.recovery.checkpoint import kept_epochs
from workbench.runs.table import Table, number, order

# Characters of a line that are given to what a run is, or to why its folder cannot be read.
WIDTH = 60
# Settings that differ have a column each, the first few of them.
MOST_SETTINGS = 4
# Numbers of a result that are kept.
NUMBERS = ("greedy_reward", "wall_s", "startup_s", "agent_steps_per_s", "updates_per_s")


@dataclass(frozen=True)
class RunInfo:
    """One run folder. ``info.load()`` reads the run.

    Attributes:
        status: created, starting, running, finished, stopped, failed; "cut off" (no parent), "old format" or
            "unreadable".
        label: Mode, lag and faults; of a folder that cannot be read, why.
        created: Seconds since 1970; 0 if unknown.
        checkpoint: Epoch of the newest checkpoint; None if there is none.
        epochs: Epochs that are recorded.
        result: Numbers of its result; empty before there is one.
        settings: Every setting by dotted name.
        relations: What it belongs to: "sweep", "compared with", "resumed", "changed", "begun with".
    """

    path: Path
    status: str
    label: str
    seed: int | None = None
    created: float = 0.0
    checkpoint: int | None = None
    mode: str | None = None
    lag: int | None = None
    epochs: int = 0
    result: Mapping[str, float | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    relations: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    tags: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    def load(self, **given: type | str | None) -> LoadedRun:
        """The run; ``given`` are classes of your own that it was made with, as for :func:`workbench.load`."""
        return loaded.opened_as(self.path, **given)

    def value(self, column: str) -> Any:
        """What a column says of this run: an attribute, a number of the result, or a setting by dotted name."""
        named = {"related": ", ".join(f"{kind} {it}" for kind, it in self.relations.items()), "run": self.label}
        if column in _FIELDS:  # before the settings: the epochs that are recorded, not those that are wanted
            return getattr(self, column)
        return {**self.settings, **self.result, **named}.get(column)

    def cell(self, column: str) -> str:
        """The same as text, "-" where there is nothing."""
        value = self.value(column)
        if column == "created":
            return time.strftime("%Y-%m-%d %H:%M", time.localtime(value)) if value else "-"
        if column == "lag" and self.mode:
            return "free" if value is None else str(value)
        if column == "epochs":
            own = self.mode and self.mode not in loaded.readers
            return f"{value} of {self.settings.get('epochs', '?')}" if own else "-"
        if column in ("run", "note"):
            value = textwrap.shorten(value, WIDTH, placeholder=" ...")
        if column == "tags":
            value = ", ".join(value)
        if isinstance(value, float) and column in self.settings:
            return f"{value:g}"
        return number(value) if isinstance(value, float) and value else "-" if value in (None, "") else str(value)


_FIELDS = {"name", *(each.name for each in dataclasses.fields(RunInfo))} - {"path", "result", "settings", "relations"}


class RunList(UserList[RunInfo]):
    """Runs that show themselves as a table, in a notebook as one to sort and to filter.

    Example:
        ``wb.Panel(wb.runs(tag="ablation").load())``

    Attributes:
        columns: those of the table; see :func:`runs`.
    """

    def __init__(self, found: Iterable[RunInfo] = (), place: object = None, columns: Sequence[str] = ()) -> None:
        """``place`` says where they were looked for, and among how many if some were asked for."""
        super().__init__(found)
        self._place, self.columns = place, tuple(columns) or self._usual()

    def load(self, **given: type | str | None) -> list[LoadedRun]:
        """Every run whose folder can be read, as panels and reports take them; see :meth:`RunInfo.load`."""
        return loaded.readable((each.path, given) for each in self if each.mode)

    @property
    def differing(self) -> list[str]:
        """The settings that are not the same in all of these runs."""
        known = [each.settings for each in self if each.settings]
        names = dict.fromkeys(name for each in known for name in each if name not in ("seed", "epochs"))
        return [name for name in names if len({str(each.get(name)) for each in known}) > 1]

    def _usual(self) -> tuple[str, ...]:
        """Every column that says something."""
        wanted = [
            "name", "status", "run", *self.differing[:MOST_SETTINGS], "seed", "epochs", "greedy_reward",
            "agent_steps_per_s", "created", "checkpoint", "note", "tags", "related",
        ]  # fmt: skip
        return tuple(column for column in wanted if any(each.cell(column) != "-" for each in self))

    @property
    def table(self) -> Table:
        """A line for each run."""
        rows = tuple(tuple(each.cell(column) for column in self.columns) for each in self)
        heads = {"greedy_reward": "greedy reward", "agent_steps_per_s": "steps/s"}
        return Table(tuple(heads.get(name, name) for name in self.columns), rows, numbers=False)

    def __repr__(self) -> str:
        if not self:
            return f"no runs in {self._place}" if self._place else "no runs"
        return self.table.text


def runs(
    folder: Path | str | None = None, *, sort: str = "created", columns: Sequence[str] = (), **wanted: Any
) -> RunList:
    """Every run in a folder, oldest first, also those whose parent died ("cut off").

    Args:
        folder: where run folders lie; default ``data/runs``.
        sort: the column to sort by, smallest first; with ``-`` before it largest first.
        columns: columns of the table: attributes of :class:`RunInfo`, numbers of the result such as "greedy_reward", or
            settings by dotted name; default those with a value.
        wanted: which runs: ``status="finished"``, ``lag=1``, ``tag="ablation"``, ``mode=``, ``seed=``, ``sweep=``, or a
            setting by dotted name, each with a value or a list of values.

    Example:
        ``wb.runs(status="finished", lag=1, sort="-greedy_reward")``

    Raises:
        RecordError: there is no such folder.
        ConfigError: there is no such column.
    """
    where = (runs_folder() if folder is None else at(folder)).absolute()
    RecordError.unless(folder is None or where.is_dir(), f"there is no folder {where}; name one that holds run folders")
    folders = [where / entry.name for entry in os.scandir(where)] if where.is_dir() else []
    # os.path says no of what is not ours to read
    found = _related([info_of(each) for each in folders if os.path.exists(each / "run.json")])
    names, settings = {*_FIELDS, *NUMBERS, "related", "run"}, {name for each in found for name in each.settings}
    said = {part: name for name in settings for part in (name.split(".")[-1], name)}
    for name in (sort.removeprefix("-"), *columns, *wanted):
        if settings and name not in names | settings | {"tag", "sweep"}:
            raise ConfigError(f"runs have no column and no setting {name!r}; {did_you_mean(name, sorted(names), said)}")
    kept = [each for each in found if all(_fits(each, name, value) for name, value in wanted.items())]
    kept.sort(key=lambda each: (each.created, each.name))
    key, last = sort.removeprefix("-"), sort.startswith("-")
    kept.sort(key=lambda each: order(each.value(key)), reverse=last)
    kept.sort(key=lambda each: each.value(key) is None)
    place = f"{where} that fit, of {len(found):,}" if wanted else where
    return RunList(kept, place, columns)


def rewards_of_others(run: RunView) -> list[float]:
    """Final greedy rewards of finished runs that do the same without faults, one for each seed.

    Of the runs beside a run, and of those that were measured for reference, if they are of its configuration. None of a
    run, and none for a run, that began with given weights or whose settings were changed: it is another training.
    """
    if run.changes or run.description.get("warm_start") or extensions(run.description):
        return []
    dial, own, beside = run.label_of(run.mode, run.lag).partition(", ")[2], _task(run.config.flat()), RunList()
    found = dict[Any, Any]()
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):  # there is no such file, or none of ours
        kept = json.loads(read_text(reference_path("learning.json")))
        if _task(Config.from_dict(kept["config"]).flat()) == own:
            found = {each["seed"]: each["greedy_reward"] for each in kept["runs"] if f"lag {each['lag']}" == dial}
    with suppress(OSError, RecordError):  # a folder that may not be listed
        beside = runs(run.folder.place.parent, status="finished")
    found |= {
        each.seed: each.result.get("greedy_reward") for each in beside
        if each.name != run.name and each.label.partition(", ")[2] == dial
        and not each.relations.keys() & {"changed", "resumed", "begun with"} and _task(each.settings) == own
    }  # fmt: skip
    return [reward for reward in found.values() if reward is not None]


def _task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that say which seed, and by what processes."""
    apart = ("seed", "device", "processes.", "checkpoint.")
    return {name: str(value) for name, value in settings.items() if not name.startswith(apart)}


def _fits(info: RunInfo, name: str, wanted: Any) -> bool:
    many = wanted if isinstance(wanted, Collection) and not isinstance(wanted, str) else [wanted]
    known = {"tag": info.tags, "sweep": [info.relations.get("sweep")], "lag": [info.lag] * (info.mode is not None)}
    found = known.get(name, [info.value(name)])
    # on a terminal, the name 2024 came as a number
    return any(it in many or (isinstance(it, str) and it in map(str, many)) for it in found)


def _related(found: list[RunInfo]) -> list[RunInfo]:
    """The same runs; the first run of a comparison knows the second too."""
    second = {each.relations.get("compared with"): {"compared with": each.name} for each in found}
    return [dataclasses.replace(each, relations={**each.relations, **second.get(each.name, {})}) for each in found]


def info_of(path: Path) -> RunInfo:
    """What a run folder says of its run, whatever it holds."""
    newest = None
    try:
        newest = max(kept_epochs(path / "checkpoints"), default=None)
        folder = RunFolder.open(path)
        said: dict[str, Any] = folder.read_description()
        label = RunView.label_of(said["mode"], said["lag"], said.get("faults", ()))
        created, config, resumed = float(said["created"]), said["config"], said.get("resumed")
        time.localtime(created)  # refuses what is no time
        history = History(folder.schema)
        history.read("epochs", folder)
        epochs = history.epochs_done
        relations = {str(kind): str(name) for kind, name in (said.get("relations") or {}).items()}
        changed = sorted({name for each in said.get("changes") or () for name in each["settings"]})
        relations |= {"changed": ", ".join(changed)} if changed else {}
        relations |= {"begun with": "given weights"} if said.get("warm_start") else {}
        relations |= {"resumed": "; ".join(extensions(said)) or f"at epoch {resumed[-1]['epoch']}"} if resumed else {}
        result = folder.read_result() or {}
        numbers = {name: None if result.get(name) is None else float(result[name]) for name in NUMBERS}
        return RunInfo(
            path, status_of(said, epochs > 0), label, int(config["seed"]), created, newest, str(said["mode"]),
            said["lag"], epochs, numbers if result else {}, flat(config), relations, *read_note(path),
        )  # fmt: skip
    except (RecordError, KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        status = "old format" if isinstance(error, OldFormat) else "unreadable"
        why = str(error).removeprefix(str(path)).lstrip(f"{os.sep} ")
        return RunInfo(path, status, why, checkpoint=newest)

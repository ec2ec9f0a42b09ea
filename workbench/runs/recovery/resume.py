"""Continue a run that was stopped, cut off or has failed, from the newest checkpoint in its folder."""

import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.agents import schedules
from workbench.core.config import Config, differences
from workbench.core.processes.blocks import Plan
from workbench.core.registry import name_of
from workbench.core.settings import flat, require
from workbench.core.train.hooks import Hook, record_tables
from workbench.runs import loaded
from workbench.runs.folder import RecordError, RunFolder, warn
from workbench.runs.history import History
from workbench.runs.launch_rules import check_launch
from workbench.runs.live_settings import CHANGEABLE, SettingsTimeline
from workbench.runs.loaded import Given, LoadedRun, RunError, classes_of, elsewhere
from workbench.runs.recovery.checkpoint import Checkpoint, CheckpointError, kept_epochs, newest_checkpoint, set_aside
from workbench.runs.recovery.deduplication import until
from workbench.runs.recovery.keepers import parts_of_checkpoint
from workbench.runs.run import OWN_HOOKS, R, begin, planned
from workbench.runs.sentences import counted, said
from workbench.runs.uninterrupted import uninterrupted

# Makes the hooks that a run was launched with, for the configuration that it continues with.
HooksOf = Callable[[LoadedRun, Config], Sequence[Hook]]

# Settings that :func:`workbench.resume` takes besides those that a run takes while it continues
# (:data:`workbench.runs.live_settings.CHANGEABLE`): fields, and groups of fields (with a dot at the end).
SAFE_TO_CHANGE = ("epochs", "device", "evaluation.", "checkpoint.", "processes.")
# Files that a run writes at its end, and that go when it is resumed.
ENDS = ("result.json", "weights.npy")


@uninterrupted(undo=lambda run: run.stop())
def resume(
    kind: type[R], hooks_of: HooksOf, given: Given, path: Path | str, config: Config | None, start: bool,
    parent_is_gone: bool, changes: Mapping[str, Any],
) -> R | LoadedRun:  # fmt: skip
    """Continue the run in a folder from its newest checkpoint: :func:`workbench.resume`, with what it needs from above.

    Args:
        kind: class of the run.
        hooks_of: makes the hooks that the run was launched with.
        given: classes of the user's own that the run was made with; those in ``config`` are added.
        path: the run's folder.
        config: the configuration to continue with; None for the run's own.
        start: whether to start the run.
        parent_is_gone: the run's process, on a machine that cannot be seen from here, is over.
        changes: settings to change, by dotted name.
    """
    require(isinstance(config, Config | None), "config", config, said("resume.config"))
    if config is not None:  # with it the caller names the classes in it
        found = {**classes_of(config), **{kind: each for kind, each in given.items() if each is not None}}
        given = {kind: it for kind, it in found.items() if not isinstance(it, type) or ":" in name_of(it)}
    folder = _ended(path, parent_is_gone, given).folder
    folder.hold()
    try:
        earlier = _ended(path, parent_is_gone, given)  # it may have been resumed between the look and the lock
        earlier.folder = folder
        wanted = (config or earlier.config).replace(**changes)
        if _complete(earlier) and wanted == earlier.config:
            folder.release()
            return loaded.opened_as(path, **given)  # there is nothing left to do
        return begin(_gone_back(kind, hooks_of, given, earlier, wanted, set(flat(changes))), start)
    except BaseException:
        folder.release()
        raise


def _ended(path: Path | str, parent_is_gone: bool, given: Given) -> LoadedRun:
    found = LoadedRun(path, **given)
    RunError.unless(found.mode not in loaded.readers, said("resume.watched", run=found))
    if found.ended or (parent_is_gone and elsewhere(found.description)):
        return found
    if elsewhere(found.description):
        raise RunError(said("resume.elsewhere", run=found, its=found.description["machine"]))
    raise RunError(said("resume.under way", run=found, its=found.description["machine"]))


def _complete(run: LoadedRun) -> bool:
    """Whether the run is finished and has a result; one that is damaged or gone is made again."""
    with suppress(RecordError):
        return run.status == "finished" and run.folder.read_result() is not None
    return False


def _gone_back(
    kind: type[R], hooks_of: HooksOf, given: Given, earlier: LoadedRun, wanted: Config, asked_for: set[str]
) -> R:
    """The run, set back to its newest checkpoint and not started yet."""
    kept, folder = earlier.config.checkpoint, earlier.folder.place / "checkpoints"
    why = "resume.none kept" if not kept.keep else "resume.due" if kept.interval else "resume.asked"
    about = {"why": said(why, interval=kept.interval), "done": earlier.history.epochs_done}
    CheckpointError.unless(bool(kept_epochs(folder)), said("resume.none", folder=folder, **about))
    checkpoint, refused = newest_checkpoint(folder)
    for text in refused:
        warn(said("resume.before", refused=text, epoch=checkpoint.epoch))
    launched = checkpoint.config(**given)
    changed = _check_changes(launched, wanted, checkpoint)
    on_the_way, wanted = _from_here_on(earlier, launched, wanted, {*changed, *asked_for}, checkpoint.epoch)
    check_launch(wanted, earlier.mode, earlier.lag)
    description = {"faults": [], "incidents": [], "changes": []} | earlier.description
    plan, place = planned(wanted, earlier.mode, earlier.lag, (*OWN_HOOKS, *hooks_of(earlier, wanted)))
    for name, table in (measured := record_tables(plan.config, plan.hooks)).items():
        its = earlier.folder.schema.tables.get(name)
        if its is None or (its.dtype, its.words) != (table.dtype, table.words):
            raise RecordError(said("resume.table", path=earlier.folder.path, name=name))
    if missing := earlier.folder.schema.tables.keys() - measured.keys():
        warn(said("resume.hooks", missing=" and ".join(sorted(missing))))
    _check_fits(plan, checkpoint)
    for name in ("checkpoints", "logs"):
        earlier.folder.subfolder(name)
    for path in (earlier.folder.place / name for name in ENDS):
        RecordError.unless(not path.is_dir(), said("resume.in the way", path=path))
    if _complete(earlier) and wanted.epochs == checkpoint.epoch:
        about = {"changed": ", ".join(changed) or "this", "longer": 2 * wanted.epochs}
        raise RunError(said("resume.finished", run=earlier, **about))
    again = {"time": time.time(), "epoch": checkpoint.epoch, "after": earlier.status, "changed": changed}
    again |= {name: description[name] for name in ("machine", "device", "device_name") if name in description}
    if "epochs" in changed:
        again["step_size"] = _step_sizes(earlier, launched, wanted, checkpoint)
    description |= {
        **place, "status": "created", "lost_records": earlier.history.lost,
        "resumed": [*description.get("resumed", []), again],
        "changes": [*description["changes"], *([on_the_way] if on_the_way else [])],
    }  # fmt: skip
    earlier.folder.write_description(earlier.description | {"records": {}})  # from here on there may be fewer
    _go_back(earlier.folder, checkpoint)
    earlier.folder.write_description(description)
    return kind(plan, earlier.folder, description, checkpoint)


def _from_here_on(
    earlier: LoadedRun, launched: Config, wanted: Config, names: set[str], epoch: int
) -> tuple[dict[str, Any] | None, Config]:
    """What is set for the rest of the run, as a change from the checkpoint on, and the configuration without it."""
    read = {name: operator.attrgetter(name) for name in names if name in CHANGEABLE}
    held = [earlier.settings.at(at) for at in (epoch, *dict(earlier.settings.changes)) if at >= epoch]  # or would hold
    settings = {name: value(wanted) for name, value in read.items() if any(value(wanted) != value(it) for it in held)}
    kept = wanted.replace(**{name: value(launched) for name, value in read.items()})
    return ({"time": time.time(), "epoch": epoch, "settings": settings} if settings else None), kept


def _step_sizes(earlier: LoadedRun, launched: Config, wanted: Config, checkpoint: Checkpoint) -> list[float]:
    """The step size of the update before the checkpoint, and of the one after it, which the new end may have moved."""
    made, epoch = int(checkpoint.arrays["agent 0/updates"]), checkpoint.epoch
    sizes = []
    for config, update, its in ((launched, max(0, made - 1), max(0, epoch - 1)), (wanted, made, epoch)):
        settings = SettingsTimeline(config, earlier.settings.changes)
        sizes.append(schedules.learning_rate(settings.at(its), settings.schedule_position(update, its)))
    if not math.isclose(*sizes, rel_tol=0.1):
        warn(said("resume.step size", before=sizes[0], after=sizes[1], epochs=counted(wanted.epochs, "epoch")))
    return sizes


def _check_fits(plan: Plan, checkpoint: Checkpoint) -> None:
    """Refuse, before anything of the run is touched, a checkpoint that is not of such a run.

    Raises:
        CheckpointError: mode or lag are others, or an array is missing, of another shape or dtype, or too much.
    """
    path, about = checkpoint.path, checkpoint.description
    kind, due = {name: about.get(name) for name in ("mode", "lag")}, {"mode": plan.mode, "lag": plan.lag}
    CheckpointError.unless(kind == due, said("resume.kind", path=path, plan=plan, **kind))
    states = parts_of_checkpoint(plan)
    wanted = {f"{owner}/{name}": _kind(value) for owner, state in states.items() for name, value in state.items()}
    wanted |= {f"{owner}/at": _kind(0) for owner in states}
    found = {name: _kind(array) for name, array in checkpoint.arrays.items()}
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if wrong or not isinstance(about.get("elapsed_s"), int | float):
        raise CheckpointError(said("resume.arrays", path=path, wrong=", ".join(wrong) or "elapsed_s"))


def _kind(value: object) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return np.asarray(value).shape, np.asarray(value).dtype


def _check_changes(before: Config, wanted: Config, checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings that are changed, with both values, all of them safe to change."""
    changed = differences(before, wanted)
    if unsafe := {name: pair for name, pair in changed.items() if not safe_to_change(name)}:
        listed = ", ".join(f"{name} ({one!r} there, {other!r} here)" for name, (one, other) in unsafe.items())
        raise CheckpointError(said("resume.unsafe", path=checkpoint.path, listed=listed))
    require(wanted.epochs >= checkpoint.epoch, "epochs", wanted.epochs, said("resume.shorter", checkpoint=checkpoint))
    return {name: list(pair) for name, pair in changed.items()}


def _go_back(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Drop the records that come after the checkpoint; result and weights of the earlier end go too.

    Killed in the middle of it, the run is resumed as if this had not begun: what is dropped twice is dropped once.
    """
    arrays, agents = checkpoint.arrays, range(sum(name.endswith("/weight store") for name in checkpoint.arrays))
    updates = [int(arrays[f"agent {agent}/updates"]) for agent in agents]
    versions = [int(arrays[f"agent {agent}/version"]) for agent in agents]
    epochs, evaluated = int(arrays["actor/at"]), int(arrays["actor/evaluated"])
    set_aside(folder.subfolder("checkpoints"), after=checkpoint.epoch)
    history = History.of(folder)
    for table in folder.schema.tables:
        folder.replace(table, until(table, history.table(table), epochs, updates, versions, evaluated))
    for name in ENDS:
        (folder.place / name).unlink(missing_ok=True)


def safe_to_change(name: str) -> bool:
    """Whether a resumed run may have another value of this setting, all along or from the checkpoint on."""
    group, dot, _ = name.partition(".")
    return name in CHANGEABLE or name in SAFE_TO_CHANGE or group + dot in SAFE_TO_CHANGE

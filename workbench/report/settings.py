"""The settings, code and machines behind a report, in words: every caption ends with them."""

import itertools
from typing import Any

from workbench.report.selection import DEFAULTS, Selection, shown
from workbench.report.sentences import said
from workbench.view.sentences import sizes

_OWN_WORDS = ("seed", "device", "warm start", "probes", "world.name", "changed on the way")


def settings_sentence(selection: Selection) -> str:
    """Every setting that is not the default, once; settings that differ between groups are in the groups' names.

    Those of a world, agent or sampler that the default configuration has not are told, whatever they are.
    """
    found = [group.settings for group in selection.groups]
    common = dict(item for item in found[0].items() if all(item in each.items() for each in found))
    other = {name: value for name, value in common.items() if DEFAULTS.get(name, DEFAULTS) != value}
    changed = [f"{name} = {shown(value)}" for name, value in other.items() if name not in _OWN_WORDS]
    way = f" Changed on the way: {common['changed on the way']}." if common.get("changed on the way") else ""
    warm = ", warm start" if common.get("warm start") else ""
    world = f" World: {common['world.name']}{warm}." if "world.name" in common else ""
    return f"Settings other than the defaults: {', '.join(changed) or 'none'}.{way}{world}"


def task_sentence(selection: Selection) -> str:
    """The task in a few numbers, from the first run; what differs between groups is in their names."""
    config = selection.runs[0].config
    copies = "" if config.num_worlds == 1 else f"{config.num_worlds} copies of "
    return said("settings.task", config=config, copies=copies, **sizes(config))


def origin_sentence(selection: Selection) -> str:
    """Machines, devices, versions and commits of the runs, each once; of a resumed run those of before too."""
    machines, versions, commits = set(), set(), set()
    for about in itertools.chain.from_iterable(run.places for run in selection.runs):
        machine, device = about["machine"], about.get("device", "cpu")
        on = "" if device == "cpu" else f", updates on {about.get('device_name') or device}"
        machines.add(f"{machine.get('cpu')}, {machine.get('cores')} cores{on}")
        versions.add(", ".join(f"{name} {text}" for name, text in machine.get("versions", {}).items() if text))
        commits.add(_commit(machine))
    made, built, code = (" and ".join(sorted(texts)) for texts in (machines, versions, commits))
    return f"Made on {made}; with {built}; code {code}."


def lost_sentence(selection: Selection) -> str:
    """Runs whose records are not all there; empty where nothing is missing."""
    counts = {run.name: sum((run.description.get("lost_records") or {}).values()) for run in selection.runs}
    lost = [f"{count:,} of {name}" for name, count in sorted(counts.items()) if count]
    lost = [*lost[:5], f"some of {len(lost) - 5:,} more runs"] if len(lost) > 6 else lost
    return f"Records were lost on their way to the run folder: {', '.join(lost)}." if lost else ""


def _commit(machine: dict[str, Any]) -> str:
    if not machine.get("commit"):
        return "of no known commit"
    return f"of commit {machine['commit'][:12]}" + (" with changes" if machine.get("dirty") else "")

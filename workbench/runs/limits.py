"""What a machine has to give before a run can start: memory for its blocks, and open files.

Both are counted out and checked before anything is taken, since a shortage later on ends a process without a word, or
in the middle of something. Whatever still runs short says so with the remedy.
"""

import errno
import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import psutil

from workbench.core.processes import shared_memory
from workbench.core.processes.blocks import Plan, layouts
from workbench.core.processes.spawn import TOO_MANY_FILES
from workbench.core.processes.supervisor import children_of
from workbench.runs import fork_server, machine
from workbench.runs.folder import warn
from workbench.runs.history import History
from workbench.runs.sentences import SENTENCES, said

# What a run takes memory for, and how to make it less. Hooks take memory under the titles of their layouts.
REMEDIES: dict[str, str] = SENTENCES["too much memory"]

# Files that are open for a moment only: logs, records, a checkpoint, the pipes of a child that is being started.
SPARE_FILES = 24
# Where a control group says its limit and what it has, by its controllers: of version 2, and of version 1.
GROUP_FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
# Learners for each core beyond which they only wait for each other.
MOST_PER_CORE = 8


def check_limits(plan: Plan) -> None:
    """Check that this machine has what a run needs; a :class:`RecordWarning` if it has far too few cores.

    Raises:
        MemoryError: there is less memory than its blocks need together. The message has both in MiB, the largest
            parts, and the settings to lower.
        OSError: there are fewer open files left than it needs, or this process would not see its children end.
    """
    needed, available = memory_needed(plan), memory_available()
    if (total := sum(needed.values())) > available:
        largest = sorted(needed, key=needed.__getitem__, reverse=True)[:2]
        parts = ", ".join(f"{_mib(needed[part])} for {part}" for part in largest)
        remedies = "; or ".join(REMEDIES.get(part) or said("limits.hook", part=part) for part in largest)
        about = {"needed": _mib(total), "available": _mib(available), "parts": parts, "remedies": remedies}
        raise MemoryError(said("limits.memory", **about))
    method = plan.config.processes.start_method
    if method == "fork_server" and not fork_server.available():
        raise OSError(errno.ENOSYS, said("limits.server"))
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN and (method == "spawn" or not fork_server.available()):
        raise OSError(errno.ECHILD, said("limits.deaf"))
    mapped = psutil.Process().memory_info().vms + 96 * 2**20  # with room for the stacks and heaps of threads
    for name, limit, taken in (("file", resource.RLIMIT_FSIZE, 0), ("addresses", resource.RLIMIT_AS, mapped)):
        whole, most = total + taken, resource.getrlimit(limit)[0]
        if 0 <= most < whole:
            raise OSError(errno.EFBIG, said(f"past a limit.{name}", needed=_mib(whole), most=_mib(most)))
    if (wanted := files_needed(plan)) > (left := files_left()):
        raise OSError(errno.EMFILE, said("limits.files", wanted=wanted, left=left, remedy=TOO_MANY_FILES))
    learners, most = plan.config.num_learners if plan.mode == "multiprocess" else 0, MOST_PER_CORE * machine.cores()
    if learners > most:
        warn(said("limits.cores", learners=learners, cores=machine.cores()))


def check_tables(history: History) -> None:
    """Check that there is memory for work with all records of a run, which takes some copies of a part of them.

    Raises:
        MemoryError: there is less than three times what they are.
    """
    tables = history.schema.tables
    check_memory(sum(many * tables[table].dtype.itemsize for table, many in history.counts.items() if table in tables))


def check_memory(size: int) -> None:
    """Check that there is memory for work with records of that many bytes; raises MemoryError if there is not."""
    available = memory_available()
    if 3 * size > available:
        raise MemoryError(said("limits.tables", size=_mib(size), available=_mib(available)))


def memory_needed(plan: Plan) -> dict[str, int]:
    """Bytes of all blocks of a run, by what they are for, see :data:`REMEDIES`."""
    needed: dict[str, int] = {}
    for name, layout in layouts(plan, len(children_of(plan.config, plan.mode))).items():
        own = {"replay": "replays", "weight": "weight stores"}.get(name.split()[0], "telemetry")
        part = layout.title if name in plan.hook_layouts else own
        needed[part] = needed.get(part, 0) + layout.nbytes
    return needed


def memory_available() -> int:
    """Bytes that new blocks can have: what the system has, less where a container, a service or a job has a limit."""
    in_memory, temporary = shared_memory.IN_MEMORY, tempfile.gettempdir()
    free = psutil.virtual_memory().available if in_memory else shutil.disk_usage(temporary).free
    return min([int(free), *left_in_groups()])


def left_in_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes left to each control group around this process that has a limit; files in memory count as free.

    Args:
        root: where the system shows its control groups, of version 2, or of version 1 in a folder ``memory``.
        own: names the groups of this process, a line each: ``number:controllers:path``.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in lines:
        if controllers in GROUP_FILES:
            top = root / controllers
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(top):
                    found += _left(folder, *GROUP_FILES[controllers])
    return found


def _left(folder: Path, limit: str, usage: str) -> list[int]:
    """What a group has left, at least 0; nothing where it has no limit or cannot be read."""
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return [max(0, most - used + int(stat["inactive_file"]) + int(stat["active_file"]))]
    except (OSError, ValueError, KeyError):  # "max" is no number
        return []


def files_needed(plan: Plan) -> int:
    """Files that a run holds open in this process, whatever its number of agents but for the processes they need."""
    processes = len(children_of(plan.config, plan.mode))
    folders, memory, server = 2, 2, 1  # those of run and logs; the memory's file is open, and mapped
    wakeups = (processes + 1) * (1 if hasattr(os, "eventfd") else 2)
    return folders + memory + server + wakeups + 2 * processes + SPARE_FILES  # a child's line, and what stands for it


def files_left() -> int:
    """How many more files this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - int(psutil.Process().num_fds())


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"

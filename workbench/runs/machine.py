"""Where a run was made: host, cores, versions and commit, as plain values for the run's description."""

import importlib.metadata
import os
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


def describe() -> dict[str, Any]:
    """Everything about this machine and process that a result may depend on, ready for JSON. Imports no torch."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": cores(),
        "pid": os.getpid(),
        "process": process_mark(os.getpid()),
        "versions": versions(),
        **commit(),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the installed packages; None for one that is not installed."""
    names, found = ("numpy", "torch", "workbench"), importlib.metadata.distributions
    versions = {name: next((each.version for each in found(name=name)), None) for name in names}
    return {"python": platform.python_version(), **versions}


def commit(folder: Path = PACKAGE) -> dict[str, str | bool | None]:
    """The git commit of the code in ``folder``, and whether files in it differ from that commit.

    Both are None where git is missing or does not track the folder, as in an installed package, even if that lies
    inside another project's repository.
    """
    head = _git(folder, "rev-parse", "HEAD") if _git(folder, "ls-files", ".") else None
    changes = _git(folder, "--no-optional-locks", "status", "--porcelain", ".") if head else None
    return {"commit": head, "dirty": None if changes is None else changes != ""}


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # set in hooks
    command = ["git", *arguments]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else None
    return None


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_mark(pid: int) -> str | None:
    """What tells a process from others of the same number: the system's boot and when it began; None if not known.

    A container that is started again gives its processes the numbers that they had before.
    """
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {_stat(pid)[19]}"
    return None


def process_runs(pid: int, mark: str | None = None) -> bool:
    """Whether a process is there and has not ended (one whose parent has not looked yet has).

    Args:
        pid: its number.
        mark: what :func:`process_mark` said of it; None takes any process of that number.
    """
    try:
        with suppress(PermissionError):  # another user's
            os.kill(pid, 0)
        state = _stat(pid)[0]
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return state not in ("Z", "X") and (mark is None or process_mark(pid) in (mark, None))


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on, see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_model() -> str:
    """Name of the processor, as far as the system tells it."""
    with suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.*\S)", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Name of the hardware behind a torch device: the card for "cuda" and "cuda:1", else the processor.

    Imports torch for CUDA devices only.
    """
    if not device.startswith("cuda"):
        return cpu_model()
    import torch

    return torch.cuda.get_device_name(device)

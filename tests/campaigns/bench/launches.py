"""How long children take to start, and how much memory a run takes, for both ways of starting them.

Each measurement is made in an interpreter of its own, since the fork server is started with a parent's first run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from tests.campaigns.reference_files import ROOT
from workbench.api import Run, launch
from workbench.core.config import Config

WAYS = ("spawn", "fork_server")
LIMIT_S = 120.0
"""What has not happened after this counts as failed; everything here takes seconds."""
BARS = {"second_launch_s": 0.1, "tree_mib": 0.3, "restart_s": 0.5}
"""At most this share of spawn's second launch and memory; and this many seconds until a killed learner works."""


def start_up(config: Config, quick: bool) -> dict[str, Any]:
    """Both ways in turn: start-up, restart and memory, medians of each, and the fork server's ratio to spawn's.

    Python keeps what it has compiled, as it does by itself, so that no child of either way compiles modules again.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(1 if quick else 5):
        for way, measured in found.items():
            asked = config.replace(**{"processes.start_method": way}).to_json()
            command = [sys.executable, "-c", f"from {__name__} import main; main()"]
            done = subprocess.run(command, cwd=ROOT, env=environment, input=asked, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the start-up of {way} could not be measured:\n{done.stderr}")
            measured.append(json.loads(done.stdout))
    medians = {
        way: {name: median(each[name] for each in measured) for name in measured[0]} for way, measured in found.items()
    }
    ratio = {name: medians["fork_server"][name] / medians["spawn"][name] for name in medians["spawn"]}
    held = {
        "second_launch_s": ratio["second_launch_s"] <= BARS["second_launch_s"],
        "tree_mib": ratio["tree_mib"] <= BARS["tree_mib"],
        "restart_s": medians["fork_server"]["restart_s"] <= BARS["restart_s"],
    }
    return {"children": 1 + config.num_learners, **medians, "ratio": ratio, "bars": BARS, "held": held, "runs": found}


def measure(config: Config) -> dict[str, float]:
    """Two launches of this process, the memory of the second run, and a killed learner of it.

    Returns:
        ``first_launch_s``, ``second_launch_s`` from the call until every child is ready. ``restart_s`` from the kill
        of a learner until its successor has made an update, at lag 1, where the others wait for it; free-running, where
        they compete with it for the cores, ``restart_free_s``. ``tree_mib`` and ``children_mib``: proportional memory
        of this process with all its descendants, the fork server among them, and without this process.
    """
    found: dict[str, float] = {}
    endless = config.replace(epochs=10_000_000)
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        for order, lag, restart in (("first", None, "restart_free_s"), ("second", 1, "restart_s")):
            began = time.perf_counter()
            with launch(endless, "multiprocess", lag, out=folder, name=order) as run:
                _wait(lambda run=run: run.status == "running")  # type: ignore[misc]
                found[f"{order}_launch_s"] = time.perf_counter() - began
                _wait(lambda run=run: _updates(run) > 0)  # type: ignore[misc]
                memory = {pid: _pss_mib(pid) for pid in family(os.getpid())}
                found[restart] = _restart_s(run)
    found |= {"tree_mib": sum(memory.values()), "children_mib": sum(memory.values()) - memory[os.getpid()]}
    return found


def _restart_s(run: Run) -> float:
    learner = run.processes[1]
    assert learner.pid is not None
    began = time.perf_counter()
    os.kill(learner.pid, signal.SIGKILL)
    _wait(lambda: run.processes[1].restarts == 1)
    done = _updates(run)
    _wait(lambda: _updates(run) > done)
    return time.perf_counter() - began


def _updates(run: Run) -> int:
    return int(run._supervisor.progress.updates(run.processes[1].agents[0]))


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {LIMIT_S:g} s")
        time.sleep(0.001)


def family(pid: int) -> list[int]:
    """A process and all its descendants, from ``/proc``."""
    parents = dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for each in found:  # grows meanwhile
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _pss_mib(pid: int) -> float:
    """Proportional memory of a process: its own pages, and its share of those that it has in common with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kib) / 1024


def main() -> None:
    """Measure with the configuration that comes on stdin, and print the numbers as JSON."""
    print(json.dumps(measure(Config.from_dict(json.load(sys.stdin)))))

"""What an open panel costs: time of the run, answers of the kernel, memory, the notebook's size; how soon it moves.

Everything is measured from outside a kernel, as a front end sees it: cells are sent to it, and every message that comes
back, rows of the charts among them, is received.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Any

import numpy as np
from jupyter_client.manager import KernelManager
from numpy.typing import NDArray

from tests.campaigns.reference_files import ROOT, provenance, write_json
from tests.campaigns.soak import usage
from workbench.core.config import Config
from workbench.runs.presets import preset
from workbench.runs.statistics import mean_and_half_width

BARS = {
    "slow_down": 0.01, "latency_ms": 50.0, "first_point_s": 2.0, "clone_s": 60.0, "growth_mib": 5.0,
    "notebook_mib": 0.1,
}  # fmt: skip
"""At most this much slower, this long to answer at the median, this long from the second launch of a kernel and from
``git clone`` to the first point of a curve, and this much more memory and notebook in the end."""
DEADLINE_S = 300.0
LAUNCH = """
import json
import time
import workbench as wb
config = wb.Config.from_dict(json.loads({config!r}))
run = wb.launch(config, {mode!r}, 1, out={folder!r}, probes=False)
"""
SHOW = "panel = wb.Panel(run)\npanel"
QUICK = """
import workbench as wb
run = wb.launch(wb.preset("quick"), out={folder!r})
panel = wb.Panel(run)
panel
"""
STRETCH = """
cpu, began = time.process_time(), time.time()
time.sleep({seconds})
share, ended = (time.process_time() - cpu) / {seconds}, time.time()
table = run.history.epochs
ends = table["time"][(table["agent"] == 0) & (table["time"] > began) & (table["time"] < ended)]
print(json.dumps([(len(ends) - 1) * run.config.steps_per_epoch / (ends[-1] - ends[0]), share]))
"""
FRAMES = """
frames, send = [], panel.widget.send
def count(content, buffers):
    frames.append(len(buffers[0]))
    send(content, buffers)
panel.widget.send = count
"""
WEIGH = """
import json
from ipywidgets import Widget
print(json.dumps({"state": len(json.dumps(Widget.get_manager_state())), "frames": len(frames),
                  "epochs": run.progress["epochs"], "status": run.status}))
"""


class Kernel:
    """A kernel and what a front end does with it. Made by :func:`kernel`."""

    def __init__(self, manager: KernelManager) -> None:
        """The kernel is ready when this returns."""
        self._client = manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(DEADLINE_S)
        self._closing, self._lock = threading.Event(), threading.Lock()
        self.pid = int(manager.provisioner.pid)  # type: ignore[union-attr]
        self.bytes, self.rows_at = 0, list[float]()
        self._printed: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._idle: dict[str, float] = {}
        self._thread = threading.Thread(target=self._receive, name="front end", daemon=True)
        self._thread.start()

    def execute(self, code: str) -> str:
        """Run a cell to its end; what it printed.

        Raises:
            RuntimeError: it raised, or did not end.
        """
        asked = self._client.execute(code)
        deadline = time.monotonic() + DEADLINE_S
        while asked not in self._idle:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the kernel did not answer to {code!r} within {DEADLINE_S:g} s")
            self._closing.wait(0.01)
        with self._lock:
            if asked in self._errors:
                raise RuntimeError(self._errors[asked])
            return self._printed.get(asked, "")

    def answer_s(self) -> float:
        """Seconds from sending a cell that does nothing to the message that it is done."""
        began = time.perf_counter()
        asked = self._client.execute("1")
        while asked not in self._idle:
            self._closing.wait(0.0005)
        return self._idle[asked] - began

    def first_rows(self, began: float) -> float:
        """Seconds from a moment to the first rows of a chart that came after it.

        Raises:
            RuntimeError: none came.
        """
        while not self.rows_at or self.rows_at[-1] < began:
            if time.perf_counter() > began + DEADLINE_S or not self._thread.is_alive():
                raise RuntimeError(f"no rows came within {DEADLINE_S:g} s")
            self._closing.wait(0.0005)
        return next(at for at in self.rows_at if at >= began) - began

    def close(self) -> None:
        """Stop receiving."""
        self._closing.set()
        self._thread.join()
        self._client.stop_channels()

    def _receive(self) -> None:
        while not self._closing.is_set():
            try:
                message = self._client.iopub_channel.get_msg(timeout=0.2)
            except Empty:
                continue
            content, asked = message["content"], message["parent_header"].get("msg_id", "")
            if rows := sum(len(buffer) for buffer in message.get("buffers", ())):
                self.bytes += rows
                self.rows_at.append(time.perf_counter())
            with self._lock:
                if message["msg_type"] == "stream":
                    self._printed[asked] = self._printed.get(asked, "") + content["text"]
                elif message["msg_type"] == "error":
                    self._errors[asked] = f"{content['ename']}: {content['evalue']}"
                elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                    self._idle[asked] = time.perf_counter()


@contextmanager
def kernel(python: str = sys.executable, folder: Path = ROOT) -> Iterator[Kernel]:
    """A kernel of that Python, by default this one, in that folder, which ends with the block."""
    manager = KernelManager(kernel_name="python3")
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = python
    manager.start_kernel(cwd=str(folder), env=_environment())
    try:
        made = Kernel(manager)
        try:
            yield made
        finally:
            made.close()
    finally:
        manager.shutdown_kernel(now=True)


def slow_down(config: Config, pairs: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Rate of one multiprocess run with its panel open and without one, in turn within it; and the digests of two runs.

    Two runs of half a minute differ by more than what is looked for; two stretches of one run, one after the other, by
    less. The order changes from pair to pair, so that what drifts evens out. A rate is that between the ends of the
    first and the last epoch within a stretch.

    Args:
        config: of the run.
        pairs: how many stretches of each kind.
        seconds: length of a stretch.
        say: takes a line now and then.
    """
    rates: dict[bool, list[float]] = {True: [], False: []}
    cores: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder, kernel() as front:
        front.execute(LAUNCH.format(config=_endless(config).to_json(), mode="multiprocess", folder=folder))
        front.execute(f"while run.progress['epochs'] < {min(50, config.epochs)}: time.sleep(0.05)")
        for pair in range(pairs):
            for shown in (False, True) if pair % 2 else (True, False):
                if shown:  # what opening costs is another row's matter
                    began = time.perf_counter()
                    front.execute(SHOW)
                    front.first_rows(began)
                rate, share = json.loads(front.execute(STRETCH.format(seconds=seconds)))
                if shown:
                    front.execute("panel.close()")
                rates[shown].append(rate)
                cores[shown].append(share)
            say(f"panel: {rates[True][-1]:.0f} steps/s with a panel, {rates[False][-1]:.0f} without")
        front.execute("run.stop()")
    ratios = [without / with_panel - 1 for with_panel, without in zip(rates[True], rates[False], strict=True)]
    mean, half = mean_and_half_width(ratios)
    return {
        "pairs": pairs, "seconds": seconds, "steps_per_s": {"with": rates[True], "without": rates[False]},
        "slow_down": mean, "half_width": half, "slow_down_of_pairs": ratios,
        "kernel_cores": {"with": median(cores[True]), "without": median(cores[False])},
        **_identical(config, say),
    }  # fmt: skip


def _identical(config: Config, say: Callable[[str], None]) -> dict[str, Any]:
    """Whether a whole run has the same digests with a panel and without; and how often it was drawn."""
    digests, frames, wall_s = list[Any](), 0, 0.0
    for shown in (False, True):
        with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder, kernel() as front:
            front.execute(LAUNCH.format(config=config.to_json(), mode="multiprocess", folder=folder))
            if shown:
                front.execute(SHOW)
                front.execute(FRAMES)
            front.execute("result = run.wait()")
            told = json.loads(front.execute("import json\nprint(json.dumps([result.wall_s, result.digest]))"))
            wall_s, frames = told[0], int(front.execute("print(len(frames))")) if shown else 0
            digests.append(told[1])
            say(f"panel: run of {told[0]:.1f} s {'with' if shown else 'without'} a panel")
    return {"frames_per_s": frames / wall_s, "identical": digests[0] == digests[1]}


def first_point(config: Config, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds from the cell that launches a run and shows its panel to the first rows of a chart, launch after launch.

    The first launch of a kernel imports the package and starts the fork server; the second is what the bar is about.
    """
    launches = list[list[float]]()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder, kernel() as front:
            cell = LAUNCH.format(config=_endless(config).to_json(), mode="multiprocess", folder=folder) + SHOW
            taken = []
            for _ in range(2):
                began = time.perf_counter()
                front.execute(cell)
                taken.append(front.first_rows(began))
                front.execute("run.stop()\npanel.close()")
            launches.append(taken)
            say(f"panel: the first point after {taken[0]:.2f} s, of the second launch after {taken[1]:.2f} s")
    first, second = (median(each) for each in zip(*launches, strict=True))
    return {"first_s": first, "second_s": second, "launches": launches}


def from_clone(say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds from ``git clone`` to the first rows of a chart, for somebody whose packages are on the disk.

    A new environment that sees the packages of this one, ``pip install -e .`` as the README says, JupyterLab until it
    answers, then a kernel that launches the preset "quick" and shows its panel.
    """
    taken, began = dict[str, float](), time.perf_counter()

    def done(what: str) -> None:
        """Note how long a step took."""
        nonlocal began
        taken[what], began = time.perf_counter() - began, time.perf_counter()
        say(f"panel: {what} took {taken[what]:.1f} s")

    with tempfile.TemporaryDirectory(prefix="workbench-clone-") as folder:
        clone, python = Path(folder, "clone"), Path(folder, "environment", "bin", "python")
        _call("git", "clone", "--quiet", str(ROOT), str(clone))
        done("git clone")
        _call(sys.executable, "-m", "venv", str(python.parents[1]))
        for packages in python.parents[1].glob("lib/python*/site-packages"):
            Path(packages, "cached.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
        done("a new environment")
        _call(str(python), "-m", "pip", "install", "--quiet", "-c", str(clone / "constraints.txt"), "-e", str(clone))
        done("pip install")
        with _lab(python, clone):
            done("JupyterLab")
            with kernel(str(python), clone / "notebooks") as front:
                front.execute(QUICK.format(folder=folder))
                front.first_rows(began)
                done("the first point")
                where = front.execute("print(wb.__file__)").strip()
                front.execute("run.stop()")
        if not where.startswith(str(clone)):
            raise RuntimeError(f"{where} was imported, not the clone")
    return {"seconds": sum(taken.values()), "steps": taken}


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())


def _environment() -> dict[str, str]:
    """Ours without a path that would lead a Python to another copy of the package than its own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextmanager
def _lab(python: Path, clone: Path) -> Iterator[None]:
    """JupyterLab on the notebooks of a clone, from the moment at which it answers."""
    command = [str(python), "-m", "workbench", "lab", "--allow-root", "--no-browser", "--ServerApp.port=0"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=clone, env=_environment(), **pipes) as server:
        try:
            assert server.stderr is not None
            if not any("is running at" in line for line in server.stderr):
                raise RuntimeError("JupyterLab did not start")
            threading.Thread(target=server.stderr.read, name="log", daemon=True).start()
            yield
        finally:
            server.terminate()


def latency(config: Config, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """How long the kernel takes to answer while its panel draws a run that is running, and without a panel."""
    pauses = random.Random(seed)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder, kernel() as front:
        front.execute(LAUNCH.format(config=_endless(config).to_json(), mode="multiprocess", folder=folder))
        front.execute("while run.status != 'running': time.sleep(0.05)")
        for name in ("without", "with"):
            if name == "with":
                front.execute(SHOW)
                front.execute(FRAMES)
            taken = []
            for _ in range(count):
                time.sleep(pauses.uniform(0.02, 0.3))
                taken.append(1e3 * front.answer_s())
            found[name] = {
                "median_ms": median(taken), "p95_ms": float(np.percentile(taken, 95)), "max_ms": max(taken),
                "count": count,
            }  # fmt: skip
            say(f"panel: the kernel answers in {found[name]['median_ms']:.1f} ms {name} a panel")
        found["frames"] = int(front.execute("print(len(frames))"))
        front.execute("run.stop()")
    return found


def growth(config: Config, minutes: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Memory of the kernel and size of what the notebook would save, while a panel watches one run for long.

    The first quarter is left out: it fills buffers, and the run's history until it is read from disk.
    """
    seconds, every = 60 * minutes, max(1.0, minutes / 4)
    taken: dict[str, list[float]] = {
        name: [] for name in ("t", "memory_mib", "mapped_mib", "notebook_mib", "received_mib", "frames")
    }
    with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder, kernel() as front:
        front.execute(LAUNCH.format(config=_endless(config).to_json(), mode="sequential", folder=folder))
        front.execute(SHOW)
        front.execute(FRAMES)
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            told = json.loads(front.execute(WEIGH))
            memory = usage(front.pid)
            if memory is None or told["status"] not in ("starting", "running"):
                raise RuntimeError(f"the run is {told['status']}; the panel could not be watched to the end")
            numbers = (
                at, memory["memory_mib"], memory["mapped_mib"], told["state"] / 2**20, front.bytes / 2**20,
                told["frames"],
            )  # fmt: skip
            for name, number in zip(taken, numbers, strict=True):
                taken[name].append(round(number, 4))
            if len(taken["t"]) % 20 == 1:
                say(f"panel: {at / 60:.0f} min, {numbers[1]:.0f} MiB, notebook {numbers[3]:.2f} MiB")
            time.sleep(max(0.0, began + (int(at / every) + 1) * every - time.monotonic()))
        front.execute("run.stop()")
    later = np.array(taken["t"]) >= seconds / 4
    found = {}
    for name in ("memory_mib", "notebook_mib"):
        found[name] = risen(np.array(taken[name])[later])
    return {"minutes": minutes, "epochs": told["epochs"], "grown": found, "series": taken}


def risen(values: NDArray[np.float64]) -> dict[str, float]:
    """Level of the first and of the last eighth of a series, told by their medians, and how much it has grown."""
    eighth = max(1, len(values) // 8)
    first, last = float(np.median(values[:eighth])), float(np.median(values[-eighth:]))
    return {"first": first, "last": last, "grown": last - first}


def run_panel(
    out: Path, command: str, say: Callable[[str], None], minutes: float = 0.0, quick: bool = False
) -> dict[str, Any]:
    """Measure and write the file; what was there of a part that is not measured now is kept.

    Args:
        out: the file.
        command: what is written as the origin of the parts that are measured now.
        say: takes a line now and then.
        minutes: how long to watch for growth, and nothing else; 0 measures the rest.
        quick: a tiny budget, to see that it works; the figures mean nothing then.
    """
    config = preset("tiny" if quick else "treasurehunt").replace(device="cpu")
    data: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if minutes:
        data["growth"] = {**growth(config, minutes, say), **provenance(command)}
    else:
        lasting = config.replace(epochs=200) if quick else config  # some seconds, so that a frame falls into them
        data["slow_down"] = {**slow_down(lasting, *((2, 1.0) if quick else (60, 4.0)), say), **provenance(command)}
        data["latency"] = {**latency(config, 10 if quick else 300, 0, say), **provenance(command)}
        data["first_point"] = {**first_point(config, 1 if quick else 5, say), **provenance(command)}
        if not quick:  # it installs, for which it needs what a test may not have
            data["clone"] = {**from_clone(say), **provenance(command)}
    data |= {"bars": BARS, "held": held(data)}
    write_json(out, data)
    return data


def held(data: dict[str, Any]) -> dict[str, bool]:
    """Which bars hold, of those that were measured."""
    found = {}
    if "slow_down" in data:
        found["slow_down"] = data["slow_down"]["slow_down"] <= BARS["slow_down"] and data["slow_down"]["identical"]
        found["latency_ms"] = data["latency"]["with"]["median_ms"] <= BARS["latency_ms"]
    if "first_point" in data:
        found["first_point_s"] = data["first_point"]["second_s"] <= BARS["first_point_s"]
    if "clone" in data:
        found["clone_s"] = data["clone"]["seconds"] <= BARS["clone_s"]
    if "growth" in data:
        grown = data["growth"]["grown"]
        found["growth_mib"] = grown["memory_mib"]["grown"] <= BARS["growth_mib"]
        found["notebook_mib"] = grown["notebook_mib"]["grown"] <= BARS["notebook_mib"]
    return found


def _endless(config: Config) -> Config:
    return config.replace(epochs=10_000_000)

"""What an open panel costs: time of the run, answers of the kernel, memory, and size of the notebook.

Everything is measured from outside a kernel, as a front end sees it: cells are sent to it, and every message that comes
back, rows of the charts among them, is received.
"""

from __future__ import annotations

import json
import random
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

from tests.campaigns.reference_files import provenance, write_json
from tests.campaigns.soak import usage
from workbench.core.config import Config
from workbench.runs.presets import preset

BARS = {"slow_down": 0.02, "latency_ms": 50.0, "growth_mib": 5.0}
"""At most this much slower, this long to answer at the median, and this much more memory and notebook in the end."""
DEADLINE_S = 300.0
LAUNCH = """
import json
import time
import workbench as wb
config = wb.Config.from_dict(json.loads({config!r}))
run = wb.launch(config, {mode!r}, 1, out={folder!r}, probes=False)
"""
SHOW = "panel = wb.Panel(run)\npanel"
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
        self.bytes = 0
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
            self._closing.wait(0.0005)
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
            self.bytes += sum(len(buffer) for buffer in message.get("buffers", ()))
            with self._lock:
                if message["msg_type"] == "stream":
                    self._printed[asked] = self._printed.get(asked, "") + content["text"]
                elif message["msg_type"] == "error":
                    self._errors[asked] = f"{content['ename']}: {content['evalue']}"
                elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                    self._idle[asked] = time.perf_counter()


@contextmanager
def kernel() -> Iterator[Kernel]:
    """A kernel of this Python, which ends with the block."""
    manager = KernelManager(kernel_name="python3")
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(cwd=str(Path(__file__).parents[2]))
    try:
        made = Kernel(manager)
        try:
            yield made
        finally:
            made.close()
    finally:
        manager.shutdown_kernel(now=True)


def slow_down(config: Config, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Wall time of the same multiprocess run with its panel open and without one, in turn, each in a new kernel."""
    walls: dict[bool, list[float]] = {True: [], False: []}
    digests, cpu, frames = set(), [], []
    with tempfile.TemporaryDirectory(prefix="workbench-panel-") as folder:
        for repeat in range(repeats):
            for shown in (False, True) if repeat % 2 else (True, False):
                with kernel() as front:
                    front.execute(LAUNCH.format(config=config.to_json(), mode="multiprocess", folder=folder))
                    if shown:
                        front.execute(f"{SHOW}")
                        front.execute(FRAMES)
                    front.execute("cpu = time.process_time(); began = time.monotonic()")
                    front.execute("result = run.wait()")
                    told = json.loads(front.execute(
                        "import json\nprint(json.dumps([result.wall_s, result.digest['weights'], "
                        "(time.process_time() - cpu) / (time.monotonic() - began)]))"
                    ))  # fmt: skip
                    if shown:
                        frames.append(int(front.execute("print(len(frames))")))
                walls[shown].append(told[0])
                digests.add(told[1])
                cpu.append((shown, told[2]))
                say(f"panel: run of {told[0]:.1f} s {'with' if shown else 'without'} a panel")
    ratios = [with_panel / without for with_panel, without in zip(walls[True], walls[False], strict=True)]
    return {
        "epochs": config.epochs, "wall_s": {"with": walls[True], "without": walls[False]},
        "slow_down": median(walls[True]) / median(walls[False]) - 1,
        "slow_down_of_pairs": [ratio - 1 for ratio in ratios],
        "kernel_cores": {name: median(share for shown, share in cpu if shown is with_panel)
                         for name, with_panel in (("with", True), ("without", False))},
        "frames_per_s": sum(frames) / sum(walls[True]), "identical": len(digests) == 1,
    }  # fmt: skip


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
        data["slow_down"] = {**slow_down(lasting, 1 if quick else 5, say), **provenance(command)}
        data["latency"] = {**latency(config, 10 if quick else 300, 0, say), **provenance(command)}
    data |= {"bars": BARS, "held": held(data)}
    write_json(out, data)
    return data


def held(data: dict[str, Any]) -> dict[str, bool]:
    """Which bars hold, of those that were measured."""
    found = {}
    if "slow_down" in data:
        found["slow_down"] = data["slow_down"]["slow_down"] <= BARS["slow_down"] and data["slow_down"]["identical"]
        found["latency_ms"] = data["latency"]["with"]["median_ms"] <= BARS["latency_ms"]
    if "growth" in data:
        grown = data["growth"]["grown"].values()
        found["growth_mib"] = all(each["grown"] <= BARS["growth_mib"] for each in grown)
    return found


def _endless(config: Config) -> Config:
    return config.replace(epochs=10_000_000)

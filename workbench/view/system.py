"""What the processes of a run take of the machine, as curves: cores and memory, and the card if they compute on one.

Every process looks at itself, in a few epochs of the run alone, since the system takes milliseconds to add up the pages
of a process.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import psutil
import torch

from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.records import POINT, Metric, RecordTable
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer

SAMPLES = 30  # of a run at most
MIB = 2**20
_TABLE = RecordTable(np.dtype([*POINT.descr, ("number", "<i8")]), 512, axis="epoch")
_CORES = "Cores that {} was on since the sample before, all threads together."
_MEMORY = "Memory of {}; a page that several processes share counts for its share."
_PROCESSES = {
    "acting": "the process that acts (of a sequential run its only child)",
    "learning": "each learner process, the processes added up",
}


class SystemLoad(Hook):
    """Samples what every child takes, in the same epochs in all of them."""

    tables: ClassVar = {"acting_load": _TABLE, "learning_load": _TABLE, "card_load": _TABLE}
    metrics: ClassVar = (
        *(Metric(f"system/{what}_cores", f"{what}_load", "cores", "cores", _CORES.format(whose), "sum")
          for what, whose in _PROCESSES.items()),
        *(Metric(f"system/{what}_memory", f"{what}_load", "memory", "MiB", _MEMORY.format(whose), "sum")
          for what, whose in _PROCESSES.items()),
        Metric("system/card_memory", "card_load", "memory", "MiB",
               "Memory of the card that each learner process has reserved, the processes added up.", "sum"),
        Metric("system/card_use", "card_load", "use", "%",
               "Share of the time in which the card computed; nan where nvidia-ml-py is not installed."),
    )  # fmt: skip

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look before an epoch is collected: one that a process does again after a death is looked at again."""
        look = _looking(collector.config, parts, "acting_load", 0)

        def epoch(original: Callable[..., None], number: int, version: int | None) -> None:
            """Look, and collect an epoch."""
            look(number, collector.in_use[0].updates)
            original(number, version)

        collector.epoch = functools.partial(epoch, collector.epoch)  # type: ignore[method-assign]

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look before the updates of an epoch, once for all agents of a process."""
        if parts.job.role != "learner":
            return
        first = min(trainer.agents)
        look = _looking(trainer.config, parts, "learning_load", first)

        def learn(original: Callable[..., None], index: int, epoch: int, num_updates: int, end: int | None) -> None:
            """Look, and make the updates."""
            if index == first:
                look(epoch, trainer.agents[first].updates)
            original(index, epoch, num_updates, end)

        trainer.learn = functools.partial(learn, trainer.learn)  # type: ignore[method-assign]


def _looking(config: Config, parts: Parts, table: str, agent: int) -> Callable[[int, int], None]:
    """What records the load of this process, under an agent's number, if a sample is due."""
    interval, device = math.ceil(config.epochs / SAMPLES), resolve_device(config.device)
    last, clock, on_core = -1, time.monotonic(), time.process_time()

    def look(epoch: int, update: int) -> None:
        """Take a sample in every so many epochs, and never two in one."""
        nonlocal last, clock, on_core
        if (epoch + 1) % interval or epoch <= last:
            return
        memory, before = psutil.Process().memory_full_info(), (clock, on_core)
        last, clock, on_core = epoch, time.monotonic(), time.process_time()
        point = {"time": time.time(), "agent": agent, "epoch": epoch, "update": update, "number": epoch}
        cores = (on_core - before[1]) / (clock - before[0])
        parts.channel[table].write(**point, cores=cores, memory=getattr(memory, "pss", memory.uss) / MIB)
        if table == "learning_load" and device.type == "cuda":
            reserved = torch.cuda.memory_reserved(device) / MIB
            parts.channel["card_load"].write(**point, memory=reserved, use=_use_of(device))

    return look


def _use_of(card: torch.device) -> float:
    """Per cent of the last moments in which the card computed; nan where nobody can say."""
    try:
        return float(torch.cuda.utilization(card))
    except (ImportError, RuntimeError):
        return math.nan

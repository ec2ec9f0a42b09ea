"""What the processes of a run take of the machine, as curves: cores and memory, and the card if they compute on one.

Every process looks at itself, in a few epochs of the run alone, and at its memory only every few seconds, since the
system takes three milliseconds of a core to add up the pages of a process.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.records import POINT, RecordTable
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.metrics import metrics_beside

SAMPLES = 30  # of a run at most
MEMORY_AGE_S = 3.0  # a sample repeats what memory was found before as long as that is not older
MIB = 2**20
_TABLE = RecordTable(np.dtype([*POINT.descr, ("number", "<i8")]), 512, axis="epoch")


class SystemLoad(Hook):
    """Samples what every child takes, in the same epochs in all of them."""

    tables: ClassVar = {"acting_load": _TABLE, "learning_load": _TABLE}
    metrics: ClassVar = metrics_beside(__file__, tables)

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look before an epoch is collected: one that a process does again after a death is looked at again."""
        _before_epochs(collector, parts, "acting_load", _load())

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look before the updates of an epoch, once for all agents of a process."""
        if parts.job.role == "learner":
            _before_epochs(trainer, parts, "learning_load", _load())


class CardLoad(Hook):
    """Samples what the processes that learn take of a card, in the same epochs."""

    tables: ClassVar = {"card_load": _TABLE}
    metrics: ClassVar = metrics_beside(__file__, tables)

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether updates are computed on a card."""
        return resolve_device(config.device).type == "cuda"

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look before the updates of an epoch; a run that is resumed elsewhere may have no card any more."""
        card = resolve_device(trainer.config.device)
        if card.type == "cuda":
            _before_epochs(trainer, parts, "card_load", functools.partial(_load_of, card))


def _load() -> Callable[[], dict[str, float]]:
    """What looks at this process: cores since it looked before, and memory."""
    before = time.monotonic(), time.process_time()
    looked, memory = -math.inf, math.nan

    def look() -> dict[str, float]:
        """One look."""
        nonlocal before, looked, memory
        (wall, core), before = before, (time.monotonic(), time.process_time())
        if before[0] - looked > MEMORY_AGE_S:
            looked, memory = before[0], _memory()
        return {"cores": (before[1] - core) / (before[0] - wall), "memory": memory}

    return look


def _before_epochs(part: Collector | Trainer, parts: Parts, table: str, look: Callable[[], dict[str, float]]) -> None:
    """Have a sample written before some epochs are collected or learned, at equal distances, and once in each of those.

    Args:
        part: of a process; its samples are under the number of its first agent.
        parts: what the process has.
        table: that the samples are written to.
        look: finds what is in one.
    """
    worked: Any  # by agent, with the updates that are done
    if isinstance(part, Collector):
        method, place, agent, worked = "epoch", 0, 0, part.in_use
    else:
        method, place, agent, worked = "learn", 1, min(part.agents), part.agents
    interval, last, original = math.ceil(part.config.epochs / SAMPLES), -1, getattr(part, method)

    def sampled(*arguments: Any) -> None:
        """Write one if it is due, and do the work."""
        nonlocal last
        epoch = arguments[place]
        if (epoch + 1) % interval == 0 and epoch > last:
            last = epoch
            at = {"time": time.time(), "epoch": epoch, "update": worked[agent].updates, "number": epoch}
            parts.channel[table].write(agent=agent, **at, **look())
        original(*arguments)

    setattr(part, method, sampled)


def _memory() -> float:
    """MiB of this process; nan where the system does not say."""
    import psutil  # here, as a child that is about to start has no time for it

    try:
        found = psutil.Process().memory_full_info()
    except (psutil.Error, OSError):
        return math.nan
    return float(getattr(found, "pss", found.uss)) / MIB


def _load_of(card: torch.device) -> dict[str, float]:
    """MiB that are reserved, and per cent of the last moments in which it computed; nan where nobody can say."""
    try:
        use = float(torch.cuda.utilization(card))
    except Exception:  # of a driver too: looking must not end a run
        use = math.nan
    return {"memory": torch.cuda.memory_reserved(card) / MIB, "use": use}

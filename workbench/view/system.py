"""What the processes of a run take of the machine, as curves: cores and memory, and the card if they compute on one.

Every process looks at itself, in a few epochs of the run alone, and at its memory only every few seconds, since the
system takes three milliseconds of a core to add up the pages of a process.
"""

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
        _before(collector, "epoch", lambda at, _: (at, collector.in_use[0].updates), _writer(parts, "acting_load", 0))

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look before the updates of an epoch, once for all agents of a process."""
        if parts.job.role == "learner":
            _before_updates(trainer, _writer(parts, "learning_load", min(trainer.agents)))


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
        agent, card = min(trainer.agents), resolve_device(trainer.config.device)

        def write(point: dict[str, float]) -> None:
            """One sample."""
            reserved = torch.cuda.memory_reserved(card) / MIB
            parts.channel["card_load"].write(agent=agent, memory=reserved, use=_use_of(card), **point)

        if card.type == "cuda":
            _before_updates(trainer, write)


def _writer(parts: Parts, table: str, agent: int) -> Callable[[dict[str, float]], None]:
    """What writes a sample of this process, under an agent's number."""
    before = time.monotonic(), time.process_time()
    looked, memory = -math.inf, math.nan

    def write(point: dict[str, float]) -> None:
        """One sample."""
        nonlocal before, looked, memory
        (wall, core), before = before, (time.monotonic(), time.process_time())
        if before[0] - looked > MEMORY_AGE_S:
            looked, memory = before[0], _memory()
        cores = (before[1] - core) / (before[0] - wall)
        parts.channel[table].write(agent=agent, cores=cores, memory=memory, **point)

    return write


def _before_updates(trainer: Trainer, write: Callable[[dict[str, float]], None]) -> None:
    _before(trainer, "learn", lambda index, epoch, *_: (epoch, trainer.agents[min(trainer.agents)].updates), write)


def _before(
    part: Collector | Trainer, method: str, place: Callable[..., tuple[int, int]], write: Callable[..., None]
) -> None:
    """Have a sample written in some of the epochs, at equal distances, and once in each of those.

    Args:
        part: of a process.
        method: one is written before it works.
        place: epoch and update, as the arguments of the method say.
        write: writes a sample.
    """
    interval, last, original = math.ceil(part.config.epochs / SAMPLES), -1, getattr(part, method)

    def look(*arguments: Any) -> None:
        """Write one if it is due, and do the work."""
        nonlocal last
        epoch, update = place(*arguments)
        if (epoch + 1) % interval == 0 and epoch > last:
            last = epoch
            write({"time": time.time(), "epoch": epoch, "update": update, "number": epoch})
        original(*arguments)

    setattr(part, method, look)


def _memory() -> float:
    """MiB of this process; nan where the system does not say."""
    import psutil  # here, as a child that is about to start has no time for it

    try:
        found = psutil.Process().memory_full_info()
    except (psutil.Error, OSError):
        return math.nan
    return float(getattr(found, "pss", found.uss)) / MIB


def _use_of(card: torch.device) -> float:
    """Per cent of the last moments in which the card computed; nan where nobody can say."""
    try:
        return float(torch.cuda.utilization(card))
    except Exception:  # of a driver too: looking must not end a run
        return math.nan

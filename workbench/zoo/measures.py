"""What weighted samplers, the staleness gate and off-policy corrections do to a run, as curves over epochs."""

import functools
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.records import POINT, RecordTable
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.metrics import metrics_beside

_SHARES = (10, 50, 90)
_NUMBERED = RecordTable(np.dtype([*POINT.descr, ("number", "<i8")]), axis="epoch")


class DrawnRows(Hook):
    """Records once per call for updates: effective sample size, share of rows that are too old, updates skipped.

    And the two parts of the sync lag in time: how long weights wait for the actor, and how long rows for the learner.
    """

    tables: ClassVar = dict.fromkeys(("off_policy", "taken_over"), _NUMBERED)
    metrics: ClassVar = metrics_beside(__file__, tables)

    @staticmethod
    def wanted(config: Config) -> bool:
        """Whether there is something to measure."""
        return config.replay.sampler.weighted or config.replay.max_age > 0 or config.learning.correction != "none"

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look when versions are taken over."""

        def sync(original: Callable[..., None], epoch: int, version: int | None) -> None:
            """Take versions over, and record how long those waited that are new."""
            before = list(collector.in_use)
            original(epoch, version)
            now = time.time()
            for agent, (old, new) in enumerate(zip(before, collector.in_use, strict=True)):
                if new.version > max(old.version, 0):  # the initial weights wait for the start of the run
                    parts.channel["taken_over"].write(
                        time=now, agent=agent, epoch=epoch, update=new.updates, number=new.version,
                        in_flight=1000 * (now - new.time),
                    )  # fmt: skip

        collector.sync = functools.partial(sync, collector.sync)  # type: ignore[method-assign]

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look at the batch of every update, and write at the end of an epoch's updates."""
        sizes: dict[int, list[float]] = {index: [] for index in trainer.agents}

        def update(original: Callable[[float], Any], index: int, learning_rate: float) -> Any:
            weight = trainer.agents[index].batch.weight
            if weight is not None:
                sizes[index].append(float(weight.sum() ** 2 / np.square(weight).sum()))
            return original(learning_rate)

        def learn(original: Callable[..., None], index: int, epoch: int, num_updates: int, end: int | None) -> None:
            """Make the updates of an epoch, then record what was drawn for them."""
            agent, replay = trainer.agents[index], trainer.replays[index]
            before, drawable = agent.updates, replay.count if end is None else end
            # rows are committed a moment before the counters say so
            newest = min(drawable // replay.steps_per_epoch, trainer.progress.epochs_collected) - 1
            in_queue = 1000 * (time.monotonic() - trainer.progress.collected_at(newest))
            original(index, epoch, num_updates, end)
            found = getattr(agent, "ratios", None) if agent.updates > before else None  # skipped updates have none
            ratios = np.full(len(_SHARES), np.nan) if found is None else np.nanpercentile(found.cpu().numpy(), _SHARES)
            window, number = min(replay.window, drawable), trainer.progress.settled(index)
            parts.channel["off_policy"].write(
                time=time.time(), agent=index, epoch=epoch, update=agent.updates, number=number,
                effective=float(np.mean(sizes[index])) if sizes[index] else np.nan,
                dropped=1 - min(replay.fill(drawable), window) / max(window, 1), in_queue=in_queue,
                skipped=trainer.progress.skipped(index),
                **{f"ratio_{share}": float(ratio) for share, ratio in zip(_SHARES, ratios, strict=True)},
            )  # fmt: skip
            sizes[index].clear()

        for index, agent in trainer.agents.items():
            agent.update = functools.partial(update, agent.update, index)  # type: ignore[method-assign]
        trainer.learn = functools.partial(learn, trainer.learn)  # type: ignore[method-assign]

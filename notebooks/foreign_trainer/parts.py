"""What the processes share, made by the parent."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import parent_process
from typing import Any

import torch

from .buffer import SharedBuffer
from .config import Config
from .model import Model


class Parts:
    """Models, buffers, locks and counters, by agent.

    Args:
        config: the settings.
        models: what the caller has and wants to have trained.
        processes: the multiprocessing context that makes the locks; None for a training in one process.
    """

    def __init__(self, config: Config, models: list[Model], processes: Any = None) -> None:
        self.config = config
        self.shared_models = [copy.deepcopy(model).share_memory() for model in models]
        self.buffers = [SharedBuffer(config, config.defects.get(agent, ())) for agent in range(config.agents)]
        self.locks: list[AbstractContextManager[Any]] = [
            processes.Lock() if processes else nullcontext() for _ in models
        ]  # fmt: skip
        self.losses = torch.zeros(config.agents).share_memory_()
        self.updates = torch.zeros(config.agents, dtype=torch.int64).share_memory_()
        self.played = torch.zeros((), dtype=torch.int64).share_memory_()

    def due(self, agent: int, played: int) -> int:
        """How many updates an agent's learner owes after so many epochs."""
        updates = max(0, played - self.config.warmup_epochs) * self.config.updates_per_epoch
        return updates // 5 if self.config.has(agent, "starved_learner") else updates

    def has_learned(self, agent: int, played: int) -> bool:
        """Whether an agent's learner owes nothing for the first epochs."""
        return int(self.updates[agent]) >= self.due(agent, played)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, but not for a parent that is gone."""
    parent = parent_process()
    while not condition():
        if parent is not None and not parent.is_alive():
            raise SystemExit("the parent is gone")
        time.sleep(0.002)

"""Everything that the processes of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.processes.shared_memory import Block, machine_fence
from workbench.core.processes.worker import warm_start_layout, weight_store_layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Layout
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import Hook


@dataclass(frozen=True)
class Plan:
    """What a run is, before anything of it exists."""

    config: Config
    mode: str
    lag: int | None
    weights: NDArray[np.float32] | None
    """(agents, vector size) float32 to start from, or None."""
    hooks: tuple[Hook, ...]
    """What comes in from outside, in this order."""

    @cached_property
    def hook_layouts(self) -> dict[str, Layout]:
        """The blocks that hooks bring, by name."""
        return {name: layout for hook in self.hooks for name, layout in hook.layouts(self).items()}


class Shared:
    """The blocks of one run.

    Attributes:
        blocks: those that hooks brought, by name.
    """

    def __init__(self, plan: Plan, num_processes: int, create: Callable[[Layout], Block]) -> None:
        """Take the memory.

        Raises:
            MemoryError: there is not enough.
        """
        config, fence = plan.config, machine_fence()
        agents = range(config.num_agents)
        self.progress_block = create(Progress.layout(len(agents), num_processes))
        replay, store = Replay.layout(config), weight_store_layout(config, plan.lag)
        self.replay_blocks = [create(replay) for _ in agents]
        self.store_blocks = [create(store) for _ in agents]
        self.blocks = {name: create(layout) for name, layout in plan.hook_layouts.items()}
        self.weights_block = None
        if plan.weights is not None:
            self.weights_block = create(warm_start_layout(plan.weights))
            self.weights_block.open()["weights"][:] = plan.weights
        self.progress = Progress(self.progress_block.open(), fence)
        self.replays = [Replay(config, block.open(), fence) for block in self.replay_blocks]
        self.stores = [WeightStore(block.open(), fence) for block in self.store_blocks]

"""Everything that the processes of one run share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.processes.shared_memory import allocate, machine_fence
from workbench.core.processes.worker import warm_start_layout, weight_store_layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Layout
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import Hook, record_tables


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

    def __init__(self, plan: Plan, num_processes: int) -> None:
        """Take the memory.

        Raises:
            MemoryError: there is not enough.
        """
        config, fence = plan.config, machine_fence()
        agents = range(config.num_agents)
        found = allocate(layouts(plan, num_processes))
        self.progress_block, self.weights_block = found["progress"], found.get("weights")
        self.replay_blocks = [found[f"replay {index}"] for index in agents]
        self.store_blocks = [found[f"weight store {index}"] for index in agents]
        self.channel_blocks = [found[f"channel {index}"] for index in range(num_processes)]
        self.blocks = {name: found[name] for name in plan.hook_layouts}
        if self.weights_block is not None:
            self.weights_block.open()["weights"][:] = plan.weights
        self.progress = Progress(self.progress_block.open(), fence)
        self.replays = [
            Replay(config, spec, block.open(), fence)
            for spec, block in zip(config.spec.agents, self.replay_blocks, strict=True)
        ]
        self.stores = [WeightStore(block.open(), fence) for block in self.store_blocks]


def layouts(plan: Plan, num_processes: int) -> dict[str, Layout]:
    """What the processes of a run share, by name, in the order in which it lies in memory."""
    config, agents = plan.config, range(plan.config.num_agents)
    specs, store = config.spec.agents, weight_store_layout(config, plan.lag)
    rings = {spec: Replay.layout(config, spec) for spec in specs}  # one object for all that are alike
    channel = Channel.layout(record_tables(config, plan.hooks))
    return {
        "progress": Progress.layout(len(agents), num_processes),
        **{f"replay {index}": rings[spec] for index, spec in enumerate(specs)},
        **{f"weight store {index}": store for index in agents},
        **{f"channel {index}": channel for index in range(num_processes)},
        **({} if plan.weights is None else {"weights": warm_start_layout(plan.weights)}),
        **plan.hook_layouts,
    }

"""Everything that the processes of one run share."""

from dataclasses import dataclass
from functools import cached_property

from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.shared_memory import Block, allocate
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Layout
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import Hook, record_tables


@dataclass(frozen=True)
class Plan:
    """What a run is, before anything of it exists.

    Attributes:
        hooks: what comes in from outside, in this order.
    """

    config: Config
    mode: str
    lag: int | None
    hooks: tuple[Hook, ...]

    @cached_property
    def hook_layouts(self) -> dict[str, Layout]:
        """The blocks that hooks bring, by name."""
        return {name: layout for hook in self.hooks for name, layout in hook.layouts(self).items()}


class Shared:
    """What the processes of one run share, opened in one of them.

    Attributes:
        config, lag: those of the plan.
        blocks: all blocks of memory by name, those of :func:`layouts`.
        progress: the counters.
        replays, stores: of each agent; ``replay_blocks`` and ``store_blocks`` are where they lie.
    """

    def __init__(self, plan: Plan, blocks: dict[str, Block]) -> None:
        """Open the blocks, under the layouts that the plan asks for.

        Raises:
            LayoutMismatch: they were made for another configuration.
        """
        self.config, self.lag, self.blocks = plan.config, plan.lag, blocks
        opened = {name: blocks[name].open(layout) for name, layout in agent_layouts(plan).items()}
        agents = range(self.config.num_agents)
        self.replay_blocks = [blocks[f"replay {index}"] for index in agents]
        self.store_blocks = [blocks[f"weight store {index}"] for index in agents]
        self.progress = Progress(blocks["progress"].open())
        specs = enumerate(self.config.spec.agents)
        self.replays = [Replay(self.config, spec, opened[f"replay {index}"]) for index, spec in specs]
        self.stores = [WeightStore(opened[f"weight store {index}"]) for index in agents]


def allocate_shared(plan: Plan, num_processes: int) -> Shared:
    """Take the memory for a run.

    Raises:
        OSError: the system refuses it.
    """
    shared = Shared(plan, allocate(layouts(plan, num_processes)))
    for hook in plan.hooks:
        hook.on_shared(shared)
    return shared


def layouts(plan: Plan, num_processes: int) -> dict[str, Layout]:
    """What the processes of a run share, by name, in the order in which it lies in memory."""
    counters = {"progress": Progress.layout(plan.config.num_agents, num_processes)}
    channel = Channel.layout(record_tables(plan.config, plan.hooks))
    channels = {f"channel {index}": channel for index in range(num_processes)}
    return counters | agent_layouts(plan) | channels | plan.hook_layouts


def agent_layouts(plan: Plan) -> dict[str, Layout]:
    """The replays and the weight stores, by name; agents that are alike share one object."""
    config, specs = plan.config, plan.config.spec.agents
    rings = {spec: Replay.layout(config, spec) for spec in specs}
    stores = {spec: weight_store_layout(config, spec, plan.lag) for spec in specs}
    replays = {f"replay {index}": rings[spec] for index, spec in enumerate(specs)}
    return replays | {f"weight store {index}": stores[spec] for index, spec in enumerate(specs)}


def weight_store_layout(config: Config, spec: AgentSpec, lag: int | None) -> Layout:
    """The weight store of an agent with that spec: two slots for the newest version, ``lag`` more for older ones."""
    parameters = config.agent.layout(spec)
    return WeightStore.layout(2 * parameters.size, parameters.fingerprint, 2 + (lag or 0))

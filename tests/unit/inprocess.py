"""A whole run in this process, over ordinary memory: the reference that runs in child processes are compared with."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch

from workbench.core import registry
from workbench.core.processes.blocks import Plan, weight_store_layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import record_tables
from workbench.core.train.learners import Learner
from workbench.core.train.loop import Collector, Trainer, run_sequential
from workbench.runs.array_digest import array_digest
from workbench.runs.evaluation import Evaluation
from workbench.runs.history import History
from workbench.runs.loaded import padded, unpadded
from workbench.runs.metrics import Schema
from workbench.runs.rows import rows_of

CPU = torch.device("cpu")


class Memory:
    """Ordinary memory in place of a shared block."""

    def __init__(self, layout):
        self.bytes = np.zeros(layout.nbytes, np.uint8)
        self._arrays = layout.create(self.bytes)

    def open(self):
        return self._arrays


def build(config, lag, hooks=()):
    """Everything that a run is made of, with one collector and one trainer for all agents.

    :func:`take_over` lets the hooks have it.
    """
    agents = range(config.num_agents)
    progress = Progress(Progress.layout(len(agents), 1).allocate())
    specs = config.spec.agents
    replay_blocks = [Memory(Replay.layout(config, spec)) for spec in specs]
    store_blocks = [Memory(weight_store_layout(config, spec, lag)) for spec in specs]
    replays = [Replay(config, spec, block.open()) for spec, block in zip(specs, replay_blocks, strict=True)]
    stores = [WeightStore(block.open()) for block in store_blocks]
    arrays = Channel.layout(record_tables(config, hooks)).allocate()
    plan = Plan(config, "sequential", lag, hooks)
    blocks = {name: Memory(layout) for name, layout in plan.hook_layouts.items()}
    parts = SimpleNamespace(
        config=config, progress=progress, replays=replays, stores=stores, records=arrays,
        reader=Channel(arrays), blocks=blocks, hooks=hooks,
        replay_blocks=replay_blocks, store_blocks=store_blocks,
    )  # fmt: skip
    parts.channel = Channel(arrays)
    parts.collector, parts.trainer, parts.new = new_collector(parts), new_trainer(parts), {"collector", "trainer"}
    return parts


def new_collector(parts):
    """A collector over the memory of a run, as it is before it restores anything."""
    collector = Collector(parts.config, parts.replays, parts.stores, parts.progress, parts.channel)
    Evaluation().on_collector(collector, parts)
    return collector


def new_trainer(parts):
    """A trainer over the memory of a run, as it is before it restores anything."""
    indices = range(parts.config.num_agents)
    made = registry.registered("learner", parts.config.processes.learner[0]) or Learner
    learner = made(parts.config, indices, parts.replays, CPU)
    return Trainer(parts.config, learner, parts.stores, parts.progress, parts.channel)


def take_over(parts):
    """Let the hooks restore what was kept, on each side that is new, as where a child puts its parts together."""
    for side in ("collector", "trainer"):
        if side in parts.new:
            for hook in (hook for hook in parts.hooks if not isinstance(hook, Evaluation)):  # every run has it
                getattr(hook, f"on_{side}")(getattr(parts, side), parts)
            parts.new.discard(side)


@contextlib.contextmanager
def as_in_a_child(threads=1):
    """Torch as child processes set it up."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(config, lag, hooks=()):
    """The sequential baseline from start to end; the parts that it ran on."""
    with as_in_a_child(config.processes.threads):
        parts = build(config, lag, hooks)
        take_over(parts)
        parts.trainer.publish_initial()
        run_sequential(parts.collector, parts.trainer, lag, before_epoch=lambda: None)
        parts.collector.finish()
    return parts


def history(parts):
    """The records that have come since the last call."""
    records = History(Schema.of(record_tables(parts.config, parts.hooks)))
    for table, (found, lost) in parts.reader.drain().items():
        records.append(table, found, lost)
    return records


def weights(parts):
    """The newest snapshot of every agent: (agents, vector size) float32."""
    vectors = [np.empty(2 * parts.config.agent.layout(spec).size, np.float32) for spec in parts.config.spec.agents]
    for store, vector in zip(parts.stores, vectors, strict=True):
        store.read(vector)
    return padded(vectors)


def digests(parts):
    """The four digests of a run's result, from the same numbers."""
    chains = parts.progress.digests()
    return {
        "weights": array_digest(*unpadded(weights(parts), parts.config)),
        "replay": array_digest(*(field for replay in parts.replays for field in rows_of(replay).values())),
        "rewards": array_digest(chains["rewards"]),
        "losses": array_digest(chains["losses"]),
    }

"""A whole run in this process, over ordinary memory: the reference that runs in child processes are compared with."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch

from workbench.core.agents.iqn_agent import Agent
from workbench.core.digest import array_digest
from workbench.core.processes.worker import actor_state, agent_state, weight_store_layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.record_ring import Channel, ChannelReader
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.loop import Collector, Trainer, run_sequential
from workbench.runs.history import History
from workbench.runs.recovery.journal import Journal
from workbench.runs.recovery.state_keeper import NOTHING_KEPT, Recovery

CPU = torch.device("cpu")


def build(config, lag, journals=False):
    """Everything that a run is made of, with one collector and one trainer for all agents.

    With ``journals``, their states are kept, so that :func:`new_collector` and :func:`new_trainer` can take over.
    """
    agents = range(config.num_agents)
    progress = Progress(Progress.layout(len(agents), 1).allocate())
    replays = [Replay(config, Replay.layout(config).allocate()) for _ in agents]
    stores = [WeightStore(weight_store_layout(config, lag).allocate()) for _ in agents]
    arrays = Channel.layout().allocate()
    states = [actor_state(config), *(agent_state(config) for _ in agents)] if journals else []
    kept = [Recovery(Journal(Journal.layout("journal", state).allocate())) for state in states]
    parts = SimpleNamespace(
        config=config, progress=progress, replays=replays, stores=stores, records=arrays,
        reader=ChannelReader(arrays), kept=kept or [NOTHING_KEPT] * (1 + len(agents)),
    )  # fmt: skip
    parts.channel = Channel(arrays)
    parts.collector, parts.trainer = new_collector(parts), new_trainer(parts)
    return parts


def new_collector(parts):
    """A collector over the memory of a run, as it is before it restores anything."""
    return Collector(parts.config, parts.replays, parts.stores, parts.progress, parts.channel, parts.kept[0])


def new_trainer(parts):
    """A trainer over the memory of a run, as it is before it restores anything."""
    learners = [Agent(parts.config, index, CPU) for index in range(parts.config.num_agents)]
    return Trainer(parts.config, learners, parts.replays, parts.stores, parts.progress, parts.channel, parts.kept[1:])


@contextlib.contextmanager
def as_in_a_child(threads=1):
    """Torch as child processes set it up."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(config, lag):
    """The sequential baseline from start to end; the parts that it ran on."""
    with as_in_a_child(config.processes.threads):
        parts = build(config, lag)
        parts.trainer.publish_initial()
        run_sequential(parts.collector, parts.trainer, lag, before_epoch=lambda: None)
        parts.collector.finish()
    return parts


def history(parts):
    """The records that have come since the last call."""
    records = History()
    for table, (found, lost) in parts.reader.drain().items():
        records.append(table, found, lost)
    return records


def weights(parts):
    """The newest snapshot of every agent: (agents, vector size) float32."""
    vectors = [np.empty(agent.parameters.vector.numel(), np.float32) for agent in parts.trainer.agents.values()]
    for store, vector in zip(parts.stores, vectors, strict=True):
        store.read(vector)
    return np.stack(vectors)


def digests(parts):
    """The four digests of a run's result, from the same numbers."""
    chains = parts.progress.digests()
    return {
        "weights": array_digest(*weights(parts)),
        "replay": array_digest(*(field for replay in parts.replays for field in replay.contents().values())),
        "rewards": array_digest(chains["rewards"]),
        "losses": array_digest(chains["losses"]),
    }

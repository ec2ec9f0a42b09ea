"""A whole run in this process, over ordinary memory: the reference that runs in child processes are compared with."""

import contextlib
from types import SimpleNamespace

import numpy as np
import torch

from workbench.digest import array_digest
from workbench.exchange.mailbox import Mailbox
from workbench.exchange.progress import Progress
from workbench.exchange.replay import Replay
from workbench.learning.agent import Agent
from workbench.loop import Collector, Trainer, run_sequential
from workbench.processes.job import mailbox_layout
from workbench.record.channel import Channel, ChannelReader
from workbench.record.history import History
from workbench.world.treasurehunt import Treasurehunt

CPU = torch.device("cpu")


def build(config, lag, world=Treasurehunt):
    """Everything that a run is made of, with one collector and one trainer for all agents."""
    agents = range(config.world.num_agents)
    progress = Progress(Progress.layout(len(agents), 1).allocate())
    replays = [Replay(config, Replay.layout(config).allocate()) for _ in agents]
    mailboxes = [Mailbox(mailbox_layout(config, lag).allocate()) for _ in agents]
    arrays = Channel.layout().allocate()
    channel, reader = Channel(arrays), ChannelReader(arrays)
    learners = [Agent(config, index, CPU) for index in agents]
    return SimpleNamespace(
        config=config, progress=progress, replays=replays, mailboxes=mailboxes, channel=channel, reader=reader,
        collector=Collector(config, world, replays, mailboxes, progress, channel),
        trainer=Trainer(config, learners, replays, mailboxes, progress, channel),
    )  # fmt: skip


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
    for mailbox, vector in zip(parts.mailboxes, vectors, strict=True):
        mailbox.read(vector)
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

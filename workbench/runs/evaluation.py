"""Greedy evaluations: the weights in use, now and then and at the end, on worlds and streams that nothing else uses."""

import time

from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.seeding import stream
from workbench.core.shared.replay import Replay
from workbench.core.train.hooks import Evaluator, Hook
from workbench.core.train.loop import Collector, collect


class Evaluation(Hook):
    """Has the acting side evaluated as the configuration says. Recovery, which restores its streams, comes after it."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Add it to the acting side."""
        collector.evaluator = GreedyEvaluator(collector)


class GreedyEvaluator(Evaluator):
    """Plays greedy epochs side by side.

    Attributes:
        policies: those that play, one per agent.
        rng: the stream of the worlds.
    """

    def __init__(self, collector: Collector) -> None:
        self.collector, config = collector, collector.config
        device = resolve_device(config.processes.acting_device)
        *streams, self.rng = [stream(config.seed, "evaluation", index) for index in range(config.num_agents + 1)]
        policy = config.agent.policy_class
        self.policies = [policy(config, index, device, rng, rng, noise=False) for index, rng in enumerate(streams)]
        collector.streams += [*streams, self.rng]

    def after_epoch(self, epoch: int) -> None:
        """Evaluate every ``evaluation.interval`` epochs, unless that is done already."""
        evaluation = self.collector.settings().at(epoch).evaluation
        if evaluation.interval and (epoch + 1) % evaluation.interval == 0 and self.evaluated <= epoch:
            self.evaluate(epoch, evaluation.worlds, final=False)
            self.evaluated = epoch + 1
            self.collector.keeper.complete(epoch + 1)

    def after_run(self) -> None:
        """Evaluate the last weights."""
        self.evaluate(self.collector.config.epochs - 1, self.collector.config.evaluation.final_worlds, final=True)

    def evaluate(self, epoch: int, worlds: int, final: bool) -> None:
        """Play that many epochs, at most as many as the world lets be played side by side."""
        collector = self.collector
        task = evaluation_config(collector.config, min(worlds, collector.config.spec.max_copies))
        replays = [Replay(task, spec, Replay.layout(task, spec).allocate()) for spec in task.spec.agents]
        for policy, vector in zip(self.policies, collector.vectors, strict=True):
            policy.load(vector)
        versions = [snapshot.version for snapshot in collector.in_use]
        rewards = collect(
            task.world.make(self.rng), self.policies, replays, 0.0, versions,
            heartbeat=collector.heartbeat, each_turn=collector.watch(epoch, final),
        )  # fmt: skip
        for agent, (reward, snapshot) in enumerate(zip(rewards, collector.in_use, strict=True)):
            collector.channel["evaluations"].write(
                time=time.time(), agent=agent, epoch=epoch, version=snapshot.version, update=snapshot.updates,
                reward=reward, worlds=task.num_worlds, final=final,
            )  # fmt: skip


def evaluation_config(config: Config, worlds: int) -> Config:
    """The same task in ``worlds`` copies, with a ring that holds just one epoch; nothing is learnt from it."""
    rows = worlds * config.max_turns
    return config.replace(**{
        "world.num_worlds": worlds, "replay.capacity": rows, "replay.window": rows, "replay.learning_starts": rows,
        "learning.batch_size": 1, "learning.accumulate": 1,
    })  # fmt: skip

"""The algorithm, written once: collect an epoch, learn from it, and what surrounds the two in every mode.

``collect`` here and ``Learner.learn`` in ``learners.py`` are the whole of it. :class:`Collector` and :class:`Trainer`
put the snapshots and the records around them, one epoch at a time. The sequential baseline calls both in a loop;
the actor process calls the one, a learner process the other. Nothing here knows that processes exist.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents import schedules
from workbench.core.agents.base import UPDATE_METRICS, Chosen, Policy
from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.envs.base import Turn, World
from workbench.core.records import EventKind
from workbench.core.seeding import stream
from workbench.core.shared.counters import Progress
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import Snapshot, WeightStore
from workbench.core.train.hooks import Evaluator, Keeper, unchanged
from workbench.core.train.learners import Learner

# From the state of every agent, (W, F, *shape) each, and epsilon to what each agent's policy chooses.
ActTogether = Callable[[Sequence[NDArray[Any]], float], Sequence[Chosen]]


def collect(
    world: World, policies: Sequence[Policy], replays: Sequence[Replay], epsilon: float, versions: Sequence[int],
    before_commit: Callable[[NDArray[np.float64]], object] = lambda rewards: None,
    heartbeat: Callable[[], object] = lambda: None, each_turn: Callable[[Turn], object] = lambda turn: None,
    act_together: ActTogether | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Play one epoch and write it to the replays.

    Args:
        world: the world; it is reset first. See :mod:`workbench.core.envs.base` for the turns.
        policies: one per agent, holding the weights to act with.
        replays: one per agent, written here and read back for the stacks that the policies see.
        epsilon: probability of a random action.
        versions: version of each policy, for the rows.
        before_commit: called with the rewards when every row is written and none is shown to readers yet.
        heartbeat: called after every turn.
        each_turn: called with what each turn has brought.
        act_together: chooses for all agents from their states; by default each policy chooses when its turn comes.

    Returns:
        (agents,) float64: reward of each agent, summed over the turns, mean over the worlds.
    """
    turns, rewards = replays[0].turns, np.zeros(len(policies))
    world.reset()
    for replay in replays:
        replay.begin_epoch()

    def seen(agent: int, turn: int) -> NDArray[Any]:
        replays[agent].write_frame(turn, world.observe(agent))
        return replays[agent].newest_stack(turn)

    for turn in range(turns):
        world.begin_turn()
        chosen = act_together([seen(agent, turn) for agent in range(len(policies))], epsilon) if act_together else None
        for agent, (policy, replay) in enumerate(zip(policies, replays, strict=True)):
            choice = chosen[agent] if chosen else policy.act(seen(agent, turn), epsilon)
            world.act(agent, choice.action)
            replay.write_step(turn, choice.action, versions[agent], epsilon, choice.probability)
        outcome = world.end_turn()
        for replay, of_agent in zip(replays, zip(*outcome, strict=True), strict=True):
            replay.write_outcome(turn, *of_agent)
        rewards += outcome.rewards.mean(axis=1, dtype=np.float64)
        each_turn(outcome)
        heartbeat()
    for agent, replay in enumerate(replays):
        replay.write_frame(turns, world.observe(agent))
    before_commit(rewards)
    for replay in replays:
        replay.commit_epoch()
    return rewards


class Collector:
    """The acting side of a run: sync, collect, record."""

    def __init__(
        self, config: Config, replays: Sequence[Replay], stores: Sequence[WeightStore], progress: Progress,
        channel: Channel,
    ) -> None:  # fmt: skip
        """Take a replay and a weight store per agent.

        Attributes:
            settings: looks the settings up, at each epoch again.
            keeper: is told when an epoch is complete and when it is visible.
            evaluator: evaluates the weights in use between two epochs.
            heartbeat: called after every turn of the world, also of an evaluation.
            watch: asked once per epoch what to call with each of its turns, with the epoch and, of a greedy evaluation,
                whether it is the final one.
            streams: every random stream of this side but the world's own.
            in_use: of each agent, the snapshot that is acted with.
            act_together: chooses for all agents of a world in which they act at once; None leaves it to each policy.
        """
        self.settings, self.keeper, self.evaluator = unchanged(config), Keeper(), Evaluator()
        self.heartbeat: Callable[[], object] = lambda: None
        self.act_together: ActTogether | None = None
        self.watch: Callable[[int, bool | None], Callable[[Turn], object]] = lambda epoch, final: lambda turn: None
        self.config, self.replays, self.stores = config, list(replays), list(stores)
        self.progress, self.channel = progress, channel
        self._agents = range(config.num_agents)
        policy, device = config.agent.policy_class, resolve_device(config.processes.acting_device)
        self.world = config.world.make(stream(config.seed, "world"))
        exploration = [stream(config.seed, "exploration", i) for i in self._agents]
        quantiles = [stream(config.seed, "acting_quantiles", i) for i in self._agents]
        self.policies: list[Policy] = [policy(config, i, device, exploration[i], quantiles[i]) for i in self._agents]
        self.streams = [*exploration, *quantiles]
        self.vectors = [np.empty(policy.vector_size, np.float32) for policy in self.policies]
        self.in_use: list[Snapshot] = [Snapshot(-1, -1, np.nan, np.nan, 0) for _ in self._agents]

    def epoch(self, epoch: int, version: int | None) -> None:
        """One round: sync to a version (None: the newest, every ``sync_interval`` epochs), collect, record."""
        if version is not None or epoch % self.settings().at(epoch).pacing.sync_interval == 0:
            self.sync(epoch, version)
        epsilon = self.epsilon(epoch)
        versions = [snapshot.version for snapshot in self.in_use]

        def complete(rewards: NDArray[np.float64]) -> None:
            self._record_epoch(epoch, rewards, epsilon)
            self.progress.add_rewards(rewards)
            self.keeper.complete(epoch + 1)

        watch, together = self.watch(epoch, None), self.act_together
        collect(self.world, self.policies, self.replays, epsilon, versions, complete, self.heartbeat, watch, together)
        self.show(epoch + 1)

    def show(self, epochs: int) -> None:
        """Let readers see that many epochs, as far as they do not yet."""
        for replay in self.replays:
            if replay.count < epochs * replay.steps_per_epoch:
                replay.commit_epoch()
        self.keeper.visible(epochs)
        self.progress.report_collected(epochs)

    def epsilon(self, epoch: int) -> float:
        """Epsilon to act with: a function of the epoch alone, so it cannot be stale."""
        return schedules.epsilon(self.settings().at(epoch), epoch)

    def sync(self, epoch: int, version: int | None) -> None:
        """Take a version of every agent out of its weight store and act with it from now on."""
        for agent, (store, policy, vector) in enumerate(zip(self.stores, self.policies, self.vectors, strict=True)):
            before, wanted = self.in_use[agent], version
            if wanted is not None and self.progress.frozen(agent):
                wanted = min(wanted, store.newest)  # its learner is gone, and with it the versions to come
            if before.version != (store.newest if wanted is None else wanted):
                self.in_use[agent] = store.read(vector, wanted)
                policy.load(vector)
            now = self.in_use[agent]
            self.channel["events"].write(
                time=time.time(), kind=EventKind.SYNC, agent=agent, epoch=epoch, version_before=before.version,
                version=now.version, update=now.updates, epsilon=self.epsilon(epoch),
            )  # fmt: skip

    def finish(self) -> None:
        """Sync to the last weights, for the last evaluation."""
        self.sync(self.config.epochs, None)
        self.evaluator.after_run()

    def _record_epoch(self, epoch: int, rewards: NDArray[np.float64], epsilon: float) -> None:
        now, steps = time.time(), (epoch + 1) * self.config.steps_per_epoch
        for agent, (snapshot, store) in enumerate(zip(self.in_use, self.stores, strict=True)):
            newest, updates = store.peek(), self.progress.updates(agent)
            lag_ms = max(0.0, 1e3 * (newest.time - snapshot.time))  # below 0 only if the clock was set back between
            self.channel["epochs"].write(
                time=now, agent=agent, epoch=epoch, agent_steps=steps, reward=rewards[agent], epsilon=epsilon,
                policy_version=snapshot.version, policy_updates=snapshot.updates,
                sync_lag_versions=newest.version - snapshot.version, sync_lag_updates=updates - snapshot.updates,
                sync_lag_ms=lag_ms, replay_ratio=updates / steps,
            )  # fmt: skip


class Trainer:
    """The learning side of a run, for a group of agents: learn, record, publish."""

    def __init__(
        self, config: Config, learner: Learner, stores: Sequence[WeightStore], progress: Progress, channel: Channel
    ) -> None:
        """Take the learner of the group's agents, and the weight store of each, in the same order.

        Attributes:
            agents, replays, samplers: those of the learner, by index of the agent.
            settings: looks the settings up, at each epoch again.
            keepers: by agent, each is told when its updates are complete and when their weights are visible.
            heartbeat: called after every update.
            unpublished: by agent, updates since the last publication.
            learned: by agent, epochs whose updates are made.
            versions: by agent, the version that its weights are published as, or are about to be.
        """
        self.settings = unchanged(config)
        self.heartbeat: Callable[[], object] = lambda: None
        self.config, self.learner = config, learner
        self.agents, self.replays, self.samplers = learner.agents, learner.replays, learner.samplers
        self.stores = dict(zip(self.agents, stores, strict=True))
        self.progress, self.channel = progress, channel
        self.keepers = {index: Keeper() for index in self.agents}
        self.unpublished, self.learned = (dict.fromkeys(self.agents, 0) for _ in range(2))
        self.versions = {index: store.newest for index, store in self.stores.items()}

    def publish_initial(self) -> None:
        """Publish version 0, the initial weights, of every agent of the group that has not got further already."""
        for agent in self.agents:
            if self.stores[agent].newest < 0:
                self.publish(agent, epoch=0)

    def epoch(self, index: int, epoch: int) -> None:
        """Finite lag: the updates that follow an epoch, and one publication, whether or not there were updates."""

        def ask(other: int) -> None:
            if self.progress.epochs_learned(other) <= epoch:
                self.epoch(other, epoch)

        self.learner.ask = ask
        end = (epoch + 1) * self.config.steps_per_epoch
        if end >= self.config.replay.learning_starts:
            self.learn(index, epoch, self.settings().at(epoch).pacing.updates_per_epoch, end)
        self.learned[index] = epoch + 1
        self.publish(index, epoch + 1)
        self.progress.report_learned(index, epoch + 1)

    def updates(self, index: int, epoch: int, allowed: int) -> None:
        """Free-running: as many updates as are allowed, up to the next publication, from the newest rows.

        Args:
            index: of the agent.
            epoch: the newest one that is collected, or was a moment ago; its settings are known.
            allowed: updates at most.
        """
        interval = self.settings().at(epoch).pacing.publish_interval
        limit, made = self.progress.settled(index) + allowed, self.progress.settled
        self.learner.ask = lambda other: self.updates(other, epoch, limit - made(other))
        self.learn(index, epoch, max(0, min(allowed, interval - self.unpublished[index])), None)
        all_made = self.progress.settled(index) >= self.settings().total_updates
        if self.unpublished[index] >= interval or (all_made and self.unpublished[index]):
            self.publish(index, epoch + 1)

    def end(self, index: int) -> None:
        """Free-running: every update of an agent is made and published, and no change can ask for more."""
        self.learned[index] = self.config.epochs
        if self.unpublished[index]:
            self.publish(index, self.config.epochs)
        else:
            self.keepers[index].complete(self.config.epochs)
        self.progress.report_learned(index, self.config.epochs)

    def learn(self, index: int, epoch: int, num_updates: int, end: int | None) -> None:
        """Make and record updates of one agent, or skip them if there are fewer rows than a batch young enough."""
        agent, first, newest = self.agents[index], self.agents[index].updates, self.stores[index].newest
        settings = self.settings()  # once: a change must not come between an update and its record
        config, replay = settings.at(epoch), self.replays[index]
        if config.replay.max_age:
            replay.oldest_version = newest - config.replay.max_age
            if replay.usable(end) < config.learning.batch_size:
                self.progress.report_skipped(index, self.progress.skipped(index) + num_updates)
                return

        def rate(update: int) -> float:
            return schedules.learning_rate(config, settings.schedule_position(update, epoch))

        learned = self.learner.learn(index, num_updates, end, rate, self.heartbeat)
        names = (*UPDATE_METRICS, *(metric.field for metric in self.config.agent.metrics))
        for row, (version, target_updates, fill, finished) in enumerate(learned.updates):
            self.channel["updates"].write(
                time=finished, agent=index, epoch=epoch, update=first + row + 1, learning_rate=rate(first + row),
                target_updates=target_updates, sample_age=newest - version, replay_fill=fill,
                **dict(zip(names, learned.metrics[row], strict=True)),
            )  # fmt: skip
        self.unpublished[index] += num_updates
        self.progress.report_updates(index, agent.updates, learned.metrics[:, 0])

    def publish(self, index: int, epoch: int) -> None:
        """Put the weights of one agent, as they are now, into its weight store, as the next version."""
        self.unpublished[index] = 0
        self.versions[index] = self.stores[index].newest + 1
        self.keepers[index].complete(epoch)
        self.show(index, epoch)

    def show(self, index: int, epoch: int) -> None:
        """Let readers see the version of :attr:`versions`, if they do not yet."""
        agent, store = self.agents[index], self.stores[index]
        due = schedules.epsilon(self.settings().at(epoch), epoch)
        if store.newest < self.versions[index]:
            store.publish(agent.snapshot, agent.updates, due)
        snapshot = store.peek()
        self.channel["events"].write(
            time=snapshot.time, kind=EventKind.PUBLISH, agent=index, epoch=epoch, version_before=snapshot.version - 1,
            version=snapshot.version, update=snapshot.updates, epsilon=due,
        )  # fmt: skip
        self.keepers[index].visible(epoch)


def run_sequential(collector: Collector, trainer: Trainer, lag: int, before_epoch: Callable[[], object]) -> None:
    """Collect an epoch with the weights of ``lag`` epochs ago, then let every agent learn from it.

    ``before_epoch`` is called before every epoch, to wait or to end the run by raising. What is done is not done again.
    """
    progress = collector.progress
    for epoch in range(min(progress.epochs_learned(agent) for agent in trainer.agents), collector.config.epochs):
        before_epoch()
        if progress.epochs_collected <= epoch:
            collector.epoch(epoch, max(0, epoch - lag))
        collector.evaluator.after_epoch(epoch)
        for agent in trainer.agents:
            if progress.epochs_learned(agent) <= epoch:
                trainer.epoch(agent, epoch)

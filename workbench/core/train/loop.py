"""The algorithm, written once: collect an epoch, learn from it, and what surrounds the two in every mode.

``collect`` and ``learn`` are the whole of it. :class:`Collector` and :class:`Trainer` put the snapshots and the records
around them, one epoch at a time. The sequential baseline calls both in a loop (:func:`run_sequential`); the actor
process calls the one, a learner process the other. Nothing here knows that processes exist: waiting is done outside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.core.agents import schedules
from workbench.core.agents.iqn_agent import UPDATE_METRICS, Agent
from workbench.core.agents.policy import Policy
from workbench.core.agents.staging import resolve_device
from workbench.core.config import Config
from workbench.core.envs.treasurehunt import Treasurehunt
from workbench.core.records import EventKind
from workbench.core.seeding import rng_words, set_rng_words, stream
from workbench.core.shared.counters import Progress
from workbench.core.shared.record_ring import Channel
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import Snapshot, WeightStore, WeightStoreError
from workbench.runs.recovery.journal import State
from workbench.runs.recovery.state_keeper import NOTHING_KEPT, Recovery
from workbench.runs.settings_timeline import Course


def collect(
    world: Treasurehunt, policies: Sequence[Policy], replays: Sequence[Replay], epsilon: float, versions: Sequence[int],
    before_commit: Callable[[NDArray[np.float64]], None] | None = None, alive: Callable[[], object] = lambda: None,
) -> NDArray[np.float64]:  # fmt: skip
    """Play one epoch and write it to the replays.

    Args:
        world: the world; it is reset first.
        policies: one per agent, holding the weights to act with.
        replays: one per agent, written here and read back for the stacks that the policies see.
        epsilon: probability of a random action.
        versions: version of each policy, for the rows.
        before_commit: called with the rewards when every row is written and none is shown to readers yet.
        alive: called after every turn.

    Returns:
        (agents,) float64: reward of each agent, summed over the turns, mean over the worlds.
    """
    rewards = np.zeros(len(policies))
    world.reset()
    for replay in replays:
        replay.begin_epoch()
    for turn in range(world.config.max_turns):
        world.begin_turn()
        for agent, (policy, replay) in enumerate(zip(policies, replays, strict=True)):
            replay.write_frame(turn, world.observe(agent))
            choice = policy.act(replay.newest_stack(turn), epsilon)
            reward = world.act(agent, choice.action)
            replay.write_step(turn, choice.action, reward, None, versions[agent], epsilon, choice.probability)
            rewards[agent] += reward.mean(dtype=np.float64)
        alive()
    for agent, replay in enumerate(replays):
        replay.write_frame(world.config.max_turns, world.observe(agent))
    if before_commit is not None:
        before_commit(rewards)
    for replay in replays:
        replay.commit_epoch()
    return rewards


@dataclass(frozen=True)
class Learned:
    """What a number of updates of one agent looked like; U updates."""

    metrics: NDArray[np.float32]
    """(U, 5) float32: :data:`workbench.core.agents.iqn_agent.UPDATE_METRICS` of each update."""
    policy_version: NDArray[np.float64]
    """(U,) float64: mean version of the policies that chose the batch's actions."""
    target_updates: NDArray[np.int64]
    """(U,) int64: target updates of the agent after each update."""
    fill: NDArray[np.int64]
    """(U,) int64: rows that each update could draw from."""
    finished: NDArray[np.float64]
    """(U,) float64: when each update had been issued, in seconds since 1970."""


def learn(
    agent: Agent, replay: Replay, sampling: np.random.Generator, num_updates: int, end: int | None,
    learning_rate: Callable[[int], float], alive: Callable[[], object] = lambda: None,
) -> Learned:  # fmt: skip
    """Make a number of updates of one agent from its replay.

    Args:
        agent: networks and optimiser; changed in place.
        replay: the agent's rows.
        sampling: the agent's sampling stream.
        num_updates: updates to make.
        end: draw rows with a number below this; None for all that are committed at each draw.
        learning_rate: step size of the update with that index.
        alive: called after every update.
    """
    metrics, version, targets, fill, finished = [], [], [], [], []
    for _ in range(num_updates):
        batch = replay.sample(sampling, len(agent.batch.number), end, out=agent.batch)
        version.append(batch.policy_version.mean())
        fill.append(replay.fill(end))
        metrics.append(agent.update(learning_rate(agent.updates)))
        targets.append(agent.target_updates)
        finished.append(time.time())
        alive()
    stacked = torch.stack(metrics).cpu().numpy() if metrics else np.empty((0, 5), np.float32)
    return Learned(stacked, np.array(version), np.array(targets), np.array(fill), np.array(finished))


class Collector:
    """The acting side of a run: sync, collect, record; now and then evaluate greedily.

    Its state is kept between the last row of an epoch and the commit. Whoever takes its place goes on from the newest
    state that was kept, and first does what was to follow it: commit, leave a checkpoint, report. All of these may be
    done twice.
    """

    def __init__(
        self, config: Config, replays: Sequence[Replay], stores: Sequence[WeightStore],
        progress: Progress, channel: Channel, recovery: Recovery = NOTHING_KEPT,
    ) -> None:  # fmt: skip
        """Take a replay and a weight store per agent.

        Attributes:
            course: the settings of each epoch; whoever calls :meth:`epoch` may give a newer one before.
            alive: called after every turn of the world, also of an evaluation; does nothing unless it is replaced.
        """
        self.alive: Callable[[], object] = lambda: None
        self.course = Course(config)
        self.config, self.replays, self.stores = config, list(replays), list(stores)
        self.progress, self.channel, self.recovery = progress, channel, recovery
        self._agents = range(config.num_agents)
        device = resolve_device(config.processes.acting_device)
        seed = config.seed
        self.world = config.world.make(stream(seed, "world"))
        exploration = [stream(seed, "exploration", i) for i in self._agents]
        quantiles = [stream(seed, "acting_quantiles", i) for i in self._agents]
        self.policies = [Policy(config, device, *rngs) for rngs in zip(exploration, quantiles, strict=True)]
        self._evaluation_streams = [stream(seed, "evaluation", i) for i in range(config.num_agents + 1)]
        self._greedy = [Policy(config, device, rng, rng, noise=False) for rng in self._evaluation_streams[:-1]]
        self._evaluations: dict[int, tuple[Config, list[Replay]]] = {}  # what playing in that many worlds takes
        self._streams = [*exploration, *quantiles, *self._evaluation_streams]
        self.vectors = [np.empty(policy.vector_size, np.float32) for policy in self.policies]
        self.in_use: list[Snapshot] = [Snapshot(-1, -1, np.nan, np.nan, 0) for _ in self._agents]
        self.evaluated = 0  # epochs after which nothing is left to evaluate

    def epoch(self, epoch: int, version: int | None) -> None:
        """One round: sync to a version (None: the newest, every ``sync_interval`` epochs), collect, record."""
        if version is not None or epoch % self.course.at(epoch).pacing.sync_interval == 0:
            self.sync(epoch, version)
        epsilon = self.epsilon(epoch)
        versions = [snapshot.version for snapshot in self.in_use]

        def keep(rewards: NDArray[np.float64]) -> None:
            self._record_epoch(epoch, rewards, epsilon)
            self.progress.add_rewards(rewards)
            self.save(epoch + 1)

        collect(self.world, self.policies, self.replays, epsilon, versions, keep, self.alive)
        self._show(epoch + 1)

    def save(self, epochs: int) -> None:
        """Keep the state as it is after so many epochs."""
        self.recovery.keep(epochs, self.get_state)

    def _show(self, epochs: int) -> None:
        """What follows an epoch's last row, as far as it is not done yet."""
        for replay in self.replays:
            if replay.epochs_committed < epochs:
                replay.commit_epoch()
        interval = self.course.at(epochs - 1).checkpoint.interval
        if self.recovery.checkpoint_begins(epochs, interval, self.progress):
            self.leave_checkpoint(epochs)
        self.progress.report_collected(epochs, epochs * self.config.steps_per_epoch)

    def leave_checkpoint(self, epoch: int) -> None:
        """Copy state and replays after so many epochs. It comes before the report, so no learner has got there yet."""
        self.recovery.leave_checkpoint(epoch, self.get_state())
        self.progress.begin_checkpoint(epoch)

    def get_state(self) -> State:
        """Everything that the rest of the run depends on, apart from what lies in the replays and weight stores."""
        world = self.world.get_state()
        return {
            **{f"world_{name}": rng_words(self.world.rng) if name == "rng" else value for name, value in world.items()},
            "streams": np.stack([rng_words(rng) for rng in self._streams]),
            "versions": np.array([snapshot.version for snapshot in self.in_use]),
            "rewards": self.progress.chain_of_rewards(),
            "evaluated": self.evaluated,
        }

    def restore(self) -> None:
        """Take the place of a collector that is gone: go on from what it kept last, if it got to that."""
        state, epochs = self.recovery.recall()
        if state is None:  # it may have died between the rewards of the first epoch and the state behind them
            self.progress.restore_rewards(np.zeros_like(self.progress.chain_of_rewards()))
            return
        for rng, words in zip(self._streams, state["streams"], strict=True):
            set_rng_words(rng, words)
        set_rng_words(self.world.rng, state["world_rng"])
        world = {name: state[f"world_{name}"] for name in self.world.get_state()}
        self.world.set_state(world | {"rng": self.world.rng.bit_generator.state})
        self.progress.restore_rewards(state["rewards"])
        self.evaluated = int(state["evaluated"])
        for agent, version in enumerate(state["versions"]):
            if version >= 0:
                self._take_up(agent, int(version))
        self._show(epochs)

    def _take_up(self, agent: int, version: int) -> None:
        """Act with that version again; free-running learners may have overwritten it, then with the newest."""
        store, vector = self.stores[agent], self.vectors[agent]
        try:
            self.in_use[agent] = store.read(vector, version)
        except WeightStoreError:
            self.in_use[agent] = store.read(vector)
        self.policies[agent].load(vector)

    def epsilon(self, epoch: int) -> float:
        """Epsilon to act with: a function of the epoch alone, so it cannot be stale."""
        return schedules.epsilon(self.course.at(epoch), epoch)

    def sync(self, epoch: int, version: int | None) -> None:
        """Take a version of every agent out of its weight store and act with it from now on."""
        parts = zip(self.stores, self.policies, self.vectors, strict=True)
        for agent, (store, policy, vector) in enumerate(parts):
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

    def evaluate_if_due(self, epoch: int) -> None:
        """Evaluate every ``evaluation.interval`` epochs, unless that is done already."""
        interval = self.course.at(epoch).evaluation.interval
        if interval and (epoch + 1) % interval == 0 and self.evaluated <= epoch:
            self.evaluate(epoch, self.course.at(epoch).evaluation.worlds, final=False)
            self.evaluated = epoch + 1
            self.save(epoch + 1)

    def evaluate(self, epoch: int, worlds: int, final: bool) -> None:
        """Play greedy epochs side by side with the weights in use, on worlds and streams that nothing else uses."""
        if worlds not in self._evaluations:
            task = evaluation_config(self.config, worlds)
            self._evaluations[worlds] = task, [Replay(task, Replay.layout(task).allocate()) for _ in self._agents]
        task, replays = self._evaluations[worlds]
        for policy, vector in zip(self._greedy, self.vectors, strict=True):
            policy.load(vector)
        world = task.world.make(self._evaluation_streams[-1])
        versions = [snapshot.version for snapshot in self.in_use]
        rewards = collect(world, self._greedy, replays, 0.0, versions, alive=self.alive)
        for agent, (reward, snapshot) in enumerate(zip(rewards, self.in_use, strict=True)):
            self.channel["evaluations"].write(
                time=time.time(), agent=agent, epoch=epoch, version=snapshot.version, update=snapshot.updates,
                reward=reward, worlds=worlds, final=final,
            )  # fmt: skip

    def finish(self) -> None:
        """Sync to the last weights and evaluate them."""
        self.sync(self.config.epochs, None)
        self.evaluate(self.config.epochs - 1, self.config.evaluation.final_worlds, final=True)

    def _record_epoch(self, epoch: int, rewards: NDArray[np.float64], epsilon: float) -> None:
        now = time.time()
        steps = (epoch + 1) * self.config.steps_per_epoch
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
    """The learning side of a run, for a group of agents: learn, record, publish.

    An agent's state is kept right before each publication, so that it belongs to that version. Whoever takes a
    trainer's place goes on from there and publishes that version first, if that was not done.
    """

    def __init__(
        self, config: Config, agents: Sequence[Agent], replays: Sequence[Replay], stores: Sequence[WeightStore],
        progress: Progress, channel: Channel, recoveries: Sequence[Recovery] | None = None,
    ) -> None:  # fmt: skip
        """Take the group's agents, with the replay and the weight store of each, in the same order.

        Attributes:
            course: the settings of each epoch; whoever calls :meth:`epoch` or :meth:`updates` may give a newer one
                before.
            alive: called after every update; does nothing unless it is replaced.
        """
        self.alive: Callable[[], object] = lambda: None
        self.course = Course(config)
        self.config, self.agents = config, {agent.index: agent for agent in agents}
        self.replays = {agent.index: replay for agent, replay in zip(agents, replays, strict=True)}
        self.stores = {agent.index: store for agent, store in zip(agents, stores, strict=True)}
        self.sampling = {agent.index: stream(config.seed, "sampling", agent.index) for agent in agents}
        self.progress, self.channel = progress, channel
        kept = [NOTHING_KEPT for _ in agents] if recoveries is None else recoveries
        self.recoveries = {agent.index: recovery for agent, recovery in zip(agents, kept, strict=True)}
        self.unpublished = {agent.index: 0 for agent in agents}  # updates since the last publication
        self.learned = {agent.index: 0 for agent in agents}  # epochs whose updates are made

    def publish_initial(self) -> None:
        """Publish version 0, the initial weights, of every agent of the group that has not got further already."""
        for agent in self.agents:
            if self.stores[agent].newest < 0:
                self.publish(agent, epoch=0)

    def epoch(self, index: int, epoch: int) -> None:
        """Finite lag: the updates that follow an epoch, and one publication, whether or not there were updates."""
        end = (epoch + 1) * self.config.steps_per_epoch
        if end >= self.config.replay.learning_starts:
            self.learn(index, epoch, self.course.at(epoch).pacing.updates_per_epoch, end)
        self.learned[index] = epoch + 1
        self.publish(index, epoch + 1)
        self.progress.report_learned(index, epoch + 1)

    def updates(self, index: int, epoch: int, allowed: int) -> None:
        """Free-running: as many updates as are allowed, up to the next publication, from the newest rows.

        Args:
            index: of the agent.
            epoch: the newest one that is collected, or was a moment ago; :attr:`course` was looked up after it.
            allowed: updates at most.
        """
        interval = self.course.at(epoch).pacing.publish_interval
        self.learn(index, epoch, max(0, min(allowed, interval - self.unpublished[index])), None)
        all_made = self.agents[index].updates >= self.course.total_updates
        if self.unpublished[index] >= interval or (all_made and self.unpublished[index]):
            self.publish(index, epoch + 1)

    def end(self, index: int) -> None:
        """Free-running: every update of an agent is made and published, and no change can ask for more."""
        self.learned[index] = self.config.epochs
        if self.unpublished[index]:
            self.publish(index, self.config.epochs)
        else:
            self.save(index, self.config.epochs, self.stores[index].newest)
        self.progress.report_learned(index, self.config.epochs)

    def learn(self, index: int, epoch: int, num_updates: int, end: int | None) -> None:
        """Make and record updates of one agent."""
        agent, first, newest = self.agents[index], self.agents[index].updates, self.stores[index].newest
        course, config = self.course, self.course.at(epoch)

        def rate(update: int) -> float:
            return schedules.learning_rate(config, course.schedule_position(update, epoch))

        learned = learn(agent, self.replays[index], self.sampling[index], num_updates, end, rate, self.alive)
        for row, metrics in enumerate(learned.metrics):
            self.channel["updates"].write(
                time=learned.finished[row], agent=index, epoch=epoch, update=first + row + 1,
                learning_rate=rate(first + row), target_updates=learned.target_updates[row],
                sample_age=newest - learned.policy_version[row], replay_fill=learned.fill[row],
                **dict(zip(UPDATE_METRICS, metrics, strict=True)),
            )  # fmt: skip
        self.unpublished[index] += num_updates
        self.progress.report_updates(index, agent.updates, learned.metrics[:, 0])

    def publish(self, index: int, epoch: int) -> None:
        """Keep the state of one agent, then put its weights, as they are now, into its weight store."""
        self.unpublished[index] = 0
        version = self.stores[index].newest + 1
        self.save(index, epoch, version)
        self._show(index, epoch, version)

    def save(self, index: int, epoch: int, version: int) -> None:
        """Keep the state of an agent as it is when that version is published."""
        self.recoveries[index].keep(epoch, lambda: self.get_state(index, version))

    def _show(self, index: int, epoch: int, version: int) -> None:
        """What follows a kept state, as far as it is not done yet."""
        agent, store = self.agents[index], self.stores[index]
        due = schedules.epsilon(self.course.at(epoch), epoch)
        if store.newest < version:
            store.publish(agent.snapshot, agent.updates, due)
        snapshot = store.peek()
        self.channel["events"].write(
            time=snapshot.time, kind=EventKind.PUBLISH, agent=index, epoch=epoch, version_before=snapshot.version - 1,
            version=snapshot.version, update=snapshot.updates, epsilon=due,
        )  # fmt: skip
        if self.recoveries[index].checkpoint_is_due(epoch, self.progress):
            self.leave_checkpoint(index, self.progress.checkpoint_due, version)

    def leave_checkpoint(self, index: int, epoch: int, version: int) -> None:
        """Copy an agent's state and weight store for the checkpoint of that epoch."""
        self.recoveries[index].leave_checkpoint(epoch, self.get_state(index, version))

    def get_state(self, index: int, version: int) -> State:
        """Everything that the rest of an agent's learning depends on, apart from its replay and its weight store."""
        return {
            **self.agents[index].get_state(copy=False),
            "sampling": rng_words(self.sampling[index]),
            "losses": self.progress.chain_of_losses(index),
            "version": version,
            "learned": self.learned[index],
        }

    def restore(self) -> None:
        """Take the place of a trainer that is gone: each agent goes on from what was kept of it last, if anything."""
        for index, agent in self.agents.items():
            state, epoch = self.recoveries[index].recall()
            if state is None:
                continue
            agent.set_state(state)
            set_rng_words(self.sampling[index], state["sampling"])
            self.progress.restore_updates(index, agent.updates, state["losses"])
            self.learned[index] = int(state["learned"])
            self._show(index, epoch, int(state["version"]))
            self.progress.report_learned(index, self.learned[index])


def run_sequential(collector: Collector, trainer: Trainer, lag: int, before_epoch: Callable[[], object]) -> None:
    """The baseline: collect an epoch with the weights of ``lag`` epochs ago, then let every agent learn from it.

    ``before_epoch`` is called before every epoch; it may wait, or raise to end the run. What is done already, by a
    process whose place this one takes, is not done again.
    """
    progress = collector.progress
    for epoch in range(min(progress.epochs_learned(agent) for agent in trainer.agents), collector.config.epochs):
        before_epoch()
        if progress.epochs_collected <= epoch:
            collector.epoch(epoch, max(0, epoch - lag))
        collector.evaluate_if_due(epoch)
        for agent in trainer.agents:
            if progress.epochs_learned(agent) <= epoch:
                trainer.epoch(agent, epoch)


def evaluation_config(config: Config, worlds: int) -> Config:
    """The same task in ``worlds`` copies, with a ring that holds just one epoch; nothing is learnt from it."""
    rows = worlds * config.max_turns
    return config.replace(**{
        "world.num_worlds": worlds, "replay.capacity": rows, "replay.window": rows, "replay.learning_starts": rows,
        "learning.batch_size": 1, "learning.accumulate": 1,
    })  # fmt: skip

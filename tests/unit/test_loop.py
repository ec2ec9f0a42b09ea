"""The algorithm in one process: it records what it did, repeats itself to the bit, and learns."""

from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests import batches
from tests.soundness import check_replay
from tests.unit import inprocess
from workbench.core.agents import schedules
from workbench.core.config import Config, ConfigError
from workbench.core.envs.base import Turn
from workbench.core.records import EventKind
from workbench.core.shared.replay import Replay
from workbench.core.shared.sampling import UniformSampler
from workbench.core.shared.weight_store import WeightStoreError
from workbench.core.train.learners import Learner
from workbench.core.train.loop import collect
from workbench.runs.evaluation import evaluation_config
from workbench.runs.reference_policies import reference_rewards
from workbench.runs.rows import rows_of

SMALL = wb.preset("tiny").replace(**{"epochs": 8, "evaluation.interval": 0, "evaluation.final_worlds": 2})
FIVE_EPOCHS = SMALL.replace(epochs=5)


@pytest.fixture(autouse=True)
def one_thread():
    with inprocess.as_in_a_child():
        yield


# Collecting


class ScriptedWorld:
    """Shows and pays numbers that tell turn, agent and world, and writes down what is done to it."""

    def __init__(self, config):
        self.config, self.calls, self.turn = config, [], 0

    def reset(self):
        self.calls.append("reset")

    def begin_turn(self):
        self.calls.append("turn")
        self.turn += 1

    def observe(self, agent):
        self.calls.append(("observe", agent))
        size = (2 * self.config.vision_radius + 1) ** 2
        return np.full((self.config.num_worlds, size), 10 * self.turn + agent, np.uint8)

    def act(self, agent, actions):
        self.calls.append(("act", agent))

    def end_turn(self):
        self.calls.append("end")
        paid = 100 * self.turn + 10 * np.arange(2)[:, None] + np.arange(self.config.num_worlds)
        never = np.zeros(paid.shape, np.bool_)
        return Turn(paid.astype(np.float32), never, never, ~never)


class ScriptedPolicy:
    """Takes one action everywhere and keeps what it saw."""

    def __init__(self, action):
        self.action, self.seen = action, []

    def act(self, stack, epsilon):
        self.seen.append((stack.copy(), epsilon))
        worlds = len(stack)
        return SimpleNamespace(
            action=np.full(worlds, self.action), probability=np.full(worlds, 0.25 + self.action, np.float32)
        )


def test_an_epoch_is_played_in_turns_and_written_agent_by_agent():
    config = SMALL.replace(
        world={"num_agents": 2, "max_turns": 3, "num_worlds": 2},
        agent={"num_frames": 2},
        learning={"n_step": 1, "batch_size": 1},
        replay={"capacity": 12, "window": 6, "learning_starts": 6},
    )
    world, policies = ScriptedWorld(config.world), [ScriptedPolicy(1), ScriptedPolicy(3)]
    arrays = [Replay.layout(config, config.spec.agents[0]).allocate() for _ in range(2)]
    replays = [Replay(config, config.spec.agents[0], block) for block in arrays]
    rewards = collect(world, policies, replays, 0.5, versions=[7, 8])

    one_turn = ["turn", ("observe", 0), ("act", 0), ("observe", 1), ("act", 1), "end"]
    assert world.calls == ["reset", *one_turn * 3, ("observe", 0), ("observe", 1)]
    np.testing.assert_allclose(rewards, [600 + 3 * 0.5, 600 + 30 + 3 * 0.5])  # sum over turns, mean over worlds
    for agent, replay in enumerate(replays):
        assert replay.count == 6 and check_replay(replay) == (True, "")
        rows = rows_of(replay)
        turns, worlds = np.repeat([1, 2, 3], 2), np.tile([0, 1], 3)
        np.testing.assert_array_equal(rows["frame"][:, 0], 10 * turns + agent)
        np.testing.assert_array_equal(rows["next_frame"][:, 0], 10 * np.minimum(turns + 1, 3) + agent)
        np.testing.assert_array_equal(rows["reward"], 100 * turns + 10 * agent + worlds)
        np.testing.assert_array_equal(rows["action"], [1, 3][agent])
        np.testing.assert_array_equal(rows["policy_version"], [7, 8][agent])
        np.testing.assert_array_equal(rows["probability"], [1.25, 3.25][agent])
        np.testing.assert_array_equal(rows["epsilon"], 0.5)
        np.testing.assert_array_equal(rows["discount_t"], np.float32(config.learning.gamma))  # the end is a truncation
    stacks = [stack[:, :, 0] for stack, _ in policies[1].seen]
    np.testing.assert_array_equal(stacks, [[[0, 11]] * 2, [[11, 21]] * 2, [[21, 31]] * 2])
    assert {epsilon for _, epsilon in policies[1].seen} == {0.5}

    # together: all see before any acts, and the rows are the same
    def act_together(states, epsilon):
        return [policy.act(state, epsilon) for policy, state in zip(policies, states, strict=True)]

    world = ScriptedWorld(config.world)
    spec = config.spec.agents[0]
    again = [Replay(config, spec, Replay.layout(config, spec).allocate()) for _ in range(2)]
    collect(world, policies, again, 0.5, versions=[7, 8], act_together=act_together)
    one_turn = ["turn", ("observe", 0), ("observe", 1), ("act", 0), ("act", 1), "end"]
    assert world.calls == ["reset", *one_turn * 3, ("observe", 0), ("observe", 1)]
    for replay, before in zip(again, replays, strict=True):
        for name, rows in rows_of(replay).items():
            np.testing.assert_array_equal(rows, rows_of(before)[name])


# Learning


class RecordingAgent:
    """Keeps the batches and step sizes that it was given."""

    def __init__(self, config):
        self.batch = batches.zeros(config.learning.batch_size, config.agent.num_frames, config.spec.agents[0])
        self.updates, self.target_updates, self.given = 0, 0, []

    def update(self, learning_rate):
        import torch

        self.given.append((self.batch.number.copy(), learning_rate))
        self.updates += 1
        self.target_updates = self.updates // 2
        return torch.arange(5, dtype=torch.float32) + 10 * self.updates


def learner_of(agent, replay):
    learner = Learner(FIVE_EPOCHS, (), (), inprocess.CPU)
    learner.agents, learner.replays = {0: agent}, {0: replay}
    learner.samplers = {0: UniformSampler(np.random.default_rng(3))}
    return learner


def test_updates_draw_below_the_end_and_say_what_they_drew():
    parts = inprocess.run(FIVE_EPOCHS, 1)
    replay, agent = parts.replays[0], RecordingAgent(FIVE_EPOCHS)
    learned = learner_of(agent, replay).learn(0, 4, 60, lambda update: 0.1 * update)
    expected = np.random.default_rng(3)
    for update, (numbers, rate) in enumerate(agent.given):
        np.testing.assert_array_equal(numbers, expected.integers(0, 60, FIVE_EPOCHS.learning.batch_size))
        assert rate == pytest.approx(0.1 * update)
    np.testing.assert_array_equal(learned.metrics, np.arange(5) + 10 * np.arange(1, 5)[:, None])
    versions = rows_of(replay)["policy_version"]
    drawn_from = [versions[numbers].mean() for numbers, _ in agent.given]
    assert [update[:3] for update in learned.updates] == [
        (pytest.approx(version), targets, 60) for version, targets in zip(drawn_from, [0, 1, 1, 2], strict=True)
    ]


def test_no_updates_are_no_trouble():
    parts = inprocess.run(FIVE_EPOCHS, 1)
    learned = learner_of(RecordingAgent(FIVE_EPOCHS), parts.replays[0]).learn(0, 0, 60, lambda update: 0.1)
    assert all(len(field) == 0 for field in learned)


# The record


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_epochs_are_played_with_the_weights_of_lag_epochs_ago_and_the_record_says_so(lag):
    parts = inprocess.run(SMALL, lag)
    records, agents = inprocess.history(parts), SMALL.num_agents
    assert records.lost == dict.fromkeys(records.lost, 0)
    due = [0]
    for epoch in range(SMALL.epochs):
        enough = (epoch + 1) * SMALL.steps_per_epoch >= SMALL.replay.learning_starts
        due.append(due[-1] + enough * SMALL.pacing.updates_per_epoch)
    assert [epoch for epoch, more in enumerate(np.diff(due)) if not more] == [
        0
    ]  # the first epoch is too short to learn
    assert len(records.epochs) == SMALL.epochs * agents
    for row in records.epochs:
        epoch, version = row["epoch"], max(0, row["epoch"] - lag)
        assert row["policy_version"] == version and row["policy_updates"] == due[version]
        assert row["sync_lag_versions"] == epoch - version
        assert row["sync_lag_updates"] == due[epoch] - due[version]
        assert row["sync_lag_ms"] > 0 if epoch > version else row["sync_lag_ms"] == 0
        assert row["agent_steps"] == (epoch + 1) * SMALL.steps_per_epoch
        assert row["epsilon"] == np.float32(schedules.epsilon(SMALL, epoch))
        assert row["replay_ratio"] == np.float32(due[epoch] / row["agent_steps"])
    for replay in parts.replays:
        rows = rows_of(replay)
        np.testing.assert_array_equal(
            rows["policy_version"], np.maximum(0, rows["number"] // SMALL.steps_per_epoch - lag)
        )


def test_every_update_is_recorded_with_its_number_rate_and_window():
    parts = inprocess.run(SMALL, 1)
    records = inprocess.history(parts)
    assert all(agent.updates == SMALL.total_updates for agent in parts.trainer.agents.values())
    steps, per_epoch = SMALL.steps_per_epoch, SMALL.pacing.updates_per_epoch
    for agent in range(SMALL.num_agents):
        rows = records.updates[records.updates["agent"] == agent]
        np.testing.assert_array_equal(rows["update"], np.arange(1, SMALL.total_updates + 1))
        np.testing.assert_array_equal(rows["epoch"], 1 + np.arange(SMALL.total_updates) // per_epoch)
        np.testing.assert_array_equal(rows["replay_fill"], np.minimum((rows["epoch"] + 1) * steps, SMALL.replay.window))
        rates = [schedules.learning_rate(SMALL, update) for update in range(SMALL.total_updates)]
        np.testing.assert_allclose(rows["learning_rate"], rates, rtol=1e-6)
        assert np.isfinite(rows["loss"]).all() and (rows["sample_age"] >= 0).all()
        assert (np.diff(rows["time"]) >= 0).all()


def test_every_publication_and_every_sync_is_an_event():
    records = inprocess.history(inprocess.run(SMALL, 1))
    for agent in range(SMALL.num_agents):
        events = records.events[records.events["agent"] == agent]
        published = events[events["kind"] == EventKind.PUBLISH]
        np.testing.assert_array_equal(published["version"], np.arange(SMALL.epochs + 1))
        np.testing.assert_array_equal(published["version_before"], np.arange(-1, SMALL.epochs))
        assert published["update"][-1] == SMALL.total_updates
        synced = events[events["kind"] == EventKind.SYNC]
        taken = synced[synced["version"] != synced["version_before"]]
        np.testing.assert_array_equal(taken["version"], [*range(SMALL.epochs - 1), SMALL.epochs])
        np.testing.assert_array_equal(taken["epoch"], [0, *range(2, SMALL.epochs + 1)])


def test_a_version_that_is_not_there_is_never_acted_with():
    parts = inprocess.build(SMALL, 1)
    with pytest.raises(WeightStoreError, match="not published yet"):
        parts.collector.epoch(0, 0)
    parts.trainer.publish_initial()
    with pytest.raises(WeightStoreError, match="not published yet"):
        parts.collector.epoch(0, 1)


# Running free


def test_running_free_publishes_every_few_updates_and_at_the_end():
    config = SMALL.replace(**{"pacing.publish_interval": 5})
    parts = inprocess.build(config, None)
    trainer = parts.trainer
    trainer.publish_initial()
    for epoch in range(config.epochs):
        parts.collector.epoch(epoch, None)
    allowances = cycle([1, 2, 1, 9])
    while (done := trainer.agents[0].updates) < config.total_updates:
        assert parts.progress.epochs_learned(0) == 0
        allowed = min(next(allowances), config.total_updates - done)
        trainer.updates(0, config.epochs - 1, allowed)
        assert 0 < trainer.agents[0].updates - done <= allowed
    trainer.end(0)
    assert parts.progress.epochs_learned(0) == config.epochs
    events = inprocess.history(parts).events
    published = events[(events["kind"] == EventKind.PUBLISH) & (events["agent"] == 0)]
    np.testing.assert_array_equal(published["update"], [*range(0, config.total_updates, 5), config.total_updates])


def test_running_free_syncs_to_the_newest_every_few_epochs():
    config = SMALL.replace(**{"pacing.sync_interval": 3})
    parts = inprocess.build(config, None)
    parts.trainer.publish_initial()
    used = []
    for epoch in range(7):
        parts.collector.epoch(epoch, None)
        used.append(parts.collector.in_use[0].version)
        parts.trainer.publish(0, epoch + 1)
    assert used == [0, 0, 0, 3, 3, 3, 6]


# The same bits


@pytest.mark.parametrize("lag", [0, 3])
def test_a_run_repeats_itself_to_the_last_bit(lag):
    assert inprocess.digests(inprocess.run(FIVE_EPOCHS, lag)) == inprocess.digests(inprocess.run(FIVE_EPOCHS, lag))


def test_another_seed_or_another_lag_changes_every_digest():
    base = inprocess.digests(inprocess.run(SMALL, 1))
    for other in (inprocess.run(SMALL.replace(seed=1), 1), inprocess.run(SMALL, 0), inprocess.run(SMALL, 2)):
        changed = inprocess.digests(other)
        assert all(changed[name] != base[name] for name in base)


def test_a_run_with_a_lag_of_its_whole_length_acts_with_the_initial_weights_throughout():
    long = SMALL.replace(**{"replay.capacity": 1000})
    rows = rows_of(inprocess.run(long, 20).replays[0])
    assert not rows["policy_version"].any()


@pytest.mark.parametrize("noisy", [False, True])
def test_evaluation_changes_nothing_in_the_run(noisy):
    config = FIVE_EPOCHS.replace(**{"agent.noisy": noisy, "evaluation.worlds": 3})
    found = []
    for interval in (0, 1, 3):
        parts = inprocess.run(config.replace(**{"evaluation.interval": interval}), 1)
        found.append(inprocess.digests(parts))
        evaluations = inprocess.history(parts).evaluations
        epochs = [epoch for epoch in range(5) if interval and (epoch + 1) % interval == 0]
        np.testing.assert_array_equal(evaluations["epoch"], np.repeat([*epochs, 4], 2))
        np.testing.assert_array_equal(evaluations["final"], np.repeat([0] * len(epochs) + [1], 2))
        np.testing.assert_array_equal(evaluations["version"], np.repeat([*(max(0, e - 1) for e in epochs), 5], 2))
        np.testing.assert_array_equal(evaluations["worlds"], np.repeat([3] * len(epochs) + [2], 2))
    assert found[0] == found[1] == found[2]


def test_epsilon_has_no_part_in_an_evaluation():
    """Two runs that act differently and never learn have the same greedy reward."""
    still = FIVE_EPOCHS.replace(learning={"learning_rate": 1e-30, "learning_rate_schedule": "constant"})
    explored = [
        inprocess.history(inprocess.run(still.replace(exploration={"epsilon_start": e, "epsilon_end": e}), 1))
        for e in (0.0, 1.0)
    ]
    np.testing.assert_array_equal(explored[0].evaluations["reward"], explored[1].evaluations["reward"])
    assert not np.array_equal(explored[0].epochs["reward"], explored[1].epochs["reward"])


@settings(max_examples=50)
@given(
    turns=st.integers(1, 40), worlds=st.integers(1, 20), batch=st.integers(1, 300), epochs=st.integers(1, 30),
    copies=st.sampled_from([1, 2, 16, 1000]), accumulate=st.integers(1, 3),
)  # fmt: skip
def test_every_configuration_can_be_evaluated(turns, worlds, batch, epochs, copies, accumulate):
    try:
        config = Config().replace(
            epochs=epochs, world={"max_turns": turns, "num_worlds": worlds},
            replay={"learning_starts": batch, "window": 2000}, learning={"batch_size": batch, "accumulate": accumulate},
        )  # fmt: skip
    except ConfigError:
        return
    task = evaluation_config(config, copies)
    assert task.num_worlds == copies and task.replay.capacity == copies * turns
    assert task.agent == config.agent and task.max_turns == turns


# It learns


def test_a_tiny_task_is_learnt():
    """One agent on nine cells, 1200 updates: from walking into walls to more than half-way from chance to a script."""
    config = SMALL.replace(
        epochs=60,
        world={"height": 5, "width": 5, "num_agents": 1, "spawn_prob": 0.05, "num_worlds": 8},
        agent={"num_frames": 1},
        replay={"capacity": 9600, "window": 9000, "learning_starts": 320},
        learning={"batch_size": 64, "learning_rate": 2e-3, "tau": 0.02, "gamma": 0.8, "reward_scale": 0.1},
        exploration={"decay_epochs": 30},
        pacing={"updates_per_epoch": 20},
        evaluation={"final_worlds": 64},
    )
    references = reference_rewards(config.world, 400, seed=0)
    chance, script = references["random_no_wall"]["mean"], references["scripted"]["mean"]
    untrained = inprocess.build(config, 1)
    untrained.trainer.publish_initial()
    untrained.collector.sync(0, 0)
    untrained.collector.evaluator.evaluate(0, 64, final=False)
    before = inprocess.history(untrained).evaluations["reward"].sum()
    after = inprocess.history(inprocess.run(config, 1)).evaluations["reward"].sum()
    assert before < chance < (chance + script) / 2 < after

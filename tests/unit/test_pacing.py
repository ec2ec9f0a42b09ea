"""Nobody starts too early, nobody waits for ever, and both sides keep their bounds, in whatever order things happen.

The real roles (actor, learner), the real trainer and weight stores run here in threads of which one moves at a time.
Their wakeups are stand-ins that know whether they were notified, so a notification that is missing shows as a deadlock.
"""

import math
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.interleaving import Interleaving
from workbench.core.config import Config, ConfigError
from workbench.core.processes import roles
from workbench.core.processes.wakeup import Stopped
from workbench.core.shared import layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.hooks import Evaluator
from workbench.core.train.learners import Learner
from workbench.core.train.loop import Trainer
from workbench.core.train.pacing import Pacing
from workbench.runs.launch_rules import check_launch
from workbench.runs.live_settings import Changes


@st.composite
def configs(draw):
    steps, agents = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    starts = draw(st.integers(1, 3 * steps))
    window = draw(st.integers(starts, 3 * steps + starts))
    return Config().replace(
        epochs=draw(st.integers(-(-starts // steps), 7)),
        world={"num_agents": agents, "max_turns": steps},
        replay={"window": window, "capacity": window + 20 * steps, "learning_starts": starts},
        learning={"batch_size": 1},
        pacing={
            "updates_per_epoch": draw(st.integers(1, 4)),
            "publish_interval": draw(st.integers(1, 5)),
            "max_ahead": draw(st.floats(0, 3)),
            "max_behind": draw(st.floats(1, 3)),
        },
        processes={"learners": draw(st.integers(1, agents))},
    )


def updates_due(config, epochs_collected):
    """Updates of an agent that belong to a number of epochs, counted out."""
    steps = config.max_turns * config.num_worlds
    learnt_from = [epoch for epoch in range(epochs_collected) if (epoch + 1) * steps >= config.replay.learning_starts]
    return len(learnt_from) * config.pacing.updates_per_epoch


# Arithmetic


@given(
    config=configs(),
    lag=st.integers(0, 5),
    learned=st.lists(st.integers(0, 7), min_size=3, max_size=3),
    epoch=st.integers(0, 7),
)
def test_at_a_finite_lag_the_actor_waits_for_every_agents_version(config, lag, learned, epoch):
    progress = Progress(Progress.layout(config.num_agents, 1).allocate())
    for agent in range(config.num_agents):
        progress.report_learned(agent, learned[agent])
    pacing = Pacing(config, lag, progress)
    version = pacing.version_for(epoch)
    assert version == (epoch - lag if epoch > lag else 0)
    assert pacing.may_collect(epoch) == all(count >= version for count in learned[: config.num_agents])
    assert pacing.all_learned() == all(count >= config.epochs for count in learned[: config.num_agents])
    assert pacing.all_learned([0]) == (learned[0] >= config.epochs)


@given(config=configs(), collected=st.integers(0, 7), epoch=st.integers(0, 7))
def test_at_a_finite_lag_an_epoch_is_learnt_from_once_it_is_there(config, collected, epoch):
    progress = Progress(Progress.layout(config.num_agents, 1).allocate())
    progress.report_collected(collected)
    assert Pacing(config, 1, progress).may_learn(epoch) == (epoch < collected)


@given(config=configs(), collected=st.integers(0, 7), done=st.integers(0, 40))
def test_running_free_both_bounds_are_counted_from_the_updates_that_are_due(config, collected, done):
    progress = Progress(Progress.layout(config.num_agents, 1).allocate())
    collected = min(collected, config.epochs)
    progress.report_collected(collected)
    for agent in range(config.num_agents):
        progress.report_updates(agent, done, np.zeros(0, np.float32))
    pacing, per_epoch = Pacing(config, None, progress), config.pacing.updates_per_epoch
    due = updates_due(config, collected)
    most = min(due + math.floor(config.pacing.max_ahead * per_epoch), config.total_updates) if due else 0
    assert pacing.updates_allowed(0) == max(0, most - done)
    assert pacing.may_collect(collected) == (done >= due - math.floor(config.pacing.max_behind * per_epoch))
    assert pacing.version_for(collected) is None


def test_one_slow_agent_holds_the_actor_back():
    config = Config().replace(**{"world.num_agents": 2, "replay.learning_starts": 64})
    progress = Progress(Progress.layout(2, 1).allocate())
    for lag in (0, None):
        pacing, epoch = Pacing(config, lag, progress), 4
        progress.report_learned(0, epoch)
        progress.report_updates(0, 100, np.zeros(0, np.float32))
        assert not pacing.may_collect(epoch)
        progress.report_learned(1, epoch)
        progress.report_updates(1, 100, np.zeros(0, np.float32))
        assert pacing.may_collect(epoch)
        progress = Progress(Progress.layout(2, 1).allocate())


# Whole runs


class FakeAgent:
    """Counts its updates; looks at the bounds before each."""

    def __init__(self, index, run):
        self.index, self.run, self.updates, self.target_updates = index, run, 0, 0
        self.batch = SimpleNamespace(number=np.zeros(1), policy_version=np.zeros(1))

    def update(self, learning_rate):
        self.run.before_update(self)
        self.updates += 1
        self.run.switch()
        return torch.zeros(5)

    def snapshot(self, out):
        out[:] = self.updates


class SimulatedRun:
    """One run whose interleaving is given by ``turns``."""

    def __init__(self, config, lag, turns, stop_at=None, changes=()):
        self.config, self.lag, self.stop_at, self.wanted = config, lag, stop_at, changes
        self.changes, self.changed = Changes.layout().allocate(), []
        self.interleaving = Interleaving(turns)
        self.steps = 0
        agents, processes = config.num_agents, config.num_learners + 1
        self.progress = Progress(Progress.layout(agents, processes).allocate())
        slots = WeightStore.layout(2, 0, 2 + (lag or 0))
        self.stores = [WeightStore(slots.allocate()) for _ in range(agents)]
        self.rung = [False] * processes
        self.begun = 0
        self.outcomes = []

    def run(self):
        groups = [
            range(first, self.config.num_agents, self.config.num_learners) for first in range(self.config.num_learners)
        ]
        with (
            patch.object(roles, "Parts", self.parts),
            patch.object(layout, "fence", self.switch),  # another side may move at every access of a counter
        ):
            sides = [self.side(roles.act, self.job(0, ()))]
            sides += [self.side(roles.learn, self.job(index + 1, group)) for index, group in enumerate(groups)]
            sides += [self.change] if self.wanted else []
            self.interleaving.run(*sides)
        return self

    def side(self, role, job):
        def run():
            try:
                role(job)
                self.outcomes.append("finished")
            except Stopped:
                self.outcomes.append("stopped")

        return run

    def change(self):
        """The parent's part: let the replay ratio change after a number of epochs."""
        pause, changes = self.progress.pause, Changes(self.config, self.changes)
        write, announced = changes.set, []

        def pause_and_switch(paused):
            pause(paused)
            self.switch()

        def note_and_write(timeline, announce):
            self.changed = [(epoch, settings["pacing.updates_per_epoch"]) for epoch, settings in timeline.changes]
            write(timeline, announce)

        with patch.object(self.progress, "pause", pause_and_switch), patch.object(changes, "set", note_and_write):
            for after, updates in self.wanted:
                self.interleaving.sleep_until(lambda after=after: self.begun >= after)
                with suppress(ConfigError):  # it comes too late, and nothing is changed
                    changes.make(self.progress, {"pacing.updates_per_epoch": updates}, announced.append)
                    assert announced[-1] == self.changed[-1][0] < self.config.epochs
                self.rung = [True] * len(self.rung)

    def per_epoch(self, epoch):
        """Updates that belong to an epoch, as far as is known now."""
        return [self.config.pacing.updates_per_epoch, *(n for at, n in self.changed if at <= epoch)][-1]

    def due(self, epochs):
        """Updates of an agent that belong to a number of epochs, counted out."""
        steps, starts = self.config.steps_per_epoch, self.config.replay.learning_starts
        return sum(self.per_epoch(epoch) for epoch in range(epochs) if (epoch + 1) * steps >= starts)

    def switch(self):
        self.steps += 1
        if self.steps == self.stop_at:  # the parent's stop
            self.progress.request_stop()
            self.rung = [True] * len(self.rung)
        self.interleaving.switch()

    # --- what the roles are made of ----------------------------------------------------------------------------------

    def job(self, index, group):
        return SimpleNamespace(index=index, agents=group)

    def parts(self, job):
        settings = Changes(self.config, self.changes).timeline
        agents = [FakeAgent(index, self) for index in job.agents]
        stores = [self.stores[index] for index in job.agents]
        replays = [SimpleNamespace(sample=self.sample, fill=lambda end: 0)] * len(agents)

        def trainer():
            learner = Learner(self.config, (), (), torch.device("cpu"))
            learner.agents = dict(zip(job.agents, agents, strict=True))
            learner.replays = dict(zip(job.agents, replays, strict=True))
            learner.samplers = dict.fromkeys(job.agents)
            channel = {"updates": SimpleNamespace(write=self.record), "events": MagicMock()}
            made = Trainer(self.config, learner, stores, self.progress, channel)
            made.settings = settings
            return made

        return SimpleNamespace(
            config=self.config,
            lag=self.lag,
            progress=self.progress,
            pacing=lambda: Pacing(self.config, self.lag, self.progress, settings),
            wakeup=SimpleNamespace(wait_until=lambda holds, progress: self.wait_until(job.index, holds)),
            notify_others=lambda: self.notify_others(job.index),
            ready=lambda: self.ready(job.index),
            collector=lambda: SimpleNamespace(epoch=self.collect, evaluator=Evaluator(), finish=self.finish),
            trainer=trainer,
        )

    def ready(self, process):
        self.progress.report_ready(process)
        if sum(self.progress.ready()) == len(self.rung):  # the parent's part
            self.progress.open_barrier()
            self.rung = [True] * len(self.rung)
        self.wait_until(process, lambda: self.progress.started)

    def wait_until(self, process, holds):
        while True:
            self.rung[process] = False
            if self.progress.stopping:
                raise Stopped
            if holds():
                return
            self.interleaving.sleep_until(lambda: self.rung[process])

    def notify_others(self, process):
        self.switch()
        for other in [0] if process else range(1, len(self.rung)):
            self.rung[other] = True

    # --- what must hold whenever somebody moves ----------------------------------------------------------------------

    def collect(self, epoch, version):
        assert self.begun == epoch
        self.begun += 1
        for agent, store in enumerate(self.stores):
            if version is None:
                behind = math.floor(self.config.pacing.max_behind * self.per_epoch(epoch))
                assert self.progress.updates(agent) >= self.due(epoch) - behind
            else:
                snapshot = store.read(np.empty(2, np.float32), version)
                assert snapshot.updates == self.due(max(0, epoch - self.lag))
        self.switch()
        self.progress.report_collected(epoch + 1)

    def sample(self, sampler, out, end):
        collected, steps = self.progress.epochs_collected, self.config.steps_per_epoch
        assert collected * steps >= self.config.replay.learning_starts
        if end is not None:
            assert end <= collected * steps
            ring = -(-self.config.replay.capacity // steps)
            assert max(0, end - self.config.replay.window) >= (self.begun - ring) * steps  # no row is being overwritten
        return out

    def before_update(self, agent):
        if self.lag is None:
            assert agent.updates < self.most(self.progress.epochs_collected)

    def record(self, epoch, update, **rest):
        """What the history says of an update must be allowed, too."""
        if self.lag is None:
            assert update <= self.most(epoch + 1)

    def most(self, epochs):
        """Updates of an agent that are allowed when that many epochs are collected, running free."""
        ahead = self.config.pacing.max_ahead * max(self.per_epoch(epoch) for epoch in range(epochs))
        return self.due(epochs) + math.floor(ahead)

    def finish(self):
        for agent, store in enumerate(self.stores):
            made, due = self.progress.updates(agent), self.due(self.config.epochs)
            assert made == store.peek().updates and made >= due
            if self.lag is not None or not self.changed:  # what a free learner did ahead is not unmade
                assert made == due
            assert self.progress.epochs_learned(agent) == self.config.epochs
            if self.lag is not None:
                assert store.newest == self.config.epochs


turns = st.lists(st.integers(0, 40), max_size=30)


@given(config=configs(), lag=st.integers(0, 5), turns=turns, spare=st.integers(0, 1))
def test_a_run_at_a_finite_lag_gets_to_its_end_in_any_order_and_uses_the_right_versions(config, lag, turns, spare):
    steps = config.steps_per_epoch
    needed = (-(-config.replay.window // steps) + lag + spare) * steps
    config = config.replace(**{"replay.capacity": needed})
    check_launch(config, "multiprocess", lag)
    run = SimulatedRun(config, lag, turns).run()
    assert run.outcomes == ["finished"] * (config.num_learners + 1)


# of which a learner is held up between its two looks at how much is collected
CLOSE = Config().replace(**{
    "epochs": 2, "world.num_agents": 1, "world.max_turns": 1, "learning.batch_size": 1,
    "replay": {"window": 1, "capacity": 21, "learning_starts": 1}, "processes.learners": 1,
    "pacing": {"updates_per_epoch": 1, "publish_interval": 2, "max_ahead": 0.0, "max_behind": 1.0},
})  # fmt: skip


@given(config=configs(), turns=turns)
@example(config=CLOSE, turns=[0, 23, 15, 25])
def test_a_free_run_gets_to_its_end_in_any_order_and_keeps_both_bounds(config, turns):
    run = SimulatedRun(config, None, turns).run()
    assert run.outcomes == ["finished"] * (config.num_learners + 1)


@given(
    config=configs(), lag=st.none() | st.integers(0, 3), turns=turns,
    wanted=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 6)), min_size=1, max_size=3),
)  # fmt: skip
def test_a_changed_replay_ratio_holds_from_one_epoch_on_for_everybody_in_any_order(config, lag, turns, wanted):
    steps = config.steps_per_epoch
    config = config.replace(**{"replay.capacity": config.replay.capacity + (lag or 0) * steps})
    wanted = sorted((min(after, config.epochs), updates) for after, updates in wanted)
    run = SimulatedRun(config, lag, turns, changes=wanted).run()
    assert run.outcomes == ["finished"] * (config.num_learners + 1)


@given(config=configs(), lag=st.none() | st.integers(0, 3), turns=turns, stop_at=st.integers(1, 300))
def test_a_stop_lets_everybody_go_whatever_they_wait_for(config, lag, turns, stop_at):
    run = SimulatedRun(config, lag, turns, stop_at).run()
    assert len(run.outcomes) == config.num_learners + 1
    assert set(run.outcomes) == {"finished"} or run.progress.stopping


def test_the_simulation_notices_a_notification_that_is_missing(monkeypatch):
    config = Config().replace(
        epochs=3, world={"max_turns": 1, "num_agents": 1}, replay={"learning_starts": 1}, learning={"batch_size": 1}
    )
    monkeypatch.setattr(SimulatedRun, "notify_others", lambda self, process: None)
    with pytest.raises(AssertionError, match="every side sleeps"):
        SimulatedRun(config, 0, []).run()

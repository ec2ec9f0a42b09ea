"""The fused learner against one that updates its agents one by one, from the same rows with the same streams."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.soundness import check_agent
from tests.unit import inprocess
from tests.unit.test_images import Images
from workbench.core.agents import flat_parameters, networks, value_agent
from workbench.core.agents.staging import Staging
from workbench.core.envs.base import AgentSpec, EnvSpec, WorldConfig
from workbench.core.shared.replay import Replay
from workbench.core.train.hooks import Hook
from workbench.core.train.learners import Learner
from workbench.zoo import fused
from workbench.zoo.dqn import DQNConfig
from workbench.zoo.fused import FusedLearner

CPU = torch.device("cpu")
TINY = wb.preset("tiny").replace(device="cpu", processes={"learners": "fused"})
DQN = {"agent": {"name": "dqn", "width": 32, "num_frames": 3}}
KINDS = {
    "iqn": {},
    "noisy": {"agent.noisy": True},
    "single": {"learning.double": False, "learning.target_interval": 3},
    "micro-batches": {"learning.accumulate": 4},
    "prioritised": {"replay.sampler": "prioritised", "learning.accumulate": 2},
    "one step": {"learning.n_step": 1},
    "images": {"world": Images()},
    "dqn": DQN,
    "dueling": DQN | {"agent": DQN["agent"] | {"dueling": True, "noisy": True}, "learning.n_step": 5},
}


@pytest.fixture(autouse=True)
def one_thread():
    with inprocess.as_in_a_child():
        yield


def filled(config, epochs=4):
    """A replay per agent with rows that are made up."""
    rng, worlds = np.random.default_rng(5), config.num_worlds
    replays = [Replay(config, spec, Replay.layout(config, spec).allocate()) for spec in config.spec.agents]
    for replay, spec in zip(replays, config.spec.agents, strict=True):
        for _ in range(epochs):
            replay.begin_epoch()
            for turn in range(replay.turns + 1):
                replay.write_frame(turn, rng.integers(0, 6, (worlds, *spec.shape)).astype(spec.dtype))
                if turn < replay.turns:
                    action, half = rng.integers(0, spec.num_actions, worlds), np.full(worlds, 0.5, np.float32)
                    replay.write_step(turn, action, 0, 0.5, half)
                    never, reward = np.zeros(worlds, bool), rng.normal(size=worlds).astype(np.float32)
                    replay.write_outcome(turn, reward, never, never, ~never)
            replay.commit_epoch()
    return replays


class Batched(Hook):
    """Has a fused learner update all agents together on a CPU, too, as it does on a card."""

    def on_trainer(self, trainer, parts):
        trainer.learner.batched = True


class Pair:
    """Both learners over the same replays; the fused one computes as it does on a card, unless it is told not to."""

    def __init__(self, config, batched=True):
        self.config, agents, self.replays = config, range(config.num_agents), filled(config)
        self.separate = Learner(config, agents, self.replays, CPU)
        self.fused = FusedLearner(config, agents, self.replays, CPU)
        assert not self.fused.batched
        self.fused.batched = batched

    def learn(self, updates, rate=lambda update: 1e-3):
        """Make updates with both; what each agent's looked like, of the separate ones and of the fused ones."""
        arguments = (updates, self.replays[0].count, rate, lambda: None)
        separate = {index: self.separate.learn(index, *arguments) for index in self.separate.agents}
        found = {}

        def ask(index):
            if index not in found:
                found[index] = None
                found[index] = self.fused.learn(index, *arguments)

        self.fused.ask = ask
        for index in self.fused.agents:
            ask(index)
        return separate, found

    def distance(self):
        """Of each agent: how far its fused weights are from its separate ones, relative to their length."""
        halves = []
        for learner in (self.separate, self.fused):
            halves.append(torch.stack([agent.parameters.vector for agent in learner.agents.values()]).double())
        return (torch.linalg.vector_norm(halves[0] - halves[1], dim=1) / halves[0].norm(dim=1)).numpy()


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_one_fused_update_is_that_of_separate_learners_to_rounding(changes):
    pair = Pair(TINY.replace(**changes))
    before = [agent.parameters.online.clone() for agent in pair.fused.agents.values()]
    separate, found = pair.learn(1)
    assert pair.distance().max() <= 1e-5
    for index, agent in pair.fused.agents.items():
        assert (agent.parameters.online - before[index]).norm() > 1e-3 * before[index].norm()
        assert found[index].metrics == pytest.approx(separate[index].metrics, rel=1e-4)
        assert check_agent(agent) == (True, "") and agent.updates == 1
        assert np.array_equal(agent.batch.number, pair.separate.agents[index].batch.number)
        ours, theirs = ([update[:3] for update in learned[index].updates] for learned in (found, separate))
        assert ours == theirs  # all but when they were made


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_on_a_cpu_fused_updates_have_the_bits_of_separate_learners(changes):
    pair = Pair(TINY.replace(**changes), batched=False)
    for _ in range(3):
        separate, found = pair.learn(2)
        for index in pair.fused.agents:
            assert found[index].metrics == pytest.approx(separate[index].metrics, rel=1e-5)
    assert pair.distance().max() == 0


class Doubles(Staging):
    """Floats that are staged are float64 where they are computed with."""

    def __init__(self, fields, device):
        super().__init__(fields, device)
        self.device = {
            name: each.double() if each.is_floating_point() else each.clone() for name, each in self.device.items()
        }

    def upload(self):
        for name, each in self.device.items():
            each.copy_(torch.from_numpy(self.host[name]))


@pytest.fixture
def in_float64(monkeypatch):
    """Networks, optimisers and batches of the learners that are made now are of float64."""
    doubled = SimpleNamespace(**vars(torch) | {"float32": torch.float64})
    for module in (flat_parameters, value_agent):
        monkeypatch.setattr(module, "torch", doubled)
    for module in (value_agent, fused):
        monkeypatch.setattr(module, "Staging", Doubles)
    initial = value_agent.initial_weights
    monkeypatch.setattr(value_agent, "initial_weights", lambda *of: initial(*of).astype(np.float32))
    encode = networks.ValueNetwork.encode
    monkeypatch.setattr(networks.ValueNetwork, "encode", lambda self, state: encode(self, state).double())


@pytest.mark.parametrize("name", ["iqn", "dueling", "prioritised"])
def test_a_hundred_fused_updates_in_float64_are_those_of_separate_learners(name, in_float64):
    pair = Pair(TINY.replace(**KINDS[name]))
    assert pair.fused.vector.dtype == torch.float64
    pair.learn(100)
    assert pair.distance().max() <= 1e-9


def test_the_drift_of_a_hundred_updates_in_float32_stays_small(record_property):
    pair = Pair(TINY)
    pair.learn(100)
    record_property("drift", pair.distance().tolist())
    assert 0 < pair.distance().max() < 0.1  # a greedy action that changes by rounding is another target


def test_an_agents_bits_do_not_depend_on_which_others_are_due_with_it():
    """As for a process that takes the place of one which died after some of its agents had published."""
    together, apart = Pair(TINY), Pair(TINY)
    together.learn(3)
    apart.fused.ask = lambda other: None  # nobody else is due
    for index in (1, 0):
        for _ in range(3):
            apart.fused.learn(index, 1, apart.replays[0].count, lambda update: 1e-3, lambda: None)
    assert torch.equal(together.fused.vector, apart.fused.vector)


def test_agents_that_stand_at_different_places_of_the_schedule_are_each_stepped_by_their_own_rate():
    pair = Pair(TINY)
    for learner in (pair.separate, pair.fused):
        learner.ask = lambda other: None
        learner.learn(0, 2, 80, lambda update: 1e-3 / (1 + update), lambda: None)
    pair.learn(1, lambda update: 1e-3 / (1 + update))
    assert [agent.updates for agent in pair.fused.agents.values()] == [3, 1]
    assert pair.distance().max() <= 1e-5


def test_a_state_is_put_back_into_the_stack_and_learning_continues_from_it():
    pair, other = Pair(TINY), Pair(TINY)
    pair.learn(3)
    for index, agent in pair.fused.agents.items():
        other.fused.agents[index].set_state(agent.get_state())
        other.fused.samplers[index].set_state(pair.fused.samplers[index].get_state())
    pair.learn(2)
    other.learn(2)
    assert torch.equal(other.fused.vector, pair.fused.vector)


def test_a_snapshot_is_one_row_of_the_stack():
    pair = Pair(TINY)
    pair.learn(2)
    out = np.empty(pair.fused.vector.shape[1], np.float32)
    for row, agent in enumerate(pair.fused.agents.values()):
        agent.snapshot(out)
        assert np.array_equal(out, pair.fused.vector[row].numpy())


# What is refused


@dataclasses.dataclass(frozen=True)
class Unequal(WorldConfig):
    """A world in which agent 1 can do more than agent 0."""

    def spec(self):
        return EnvSpec(tuple(AgentSpec((3,), "float32", num_actions=count) for count in (2, 3)), max_turns=20)


class PlainConfig(DQNConfig):
    """Does not say that it can be stacked."""

    stackable = False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent": PlainConfig(width=8)}, "the agent PlainConfig does not say that it can be stacked; set stackable"),
        ({"world": Unequal(), "agent": DQNConfig(width=8)}, "their spaces are equal; agent 0 has .*, agent 1 has"),
        (DQN | {"learning.correction": "retrace"}, "no off-policy corrections; set learning.correction = 'none', or"),
    ],
    ids=["agent", "spaces", "corrections"],
)  # fmt: skip
def test_what_cannot_be_stacked_is_refused_by_name_before_a_folder_is_made(changes, words, tmp_path):
    config = TINY.replace(**changes)
    with pytest.raises(wb.ConfigError, match=f"processes.learners is 'fused'; .*{words}"):
        wb.launch(config, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_that_replaces_an_agents_optimiser_is_refused(tmp_path):
    with pytest.raises(wb.ConfigError, match="a fused learner steps all agents at once"):
        wb.launch(TINY, out=tmp_path, faults=["optimizer_before_weights"])


def test_a_run_of_many_agents_with_everything_watched_is_not_stopped_by_the_depth_of_its_calls(tmp_path):
    config = TINY.replace(**{"world.num_agents": 25, "epochs": 3})
    with wb.launch(config, "sequential", 0, out=tmp_path, hooks=[Batched()]) as run:
        assert run.wait(300).updates == 25 * config.total_updates

"""Agents, samplers and learners that are not ours, and worlds whose agents differ, in the same plumbing."""

import dataclasses

import numpy as np
import pytest
import torch

import workbench as wb
from tests import batches
from tests.unit import inprocess
from tests.unit.own_agent import LinearAgent, LinearConfig, RecentErrors, TorchConfig
from tests.unit.worlds import Bare, TrialConfig
from workbench.core import registry
from workbench.core.agents.iqn import QuantileNetwork
from workbench.core.agents.value_agent import ValueAgent, initial_weights
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.supervisor import children_of
from workbench.core.records import Metric
from workbench.core.train.hooks import record_tables
from workbench.core.train.learners import Learner
from workbench.runs.loaded import padded, unpadded

TINY = wb.preset("tiny").replace(
    **{"epochs": 6, "device": "cpu", "evaluation.interval": 3, "evaluation.worlds": 2, "evaluation.final_worlds": 2}
)
OWN = TINY.replace(**{"agent": LinearConfig(num_frames=2), "replay.sampler": RecentErrors})
DIFFERENT = TINY.replace(world=TrialConfig(), **{"replay.learning_starts": 24, "agent.width": 8})


def late(config, lag):
    """The run with every learner as late as it may be."""
    with inprocess.as_in_a_child():
        parts = inprocess.build(config, lag)
        parts.trainer.publish_initial()
        for epoch in range(config.epochs + lag):
            if epoch < config.epochs:
                parts.collector.epoch(epoch, max(0, epoch - lag))
                parts.collector.evaluator.after_epoch(epoch)
            if epoch >= lag:
                for agent in parts.trainer.agents:
                    parts.trainer.epoch(agent, epoch - lag)
        parts.collector.finish()
    return parts


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("changes", [{}, {"agent": "iqn"}, {"replay.sampler": "uniform"}])
def test_an_own_agent_and_an_own_sampler_give_the_same_in_both_modes(lag, changes):
    config = OWN.replace(**changes)
    parts = inprocess.run(config, lag)
    assert inprocess.digests(parts) == inprocess.digests(late(config, lag))
    assert (parts.trainer.agents[0].updates, parts.trainer.agents[0].target_updates) == (20, 20)


def test_an_own_agent_learns_what_it_says_it_learns():
    config = OWN.replace(**{"world": Bare(shape=(2,), dtype="float32", num_codes=None, num_actions=2),
                            "learning.learning_rate": 0.05, "learning.learning_rate_schedule": "constant",
                            "agent.num_frames": 1, "replay.sampler": "uniform",
                            "replay.learning_starts": 16})  # fmt: skip
    agent = LinearAgent(config, 0, torch.device("cpu"))
    rng = np.random.default_rng(0)
    for _ in range(400):
        agent.batch.s_tm1[:] = rng.normal(size=agent.batch.s_tm1.shape)
        agent.batch.a_tm1[:] = rng.integers(0, 2, len(agent.batch.a_tm1))
        agent.batch.r_t[:] = agent.batch.s_tm1[:, 0, 0] * np.where(agent.batch.a_tm1 == 0, 1, -1)
        agent.batch.discount_t[:] = 0
        agent.update(0.05)
    np.testing.assert_allclose(agent.online.layer.weight.detach(), [[1, 0], [-1, 0]], atol=0.05)


def test_layers_of_torch_start_with_what_they_draw_decided_by_the_seed_and_the_agent():
    config = TINY.replace(agent=TorchConfig(), **{"world.num_agents": 2})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    made = [initial_weights(config, 0), initial_weights(config, 1), initial_weights(config.replace(seed=9), 0)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)  # another process has another generator
    np.testing.assert_array_equal(initial_weights(config, 0), made[0])
    layout = config.agent.layout(config.spec.agents[0])
    one, other, of_seed = (layout.views(weights[: layout.size]) for weights in made)
    for name in ("before.0.weight", "layer.weight"):
        assert one[name].std() > 0.01
        assert not (one[name] == other[name]).any() and not (one[name] == of_seed[name]).any()
    assert (one["before.1.weight"] == 1).all() and (one["before.1.bias"] == 0).all() and one["scale"] == 3
    for weights in made:
        np.testing.assert_array_equal(*weights.reshape(2, -1))
    assert inprocess.digests(inprocess.run(config, 1)) == inprocess.digests(late(config, 1))


def test_errors_come_back_to_the_sampler_and_weights_scale_the_loss():
    config = OWN.replace(**{"learning.accumulate": 2, "learning.grad_clip": 1000.0})
    parts = inprocess.run(config, 0)
    sampler = parts.trainer.samplers[0]
    assert (sampler.errors != 1).sum() > 20
    batch = parts.trainer.agents[0].batch
    assert batch.weight.max() == 1 and 0 < batch.weight.min() < 1
    plain, weighted = (LinearAgent(config, 0, torch.device("cpu")) for _ in range(2))
    for agent, scale in ((plain, 1.0), (weighted, 0.25)):
        for name, array in batches.arrays_of(batch).items():
            getattr(agent.batch, name)[...] = array
        agent.batch.weight[:] = scale
        agent.update(1e-3)
    np.testing.assert_allclose(weighted.parameters.gradient, 0.25 * plain.parameters.gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(plain.td_errors(), weighted.td_errors())


def test_an_agent_that_asks_for_it_is_given_every_turn_that_a_row_spans():
    class Correcting(LinearConfig):
        window = True

    parts = inprocess.run(OWN.replace(agent=Correcting(num_frames=2)), 0)
    batch, gamma = parts.trainer.agents[0].batch, np.float32(TINY.learning.gamma)
    assert batch.states.shape == (16, TINY.learning.n_step + 1, *batch.s_tm1.shape[1:])
    np.testing.assert_array_equal(batch.states[:, 0], batch.s_tm1)
    np.testing.assert_array_equal(batch.states[np.arange(16), batch.span], batch.s_t)
    np.testing.assert_array_equal(batch.actions[:, 0], batch.a_tm1)
    np.testing.assert_allclose((batch.rewards * gamma ** np.arange(TINY.learning.n_step)).sum(1), batch.r_t, rtol=1e-5)
    assert ((batch.probabilities[:, 0] > 0) & (batch.probabilities[:, 0] <= 1)).all()


def test_the_metrics_of_an_agent_are_in_the_updates_table_by_name():
    class TellingAgent(LinearAgent):
        def update(self, learning_rate):
            loss, *_ = super().update(learning_rate)
            absent = [torch.tensor(np.nan)] * 4
            return torch.stack((loss, *absent, self.online.layer.bias[0].detach()))

    class Telling(LinearConfig):
        agent_class = TellingAgent
        metrics = (Metric("learning/bias", "updates", "bias", "1", "The first bias."),)

    config = OWN.replace(agent=Telling(num_frames=2))
    assert record_tables(config, ())["updates"].dtype.names[-1] == "bias"
    updates = inprocess.history(inprocess.run(config, 0)).updates
    assert np.isfinite(updates["bias"]).all() and len(set(updates["bias"])) > 10
    assert np.isnan(updates["max_q"]).all() and np.isfinite(updates["loss"]).all()


# Spaces that differ


def test_agents_that_differ_are_trained_side_by_side_and_their_weights_fit_into_one_array(tmp_path):
    parts = inprocess.run(DIFFERENT, 1)
    floats, image, codes = (agent.online.psi for agent in parts.trainer.agents.values())
    assert [floats.weight.shape[1], codes.weight.shape[1]] == [3 * 3, 3 * 6 * 7]  # of 3 frames each, codes one-hot
    assert image[0].weight.shape[1] == 3  # its frames are channels
    heads = [agent.online.head.weight.shape[0] for agent in parts.trainer.agents.values()]
    assert heads == [1 + 2, 1 + 3, 1 + 5]
    weights = inprocess.weights(parts)
    sizes = [len(vector) for vector in unpadded(weights, DIFFERENT)]
    assert weights.shape == (3, max(sizes)) and len(set(sizes)) == 3
    for row, size in zip(weights, sizes, strict=True):
        assert np.isfinite(row[:size]).all() and np.isnan(row[size:]).all()
    np.testing.assert_array_equal(padded(unpadded(weights, DIFFERENT)), weights)
    for index, agent in parts.trainer.agents.items():
        again = DIFFERENT.agent.agent_class(DIFFERENT, index, torch.device("cpu"), unpadded(weights, DIFFERENT)[index])
        np.testing.assert_array_equal(again.get_state()["vector"], agent.get_state()["vector"])
    made = wb.launch(DIFFERENT, mode="sequential", lag=0, out=tmp_path, weights=weights, start=False)
    made.stop()
    with pytest.raises(wb.RunError, match=r"weights have shape \(3, \d+\); this configuration needs"):
        wb.launch(DIFFERENT, mode="sequential", lag=0, out=tmp_path, weights=weights[:, :-1], start=False)


@pytest.mark.parametrize("dtype", ["complex64", "<U3", "longdouble", "m8[s]", "object", ">f4"])
def test_observations_that_an_agent_cannot_take_are_refused_before_anything_is_made(dtype):
    with pytest.raises(wb.ConfigError, match="this agent takes observations of numbers"):
        TINY.replace(world=Bare(dtype=dtype, num_codes=None), **{"replay.learning_starts": 16})


@pytest.mark.parametrize("dtype", [np.uint8, np.dtype("uint8"), "u1"])
def test_bytes_go_from_0_to_1_however_a_world_names_their_dtype(dtype):
    spec = AgentSpec((2,), dtype, 2)
    encoded = TINY.agent.network(spec).encode(torch.full((1, TINY.agent.num_frames, 2), 255, dtype=torch.uint8))
    assert (encoded == 1).all()


def test_codes_beyond_those_of_a_byte_are_told_apart():
    spec = AgentSpec((2,), "int16", 2, num_codes=300)
    encoded = TINY.replace(agent={"num_frames": 1}).agent.network(spec).encode(torch.tensor([[[300, 0]]]))
    assert encoded.shape == (1, 600) and encoded.nonzero().tolist() == [[0, 299]]


# Learners


class BothAtOnce(Learner):
    """Makes the updates of all its agents when one is asked for."""

    def learn(self, index, num_updates, end, learning_rate, heartbeat):
        if not hasattr(self, "kept"):
            self.kept = {}
        if index not in self.kept:
            for each in self.agents:
                self.kept[each] = super().learn(each, num_updates, end, learning_rate, heartbeat)
        return self.kept.pop(index)


def test_a_registered_learner_owns_all_agents_in_one_process(monkeypatch):
    monkeypatch.setitem(registry._REGISTERED["learner"], "both", f"{__name__}:BothAtOnce")
    config = TINY.replace(**{"processes.learners": "both"})
    assert config.num_learners == 1 and registry.registered("learner", "both") is BothAtOnce
    assert children_of(config, "multiprocess")[1] == ("learner 0", "learner", (0, 1))
    with pytest.raises(wb.ConfigError, match="did you mean both"):
        TINY.replace(**{"processes.learners": "boht"})
    with inprocess.as_in_a_child():
        parts = inprocess.build(config, 0)
        made = BothAtOnce(config, (0, 1), parts.replays, torch.device("cpu"))
        parts.trainer.learner = made
        parts.trainer.agents, parts.trainer.samplers = made.agents, made.samplers
        inprocess.run_sequential(parts.collector, parts.trainer, 0, before_epoch=parts.trainer.publish_initial)
        parts.collector.finish()
    assert inprocess.digests(parts) == inprocess.digests(inprocess.run(TINY, 0))


@dataclasses.dataclass(frozen=True)
class Listed(LinearConfig):
    """Arguments of which some are a list and a dictionary, which have no hash."""

    layers: list[int] = dataclasses.field(default_factory=lambda: [8, 8])
    options: dict[str, int] = dataclasses.field(default_factory=dict)


def test_arguments_may_be_lists_and_dictionaries(tmp_path):
    wb.launch(TINY.replace(agent=Listed(layers=[4])), out=tmp_path, name="listed", start=False).stop()
    assert wb.load(tmp_path / "listed", agent=Listed).config.agent.layers == [4]


# What the parent builds


def test_the_parent_learns_the_size_of_a_vector_from_one_network(tmp_path, monkeypatch):
    built, original = [], QuantileNetwork.__init__

    def counted(self, *arguments, **named):
        original(self, *arguments, **named)
        built.append(self)

    monkeypatch.setattr(QuantileNetwork, "__init__", counted)
    config = TINY.replace(agent=dataclasses.replace(TINY.agent))  # of which nothing is known yet
    for name in "ab":
        wb.launch(config, out=tmp_path, name=name, start=False).stop()
    assert len(built) == 1
    assert isinstance(TINY.agent.agent_class(TINY, 0, torch.device("cpu")), ValueAgent)
    assert dataclasses.asdict(TINY)["agent"]["width"] == 32

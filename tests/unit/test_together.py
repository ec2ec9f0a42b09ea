"""Policies that choose in one forward pass, against the same policies one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.unit import inprocess
from tests.unit.test_fused import KINDS
from tests.unit.test_on_device import FAKE, fake  # noqa: F401  # a fixture
from workbench.core.envs.base import EnvSpec
from workbench.core.seeding import stream
from workbench.zoo import together
from workbench.zoo.on_device import OnDevice
from workbench.zoo.together import TogetherPolicies

TINY = wb.preset("tiny").replace(device="cpu", **{"world.num_agents": 3})
PARALLEL = TINY.replace(world="pettingzoo:mpe2.simple_spread_v3")
WORLDS = 4
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    with inprocess.as_in_a_child():
        yield


def policies_of(config, device=CPU):
    """A policy per agent with weights and streams of its own."""
    policies = []
    for agent in range(config.num_agents):
        streams = stream(config.seed, "exploration", agent), stream(config.seed, "acting_quantiles", agent)
        policy = config.agent.policy_class(config, agent, device, *streams)
        weights = np.random.default_rng(agent).normal(scale=0.1, size=policy.vector_size)
        policy.load(weights.astype(np.float32))
        policies.append(policy)
    return policies


def states_of(config, turn):
    rng = np.random.default_rng(turn)
    return [
        rng.integers(0, 6, (config.num_worlds, config.agent.num_frames, *spec.shape)).astype(spec.dtype)
        for spec in config.spec.agents
    ]


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_all_choose_together_what_each_chooses_alone(changes):
    config = TINY.replace(**changes)
    if "world" not in changes:
        config = config.replace(**{"world.num_worlds": WORLDS})
    alone, act_together = policies_of(config), TogetherPolicies(policies_of(config))
    for turn in range(5):
        states = states_of(config, turn)
        due = [policy.act(state, 0.3) for policy, state in zip(alone, states, strict=True)]
        for found, expected in zip(act_together(states, 0.3), due, strict=True):
            np.testing.assert_allclose(found.q, expected.q, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found.action, expected.action)
            np.testing.assert_array_equal(found.probability, expected.probability)


def test_weights_that_are_loaded_later_are_acted_with():
    policies = policies_of(TINY)
    act_together, states = TogetherPolicies(policies), states_of(TINY, 0)
    before = [chosen.q for chosen in act_together(states, 0.0)]
    policies[1].load(np.zeros(policies[1].vector_size, np.float32))
    after = [chosen.q for chosen in act_together(states, 0.0)]
    assert not after[1].any() and before[1].any()
    assert after[0].any() and after[2].any()


def test_a_wrapper_around_a_policy_sees_that_policys_own_choice():
    policies, seen = policies_of(TINY), {}
    for agent, policy in enumerate(policies):

        def act(stack, epsilon, agent=agent, original=policy.act):
            seen[agent] = stack, original(stack, epsilon)
            return seen[agent][1]

        policy.act = act
    states = states_of(TINY, 0)
    chosen = TogetherPolicies(policies)(states, 0.5)
    assert [seen[agent][0] is state for agent, state in enumerate(states)] == [True] * 3
    assert [seen[agent][1] is own for agent, own in enumerate(chosen)] == [True] * 3


def test_a_state_of_the_wrong_shape_is_refused_and_the_next_turn_is_played():
    act_together, states = TogetherPolicies(policies_of(TINY)), states_of(TINY, 0)
    with pytest.raises(ValueError, match="the stack is float64"):
        act_together([states[0], states[1].astype(float), states[2]], 0.0)
    assert len(act_together(states, 0.0)) == 3


@pytest.mark.parametrize("kind", ["iqn", "dqn"])
def test_policies_act_together_on_the_device(kind, fake):  # noqa: F811
    config = TINY.replace(**KINDS[kind])
    act_together = TogetherPolicies(policies_of(config, FAKE))
    chosen = act_together(states_of(config, 0), 0.1)
    assert [each.q.shape for each in chosen] == [(config.num_worlds, 4)] * 3


@pytest.mark.parametrize("kind", ["weights", "inputs"])
def test_policies_whose_parts_lie_elsewhere_fail(kind, fake, monkeypatch):  # noqa: F811
    policies = policies_of(TINY, FAKE)
    act_together = TogetherPolicies(policies)
    if kind == "weights":
        for policy in policies:
            policy.weights = torch.zeros(policy.layout.size)
    else:
        act_together._inputs.device = {
            name: torch.from_numpy(array) for name, array in act_together._inputs.host.items()
        }
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        act_together(states_of(TINY, 0), 0.1)


@pytest.mark.parametrize(
    ("config", "due"),
    [
        (PARALLEL, True),
        (TINY, False),  # its agents act one after the other
        (PARALLEL.replace(agent={"name": "dqn", "width": 32}), True),
        (PARALLEL.replace(world="pettingzoo:mpe2.simple_adversary_v3"), False),  # they see different things
    ],
    ids=["at once", "in turn", "dqn", "unlike"],
)
def test_agents_act_together_at_once_on_a_card_alone(config, due, monkeypatch):
    assert not together.together(config)
    monkeypatch.setattr(together, "resolve_device", lambda name: torch.device(name))
    on_card = config.replace(**{"processes.acting_device": "cuda"})
    assert together.together(on_card) == due and OnDevice.wanted(on_card) == due
    policies = [] if not due else policies_of(config)
    collector = SimpleNamespace(config=on_card, policies=policies, act_together=None)
    OnDevice().on_collector(collector, None)
    assert isinstance(collector.act_together, TogetherPolicies) == due


def test_only_worlds_that_say_so_are_played_at_once():
    assert not EnvSpec(TINY.spec.agents, 1).at_once and not TINY.spec.at_once and PARALLEL.spec.at_once

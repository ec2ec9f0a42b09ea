"""The vector and the networks are one memory, whatever is done to either."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.agents.flat_parameters import ParameterLayout, ParameterVector
from workbench.core.agents.iqn import QuantileNetwork
from workbench.core.envs.base import AgentSpec

CPU = torch.device("cpu")


def make_network(width=6, noisy=False, actions=4):
    return QuantileNetwork(AgentSpec((9,), "uint8", actions, 5), 1, width, 3, noisy)


def make_vector():
    online, target = make_network(), make_network()
    vector = ParameterVector(online, target, CPU)
    vector.load(np.random.default_rng(0).random(2 * vector.layout.size, dtype=np.float32))
    return online, target, vector


@given(width=st.integers(1, 40), noisy=st.booleans())
def test_layout_is_aligned_without_overlap_and_complete(width, noisy):
    network = make_network(width, noisy)
    layout = ParameterLayout.of(network)
    views = layout.views(np.zeros(layout.size, np.float32))
    for view in views.values():
        view += 1
    assert all(offset % 16 == 0 for offset in layout.offsets)
    assert all((view == 1).all() for view in views.values())
    assert {name: view.shape for name, view in views.items()} == {n: p.shape for n, p in network.named_parameters()}
    assert 0 <= layout.size - sum(view.size for view in views.values()) < 16 * len(views)


def test_changing_the_vector_changes_both_networks():
    online, target, vector = make_vector()
    vector.vector.zero_()
    vector.target.fill_(2.0)
    assert all((parameter == 0).all() for parameter in online.parameters())
    assert all((parameter == 2).all() for parameter in target.parameters())


def test_changing_a_network_changes_the_vector():
    online, target, vector = make_vector()
    with torch.no_grad():
        online.psi.bias.fill_(3.0)
        target.head.weight.fill_(4.0)
    size = vector.layout.size
    assert (vector.layout.views(vector.vector[:size])["psi.bias"] == 3).all()
    assert (vector.layout.views(vector.vector[size:])["head.weight"] == 4).all()


def test_gradients_of_the_online_network_are_views_of_one_vector():
    online, target, vector = make_vector()
    state, tau = torch.ones((2, 1, 9), dtype=torch.uint8), torch.full((2, 3), 0.5)
    for _ in range(2):  # the second adds to the first
        online(state, tau).sum().backward()
    views = vector.layout.views(vector.gradient)
    assert (views["head.bias"] != 0).any()
    for name, parameter in online.named_parameters():
        assert parameter.grad is not None and parameter.grad.data_ptr() == views[name].data_ptr()
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in target.parameters())
    for network, half in ((online, vector.online), (target, vector.target)):
        bound = vector.layout.views(half)
        assert all(each.data_ptr() == bound[name].data_ptr() for name, each in network.named_parameters())


def test_vector_starts_on_a_cache_line():
    _, _, vector = make_vector()
    for half in (vector.online, vector.target, vector.gradient):
        assert half.data_ptr() % 64 == 0


@pytest.mark.filterwarnings("error")
def test_load_copies_also_from_memory_that_must_not_be_written():
    online, _, vector = make_vector()
    weights = np.ones(2 * vector.layout.size, np.float32)
    read_only = weights[:]
    read_only.flags.writeable = False
    vector.load(read_only)
    weights[:] = 5.0
    assert (online.hidden.weight == 1).all()


@pytest.mark.parametrize(
    "bad",
    [
        lambda size: np.zeros(size, np.float32),
        lambda size: np.zeros(2 * size, np.float64),
        lambda size: np.zeros((2, size), np.float32),
        lambda size: torch.zeros(2 * size),
    ],
)
def test_load_refuses_what_is_no_snapshot(bad):
    _, _, vector = make_vector()
    before = vector.vector.clone()
    with pytest.raises(ValueError, match="snapshot"):
        vector.load(bad(vector.layout.size))
    assert torch.equal(before, vector.vector)


def test_fingerprint_depends_on_names_and_shapes_alone():
    layout = ParameterLayout.of(make_network())
    assert layout.fingerprint == ParameterLayout.of(make_network()).fingerprint
    assert -(2**63) <= layout.fingerprint < 2**63
    others = [ParameterLayout.of(make_network(**change)) for change in ({"width": 7}, {"noisy": True}, {"actions": 5})]
    others.append(dataclasses.replace(layout, names=("renamed", *layout.names[1:])))
    assert len({layout.fingerprint, *(other.fingerprint for other in others)}) == 5

"""The reference shares nothing with what it judges, and its hand-written gradients are those of its losses."""

import ast
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.core.agents.iqn_agent import IQNConfig
from workbench.core.agents.networks import Torso, duel
from workbench.core.envs.base import AgentSpec
from workbench.diagnose import reference
from workbench.zoo.dqn import DQNConfig

rng = np.random.default_rng(0)


def test_the_reference_imports_nothing_of_the_package():
    tree = ast.parse(Path(reference.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules <= {"__future__", "collections.abc", "math", "numpy", "numpy.typing", "typing"}


def parameters(shapes, noisy=()):
    made = {}
    for name, (outputs, inputs) in shapes.items():
        for suffix in ("", *(("_sigma",) if name in noisy else ())):
            made[f"{name}.weight{suffix}"] = rng.normal(size=(outputs, inputs))
            made[f"{name}.bias{suffix}"] = rng.normal(size=outputs)
    return made


def assert_slope(loss, given, found):
    """Every gradient is the slope that small steps show, at a few numbers of every parameter."""
    for name, gradient in found.items():
        for place in rng.integers(gradient.size, size=3):
            flat, step = given[name].reshape(-1), 1e-6
            before = flat[place]
            flat[place] = before + step
            above = loss()
            flat[place] = before - step
            below = loss()
            flat[place] = before
            assert (above - below) / (2 * step) == pytest.approx(gradient.reshape(-1)[place], rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("noisy", [(), ("hidden", "head")])
def test_the_gradient_of_the_quantile_loss_is_its_slope(noisy):
    given = parameters({"psi": (6, 5), "phi": (6, 4), "hidden": (6, 6), "head": (4, 6)}, noisy)
    x, tau, target = rng.normal(size=(7, 5)), rng.random((7, 3)), rng.normal(size=(7, 2))
    actions, noise = rng.integers(0, 3, 7), rng.normal(size=22) if noisy else None

    def run():
        network = reference.ImplicitQuantiles(given, noise, tau)
        z = network(x)
        loss, slope, _ = reference.quantile_huber(z[np.arange(7), :, actions], tau, target, 0.7)
        along = np.zeros_like(z)
        along[np.arange(7), :, actions] = slope
        return loss.sum(), network, along

    _, network, along = run()
    assert_slope(lambda: run()[0], given, network.gradient(along))


@pytest.mark.parametrize("dueling", [False, True])
def test_the_gradient_of_action_values_is_their_slope(dueling):
    given = parameters({"first": (6, 5), "hidden": (6, 6), "head": (3 + dueling, 6)})
    x, weights = rng.normal(size=(7, 5)), rng.normal(size=(7, 3))
    network = reference.ActionValues(given, None, dueling)
    network(x)
    found = network.gradient(weights)
    assert_slope(lambda: float((reference.ActionValues(given, None, dueling)(x) * weights).sum()), given, found)


SHAPES = [
    (6, 7, 3), (3, 6, 7), (3, 3, 2), (7, 4, 5), (84, 84, 4), (4, 40, 37), (44, 40), (36, 36, 1), (36, 39, 38),
]  # fmt: skip


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [IQNConfig, DQNConfig])
def test_networks_of_images_and_their_gradients_are_those_of_torch(kind, shape, noisy):
    """By autograd through the package's own networks, in float64."""
    arguments = kind(width=9, num_frames=3, noisy=noisy, **({"dueling": True} if kind is DQNConfig else {}))
    network = arguments.network(AgentSpec(shape, "uint8", num_actions=4))
    network.initialise(rng)
    network.double().train()
    noise = rng.normal(size=network.noise_size)
    network.set_noise(torch.from_numpy(noise))
    states, tau = rng.integers(0, 256, (3, 3, *shape)).astype(np.uint8), rng.random((3, 5))
    x, given = torch.from_numpy(states / 255).flatten(1), {n: p.detach().numpy() for n, p in network.named_parameters()}
    if kind is IQNConfig:
        assert isinstance(network.psi, Torso)
        network.frequencies.copy_(math.pi * torch.arange(len(network.frequencies), dtype=torch.float64))
        due = network.quantiles(network.embed(x), torch.from_numpy(tau))
        own = reference.ImplicitQuantiles(given, noise, tau)
    else:
        assert isinstance(network.first, Torso)
        due = duel(network.head(network.hidden(network.first(x).relu()).relu()))
        own = reference.ActionValues(given, noise, dueling=True)
    found = own(reference.encode(states, None))
    np.testing.assert_allclose(found, due.detach().numpy(), rtol=1e-9, atol=1e-12)
    slope = rng.normal(size=found.shape)
    (due * torch.from_numpy(slope)).sum().backward()
    gradient = own.gradient(slope)
    assert gradient.keys() == given.keys()
    for name, parameter in network.named_parameters():
        largest = float(parameter.grad.abs().max())
        np.testing.assert_allclose(gradient[name], parameter.grad.numpy(), rtol=1e-6, atol=1e-9 * largest)


def test_a_unit_of_a_convolution_that_is_close_to_0_passes_on_or_not_as_the_edge_says():
    given = {"first.0.weight": np.zeros((2, 1, 3, 3)), "first.0.bias": np.array([1.0, -1e-8])}
    given |= parameters({"first.3": (6, 8), "hidden": (6, 6), "head": (3, 6)})
    network = reference.ActionValues(given)
    network(np.ones((1, 1, 4, 4, 1)))
    shut, open_ = (network.gradient(np.ones((1, 3)), edge)["first.0.bias"] for edge in (0.0, -1e-6))
    assert shut[0] == open_[0] != 0 == shut[1] != open_[1]


def test_a_row_stops_at_an_end_and_a_truncation_is_bootstrapped_from():
    rewards, never, here = np.array([1.0, 2.0, 4.0, 8.0]), np.zeros(4, bool), np.array([False, True, False, False])
    assert reference.n_step(rewards, never, never, 0.5, 3, 1.0) == (3.0, 0.125, 3)
    assert reference.n_step(rewards, here, never, 0.5, 3, 1.0) == (2.0, 0.0, 2)
    assert reference.n_step(rewards, never, here, 0.5, 3, 10.0) == (20.0, 0.25, 2)
    assert reference.n_step(rewards, never, never, 0.0, 3, 1.0) == (1.0, 0.0, 1)


def test_gems_come_into_empty_cells_of_small_draws_and_no_more_than_the_limit():
    cells = np.full((4, 5), reference.WALL, np.uint8)
    cells[1:-1, 1:-1] = [[reference.EMPTY, reference.GEM, reference.EMPTY], [reference.AGENT, *[reference.EMPTY] * 2]]
    draws = np.array([[0.1, 0.0, 0.3], [0.0, 0.05, 0.9]], np.float32)
    for most, come in ((0, {(1, 1), (1, 3), (2, 2)}), (3, {(1, 1), (2, 2)}), (2, {(2, 2)}), (1, set())):
        changed = np.argwhere(reference.spawned(cells, draws, 0.5, most) != cells)
        assert set(map(tuple, changed.tolist())) == come


def test_a_new_map_has_its_agents_where_the_draws_are_smallest():
    assert reference.first_cells(np.array([0.5, 0.1, 0.9, 0.2]), 2).tolist() == [
        reference.EMPTY, reference.AGENT, reference.EMPTY, reference.AGENT,
    ]  # fmt: skip


def test_a_potential_is_minus_the_steps_to_the_nearest_gem():
    cells = np.full((5, 6), reference.EMPTY, np.uint8)
    assert reference.potential(cells, 2, 2) == 0
    cells[1, 4] = cells[4, 4] = reference.GEM
    assert reference.potential(cells, 2, 2) == -3


def test_tails_of_events_of_different_chances_are_exact_and_alarm_no_more_often_than_is_said():
    """Against every outcome counted one by one; and how often the smaller tail is below half of a rate."""
    chances = np.array([0.1, 0.5, 0.9, 0.3, 0.0, 1.0])
    outcomes = list(itertools.product((False, True), repeat=len(chances)))
    likely = [float(np.prod(np.where(outcome, chances, 1 - chances))) for outcome in outcomes]
    for count in range(len(chances) + 1):
        below = sum(each for each, outcome in zip(likely, outcomes, strict=True) if sum(outcome) <= count)
        above = sum(each for each, outcome in zip(likely, outcomes, strict=True) if sum(outcome) >= count)
        assert reference.tails(chances, count) == pytest.approx((below, above), abs=1e-12)
    many, rate = np.linspace(0.02, 0.75, 400), 1e-4
    tails = [reference.tails(many, count) for count in range(len(many) + 1)]
    at = np.diff([0.0, *(below for below, _ in tails)])
    assert 0 < at[[min(each) < rate / 2 for each in tails]].sum() <= rate

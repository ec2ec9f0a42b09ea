"""The network against a transcription in NumPy, the loss against the paper's formula in loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.agents.iqn import QuantileNetwork, quantile_huber_loss, select_actions
from workbench.core.agents.networks import NoisyLinear, draw_noise
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec

FRAMES, CELLS, ENTITIES, ACTIONS = 3, 4, 5, 4


def make_network(noisy=False, seed=0):
    network = QuantileNetwork(AgentSpec((CELLS,), "uint8", ACTIONS, ENTITIES), FRAMES, 6, 5, noisy)
    network.initialise(np.random.default_rng(seed))
    return network


def make_inputs(rows=7, fractions=3, seed=1):
    rng = np.random.default_rng(seed)
    state = torch.from_numpy(rng.integers(0, ENTITIES + 1, (rows, FRAMES, CELLS)).astype(np.uint8))
    return state, torch.from_numpy(rng.random((rows, fractions), dtype=np.float32))


def slow_network(network, state, tau):
    """The definition, one row and one fraction at a time, in float64."""
    p = {name: parameter.detach().double().numpy() for name, parameter in network.named_parameters()}
    out = np.empty((*tau.shape, ACTIONS))
    for row in range(len(state)):
        x = np.zeros((FRAMES, CELLS, ENTITIES))
        for frame in range(FRAMES):
            for cell in range(CELLS):
                if state[row, frame, cell]:
                    x[frame, cell, int(state[row, frame, cell]) - 1] = 1
        psi = np.maximum(p["psi.weight"] @ x.reshape(-1) + p["psi.bias"], 0)
        for i in range(tau.shape[1]):
            cosines = [math.cos(math.pi * j * float(tau[row, i])) for j in range(p["phi.weight"].shape[1])]
            phi = np.maximum(p["phi.weight"] @ cosines + p["phi.bias"], 0)
            hidden = np.maximum(p["hidden.weight"] @ (psi * phi) + p["hidden.bias"], 0)
            value, *advantage = p["head.weight"] @ hidden + p["head.bias"]
            out[row, i] = value + np.array(advantage) - np.mean(advantage)
    return out


def slow_loss(value, tau, target, kappa):
    """Equation 3 of the paper: sum over the online fractions i, mean over the target fractions j."""
    losses, errors = [], []
    for row in range(len(value)):
        total = error = 0.0
        for i in range(value.shape[1]):
            for j in range(target.shape[1]):
                delta = target[row, j] - value[row, i]
                huber = 0.5 * delta**2 if abs(delta) <= kappa else kappa * (abs(delta) - 0.5 * kappa)
                total += abs(tau[row, i] - (1.0 if delta < 0 else 0.0)) * huber / kappa / target.shape[1]
                error += abs(delta) / (value.shape[1] * target.shape[1])
        losses.append(total)
        errors.append(error)
    return losses, errors


# --- network --------------------------------------------------------------------------------------------------------


def test_network_is_its_definition():
    network, (state, tau) = make_network(), make_inputs()
    np.testing.assert_allclose(network(state, tau).detach(), slow_network(network, state, tau), rtol=1e-4, atol=1e-6)


def test_values_are_the_mean_of_the_quantiles():
    network, (state, tau) = make_network(), make_inputs(fractions=9)
    psi = network.embed(network.encode(state))
    torch.testing.assert_close(network.values(psi, tau), network(state, tau).mean(1))


def test_blank_frames_are_all_zeros_and_entities_one_hot():
    network = make_network()
    state = torch.zeros((1, FRAMES, CELLS), dtype=torch.uint8)
    assert network.encode(state).abs().sum() == 0
    state[0, 1, 2] = 4
    assert network.encode(state).nonzero().tolist() == [[0, 1 * CELLS * ENTITIES + 2 * ENTITIES + 4 - 1]]


def test_rows_do_not_influence_each_other():
    network, (state, tau) = make_network(), make_inputs()
    torch.testing.assert_close(network(state, tau)[2:3], network(state[2:3], tau[2:3]))


def test_initial_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    first, second, other = make_network(), make_network(), make_network(seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_initial_weights_stay_in_their_bound():
    for layer in make_network().children():
        bound = 1 / math.sqrt(layer.weight.shape[1])
        assert 0.5 * bound < layer.weight.abs().max() <= bound


def test_the_network_fits_the_world():
    config = Config()
    network = config.agent.network(config.spec.agents[0])
    assert network.psi.weight.shape == (250, 5 * 25 * 5)
    assert network.head.weight.shape == (1 + 4, 250)


# --- noise ----------------------------------------------------------------------------------------------------------


def test_noise_changes_training_outputs_and_spares_evaluation():
    network, (state, tau) = make_network(noisy=True), make_inputs()
    rng, noise, outputs = np.random.default_rng(0), np.empty(network.noise_size, np.float32), {True: [], False: []}
    for _ in range(2):
        draw_noise(rng, noise)
        network.set_noise(torch.from_numpy(noise.copy()))
        for training in outputs:
            outputs[training].append(network.train(training)(state, tau))
    assert not torch.equal(*outputs[True])
    assert torch.equal(*outputs[False])
    assert not torch.equal(outputs[True][0], outputs[False][0])
    np.testing.assert_allclose(outputs[False][0].detach(), slow_network(network, state, tau), rtol=1e-4, atol=1e-6)


def test_noisy_layer_is_its_definition():
    layer, rng = NoisyLinear(3, 2), np.random.default_rng(0)
    layer.initialise(rng)
    layer.noise_in, layer.noise_out = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, -1.0])
    weight = layer.weight + 0.5 / math.sqrt(3) * torch.tensor([[3.0, -6.0, 1.5], [-1.0, 2.0, -0.5]])
    bias = layer.bias + 0.5 / math.sqrt(3) * layer.noise_out
    x = torch.tensor([[1.0, 2.0, -1.0]])
    torch.testing.assert_close(layer(x), x @ weight.T + bias)


def test_every_noisy_layer_has_its_own_noise():
    network = make_network(noisy=True)
    network.set_noise(torch.arange(network.noise_size))
    parts = [part for layer in (network.hidden, network.head) for part in (layer.noise_in, layer.noise_out)]
    assert [part.numel() for part in parts] == [6, 6, 6, 1 + ACTIONS]
    assert torch.equal(torch.cat(parts), torch.arange(network.noise_size))


def test_noise_is_the_signed_root_of_a_normal():
    noise = np.empty(5, np.float32)
    draw_noise(np.random.default_rng(3), noise)
    x = np.random.default_rng(3).standard_normal(5, dtype=np.float32)
    np.testing.assert_array_equal(noise, np.sign(x) * np.sqrt(np.abs(x)))


def test_plain_network_takes_no_noise():
    assert make_network().noise_size == 0


# --- loss -----------------------------------------------------------------------------------------------------------

ROWS, N, N_TARGET = 5, 3, 2
floats = st.floats(-20, 20, width=32)


@given(
    value=arrays(np.float64, (ROWS, N), elements=floats),
    tau=arrays(np.float64, (ROWS, N), elements=st.floats(0, 1, width=32)),
    target=arrays(np.float64, (ROWS, N_TARGET), elements=floats),
    kappa=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_loss_is_the_papers_formula(value, tau, target, kappa):
    loss, td_error = quantile_huber_loss(*map(torch.from_numpy, (value, tau, target)), kappa)
    slow, slow_error = slow_loss(value, tau, target, kappa)
    np.testing.assert_allclose(loss, slow, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(td_error, slow_error, rtol=1e-9, atol=1e-12)


def test_gradient_is_that_of_the_formula_and_none_reaches_the_target():
    rng = np.random.default_rng(0)
    value = torch.tensor(rng.normal(size=(ROWS, N)), requires_grad=True)
    target = torch.tensor(rng.normal(size=(ROWS, N_TARGET)), requires_grad=True)
    tau = torch.tensor(rng.random((ROWS, N)))
    assert torch.autograd.gradcheck(lambda value: quantile_huber_loss(value, tau, target, 1.0)[0], value)
    quantile_huber_loss(value, tau, target, 1.0)[0].sum().backward()
    assert target.grad is None
    assert value.grad.abs().sum() > 0


def test_minimum_of_the_loss_is_the_quantile():
    """Of many targets, the value at tau = 0.8 settles where 80 % of them lie below."""
    target, tau = torch.linspace(0, 100, 1001).unsqueeze(0), torch.tensor([[0.8]])
    losses = [quantile_huber_loss(torch.tensor([[float(v)]]), tau, target, 1e-3)[0].item() for v in range(101)]
    assert int(np.argmin(losses)) == 80


@pytest.mark.parametrize(
    ("value", "tau", "target", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2, 5), "(2, 3, 4)"),
        (torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 5), "(2, 3), (2, 4), (2, 5)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 5), "(2, 3), (2, 3), (1, 5)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 5, dtype=torch.int64), "torch.int64"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 5), "torch.float64"),
    ],
)
def test_loss_refuses_what_does_not_fit(value, tau, target, message):
    with pytest.raises(ValueError) as error:
        quantile_huber_loss(value, tau, target, 1.0)
    assert message in str(error.value)


@given(st.lists(st.integers(0, ACTIONS - 1), min_size=1, max_size=9))
def test_select_actions_takes_one_action_per_row(actions):
    quantiles = torch.randn((len(actions), N, ACTIONS), generator=torch.Generator().manual_seed(0))
    selected = select_actions(quantiles, torch.tensor(actions))
    assert torch.equal(selected, torch.stack([quantiles[row, :, action] for row, action in enumerate(actions)]))

"""Epsilon-greedy choices: which actions, how likely, from which weights, with which random numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.agents.iqn_agent import IQNPolicy
from workbench.core.agents.value_agent import initial_weights
from workbench.runs.presets import preset

CPU = torch.device("cpu")
CONFIG = preset("tiny")
FRAMES, CELLS, ACTIONS = CONFIG.agent.num_frames, 25, 4
torch.set_num_threads(1)  # as in every process of a run
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def make_policy(config=CONFIG, seed=0, device=CPU, weights=None, **options):
    policy = IQNPolicy(config, 0, device, np.random.default_rng(seed), np.random.default_rng(seed + 1), **options)
    policy.load(initial_weights(config, 0) if weights is None else weights)
    return policy


def make_stack(worlds, seed=0):
    return np.random.default_rng(seed).integers(0, 6, (worlds, FRAMES, CELLS)).astype(np.uint8)


@given(worlds=st.integers(1, 20), epsilon=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 1000))
def test_choice_has_the_shapes_dtypes_and_probabilities_that_it_promises(worlds, epsilon, seed):
    choice = make_policy(seed=seed).act(make_stack(worlds, seed), epsilon)
    assert choice.action.shape == choice.greedy.shape == choice.probability.shape == (worlds,)
    assert choice.action.dtype == choice.greedy.dtype == np.int64
    assert choice.probability.dtype == choice.q.dtype == np.float32
    assert choice.q.shape == (worlds, ACTIONS)
    assert ((choice.action >= 0) & (choice.action < ACTIONS)).all()
    for action, greedy, probability, q in zip(choice.action, choice.greedy, choice.probability, choice.q, strict=True):
        assert q[greedy] == q.max()
        assert probability == pytest.approx(epsilon / ACTIONS + (1 - epsilon if action == greedy else 0))


def test_epsilon_0_is_greedy():
    choice = make_policy().act(make_stack(500), 0.0)
    np.testing.assert_array_equal(choice.action, choice.greedy)
    assert (choice.probability == 1).all()


def test_epsilon_1_is_uniform_and_does_not_look_at_the_values():
    choice = make_policy().act(make_stack(8000), 1.0)
    counts = np.bincount(choice.action, minlength=ACTIONS)
    assert ((counts - 2000) ** 2 / 2000).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001
    assert (choice.action == choice.greedy).mean() == pytest.approx(1 / ACTIONS, abs=0.02)


@pytest.mark.parametrize("epsilon", [0.2, 0.7])
def test_actions_are_as_frequent_as_their_probability_says(epsilon):
    choice = make_policy().act(make_stack(8000), epsilon)
    assert (choice.action == choice.greedy).mean() == pytest.approx(1 - epsilon + epsilon / ACTIONS, abs=0.02)


def test_values_are_the_mean_over_the_fractions_that_were_drawn():
    policy, stack = make_policy(), make_stack(6)
    tau = np.random.default_rng(1).random((6, CONFIG.agent.num_policy_quantiles), dtype=np.float32)
    expected = policy.network(torch.from_numpy(stack), torch.from_numpy(tau)).mean(1)
    np.testing.assert_allclose(policy.act(stack, 0.3).q, expected, rtol=1e-4, atol=1e-6)


def test_as_many_random_numbers_are_drawn_whatever_is_chosen():
    states = []
    for epsilon in (0.0, 0.4, 1.0):
        exploration, quantiles = np.random.default_rng(0), np.random.default_rng(1)
        policy = IQNPolicy(CONFIG, 0, CPU, exploration, quantiles)
        policy.load(initial_weights(CONFIG, 0))
        for step in range(5):
            policy.act(make_stack(3, step), epsilon)
        states.append((exploration.bit_generator.state, quantiles.bit_generator.state))
    assert states[0] == states[1] == states[2]


def test_same_seed_same_bits_other_seed_other_actions():
    stack = make_stack(200)
    first, second, other = (make_policy(seed=seed).act(stack, 0.5) for seed in (0, 0, 1))
    for name in ("action", "greedy", "probability", "q"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.action != other.action).any() and (first.q != other.q).any()


def test_torch_global_generator_is_neither_used_nor_moved():
    before = torch.random.get_rng_state()
    first = make_policy().act(make_stack(20), 0.5)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(12345)
    np.testing.assert_array_equal(first.q, make_policy().act(make_stack(20), 0.5).q)
    torch.random.set_rng_state(before)


def test_load_copies_the_online_half_and_the_values_follow():
    weights, stack = initial_weights(CONFIG, 0), make_stack(10)
    expected = make_policy(weights=weights).act(stack, 0.0).q
    policy = make_policy(weights=weights)
    half = len(weights) // 2
    weights[half:] = 7.0  # the target network
    policy.load(weights)
    weights[:half] = 7.0  # the caller's array, after the load
    np.testing.assert_array_equal(policy.act(stack, 0.0).q, expected)
    policy.load(initial_weights(CONFIG, 1))
    assert (policy.act(stack, 0.0).q != expected).any()


def test_number_of_worlds_may_change_from_call_to_call():
    policy = make_policy()
    for worlds in (1, 7, 1, 3):
        assert policy.act(make_stack(worlds), 0.1).q.shape == (worlds, ACTIONS)


def test_earlier_choices_keep_their_values():
    policy = make_policy()
    first = policy.act(make_stack(2, 0), 0.5)
    kept = first.q.copy(), first.action.copy()
    policy.act(make_stack(2, 1), 0.5)
    np.testing.assert_array_equal(first.q, kept[0])
    np.testing.assert_array_equal(first.action, kept[1])


def test_layer_noise_changes_values_and_is_absent_without():
    config = CONFIG.replace(**{"agent.noisy": True, "agent.num_policy_quantiles": 512})
    weights, stack = initial_weights(config, 0), make_stack(4)
    layout = make_policy(config).layout
    quiet = weights.copy()  # the same means, no deviations
    for name, view in layout.views(quiet[: layout.size]).items():
        if name.endswith("_sigma"):
            view[...] = 0
    mean = make_policy(config, weights=quiet).act(stack, 0.0).q
    np.testing.assert_allclose(make_policy(config, weights=weights, noise=False).act(stack, 0.0).q, mean, rtol=1e-5)
    noisy = make_policy(config, weights=weights)
    values = [noisy.act(stack, 0.0).q for _ in range(2)]
    assert np.abs(values[0] - mean).max() > 0.01 and np.abs(values[0] - values[1]).max() > 0.01


def test_acting_without_weights_is_refused():
    policy = IQNPolicy(CONFIG, 0, CPU, np.random.default_rng(0), np.random.default_rng(1))
    with pytest.raises(RuntimeError, match="load"):
        policy.act(make_stack(1), 0.0)


@pytest.mark.parametrize(
    "stack", [make_stack(1)[0], make_stack(2)[:, :-1], make_stack(2).astype(np.int64), make_stack(2).reshape(2, -1)]
)
def test_a_stack_that_does_not_fit_is_refused_with_its_shape(stack):
    policy = make_policy()
    with pytest.raises(ValueError, match="stack is"):
        policy.act(stack, 0.0)
    policy.act(make_stack(2), 0.0)


@pytest.mark.parametrize("weights", [np.zeros(10, np.float32), torch.zeros(10)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="snapshot"):
        make_policy(weights=weights)


@pytest.mark.gpu
@gpu
def test_cuda_agrees_with_cpu():
    cpu, cuda = (make_policy(device=torch.device(name)).act(make_stack(50), 0.5) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu.q, cuda.q, rtol=1e-3, atol=1e-4)
    assert (cpu.greedy == cuda.greedy).mean() > 0.9

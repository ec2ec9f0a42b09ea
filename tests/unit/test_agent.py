"""An update against a plain transcription, and everything that must survive it: views, counters, bits."""

import itertools
import multiprocessing

import numpy as np
import pytest
import torch

from tests import batches
from tests.soundness import check_agent
from workbench.core.agents.base import UPDATE_METRICS
from workbench.core.agents.flat_parameters import to_numpy
from workbench.core.agents.iqn_agent import IQNAgent
from workbench.core.agents.staging import Staging, available_devices, resolve_device
from workbench.core.agents.value_agent import initial_weights
from workbench.core.config import ConfigError
from workbench.core.seeding import stream
from workbench.runs.presets import preset

CPU = torch.device("cpu")
CONFIG = preset("tiny").replace(**{
    "learning.batch_size": 12, "agent.num_quantiles": 3, "agent.num_target_quantiles": 5,
    "agent.num_policy_quantiles": 7, "learning.tau": 0.1,
})  # fmt: skip
torch.set_num_threads(1)  # as in every process of a run: small sums are slower, and other bits, on two
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def fill(batch, seed=0):
    rng = np.random.default_rng(seed)
    batch.s_tm1[...] = rng.integers(0, 6, batch.s_tm1.shape)
    batch.s_t[...] = rng.integers(0, 6, batch.s_t.shape)
    batch.a_tm1[...] = rng.integers(0, 4, batch.a_tm1.shape)
    batch.r_t[...] = rng.normal(size=batch.r_t.shape)
    batch.discount_t[...] = rng.choice([0.0, 0.97, 0.98, 0.99], batch.discount_t.shape)


def train(agent, updates=3, seed=0, learning_rate=1e-2):
    metrics = []
    for update in range(updates):
        fill(agent.batch, seed + update)
        metrics.append(agent.update(learning_rate))
    return torch.stack(metrics).cpu().numpy()


def vector_of(agent):
    return to_numpy(agent.parameters.vector)


# --- the update -----------------------------------------------------------------------------------------------------


def plain_row(value, tau, goal):
    """Loss and mean |delta| of one row, one online fraction at a time, for kappa = 1."""
    loss, distance = torch.zeros(()), 0.0
    for value_i, tau_i in zip(value, tau, strict=True):
        delta = goal - value_i
        huber = torch.where(delta.abs() <= 1, delta**2 / 2, delta.abs() - 0.5)
        loss = loss + ((tau_i - (delta < 0).float()).abs() * huber).mean()
        distance += float(delta.detach().abs().mean()) / len(value)
    return loss, distance


def plain_batch(config, batch, online, target, rng):
    """Losses, values and |delta| of a batch, row by row."""
    learning = config.learning
    lengths = [getattr(config.agent, f"num_{which}quantiles") for which in ("", "target_", "policy_")]
    tau_tm1, tau_t, tau_policy = (torch.from_numpy(rng.random((12, n), dtype=np.float32)) for n in lengths)
    z_tm1, z_t = online(torch.tensor(batch.s_tm1), tau_tm1), target(torch.tensor(batch.s_t), tau_t).detach()
    q_t = (online if learning.double else target)(torch.tensor(batch.s_t), tau_policy).mean(1)
    rows = []
    for row in range(12):
        goal = float(batch.r_t[row]) + float(batch.discount_t[row]) * z_t[row, :, int(q_t[row].argmax())]
        value = z_tm1[row, :, int(batch.a_tm1[row])]
        loss, distance = plain_row(value, tau_tm1[row], goal)
        rows.append((loss, float(value.detach().mean()), distance))
    return zip(*rows, strict=True)


def plain_updates(config, updates, learning_rate):
    """The same updates with separate parameters, loops for the loss, and torch's own clipping and plain Adam."""
    online, target = config.agent.network(config.spec.agents[0]), config.agent.network(config.spec.agents[0])
    for network in (online, target):
        network.initialise(stream(config.seed, "initialisation", 0))
    rng, batch, metrics = stream(config.seed, "learning_quantiles", 0), IQNAgent(config, 0, CPU).batch, []
    optimizer = torch.optim.Adam(online.parameters(), lr=learning_rate, eps=config.learning.adam_eps, foreach=False)
    for update in range(updates):
        fill(batch, update)
        losses, values, distances = plain_batch(config, batch, online, target, rng)
        optimizer.zero_grad()
        loss = torch.stack(losses).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(online.parameters(), config.learning.grad_clip)
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                slow += config.learning.tau * (fast - slow)
        metrics.append([loss.item(), np.mean(values), max(values), np.mean(distances), norm.item()])
    return online, target, np.array(metrics)


@pytest.mark.parametrize("change", [{}, {"learning.double": False}, {"learning.grad_clip": 1e6}])
def test_update_is_its_plain_transcription(change):
    config = CONFIG.replace(**change)
    agent = IQNAgent(config, 0, CPU)
    metrics = train(agent, updates=3)
    online, target, plain_metrics = plain_updates(config, 3, 1e-2)
    np.testing.assert_allclose(metrics, plain_metrics, rtol=1e-3, atol=1e-5)
    for ours, plain in ((agent.online, online), (agent.target, target)):
        for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_double_and_single_choice_of_the_action_differ():
    double, single = (IQNAgent(CONFIG.replace(**{"learning.double": double}), 0, CPU) for double in (True, False))
    assert (train(double)[1:] != train(single)[1:]).any()


def test_next_state_counts_through_the_discount_alone():
    vectors = []
    for seed in (0, 1):
        agent = IQNAgent(CONFIG, 0, CPU)
        fill(agent.batch)
        agent.batch.discount_t[:] = 0.0
        agent.batch.s_t[...] = np.random.default_rng(seed).integers(0, 6, agent.batch.s_t.shape)
        agent.update(1e-2)
        vectors.append(vector_of(agent))
    np.testing.assert_array_equal(*vectors)


def test_n_step_and_gamma_do_not_enter_the_update():
    other = CONFIG.replace(**{"learning.n_step": 9, "learning.gamma": 0.5})
    np.testing.assert_array_equal(train(IQNAgent(CONFIG, 0, CPU)), train(IQNAgent(other, 0, CPU)))


def test_micro_batches_add_up_to_the_batch():
    one, four = (IQNAgent(CONFIG.replace(**{"learning.accumulate": n}), 0, CPU) for n in (1, 4))
    for _ in range(5):
        np.testing.assert_allclose(train(one, 1), train(four, 1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(to_numpy(one.parameters.gradient), to_numpy(four.parameters.gradient), atol=1e-5)


@pytest.mark.parametrize("clip", [1e-3, 1e6])
def test_gradient_is_shortened_to_the_norm_and_recorded_before(clip):
    agent = IQNAgent(CONFIG.replace(**{"learning.grad_clip": clip}), 0, CPU)
    norm = train(agent, 1)[0, UPDATE_METRICS.index("grad_norm")]
    left = float(torch.linalg.vector_norm(agent.parameters.gradient))
    assert norm > 1e-2 and left == pytest.approx(min(clip, norm), rel=1e-4)


def test_learning_rate_is_that_of_the_call():
    agent = IQNAgent(CONFIG, 0, CPU)
    before = to_numpy(agent.parameters.online)
    train(agent, 1, learning_rate=0.0)
    np.testing.assert_array_equal(before, to_numpy(agent.parameters.online))
    train(agent, 1, learning_rate=1e-3)
    assert 0 < np.abs(before - to_numpy(agent.parameters.online)).max() < 2e-3


def test_metrics_are_five_floats_of_their_own_memory():
    agent = IQNAgent(CONFIG, 0, CPU)
    fill(agent.batch)
    first = agent.update(1e-2)
    kept = first.clone()
    agent.update(1e-2)
    assert first.shape == (len(UPDATE_METRICS),) and first.dtype == torch.float32 and torch.equal(first, kept)


def test_a_small_batch_is_fitted():
    """A bandit: each state pays for one action. The values come near the rewards, the best action is found."""
    config = CONFIG.replace(**{"learning.batch_size": 16, "agent.num_quantiles": 8})
    agent = IQNAgent(config, 0, CPU)
    state = np.arange(16) // 4  # four states, every action tried once in each
    for update in range(300):
        agent.batch.s_tm1[...] = 1 + state[:, None, None]
        agent.batch.a_tm1[:] = np.arange(16) % 4
        agent.batch.r_t[:] = np.where(agent.batch.a_tm1 == state, 3.0, -1.0)
        agent.batch.discount_t[:] = 0.0
        loss = float(agent.update(3e-3 * (1 - update / 300))[0])
    states = torch.from_numpy(agent.batch.s_tm1[::4].copy())
    q = agent.online(states, torch.linspace(0.05, 0.95, 19).expand(4, 19)).mean(1)
    torch.testing.assert_close(q.detach(), 4 * torch.eye(4) - 1, atol=0.3, rtol=0)
    assert loss < 0.1


# --- target network, modes ------------------------------------------------------------------------------------------


def test_target_moves_at_every_interval_and_is_counted():
    agent = IQNAgent(CONFIG.replace(**{"learning.target_interval": 3}), 0, CPU)
    for update in range(1, 8):
        before, target = vector_of(agent), to_numpy(agent.parameters.target)
        train(agent, 1, seed=update)
        moved = (target != to_numpy(agent.parameters.target)).any()
        assert moved == (update % 3 == 0)
        assert (agent.updates, agent.target_updates) == (update, update // 3)
        assert (before != vector_of(agent)).any()


def test_target_moves_once_per_update_by_its_share():
    agent = IQNAgent(CONFIG, 0, CPU)
    for update in range(4):
        target = to_numpy(agent.parameters.target)
        train(agent, 1, seed=update)
        expected = target + 0.1 * (to_numpy(agent.parameters.online) - target)
        np.testing.assert_allclose(to_numpy(agent.parameters.target), expected, rtol=1e-5, atol=1e-7)
        assert agent.target_updates == agent.updates == update + 1


def test_update_sets_training_mode_so_noisy_layers_learn():
    config = CONFIG.replace(**{"agent.noisy": True})
    agent = IQNAgent(config, 0, CPU)
    agent.online.eval()
    agent.target.eval()
    before = agent.online.hidden.weight_sigma.detach().clone()
    train(agent, 2)
    assert agent.online.training and agent.target.training
    assert not torch.equal(before, agent.online.hidden.weight_sigma)


def test_every_pass_of_an_update_has_its_own_noise():
    agent, seen = IQNAgent(CONFIG.replace(**{"agent.noisy": True}), 0, CPU), []
    for network in (agent.online, agent.target):
        network.hidden.register_forward_pre_hook(lambda layer, _: seen.append(layer.noise_in.clone()))
    train(agent, 2)
    assert len(seen) == 2 * 3  # the online network twice and the target network once in each update
    assert all(not torch.equal(first, second) for first, second in itertools.combinations(seen, 2))


# --- weights, optimiser, snapshot -----------------------------------------------------------------------------------


def test_networks_start_equal_and_agents_start_different():
    first, second = vector_of(IQNAgent(CONFIG, 0, CPU)), vector_of(IQNAgent(CONFIG, 1, CPU))
    half = len(first) // 2
    np.testing.assert_array_equal(first[:half], first[half:])
    np.testing.assert_array_equal(first, initial_weights(CONFIG, 0))
    assert (first != second).any()


def test_warm_start_copies_the_weights_and_trains_on_from_them():
    agent = IQNAgent(CONFIG, 0, CPU)
    train(agent, 5)
    given, kept = vector_of(agent), vector_of(agent)
    warm = IQNAgent(CONFIG, 0, CPU, weights=given)
    given[:] = 0.0
    np.testing.assert_array_equal(vector_of(warm), kept)
    train(warm, 1, learning_rate=1e-4)
    step = to_numpy(warm.parameters.online) - kept[: len(kept) // 2]
    assert 0 < np.abs(step).max() < 2e-4
    assert check_agent(warm) == (True, "") and warm.updates == 1


def test_optimiser_holds_the_weights_that_the_network_uses():
    agent = IQNAgent(CONFIG, 0, CPU, weights=initial_weights(CONFIG, 1))
    assert agent.optimizer.weights is agent.parameters.online
    assert agent.online.psi.weight.data_ptr() == agent.parameters.vector.data_ptr()
    before = agent.online.psi.weight.detach().clone()
    train(agent, 1)
    assert not torch.equal(before, agent.online.psi.weight)


def test_no_address_changes():
    def addresses(agent):
        adam = agent.optimizer
        tensors = [*agent.online.parameters(), *agent.target.parameters(), agent.parameters.gradient]
        tensors += [adam.weights, adam.exp_avg, adam.exp_avg_sq, adam.steps, adam.learning_rate]
        return [tensor.data_ptr() for tensor in tensors] + [
            array.ctypes.data for array in batches.arrays_of(agent.batch).values()
        ]

    agent = IQNAgent(CONFIG, 0, CPU)
    before = addresses(agent)
    train(agent)
    agent.set_state(agent.get_state())
    train(agent)
    assert addresses(agent) == before
    assert all(array.ctypes.data % 64 == 0 for array in batches.arrays_of(agent.batch).values())


def test_snapshot_is_a_copy_in_host_memory():
    agent = IQNAgent(CONFIG, 0, CPU)
    out = np.empty(agent.parameters.vector.numel(), np.float32)
    agent.snapshot(out)
    kept = vector_of(agent)
    train(agent)
    np.testing.assert_array_equal(out, kept)
    assert (out != vector_of(agent)).any()


@pytest.mark.parametrize("out", [np.empty(3, np.float32), torch.empty(3)])
def test_snapshot_refuses_another_place(out):
    with pytest.raises(ValueError, match="snapshot"):
        IQNAgent(CONFIG, 0, CPU).snapshot(out)


@pytest.mark.parametrize("index", [-1, 2])
def test_an_agent_that_does_not_live_in_the_world_is_refused(index):
    with pytest.raises(ValueError, match=f"index is {index}"):
        IQNAgent(CONFIG, index, CPU)


# --- bits -----------------------------------------------------------------------------------------------------------


def run(seed=0, index=0, weights=None):
    torch.set_num_threads(1)
    agent = IQNAgent(CONFIG.replace(seed=seed), index, CPU, weights)
    return train(agent, 4), vector_of(agent)


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_same_seed_same_bits_and_other_seed_or_agent_other_bits():
    before = torch.random.get_rng_state()
    first = run()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(99)
    np.random.seed(99)
    assert_same(first, run())
    for other in (run(seed=1), run(index=1), run(index=1, weights=initial_weights(CONFIG, 0))):
        assert (first[1] != other[1]).any() and (first[0] != other[0]).any()
    torch.random.set_rng_state(before)


def test_another_process_gets_the_same_bits():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same(run(), pool.apply(run))


def test_agents_trained_in_turn_do_not_touch_each_other():
    first, second = IQNAgent(CONFIG, 0, CPU), IQNAgent(CONFIG, 1, CPU)
    for update in range(4):
        train(first, 1, seed=update)
        train(second, 1, seed=update)
    np.testing.assert_array_equal(vector_of(first), run(index=0)[1])
    np.testing.assert_array_equal(vector_of(second), run(index=1)[1])


@pytest.mark.parametrize("noisy", [False, True])
def test_state_round_trip_continues_bit_for_bit(noisy):
    config = CONFIG.replace(**{"agent.noisy": noisy})
    agent = IQNAgent(config, 0, CPU)
    train(agent, 3)
    state = agent.get_state()
    metrics = train(agent, 3, seed=3)
    other = IQNAgent(config, 1, CPU)
    train(other, 1)
    other.set_state(state)
    assert_same((metrics, vector_of(agent)), (train(other, 3, seed=3), vector_of(other)))
    assert (other.updates, other.target_updates) == (6, 6)
    assert check_agent(other) == (True, "")


def test_state_is_a_copy_of_plain_arrays_and_whole_numbers():
    agent = IQNAgent(CONFIG, 0, CPU)
    state = agent.get_state()
    assert all(isinstance(value, (np.ndarray, int)) for value in state.values())
    assert all(value.dtype != object for value in state.values() if isinstance(value, np.ndarray))
    kept = {name: np.copy(value) for name, value in state.items()}
    train(agent)
    for name, value in state.items():
        np.testing.assert_array_equal(value, kept[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": np.zeros(3, np.float32)}, "snapshot"),
        ({"exp_avg": np.zeros(3, np.float32)}, "exp_avg"),
        ({"updates": 7}, "3 steps of the optimiser and 3 target updates in 7 updates"),
        ({"target_updates": 6}, "6 target updates in 3 updates"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    agent = IQNAgent(CONFIG, 0, CPU)
    train(agent, 3)
    with pytest.raises(ValueError, match=message):
        agent.set_state(agent.get_state() | change)


def test_an_agent_of_more_updates_than_float32_counts_is_kept_and_continues_bit_for_bit():
    """A small network makes 2**24 updates in a day; Adam counts its steps in float32, which ends there."""
    one, other, made = IQNAgent(CONFIG, 0, CPU), IQNAgent(CONFIG, 0, CPU), 2**24 - 1
    one.set_state(one.get_state() | dict.fromkeys(("step", "updates", "target_updates"), made))
    train(one, 3)
    assert {one.get_state()[name] for name in ("step", "updates", "target_updates")} == {made + 3}
    other.set_state(one.get_state())
    assert_same((train(one, seed=3), vector_of(one)), (train(other, seed=3), vector_of(other)))


# --- devices --------------------------------------------------------------------------------------------------------


def test_auto_is_the_best_device_that_is_there():
    assert resolve_device("cpu") == CPU
    assert str(resolve_device("auto")) == available_devices()[0]
    assert available_devices()[-1] == "cpu"


@pytest.mark.parametrize("name", ["cuda:77", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigError, match=rf"{name}.* this machine has .*cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", available_devices())
def test_staging_brings_every_field_to_the_device(name):
    staging = Staging(
        {"codes": ((3, 5), np.uint8), "none": ((0,), np.float32), "tau": ((7,), np.float32)}, resolve_device(name)
    )
    addresses = [tensor.data_ptr() for tensor in staging.device.values()]
    for step in range(5):
        staging.host["codes"][...] = step
        staging.host["tau"][...] = np.arange(7) + step / 2
        staging.upload()
        assert torch.equal(staging.device["codes"].cpu(), torch.full((3, 5), step, dtype=torch.uint8))
        assert torch.equal(staging.device["tau"].cpu(), torch.arange(7) + step / 2)
    assert [tensor.data_ptr() for tensor in staging.device.values()] == addresses
    assert staging.device["none"].numel() == 0 and all(address % 64 == 0 for address in addresses)


# --- CUDA -----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@gpu
def test_cuda_agrees_with_cpu():
    cpu, cuda = IQNAgent(CONFIG, 0, CPU), IQNAgent(CONFIG, 0, torch.device("cuda"))
    np.testing.assert_allclose(train(cpu, 5), train(cuda, 5), rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@gpu
def test_cuda_repeats_its_bits_with_deterministic_algorithms(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        first, second = IQNAgent(CONFIG, 0, torch.device("cuda")), IQNAgent(CONFIG, 0, torch.device("cuda"))
        assert_same((train(first, 20), vector_of(first)), (train(second, 20), vector_of(second)))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@gpu
def test_cuda_update_never_waits_for_the_device():
    agent = IQNAgent(CONFIG, 0, torch.device("cuda"))
    train(agent)
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent.update(1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@gpu
def test_cuda_batch_may_be_filled_again_at_once():
    quick, slow = IQNAgent(CONFIG, 0, torch.device("cuda")), IQNAgent(CONFIG, 0, torch.device("cuda"))
    for update in range(50):
        train(quick, 1, seed=update)
        train(slow, 1, seed=update)
        torch.cuda.synchronize()
    np.testing.assert_allclose(vector_of(quick), vector_of(slow), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@gpu
def test_cuda_snapshot_holds_the_last_update():
    agent = IQNAgent(CONFIG, 0, torch.device("cuda"))
    train(agent, 10)
    out = np.empty(agent.parameters.vector.numel(), np.float32)
    agent.snapshot(out)
    np.testing.assert_array_equal(out, vector_of(agent))

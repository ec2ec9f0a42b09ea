"""Double DQN: its targets and loss against a plain transcription, its options, and the name of its loss in charts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.unit.test_agent import fill, train, vector_of
from workbench.core.agents.networks import duel
from workbench.view.panel.charts import charts_of

CPU = torch.device("cpu")
DQN = wb.preset("tiny").replace(agent={"name": "dqn", "width": 16, "num_frames": 2}, device="cpu")


def agent_of(**changes):
    config = DQN.replace(**changes)
    return config.agent.agent_class(config, 0, CPU)


@pytest.mark.parametrize("double", [True, False])
def test_loss_and_values_are_those_of_a_plain_transcription(double):
    agent = agent_of(**{"learning.double": double, "learning.tau": 0.3, "learning.grad_clip": 1e9})
    train(agent)  # online and target network are different from here on
    fill(agent.batch, 9)
    batch = agent.batch
    with torch.no_grad():
        online, target = (
            [network.q(torch.from_numpy(s)).numpy() for s in (batch.s_tm1, batch.s_t)]
            for network in (agent.online, agent.target)
        )  # fmt: skip
    losses, values, errors = [], [], []
    for row in range(len(batch.a_tm1)):
        action = np.argmax((online if double else target)[1][row])
        error = batch.r_t[row] + batch.discount_t[row] * target[1][row][action] - online[0][row][batch.a_tm1[row]]
        losses.append(error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5)
        values.append(online[0][row][batch.a_tm1[row]])
        errors.append(abs(error))
    metrics = agent.update(1e-3).numpy()
    expected = [np.mean(losses), np.mean(values), np.max(values), np.mean(errors)]
    np.testing.assert_allclose(metrics[:4], expected, rtol=1e-4)
    np.testing.assert_allclose(agent.td_errors(), errors, rtol=1e-3, atol=1e-6)


def test_dueling_heads_are_a_value_and_advantages_without_their_mean():
    network = agent_of(**{"agent.dueling": True}).online
    assert network.head.weight.shape[0] == 5 and agent_of().online.head.weight.shape[0] == 4
    heads = []
    network.head.register_forward_hook(lambda *call: heads.append(call[2]))
    with torch.no_grad():
        q = network.q(torch.zeros(3, 2, *DQN.spec.agents[0].shape, dtype=torch.uint8))
    torch.testing.assert_close(q, duel(heads[0]))


def test_micro_batches_change_nothing_and_noisy_layers_draw_noise_of_their_own():
    one, other = agent_of(), agent_of(**{"learning.accumulate": 4})
    train(one)
    train(other)
    np.testing.assert_allclose(vector_of(one), vector_of(other), atol=1e-5)
    noisy = agent_of(**{"agent.noisy": True})
    before = noisy.get_state()
    first = train(noisy, 1)
    noisy.set_state(before)
    again = train(noisy, 1)
    np.testing.assert_array_equal(first, again)
    assert noisy.online.noise_size > 0 and (first != train(noisy, 1)).any()


def test_a_state_put_into_another_agent_continues_with_the_same_bits():
    one, other = agent_of(), agent_of(seed=5)
    train(one)
    other.set_state(one.get_state())
    np.testing.assert_array_equal(train(one, seed=7), train(other, seed=7))
    np.testing.assert_array_equal(vector_of(one), vector_of(other))


def test_the_chart_of_the_loss_bears_the_name_that_the_agents_have_for_it():
    runs = [SimpleNamespace(config=config, history=None) for config in (wb.preset("tiny"), DQN)]
    for run in runs:
        run.history = SimpleNamespace(schema=SimpleNamespace(metrics={}))
    assert charts_of(runs[:1])["loss"].unit == "quantile Huber loss"
    assert charts_of(runs[1:])["loss"].unit == "Huber loss"
    assert charts_of(runs)["loss"].unit == "quantile Huber loss or Huber loss"

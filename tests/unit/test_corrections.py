"""Cut and Retrace against slow transcriptions of their definitions, and who refuses them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.unit import inprocess
from tests.unit.test_own_agent import late
from workbench.zoo.corrections import Window, corrected_targets
from workbench.zoo.measures import DrawnRows

ACTIONS, TURNS = 3, 4
DQN = wb.preset("tiny").replace(agent={"name": "dqn", "width": 16, "num_frames": 2}, device="cpu")


def drawn(seed, rows=8):
    """Windows such as a replay makes: nothing behind the span, some terminated."""
    rng = np.random.default_rng(seed)
    span = rng.integers(1, TURNS + 1, rows)
    here = np.arange(TURNS) < span[:, None]
    ends = (np.arange(TURNS) == span[:, None] - 1) & (rng.random((rows, 1)) < 0.4)
    found = {
        "span": span, "actions": np.where(here, rng.integers(0, ACTIONS, (rows, TURNS)), 0),
        "rewards": np.where(here, rng.normal(size=(rows, TURNS)), 0),
        "probabilities": np.where(here, rng.uniform(0.05, 1, (rows, TURNS)), 0),
        "discounts": np.where(here & ~ends, 0.9, 0),
    }  # fmt: skip
    online, target = rng.normal(size=(2, rows, TURNS + 1, ACTIONS))
    return found, online, target


def corrected(found, online, target, epsilon, trace):
    window = Window(*(torch.from_numpy(found[name]) for name in Window._fields))
    targets, ratio = corrected_targets(window, torch.from_numpy(online), torch.from_numpy(target), epsilon, trace)
    return targets.numpy(), ratio.numpy()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_the_cut_is_the_return_up_to_the_first_action_that_is_not_greedy(seed):
    found, online, target = drawn(seed)
    for row, value in enumerate(corrected(found, online, target, 0.0, 1.0)[0]):
        total, discount, turn = 0.0, 1.0, 0
        while turn < found["span"][row] and (turn == 0 or found["actions"][row, turn] == online[row, turn].argmax()):
            total += discount * found["rewards"][row, turn]
            discount *= found["discounts"][row, turn]
            turn += 1
        total += discount * target[row, turn, online[row, turn].argmax()]
        assert value == pytest.approx(total)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.0, 0.7, 1.0]))
def test_retrace_is_the_sum_of_its_definition(seed, epsilon, trace):
    found, online, target = drawn(seed)
    targets, ratios = corrected(found, online, target, epsilon, trace)
    for row in range(len(targets)):

        def policy(turn, row=row):
            chances = np.full(ACTIONS, epsilon / ACTIONS)
            chances[online[row, turn].argmax()] += 1 - epsilon
            return chances

        total = target[row, 0, found["actions"][row, 0]]
        for turn in range(found["span"][row]):
            weight = 1.0
            for before in range(1, turn + 1):
                action = found["actions"][row, before]
                ratio = policy(before)[action] / found["probabilities"][row, before]
                assert ratios[row, before] == pytest.approx(ratio, rel=1e-5)
                weight *= found["discounts"][row, before - 1] * trace * min(1, ratio)
            value = policy(turn + 1) @ target[row, turn + 1]
            error = found["discounts"][row, turn] * value - target[row, turn, found["actions"][row, turn]]
            total += weight * (found["rewards"][row, turn] + error)
        assert targets[row] == pytest.approx(total, rel=1e-5, abs=1e-5)
        assert np.isnan(ratios[row, found["span"][row] :]).all()


@pytest.mark.parametrize("correction", ["cut", "retrace"])
def test_with_one_step_a_greedy_target_is_that_of_no_correction(correction):
    changes = {"learning.n_step": 1, "exploration.epsilon_end": 0.0, "learning.learning_rate": 1e-3}
    plain = inprocess.run(DQN.replace(**changes), 0)
    same = inprocess.run(DQN.replace(**changes, **{"learning.correction": correction}), 0)
    np.testing.assert_allclose(inprocess.weights(same), inprocess.weights(plain), rtol=1e-3, atol=1e-5)


def test_timing_changes_nothing_and_the_ratios_are_in_the_history():
    config = DQN.replace(**{"learning.correction": "retrace", "learning.trace": 0.9})
    with inprocess.as_in_a_child():
        parts = inprocess.build(config, 1, [DrawnRows()])
        inprocess.take_over(parts)
        parts.trainer.publish_initial()
        inprocess.run_sequential(parts.collector, parts.trainer, 1, before_epoch=lambda: None)
        parts.collector.finish()
    assert inprocess.digests(parts) == inprocess.digests(late(config, 1))
    table = inprocess.history(parts).table("off_policy")
    assert (table["ratio_10"] <= table["ratio_50"]).all() and (table["ratio_50"] <= table["ratio_90"]).all()
    assert (table["ratio_90"] > 0).any() and np.isnan(table["effective"]).all() and (table["dropped"] == 0).all()


def test_an_agent_that_offers_no_correction_refuses_it_with_the_reason():
    with pytest.raises(wb.ConfigError, match=r"is .retrace.; IQN offers none: .* no quantiles; .* such as .dqn"):
        wb.preset("tiny").replace(**{"learning.correction": "retrace"})

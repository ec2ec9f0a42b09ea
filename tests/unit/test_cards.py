"""On a real card: captured updates, fused ones, placement and precision. Skipped where there is none."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import workbench as wb
from tests.unit import inprocess
from tests.unit.test_fused import KINDS, filled
from tests.unit.test_on_device import CORRECTED
from workbench.core.train.learners import Learner
from workbench.zoo.fused import FusedLearner
from workbench.zoo.on_device import Replayed, cost_of_bfloat16, in_bfloat16

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

CARD = torch.device("cuda")
TINY = wb.preset("tiny").replace(device="cuda")


@pytest.fixture(autouse=True)
def as_in_a_child(monkeypatch):
    """Torch as child processes set it up; what it warns of is no failure here."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("warn")
    with inprocess.as_in_a_child():
        yield
    torch.set_deterministic_debug_mode("default")


def learner_of(config, captured=False, device=CARD):
    made = FusedLearner if config.processes.learners == "fused" else Learner
    learner = made(config, range(config.num_agents), filled(config), device)
    if captured:
        capture(learner)
    return learner


def capture(learner, failed=pytest.fail):
    for owner in [learner] if isinstance(learner, FusedLearner) else learner.agents.values():
        owner.descend = Replayed(owner.descend, failed)


def learn(learner, updates, rate=lambda update: 1e-3 / (1 + update)):
    """Updates of every agent; their metrics, one array."""
    found = {}

    def ask(index):
        if index not in found:
            found[index] = None
            found[index] = learner.learn(index, updates, learner.replays[index].count, rate, lambda: None).metrics

    learner.ask = ask
    for index in learner.agents:
        ask(index)
    return np.stack([found[index] for index in learner.agents])


def vectors(learner):
    return torch.stack([agent.parameters.vector for agent in learner.agents.values()]).cpu()


def distance(one, other):
    """Of each agent, relative to the length of its weights."""
    apart = (vectors(one).double() - vectors(other).double()).norm(dim=1)
    return (apart / vectors(one).double().norm(dim=1)).numpy()


@pytest.mark.parametrize(
    ("learners", "changes"),
    [(learners, changes) for learners in ("per_agent", "fused") for changes in KINDS.values()]
    + [("per_agent", CORRECTED)],
    ids=[f"{learners}-{kind}" for learners in ("per_agent", "fused") for kind in KINDS] + ["per_agent-corrected"],
)
def test_captured_updates_have_the_bits_of_those_that_are_not(changes, learners):
    config = TINY.replace(**{"processes.learners": learners, **changes})
    plain, captured = learner_of(config), learner_of(config, captured=True)
    np.testing.assert_array_equal(learn(plain, 12), learn(captured, 12))
    assert torch.equal(vectors(plain), vectors(captured))


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_one_fused_update_on_a_card_is_that_of_separate_learners_to_rounding(changes):
    separate = learner_of(TINY.replace(**changes, **{"processes.learners": "per_agent"}))
    fused = learner_of(TINY.replace(**changes, **{"processes.learners": "fused"}), captured=True)
    learn(separate, 1)
    learn(fused, 1)
    assert distance(separate, fused).max() <= 1e-5


def test_a_card_agrees_with_the_cpu_and_the_action_changes_after_a_publication():
    config = TINY.replace(**{"processes.learners": "fused"})
    card, cpu = learner_of(config, captured=True), learner_of(config, device=torch.device("cpu"))
    rng = np.random.default_rng(3)
    policy = config.agent.policy_class(config, 0, CARD, rng, rng)
    stacks = rng.integers(0, 6, (1, 3, *config.spec.agents[0].shape)).astype(np.uint8)
    out, seen = np.empty(policy.vector_size, np.float32), []
    for updates in (1, 10, 40):
        learn(card, updates)
        learn(cpu, updates)
        card.agents[0].snapshot(out)
        policy.load(out)
        seen.append(policy.act(stacks, 0.0).q)
    assert distance(card, cpu).max() < 1e-2
    assert all(not np.array_equal(one, other) for one, other in pairwise(seen))


def test_work_that_cannot_be_captured_is_told_once_and_goes_on_as_it_is():
    learner, reasons = learner_of(TINY.replace(**{"processes.learners": "fused"})), []
    original = learner.descend

    def waits(groups):
        metrics, errors = original(groups)
        float(metrics.sum())  # the device cannot be waited for while its work is noted down
        return metrics, errors

    learner.descend = waits
    capture(learner, reasons.append)
    plain = learner_of(TINY.replace(**{"processes.learners": "fused"}))
    np.testing.assert_array_equal(learn(learner, 8), learn(plain, 8))
    assert len(reasons) == 1 and "captur" in str(reasons[0]) and learner.agents[0].updates == 8


@pytest.mark.parametrize("learners", ["per_agent", "fused"])
def test_bfloat16_is_captured_too_and_stays_near(learners):
    config = TINY.replace(**{"processes.learners": learners})
    plain, fast, captured = learner_of(config), learner_of(config), learner_of(config)
    for learner in (fast, captured):
        for agent in learner.agents.values():
            in_bfloat16(agent)
    capture(captured)
    for learner in (plain, fast, captured):
        learn(learner, 8)
    assert torch.equal(vectors(fast), vectors(captured))
    assert 0 < distance(plain, fast).max() < 0.05 and cost_of_bfloat16(CARD) < 1


def test_a_replay_of_a_graph_never_waits_for_the_device():
    learner = learner_of(TINY.replace(**{"processes.learners": "fused"}), captured=True)
    learn(learner, 6)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.descend((tuple(learner.agents),))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_a_capture_holds_of_the_card_is_about_what_one_update_needs():
    plain = learner_of(TINY.replace(**{"processes.learners": "fused"}))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    learn(plain, 1)
    needs = torch.cuda.max_memory_allocated() - before
    captured = learner_of(plain.config, captured=True)
    torch.cuda.empty_cache()
    reserved = torch.cuda.memory_reserved()
    learn(captured, 8)
    assert torch.cuda.memory_reserved() - reserved < 4 * needs + 2**27  # rounding, and workspaces of libraries

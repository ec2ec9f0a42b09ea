"""Precision, captured updates and placement without a card: a stand-in for graphs, fake tensors for its memory."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import workbench as wb
from tests.unit import inprocess
from tests.unit.test_fused import DQN, Batched, Pair, filled
from workbench.core.agents import products
from workbench.core.agents.staging import Staging
from workbench.core.config import MODES
from workbench.core.train.learners import Learner
from workbench.zoo import on_device
from workbench.zoo.fused import FusedLearner
from workbench.zoo.on_device import OnDevice, Replayed, in_bfloat16

TINY = wb.preset("tiny").replace(device="cpu")
FAKE = torch.device("meta")  # a device of its own, whose tensors mix with no others


@pytest.fixture(autouse=True)
def one_thread():
    with inprocess.as_in_a_child():
        yield


class StandIn:
    """In place of a CUDA graph: it does the same work again, into the tensors that the capture gave."""

    captured = 0

    @staticmethod
    def warm_up(work):
        return work()

    def capture(self, work):
        StandIn.captured += 1
        self.work = work
        kept = [(each, each.clone()) for each in self.state]  # a capture does nothing
        self.outputs = work()
        for each, before in kept:
            each.copy_(before)
        return self.outputs

    def replay(self):
        found = self.work()
        pairs = zip(self.outputs, found, strict=True) if isinstance(found, tuple) else [(self.outputs, found)]
        for output, new in pairs:
            output.copy_(new)


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(on_device, "Graph", StandIn)
    monkeypatch.setattr(StandIn, "captured", 0)
    return StandIn


def state_of(learner):
    found = [learner.vector, learner.exp_avg, learner.exp_avg_sq]
    return found + [agent.optimizer.steps for agent in learner.agents.values()]


def test_replayed_updates_use_what_is_staged_then_and_the_action_changes_after_a_publication(graphs):
    config = TINY.replace(**{"processes.learners": "fused", "learning.learning_rate": 0.05})
    pair = Pair(config)
    graphs.state = state_of(pair.fused)
    pair.fused.descend = Replayed(pair.fused.descend, pytest.fail)
    rng = np.random.default_rng(3)
    policy = config.agent.policy_class(config, 0, torch.device("cpu"), rng, rng)
    stacks = rng.integers(0, 6, (1, 3, *config.spec.agents[0].shape)).astype(np.uint8)
    out, seen = np.empty(policy.vector_size, np.float32), []
    for updates in (0, 10, 60):
        pair.learn(updates, lambda update: 0.05 / (1 + update))
        pair.fused.agents[0].snapshot(out)
        policy.load(out)
        seen.append(policy.act(stacks, 0.0).q)
    assert graphs.captured == 1
    assert pair.distance().max() < 1e-2  # with other rows, another step size or frozen weights it would be far off
    assert all(not np.array_equal(one, other) for one, other in pairwise(seen))


def test_other_agents_due_are_captured_again(graphs):
    pair = Pair(TINY.replace(**{"processes.learners": "fused"}))
    graphs.state = state_of(pair.fused)
    pair.fused.descend = Replayed(pair.fused.descend, pytest.fail)
    pair.learn(5)
    pair.fused.ask = lambda other: None
    pair.fused.learn(0, 5, 80, lambda update: 1e-3, lambda: None)
    assert graphs.captured == 2


def test_a_capture_that_fails_is_told_once_and_the_updates_continue(graphs, monkeypatch):
    def refuse(self, work):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", refuse)
    pair, reasons = Pair(TINY.replace(**{"processes.learners": "fused"})), []
    pair.fused.descend = Replayed(pair.fused.descend, reasons.append)
    pair.learn(8)
    assert [str(reason) for reason in reasons] == ["operation not permitted when stream is capturing"]
    assert pair.fused.agents[0].updates == 8 and pair.distance().max() < 1e-2


# Precision


@pytest.mark.parametrize("changes", [{"agent.noisy": True}, DQN], ids=["iqn", "dqn"])
def test_only_the_matrix_products_are_made_in_bfloat16(changes, monkeypatch):
    config = TINY.replace(**changes)
    learners = [Learner(config, (0,), filled(config)[:1], torch.device("cpu")) for _ in range(2)]
    in_bfloat16(learners[1].agents[0])
    dtypes, linear = set(), torch.nn.functional.linear

    def watched(x, weight, bias=None):
        product = linear(x, weight, bias)
        dtypes.add((x.dtype, weight.dtype, product.dtype))
        return product

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    monkeypatch.setattr(products.F, "linear", watched)
    learners[1].learn(0, 1, 80, lambda update: 1e-3, lambda: None)
    assert dtypes == {(torch.float32, torch.float32, torch.bfloat16)}
    learners[0].learn(0, 1, 80, lambda update: 1e-3, lambda: None)
    one, other = (learner.agents[0] for learner in learners)
    assert {each.dtype for each in (other.parameters.vector, other.optimizer.exp_avg, other.td_error)} == {
        torch.float32
    }
    gradients = one.parameters.gradient, other.parameters.gradient
    assert 0 < (gradients[0] - gradients[1]).norm() < 0.1 * gradients[0].norm()


@pytest.mark.filterwarnings("ignore::workbench.runs.folder.RecordWarning")
def test_both_modes_agree_in_bfloat16_and_a_device_without_it_is_told_of(tmp_path):
    config = TINY.replace(**{"learning.precision": "bfloat16", "processes.matmul_precision": "high"})
    config = config.replace(epochs=6, processes={"learners": "fused"})
    results = []
    for mode in MODES:
        with wb.launch(config, mode, 1, out=tmp_path, hooks=[Batched()]) as run:
            results.append(run.wait(300).digest)
        log = "".join(path.read_text() for path in (run.folder.path / "logs").iterdir())
        slow = [text for text in run.warnings if "bfloat16 take longer than in float32" in text]
        assert len(slow) == ("bfloat16 take longer" in log)
        assert [check.name for check in run.diagnose().failed] == []
    assert results[0] == results[1]
    assert results[0] != inprocess.digests(inprocess.run(config, 1))  # those of float32
    assert wb.load(run.folder.path).config.processes.matmul_precision == "high"


@pytest.mark.parametrize(("precision", "allowed"), [("highest", False), ("high", True)])
def test_convolutions_are_as_precise_as_other_products(monkeypatch, precision, allowed):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not allowed)
    before = torch.get_float32_matmul_precision()
    try:
        OnDevice().on_parts(SimpleNamespace(config=TINY.replace(**{"processes.matmul_precision": precision})))
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.set_float32_matmul_precision(before)


# Placement


def numpy_of(tensor):
    """As a tensor of a card has it: only what lies in host memory can be looked at."""
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy; use Tensor.cpu() first")
    return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def adam_in_steps(weights, gradients, first, second, _, steps, lr, **others):
    """The products of Adam one by one, for fake tensors, of which the fused kernel knows nothing."""
    for weight, gradient, one, two, step in zip(weights, gradients, first, second, steps, strict=True):
        one.lerp_(gradient, 0.1)
        two.lerp_(gradient * gradient, 0.001)
        weight.sub_(lr * step * one / two.sqrt())


def moved(module, convert):
    """``Module.to`` by new parameters and buffers: fake ones cannot be swapped in place."""
    for each in module.modules():
        for name, parameter in each._parameters.items():
            each._parameters[name] = torch.nn.Parameter(convert(parameter.detach()))
        for name, buffer in each._buffers.items():
            each._buffers[name] = None if buffer is None else convert(buffer)
    return module


@pytest.fixture
def fake(monkeypatch):
    """All tensors are fake, and those of the device refuse to be mixed with others."""
    monkeypatch.setattr(FakeTensor, "numpy", numpy_of)
    monkeypatch.setattr(torch.nn.Module, "_apply", moved)
    monkeypatch.setattr(torch, "_fused_adam_", adam_in_steps)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def learner_of(learners, changes):
    config = TINY.replace(**{"processes.learners": learners, "world.num_agents": 2, **changes})
    made = {"per_agent": Learner, "fused": FusedLearner}[learners]
    learner = made(config, range(2), filled(config), FAKE)
    learner.ask = lambda other: learner.made.append(learner.learn(other, *learner.arguments))
    learner.arguments, learner.made = (2, 80, lambda update: 1e-3, lambda: None), []
    return learner


KINDS = {
    "iqn": {"agent.noisy": True},
    "dqn": DQN | {"learning.accumulate": 2, "replay.sampler": "prioritised", "learning.n_step": 5},
}


CORRECTED = {"agent": DQN["agent"] | {"dueling": True}, "learning.correction": "retrace", "learning.trace": 0.9}


@pytest.mark.parametrize(
    ("learners", "changes"),
    [(learners, changes) for learners in ("per_agent", "fused") for changes in KINDS.values()]
    + [("per_agent", CORRECTED)],
    ids=[f"{learners}-{kind}" for learners in ("per_agent", "fused") for kind in KINDS] + ["per_agent-corrected"],
)
def test_updates_and_snapshots_bring_everything_to_the_device_and_back(learners, changes, fake):
    learner = learner_of(learners, changes)
    learned = learner.learn(0, *learner.arguments)
    agent = learner.agents[0]
    assert (
        learned.metrics.shape == (2, 5 + len(learner.agents[0].arguments.metrics))
        and agent.updates == agent.target_updates == 2
    )
    assert {agent.parameters.vector.device, agent.optimizer.exp_avg.device, agent.td_error.device} == {FAKE}
    agent.snapshot(np.empty(len(agent.parameters.vector), np.float32))
    assert agent.td_errors().shape == (16,)


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_policy_acts_on_the_device_with_weights_from_host_memory(changes, fake):
    config, rng = TINY.replace(**changes), np.random.default_rng(0)
    policy = config.agent.policy_class(config, 0, FAKE, rng, rng)
    policy.load(np.zeros(policy.vector_size, np.float32))
    chosen = policy.act(np.zeros((4, 3, *config.spec.agents[0].shape), np.uint8), 0.1)
    assert policy.weights.device == FAKE and chosen.q.shape == (4, config.spec.agents[0].num_actions)


def without_device(quantiles, actions):
    """A mutant of ``select_actions`` that forgets the device."""
    chosen = actions.unsqueeze(1) == torch.arange(quantiles.shape[2])
    return (quantiles * chosen.unsqueeze(1)).sum(2)


def not_uploaded(self):
    """A mutant of ``Staging.upload`` that gives out the host's own tensors."""
    self.device.update({name: torch.from_numpy(array) for name, array in self.host.items()})


@pytest.mark.parametrize("learners", ["per_agent", "fused"])
@pytest.mark.parametrize("mutant", ["select_actions", "upload", "buffers"])
def test_a_forgotten_move_to_the_device_fails(learners, mutant, fake, monkeypatch):
    if mutant == "select_actions":
        monkeypatch.setattr("workbench.core.agents.iqn_agent.select_actions", without_device)
    if mutant == "upload":
        monkeypatch.setattr(Staging, "upload", not_uploaded)
    learner = learner_of(learners, {})
    if mutant == "buffers":
        learner.agents[0].online.frequencies = torch.arange(16.0)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        learner.learn(0, *learner.arguments)


def test_errors_that_are_not_brought_to_host_memory_fail(fake, monkeypatch):
    learner = learner_of("per_agent", {})
    monkeypatch.setattr(FakeTensor, "cpu", lambda tensor: tensor)
    with pytest.raises(TypeError, match="can't convert meta device type tensor to numpy"):
        learner.agents[0].td_errors()

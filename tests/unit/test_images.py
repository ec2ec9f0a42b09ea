"""Observations that are images: which are taken for one, the convolutions, both agents in both modes."""

import dataclasses

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.core.agents.iqn_agent import IQNConfig
from workbench.core.agents.networks import Linear, Torso, image
from workbench.core.envs.base import AgentSpec, EnvSpec, Turn, WorldConfig
from workbench.zoo.dqn import DQNConfig

SHAPE = (6, 7, 3)


@dataclasses.dataclass(frozen=True)
class Images(WorldConfig):
    """Two agents that see where a bright pixel is; each is paid for naming the half of the image that it is in."""

    shape: tuple[int, ...] = SHAPE

    def spec(self):
        return EnvSpec((AgentSpec(self.shape, "uint8", num_actions=2),) * 2, max_turns=20, whole_epochs=True)

    def make(self, rng):
        return Lights(self, rng, self.num_worlds)


class Lights:
    """The world."""

    def __init__(self, config, rng, num_worlds):
        self.config, self.rng, self.num_worlds = config, rng, num_worlds
        self.rewards = np.zeros((2, num_worlds), np.float32)
        self.reset()

    def reset(self):
        self.column = np.zeros(self.num_worlds, np.int64)

    def begin_turn(self):
        self.column = self.rng.integers(self.config.shape[1], size=self.num_worlds)

    def observe(self, agent):
        frame = np.zeros((self.num_worlds, *self.config.shape), np.uint8)
        frame[np.arange(self.num_worlds), 2 + agent, self.column] = 255
        return frame

    def act(self, agent, actions):
        self.rewards[agent] = (2 * self.column >= self.config.shape[1]) == actions

    def end_turn(self):
        never = np.zeros(self.rewards.shape, bool)
        return Turn(self.rewards, never, never, ~never)

    def get_state(self):
        return {"rng": self.rng.bit_generator.state}

    def set_state(self, state):
        self.rng.bit_generator.state = state["rng"]


@pytest.mark.parametrize(("shape", "taken_for", "sizes"), [
    ((7, 7, 3), (7, 7, 3), [3]), ((3, 3, 2), (3, 3, 2), [3]), ((84, 84, 4), (84, 84, 4), [8, 4, 3]),
    ((4, 84, 96), (4, 84, 96), [8, 4, 3]), ((84, 96), (84, 96, 1), [8, 4, 3]), ((36, 36, 1), (36, 36, 1), [8, 4, 3]),
    ((8, 8, 111), (8, 8, 111), [3]), ((35, 210, 3), (35, 210, 3), [3]),
    ((25,), (), []), ((20, 5), (), []), ((3, 2, 7), (), []), ((2, 1, 1), (), []), ((5, 5, 5, 5), (), []),
])  # fmt: skip
@pytest.mark.parametrize("arguments", [IQNConfig(width=8, num_frames=2), DQNConfig(width=8, num_frames=2)])
def test_convolutions_are_chosen_by_the_shape_and_are_the_same_for_both_agents(arguments, shape, taken_for, sizes):
    spec = AgentSpec(shape, "uint8", num_actions=3)
    assert image(spec) == taken_for
    network = arguments.network(spec).float()
    network.initialise(np.random.default_rng(0))
    found = network.psi if isinstance(arguments, IQNConfig) else network.first
    assert isinstance(found, Torso if sizes else Linear)
    assert [layer.kernel_size[0] for layer in found.modules() if hasattr(layer, "kernel_size")] == sizes
    q = network.q(torch.zeros((5, 2, *shape), dtype=torch.uint8))
    assert q.shape == (5, 3) and torch.isfinite(q).all()
    assert not any(layer.bias.eq(0).all() for layer in found.modules() if hasattr(layer, "bias"))


def test_codes_are_no_image():
    assert image(AgentSpec((7, 7, 3), "uint8", 3, num_codes=5)) == ()


def slowly(torso, frames):
    """The torso's output for one state of frames (F, H, W, C), one number at a time."""
    convolution, linear = torso[0], torso[-1]
    weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    channels = np.concatenate(list(np.moveaxis(frames, -1, 1)))  # (F * C, H, W): those of the oldest frame first
    rows, columns = (side - 2 for side in channels.shape[1:])
    out = np.zeros((len(weight), rows, columns))
    for each, row, column in np.ndindex(*out.shape):
        out[each, row, column] = (weight[each] * channels[:, row : row + 3, column : column + 3]).sum() + bias[each]
    return linear.weight.detach().numpy() @ np.maximum(out, 0).reshape(-1) + linear.bias.detach().numpy()


@pytest.mark.parametrize("first", [False, True])
def test_the_frames_of_a_state_are_channels_oldest_first_wherever_an_image_has_its_own(first):
    rng = np.random.default_rng(1)
    frames = rng.random((2, 5, 6, 3), dtype=np.float32)
    torso = Torso((3, 5, 6) if first else (5, 6, 3), num_frames=2, width=4)
    for layer in (torso[0], torso[-1]):
        layer.initialise(rng)
    stored = np.moveaxis(frames, -1, 1) if first else frames
    found = torso(torch.from_numpy(np.ascontiguousarray(stored).reshape(1, -1)))[0].detach().numpy()
    np.testing.assert_allclose(found, slowly(torso, frames), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agent", ["iqn", "dqn"])
def test_both_agents_learn_from_images_alike_in_both_modes(agent, tmp_path):
    config = wb.preset("tiny").replace(world=Images(), agent=agent, device="cpu", epochs=8, **{"agent.width": 16})
    pair = wb.compare(config, lag=1, out=tmp_path)
    pair.wait()
    assert pair.identical
    name = {"iqn": "psi", "dqn": "first"}[agent]
    layout, run = config.agent.layout(config.spec.agents[0]), pair.sequential
    assert f"{name}.0.weight" in layout.names and run.config.agent.num_frames > 1
    first = config.agent.agent_class(config, 0, torch.device("cpu"))
    learned = layout.views(run.weights[0][: layout.size])[f"{name}.0.weight"]
    assert (learned != layout.views(first.parameters.online.numpy())[f"{name}.0.weight"]).mean() > 0.5
    diagnosis = run.diagnose()
    assert diagnosis.failed == ()
    assert "Not examined: world's draws, observe, world." in diagnosis.conclusion

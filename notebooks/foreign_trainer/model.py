"""A model as the actor and the learner see it: a trained network, its target, and epsilon."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .world import ACTIONS, FEATURES

HIDDEN = 32


class NoisyLinear(nn.Linear):
    """A linear layer whose weights carry noise of a learned size while it is in training mode."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.sigma = nn.Parameter(torch.full((outputs, inputs), 0.1 / inputs**0.5))
        self.noise: Tensor
        self.register_buffer("noise", torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Values of shape (batch, outputs)."""
        if not self.training:
            return functional.linear(x, self.weight, self.bias)
        self.noise.normal_()
        return functional.linear(x, self.weight + self.sigma * self.noise, self.bias)


class Network(nn.Module):
    """Q-values of a stack of frames, with dueling heads."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.body = nn.Linear(frames * FEATURES, HIDDEN)
        self.value = NoisyLinear(HIDDEN, 1)
        self.advantage = NoisyLinear(HIDDEN, ACTIONS)

    def forward(self, states: Tensor) -> Tensor:
        """Q-values, (batch, ACTIONS), of states, (batch, frames, FEATURES)."""
        x = torch.relu(self.body(states.flatten(1)))
        advantage: Tensor = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(1, keepdim=True)


class Model(nn.Module):
    """What is shared between processes: both networks and epsilon."""

    epsilon: Tensor | float

    def __init__(self, frames: int, plain_epsilon: bool = False) -> None:
        super().__init__()
        self.local = Network(frames)
        self.target = Network(frames).requires_grad_(False)
        self.target.load_state_dict(self.local.state_dict())
        if plain_epsilon:  # an attribute of the object: every process has its own
            self.epsilon = 1.0
        else:  # a tensor: shared and copied with the weights
            self.register_buffer("epsilon", torch.tensor(1.0))


def copy_model(source: Model, target: Model) -> None:
    """Copy weights, target weights and epsilon."""
    target.load_state_dict(source.state_dict())
    if isinstance(source.epsilon, float):
        target.epsilon = source.epsilon


def copy_parameters_one_by_one(source: Model, target: Model, pause: float) -> None:
    """The same with time between two tensors, in which somebody else may write."""
    import time

    theirs = target.state_dict()
    for name, tensor in source.state_dict().items():
        theirs[name].copy_(tensor)
        time.sleep(pause)

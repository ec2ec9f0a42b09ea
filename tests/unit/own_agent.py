"""An agent and a sampler as a user would write them: values by one linear layer, rows drawn by their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from workbench.core.agents.networks import Linear, ValueNetwork
from workbench.core.agents.value_agent import ValueAgent, ValueConfig
from workbench.core.seeding import rng_words, set_rng_words
from workbench.core.settings import between
from workbench.core.shared.sampling import SamplerConfig


class LinearNetwork(ValueNetwork):
    """Q(s, a) = w_a s + b_a."""

    def __init__(self, spec, num_frames):
        super().__init__(spec, num_frames)
        self.layer = Linear(self.num_inputs, spec.num_actions)

    def q(self, state: Tensor) -> Tensor:
        """(B, F, *shape) to (B, A)."""
        return self.layer(self.encode(state))

    forward = q


class LinearAgent(ValueAgent):
    """One-step or n-step Q-learning with a squared error."""

    def row_losses(self, staged, rows):
        """Loss, Q(s_tm1, a_tm1), |TD error|."""
        s_tm1, a_tm1, r_t, discount_t, s_t = (staged[n][rows] for n in ("s_tm1", "a_tm1", "r_t", "discount_t", "s_t"))
        q = self.online(s_tm1).gather(1, a_tm1.unsqueeze(1)).squeeze(1)
        with torch.no_grad():
            target = r_t + discount_t * self.target(s_t).amax(1)
        return self.arguments.half * (target - q) ** 2, q, (target - q).abs()


@dataclass(frozen=True)
class LinearConfig(ValueConfig):
    """Q-learning on one linear layer."""

    agent_class: ClassVar[type[ValueAgent]] = LinearAgent
    half: Annotated[float, between(0, 1)] = 0.5
    """Share of the square in the loss."""

    def network(self, spec):
        """The layer."""
        return LinearNetwork(spec, self.num_frames)


class WarmAgent(LinearAgent):
    """Warms its step size up itself."""

    def update(self, learning_rate):
        """Small steps first."""
        return super().update(learning_rate * min(1.0, (self.updates + 1) / 100))


@dataclass(frozen=True)
class WarmConfig(LinearConfig):
    """Q-learning that warms up."""

    agent_class: ClassVar[type[ValueAgent]] = WarmAgent


class TorchNetwork(LinearNetwork):
    """The same behind layers of torch's own, and a parameter beside them."""

    def __init__(self, spec, num_frames):
        super().__init__(spec, num_frames)
        self.before = nn.Sequential(nn.Linear(self.num_inputs, self.num_inputs), nn.LayerNorm(self.num_inputs))
        self.scale = nn.Parameter(torch.full((1,), 3.0))

    def q(self, state: Tensor) -> Tensor:
        """(B, F, *shape) to (B, A)."""
        return self.layer(self.scale * self.before(self.encode(state)))

    forward = q


@dataclass(frozen=True)
class TorchConfig(LinearConfig):
    """Q-learning on that."""

    def network(self, spec):
        """The layers."""
        return TorchNetwork(spec, self.num_frames)


@dataclass(frozen=True)
class RecentErrors(SamplerConfig):
    """Rows with large errors twice as often."""

    weighted: ClassVar[bool] = True
    takes_errors: ClassVar[bool] = True

    def make(self, config, rng):
        """The sampler."""
        return ErrorSampler(config.replay.window, rng)


class ErrorSampler:
    """Draws two candidates for each row and takes the one with the larger error.

    It has what learning needs of it and no more: no ``reject``, and its generator under a name of its own.
    """

    config_class = RecentErrors

    def __init__(self, window, rng):
        self.generator, self.errors = rng, np.ones(window)

    def draw(self, low, high, count):
        """The worse of two."""
        one, other = self.generator.integers(low, high, (2, count))
        size = len(self.errors)
        return np.where(self.errors[one % size] >= self.errors[other % size], one, other)

    def weights(self, numbers):
        """Smaller for larger errors."""
        return (1 / (1 + self.errors[numbers % len(self.errors)])).astype(np.float32)

    def update(self, numbers, td_errors):
        """Remember them."""
        self.errors[numbers % len(self.errors)] = td_errors

    def get_state(self):
        """Generator and errors."""
        return {"rng": rng_words(self.generator), "errors": self.errors}

    def set_state(self, state):
        """Continue from there."""
        set_rng_words(self.generator, state["rng"])
        self.errors[:] = state["errors"]

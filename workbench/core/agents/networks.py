"""What the networks of value-based agents are made of: layers, the encoding of states, layer noise.

Random numbers come from NumPy generators that the caller owns; torch's global generator is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.core.envs.base import AgentSpec


class Linear(nn.Linear):
    """torch's layer; the values are undefined until :meth:`initialise` or a load."""

    def reset_parameters(self) -> None:
        """Nothing is drawn from torch's global generator."""

    @torch.no_grad()
    def initialise(self, rng: np.random.Generator) -> None:
        """Uniform in plus or minus ``1 / sqrt(inputs)``, as in the paper's agents."""
        bound = np.float32(1.0 / math.sqrt(self.in_features))
        for parameter in (self.weight, self.bias):
            values = (2.0 * rng.random(tuple(parameter.shape), dtype=np.float32) - 1.0) * bound
            parameter.copy_(torch.from_numpy(values))


class NoisyLinear(Linear):
    """A linear layer with factorised Gaussian noise on its parameters (Fortunato et al. 2018, arXiv:1706.10295).

    In training mode ``weight + weight_sigma * noise_out noise_in^T`` takes the place of ``weight``, likewise for the
    bias; in evaluation mode the layer is its mean.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs))
        self.bias_sigma = nn.Parameter(torch.empty(outputs))
        self.noise_in, self.noise_out = torch.zeros(inputs), torch.zeros(outputs)

    def initialise(self, rng: np.random.Generator) -> None:
        """Means as in :class:`Linear`, deviations ``0.5 / sqrt(inputs)``."""
        super().initialise(rng)
        for parameter in (self.weight_sigma, self.bias_sigma):
            nn.init.constant_(parameter, 0.5 / math.sqrt(self.in_features))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if not self.training:
            return super().forward(x)
        weight = torch.addcmul(self.weight, self.weight_sigma, torch.outer(self.noise_out, self.noise_in))
        return F.linear(x, weight, torch.addcmul(self.bias, self.bias_sigma, self.noise_out))


class ValueNetwork(nn.Module):
    """A network that values the actions of a state. Values are undefined until :meth:`initialise` or a load.

    Attributes:
        num_inputs: floats in an encoded state.
    """

    def __init__(self, spec: AgentSpec, num_frames: int) -> None:
        super().__init__()
        self.num_inputs = num_frames * math.prod(spec.shape) * (spec.num_codes or 1)
        self._scale = 1 / 255 if spec.dtype == "uint8" else 1.0
        self.codes: Tensor | None
        codes = torch.arange(1, 1 + spec.num_codes, dtype=torch.uint8) if spec.num_codes else None
        self.register_buffer("codes", codes, persistent=False)

    def encode(self, state: Tensor) -> Tensor:
        """(B, F, *shape) to (B, num_inputs) float32: codes one-hot and code 0 all zeros, other bytes from 0 to 1."""
        if self.codes is not None:
            return (state.unsqueeze(-1) == self.codes).flatten(1).float()
        flat = state.flatten(1).float()
        return flat if self._scale == 1.0 else flat * self._scale

    def q(self, state: Tensor) -> Tensor:
        """Value of every action, without chance: (B, F, *shape) to (B, A)."""
        raise NotImplementedError

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw initial weights, layer by layer."""
        for layer in self.children():
            if isinstance(layer, Linear):
                layer.initialise(rng)

    @property
    def noise_size(self) -> int:
        """Floats that one draw of noise takes; 0 without noisy layers."""
        return sum(layer.noise_in.numel() + layer.noise_out.numel() for layer in self._noisy_layers())

    def set_noise(self, noise: Tensor) -> None:
        """Use a draw of noise, (noise_size,) float32 from :func:`draw_noise`, without copying it."""
        for layer in self._noisy_layers():
            outputs, inputs = layer.weight.shape
            layer.noise_in, layer.noise_out, noise = noise.tensor_split((inputs, inputs + outputs))

    def _noisy_layers(self) -> Iterator[NoisyLinear]:
        return (layer for layer in self.children() if isinstance(layer, NoisyLinear))


def duel(heads: Tensor) -> Tensor:
    """V + A - mean A (Wang et al. 2016): (..., 1 + A) to (..., A)."""
    value, advantage = heads[..., :1], heads[..., 1:]
    return value + advantage - advantage.mean(-1, keepdim=True)


def draw_noise(rng: np.random.Generator, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with factors of noise, sgn(x) sqrt(|x|) of a normal x (Fortunato et al. 2018, section 3)."""
    rng.standard_normal(dtype=np.float32, out=out)
    np.copysign(np.sqrt(np.abs(out)), out, out=out)

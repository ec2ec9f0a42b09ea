"""What the networks of value-based agents are made of: layers, the encoding of states, layer noise.

Random numbers come from NumPy generators that the caller owns; torch's global generator is never touched.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.core.agents.products import linear
from workbench.core.envs.base import AgentSpec

# Least side of images, in pixels, that pass the convolutions of Mnih et al. 2015 (doi:10.1038/nature14236) and not that
# of Young and Tian 2019 (arXiv:1903.03176); outputs, kernel and stride of each.
LARGE = 36
_CONVOLUTIONS = {True: ((32, 8, 4), (64, 4, 2), (64, 3, 1)), False: ((16, 3, 1),)}


class Layer(nn.Module):
    """What makes a layer of torch's one whose values are undefined until :meth:`initialise` or a load."""

    def reset_parameters(self) -> None:
        """Nothing is drawn from torch's global generator."""

    @torch.no_grad()
    def initialise(self, rng: np.random.Generator) -> None:
        """Uniform in plus or minus ``1 / sqrt(inputs)`` of an output, as in the papers' agents."""
        weight, bias = self.get_parameter("weight"), self.get_parameter("bias")
        bound = np.float32(1.0 / math.sqrt(weight[0].numel()))
        for parameter in (weight, bias):
            values = (2.0 * rng.random(tuple(parameter.shape), dtype=np.float32) - 1.0) * bound
            parameter.copy_(torch.from_numpy(values))


class Linear(Layer, nn.Linear):
    """A linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        return linear(x, self.weight, self.bias)


class Convolution(Layer, nn.Conv2d):
    """A convolution."""


class Torso(nn.Sequential):
    """Convolutions over stacked images, whose frames are channels, and a linear layer: (B, inputs) to (B, width)."""

    def __init__(self, shape: tuple[int, ...], num_frames: int, width: int) -> None:
        sides = sides_of(shape)
        channels, layers = num_frames * math.prod(shape) // math.prod(sides), list[nn.Module]()
        for outputs, kernel, stride in _CONVOLUTIONS[min(sides) >= LARGE]:
            layers += [Convolution(channels, outputs, kernel, stride), nn.ReLU()]
            channels, sides = outputs, tuple((side - kernel) // stride + 1 for side in sides)
        super().__init__(*layers, nn.Flatten(), Linear(channels * math.prod(sides), width))
        self._stack = num_frames, *shape

    def forward(self, inputs: Tensor) -> Tensor:
        """Encoded states to (B, width)."""
        images = inputs.reshape(-1, *self._stack)
        if sides_of(self._stack[1:]) == self._stack[1:3]:
            images = images.movedim(-1, 2)
        return super().forward(images.flatten(1, 2))  # type: ignore[no-untyped-call, no-any-return]  # so in torch


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
        return linear(x, weight, torch.addcmul(self.bias, self.bias_sigma, self.noise_out))


class ValueNetwork(nn.Module):
    """A network that values the actions of a state. Values are undefined until :meth:`initialise` or a load.

    Attributes:
        num_inputs: floats in an encoded state.
    """

    def __init__(self, spec: AgentSpec, num_frames: int) -> None:
        super().__init__()
        self.num_inputs = num_frames * math.prod(spec.shape) * (spec.num_codes or 1)
        self._scale = 1 / 255 if np.dtype(spec.dtype) == np.uint8 else 1.0
        codes = torch.eye(max(256, 1 + (spec.num_codes or 0)), 1 + (spec.num_codes or 0))[:, 1:].contiguous()
        self.codes = nn.Buffer(codes, persistent=False) if spec.num_codes else None

    def encode(self, state: Tensor) -> Tensor:
        """(B, F, *shape) to (B, num_inputs) float32: codes one-hot and code 0 all zeros, other bytes from 0 to 1."""
        if (codes := self.codes) is not None:
            return torch.embedding(codes, state.int()).flatten(1)
        flat = state.flatten(1).float()
        return flat if self._scale == 1.0 else flat * self._scale

    def first_layer(self, spec: AgentSpec, num_frames: int, width: int) -> Linear | Torso:
        """What takes encoded states, (B, num_inputs), to (B, width): a torso where observations are images."""
        return Torso(image(spec), num_frames, width) if image(spec) else Linear(self.num_inputs, width)

    def q(self, state: Tensor) -> Tensor:
        """Value of every action, without chance: (B, F, *shape) to (B, A)."""
        raise NotImplementedError

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw initial weights, layer by layer."""
        for layer in self.modules():
            if isinstance(layer, Layer):
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


def sides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of three axes of an image: the first holds channels if it has at most 4 and both others more, else the last."""
    return shape[1:] if shape[0] <= 4 < min(shape[1:]) else shape[:2]


def image(spec: AgentSpec) -> tuple[int, ...]:
    """Shape of an observation of three axes, or of two if both are large, as that of an image; () of any other."""
    shape = (*spec.shape, 1) if len(spec.shape) == 2 and min(spec.shape) >= LARGE else spec.shape
    return shape if len(shape) == 3 and min(sides_of(shape)) >= 3 and not spec.num_codes else ()


def duel(heads: Tensor) -> Tensor:
    """V + A - mean A (Wang et al. 2016): (..., 1 + A) to (..., A)."""
    value, advantage = heads.tensor_split((1,), -1)
    return value + advantage - advantage.mean(-1, keepdim=True)


def draw_noise(rng: np.random.Generator, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with factors of noise, sgn(x) sqrt(|x|) of a normal x (Fortunato et al. 2018, section 3)."""
    if out.size:
        rng.standard_normal(dtype=np.float32, out=out)
        np.copysign(np.sqrt(np.abs(out)), out, out=out)

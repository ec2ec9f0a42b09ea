"""The implicit quantile network and its loss, after Dabney et al. 2018 (arXiv:1806.06923).

The network maps a state and quantile fractions tau to the returns of every action at these fractions,

    Z_tau(s, .) = head(relu(hidden(psi(s) * phi(tau)))),    phi(tau) = relu(linear(cos(pi i tau))), i = 0, 1, ...

with dueling heads (Wang et al. 2016) and, if wanted, noisy layers (Fortunato et al. 2018) after the embedding. Random
numbers come from NumPy generators that the caller owns; torch's global generator is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.core.agents.base import AgentConfig
from workbench.core.config import Config, ConfigError
from workbench.core.settings import above, between, require

_WIDE = between(1, 65536)
_FRACTIONS = between(1, 4096, "fractions")


@dataclass(frozen=True)
class IQNConfig(AgentConfig):
    """The implicit quantile network (Dabney et al. 2018) with dueling heads, and its loss."""

    num_frames: Annotated[int, between(1, 65536, "frames")] = 5
    """Newest observations stacked into one state, in frames."""
    width: Annotated[int, _WIDE] = 250
    """Units of every hidden layer."""
    num_cosines: Annotated[int, _WIDE] = 64
    """Cosine features that embed a quantile fraction."""
    noisy: bool = False
    """Replace the layers after the embedding by factorised noisy layers (Fortunato et al. 2018)."""
    num_quantiles: Annotated[int, _FRACTIONS] = 12
    """N: quantile fractions of the online network in the loss."""
    num_target_quantiles: Annotated[int, _FRACTIONS] = 12
    """N': quantile fractions of the target network in the loss."""
    num_policy_quantiles: Annotated[int, _FRACTIONS] = 12
    """K: quantile fractions averaged to compare actions."""
    huber_kappa: Annotated[float, above(0)] = 1.0
    """Threshold of the Huber loss, in units of reward."""


class Linear(nn.Module):
    """``x @ weight.T + bias``; the values are undefined until :meth:`initialise` or a load."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def initialise(self, rng: np.random.Generator) -> None:
        """Uniform in plus or minus ``1 / sqrt(inputs)``, as in the paper's agents."""
        for parameter in (self.weight, self.bias):
            _fill_uniform(parameter, 1.0 / math.sqrt(self.weight.shape[1]), rng)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return F.linear(x, self.weight, self.bias)


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
            nn.init.constant_(parameter, 0.5 / math.sqrt(self.weight.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if not self.training:
            return super().forward(x)
        weight = torch.addcmul(self.weight, self.weight_sigma, torch.outer(self.noise_out, self.noise_in))
        return F.linear(x, weight, torch.addcmul(self.bias, self.bias_sigma, self.noise_out))


class QuantileNetwork(nn.Module):
    """Quantile values of every action. Values are undefined until :meth:`initialise` or a load.

    :meth:`forward` is the whole network. Who asks several things of one state takes the steps: :meth:`encode` once per
    state, :meth:`embed` once per state and network, then :meth:`quantiles` or :meth:`values`.
    """

    def __init__(self, config: IQNConfig, frame_size: int, num_entities: int, num_actions: int) -> None:
        super().__init__()
        layer = NoisyLinear if config.noisy else Linear
        self.psi = Linear(config.num_frames * frame_size * num_entities, config.width)
        self.phi = Linear(config.num_cosines, config.width)
        self.hidden = layer(config.width, config.width)
        self.head = layer(config.width, 1 + num_actions)
        self.entities: Tensor
        self.frequencies: Tensor
        self.register_buffer("entities", torch.arange(1, 1 + num_entities, dtype=torch.uint8), persistent=False)
        self.register_buffer("frequencies", math.pi * torch.arange(config.num_cosines), persistent=False)

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw initial weights."""
        for layer in (self.psi, self.phi, self.hidden, self.head):
            layer.initialise(rng)

    def forward(self, state: Tensor, tau: Tensor) -> Tensor:
        """State (B, F, frame_size) uint8 codes and fractions (B, N) float32 to quantile values (B, N, A) float32."""
        return self.quantiles(self.embed(self.encode(state)), tau)

    def encode(self, state: Tensor) -> Tensor:
        """One-hot codes, BLANK all zeros: (B, F, frame_size) uint8 to (B, F * frame_size * num_entities) float32."""
        return (state.unsqueeze(-1) == self.entities).flatten(1).float()

    def embed(self, inputs: Tensor) -> Tensor:
        """psi: encoded states (B, inputs) to (B, width)."""
        return F.relu_(self.psi(inputs))

    def quantiles(self, psi: Tensor, tau: Tensor) -> Tensor:
        """Z_tau: embedded states (B, width) and fractions (B, N) to (B, N, A)."""
        return self._duel(self.head(self._mix(psi, tau)).reshape(*tau.shape, -1))

    def values(self, psi: Tensor, tau: Tensor) -> Tensor:
        """Q, the mean of Z_tau over the fractions: (B, width) and (B, K) to (B, A).

        The head is linear, so the mean may be taken before it.
        """
        return self._duel(self.head(self._mix(psi, tau).reshape(*tau.shape, -1).mean(1)))

    def _mix(self, psi: Tensor, tau: Tensor) -> Tensor:
        """psi * phi(tau) through the hidden layer: (B, width) and (B, N) to (B * N, width)."""
        phi = F.relu_(self.phi(torch.cos(tau.reshape(-1, 1) * self.frequencies)))
        mixed = psi.unsqueeze(1) * phi.reshape(*tau.shape, -1)
        return F.relu_(self.hidden(mixed.flatten(0, 1)))

    @staticmethod
    def _duel(heads: Tensor) -> Tensor:
        """V + A - mean A: (..., 1 + A) to (..., A)."""
        value, advantage = heads[..., :1], heads[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)

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
        return (layer for layer in (self.hidden, self.head) if isinstance(layer, NoisyLinear))


def build_network(config: Config) -> QuantileNetwork:
    """The network of every agent of a configuration, on the CPU, without values.

    Raises:
        ConfigError: the world's agents differ, or their observations are not made of codes.
    """
    spec = config.spec.agents[0]
    if spec.num_codes is None or any(other != spec for other in config.spec.agents):
        raise ConfigError(
            f"agent is 'iqn' and the world's first agent is {spec}; it needs agents that are alike, with "
            "observations of codes; give AgentSpec num_codes, or use a world that has them"
        )
    return QuantileNetwork(arguments_of(config), math.prod(spec.shape), spec.num_codes, spec.num_actions)


def arguments_of(config: Config) -> IQNConfig:
    """The arguments of this agent in a configuration.

    Raises:
        ConfigError: the configuration is that of another agent.
    """
    require(isinstance(config.agent, IQNConfig), "agent", config.agent, "it must be an IQNConfig")
    arguments: Any = config.agent
    return arguments  # type: ignore[no-any-return]


def draw_noise(rng: np.random.Generator, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with factors of noise, sgn(x) sqrt(|x|) of a normal x (Fortunato et al. 2018, section 3)."""
    rng.standard_normal(dtype=np.float32, out=out)
    np.copysign(np.sqrt(np.abs(out)), out, out=out)


def quantile_huber_loss(value: Tensor, tau: Tensor, target: Tensor, kappa: float) -> tuple[Tensor, Tensor]:
    """Quantile regression with the Huber loss (Dabney et al. 2018, equation 3).

        delta_ij = target_j - value_i
        loss     = sum_i mean_j |tau_i - [delta_ij < 0]| L_kappa(delta_ij) / kappa

    Args:
        value: (B, N) float, Z_tau(s_tm1, a_tm1) of the online network.
        tau: (B, N) float, the fractions of ``value``.
        target: (B, N') float, r_t + discount_t Z(s_t, a_t) of the target network; no gradient flows into it.
        kappa: threshold between the square and the straight part, in units of the values.

    Returns:
        The loss and the mean of |delta_ij| of every row: (B,) each.

    Raises:
        ValueError: a rank, a length or a dtype does not fit.
    """
    _check_rows("value", value, 2)
    _check_rows("tau", tau, 2, like=value)
    _check_rows("target", target, 2)
    if tau.shape != value.shape or len(target) != len(value):
        raise ValueError(
            f"value, tau and target have shapes {tuple(value.shape)}, {tuple(tau.shape)} and {tuple(target.shape)}; "
            "they must be (B, N), (B, N) and (B, N')"
        )
    pairs = (*value.shape, target.shape[1])  # (B, N, N')
    value_i, target_j = value.unsqueeze(2).expand(pairs), target.detach().unsqueeze(1).expand(pairs)
    with torch.no_grad():
        delta = target_j - value_i
        weight = (tau.unsqueeze(2) - (delta < 0).to(tau.dtype)).abs()
        td_error = delta.abs().mean((1, 2))
    huber = F.huber_loss(value_i, target_j, reduction="none", delta=kappa)
    loss = (weight * huber).mean(2).sum(1) / kappa
    return loss, td_error


def select_actions(quantiles: Tensor, actions: Tensor) -> Tensor:
    """Quantile values of one action per row: (B, N, A) and (B,) int64 to (B, N).

    A product with a mask and not a gather: the gradient of a gather adds in no fixed order on CUDA.
    """
    _check_rows("quantiles", quantiles, 3)
    chosen = actions.unsqueeze(1) == torch.arange(quantiles.shape[2], device=quantiles.device)
    return (quantiles * chosen.unsqueeze(1)).sum(2)


def _fill_uniform(parameter: nn.Parameter, bound: float, rng: np.random.Generator) -> None:
    values = (2.0 * rng.random(tuple(parameter.shape), dtype=np.float32) - 1.0) * np.float32(bound)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def _check_rows(name: str, tensor: Tensor, rank: int, like: Tensor | None = None) -> None:
    if tensor.ndim != rank:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must have {rank} dimensions, the first for rows")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype}; it must be floating point")
    if like is not None and tensor.dtype != like.dtype:
        raise ValueError(f"{name} is {tensor.dtype} and the values are {like.dtype}; cast one of them")

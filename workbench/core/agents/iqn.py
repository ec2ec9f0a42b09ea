"""The implicit quantile network and its loss, after Dabney et al. 2018 (arXiv:1806.06923).

The network maps a state and quantile fractions tau to the returns of every action at these fractions,

    Z_tau(s, .) = head(relu(hidden(psi(s) * phi(tau)))),    phi(tau) = relu(linear(cos(pi i tau))), i = 0, 1, ...

with dueling heads (Wang et al. 2016) and, if wanted, noisy layers (Fortunato et al. 2018) after the embedding.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.core.agents.networks import Linear, NoisyLinear, ValueNetwork, duel
from workbench.core.envs.base import AgentSpec
from workbench.core.sentences import said


class QuantileNetwork(ValueNetwork):
    """Quantile values of every action. Values are undefined until :meth:`initialise` or a load.

    :meth:`forward` is the whole network. Who asks several things of one state takes the steps: :meth:`encode` once per
    state, :meth:`embed` once per state and network, then :meth:`quantiles` or :meth:`values`.
    """

    def __init__(self, spec: AgentSpec, num_frames: int, width: int, num_cosines: int, noisy: bool = False) -> None:
        """See :class:`workbench.core.agents.iqn_agent.IQNConfig` for the arguments."""
        super().__init__(spec, num_frames)
        layer = NoisyLinear if noisy else Linear
        self.psi = self.first_layer(spec, num_frames, width)
        self.phi = Linear(num_cosines, width)
        self.hidden = layer(width, width)
        self.head = layer(width, 1 + spec.num_actions)
        self.frequencies = nn.Buffer(math.pi * torch.arange(num_cosines, dtype=torch.float32), persistent=False)

    def forward(self, state: Tensor, tau: Tensor) -> Tensor:
        """State (B, F, *shape) and fractions (B, N) float32 to quantile values (B, N, A) float32."""
        return self.quantiles(self.embed(self.encode(state)), tau)

    def q(self, state: Tensor) -> Tensor:
        """The mean over 8 fractions that are evenly spread."""
        tau = (torch.arange(8, device=state.device, dtype=torch.float32) + 0.5) / 8
        return self.values(self.embed(self.encode(state)), tau.expand(len(state), 8))

    def embed(self, inputs: Tensor) -> Tensor:
        """psi: encoded states (B, inputs) to (B, width)."""
        return F.relu_(self.psi(inputs))

    def quantiles(self, psi: Tensor, tau: Tensor) -> Tensor:
        """Z_tau: embedded states (B, width) and fractions (B, N) to (B, N, A)."""
        return duel(self.head(self._mix(psi, tau)).reshape(*tau.shape, -1))

    def values(self, psi: Tensor, tau: Tensor) -> Tensor:
        """Q, the mean of Z_tau over the fractions: (B, width) and (B, K) to (B, A).

        The head is linear, so the mean may be taken before it.
        """
        return duel(self.head(self._mix(psi, tau).reshape(*tau.shape, -1).mean(1)))

    def _mix(self, psi: Tensor, tau: Tensor) -> Tensor:
        """psi * phi(tau) through the hidden layer: (B, width) and (B, N) to (B * N, width)."""
        phi = F.relu_(self.phi((tau.reshape(-1, 1) * self.frequencies).cos_()))
        mixed = psi.unsqueeze(1) * phi.reshape(*tau.shape, -1)
        return F.relu_(self.hidden(mixed.flatten(0, 1)))


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
    shapes, dtypes = [tuple(each.shape) for each in (value, tau, target)], {value.dtype, tau.dtype, target.dtype}
    fit = tau.shape == value.shape and [len(shape) for shape in shapes] == [2, 2, 2] and len(target) == len(value)
    if not fit or len(dtypes) > 1 or not value.is_floating_point():
        raise ValueError(said("iqn.loss", shapes=shapes, dtypes=dtypes))
    pairs = (*value.shape, target.shape[1])  # (B, N, N')
    value_i, target_j = value.unsqueeze(2).expand(pairs), target.detach().unsqueeze(1).expand(pairs)
    with torch.no_grad():
        delta = target_j - value_i
        weight = (tau.unsqueeze(2) - (delta < 0).to(tau.dtype)).abs()
        td_error = delta.abs().mean((1, 2))
    huber = F.huber_loss(value_i, target_j, reduction="none", delta=kappa)
    return (weight * huber).mean(2).sum(1) / kappa, td_error


def select_actions(quantiles: Tensor, actions: Tensor) -> Tensor:
    """Quantile values of one action per row: (B, N, A) and (B,) int64 to (B, N).

    A product with a mask and not a gather: the gradient of a gather adds in no fixed order on CUDA.
    """
    chosen = actions.unsqueeze(1) == torch.arange(quantiles.shape[2], device=quantiles.device)
    return (quantiles * chosen.unsqueeze(1)).sum(2)

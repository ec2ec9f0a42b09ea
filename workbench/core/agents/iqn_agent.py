"""One agent that learns the distribution of returns with an implicit quantile network (Dabney et al. 2018).

The target of an update is

    r_t + discount_t * Z_target(s_t, a_t),    a_t = argmax_a mean_tau Z(s_t, a)

with the online network's Z if ``learning.double``, the target network's otherwise (van Hasselt et al. 2016).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents.iqn import QuantileNetwork, quantile_huber_loss, select_actions
from workbench.core.agents.staging import Field
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent, ValueConfig
from workbench.core.envs.base import AgentSpec
from workbench.core.settings import above, between

_WIDE = between(1, 65536)
_FRACTIONS = between(1, 4096, "fractions")


class IQNAgent(ValueAgent):
    """The learning side."""

    arguments: "IQNConfig"
    online: QuantileNetwork
    target: QuantileNetwork

    def random_fields(self) -> dict[str, Field]:
        """Fractions and layer noise."""
        rows, fractions = self.config.learning.batch_size, self.arguments.fractions
        return {name: ((rows, count), np.float32) for name, count in fractions.items()} | super().random_fields()

    def draw(self, rng: np.random.Generator, host: Mapping[str, NDArray[Any]]) -> None:
        """Fractions from 0 to 1, and noise."""
        for name in self.arguments.fractions:
            rng.random(dtype=np.float32, out=host[name])
        super().draw(rng, host)

    def row_losses(self, staged: Mapping[str, Tensor], rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Quantile Huber loss, Q(s_tm1, a_tm1), and the mean |delta| over all pairs of fractions."""
        s_tm1, a_tm1, tau_tm1 = (staged[name][rows] for name in ("s_tm1", "a_tm1", "tau_tm1"))
        target = self._targets(staged, rows)
        self.online.set_noise(staged["noise_tm1"])
        z_tm1 = select_actions(self.online(s_tm1, tau_tm1), a_tm1)
        loss, td_error = quantile_huber_loss(z_tm1, tau_tm1, target, self.arguments.huber_kappa)
        return loss, z_tm1.mean(1), td_error

    @torch.no_grad()
    def _targets(self, staged: Mapping[str, Tensor], rows: slice) -> Tensor:
        """r_t + discount_t * Z_target(s_t, a_t) at N' fractions: (rows, N')."""
        names = "s_t", "r_t", "discount_t", "tau_t", "tau_policy"
        s_t, r_t, discount_t, tau_t, tau_policy = (staged[name][rows] for name in names)
        inputs = self.online.encode(s_t)
        selector = self.online if self.config.learning.double else self.target
        selector.set_noise(staged["noise_policy"])
        psi = selector.embed(inputs)
        a_t = selector.values(psi, tau_policy).argmax(1)
        self.target.set_noise(staged["noise_t"])
        psi = psi if selector is self.target else self.target.embed(inputs)
        z_t = select_actions(self.target.quantiles(psi, tau_t), a_t)
        return r_t.unsqueeze(1) + discount_t.unsqueeze(1) * z_t


class IQNPolicy(EpsilonGreedy):
    """The acting side: the value of an action is the mean over K fractions."""

    arguments: "IQNConfig"
    network: QuantileNetwork

    def random_fields(self, num_worlds: int) -> dict[str, Field]:
        """Fractions and layer noise."""
        fractions = (num_worlds, self.arguments.num_policy_quantiles)
        return {"tau": (fractions, np.float32), **super().random_fields(num_worlds)}

    def draw(self, rng: np.random.Generator, host: Mapping[str, NDArray[Any]]) -> None:
        """Fractions from 0 to 1, and noise."""
        rng.random(dtype=np.float32, out=host["tau"])
        super().draw(rng, host)

    def q(self, device: Mapping[str, Tensor]) -> Tensor:
        """(W, A): mean of the quantile values."""
        return self.network.values(self.network.embed(self.network.encode(device["state"])), device["tau"])


@dataclass(frozen=True)
class IQNConfig(ValueConfig):
    """The implicit quantile network (Dabney et al. 2018) with dueling heads, and its loss.

    Attributes:
        num_frames: Newest observations stacked into one state, in frames.
        width: Units of every hidden layer.
        num_cosines: Cosine features that embed a quantile fraction.
        noisy: Replace the layers after the embedding by factorised noisy layers (Fortunato et al. 2018).
        num_quantiles: N: quantile fractions of the online network in the loss.
        num_target_quantiles: N': quantile fractions of the target network in the loss.
        num_policy_quantiles: K: quantile fractions averaged to compare actions.
        huber_kappa: Threshold of the Huber loss, in units of reward.
    """

    agent_class: ClassVar[type[ValueAgent]] = IQNAgent
    policy_class: ClassVar[type[EpsilonGreedy]] = IQNPolicy
    stackable: ClassVar[bool] = True
    loss: ClassVar[str] = "quantile Huber loss"
    uncorrected: ClassVar[str] = "IQN offers none: a return with the negative weights of Retrace has no quantiles"

    num_frames: Annotated[int, between(1, 65536, "frames")] = 5
    width: Annotated[int, _WIDE] = 250
    num_cosines: Annotated[int, _WIDE] = 64
    noisy: bool = False
    num_quantiles: Annotated[int, _FRACTIONS] = 12
    num_target_quantiles: Annotated[int, _FRACTIONS] = 12
    num_policy_quantiles: Annotated[int, _FRACTIONS] = 12
    huber_kappa: Annotated[float, above(0)] = 1.0

    def network(self, spec: AgentSpec) -> QuantileNetwork:
        """The network of an agent with that spec."""
        return QuantileNetwork(spec, self.num_frames, self.width, self.num_cosines, self.noisy)

    @property
    def fractions(self) -> dict[str, int]:
        """How many fractions an update draws: of the online network, of the target network, to compare actions."""
        counts = self.num_quantiles, self.num_target_quantiles, self.num_policy_quantiles
        return dict(zip(("tau_tm1", "tau_t", "tau_policy"), counts, strict=True))

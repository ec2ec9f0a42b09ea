"""Double DQN: one agent that learns the mean return of each action, beside the one that learns its distribution.

The target of an update is

    r_t + discount_t * Q_target(s_t, a_t),    a_t = argmax_a Q(s_t, a)

with the online network's Q if ``learning.double`` (van Hasselt et al. 2016, arXiv:1509.06461), the target network's
otherwise (Mnih et al. 2015, doi:10.1038/nature14236). An n-step row differs only in its r_t and discount_t;
``learning.correction`` corrects it where the policy has changed (:mod:`workbench.zoo.corrections`). Replay,
pacing, checkpoints, faults and probes are those of every value-based agent; only the network and the loss are here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.core.agents.iqn import select_actions
from workbench.core.agents.networks import Linear, NoisyLinear, ValueNetwork, duel
from workbench.core.agents.value_agent import ValueAgent, ValueConfig
from workbench.core.envs.base import AgentSpec
from workbench.core.settings import above, between
from workbench.zoo.corrections import Window, corrected_targets


class DQNetwork(ValueNetwork):
    """Q(s, .) by two hidden layers. Values are undefined until :meth:`initialise` or a load."""

    def __init__(self, spec: AgentSpec, num_frames: int, width: int, dueling: bool, noisy: bool) -> None:
        """See :class:`DQNConfig` for the arguments."""
        super().__init__(spec, num_frames)
        layer = NoisyLinear if noisy else Linear
        self.first = self.first_layer(spec, num_frames, width)
        self.hidden = layer(width, width)
        self.head = layer(width, dueling + spec.num_actions)
        self.dueling = dueling

    def q(self, state: Tensor) -> Tensor:
        """(B, F, *shape) to (B, A); with the layers' noise in training mode."""
        heads: Tensor = self.head(F.relu(self.hidden(F.relu(self.first(self.encode(state))))))
        return duel(heads) if self.dueling else heads


class DQNAgent(ValueAgent):
    """The learning side.

    Attributes:
        ratios: of a correction, (rows, n): probability of each action now to that then, of the last rows learned from.
    """

    ratios: Tensor | None = None
    arguments: "DQNConfig"
    online: DQNetwork
    target: DQNetwork

    def row_losses(self, staged: Mapping[str, Tensor], rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Huber loss of the TD error, Q(s_tm1, a_tm1), |TD error|."""
        s_tm1, a_tm1 = staged["s_tm1"][rows], staged["a_tm1"][rows]
        target = self._targets(staged, rows)
        self.online.set_noise(staged["noise_tm1"])
        q_tm1 = _taken(self.online.q(s_tm1), a_tm1)
        loss = F.huber_loss(q_tm1, target, reduction="none", delta=self.arguments.huber_kappa)
        return loss, q_tm1, (target - q_tm1).abs()

    @torch.no_grad()
    def _targets(self, staged: Mapping[str, Tensor], rows: slice) -> Tensor:
        """r_t + discount_t * Q_target(s_t, a_t), or what ``learning.correction`` makes of it: (rows,)."""
        learning = self.config.learning
        states = staged["s_t" if learning.correction == "none" else "states"][rows]
        flat = states if learning.correction == "none" else states.flatten(0, 1)
        self.target.set_noise(staged["noise_t"])
        q_t = selecting = self.target.q(flat)
        if learning.double:
            self.online.set_noise(staged["noise_policy"])
            selecting = self.online.q(flat)
        if learning.correction == "none":
            r_t, discount_t = staged["r_t"][rows], staged["discount_t"][rows]
            return r_t + discount_t * _taken(q_t, selecting.argmax(1))
        retrace = learning.correction == "retrace"
        epsilon, trace = (self.config.exploration.epsilon_end, learning.trace) if retrace else (0.0, 1.0)
        window = Window(*(staged[name][rows] for name in Window._fields))
        selecting, q_t = (values.reshape(*states.shape[:2], -1) for values in (selecting, q_t))
        targets, self.ratios = corrected_targets(window, selecting, q_t, epsilon, trace)
        return targets


@dataclass(frozen=True)
class DQNConfig(ValueConfig):
    """Double DQN with a Huber loss; dueling heads (Wang et al. 2016, arXiv:1511.06581) and noisy layers if wanted.

    Attributes:
        num_frames: Newest observations stacked into one state, in frames.
        width: Units of both hidden layers.
        dueling: Learn a state's value and its actions' advantages in separate outputs.
        noisy: Replace the layers after the first by factorised noisy layers (Fortunato et al. 2018).
        huber_kappa: Threshold of the Huber loss, in units of reward.
    """

    agent_class: ClassVar[type[ValueAgent]] = DQNAgent
    stackable: ClassVar[bool] = True
    loss: ClassVar[str] = "Huber loss"
    uncorrected: ClassVar[str] = ""

    num_frames: Annotated[int, between(1, 65536, "frames")] = 5
    width: Annotated[int, between(1, 65536)] = 250
    dueling: bool = False
    noisy: bool = False
    huber_kappa: Annotated[float, above(0)] = 1.0

    def network(self, spec: AgentSpec) -> DQNetwork:
        """The network of an agent with that spec."""
        return DQNetwork(spec, self.num_frames, self.width, self.dueling, self.noisy)


def _taken(q: Tensor, actions: Tensor) -> Tensor:
    """Value of one action per row: (B, A) and (B,) int64 to (B,)."""
    return select_actions(q.unsqueeze(1), actions).squeeze(1)

"""Off-policy corrections of n-step targets, under the learner's current network and the stored probabilities.

Both are one formula, Retrace (Munos et al. 2016, arXiv:1606.02647, equation 4), for the row's turns t = 0, 1, ...:

    target  = Q(x_0, a_0) + sum_t (prod_{i<t} gamma_i c_{i+1}) (r_t + gamma_t V(x_{t+1}) - Q(x_t, a_t))
    c_t     = lambda min(1, pi(a_t | x_t) / mu(a_t | x_t)),    V(x) = sum_a pi(a | x) Q(x, a)

with Q of the target network, mu as stored, and pi epsilon-greedy in the learner's network. "retrace" takes epsilon from
``exploration.epsilon_end``, as the run was launched with and whatever it is changed to under way, and lambda from
``learning.trace``; with epsilon 0 and lambda 1 the return stops before the first action that is not greedy and
bootstraps there, which is "cut" (Watkins 1989).

For quantiles Retrace is not sound as it stands: its target mixes distributions with weights pi - c, which are negative
wherever c exceeds pi, as it does for every mu below 1 with lambda 1, and a signed mixture has no quantiles to regress
on. The cut alone would be sound for them. IQN refuses both; DQN offers both.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """The turns that rows span, as tensors: B rows of n turns, see :class:`workbench.core.shared.replay.Batch`."""

    span: Tensor
    actions: Tensor
    rewards: Tensor
    probabilities: Tensor
    discounts: Tensor


def corrected_targets(
    window: Window, selecting: Tensor, q: Tensor, epsilon: float, trace: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Targets of Q(x_0, a_0), and how likely each action is now to how likely it was.

    Args:
        window: the turns.
        selecting: (B, n + 1, A) float, the values in which pi is greedy.
        q: (B, n + 1, A) float, the values of the target network.
        epsilon: of pi.
        trace: lambda.

    Returns:
        (B,) float targets, (B, n) float ratios pi / mu, nan behind a row's span.
    """
    here = torch.arange(window.actions.shape[1], device=q.device) < window.span.unsqueeze(1)
    greedy = selecting.argmax(2)
    value = epsilon * q.mean(2) + (1 - epsilon) * q.gather(2, greedy.unsqueeze(2)).squeeze(2)
    taken = q[:, :-1].gather(2, window.actions.unsqueeze(2)).squeeze(2)
    policy = epsilon / q.shape[2] + (1 - epsilon) * (window.actions == greedy[:, :-1])
    ratio = torch.where(here, policy / window.probabilities, torch.nan)
    traces = trace * ratio.nan_to_num(0.0).clamp(max=1.0)
    decay = torch.cat((torch.ones_like(taken[:, :1]), window.discounts[:, :-1] * traces[:, 1:]), 1).cumprod(1)
    error = window.rewards + window.discounts * value[:, 1:] - taken
    return taken[:, 0] + torch.where(here, decay * error, 0.0).sum(1), ratio

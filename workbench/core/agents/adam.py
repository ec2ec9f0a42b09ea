"""Adam over one flat vector, by torch's own kernel.

``torch.optim.Adam`` gives the same bits, but the first optimiser of a process imports torch's compiler: 2.4 s of CPU
and 68 MB more in every process that learns (torch 2.13, 2 cores of an AMD EPYC).
"""

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.999


class Adam:
    """Kingma and Ba (2015), with the usual decay rates. Nothing is replaced, so that no address changes.

    Attributes:
        weights: (size,) float32, changed in place.
        exp_avg, exp_avg_sq: (size,) float32, the moments.
        steps: () float32, how many there were.
        learning_rate: () float32, a tensor, so that a captured graph reads it at each replay.

    Args:
        weights: what is stepped.
        eps: added to the root of the second moment.
    """

    def __init__(self, weights: Tensor, eps: float) -> None:
        self.weights, self.eps = weights, eps
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(weights), torch.zeros_like(weights)
        self.steps, self.learning_rate = (torch.zeros((), dtype=torch.float32, device=weights.device) for _ in range(2))

    def step(self, gradient: Tensor) -> None:
        """Move the weights against a gradient, (size,) float32."""
        step_together([self], [gradient])


@torch.no_grad()
def step_together(all_: list[Adam], gradients: list[Tensor]) -> None:
    """A step of each against its gradient, (size,) float32; learning rate and eps are those of the first."""
    weights, m, v, steps = map(list, zip(*((x.weights, x.exp_avg, x.exp_avg_sq, x.steps) for x in all_), strict=True))
    torch._foreach_add_(steps, 1)
    torch._fused_adam_(
        weights, gradients, m, v, [], steps, lr=all_[0].learning_rate, beta1=BETA1, beta2=BETA2,
        weight_decay=0.0, eps=all_[0].eps, amsgrad=False, maximize=False,
    )  # fmt: skip

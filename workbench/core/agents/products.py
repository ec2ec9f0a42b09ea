"""Matrix products of linear layers, by the fastest library at hand.

torch multiplies float32 matrices on the CPU by MKL, which takes 2.2 times as long as oneDNN, the other library that
torch brings along, on a processor with AVX-512 that is not Intel's (torch 2.13, AMD EPYC of family 26). Small products
stay with MKL, whose call is shorter. The choice depends on shapes alone, so every process makes the same one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGE = 2**20  # multiplications from which on oneDNN is the faster
ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # so in torch


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``: (B, inputs), (outputs, inputs) and (outputs,) to (B, outputs)."""
    small = x.numel() * weight.size(0) < LARGE or not ONEDNN or x.dim() != 2  # first, as acting has many of them
    if small or not x.is_cpu or not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call, no-any-return]  # so in torch


class _Linear(torch.autograd.Function):
    """By oneDNN, with its gradients; under ``torch.vmap``, where oneDNN has no batched product, by torch."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = linear(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        return of_x, linear(gradient.t(), x.t()), gradient.sum(0) if ctx.needs_input_grad[2] else None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return torch.vmap(F.linear, in_dims)(*inputs), 0

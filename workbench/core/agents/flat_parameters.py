"""All parameters of an agent in one vector, so that a snapshot is one copy and a target update one operation.

The vector holds the online network in its first half and the target network in its second. The networks' parameters are
views of it: who changes one changes the other. Every parameter starts on a cache line; the gap before it stays zero.
"""

import hashlib
import itertools
import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.core.agents.staging import ALIGNMENT
from workbench.core.sentences import said

Vector = TypeVar("Vector", Tensor, NDArray[np.float32])

_FLOATS_PER_LINE = ALIGNMENT // 4


@dataclass(frozen=True)
class ParameterLayout:
    """Where each parameter of a network lies in a flat vector of ``size`` floats, gaps included."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, network: nn.Module) -> "ParameterLayout":
        """The layout of a network's parameters, in the order in which they were registered."""
        parameters = dict(network.named_parameters())
        shapes = tuple(tuple(parameter.shape) for parameter in parameters.values())
        lines = (math.ceil(math.prod(shape) / _FLOATS_PER_LINE) for shape in shapes)
        *offsets, size = itertools.accumulate((_FLOATS_PER_LINE * count for count in lines), initial=0)
        return cls(tuple(parameters), shapes, tuple(offsets), size)

    @property
    def fingerprint(self) -> int:
        """A hash of names and shapes that fits into an int64: equal for vectors that can stand for each other."""
        text = repr(list(zip(self.names, self.shapes, strict=True)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)

    def views(self, vector: Vector) -> dict[str, Vector]:
        """Name to parameter, as views of one network's half of a vector: (size,) float32, NumPy or torch."""
        places = zip(self.names, self.shapes, self.offsets, strict=True)
        return {name: vector[start : start + math.prod(shape)].reshape(shape) for name, shape, start in places}

    def check_vector(self, vector: NDArray[np.float32]) -> None:
        """Refuse a snapshot that does not fit.

        Raises:
            ValueError: it is no (2 * size,) float32 NumPy array, so not a snapshot in host memory of such a network.
        """
        if not isinstance(vector, np.ndarray):
            where = f" on {vector.device}" if hasattr(vector, "device") else ""
            raise ValueError(said("flat_parameters.kind", kind=type(vector).__name__, where=where))
        if vector.shape != (2 * self.size,) or vector.dtype != np.float32:
            raise ValueError(said("flat_parameters.shape", vector=vector, size=2 * self.size))


def bind(network: nn.Module, vector: Tensor, gradient: Tensor | None = None) -> None:
    """Make a network's parameters views of ``vector``, and their gradients views of ``gradient``: both (size,) float32.

    The values are those that the vector holds. Without a gradient the network cannot be trained.
    """
    layout = ParameterLayout.of(network)
    parameters, gradients = layout.views(vector), {} if gradient is None else layout.views(gradient)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(gradient is not None)
        parameter.data = parameters[name]
        parameter.grad = gradients.get(name)


class ParameterVector:
    """The parameters of an online and a target network as one vector.

    Attributes:
        layout: of either half.
        vector: (2 * size,) float32; :attr:`online` is its first half, :attr:`target` its second.
        gradient: (size,) float32; ``backward`` adds to it.
    """

    def __init__(self, online: nn.Module, target: nn.Module, device: torch.device) -> None:
        self.layout, self._networks = ParameterLayout.of(online), (online, target)
        self.lie_in(*(torch.zeros(count * self.layout.size, dtype=torch.float32, device=device) for count in (2, 1)))

    def lie_in(self, vector: Tensor, gradient: Tensor) -> None:
        """Have both networks lie in that vector from now on, with the values that it holds."""
        self.vector, self.gradient = vector, gradient
        self.online, self.target = vector.chunk(2)
        bind(self._networks[0], self.online, gradient)
        bind(self._networks[1], self.target)

    def load(self, weights: NDArray[np.float32]) -> None:
        """Copy a snapshot into the vector, and so into both networks: (2 * size,) float32.

        Raises:
            ValueError: the snapshot is not one of such networks.
        """
        self.layout.check_vector(weights)
        self.vector.copy_(torch.from_numpy(np.array(weights)))


def to_numpy(tensor: Tensor, copy: bool = True) -> NDArray[Any]:
    """A tensor in host memory; without ``copy``, the tensor's own memory if it lies there already."""
    return np.array(tensor.detach().cpu().numpy(), copy=copy or None)

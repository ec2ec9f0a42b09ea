"""Devices: which one a name means, and how numbers get there.

The rule is the same everywhere: NumPy arrays on the host are filled, one call uploads them, and the code that computes
sees tensors on its device. On the CPU both are one memory; on CUDA the copy goes through pinned memory without waiting.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.registry import ConfigError

# Bytes. Arrays start on cache lines, so that the same sums are made in the same order in every process.
ALIGNMENT = 64

# Shape and dtype of one staged array.
Field = tuple[tuple[int, ...], type[np.generic] | np.dtype[Any]]


def available_devices() -> tuple[str, ...]:
    """Names of the devices that are there, best first; the last is always "cpu"."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def resolve_device(name: str) -> torch.device:
    """The device that a setting means: "auto" is CUDA, then MPS, then CPU.

    Raises:
        ConfigError: there is no such device here; the message says which there are.
    """
    there = available_devices()
    resolved = there[0] if name == "auto" else "cuda:0" if name == "cuda" else name
    if resolved not in there:
        raise ConfigError(f"device is {name!r}; this machine has {', '.join(there)}. Use one of them, or 'auto'")
    return torch.device(resolved)


class Staging:
    """Named host arrays and device tensors of the same layout in two blocks, joined by one copy.

    Attributes:
        host: name to NumPy array, for the caller to fill.
        device: name to tensor; holds what ``host`` held at the last :meth:`upload`. Its address never changes.
    """

    def __init__(self, fields: Mapping[str, Field], device: torch.device) -> None:
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in fields.values()]
        *starts, total = itertools.accumulate((-(-size // ALIGNMENT) * ALIGNMENT for size in sizes), initial=0)
        self._host = torch.zeros(total, dtype=torch.uint8, device="cpu")
        self._device = self._host if device.type == "cpu" else torch.zeros_like(self._host, device=device)
        self._pinned: list[tuple[Tensor, torch.cuda.Event]] = []
        for _ in range(2 if device.type == "cuda" else 0):  # one can be filled while the other is still on its way
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._pinned.append((torch.zeros(total, dtype=torch.uint8, pin_memory=True), copied))
        self.host: dict[str, NDArray[Any]] = {}
        self.device: dict[str, Tensor] = {}
        for (name, (shape, dtype)), start, size in zip(fields.items(), starts, sizes, strict=True):
            part = slice(start, start + size)
            tensor_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
            self.host[name] = self._host[part].numpy().view(dtype).reshape(shape)
            self.device[name] = self._device[part].view(tensor_dtype).reshape(shape)

    def upload(self) -> None:
        """Bring the device up to date with the host arrays, which may be filled again as soon as this returns."""
        if self._pinned:
            pinned, copied = self._pinned.pop(0)
            copied.synchronize()  # The upload before the last one: over, unless the host is two batches ahead.
            pinned.copy_(self._host)
            self._device.copy_(pinned, non_blocking=True)
            copied.record(torch.cuda.current_stream(self._device.device))
            self._pinned.append((pinned, copied))
        elif self._device is not self._host:
            self._device.copy_(self._host)

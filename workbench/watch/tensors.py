"""What is read from a trainer's models and arrays, without a trace in them and without a random number."""

import functools
import hashlib
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Numbers that are kept of every look at a model, to tell by which share it moved.
PICKS = 32
NO_PICKS = [math.nan] * PICKS
Hashes = NDArray[np.int64]
_EPSILON = ("epsilon", "eps", "exploration_rate")
_NUMBERS = int | float | np.number


@dataclass(frozen=True)
class Layout:
    """What a model consists of: names, shapes, and of each tensor "p" (trained), "f" (frozen) or "b" (a buffer)."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    kinds: str
    device: str
    sensitive: str


def _parts_of(model: Any) -> list[tuple[str, Any]]:
    if isinstance(model, nn.Module):
        return [("", model)]
    parts = dict(enumerate(model)) if isinstance(model, list | tuple) else model
    return [(str(name), part) for name, part in (parts if isinstance(parts, Mapping) else vars(parts)).items()]


def tensors_of(model: Any) -> Iterator[tuple[str, torch.Tensor, str]]:
    """The tensors of a module, a mapping, several modules, or an object with such attributes: name, tensor, kind."""
    for name, part in _parts_of(model):
        if isinstance(part, torch.Tensor):
            yield name, part, "p" if part.requires_grad or isinstance(model, Mapping) else "b"
        elif isinstance(part, nn.Module):
            for inner, parameter in part.named_parameters(name):
                yield inner, parameter, "p" if parameter.requires_grad else "f"
            yield from ((inner, buffer, "b") for inner, buffer in part.named_buffers(name))


def modules_of(model: Any) -> list[nn.Module]:
    """The modules of a model, as :func:`tensors_of` finds them."""
    return [each for _, part in _parts_of(model) if isinstance(part, nn.Module) for each in part.modules()]


def epsilon_of(model: Any) -> float:
    """The exploration rate that a model or an object has as an attribute; nan if it has none."""
    plain = getattr(type(model), "__getattr__", None) is nn.Module.__getattr__  # which takes long to lack something
    own = (model.__dict__, model._buffers, model._parameters) if plain else ()
    for name in _EPSILON:
        if plain and not any(name in part for part in own) and not hasattr(type(model), name):
            continue
        found = getattr(model, name, None)
        if isinstance(found, _NUMBERS | torch.Tensor):
            return number_of(found)
    return math.nan


def _sensitive(model: Any) -> str:
    """The kinds of layers that behave differently in training and in evaluation."""
    names = {type(module).__name__ for module in modules_of(model)}
    words = ("dropout", "noisy", "batchnorm")
    return " ".join(sorted(name for name in names if any(word in name.lower() for word in words)))


class View:
    """The tensors of one model, found once, and looked at again and again."""

    tensors: tuple[torch.Tensor, ...]

    def __init__(self, model: Any) -> None:
        found = list(tensors_of(model))
        if not found:
            raise TypeError(f"a {type(model).__name__} has no tensors; give a module, or a mapping of tensors")
        self.modules = {id(module) for module in modules_of(model)}
        names, self.tensors, kinds = zip(*found, strict=True)
        shapes = tuple(tuple(tensor.shape) for tensor in self.tensors)
        self.layout = Layout(names, shapes, "".join(kinds), str(self.tensors[0].device), _sensitive(model))
        floats = [tensor for _, tensor, kind in found if kind != "b" and tensor.is_floating_point()]
        large = sorted(floats, key=torch.numel, reverse=True)[:4]
        each = PICKS // max(len(large), 1)
        self._picks = [(x, torch.linspace(0, x.numel() - 1, each, dtype=torch.float64).long()) for x in large]
        self._pointers: list[int] = []
        self._words: list[torch.Tensor | None] = []
        self.uses, self.place = 0, (0, 0)  # where it lay at its last look: address and identity
        self.number: int | None = None  # that its layout has in the file, once it was looked at

    @property
    def identity(self) -> int:
        """Which memory it lies in; 0 if it was given other memory since its last look."""
        return self.place[1] if self.place[0] == self.tensors[0].data_ptr() else 0

    def sums(self) -> list[int]:
        """Fingerprints of all tensors: the wrapping 64-bit sum of the bits of each, the same on every device."""
        pointers = [tensor.data_ptr() for tensor in self.tensors]
        if pointers != self._pointers:  # some were given other memory
            self._pointers = pointers
            found = [(tensor, _words(tensor)) for tensor in self.tensors]
            self._words = [words if words.data_ptr() == tensor.data_ptr() else None for tensor, words in found]
            self.place = pointers[0], storage_identity(pointers[0])
        return [int((_words(tensor) if words is None else words).sum())
                for tensor, words in zip(self.tensors, self._words, strict=True)]  # fmt: skip

    def picks(self) -> list[float]:
        """:data:`PICKS` numbers out of the largest tensors."""
        picked = [tensor.detach().reshape(-1)[places].tolist() for tensor, places in self._picks]
        return (sum(picked, list[float]()) + NO_PICKS)[:PICKS]

    def gradient_norm(self) -> float:
        """Euclidean norm of all gradients; nan where there are none."""
        gradients = [tensor.grad for tensor in self.tensors if tensor.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else math.nan
        return math.inf if gradients and math.isnan(norm) else norm  # nan would be none

    def share_in(self, groups: Iterable[Any]) -> float:
        """Share of the trained tensors that the groups of optimisers have."""
        own = {tensor.data_ptr() for tensor, kind in zip(self.tensors, self.layout.kinds, strict=True) if kind == "p"}
        its = {tensor.data_ptr() for group in groups for tensor in group["params"]}
        return len(own & its) / max(len(own), 1)


class Views:
    """The views of the models that a process has shown, forgotten with the models."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Callable[[], Any], View]] = {}

    def of(self, model: Any) -> View:
        """The view of a model. Its tensors are searched for again from time to time."""
        kept = self._known.get(id(model))
        if kept is not None and kept[0]() is model and kept[1].uses < 200:
            kept[1].uses += 1
            return kept[1]
        view = View(model)
        if kept is not None and kept[0]() is model:
            view.place = kept[1].place
        with suppress(TypeError):  # of a dictionary
            self._known[id(model)] = weakref.ref(model), view
        if len(self._known) > 1000:
            self._known = {key: kept for key, kept in self._known.items() if kept[0]() is not None}
        return view


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """The bits of a tensor as integers, of 8 bytes where they can be divided into such; its own memory if possible."""
    flat = tensor.detach().reshape(-1)
    size = flat.element_size()
    if flat.numel() * size % 8:
        return flat.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[size])
    return (flat.clone() if flat.storage_offset() * size % 8 else flat).view(torch.int64)


def storage_identity(pointer: int) -> int:
    """A number for the memory at an address: the same in every process that shares it, and different elsewhere."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            head, mode, offset, device, inode = line.split(maxsplit=5)[:5]
            begin, end = (int(each, 16) for each in head.split("-"))
            if begin <= pointer < end:
                if mode.endswith("s") and inode != "0":
                    return _stable(device, inode, int(offset, 16) + pointer - begin) | 1
                break
    return _stable(os.getpid(), pointer) & ~1


def _stable(*words: str | int) -> int:
    """A number for some words, the same in every process, unlike that of ``hash``."""
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=7).digest())


@functools.lru_cache(maxsize=64)
def _factors(count: int) -> NDArray[np.uint64]:
    """Odd numbers that look like chance, always the same."""
    return np.random.PCG64(0).random_raw(count) | np.uint64(1)


def stacked(values: Any) -> Any:
    """A list of tensors as one tensor; all else as it is."""
    tensors = isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor)
    return torch.stack([*values]) if tensors else values


def _words_of(values: Any, picked: Any) -> NDArray[np.uint64]:
    """The bits of some rows of arrays or tensors as float32, (n, elements); 0 and -0 are the same."""
    if isinstance(values, Mapping):
        return np.concatenate([_words_of(values[name], picked) for name in sorted(values)], 1)
    values = stacked(values)
    array = (values if isinstance(values, torch.Tensor) else np.asarray(values))[... if picked is None else picked]
    array = array.float().numpy(force=True) if isinstance(array, torch.Tensor) else array
    rows: NDArray[np.float32] = np.add(array, 0, dtype=np.float32, casting="unsafe", order="C")
    return rows.view(np.uint32).reshape(1 if picked is None else len(rows), -1).astype(np.uint64)


def _hash_words(words: NDArray[np.uint64], frames: int) -> tuple[Hashes, int, int]:
    """What :func:`hash_frames` says of words."""
    many, elements = words.shape
    chunks = frames if elements % frames == 0 and elements else 1
    size = elements // chunks
    hashes = words.reshape(many, chunks, size).dot(_factors(size)).view(np.int64)
    if chunks < frames:
        hashes = np.concatenate([hashes, np.zeros((many, frames - chunks), np.int64)], 1)
    return hashes, chunks, elements


def hash_frames(values: Any, frames: int, picked: Any = None) -> tuple[Hashes, int, int]:
    """A number for each frame of some rows of an array or a tensor, (n, frames); how many frames there are; elements.

    A row whose elements cannot be divided into that many frames is one frame, the rest is 0. A blank frame is 0.

    Args:
        values: rows, which count as float32.
        frames: how many there are in a row.
        picked: which rows; None takes it all as one row.
    """
    return _hash_words(_words_of(values, picked), frames)


def hash_row(values: Any, frames: int) -> tuple[list[int], int, int, int]:
    """Of all as one row what :func:`hash_frames` says, and the number of it as a single frame."""
    words = _words_of(values, None)
    hashes, chunks, elements = _hash_words(words, frames)
    return hashes[0].tolist(), chunks, elements, int(words.dot(_factors(elements)).view(np.int64)[0])


def whole_hash(hashes: Hashes) -> Hashes:
    """One number for each row of frames, (n,) int64."""
    return np.asarray((hashes.view(np.uint64) * _factors(hashes.shape[1])).sum(1, dtype=np.uint64).view(np.int64))


def numbers_of(values: Any, count: int | None = None) -> NDArray[np.float64]:
    """An array, a tensor on any device, a list or a number as float64, one for each row if a count of rows is given."""
    values = stacked(values)
    array = np.asarray(values.double().numpy(force=True) if isinstance(values, torch.Tensor) else values, np.float64)
    one_each = array.size == count
    return array if count is None else array.reshape(count) if one_each else array.reshape(count, -1).mean(1)


def actions_of(values: Any, count: int) -> NDArray[np.float64]:
    """The numbers of actions, one for each of a count, as buffers keep them: of float32."""
    return numbers_of(numbers_of(values).astype(np.float32), count)


def flows_through(loss: Any, target: Any) -> bool:
    """Whether the gradient of a loss flows through its target too, as far as both are tensors that say so."""
    wanted, waiting, seen = getattr(target, "grad_fn", None), [getattr(loss, "grad_fn", None)], set[Any]()
    while wanted is not None and waiting:
        node = waiting.pop()
        if node is wanted:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [each for each, _ in node.next_functions]
    return False


def number_of(value: Any, default: float = math.nan) -> float:
    """A number, or the mean of an array or a tensor; the default for None."""
    if isinstance(value, _NUMBERS):
        return float(value)
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value.detach())
    return default if value is None else float(numbers_of(value).mean())

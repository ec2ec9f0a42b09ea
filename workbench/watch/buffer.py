"""A stand-in for a trainer's buffer that watches what goes in and what comes out."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.core.sentences import beside
from workbench.watch.tensors import numbers_of

if TYPE_CHECKING:
    from workbench.watch.watch import Watch

_ADDS = ("add", "push", "store", "append")
_CALLED = {name: part for part, names in beside(__file__)["called"].items() for name in names}
_ORDERS = beside(__file__)["order"]


@Sequence.register
class WatchedBuffer:
    """The buffer, with the rows watched that go into it and come out of it."""

    def __init__(self, watch: "Watch", agent: int, buffer: Any) -> None:
        vars(self).update(_watch=watch, _agent=agent, _buffer=buffer)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_buffer" not in vars(self):
            raise AttributeError(name)
        found = getattr(self._buffer, name)
        watched = self._adding if name in _ADDS else self._sampling if name == "sample" else None
        return functools.partial(watched, found) if watched and callable(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._buffer, name, value)

    def __len__(self) -> int:
        return len(self._buffer)

    def __getitem__(self, key: Any) -> Any:
        return self._buffer[key]

    def _adding(self, add: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
        with self._watch._call():
            self._store(add, given, named)
        return add(*given, **named)

    def _sampling(self, sample: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
        batch = sample(*given, **named)
        with self._watch._call():
            self._sampled(batch)
        return batch

    def _store(self, add: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> None:
        names = _parameters(getattr(add, "__func__", add))
        if len(given) == 1 and not named:
            names, given = _fields(given[0])
        parts = {_CALLED[name]: value for name, value in named.items() if name in _CALLED}
        parts |= _parts(_order("row", names, given, parts), given)
        following, infos = parts.get("next_obs"), parts.get("infos")
        if isinstance(infos, list | tuple):  # a dictionary, as vector environments of Gymnasium give it, says no cuts
            parts["truncated"] = [bool(info.get("TimeLimit.truncated")) for info in infos]
        index, many = getattr(self._buffer, "idx", None), infos is not None or _size(parts["reward"]) > 1
        self._watch.store(
            self._agent, parts["obs"], parts["action"], parts["reward"], parts.get("done", following is None),
            next_obs=following, truncated=parts.get("truncated"), env=None if many else 0,
            index=index if isinstance(index, int) and not many else None,
        )  # fmt: skip

    def _sampled(self, batch: Any) -> None:
        what, (names, given) = "batch", _fields(batch)
        columns = given
        if isinstance(batch, list) and len(batch) not in map(len, _ORDERS["batch"]):
            what, (names, given) = "row", _fields(batch[0])
            columns = list(zip(*(_fields(row)[1] for row in batch), strict=True))
        parts = _parts(_order(what, names, given), columns)
        states, following = parts["obs"], parts["next_obs"]
        if "done" not in parts and "discounts" not in parts:
            parts["done"] = [each is None for each in following]
            following = [state if each is None else each for state, each in zip(states, following, strict=True)]
        named = {name: parts.get(name) for name in ("valid", "discounts", "indices", "weights")}
        self._watch.sample(self._agent, states, parts["action"], parts["reward"], following, parts.get("done"), **named)


def _fields(row: Any) -> tuple[Sequence[str], Sequence[Any]]:
    """The names of the parts of a row or a batch, none if they have none, and the parts."""
    if isinstance(row, tuple | list):
        return getattr(row, "_fields", ()), row
    fields = row if isinstance(row, Mapping) else getattr(row, "__dict__", {})
    return tuple(fields), tuple(fields.values())


@functools.lru_cache(maxsize=64)
def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    """The names of what a function or a method takes; none where that cannot be told."""
    try:
        return tuple(name for name in inspect.signature(function).parameters if name != "self")
    except (TypeError, ValueError):  # it is not written in Python
        return ()


def _order(what: str, names: Sequence[str], given: Sequence[Any], known: Iterable[str] = ()) -> Sequence[str]:
    """What each part is: by their names, if these tell enough, or else by one of the usual orders.

    Raises:
        ValueError: it cannot be told.
    """
    order: Sequence[str] = [_CALLED.get(name, "") for name in names][: len(given)]
    found = {*order, *known}
    if {"obs", "action", "reward"} <= found and found & {"done", "not_done", "next_obs", "discounts"}:
        return order
    for order in _ORDERS[what]:
        if len(order) == len(given):
            reward, rows = given[order.index("reward")], 1 if what == "row" else len(given[0])
            if "infos" in order or (reward is not None and _size(reward) == rows):
                return order
    refused = beside(__file__)["refused"][what]
    raise ValueError(refused.format(count=len(given), names=", ".join(names) or "without names"))


def _parts(order: Sequence[str], given: Sequence[Any]) -> dict[str, Any]:
    parts = dict(zip(order, given, strict=False))
    if "not_done" in parts:
        parts["done"] = 1 - numbers_of(parts["not_done"])
    return parts


def _size(value: Any) -> int:
    return math.prod(np.shape(value))

"""A stand-in for a trainer's buffer that watches what goes in and what comes out."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.watch.watch import Watch

_ADDS = ("add", "push", "store", "append")


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
            if len(given) + len(named) == 6:  # as stable-baselines3 does it: all environments at once
                names = ("obs", "next_obs", "action", "reward", "done", "infos")
                each = dict(zip(names, given, strict=False)) | named
                # a dictionary, as vector environments of Gymnasium give it, says nothing of cuts
                infos = each.pop("infos")
                cut = None if isinstance(infos, dict) else [bool(info.get("TimeLimit.truncated")) for info in infos]
                self._watch.store(self._agent, **each, truncated=cut, env=None)
            else:
                index = getattr(self._buffer, "idx", None)
                self._watch.store(self._agent, *given, index=index if isinstance(index, int) else None, **named)
        return add(*given, **named)

    def _sampling(self, sample: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
        batch = sample(*given, **named)
        names, valid = ("observations", "actions", "rewards", "next_observations", "dones"), None
        with self._watch._call():
            if hasattr(batch, "next_observations"):
                rows = [getattr(batch, name) for name in names]
            else:
                *rows, valid = (*batch, None) if len(batch) == len(names) else batch
            self._watch.sample(self._agent, *rows, valid=valid, discounts=getattr(batch, "discounts", None))
        return batch

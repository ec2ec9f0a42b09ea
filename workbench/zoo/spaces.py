"""What an agent of this package sees and does in the spaces of Gymnasium, which PettingZoo has too."""

import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from workbench.core.config import ConfigError
from workbench.core.envs.base import AgentSpec
from workbench.zoo.sentences import said

_MOST_ACTIONS = 2**15  # the replay stores them in 16 bits
_MOST_NUMBERS = 2**24  # of an observation


def agent_spec(title: str, seen: spaces.Space[Any], done: spaces.Space[Any], keys: Sequence[str]) -> AgentSpec:
    """What the core must know of one agent.

    Args:
        title: whose spaces these are, for messages.
        seen: its observations: Box is kept as it is, bytes that stay below 128 as int8; Discrete (one-hot) and Dict and
            Tuple of these become vectors.
        done: its actions.
        keys: entries of a Dict that are observed; all of them if empty.

    Raises:
        ConfigError: agents of this package cannot see or act like that.
    """
    if not isinstance(done, spaces.Discrete) or done.n > _MOST_ACTIONS:
        raise ConfigError(said("spaces.actions", title=title, done=done, most=_MOST_ACTIONS))
    space, _ = observation(title, seen, keys)
    return AgentSpec(space.shape or (1,), np.dtype(space.dtype).name, int(done.n))


def observation(title: str, space: spaces.Space[Any], keys: Sequence[str]) -> tuple[spaces.Box, Callable[[Any], Any]]:
    """The space of what is stored, and what makes that of an observation; see :func:`agent_spec`."""
    if keys:
        if not isinstance(space, spaces.Dict) or not space.spaces.keys() >= set(keys):
            raise ConfigError(f"world.observation_keys is {tuple(keys)!r}; {title} sees {space}: it has no such keys")
        if len(keys) == 1:
            inner, encode = observation(title, space[keys[0]], ())
            return inner, lambda seen: encode(seen[keys[0]])
        space = spaces.Dict({key: space[key] for key in keys})
    for name, leaf, _ in _leaves(space):
        if not isinstance(leaf, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            remedy = "leave it out with world.observation_keys" if name else "register it with a wrapper that does"
            place = f"{name}: " if name else ""
            raise ConfigError(said("spaces.kind", title=title, place=place, leaf=leaf, remedy=remedy))
    if not 0 < (count := spaces.flatdim(space)) <= _MOST_NUMBERS:
        raise ConfigError(said("spaces.size", title=title, space=space, count=count, most=_MOST_NUMBERS))
    if isinstance(space, spaces.Box):
        # agents take bytes for pixels and divide them by 255; what stays below 128 is none
        held = _smaller(space) if space.dtype == np.uint8 and space.high.max() < 128 else space
        return held, np.asarray if held.dtype.kind == "f" else lambda seen: _exactly(title, held.dtype, seen)
    flat: Any = spaces.flatten_space(space)
    return _smaller(flat), lambda seen: _flattened(title, space, seen)


def _exactly(title: str, dtype: np.dtype[Any], seen: Any) -> NDArray[Any]:
    """An observation in the dtype of its space, if that is one of whole numbers; raises ValueError where it is not."""
    found = np.asarray(seen)
    if found.dtype == dtype or dtype.kind == "f":
        return found
    with np.errstate(invalid="ignore"):
        made = found.astype(dtype)
    if not np.array_equal(made, found):
        raise ValueError(f"{title} sees {reprlib.repr(seen)}, which {dtype} cannot hold; return what the space says")
    return made


def _flattened(title: str, space: spaces.Space[Any], seen: Any) -> Any:
    """An observation as a vector; raises ValueError where a part of it is none of its space."""
    for _, leaf, value in _leaves(space, seen):
        if isinstance(leaf, spaces.Box):
            _exactly(title, leaf.dtype, value)
        elif not leaf.contains(value):
            raise ValueError(f"{title} sees {reprlib.repr(value)}, which is not in {leaf}; return what the space says")
    return spaces.flatten(space, seen)


def _smaller(flat: spaces.Box) -> spaces.Box:
    """The space in a dtype that is as small as it can be: a one-hot vector has eight bytes a number."""
    if flat.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, flat.shape, np.float32)
    low, high = int(flat.low.min()), int(flat.high.max())
    signed: Any = np.min_scalar_type(min(low, -1 - high))  # below 0, so that bytes are told from pixels
    return spaces.Box(low, high, flat.shape, signed)


def _leaves(space: spaces.Space[Any], seen: Any = None, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, space and value of everything that is in an observation; without one, no values."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner: Any = space.spaces
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            yield from _leaves(inner[key], None if seen is None else seen[key], f"{name}.{key}".lstrip("."))
    else:
        yield name, space, seen

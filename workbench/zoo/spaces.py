"""What an agent of this package sees and does in the spaces of Gymnasium, which PettingZoo has too."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from workbench.core.config import ConfigError
from workbench.core.envs.base import AgentSpec

# From what an environment returns to what is stored.
Encode = Callable[[Any], Any]
_FLATTENED = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_MOST_ACTIONS = 2**15  # the replay stores them in 16 bits


def agent_spec(title: str, seen: spaces.Space[Any], done: spaces.Space[Any], keys: Sequence[str]) -> AgentSpec:
    """What the core must know of one agent.

    Args:
        title: whose spaces these are, for messages.
        seen: its observations: Box is kept as it is; Discrete (one-hot) and Dict and Tuple of these become vectors.
        done: its actions.
        keys: entries of a Dict that are observed; all of them if empty.

    Raises:
        ConfigError: agents of this package cannot see or act like that.
    """
    if not isinstance(done, spaces.Discrete) or done.n > _MOST_ACTIONS:
        raise ConfigError(
            f"{title} acts in {done}; agents here choose one of at most {_MOST_ACTIONS} actions (Discrete). Register "
            "the environment with a wrapper that makes its actions Discrete"
        )
    space, _ = observation(title, seen, keys)
    return AgentSpec(space.shape or (1,), str(space.dtype), int(done.n))


def observation(title: str, space: spaces.Space[Any], keys: Sequence[str]) -> tuple[spaces.Box, Encode]:
    """The space of what is stored, and how an observation gets into it; see :func:`agent_spec`."""
    if keys:
        if not isinstance(space, spaces.Dict) or not space.spaces.keys() >= set(keys):
            raise ConfigError(
                f"world.observation_keys is {tuple(keys)!r}; {title} sees {space}, which has no such keys"
            )
        if len(keys) == 1:
            inner, encode = observation(title, space[keys[0]], ())
            return inner, lambda seen: encode(seen[keys[0]])
        space = spaces.Dict({key: space[key] for key in keys})
    for name, leaf in _leaves(space):
        if not isinstance(leaf, (spaces.Box, *_FLATTENED)):
            remedy = (
                "leave it out with world.observation_keys" if name else "register it with a wrapper that makes it so"
            )
            raise ConfigError(
                f"{title} sees {name + ': ' if name else ''}{leaf}; agents here see Box and Discrete spaces, and Dict "
                f"and Tuple of these: {remedy}"
            )
    if isinstance(space, spaces.Box):
        return space, np.asarray
    flat = spaces.flatten_space(space)
    if not isinstance(flat, spaces.Box):
        raise ConfigError(f"{title} sees {space}, which Gymnasium cannot flatten; register it with a wrapper")
    return _smaller(flat), lambda seen: spaces.flatten(space, seen)


def _smaller(flat: spaces.Box) -> spaces.Box:
    """The space in a dtype that is as small as it can be: a one-hot vector has eight bytes a number."""
    if flat.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, flat.shape, np.float32)
    low, high = flat.low.min(), flat.high.max()
    kinds: tuple[Any, ...] = (np.int8, np.int16, np.int32, np.int64)
    held = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return spaces.Box(low, high, flat.shape, next(held))


def _leaves(space: spaces.Space[Any], name: str = "") -> Iterator[tuple[str, spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _leaves(inner, f"{name}.{index}".lstrip("."))
    else:
        yield name, space

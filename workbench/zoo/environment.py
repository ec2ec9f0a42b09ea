"""Environments of other libraries as worlds: what those of Gymnasium and of PettingZoo have in common.

Every episode starts from ``reset(seed=...)`` with a seed drawn from the world's own stream. Between two epochs that
stream is all there is, so digests, restarts and resumed runs hold for every environment that its seed decides.
"""

import dataclasses
import functools
import importlib.util
import json
import sys
import weakref
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import ConfigError
from workbench.core.envs.base import AgentSpec, EnvSpec, Turn, World, WorldConfig
from workbench.core.registry import NotGiven, check_importable, name_of
from workbench.core.settings import between, require
from workbench.runs.array_digest import array_digest
from workbench.zoo.sentences import said

# Packages whose modules a run folder may have imported. Others are imported because the caller names them.
TRUSTED = ("gymnasium", "pettingzoo", "mpe2", "minigrid", "ale_py")


def _trusted(package: str) -> bool:
    """Whether a package is one of those, and installed: a folder could bring a module of the same name along."""
    found = importlib.util.find_spec(package) if package in TRUSTED else None
    return found is not None and Path(found.origin or "").parent.parent.name in ("site-packages", "dist-packages")


# Copies that evaluations and reference lines play side by side; each is played by itself, in Python.
MAX_COPIES = 16
_PROBED_TURNS = 23  # a prime: what counts turns across episodes must not begin the next as it began the last


# What is played: it has the parallel interface of PettingZoo.
Environment: TypeAlias = Any


@dataclass(frozen=True)
class Found:
    """What is known of an environment once it was made: plain values, which a child is sent with its configuration.

    Attributes:
        agents: one for each of the possible agents.
        recipe: makes the environment in a child that imported none of what the caller has imported.
        title: the name that a configuration gives it, where names are registered; in a child they are not.
        draws: whether it can draw itself as an array of pixels.
    """

    agents: tuple[AgentSpec, ...]
    recipe: dict[str, Any]
    title: str
    draws: bool = False


@dataclass(frozen=True)
class EnvironmentConfig(WorldConfig):
    """What the environments of both libraries are asked for.

    Attributes:
        env_id: Which environment; see the class of the library.
        max_turns: Turns of an epoch. Episodes that end begin again inside it; the one under way at its end is cut off
            there, so none is longer.
        env_args: Arguments of the environment by name: numbers, words, true or false.
        observation_keys: Entries of a Dict observation that the agents see; all of them if empty.
    """

    named_by: ClassVar[str] = "env_id"

    env_id: str = ""
    max_turns: Annotated[int, between(1, 1_000_000, "turns")] = 200
    env_args: dict[str, bool | int | float | str] = field(default_factory=dict, hash=False)
    observation_keys: tuple[str, ...] = ()

    def check(self) -> None:
        """A run folder can hold the arguments, and names no module that only the caller may name."""
        plain: Any = None
        with suppress(TypeError, ValueError):
            plain = json.loads(json.dumps(self.env_args))
        require(plain == self.env_args, "world.env_args", self.env_args, "it must hold what JSON can hold")
        object.__setattr__(self, "env_args", plain)  # which nobody else can change
        module = self.module_of(self.env_id)
        known = module in sys.modules or _trusted(module.partition(".")[0]) or self._key in _FOUND
        if module and not known:
            raise NotGiven(said("environment.module", config=self, module=module))

    @classmethod
    def import_named(cls, text: str) -> None:
        """Import the module of the environment that the caller names, and forget what was found of it before."""
        for known in [known for known in _FOUND if known[1] == text]:
            del _FOUND[known]
        if module := cls.module_of(text):
            try:
                importlib.import_module(module)
            except Exception as error:
                world = f"{name_of(cls)}:{text}"
                raise ConfigError(said("environment.import", world=world, module=module, error=error)) from error

    @classmethod
    def module_of(cls, env_id: str) -> str:
        """The module that must be imported for an environment; "" for one of the library's own registry."""
        return env_id.rpartition(":")[0]

    @property
    def title(self) -> str:
        """The name that a configuration gives it."""
        return f"{super().title}:{self.env_id}"

    def find(self) -> dict[str, Any]:
        """The recipe of the environment: plain values.

        Raises:
            ConfigError: there is no such environment, or a child could not make it.
        """
        raise self.lacks("find")

    def open(self, recipe: Mapping[str, Any]) -> Environment:
        """An environment, newly made."""
        raise self.lacks("open")

    def spec(self) -> EnvSpec:
        """What a first environment says of itself. It is made once."""
        return EnvSpec(self.found.agents, self.max_turns, max_copies=MAX_COPIES, at_once=True)

    @functools.cached_property
    def found(self) -> Found:
        """What is known of the environment; children are sent it with the configuration.

        Raises:
            ConfigError: the package is missing, or there is no such environment, it cannot be made, or agents of this
                package cannot play in it.
        """
        if self._key not in _FOUND:
            try:
                recipe = self.find()
                with closing(self.open(recipe)) as environment:
                    modes = (getattr(environment, "metadata", None) or {}).get("render_modes", ())
                    _FOUND[self._key] = Found(self.agents_of(environment), recipe, self.title, "rgb_array" in modes)
            except ConfigError:
                raise
            except ImportError as error:
                raise NotGiven(said("environment.missing", config=self, error=error)) from error
            except (Exception, SystemExit) as error:
                hint = said("environment.own") if ":" in self.env_id else ""
                raise NotGiven(f"world is {self.title!r}, which cannot be made: {error!r}{hint}") from error
        return _FOUND[self._key]

    @property
    def drawn(self) -> "EnvironmentConfig":
        """The same, of environments that draw themselves: their world has a :meth:`Episodes.render`.

        Raises:
            ConfigError: they cannot.
        """
        if not self.found.draws:
            raise ConfigError(f"{self.title} has no render mode 'rgb_array'")
        return dataclasses.replace(self, env_args=self.env_args | {"render_mode": "rgb_array"})

    @property
    def _key(self) -> tuple[Any, ...]:
        return type(self), self.env_id, json.dumps(self.env_args), self.observation_keys

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a child: also what is made of this configuration there, as evaluations are, knows the environment."""
        self.__dict__.update(state)
        if "found" in state:
            _FOUND[self._key] = state["found"]

    def agents_of(self, environment: Environment) -> tuple[AgentSpec, ...]:
        """What an environment says of its agents.

        Raises:
            ConfigError: agents of this package cannot play in it.
        """
        from workbench.zoo.spaces import agent_spec  # here, as it needs gymnasium

        names = getattr(environment, "possible_agents", None)
        if not names:
            raise ConfigError(said("environment.agents", config=self))
        seen, done = environment.observation_space, environment.action_space
        whose = f"world is {self.title!r}, whose"
        named = zip(names, ["agent"] if len(names) == 1 else [f"agent {x}" for x in names], strict=True)
        return tuple(agent_spec(f"{whose} {name}", seen(x), done(x), self.observation_keys) for x, name in named)

    def unseeded(self) -> str:
        """Why equal seeds give different runs, if they do: two episodes are played in two environments.

        Raises:
            ConfigError: they cannot be played.
        """
        first, other = (dataclasses.replace(self, num_worlds=1).make(np.random.default_rng(0)) for _ in range(2))
        try:  # in either order: nothing of the one episode may be left in the other
            played = [_trace(first, 1), _trace(first, 2)], [_trace(other, 2), _trace(other, 1)]
        except (Exception, SystemExit) as error:
            raise ConfigError(said("environment.played", config=self, error=error)) from error
        differ = f"{self.title} is not decided by its seed: two episodes with the same seed and actions differ"
        return "" if played[0] == played[1][::-1] else differ

    def make(self, rng: np.random.Generator) -> "Episodes":
        """The world."""
        return Episodes(self, rng)


_FOUND: dict[tuple[Any, ...], Found] = {}


def importable(what: str, entry_point: Any) -> str:
    """``module:name`` of what makes an environment.

    Raises:
        ConfigError: a child process could not import it.
    """
    if isinstance(entry_point, str):
        return entry_point
    check_importable(what, entry_point)
    return f"{entry_point.__module__}:{entry_point.__qualname__}"


class Episodes(World):
    """``num_worlds`` copies of an environment that play one episode after the other.

    See :mod:`workbench.core.envs.base` for the turns in which a copy begins again.
    """

    def __init__(self, config: EnvironmentConfig, rng: np.random.Generator) -> None:
        from workbench.zoo.spaces import observation

        found, num_worlds = config.found, config.num_worlds
        self.config, self.rng, self.num_worlds = config, rng, num_worlds
        self._environments = [config.open(found.recipe) for _ in range(num_worlds)]
        for each in self._environments:
            weakref.finalize(self, each.close)  # with this world, or with the process
        first = self._environments[0]
        if config.agents_of(first) != found.agents:
            raise ConfigError(said("environment.changed", config=config))
        self._names = list(first.possible_agents)
        self._possible = [frozenset(range(agent.num_actions)).issuperset for agent in found.agents]
        self._first_actions = [int(getattr(first.action_space(name), "start", 0)) for name in self._names]
        seen = [first.observation_space(name) for name in self._names]
        self._encode = [observation(found.title, each, config.observation_keys)[1] for each in seen]
        self._frames = [np.zeros((num_worlds, *agent.shape), agent.dtype) for agent in found.agents]
        self._actions: list[list[Any]] = [[0] * num_worlds for _ in self._names]
        self._ended: list[set[Any]] = [set() for _ in range(num_worlds)]
        self._turn = Turn(*(np.zeros((len(self._names), num_worlds), kind) for kind in ("f4", "?", "?", "?")))
        try:
            self.reset()
        except (Exception, SystemExit) as error:
            raise ConfigError(said("environment.played", config=config, error=error)) from error

    def reset(self) -> None:
        """A new episode in every copy."""
        self._before = [np.zeros_like(frame) for frame in self._frames]
        self._frames = [np.empty_like(frame) for frame in self._frames]
        for copy in range(self.num_worlds):
            self._begin(copy)

    def begin_turn(self) -> None:
        """Nothing moves before the agents do."""

    def observe(self, agent: int) -> NDArray[Any]:
        """What one agent sees, or saw last: (num_worlds, *shape)."""
        return self._frames[agent]

    def act(self, agent: int, actions: NDArray[np.int64]) -> None:
        """Take one agent's actions; the environments move when all agents have acted."""
        chosen = actions.tolist()
        if len(chosen) != self.num_worlds or not self._possible[agent](chosen):
            most = self.config.found.agents[agent].num_actions - 1
            raise ValueError(f"actions are {chosen}; there must be {self.num_worlds}, from 0 to {most}")
        self._actions[agent] = [action + self._first_actions[agent] for action in chosen]

    def end_turn(self) -> Turn:
        """Step every copy, or begin its next episode if everybody's part in the last one has ended."""
        for array in self._turn:
            array[...] = 0
        self._before, self._frames = self._frames, [np.empty_like(frame) for frame in self._frames]
        for copy, environment in enumerate(self._environments):
            if len(self._ended[copy]) == len(self._names):
                self._begin(copy)
            else:
                self._step(copy, environment)
        return self._turn

    def render(self) -> NDArray[np.uint8]:
        """The first copy as it is now, (height, width, 3) uint8, of a world of :attr:`EnvironmentConfig.drawn`."""
        return np.asarray(self._environments[0].render())

    def _begin(self, copy: int) -> None:
        self._ended[copy].clear()
        seen, _ = self._environments[copy].reset(seed=int(self.rng.integers(2**31)))
        self._show(copy, seen, self._environments[copy].agents, seen)

    def _show(self, copy: int, seen: Mapping[Any, Any], due: Iterable[Any], earned: Mapping[Any, Any]) -> None:
        if silent := sorted(set(due) - (seen.keys() & self._names & earned.keys()), key=str):
            raise ValueError(said("environment.silent", config=self.config, agent=silent[0]))
        for name, frames, before, encode in zip(self._names, self._frames, self._before, self._encode, strict=True):
            frames[copy] = _fitting(self.config, encode(seen[name]), frames[0]) if name in seen else before[copy]

    def _step(self, copy: int, environment: Environment) -> None:
        acting, ended = set(environment.agents), self._ended[copy]
        agents = zip(self._names, self._actions, strict=True)
        actions = {name: chosen[copy] for name, chosen in agents if name in acting}
        seen, earned, terminated, truncated, _ = environment.step(actions)
        self._show(copy, seen, acting, earned)
        left = environment.agents
        for index, name in enumerate(self._names):
            if name in ended:
                continue
            self._turn.rewards[index, copy] = one("reward", earned.get(name, 0), self.config)
            self._turn.valid[index, copy] = name in acting
            over = one("terminated", terminated.get(name, False), self.config)
            cut = one("truncated", truncated.get(name, False), self.config) and not over
            # who is gone without a word, or has never come, has ended too
            if cut or over or not left or (name in acting and name not in left):
                (self._turn.truncated if cut else self._turn.terminated)[index, copy] = True
                ended.add(name)


def _trace(world: Episodes, seed: int) -> str:
    """Digest of the first turns of an epoch in which chance acts, from the same seed."""
    world.rng, rng, told = np.random.default_rng(seed), np.random.default_rng(seed), list[NDArray[Any]]()
    world.reset()
    for _ in range(_PROBED_TURNS):
        for index, agent in enumerate(world.config.found.agents):
            told.append(_fitting(world.config, world.observe(index), np.empty(agent.shape)).copy())
            world.act(index, rng.integers(agent.num_actions, size=1))
        told += [part.copy() for part in world.end_turn()]
    return array_digest(*told)


def one(what: str, told: Any, config: EnvironmentConfig) -> Any:
    """A reward, or whether an episode is over; raises ValueError where it is not one number, or not true or false."""
    if type(told) is (float if what == "reward" else bool):  # as of most environments; all else takes time
        return told
    found = np.asarray(told)
    if found.size != 1 or found.dtype.kind not in "biuf" or (what != "reward" and found.item() not in (0, 1)):
        raise ValueError(said(f"own gives.{what}", config=config, told=told))
    return found.item()


def _fitting(config: EnvironmentConfig, seen: Any, frame: NDArray[Any]) -> Any:
    """What one copy shows, in the shape of a frame; raises ValueError where NumPy would repeat a smaller one."""
    shown = np.array(seen, copy=None, ndmin=1 + frame.ndim)
    if shown.shape != (1, *frame.shape):  # the axis of the copies is not told of
        raise ValueError(said("environment.shape", config=config, has=shown.shape[len(shown) == 1 :], due=frame.shape))
    return shown[0]

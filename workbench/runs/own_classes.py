"""What is asked of a world, an agent and a sampler of the user's own, before their mistakes become results.

Those that the workbench brings along are tested instead. What is made of arguments is looked at before there is a run
folder; turns of a world, and the first of all else that the core is given, by a hook of every run. Another hook notes
whether they draw from generators that all code of a process shares, which no seed decides.
"""

import functools
import random
from collections.abc import Callable, Collection, Mapping
from itertools import count, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from workbench.core import registry
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent, ValueConfig, arguments_of
from workbench.core.config import Config
from workbench.core.envs.base import Turn
from workbench.core.processes.blocks import Plan, Shared
from workbench.core.processes.worker import Parts
from workbench.core.settings import Choice, require
from workbench.core.shared.layout import Field, Layout
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.sentences import said

# The modules with a generator that all code of a process shares, and what seeds it there.
SEEDS: dict[Any, str] = {np.random: "seed", random: "seed", torch: "manual_seed"}
BLOCK = "global generators"


def own(choice: Choice) -> bool:
    """Whether a world or an agent is of a class that is not registered."""
    return ":" in registry.name_of(type(choice))


def unseeded(config: Config) -> str:
    """Why runs of the same seed may differ, in a sentence; "" where the seed decides all.

    Raises:
        ConfigError: the network of an own agent is none, or holds more than parameters.
    """
    agent, name = config.agent, registry.name_of(type(config.agent))
    for spec in set(config.spec.agents if own(agent) and isinstance(agent, ValueConfig) else ()):
        with torch.random.fork_rng(()):
            made = arguments_of(config).network(spec)
        require(hasattr(made, "set_noise"), f"the network of {name}", made, said("own_classes.network"))
        kept = sorted(set(made.state_dict()) - {name for name, _ in made.named_parameters()})
        require(not kept, "agent", name, said("own_classes.buffers", kept=", ".join(kept)))
        if drawing := {type(layer).__name__ for layer in made.modules() if isinstance(layer, _DropoutNd)}:
            return said("own_classes.drawing", layers=", ".join(sorted(drawing)))
    return config.world.unseeded()


def state_of(choice: Choice, made: Any, *apart: str, others: Collection[str] = ()) -> Mapping[str, Any]:
    """The state of what arguments have made, a world or a sampler, or an agent's, if it is one and can be kept.

    Args:
        choice: the arguments.
        made: from them.
        apart: what must be in the state, and is kept in another form.
        others: names that it must not have: what is kept beside it.

    Raises:
        ConfigError: it is no mapping of arrays, lacks what must be in it, or has a name of something else.
    """
    state = made.get_state() if hasattr(made, "get_state") else made
    fits = isinstance(state, Mapping) and state.keys() >= {*apart} and not state.keys() & {*others}
    fits = fits and not any(np.asarray(state[name]).dtype.hasobject for name in state.keys() - {*apart})
    rule = said(f"own makes.{choice.group}", others=", ".join(others))
    require(fits, f"the state of {registry.name_of(type(choice))}", state, rule)
    return dict(state)


def must_be(what: str, found: Any, kind: Any, due: object, within: Any = None, **about: object) -> None:
    """Refuse an array or a tensor of another kind or shape than it must have, or with numbers out of bounds.

    Raises:
        ValueError: what it is, and what it must be.
    """
    found = np.asarray(found) if within else found
    array = isinstance(found, Tensor if kind is Tensor else np.ndarray) and found.shape == due
    fits = array and (kind is Tensor or np.issubdtype(found.dtype, kind))
    if not fits or (within and not ((found >= within[0]) & (found <= within[1])).all()):
        like = f" of {found.dtype} and of shape {(*found.shape,)}" if hasattr(found, "dtype") else ""
        told = f"numbers from {found.min()} to {found.max()}" if fits else f"a {type(found).__name__}{like}"
        raise ValueError(said(f"own gives.{what}", found=told, kind=kind, due=due, within=within, **about))


def look(part: Any, name: str, check: Callable[..., object], times: int = 1) -> None:
    """Check what a method of a part gives, the first times that it is called, or each time (0)."""
    method, calls = getattr(part, name), count(1)

    def looked_at(*given: Any) -> Any:
        """What it gives."""
        found = method(*given)
        check(found, *given)
        if next(calls) == times and getattr(part, name) is looked_at:  # else another has wrapped it meanwhile
            setattr(part, name, method)
        return found

    setattr(part, name, looked_at)


class OwnClasses(Hook):
    """Refuses what a class of the user's own gives where it is not what the core asks for; of a world in every turn."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look at every turn, at the first observations, and at the first values of actions."""
        world, agents, whole = collector.world, parts.config.spec.agents, parts.config.spec.whole_epochs

        def turned(turn: Any) -> None:
            for name in Turn._fields:
                kind, due = np.floating if name == "rewards" else np.bool_, (len(agents), world.num_worlds)
                must_be("turn", getattr(turn, name, turn), kind, due, name=name)
            if whole and (turn.terminated | turn.truncated).any():
                raise ValueError(said("own_classes.whole"))

        def seen(found: Any, i: int) -> None:
            must_be("seen", found, np.dtype(agents[i].dtype).type, (world.num_worlds, *agents[i].shape), agent=i)

        if own(parts.config.world):
            look(world, "end_turn", turned, 0)
            look(world, "observe", seen, len(agents))
        for spec, policy in zip(agents, collector.policies, strict=True):
            if own(parts.config.agent) and isinstance(policy, EpsilonGreedy):
                look(policy, "q", lambda q, x, n=spec.num_actions: must_be("q", q, Tensor, (len(x["state"]), n)))

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Look at the first losses, rows and weights."""

        def lost(x: Any, staged: object, rows: slice) -> None:
            for name, each in zip_longest(("loss", "value", "error"), x if isinstance(x, tuple | list) else [x]):
                must_be("losses", each, Tensor, (rows.stop - rows.start,), name=name)
            # within torch.vmap no tensor says that it has a gradient
            if not (x[0].requires_grad or getattr(parts.config.agent, "stackable", False)):
                raise ValueError(said("own_classes.detached"))

        for agent, sampler in zip(trainer.agents.values(), trainer.samplers.values(), strict=True):
            if own(parts.config.agent) and isinstance(agent, ValueAgent):
                look(agent, "row_losses", lost)
            if own(parts.config.replay.sampler):
                look(sampler, "draw", lambda x, low, high, n: must_be("rows", x, np.integer, (n,), (low, high - 1)))
            if own(parts.config.replay.sampler) and parts.config.replay.sampler.weighted:
                look(sampler, "weights", lambda x, rows: must_be("weights", x, np.floating, rows.shape, (0, np.inf)))


def states() -> dict[Any, Any]:
    """Of the generators of :data:`SEEDS`."""
    return {np.random: str(np.random.get_state()), random: random.getstate(), torch: torch.get_rng_state().tolist()}


class GlobalDraws(Hook):
    """Notes which global generators the children of a run have drawn from, where it has classes of the user's own.

    One that is seeded in a child is left out: a simulator that takes no generator can be given a seed in each reset.
    """

    def layouts(self, plan: Plan) -> dict[str, Layout]:
        """For each global generator, whether a child has drawn from it."""
        return {BLOCK: Layout(BLOCK, (Field("drawn", (len(SEEDS),), "<i8", 0),))}

    def on_parts(self, parts: Parts) -> None:
        """Look at their states before there are other parts, and once more when the work is done."""
        config, report_end, before = parts.config, parts.progress.report_end, states()
        drawn = parts.blocks[BLOCK].open()["drawn"]

        def seeded(module: Any, seed: Any, *given: Any, **named: Any) -> Any:
            before.pop(module, None)
            return seed(*given, **named)

        def looked_at(process: int) -> None:
            drawn[:] |= [before.get(module, state) != state for module, state in states().items()]
            report_end(process)

        if any(map(own, (config.world, config.agent, config.replay.sampler))):
            parts.progress.report_end = looked_at  # type: ignore[method-assign]
            for module, seed in SEEDS.items():
                setattr(module, seed, functools.partial(seeded, module, getattr(module, seed)))


def drawn_globally(shared: Shared) -> str:
    """As :func:`unseeded`, of what the children of a run have drawn from the generators of whole processes."""
    drawn = [it.__name__ for it, moved in zip(SEEDS, shared.blocks[BLOCK].open()["drawn"], strict=True) if moved]
    return said("own_classes.global", drawn=" and ".join(drawn)) if drawn else ""

"""The audit: now and then each side keeps the evidence of what it has just done, for the doctor to compute once more.

Evidence is what went in, the random numbers used, what came out, and the state before and after; see
:mod:`workbench.diagnose.second_opinion` for what is made of it. It lies in the run folder, in files
``audit/KIND-AGENT-EPOCH.evidence``. The epochs that are looked at are spread over the run, so few that all files
together take about :data:`BUDGET` bytes; in all others the wrappers only pass on what they are given. A hook that is
switched on before is inside what is recorded. What it costs a run together with the probes is measured by
``tests.campaigns.bench``, as ``slow_down_by_probes``.
"""

import io
import math
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.core.agents.base import Chosen
from workbench.core.agents.flat_parameters import to_numpy
from workbench.core.agents.value_agent import EpsilonGreedy, ValueAgent
from workbench.core.config import Config
from workbench.core.envs.base import Turn
from workbench.core.processes.worker import Parts
from workbench.core.seeding import rng_words
from workbench.core.shared.replay import Batch
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.clean import Half, Side
from workbench.diagnose.faults.fault import Wrapped, override
from workbench.runs.files import private
from workbench.runs.initial_weights import BLOCK as WARM_START
from workbench.zoo.environment import Episodes, one
from workbench.zoo.fused import FusedLearner
from workbench.zoo.gymnasium import Alone
from workbench.zoo.prioritised import PrioritisedSampler

# Bytes that the evidence of a run takes, if each agent can be looked at once on each side for less.
BUDGET = 8_000_000
# Rounds of each agent, on each side, from which on more would tell little; and of all agents, so that files stay few.
MOST, MOST_IN_ALL = 8, 500
# Bytes of one file of evidence, and what is read of one.
MOST_BYTES = 2**28
# Worlds, others in each epoch, and rows of a batch that are kept.
WORLDS, ROWS = 4, 64
# Numbers of each parameter that are kept where the whole vector is not needed.
SAMPLE = 64
ENDING = ".evidence"
# What numbers a step gives, and is given.
_TOLD = ("reward", "terminated", "truncated", "reward")  # an action may be any number, too


class Audit(Hook):
    """Keeps evidence on both sides. Give it last: ``launch(config, hooks=[*faults, Audit()])``."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Keep turns and syncs."""
        _Acting(collector, parts)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Keep draws, updates and publications."""
        _Learning(trainer, parts)


def audited(config: Config, first: int, acting: bool) -> set[tuple[int, int]]:
    """The agents and epochs, from a first epoch on, that one side looks at.

    None of an agent whose evidence would be too large: nobody could read it, and its process would need that memory.
    """
    specs, stacked, batch = config.spec.agents, config.agent.num_frames, config.learning.batch_size
    weights = np.array([4 * config.agent.layout(spec).size for spec in specs])
    frames = np.array([math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs])
    whole = 3 * weights.sum() + frames.sum() * stacked * (WORLDS * config.max_turns + 3 * batch)  # of one round
    count, agents = min(int(np.clip(BUDGET / (whole + 1), 1, MOST) * len(specs)), MOST_IN_ALL), len(specs)
    networks, states = (1, min(WORLDS, config.num_worlds) * config.max_turns) if acting else (2, 3 * batch)
    fits = networks * weights + (stacked + 2) * states * frames <= MOST_BYTES
    return {(at % agents, first + at * (config.epochs - first) // count) for at in range(count) if fits[at % agents]}


def settings_sum(config: Config) -> int:
    """A checksum of all settings: evidence is judged by those that it was kept under.

    A name may differ in a child, and the device, which is chosen for it.
    """
    values = {name: value for name, value in config.flat().items() if not name.endswith(("name", "device"))}
    return zlib.crc32(repr(values).encode())


def pack(found: Mapping[str, Any]) -> bytes:
    """Arrays by name as bytes: one record, with a field for each, in NumPy's own format."""
    arrays, content = {name: np.asarray(each) for name, each in found.items()}, io.BytesIO()
    record = np.array(tuple(arrays.values()), [(name, each.dtype, each.shape) for name, each in arrays.items()])
    np.save(content, record, allow_pickle=False)
    return content.getvalue()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """The inverse of :func:`pack`.

    Raises:
        ValueError: it is none of its results.
    """
    record = np.load(io.BytesIO(content), allow_pickle=False)
    return {name: record[name] for name in record.dtype.names or ()}


class _Side(Side):
    """Either side, what of it is looked at, and the way to the run folder."""

    def __init__(self, parts: Parts, first: int, acting: bool) -> None:
        super().__init__(parts, SAMPLE)
        self.job, self.audited = parts.job, audited(self.config, first, acting)
        self._settings = settings_sum(self.config)

    def keep(self, kind: str, agent: int, epoch: int, **evidence: Any) -> None:
        """Write evidence; what cannot be written, or is only half written, is not looked at."""
        folder, name = self.job.logs.fileno(), f"../audit/{kind}-{agent}-{epoch}{ENDING}"
        with suppress(OSError):
            with suppress(FileExistsError):
                os.mkdir("../audit", 0o700, dir_fd=folder)
            with open(name, "wb", opener=lambda path, flags: private(path, flags, folder)) as file:
                file.write(pack({"process": self.job.name, "settings": self._settings, **evidence}))

    def stored(self, agent: int, version: int) -> dict[str, Any]:
        """What the weight store holds of a version; nothing if it is not there (any more)."""
        places = self.places[agent]

        def look(online: Half, target: Half) -> dict[str, Any]:
            return {"stored": online[places], "stored_target": target[places], "stored_sum": vector_sum(online)}

        return self.stores[agent].look(version, look) or {}


class _Acting(_Side):
    """The actor's side."""

    def __init__(self, collector: Collector, parts: Parts) -> None:
        super().__init__(parts, 0, acting=True)
        self.collector, self.world = collector, collector.world
        self._epochs: dict[int, _Turns] = {}
        # of worlds that play environments of other libraries: what each of them has answered in this turn, by agent
        played = self.world if isinstance(self.world, Episodes) else None
        made, self._names, self._over = (getattr(played, x, ()) for x in ("_environments", "_names", "_ended"))
        self._told = np.zeros((self.config.num_worlds, self.config.num_agents, 7))
        for copy, each in enumerate(made):
            override(each.environment if isinstance(each, Alone) else each, "step", partial(self._step, copy, each))
        override(collector, "epoch", self._epoch)
        for name in ("reset", "begin_turn", "observe", "act", "end_turn"):
            override(self.world, name, getattr(self, f"_{name}"))
        for agent, policy in enumerate(collector.policies):
            override(policy, "act", partial(self._choose, agent=agent))

    def _epoch(self, collect: Wrapped, epoch: int, version: int | None) -> None:
        self._epochs = {agent: _Turns(self.world, agent, epoch) for agent, at in sorted(self.audited) if at == epoch}
        collect(epoch, version)
        for agent, turns in self._epochs.items():
            if (weights := getattr(self.collector.policies[agent], "weights", None)) is not None:
                turns.once["sum_later"] = vector_sum(to_numpy(weights))
            replay = self.replays[agent].arrays
            slot = epoch % len(replay["action"])
            rows = {f"row_{name}": replay[name][slot][:, turns.worlds] for name in replay if replay[name].ndim > 1}
            # the last frame is shown after the last turn
            self.keep("turns", agent, epoch, **turns.arrays(), **rows)
        self._epochs = {}

    def _step(self, copy: int, played: Any, step: Wrapped, actions: Any) -> Any:
        """Note for each agent a checksum of what it sees, reward, ends, its action, whether it acted and is gone."""
        if not self._epochs:
            return step(actions)
        before = [x for x in played.agents if x not in self._over[copy]]
        told = step(actions)
        seen, *parts = (x if isinstance(x, Mapping) else dict.fromkeys(self._names, x) for x in (*told[:4], actions))
        world: Any = self.config.world
        for agent, (name, spec) in enumerate(zip(self._names, self.config.spec.agents, strict=True)):
            plain = isinstance(frame := seen.get(name), np.ndarray) and frame.size == math.prod(spec.shape)
            shows = vector_sum(np.asarray(frame, spec.dtype).reshape(-1)) if plain else 0
            numbers = (one(what, part.get(name, 0), world) for what, part in zip(_TOLD, parts, strict=True))
            self._told[copy, agent] = shows, *numbers, name in before, name not in played.agents
        return told

    def _reset(self, reset: Wrapped) -> None:
        for turns in self._epochs.values():
            turns.add(world_rng=rng_words(self.world.rng))
        reset()

    def _begin_turn(self, begin: Wrapped) -> None:
        before = [turns.cells() for turns in self._epochs.values()]
        begin()
        for turns, cells in zip(self._epochs.values(), before, strict=True):
            turns.add(before_spawn=cells, after_spawn=turns.cells())

    def _observe(self, observe: Wrapped, agent: int) -> NDArray[Any]:
        shown: NDArray[Any] = observe(agent)
        if turns := self._epochs.get(agent):
            turns.add(shown=shown[turns.worlds], cells=turns.cells(), place=turns.places(agent))
        return shown

    def _choose(self, act: Wrapped, stack: NDArray[Any], epsilon: float, *, agent: int) -> Chosen:
        turns, policy = self._epochs.get(agent), self.collector.policies[agent]
        if turns is None:
            return cast(Chosen, act(stack, epsilon))
        if "version" not in turns.once:
            in_use = self.collector.in_use[agent]
            turns.once |= {"version": in_use.version, **self.stored(agent, in_use.version)}
            if (weights := getattr(policy, "weights", None)) is not None:
                turns.once |= {"weights": to_numpy(weights), "device": weights.device.type}
        turns.add(stack=stack[turns.worlds], epsilon=epsilon)
        if isinstance(policy, EpsilonGreedy):
            turns.add(values=rng_words(policy._rng))
            if type(policy).act is EpsilonGreedy.act:  # else it may explore by other numbers
                turns.add(exploration=rng_words(policy._exploration))
        chosen: Chosen = act(stack, epsilon)
        for name, drawn in getattr(getattr(policy, "inputs", None), "host", {}).items():
            if name != "state":
                turns.add(**{f"drawn_{name}": drawn[turns.worlds] if name == "tau" else drawn.copy()})
        turns.add(**{f"chosen_{name}": each[turns.worlds] for name, each in vars(chosen).items()})
        return chosen

    def _act(self, act: Wrapped, agent: int, actions: NDArray[np.int64]) -> None:
        act(agent, actions)
        if turns := self._epochs.get(agent):
            turns.add(taken=actions[turns.worlds], place_after=turns.places(agent), cells_after=turns.cells())

    def _end_turn(self, end: Wrapped) -> Turn:
        self._told[...] = 0
        turn: Turn = end()
        for agent, turns in self._epochs.items():
            if self._names:
                turns.add(told=self._told[turns.worlds, agent])
            turns.add(**{f"paid_{name}": each[agent][turns.worlds] for name, each in turn._asdict().items()})
        return turn


class _Turns:
    """The evidence of one agent's epoch, in some of the worlds: lists of one entry a turn, and what there is once."""

    def __init__(self, world: Any, agent: int, epoch: int) -> None:
        self._world, self._shows = world, hasattr(world, "cells") and hasattr(world, "positions")
        self.worlds = np.sort(np.random.default_rng((agent, epoch)).permutation(world.num_worlds)[:WORLDS])
        self.found: dict[str, list[Any]] = {}
        self.once: dict[str, Any] = {"worlds": self.worlds}

    def add(self, **found: Any) -> None:
        """Add to the lists; None where there is nothing."""
        for name, each in found.items():
            if each is not None:
                self.found.setdefault(name, []).append(each)

    def cells(self) -> NDArray[np.uint8] | None:
        """The maps, where the world shows them."""
        return self._world.cells[self.worlds] if self._shows else None

    def places(self, agent: int) -> NDArray[np.int64] | None:
        """Where an agent stands in them: row and column."""
        return self._world.positions[agent][self.worlds] if self._shows else None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, by name; turns first."""
        return {name: np.array(each) for name, each in self.found.items()} | self.once


class _Learning(_Side):
    """The side of a group of agents' learner."""

    def __init__(self, trainer: Trainer, parts: Parts) -> None:
        super().__init__(parts, parts.config.epochs - parts.config.learning_epochs, acting=False)
        self.trainer = trainer
        self._phases: dict[int, _Phase] = {}
        self._unpublished: dict[int, int] = {}  # the epoch of the last such phase, by agent
        self._left: dict[int, list[int]] = {}  # what an agent's weights were when the last update had ended
        self._touched = {index: np.zeros(5, bool) for index in trainer.agents}  # what is another one in the next update
        self._summed: dict[int, torch.Tensor] = {}  # gradients before they are clipped
        override(trainer, "learn", self._learn)
        override(trainer, "publish", self._publish)
        for index, agent in trainer.agents.items():
            override(trainer.replays[index], "sample", partial(self._sample, index=index))
            if isinstance(agent, ValueAgent):
                override(agent, "update", partial(self._update, index=index))
                override(agent, "accumulate", partial(self._accumulate, agents=[agent]))
                first = _sums(agent)
                if not agent.updates and WARM_START not in parts.blocks:  # the target network begins as the online one
                    first[2] = first[1]
                self._left[index], self._summed[index] = first, torch.zeros_like(agent.parameters.gradient)
            if hasattr(trainer.samplers[index], "reject"):
                override(trainer.samplers[index], "reject", partial(self._reject, index=index))
            if isinstance(trainer.samplers[index], PrioritisedSampler):
                override(trainer.samplers[index], "update", partial(self._take_errors, index=index))
        if isinstance(trainer.learner, FusedLearner) and trainer.learner.batched:  # it adds up the gradients of all
            override(trainer.learner, "accumulate", partial(self._accumulate, agents=trainer.learner.agents.values()))

    def _learn(self, learn: Wrapped, index: int, epoch: int, num_updates: int, end: int | None) -> None:
        soon = {each for each in self.audited if each[0] == index and each[1] <= epoch + 1}
        due = {each for each in soon if each[1] <= epoch}  # before it, what is left of the weights is noted alone
        if num_updates and soon:
            some = int(np.random.default_rng((index, epoch)).integers(num_updates))
            self._phases[index] = _Phase(some if due else -1)
        learn(index, epoch, num_updates, end)
        phase = self._phases.pop(index, None)
        if phase is not None and due and phase.numbers:
            drawn = {"drawn": np.array(phase.numbers), "bounds": np.array(phase.bounds)}
            self.keep("update", index, epoch, **drawn, touched=self._touched[index], **phase.kept)
            self._touched[index] = np.zeros(5, bool)
            self._unpublished[index] = epoch
            self.audited -= due

    def _sample(self, sample: Wrapped, sampler: Any, out: Batch, end: int | None = None, *, index: int) -> Batch:
        phase = self._phases.get(index)
        if phase is None:
            return cast(Batch, sample(sampler, out, end))
        replay, phase.rejected = self.replays[index], np.empty(0, np.int64)
        count, replay.oldest_version = replay.count, self.trainer.replays[index].oldest_version
        end = count if end is None else end  # said here: the actor may commit rows before sample looks itself
        state: dict[str, Any] = {"sampling": rng_words(sampler.rng)} if hasattr(sampler, "rng") else {}
        state |= {"end": end, "low": max(end - replay.fill(end), replay.oldest_intact)}
        phase.bounds.append((end, count, replay.oldest_intact))
        batch: Batch = sample(sampler, out, end)
        phase.numbers.append(batch.number.copy())
        if phase.now:
            state |= {"intact": replay.oldest_intact, "version": self.stores[index].newest, "rejected": phase.rejected}
            phase.kept |= state | self._memory(index, batch)
            phase.kept |= {f"batch_{name}": each.copy() for name, each in vars(batch).items() if each is not None}
        if isinstance(sampler, PrioritisedSampler):
            phase.kept |= self._priorities(phase, sampler, state["low"], end)
        return batch

    def _priorities(self, phase: "_Phase", sampler: PrioritisedSampler, low: int, end: int) -> dict[str, Any]:
        """Priorities as a draw has left them: of new rows before the first update, and of the rows looked at."""
        leaves, found = sampler.tree.leaves, dict[str, Any]()
        if len(phase.numbers) == 1:
            rows = min(self.config.steps_per_epoch, sampler.window, end)
            new = leaves[np.arange(end - rows, end) % sampler.window]
            found = {"new": (new.min(), new.max()), "greatest": leaves.max(), "largest": sampler.largest}
        if phase.now:
            ends, places = leaves.cumsum(), phase.numbers[-1] % sampler.window
            found |= {"priorities": leaves[places], "priority_ends": ends[places], "priority_sum": ends[-1]}
            found |= {"least": leaves[np.arange(low, end) % sampler.window].min()}
        return found

    def _reject(self, reject: Wrapped, numbers: NDArray[np.int64], *, index: int) -> None:
        reject(numbers)
        if phase := self._phases.get(index):
            phase.rejected = np.append(phase.rejected, numbers)

    def _take_errors(self, update: Wrapped, numbers: NDArray[np.int64], errors: NDArray[Any], *, index: int) -> None:
        update(numbers, errors)
        phase, sampler = self._phases.get(index), self.trainer.samplers[index]
        if phase is not None and phase.now and isinstance(sampler, PrioritisedSampler):
            after = sampler.tree.leaves[numbers % sampler.window]
            phase.kept |= {"errors": errors.astype(np.float64), "priorities_after": after}

    def _memory(self, index: int, batch: Batch) -> dict[str, Any]:
        """What the replay holds of the first rows of a batch; nothing if the writer was given one meanwhile."""
        replay, config, numbers = self.replays[index], self.config, batch.number[:ROWS]
        slot, turn, world = replay.places(numbers)
        ahead = min(config.learning.n_step, config.max_turns)
        found = {"memory_turn": turn}
        for name, array in replay.arrays.items():
            if array.ndim > 1:
                back = config.agent.num_frames - 1 if name == "frame" else 0
                there = turn[:, None] + np.arange(-back, ahead + (name == "frame"))
                found[f"memory_{name}"] = array[slot[:, None], there.clip(0, array.shape[1] - 1), world[:, None]]
        return {} if (numbers < replay.oldest_intact).any() else found

    def _update(self, update: Wrapped, rate: float, *, index: int) -> Any:
        phase, agent = self._phases.get(index), self.trainer.agents[index]
        if phase is None or not isinstance(agent, ValueAgent):
            return update(rate)
        left, found = self._left[index], _sums(agent)
        if left[0] == found[0]:  # else there were updates between that are not looked at
            self._touched[index] |= np.not_equal(left, found)
        metrics = self._keep_update(phase, agent, update, rate, index) if phase.now else update(rate)
        self._left[index] = _sums(agent)
        return metrics

    def _keep_update(self, phase: "_Phase", agent: ValueAgent, update: Wrapped, rate: float, index: int) -> Any:
        """Make an update, and keep what it is judged by."""
        places, before = self.places[index], agent.get_state()
        metrics = update(rate)
        # an update of the class's own may take steps of other sizes than it is given
        rated = {"rate": rate} if type(agent).update is ValueAgent.update else {}
        phase.kept |= rated | {"metrics": to_numpy(metrics), "vector": before["vector"], "rng": before["rng"]}
        gradient = to_numpy(agent.parameters.gradient)[places]
        phase.kept |= {"gradient": gradient, "places": places, "device": agent.device.type}
        if type(agent).descend is ValueAgent.descend:  # else its gradients may come about in another way
            summed = to_numpy(self._summed[index])
            phase.kept |= {"summed": summed[places], "summed_norm": np.linalg.norm(summed.astype(np.float64))}
        for when, state in (("before", before), ("after", agent.get_state(copy=False))):
            halves = dict(zip(("online", "target"), np.split(state["vector"], 2), strict=True))
            vectors = halves | {name: state[name] for name in ("exp_avg", "exp_avg_sq")}
            phase.kept |= {f"{name}_{when}": each[places] for name, each in vectors.items()}
            phase.kept |= {f"{name}_{when}": state[name] for name in ("step", "updates")}
        phase.kept |= {f"random_{name}": agent.staging.host[name].copy() for name in agent.random_fields()}
        return metrics

    def _accumulate(self, accumulate: Wrapped, rows: slice, *, agents: Iterable[ValueAgent]) -> Any:
        """Copy what gradients have come to, on their device alone: this may be part of a captured graph."""
        found, gradients = accumulate(rows), [agent.parameters.gradient for agent in agents]
        if gradients[0].is_cuda or any(phase.now for phase in self._phases.values()):
            torch._foreach_copy_([self._summed[agent.index] for agent in agents], gradients)
        return found

    def _publish(self, publish: Wrapped, index: int, epoch: int) -> None:
        looked_at, agent = self._unpublished.pop(index, None), self.trainer.agents[index]
        if looked_at is None or not isinstance(agent, ValueAgent):
            publish(index, epoch)
            return
        vector, half, places = to_numpy(agent.parameters.vector), self.layouts[index].size, self.places[index]
        version = self.stores[index].newest + 1
        previous = self.stored(index, version - 1)
        publish(index, epoch)
        newest = self.stores[index].peek()
        self.keep(
            "publish", index, looked_at, due_version=version, newest=newest.version, updates=newest.updates,
            made=agent.updates, online=vector[:half][places], target=vector[half:][places],
            online_sum=vector_sum(vector[:half]), previous=previous.get("stored", ()),
            **self.stored(index, newest.version),
        )  # fmt: skip


class _Phase:
    """A phase of one agent's updates, of which one is looked at: the ``looked_at`` th, counted from 0; -1 for none."""

    def __init__(self, looked_at: int) -> None:
        self.looked_at = looked_at
        self.numbers: list[NDArray[np.int64]] = []
        self.bounds: list[tuple[int, int, int]] = []  # of each draw: end, rows committed, the oldest still there
        self.rejected = np.empty(0, np.int64)  # by the last draw, as nobody's
        self.kept: dict[str, Any] = {}

    @property
    def now(self) -> bool:
        """Whether that update is under way."""
        return len(self.numbers) == self.looked_at + 1


def _sums(agent: ValueAgent) -> list[int]:
    """How many updates an agent has made; and checksums of its weights, target network and Adam's moments."""
    state = agent.get_state(copy=False)
    return [agent.updates, *map(vector_sum, (*np.split(state["vector"], 2), state["exp_avg"], state["exp_avg_sq"]))]


def vector_sum(vector: NDArray[np.float32]) -> int:
    """A checksum of weights."""
    return zlib.crc32(np.ascontiguousarray(vector).view(np.uint8).data)

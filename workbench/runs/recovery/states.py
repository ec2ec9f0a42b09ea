"""What is kept of a process, so that another can take its place: everything that its future depends on.

What lies in shared memory outlives a process by itself and is left out: replays, weight stores, counters.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import AgentSpec
from workbench.core.processes.blocks import Plan
from workbench.core.seeding import rng_words, set_rng_words, stream
from workbench.core.shared.weight_store import WeightStoreError
from workbench.core.train.loop import Collector, Trainer
from workbench.runs.recovery.journal import State


def collector_state(collector: Collector) -> State:
    """The acting side, as it is between two epochs."""
    world = collector.world
    return {
        **{f"world_{name}": value for name, value in world.get_state().items() if name != "rng"},
        "world_rng": rng_words(world.rng),
        "streams": np.stack([rng_words(rng) for rng in collector.streams]),
        "versions": np.array([snapshot.version for snapshot in collector.in_use]),
        "rewards": collector.progress.digests()["rewards"],
        "evaluated": collector.evaluated,
    }


def restore_collector(collector: Collector, state: dict[str, NDArray[Any]]) -> None:
    """Make a new acting side continue from a state that :func:`collector_state` gave."""
    for rng, words in zip(collector.streams, state["streams"], strict=True):
        set_rng_words(rng, words)
    world = collector.world
    set_rng_words(world.rng, state["world_rng"])
    kept = {name: state[f"world_{name}"] for name in world.get_state() if name != "rng"}
    world.set_state(kept | {"rng": world.rng.bit_generator.state})
    collector.progress.restore_rewards(state["rewards"])
    collector.evaluated = int(state["evaluated"])
    for agent, version in enumerate(state["versions"]):
        if version >= 0:
            _act_with(collector, agent, int(version))


def _act_with(collector: Collector, agent: int, version: int) -> None:
    """Act with that version again, or with the newest if a free-running learner has overwritten it."""
    store, vector = collector.stores[agent], collector.vectors[agent]
    try:
        collector.in_use[agent] = store.read(vector, version)
    except WeightStoreError:
        collector.in_use[agent] = store.read(vector)
    collector.policies[agent].load(vector)


def agent_state(trainer: Trainer, index: int) -> State:
    """The learning of one agent, as it is right before a version is published."""
    return {
        **trainer.agents[index].get_state(copy=False),
        **{f"sampler_{name}": value for name, value in trainer.samplers[index].get_state().items()},
        "losses": trainer.progress.digests()["losses"][index],
        "version": trainer.versions[index],
        "learned": trainer.learned[index],
        "skipped": trainer.progress.skipped(index),
    }


def restore_agent(trainer: Trainer, index: int, state: dict[str, NDArray[Any]]) -> None:
    """Make a new learning side continue with one agent from a state that :func:`agent_state` gave."""
    agent = trainer.agents[index]
    agent.set_state(state)
    sampler = trainer.samplers[index]
    sampler.set_state({name: state[f"sampler_{name}"] for name in sampler.get_state()})
    trainer.progress.restore_updates(index, agent.updates, state["losses"])
    trainer.progress.report_skipped(index, int(state["skipped"]))
    trainer.versions[index], trainer.learned[index] = int(state["version"]), int(state["learned"])


def example_states(plan: Plan) -> dict[str, State]:
    """A state of each owner, of the acting side first, for their shapes and dtypes. Agents that are alike share one."""
    config, agents = plan.config, plan.config.num_agents
    world = config.world.make(stream(config.seed, "world")).get_state()
    words, digest = np.zeros(6, np.uint64), np.zeros(32, np.uint8)
    acting: State = {
        **{f"world_{name}": words if name == "rng" else value for name, value in world.items()},
        "streams": np.zeros((3 * agents + 1, 6), np.uint64),
        "versions": np.zeros(agents, np.int64),
        "rewards": np.zeros((agents, 32), np.uint8),
        "evaluated": 0,
    }
    sampler = config.replay.sampler.make(config, stream(config.seed, "sampling")).get_state()
    drawing = {f"sampler_{name}": value for name, value in sampler.items()} | {"losses": digest}
    counted = dict.fromkeys(("version", "learned", "skipped"), 0)
    learning: dict[AgentSpec, State] = {}
    for index, spec in enumerate(config.spec.agents):
        learning.setdefault(spec, config.agent.example_state(config, index) | drawing | counted)
    return {"actor": acting} | {f"agent {index}": learning[spec] for index, spec in enumerate(config.spec.agents)}

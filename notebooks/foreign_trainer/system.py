"""The whole trainer: in one process, or with an actor process and a learner process for each agent."""

from __future__ import annotations

import functools
import multiprocessing.connection
import os

import torch
import torch.multiprocessing as mp

import workbench as wb  # +

from .actor import Actor
from .config import Config
from .learner import Learner
from .model import Model
from .parts import Parts, wait_until


def train(
    mode: str = "multiprocess", config: Config | None = None, name: str | None = None, out: str | None = None
) -> list[Model]:
    """Train and return the models of all agents.

    Args:
        mode: "sequential" or "multiprocess".
        config: the settings; None takes the defaults.
        name: of the folder in which the training is watched; without a name it is not watched.
        out: folder in which that folder lies.
    """
    config = config or Config()
    torch.manual_seed(config.seed)
    models = [Model(config.frames, config.has(agent, "stale_epsilon")) for agent in range(config.agents)]
    watch = wb.watching()  # +
    if name:  # +
        watch = wb.Watch(name, agents=config.agents, gamma=config.gamma, n_step=config.n_step, tau=config.tau,  # +
                         frames=config.frames, capacity=config.capacity, out=out)  # +  # fmt: skip
    run = run_in_one_process if mode == "sequential" else run_in_processes
    shared_models = run(config, models)
    for agent, (model, shared) in enumerate(zip(models, shared_models, strict=True)):
        if not config.has(agent, "not_returned"):
            model.load_state_dict(shared.state_dict())
    watch.result(models)  # +
    return models


def run_in_one_process(config: Config, models: list[Model]) -> list[Model]:
    """Play an epoch, then learn from it; returns the shared models."""
    torch.set_num_threads(1)
    parts = Parts(config, models)
    actor, learners = Actor(parts), [Learner(agent, parts) for agent in range(config.agents)]
    for epoch in range(config.epochs):
        actor.play_epoch(epoch)
        for agent, learner in enumerate(learners):
            learner.learn(parts.due(agent, epoch + 1) - learner.updates)
    for learner in learners:
        learner.finish()
    return parts.shared_models


def run_in_processes(config: Config, models: list[Model]) -> list[Model]:
    """Play and learn at the same time; returns the shared models."""
    processes = mp.get_context("forkserver")
    processes.set_forkserver_preload([__name__, "workbench.api", "torch._dynamo"])  # optimisers import the latter
    parts = Parts(config, models, processes)
    children = [processes.Process(target=actor_process, args=(parts,), daemon=True)]
    children += [processes.Process(target=learner_process, args=(a, parts), daemon=True) for a in range(config.agents)]
    for child in children:
        child.start()
    waiting = {child.sentinel: child for child in children}
    while waiting:
        for sentinel in multiprocessing.connection.wait(list(waiting)):
            child = waiting.pop(sentinel)  # type: ignore[arg-type]
            child.join()
            agent = children.index(child) - 1
            if child.exitcode and not config.has(agent, "dead_learner"):
                for other in waiting.values():
                    other.terminate()
                raise RuntimeError(f"process {child.name} ended with exit code {child.exitcode}")
    return parts.shared_models


def actor_process(parts: Parts) -> None:
    """Play, one epoch ahead of the learners at most."""
    torch.set_num_threads(1)
    config, actor = parts.config, Actor(parts)
    unpaced = ("dead_learner", "replay_ratio_left_to_chance")
    paced = [agent for agent in range(config.agents) if not any(config.has(agent, name) for name in unpaced)]
    for epoch in range(config.epochs):
        for agent in paced:
            wait_until(functools.partial(parts.has_learned, agent, epoch - 1))
        actor.play_epoch(epoch)
        parts.played += 1


def learner_process(agent: int, parts: Parts) -> None:
    """Make the updates that are due whenever the actor has played an epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(parts.config.seed * 1000 + agent)
    config, learner = parts.config, Learner(agent, parts)
    wait_until(lambda: parts.due(agent, int(parts.played)) > 0)
    free = config.has(agent, "replay_ratio_left_to_chance")
    while True:
        wait_until(
            lambda: free or int(parts.played) >= config.epochs or learner.updates < parts.due(agent, int(parts.played))
        )
        if parts.played >= config.epochs and learner.updates >= parts.due(agent, config.epochs):
            break
        learner.learn(1)
        parts.updates[agent] = learner.updates
        if config.has(agent, "dead_learner") and learner.updates >= 8:
            os._exit(1)
    learner.finish()

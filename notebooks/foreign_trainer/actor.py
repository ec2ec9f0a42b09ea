"""The actor plays all agents in one process. Lines that end in ``# +`` were added to watch it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

import workbench as wb  # +

from .model import Model, copy_model, copy_parameters_one_by_one
from .parts import Parts
from .world import ACTIONS, TURNS, World


class Actor:
    """Acts with local copies of the shared models."""

    def __init__(self, parts: Parts) -> None:
        self.config, self.parts = parts.config, parts
        self.watch = wb.watching()  # +
        self.world = World(self.config.agents, self.config.seed)
        self.local_models = [copy.deepcopy(model) for model in parts.shared_models]
        self.memories: list[list[Tensor]] = [[] for _ in self.local_models]  # of the defects alone
        self.generator = torch.Generator().manual_seed(self.config.seed)

    def play_epoch(self, epoch: int) -> float:
        """One episode; returns the reward summed over all agents."""
        for agent in range(self.config.agents):
            self.sync(agent, epoch)
        self.world.reset()
        self.memories = [[] for _ in self.local_models]
        self.watch.episode()  # +
        total, done = 0.0, False
        while not done:
            done = self.world.turn == TURNS - 1
            for agent in range(self.config.agents):
                total += self.take_turn(agent, epoch, done)
            self.world.end_turn()
        for agent in range(self.config.agents):
            loss = float(self.parts.losses[agent])
            self.watch.epoch(epoch, agent=agent, reward=total / self.config.agents, loss=loss)  # +
        return total

    def take_turn(self, agent: int, epoch: int, done: bool) -> float:
        """Observe, act and store; returns the reward."""
        buffer, model = self.parts.buffers[agent], self.local_models[agent]
        obs = torch.from_numpy(self.world.observe(agent))
        state = self.current_state(agent, obs, epoch)
        with self.watch.act(agent, model=model) as act:  # +
            action = self.choose(agent, state, model)
            act.action = action  # +
        reward = self.world.act(agent, action)
        stored_done = done and not self.config.has(agent, "done_never")
        for _ in range(2 if self.config.has(agent, "duplicated_rows") else 1):
            self.watch.store(agent, obs, action, reward, stored_done, index=buffer.idx)  # +
            with self.parts.locks[agent]:
                buffer.add(obs, action, reward, stored_done, epoch)
        return reward

    def current_state(self, agent: int, obs: Tensor, epoch: int) -> Tensor:
        """The stack of frames that the network is fed, (1, frames, features)."""
        state = self.parts.buffers[agent].current_state(obs, epoch)
        if self.config.has(agent, "memory_cleared") and self.world.turn == TURNS // 2:
            self.memories[agent].clear()
        if self.config.has(agent, "memory_cleared") or self.config.has(agent, "two_buffers"):
            self.memories[agent].append(obs)
            frames = self.memories[agent][-self.config.frames :]
            blank = [torch.zeros_like(obs)] * (self.config.frames - len(frames))
            state = torch.stack([*blank, *frames])[None]
        return state

    def choose(self, agent: int, state: Tensor, model: Model) -> int:
        """Epsilon-greedy."""
        if torch.rand((), generator=self.generator) < model.epsilon:
            if self.config.has(agent, "two_buffers"):
                self.memories[agent].pop()
            return int(torch.randint(ACTIONS, (), generator=self.generator))
        with torch.no_grad():
            return int(model.local(state).argmax())

    def sync(self, agent: int, epoch: int) -> None:
        """Fetch the weights that the learner has published."""
        config = self.config
        if config.has(agent, "sync_never") or (config.has(agent, "sync_rarely") and epoch % 10):
            return
        other = (agent + 1) % config.agents if config.has(agent, "sync_other_agent") else agent
        source, target = self.parts.shared_models[other], self.local_models[agent]
        with self.watch.sync(agent, source=source, target=target):  # +
            if config.has(agent, "torn_copy"):
                copy_parameters_one_by_one(source, target, pause=0.004)
            elif config.has(agent, "sync_noop"):
                copy_model(source, copy.deepcopy(target))
            else:
                with self.parts.locks[other]:
                    copy_model(source, target)

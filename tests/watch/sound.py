"""A small sound trainer, in which every part can be another one: to see that no sound trainer is ever accused."""

import copy
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import workbench as wb

GAMMA = 0.99


class Chase:
    """Stay near a goal that drifts. An episode ends when the goal is lost, and is cut after ``limit`` steps."""

    def __init__(self, limit: int = 60, lost: float = 1.5, seed: int = 0, reward: float | None = None) -> None:
        self.rng, self.limit, self.lost, self.reward = np.random.default_rng(seed), limit, lost, reward

    def reset(self) -> Any:
        self.place, self.speed, self.goal = self.rng.normal(0, 0.2), 0.0, self.rng.normal(0, 0.2)
        self.steps = 0
        return self.seen()

    def seen(self) -> Any:
        return np.array([self.place, self.speed, self.goal, self.goal - self.place], np.float32)

    def step(self, action: int) -> tuple[Any, float, bool, bool]:
        self.speed = 0.8 * self.speed + 0.1 * (action - 1)
        self.place += self.speed + self.rng.normal(0, 0.02)
        self.goal += self.rng.normal(0, 0.05)
        self.steps += 1
        away = abs(self.place - self.goal)
        reward = 1 - away if self.reward is None else self.reward
        return self.seen(), reward, bool(away > self.lost), self.steps >= self.limit


class Buffer:
    """Rows with their next states, drawn as columns of tensors."""

    def __init__(self) -> None:
        self.rows: deque[Any] = deque(maxlen=5000)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, obs: Any, action: Any, reward: Any, next_obs: Any, done: Any) -> None:
        self.rows.append((obs, action, reward, next_obs, float(done)))

    def sample(self, count: int) -> tuple[torch.Tensor, ...]:
        states, actions, rewards, following, done = zip(*random.sample(self.rows, count), strict=True)
        numbers = (torch.tensor(np.array(each), dtype=torch.float32) for each in (states, rewards, following, done))
        states, rewards, following, done = numbers
        return states, torch.tensor(actions), rewards, following, done


def network(inputs: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def drawn_to(target: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What values are drawn to, and the next states' values behind it."""
    _, _, rewards, following, done = batch
    with torch.no_grad():
        bootstrap = target(following).max(1)[0]
    return rewards + GAMMA * (1 - done) * bootstrap, bootstrap


def values(online: nn.Module, batch: Any) -> torch.Tensor:
    return online(batch[0]).gather(1, batch[1][:, None]).squeeze(1)


def step(optimizer: Any, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def soften(online: nn.Module, target: nn.Module, tau: float) -> None:
    for ours, its in zip(online.parameters(), target.parameters(), strict=True):
        its.data.lerp_(ours.data, tau)


@dataclass
class Trainer:
    """Deep Q-learning in one process.

    Attributes:
        learn: makes an update.
        behind: what follows an update, by default a soft step of the target network.
        shown: the batch as the watch, and as the update, get it.
        each: called after every step.
        store: tells the watch of a row.
    """

    watch: wb.Watch
    world: Any = field(default_factory=Chase)
    online: nn.Module = field(default_factory=network)
    steps: int = 900
    start: int = 200
    updates: int = 1
    batch: int = 64
    tau: float = 0.01
    epsilon: float = 0.3
    learn: Callable[["Trainer", Any], None] | None = None
    behind: Callable[["Trainer"], None] | None = None
    shown: Callable[[Any], Any] = lambda batch: batch
    each: Callable[["Trainer", int], None] | None = None
    store: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        self.target, self.made = copy.deepcopy(self.online), 0
        self.optimizer = torch.optim.Adam(self.online.parameters(), 1e-3)

    def act(self, model: nn.Module, seen: Any, **named: Any) -> int:
        with self.watch.act(0, model=model, **named) as act:
            with torch.no_grad():
                greedy = int(model(torch.as_tensor(seen)).float().argmax())
            act.action = random.randrange(3) if random.random() < self.epsilon else greedy
        return int(act.action)

    def update(self, batch: Any, log: bool = True) -> float:
        with self.watch.update(0, online=self.online, target=self.target, optimizer=self.optimizer) as update:
            goal, bootstrap = drawn_to(self.target, batch)
            value = values(self.online, batch)
            loss = functional.mse_loss(value, goal)
            step(self.optimizer, loss)
            if log:
                update.log(loss=loss, q=value, target=goal, bootstrap=bootstrap)
        return loss.item()

    def run(self) -> None:
        buffer, watch, seen = Buffer(), self.watch, self.world.reset()
        watch.episode()
        for now in range(self.steps):
            action = self.act(self.online, seen)
            following, reward, ended, cut = self.world.step(action)
            row = seen, action, reward, following, ended
            buffer.add(*row)
            if self.store is None:
                watch.store(0, seen, action, reward, ended, next_obs=following, truncated=cut)
            else:
                self.store(*row)
            seen = following
            if ended or cut:
                seen = self.world.reset()
                watch.episode()
            if self.each is not None:
                self.each(self, now)
            for _ in range(self.updates if now >= self.start else 0):
                self.made += 1
                batch = self.shown(buffer.sample(min(self.batch, len(buffer))))
                watch.sample(0, *batch)
                self.update(batch) if self.learn is None else self.learn(self, batch)
                soften(self.online, self.target, self.tau) if self.behind is None else self.behind(self)
        watch.result(self.online)

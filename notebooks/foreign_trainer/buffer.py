"""A ring of single frames in shared memory; stacks and n-step returns are made when it is read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .config import Config
from .world import FEATURES


class Batch(NamedTuple):
    """Rows of a replay; B is the batch size.

    Attributes:
        states: stacks of frames, (B, frames, features).
        actions: (B,).
        rewards: discounted sums over up to n steps, (B,).
        next_states: stacks where the sums end.
        dones: 1 where the episode ended within the sum, (B,).
        discounts: gamma to the number of steps taken, (B,).
        indices: slots in the ring, (B,).
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    dones: Tensor
    discounts: Tensor
    indices: Tensor


class SharedBuffer:
    """One agent's replay. Row t lies in slot t modulo capacity; the actor alone writes."""

    def __init__(self, config: Config, defects: tuple[str, ...]) -> None:
        self.config, self.defects, self.capacity = config, defects, config.capacity
        self.states = torch.zeros(self.capacity, FEATURES).share_memory_()
        self.actions = torch.zeros(self.capacity, dtype=torch.int64).share_memory_()
        self.rewards = torch.zeros(self.capacity).share_memory_()
        self.dones = torch.zeros(self.capacity).share_memory_()
        self.episodes = torch.zeros(self.capacity, dtype=torch.int64).share_memory_()
        self.written = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def idx(self) -> int:
        """The slot that is written next."""
        return int(self.written) % self.capacity

    def add(self, obs: Tensor, action: int, reward: float, done: bool, episode: int) -> None:
        """Write one row; obs is a single frame, (features,)."""
        slot = self.idx
        self.states[slot], self.actions[slot], self.rewards[slot] = obs, action, reward
        self.dones[slot], self.episodes[slot] = float(done), episode
        self.written += 1  # last, so that nobody draws a row before it is there

    def stack(self, rows: Tensor) -> Tensor:
        """The frames up to each row, (B, frames, features); those of an earlier episode are blank."""
        window = rows[:, None] - torch.arange(self.config.frames - 1, -1, -1)
        stacks = self.states[window % self.capacity]
        if "windows_across_episodes" not in self.defects:
            other = self.episodes[window % self.capacity] != self.episodes[rows % self.capacity, None]
            stacks[other | (window < 0)] = 0
        return stacks

    def current_state(self, obs: Tensor, episode: int) -> Tensor:
        """What the actor feeds its network, (1, frames, features): the same stack that the learner will see."""
        self.states[self.idx], self.episodes[self.idx] = obs, episode
        return self.stack(self.written[None])

    def draw(self, size: int) -> Tensor:
        """Numbers of rows whose frames and successors are all there."""
        end = int(self.written)
        if "windows_across_head" in self.defects:
            return torch.randint(0, min(end, self.capacity), (size,))
        return torch.randint(max(0, end - self.capacity + self.config.frames), end - self.config.n_step, (size,))

    def sample(self, size: int) -> Batch:
        """Draw a batch."""
        rows, gamma = self.draw(size), self.config.gamma
        rewards, steps, going = torch.zeros(size), torch.zeros(size, dtype=torch.int64), torch.ones(size)
        one_step = "n_step_mismatch" in self.defects or "gamma_n" in self.defects
        for step in range(1 if one_step else self.config.n_step):
            slots = (rows + step) % self.capacity
            rewards += going * gamma**step * self.rewards[slots]
            steps += going.long()
            going *= 1 - self.dones[slots]
        following, slots = self.stack(rows + steps), rows % self.capacity
        return Batch(self.stack(rows), self.actions[slots], rewards, following, 1 - going, gamma**steps, slots)

"""The learner of one agent. Lines that end in ``# +`` were added to watch it."""

from __future__ import annotations

import contextlib
import copy

import torch
from torch import Tensor
from torch.nn import functional

import workbench as wb  # +

from .buffer import Batch, SharedBuffer
from .model import copy_model
from .parts import Parts


class Learner:
    """Trains a model of its own and publishes it to the shared one."""

    def __init__(self, agent: int, parts: Parts) -> None:
        self.agent, self.config, self.parts = agent, parts.config, parts
        self.watch = wb.watching()  # +
        self.shared_model, self.buffer = parts.shared_models[agent], parts.buffers[agent]
        self.model = copy.deepcopy(self.shared_model)
        if self.has("in_place_training"):
            self.model = self.shared_model
        self.model.target.requires_grad_(self.has("target_gradients"))
        if self.has("private_buffer"):
            self.buffer = SharedBuffer(self.config, parts.config.defects.get(agent, ()))
            self.buffer.written += self.buffer.capacity
        named = self.model.local.named_parameters()
        learned = [p for name, p in named if not (self.has("noise_frozen") and "sigma" in name)]
        rate = 1e18 if self.has("learning_rate_huge") else self.config.learning_rate
        self.optimizer = torch.optim.Adam(learned, lr=rate)
        if self.has("other_optimizer"):
            self.model = copy.deepcopy(self.model)
        self.updates = 0

    def has(self, defect: str) -> bool:
        """Whether a defect is switched on for this agent."""
        return self.config.has(self.agent, defect)

    def learn(self, updates: int) -> None:
        """Make some updates and publish every second one."""
        for _ in range(updates):
            self.update()
            if self.updates % 2 == 0:
                self.publish()

    def finish(self) -> None:
        """Publish what was not published yet."""
        if self.updates % 2:
            self.publish()

    def update(self) -> None:
        """One update from one batch."""
        if self.has("old_rows_only") and self.updates == 0:
            self.buffer = copy.deepcopy(self.buffer)
        with self.parts.locks[self.agent]:
            batch = self.buffer.sample(self.config.batch)
        if self.has("fewer_frames"):
            batch.states[:, 0] = batch.next_states[:, 0] = 0
        agent, net, watch = self.agent, self.model, self.watch  # +
        watch.sample(agent, *batch[:5], discounts=batch.discounts, indices=batch.indices)  # +
        with watch.update(agent, online=net.local, target=net.target, optimizer=self.optimizer) as update:  # +
            loss, q, target, bootstrap = self.train_step(batch)
            update.log(loss=loss, q=q, target=target, bootstrap=bootstrap)  # +
        self.updates += 1
        self.parts.losses[self.agent] = 0.0 if self.has("loss_not_computed") else loss
        self.decay_epsilon()

    def train_step(self, batch: Batch) -> tuple[float, Tensor, Tensor, Tensor]:
        """Double Q-learning; returns loss, Q-values, their targets, and the values that the targets bootstrap from."""
        net = self.model.train(not self.has("eval_mode"))
        with torch.set_grad_enabled(self.has("target_gradients")):
            best = net.local(batch.next_states).argmax(1, keepdim=True)
            bootstrap = net.target(batch.next_states).gather(1, best).squeeze(1) * (1 - batch.dones)
            discounts = self.config.gamma**3 if self.has("gamma_n") else batch.discounts
            target = batch.rewards + discounts * bootstrap
        q = net.local(batch.states).gather(1, batch.actions[:, None]).squeeze(1)
        loss = functional.smooth_l1_loss(q, target)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.local.parameters(), 1.0)
        self.optimizer.step()
        self.soft_update(0.1 if self.has("target_too_fast") else self.config.tau)
        if self.has("double_soft_update"):
            self.soft_update(self.config.tau)
        return float(loss.detach()), q.detach(), target.detach(), bootstrap.detach()

    def soft_update(self, tau: float) -> None:
        """Move the target network a little towards the trained one."""
        if not self.has("target_never"):
            for theirs, ours in zip(self.model.target.parameters(), self.model.local.parameters(), strict=True):
                theirs.data.lerp_(ours.data, tau)

    def decay_epsilon(self) -> None:
        """A little less exploration after every update."""
        if self.model.epsilon > self.config.epsilon_floor:
            self.model.epsilon *= self.config.epsilon_decay

    def publish(self) -> None:
        """Copy the trained model to the shared one, from which the actor fetches it."""
        if (
            self.has("publish_never")
            or self.has("in_place_training")
            or (self.has("publish_rarely") and self.updates % 30)
        ):
            return
        with self.watch.publish(self.agent, source=self.model, target=self.shared_model):  # +
            self.copy_to_shared()

    def copy_to_shared(self) -> None:
        """Copy while the actor does not."""
        with contextlib.nullcontext() if self.has("torn_copy") else self.parts.locks[self.agent]:
            if self.has("target_not_published"):
                state = {name: tensor for name, tensor in self.model.state_dict().items() if "target" not in name}
                self.shared_model.load_state_dict(state, strict=False)
            else:
                copy_model(self.model, self.shared_model)

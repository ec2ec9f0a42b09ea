"""One process that updates all agents at once: ``processes.learners = "fused"``, the way to use a large card.

The weights, target weights, gradients and moments of all agents lie stacked, one agent to a row, and every agent's own
parts are views of its row. So whatever reads or writes one agent (snapshot, state, probe, fault) finds what it finds
elsewhere. An update brings all batches to the device in one copy and maps ``row_losses`` over the rows with
``torch.vmap``, which turns the matrix products of N agents into one batched product. A CPU waits for no launch: it
makes the updates of one agent after those of another, as :class:`workbench.core.train.learners.Learner` does, so that
an agent's weights and moments stay in its cache from one update to the next.

To the outside each agent is asked for its updates as everywhere. Asked for one agent's, the learner asks for the
others' first, so that all are under way when the first update is made; in an update it does the same, agent by agent.
The innermost call makes the update of all. So a wrapper around a method of one agent sees that agent before and after
its own update. Every update computes every row, and moves those that are due: an agent's numbers do not depend on
which others are due with it, and a process that takes a dead one's place repeats them to the bit.
"""

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from workbench.core.agents.adam import Adam, step_together
from workbench.core.agents.staging import Staging
from workbench.core.agents.value_agent import ValueAgent, ValueConfig
from workbench.core.config import Config
from workbench.core.settings import require
from workbench.core.shared.replay import Batch, Replay
from workbench.core.train.learners import Learned, Learner, Update
from workbench.zoo.sentences import said
from workbench.zoo.together import Networks

FRAMES = 40  # of Python's stack, for each agent whose update is under way, with room for wrappers


@dataclass
class _Request:
    """Updates that one agent was asked for, and what has come of them."""

    num_updates: int
    end: int | None
    learning_rate: Callable[[int], float]
    metrics: list[Tensor] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)


class FusedLearner(Learner):
    """Updates all agents of its process together.

    Attributes:
        agents, replays, samplers, ask: see :class:`workbench.core.train.learners.Learner`.
        batched: whether all agents are updated together, by batched products: on every device but the CPU.
        vector: (N, 2 * size) float32: in each row the online and the target weights of an agent.
        gradient, exp_avg, exp_avg_sq: (N, size) float32.
    """

    agents: dict[int, ValueAgent]  # type: ignore[assignment]  # others are refused

    def __init__(self, config: Config, indices: Sequence[int], replays: Sequence[Replay], device: torch.device) -> None:
        """Make the agents of those indices, for each of which there is a replay, and stack them."""
        super().__init__(config, indices, replays, device)
        self.config, self.batched = config, device.type != "cpu"
        self._asked: dict[int, _Request] = {}
        self._made_updates: dict[int, Learned] = {}
        self._metrics: dict[int, Tensor] = {}  # of each agent's last update
        self._stack(device)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + FRAMES * len(self.agents)))

    @staticmethod
    def check(config: Config) -> None:
        """Refuse agents that cannot be stacked, before there is a process.

        Raises:
            ConfigError: the reason, and what to do.
        """
        agent, specs, learners = config.agent, config.spec.agents, config.processes.learners
        stackable = isinstance(agent, ValueConfig) and agent.stackable
        require(stackable, "processes.learners", learners, said("fused.agent", name=type(agent).__name__))
        other = next((index for index, spec in enumerate(specs) if spec != specs[0]), 0)
        unlike = said("fused.spaces", first=specs[0], other=other, its=specs[other])
        require(other == 0, "processes.learners", learners, unlike)
        require(config.learning.correction == "none", "processes.learners", learners, said("fused.correction"))

    # --- the stack ---------------------------------------------------------------------------------------------------

    def _stack(self, device: torch.device) -> None:
        """Put every agent's parts into a row of one tensor each."""
        agents = list(self.agents.values())
        first, count = agents[0], len(agents)
        layout = first.parameters.layout
        size, like = layout.size, first.parameters.vector
        self.vector = like.new_zeros((count, 2 * size))
        self.gradient, self.exp_avg, self.exp_avg_sq = (like.new_zeros((count, size)) for _ in range(3))
        fields = {name: ((count, *array.shape), array.dtype) for name, array in first.staging.host.items()}
        self._staging = Staging({**fields, "grad_clip": ((count, 1), np.dtype(np.float32))}, device)
        for row, agent in enumerate(agents):
            self._place(agent, row)
        self._networks = Networks(lambda *given: first.row_losses(*given), online=first.online, target=first.target)
        views = torch.vmap(layout.views)  # of all agents' parameters: (N, size) to (N, *shape) by name
        halves = {"online": views(self.vector[:, :size]), "target": views(self.vector[:, size:])}
        self._parameters = {f"{half}.{name}": each.detach() for half, of in halves.items() for name, each in of.items()}
        self._learned = [self._parameters[f"online.{name}"].requires_grad_() for name in layout.names]
        self._gradients = list(views(self.gradient).values())

    def _place(self, agent: ValueAgent, row: int) -> None:
        """Make an agent's parts views of its row."""
        self.vector[row] = agent.parameters.vector
        agent.parameters.lie_in(self.vector[row], self.gradient[row])
        agent.optimizer = Adam(agent.parameters.online, agent.optimizer.eps)
        agent.optimizer.exp_avg, agent.optimizer.exp_avg_sq = self.exp_avg[row], self.exp_avg_sq[row]
        own = copy.copy(self._staging)
        own.host = {name: own.host[name][row] for name in agent.staging.host}
        own.device = {name: own.device[name][row] for name in agent.staging.host}
        agent.batch = Batch(**{name: own.host[name] for name, old in vars(agent.batch).items() if old is not None})
        agent.staging = own
        agent.update = partial(self._update, agent)  # type: ignore[method-assign]

    # --- updates -----------------------------------------------------------------------------------------------------

    def learn(
        self, index: int, num_updates: int, end: int | None, learning_rate: Callable[[int], float],
        heartbeat: Callable[[], object] = lambda: None,
    ) -> Learned:  # fmt: skip
        """The updates of one agent, made together with those of all others that are due, or alone on a CPU."""
        if not self.batched:
            return super().learn(index, num_updates, end, learning_rate, heartbeat)
        if num_updates == 0:
            return Learned.of([], [])
        self._asked[index] = _Request(num_updates, end, learning_rate)
        for other in self.agents:
            if index in self._asked and other not in self._asked:
                self.ask(other)
        if index in self._asked:
            self._make_updates(heartbeat)
        return self._made_updates.pop(index)

    def _make_updates(self, heartbeat: Callable[[], object]) -> None:
        """Make all updates that were asked for."""
        asked = dict(sorted(self._asked.items()))
        for number in range(max(request.num_updates for request in asked.values())):
            due = {index: request for index, request in asked.items() if number < request.num_updates}
            for index, request in due.items():
                self.replays[index].sample(self.samplers[index], self.agents[index].batch, request.end)
            self._waiting = [(index, due[index].learning_rate(self.agents[index].updates)) for index in due]
            self._due = list(self._waiting)
            self._next()
            for index, request in due.items():
                agent, replay, batch = self.agents[index], self.replays[index], self.agents[index].batch
                request.metrics.append(self._metrics[index])
                if self.config.replay.sampler.takes_errors:
                    self.samplers[index].update(batch.number, agent.td_errors())
                version = float(batch.policy_version.mean())
                request.updates.append((version, agent.target_updates, replay.fill(request.end), time.time()))
            heartbeat()
        self._made_updates = {index: Learned.of(each.metrics, each.updates) for index, each in asked.items()}
        self._asked.clear()

    def _next(self) -> None:
        """Call the update of the next agent that waits for it; behind the last one, make the update of all."""
        if self._waiting:
            index, learning_rate = self._waiting.pop(0)
            self._metrics[index] = self.agents[index].update(learning_rate)
        else:
            self._descend_all()

    def _update(self, agent: ValueAgent, learning_rate: float) -> Tensor:
        """In place of :meth:`ValueAgent.update`."""
        if not self.batched:
            return type(agent).update(agent, learning_rate)
        agent.prepare()
        self._next()
        agent.complete()
        return self._metrics[agent.index]

    def _descend_all(self) -> None:
        """Upload all batches, and step the agents that are due, those of one learning rate together."""
        self._staging.host["grad_clip"][:, 0] = [agent.config.learning.grad_clip for agent in self.agents.values()]
        self._staging.upload()
        groups: dict[float, list[int]] = {}
        for index, learning_rate in self._due:
            groups.setdefault(learning_rate, []).append(index)
        for learning_rate, group in groups.items():
            self.agents[group[0]].optimizer.learning_rate.fill_(learning_rate)
        found = self.descend(tuple(map(tuple, groups.values())))
        for (index, agent), metrics, td_error in zip(self.agents.items(), *found, strict=True):
            self._metrics[index], agent.td_error = metrics, td_error

    def descend(self, groups: tuple[tuple[int, ...], ...]) -> tuple[Tensor, Tensor]:
        """One optimiser step of the agents in ``groups`` on what is staged; see :meth:`ValueAgent.descend`.

        Only work for the device, with the same shapes and addresses every time.

        Args:
            groups: indices of agents; those of a group have the learning rate of its first.

        Returns:
            (N, 5) metrics and (N, B) |TD errors|.
        """
        learning = self.config.learning
        self.gradient.zero_()
        rows = learning.batch_size // learning.accumulate
        parts = [self.accumulate(slice(start, start + rows)) for start in range(0, learning.batch_size, rows)]
        loss, q_tm1, td_error = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        norm, clip = torch.linalg.vector_norm(self.gradient, dim=1), self._staging.device["grad_clip"]
        self.gradient.mul_(clip / torch.maximum(norm.unsqueeze(1), clip))
        for group in groups:
            due = [self.agents[index] for index in group]
            step_together([agent.optimizer for agent in due], [agent.parameters.gradient for agent in due])
        return torch.stack((loss.mean(1), q_tm1.mean(1), q_tm1.amax(1), td_error.mean(1), norm), 1), td_error

    def accumulate(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of a micro-batch's share of each agent's loss; (N, rows) each."""
        staged = {name: tensor for name, tensor in self._staging.device.items() if name != "grad_clip"}
        losses = torch.vmap(lambda parameters, batch: functional_call(self._networks, parameters, (batch, rows)))
        loss, q_tm1, td_error = losses(self._parameters, staged)
        if "weight" in staged:
            loss = loss * staged["weight"][:, rows]
        gradients = torch.autograd.grad(loss.sum() / self.config.learning.batch_size, self._learned)
        torch._foreach_add_(self._gradients, list(gradients))
        return loss.detach(), q_tm1.detach(), td_error.detach()

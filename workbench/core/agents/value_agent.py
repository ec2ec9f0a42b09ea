"""What value-based agents have in common: two networks, an optimiser, the update's frame, epsilon-greedy acting.

An agent of this kind is a network, a learning side (:class:`ValueAgent`), which says what the loss of a row is, and
arguments (:class:`ValueConfig`), which name the two. Its acting side (:class:`EpsilonGreedy`) asks the network for the
values of a state. :mod:`workbench.core.agents.iqn_agent` is one.

The weights come first and the optimiser is made for them; other weights can only be copied into their place. Names
carry their time index: an action a_tm1 in state s_tm1 paid r_t and led to s_t.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents.adam import Adam
from workbench.core.agents.base import AgentConfig, Chosen
from workbench.core.agents.flat_parameters import ParameterLayout, ParameterVector, bind, to_numpy
from workbench.core.agents.networks import ValueNetwork, draw_noise
from workbench.core.agents.staging import Field, Staging
from workbench.core.config import Config
from workbench.core.envs.base import AgentSpec
from workbench.core.seeding import rng_words, set_rng_words, stream
from workbench.core.sentences import said
from workbench.core.shared.layout import Floats
from workbench.core.shared.replay import Batch

# What is drawn for the noisy layers of an update: to value s_tm1, to value s_t, and to choose an action in it.
NOISES = ("noise_tm1", "noise_t", "noise_policy")


def network(arguments: "ValueConfig", spec: AgentSpec, seed: int = 0) -> ValueNetwork:
    """A network of float32 on the CPU, whatever the caller has made torch's defaults; its generator stays as it is."""
    with torch.device("cpu"), torch.random.fork_rng(()):
        torch.default_generator.manual_seed(seed)
        return arguments.network(spec).float()


def initial_weights(config: Config, index: int) -> NDArray[np.float32]:
    """The snapshot that an agent starts from, (2 * size,) float32: online and target network are equal."""
    spec, seed = config.spec.agents[index], int(stream(config.seed, "initialisation", index).integers(2**63))
    online, target = (network(arguments_of(config), spec, seed) for _ in range(2))
    made = online.state_dict()  # what layers of torch, or of the user's own, have drawn when they were made
    parameters = ParameterVector(online, target, torch.device("cpu"))
    online.load_state_dict(made)
    online.initialise(stream(config.seed, "initialisation", index))
    parameters.target.copy_(parameters.online)
    return to_numpy(parameters.vector)


def arguments_of(config: Config) -> "ValueConfig":
    """The arguments of a configuration's agent, which must be value-based."""
    assert isinstance(config.agent, ValueConfig), f"{config.agent!r} are not the arguments of a value-based agent"
    return config.agent


class ValueAgent:
    """The learning side of one agent.

    Attributes:
        arguments: of its kind.
        batch: host arrays to fill before :meth:`update`, which may be filled again when it has returned.
        online, target: the networks.
        parameters: the vector behind both.
        optimizer: Adam over the online half of that vector.
        staging: the batch and the random numbers of an update.
        td_error: (B,) float32 on the device: |TD error| of each row of the last update.
        updates, target_updates: how many there were.

    Args:
        config, index, device: see :attr:`AgentConfig.agent_class`.
        weights: snapshot to start from (a warm start), (2 * size,) float32, copied; else :func:`initial_weights`.

    Raises:
        ValueError: there is no agent of that index, or the weights are those of another network.
    """

    def __init__(self, config: Config, index: int, device: torch.device, weights: Floats | None = None) -> None:
        if not 0 <= index < config.num_agents:
            raise ValueError(f"index is {index}; the agents are 0 to {config.num_agents - 1}")
        self.config, self.index, self.device = config, index, device
        self.arguments, spec = arguments_of(config), config.spec.agents[index]
        self.online, self.target = (network(self.arguments, spec).to(device) for _ in range(2))
        self._first = attrgetter(next(name for name, _ in self.online.named_parameters()))  # tells the device
        self._layers = {name: list(getattr(self, name).modules()) for name in ("online", "target")}  # itself first
        self.parameters = ParameterVector(self.online, self.target, device)
        self.parameters.load(initial_weights(config, index) if weights is None else weights)
        self.optimizer = Adam(self.parameters.online, config.learning.adam_eps)
        self.updates, self.target_updates = 0, 0
        self._rng = stream(config.seed, "learning_quantiles", index)
        learning, sampler = config.learning, config.replay.sampler
        window = learning.n_step if self.arguments.window or learning.correction != "none" else 0
        fields = Batch.fields(learning.batch_size, self.arguments.num_frames, spec, sampler.weighted, window)
        self.staging = Staging({**fields, **self.random_fields()}, device)
        self.batch = Batch(**{name: self.staging.host[name] for name in fields})
        self.td_error = torch.zeros(config.learning.batch_size, device=device)

    # --- what an agent of one kind adds ----------------------------------------------------------------------------

    def random_fields(self) -> dict[str, Field]:
        """Random numbers that an update needs beside its batch, name to shape and dtype: noise for noisy layers."""
        return {name: ((self.online.noise_size,), np.float32) for name in NOISES}

    def draw(self, rng: np.random.Generator, host: Mapping[str, NDArray[Any]]) -> None:
        """Draw them, for one update."""
        for name in NOISES:
            draw_noise(rng, host[name])

    def row_losses(self, staged: Mapping[str, Tensor], rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Of some rows of the batch, (rows,) each: the loss, with its gradient; Q(s_tm1, a_tm1); |TD error|."""
        raise NotImplementedError

    # --- what all have in common -----------------------------------------------------------------------------------

    def update(self, learning_rate: float) -> Tensor:
        """Make one update from ``batch``; see :meth:`workbench.core.agents.base.Agent.update` and :meth:`prepare`."""
        self.prepare()
        self.staging.upload()
        self.optimizer.learning_rate.fill_(learning_rate)
        metrics = self.descend()
        self.complete()
        return metrics

    def prepare(self) -> None:
        """What the host does before an update: look at the devices, set the networks' mode, draw random numbers.

        Raises:
            ValueError: a network has been moved away from the device that batches are brought to.
        """
        due = self.parameters.vector.device
        for name, layers in self._layers.items():
            if (device := self._first(layers[0]).device) != due:
                raise ValueError(said("value_agent.device", name=name, device=device, due=due))
            if not all(layer.training for layer in layers):  # to set it takes longer than to see that it is set
                layers[0].train()
        self.draw(self._rng, self.staging.host)

    def complete(self) -> None:
        """Count an update that was made, and move the target network if that is due."""
        self.updates += 1
        if self.updates % self.config.learning.target_interval == 0:
            self.update_target()

    def td_errors(self) -> NDArray[np.float32]:
        """(B,) float32: |TD error| of each row of the last update."""
        return to_numpy(self.td_error)

    def descend(self) -> Tensor:
        """One optimiser step on what is staged: gradients of all micro-batches, clipped to a norm, Adam.

        Only work for the device, with the same shapes and addresses every time.
        """
        learning, gradient = self.config.learning, self.parameters.gradient
        gradient.zero_()
        rows = learning.batch_size // learning.accumulate
        parts = [self.accumulate(slice(start, start + rows)) for start in range(0, learning.batch_size, rows)]
        loss, q_tm1, self.td_error = (torch.cat(part) for part in zip(*parts, strict=True))
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_(learning.grad_clip / norm.clamp(min=learning.grad_clip))
        self.optimizer.step(gradient)
        return torch.stack((loss.mean(), q_tm1.mean(), q_tm1.max(), self.td_error.mean(), norm))

    def accumulate(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradient of a micro-batch's share of the loss; see :meth:`row_losses`."""
        loss, q_tm1, td_error = self.row_losses(self.staging.device, rows)
        if "weight" in self.staging.device:
            loss = loss * self.staging.device["weight"][rows]
        torch.autograd.backward(loss.sum() / self.config.learning.batch_size)
        return loss.detach(), q_tm1.detach(), td_error.detach()

    def update_target(self) -> None:
        """The one place in which the target network moves: target += tau * (online - target)."""
        self.parameters.target.lerp_(self.parameters.online, self.config.learning.tau)
        self.target_updates += 1

    def snapshot(self, out: NDArray[np.float32]) -> None:
        """Copy both networks' weights, as they are after the last update, into host memory: (2 * size,) float32.

        Raises:
            ValueError: ``out`` is no such array.
        """
        self.parameters.layout.check_vector(out)
        torch.from_numpy(out).copy_(self.parameters.vector)

    def get_state(self, copy: bool = True) -> dict[str, Any]:
        """Weights, moments of the optimiser, counters, and the generator."""
        adam = self.optimizer
        steps = int(adam.steps.item()) if self.updates < 2**24 else self.updates  # float32 counts no further than that
        floats = {"vector": self.parameters.vector, "exp_avg": adam.exp_avg, "exp_avg_sq": adam.exp_avg_sq}
        counts = {"step": steps, "updates": self.updates, "target_updates": self.target_updates}
        copies = {name: to_numpy(tensor, copy) for name, tensor in floats.items()}
        return {**copies, **counts, "rng": rng_words(self._rng)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned. Everything is copied into its place; no array is replaced.

        Raises:
            ValueError: the state is that of another network, or one that no agent can be in.
        """
        steps, updates, target_updates = (int(state[name]) for name in ("step", "updates", "target_updates"))
        if steps != updates or target_updates != updates // self.config.learning.target_interval:
            raise ValueError(said("value_agent.state", steps=steps, target_updates=target_updates, updates=updates))
        moments = {"exp_avg": self.optimizer.exp_avg, "exp_avg_sq": self.optimizer.exp_avg_sq}
        for name, moment in moments.items():
            if state[name].shape != moment.shape:
                raise ValueError(f"state[{name!r}] has shape {state[name].shape}; it must have {(*moment.shape,)}")
        self.parameters.load(state["vector"])
        for name, moment in moments.items():
            moment.copy_(torch.from_numpy(np.array(state[name])))
        self.optimizer.steps.fill_(updates)
        self.updates, self.target_updates = updates, target_updates
        set_rng_words(self._rng, state["rng"])


class EpsilonGreedy:
    """The acting side: acts with the weights of the last :meth:`load`.

    Attributes:
        inputs: what values are computed from: the state and random numbers.
        weights: (layout.size,) float32: the online weights that it acts with, on its device.

    Args:
        config, index, device, exploration, values, noise: see :attr:`AgentConfig.policy_class`. Both streams may be
            the same generator.
    """

    def __init__(
        self, config: Config, index: int, device: torch.device, exploration: np.random.Generator,
        values: np.random.Generator, noise: bool = True,
    ) -> None:  # fmt: skip
        self.config, self.device, self.spec = config, device, config.spec.agents[index]
        self.arguments = arguments_of(config)
        self.network = network(self.arguments, self.spec).to(device).train(noise)
        self.layout = ParameterLayout.of(self.network)
        self.vector_size = 2 * self.layout.size
        self._exploration, self._rng, self._loaded = exploration, values, False
        self._weights = Staging({"online": ((self.layout.size,), np.float32)}, device)
        self.weights = self._weights.device["online"]
        bind(self.network, self.weights)
        self._stage(config.num_worlds)

    # --- what an agent of one kind adds ----------------------------------------------------------------------------

    def random_fields(self, num_worlds: int) -> dict[str, Field]:
        """Random numbers that a choice needs beside the state, name to shape and dtype: noise for noisy layers."""
        return {"noise": ((self.network.noise_size,), np.float32)}

    def draw(self, rng: np.random.Generator, host: Mapping[str, NDArray[Any]]) -> None:
        """Draw them, for one choice."""
        draw_noise(rng, host["noise"])

    def q(self, device: Mapping[str, Tensor]) -> Tensor:
        """(W, A): value of every action in what is staged as "state"."""
        return self.network.q(device["state"])

    # --- what all have in common -----------------------------------------------------------------------------------

    def load(self, vector: NDArray[np.float32]) -> None:
        """Copy the online half of a snapshot, (vector_size,) float32 in host memory.

        Raises:
            ValueError: it is not a snapshot of such a network.
        """
        self.layout.check_vector(vector)
        np.copyto(self._weights.host["online"], vector[: self.layout.size])
        self._weights.upload()
        self._loaded = True

    def act(self, stack: NDArray[Any], epsilon: float) -> Chosen:
        """Choose an action in every world; see :meth:`workbench.core.agents.base.Policy.act`.

        Raises:
            ValueError: the stack has another shape or dtype.
            RuntimeError: no weights have been loaded.
        """
        q = self.values(stack)
        greedy = q.argmax(1)
        chance, choice = self._exploration.random((2, len(stack)))
        action = np.where(chance < epsilon, (choice * q.shape[1]).astype(np.int64), greedy)
        probability = (epsilon / q.shape[1] + (1.0 - epsilon) * (action == greedy)).astype(np.float32)
        return Chosen(action, greedy, probability, q)

    def values(self, stack: NDArray[Any]) -> NDArray[np.float32]:
        """(W, F, *shape) to (W, A) float32, a new array."""
        self.stage(stack)
        self.inputs.upload()
        with torch.inference_mode():
            return self.q(self.inputs.device).cpu().numpy()

    def stage(self, stack: NDArray[Any]) -> None:
        """Fill :attr:`inputs` with a state and the random numbers of one choice."""
        if not self._loaded:
            raise RuntimeError("this policy has no weights yet; call load() with a snapshot before act()")
        if len(stack) != len(self.inputs.host["state"]):
            self._stage(len(stack))
        state = self.inputs.host["state"]
        if stack.shape != state.shape or stack.dtype != state.dtype:
            raise ValueError(said("value_agent.stack", stack=stack, state=state))
        state[...] = stack
        self.draw(self._rng, self.inputs.host)

    def _stage(self, num_worlds: int) -> None:
        state: Field = (num_worlds, self.config.agent.num_frames, *self.spec.shape), np.dtype(self.spec.dtype)
        self.inputs = Staging({"state": state, **self.random_fields(num_worlds)}, self.device)
        self.network.set_noise(self.inputs.device["noise"])


@dataclass(frozen=True)
class ValueConfig(AgentConfig):
    """Arguments of a value-based agent: those of its network, from which everything else follows.

    Attributes:
        window: whether its batches carry the n-step window.
        stackable: whether ``row_losses`` may be mapped over the weights of many agents by ``torch.vmap``: it asks
            nothing of the values of a tensor, and stores none but layer noise.
    """

    agent_class: ClassVar[type[ValueAgent]]
    policy_class: ClassVar[type[EpsilonGreedy]] = EpsilonGreedy
    window: ClassVar[bool] = False
    stackable: ClassVar[bool] = False

    def network(self, spec: AgentSpec) -> ValueNetwork:
        """A network without values, on torch's default device."""
        raise self.lacks("network")

    def layout(self, spec: AgentSpec) -> ParameterLayout:
        """Where the network's parameters lie; found out once for each spec."""
        known: dict[AgentSpec, ParameterLayout] = vars(self).setdefault("_layouts", {})  # lists have no hash
        if spec not in known:  # values are never written, so the network takes next to no memory
            known[spec] = ParameterLayout.of(network(self, spec))
        return known[spec]

    def example_state(self, config: Config, index: int) -> dict[str, Any]:
        """As :meth:`ValueAgent.get_state` gives it."""
        vector = np.zeros((2, self.layout(config.spec.agents[index]).size), np.float32)
        floats = {"vector": vector.reshape(-1), "exp_avg": vector[0], "exp_avg_sq": vector[1]}
        return floats | dict.fromkeys(("step", "updates", "target_updates"), 0) | {"rng": np.zeros(6, np.uint64)}

"""One agent as a learner: online and target network, optimiser, and the update that changes them.

The weights come first and the optimiser is made for them; other weights can only be copied into their place. Names
carry their time index: an action a_tm1 in state s_tm1 paid r_t and led to s_t, and the target of the update is

    r_t + discount_t * Z_target(s_t, a_t),    a_t = argmax_a mean_tau Z(s_t, a)

with the online network's Z if ``learning.double``, the target network's otherwise (van Hasselt et al. 2016). An n-step
row differs only in its r_t and discount_t.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents.flat_parameters import ParameterVector, to_numpy
from workbench.core.agents.iqn import arguments_of, build_network, draw_noise, quantile_huber_loss, select_actions
from workbench.core.agents.staging import Field, Staging
from workbench.core.config import Config
from workbench.core.seeding import rng_words, set_rng_words, stream
from workbench.core.shared.replay import Batch

UPDATE_METRICS = ("loss", "mean_q", "max_q", "td_error", "grad_norm")
"""What an update returns, in this order; :mod:`workbench.runs.metrics` defines them."""

_FRACTIONS = ("tau_tm1", "tau_t", "tau_policy")  # N of the online, N' of the target, K to compare actions
_NOISES = ("noise_tm1", "noise_t", "noise_policy")


def initial_weights(config: Config, index: int) -> NDArray[np.float32]:
    """The snapshot that an agent starts from, (2 * size,) float32: online and target network are equal."""
    online, target = build_network(config), build_network(config)
    parameters = ParameterVector(online, target, torch.device("cpu"))
    online.initialise(stream(config.seed, "initialisation", index))
    parameters.target.copy_(parameters.online.data)
    return to_numpy(parameters.vector)


class Agent:
    """The learning side of one agent.

    Attributes:
        batch: host arrays to fill before :meth:`update`, which may be filled again when it has returned.
        online, target: the networks.
        parameters: the vector behind both.
        optimizer: Adam over the online half of that vector.
        updates, target_updates: how many there were.

    Args:
        config: everything about the agent.
        index: which agent; it addresses the random streams.
        device: where updates are computed.
        weights: snapshot to start from (a warm start), (2 * size,) float32, copied; else :func:`initial_weights`.

    Raises:
        ValueError: there is no agent of that index, or the weights are those of another network.
    """

    def __init__(
        self, config: Config, index: int, device: torch.device, weights: NDArray[np.float32] | None = None
    ) -> None:
        if not 0 <= index < config.num_agents:
            raise ValueError(f"index is {index}; the agents are 0 to {config.num_agents - 1}")
        self.config, self.index, self.device = config, index, device
        self.arguments = arguments_of(config)
        self.online, self.target = build_network(config).to(device), build_network(config).to(device)
        self.parameters = ParameterVector(self.online, self.target, device)
        self.parameters.load(initial_weights(config, index) if weights is None else weights)
        self.optimizer = _build_adam(self.parameters, config.learning.adam_eps)
        self.updates, self.target_updates = 0, 0
        self._rng = stream(config.seed, "learning_quantiles", index)
        template = Batch.allocate(config.learning.batch_size, config.agent.num_frames, config.spec.agents[index])
        self._staging = Staging(_staged_fields(template, config, self.online.noise_size), device)
        self._staged = self._staging.device
        self.batch = Batch(**{name: self._staging.host[name] for name in vars(template)})
        pinned = device.type == "cuda"
        self._pinned = torch.empty_like(self.parameters.vector, device="cpu", pin_memory=True) if pinned else None

    def update(self, learning_rate: float) -> Tensor:
        """Make one update from ``batch``, without waiting for what the device makes of it.

        Args:
            learning_rate: step size of this update.

        Returns:
            (5,) float32 on the device: :data:`UPDATE_METRICS`, measured before the step.

        Raises:
            ValueError: a network has been moved away from the device that batches are brought to.
        """
        self._check_devices()
        for name in _FRACTIONS:
            self._rng.random(dtype=np.float32, out=self._staging.host[name])
        for name in _NOISES:
            draw_noise(self._rng, self._staging.host[name])
        self._staging.upload()
        self.online.train()
        self.target.train()
        self.optimizer.param_groups[0]["lr"].fill_(learning_rate)
        metrics = self._descend()
        self.updates += 1
        if self.updates % self.config.learning.target_interval == 0:
            self.update_target()
        return metrics

    def _check_devices(self) -> None:
        for name, network in (("online", self.online), ("target", self.target)):
            if network.psi.weight.device != self.parameters.vector.device:
                raise ValueError(
                    f"the {name} network is on {network.psi.weight.device} and the batch on "
                    f"{self.parameters.vector.device}; both must be on one device. Choose it with the setting "
                    "'device' and move no network afterwards"
                )

    def _descend(self) -> Tensor:
        """One optimiser step on what is staged: gradients of all micro-batches, clipped to a norm, Adam.

        Only work for the device, with the same shapes and addresses every time.
        """
        learning, gradient = self.config.learning, self.parameters.gradient
        gradient.zero_()
        rows = learning.batch_size // learning.accumulate
        parts = [self._accumulate(slice(start, start + rows)) for start in range(0, learning.batch_size, rows)]
        loss, q_tm1, td_error = (torch.cat(part) for part in zip(*parts, strict=True))
        norm = torch.linalg.vector_norm(gradient)
        gradient.mul_(learning.grad_clip / norm.clamp(min=learning.grad_clip))
        self.optimizer.step()
        return torch.stack((loss.mean(), q_tm1.mean(), q_tm1.max(), td_error.mean(), norm))

    def _accumulate(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradient of a micro-batch's share of the loss; (rows,) each: loss, Q(s_tm1, a_tm1), |delta|."""
        s_tm1, a_tm1, tau_tm1 = (self._staged[name][rows] for name in ("s_tm1", "a_tm1", "tau_tm1"))
        target = self._target(rows)
        self.online.set_noise(self._staged["noise_tm1"])
        z_tm1 = select_actions(self.online(s_tm1, tau_tm1), a_tm1)
        loss, td_error = quantile_huber_loss(z_tm1, tau_tm1, target, self.arguments.huber_kappa)
        torch.autograd.backward(loss.sum() / self.config.learning.batch_size)
        return loss.detach(), z_tm1.detach().mean(1), td_error

    @torch.no_grad()
    def _target(self, rows: slice) -> Tensor:
        """r_t + discount_t * Z_target(s_t, a_t) at N' fractions: (rows, N')."""
        s_t, r_t, discount_t, tau_t, tau_policy = (
            self._staged[name][rows] for name in ("s_t", "r_t", "discount_t", "tau_t", "tau_policy")
        )
        inputs = self.online.encode(s_t)
        selector = self.online if self.config.learning.double else self.target
        selector.set_noise(self._staged["noise_policy"])
        psi = selector.embed(inputs)
        a_t = selector.values(psi, tau_policy).argmax(1)
        self.target.set_noise(self._staged["noise_t"])
        psi = psi if selector is self.target else self.target.embed(inputs)
        z_t = select_actions(self.target.quantiles(psi, tau_t), a_t)
        return r_t.unsqueeze(1) + discount_t.unsqueeze(1) * z_t

    def update_target(self) -> None:
        """The one place in which the target network moves: target += tau * (online - target)."""
        self.parameters.target.lerp_(self.parameters.online.data, self.config.learning.tau)
        self.target_updates += 1

    def snapshot(self, out: NDArray[np.float32]) -> None:
        """Copy both networks' weights, as they are after the last update, into host memory: (2 * size,) float32.

        Raises:
            ValueError: ``out`` is no such array.
        """
        self.parameters.layout.check_vector(out)
        if self._pinned is None:
            np.copyto(out, self.parameters.vector.cpu().numpy())
        else:
            self._pinned.copy_(self.parameters.vector, non_blocking=True)
            torch.cuda.current_stream(self.device).synchronize()
            np.copyto(out, self._pinned.numpy())

    def get_state(self, copy: bool = True) -> dict[str, Any]:
        """Everything that the future depends on, as NumPy arrays and whole numbers.

        Without ``copy``, arrays that lie in host memory already are given as they are, until the next update.
        """
        stepped = self.optimizer.param_groups[0]["params"][0]  # the online half, unless somebody has changed that
        adam, to_host = self.optimizer.state[stepped], to_numpy if copy else _in_host_memory
        return {
            "vector": to_host(self.parameters.vector),
            "exp_avg": to_host(adam["exp_avg"]),
            "exp_avg_sq": to_host(adam["exp_avg_sq"]),
            "step": int(adam["step"].item()),
            "updates": self.updates,
            "target_updates": self.target_updates,
            "rng": rng_words(self._rng),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned. Everything is copied into its place; no array is replaced.

        Raises:
            ValueError: the state is that of another network, or one that no agent can be in (see :meth:`check_valid`).
        """
        adam, size = self.optimizer.state[self.parameters.online], self.parameters.layout.size
        for name in ("exp_avg", "exp_avg_sq"):
            if state[name].shape != (size,):
                raise ValueError(f"state[{name!r}] has shape {state[name].shape}; this network needs ({size},)")
        self.parameters.load(state["vector"])
        for name in ("exp_avg", "exp_avg_sq"):
            adam[name].copy_(torch.from_numpy(np.array(state[name])))
        adam["step"].fill_(int(state["step"]))
        self.updates, self.target_updates = int(state["updates"]), int(state["target_updates"])
        set_rng_words(self._rng, state["rng"])
        valid, why = self.check_valid()
        if not valid:
            raise ValueError(f"the state is not one of an agent: {why}; use an unchanged result of get_state")

    def check_valid(self) -> tuple[bool, str]:
        """Whether networks, optimiser and counters belong together, and why not if they do not."""
        valid, why = self.parameters.check_valid()
        if not valid:
            return False, why
        adam = self.optimizer.state.get(self.parameters.online)
        if adam is None or self.optimizer.param_groups[0]["params"][0] is not self.parameters.online:
            return False, "the optimiser was made for other weights"
        if int(adam["step"].item()) != self.updates:
            return False, f"the optimiser has made {int(adam['step'].item())} steps in {self.updates} updates"
        due = self.updates // self.config.learning.target_interval
        if self.target_updates != due:
            return False, f"there were {self.target_updates} target updates where {due} were due"
        return True, ""


def _in_host_memory(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _build_adam(parameters: ParameterVector, eps: float) -> torch.optim.Adam:
    """Adam over the online half as one parameter, its state in place, so that no address changes from here on."""
    online = parameters.online
    rate = torch.zeros((), device=online.device)  # A tensor: a captured graph reads it anew at each replay.
    optimizer = torch.optim.Adam([online], lr=rate, eps=eps, fused=True, capturable=online.is_cuda)
    zeros = {name: torch.zeros_like(online.data) for name in ("exp_avg", "exp_avg_sq")}
    optimizer.state[online] = {"step": torch.zeros((), device=online.device), **zeros}
    return optimizer


def _staged_fields(batch: Batch, config: Config, noise_size: int) -> dict[str, Field]:
    """The arrays of a batch, and the random numbers that an update needs beside them."""
    learning, arguments = config.learning, arguments_of(config)
    lengths = (arguments.num_quantiles, arguments.num_target_quantiles, arguments.num_policy_quantiles)
    return {
        **{name: (array.shape, array.dtype) for name, array in vars(batch).items()},
        **{name: ((learning.batch_size, length), np.float32) for name, length in zip(_FRACTIONS, lengths, strict=True)},
        **{name: ((noise_size,), np.float32) for name in _NOISES},
    }

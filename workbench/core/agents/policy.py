"""What the actor holds of an agent: the online network, and the epsilon-greedy choice among its actions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.core.agents.flat_parameters import ParameterLayout, bind
from workbench.core.agents.iqn import arguments_of, build_network, draw_noise
from workbench.core.agents.staging import Staging
from workbench.core.config import Config


@dataclass(frozen=True)
class Choice:
    """What a policy chose in W worlds, and how likely that was."""

    action: NDArray[np.int64]
    """(W,) int64: the action to take."""
    greedy: NDArray[np.int64]
    """(W,) int64: the action with the greatest value."""
    probability: NDArray[np.float32]
    """(W,) float32: probability of ``action`` under the epsilon-greedy policy."""
    q: NDArray[np.float32]
    """(W, A) float32: value of every action, the mean over K fractions."""


class Policy:
    """Acts with the weights of the last :meth:`load`.

    Args:
        config: network, number of fractions, size of the world's view.
        device: where values are computed.
        exploration: stream of random actions.
        quantiles: stream of quantile fractions and of layer noise. It may be the same generator.
        noise: whether noisy layers are noisy; without, they act with their means, as in an evaluation.
    """

    def __init__(
        self, config: Config, device: torch.device, exploration: np.random.Generator, quantiles: np.random.Generator,
        noise: bool = True,
    ) -> None:  # fmt: skip
        self.config, self.device = config, device
        self.network = build_network(config).to(device).train(noise)
        self.layout = ParameterLayout.of(self.network)
        self._exploration, self._quantiles = exploration, quantiles
        self._weights = Staging({"online": ((self.layout.size,), np.float32)}, device)
        bind(self.network, self._weights.device["online"])
        self._loaded = False
        self._stage(config.num_worlds)

    @property
    def vector_size(self) -> int:
        """Floats in a snapshot: online and target network."""
        return 2 * self.layout.size

    @property
    def weights(self) -> Tensor:
        """(layout.size,) float32: the online weights that it acts with, on its device."""
        return self._weights.device["online"]

    def load(self, vector: NDArray[np.float32]) -> None:
        """Copy the online half of a snapshot, (vector_size,) float32 in host memory.

        Raises:
            ValueError: it is not a snapshot of such a network.
        """
        self.layout.check_vector(vector)
        np.copyto(self._weights.host["online"], vector[: self.layout.size])
        self._weights.upload()
        self._loaded = True

    def act(self, stack: NDArray[np.uint8], epsilon: float) -> Choice:
        """Choose an action in every world. As many random numbers are drawn whatever is chosen.

        Args:
            stack: (W, F, frame_size) uint8 codes, oldest frame first.
            epsilon: probability of a uniformly random action.

        Raises:
            ValueError: the stack has another shape or dtype.
            RuntimeError: no weights have been loaded.
        """
        if len(stack) != len(self._inputs.host["tau"]):
            self._stage(len(stack))
        q = self._values(stack)
        greedy = q.argmax(1)
        chance, choice = self._exploration.random((2, len(stack)))
        action = np.where(chance < epsilon, (choice * q.shape[1]).astype(np.int64), greedy)
        probability = (epsilon / q.shape[1] + (1.0 - epsilon) * (action == greedy)).astype(np.float32)
        return Choice(action, greedy, probability, q)

    def _values(self, stack: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(W, F, frame_size) uint8 to (W, A) float32, a new array."""
        inputs = self._inputs
        if not self._loaded:
            raise RuntimeError("this policy has no weights yet; call load() with a snapshot before act()")
        if stack.shape != inputs.host["state"].shape or stack.dtype != np.uint8:
            raise ValueError(
                f"the stack is {stack.dtype} of shape {stack.shape}; this network takes uint8 of shape "
                f"(worlds, {', '.join(map(str, inputs.host['state'].shape[1:]))})"
            )
        inputs.host["state"][...] = stack
        self._quantiles.random(dtype=np.float32, out=inputs.host["tau"])
        draw_noise(self._quantiles, inputs.host["noise"])
        inputs.upload()
        with torch.no_grad():
            psi = self.network.embed(self.network.encode(inputs.device["state"]))
            q: NDArray[np.float32] = self.network.values(psi, inputs.device["tau"]).cpu().numpy()
        return q

    def _stage(self, num_worlds: int) -> None:
        frame_size = math.prod(self.config.spec.agents[0].shape)
        self._inputs = Staging(
            {
                "state": ((num_worlds, self.config.agent.num_frames, frame_size), np.uint8),
                "tau": ((num_worlds, arguments_of(self.config).num_policy_quantiles), np.float32),
                "noise": ((self.network.noise_size,), np.float32),
            },
            self.device,
        )
        self.network.set_noise(self._inputs.device["noise"])

"""One forward pass for all agents, in a world where they act at once and where the device waits for launches.

Each agent still chooses by its own policy's ``act``. The calls are nested: a policy stages its state and has the next
one act; the innermost call computes the values of all. So a wrapper around a policy's ``act`` sees its choice.
A batched product rounds differently from one product per agent; both modes use the batched one.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from workbench.core.agents.base import Chosen
from workbench.core.agents.staging import Staging, resolve_device
from workbench.core.agents.value_agent import EpsilonGreedy, ValueConfig
from workbench.core.config import Config


def together(config: Config) -> bool:
    """Whether a run's agents act together: at once, on a card, and with networks that are alike and can be stacked."""
    agents, policy = config.spec.agents, config.agent
    alike = len(set(agents)) == 1 < len(agents) and isinstance(policy, ValueConfig) and policy.stackable
    return config.spec.at_once and alike and resolve_device(config.processes.acting_device).type != "cpu"


class Networks(nn.ModuleDict):
    """Networks of one agent, by name, and what it computes with them: for ``functional_call`` with other parameters."""

    def __init__(self, compute: Callable[..., Any], **networks: nn.Module) -> None:
        super().__init__(networks)
        self._compute = compute

    def forward(self, *given: Any) -> Any:
        """What it computes."""
        return self._compute(*given)


class TogetherPolicies:
    """What chooses for all agents; see :data:`workbench.core.train.loop.ActTogether`.

    Args:
        policies: of agents that are alike. From here on they choose only through this object.
    """

    def __init__(self, policies: Sequence[EpsilonGreedy]) -> None:
        first, self._policies = policies[0], policies
        fields = {name: ((len(policies), *one.shape), one.dtype) for name, one in first.inputs.host.items()}
        self._inputs, self._of_one = Staging(fields, first.device), Networks(self._q_of_first, network=first.network)
        for row, policy in enumerate(policies):
            policy.inputs.host = {name: array[row] for name, array in self._inputs.host.items()}
            policy.values = partial(self._values, row)  # type: ignore[method-assign]

    def __call__(self, states: Sequence[NDArray[Any]], epsilon: float) -> Sequence[Chosen]:
        """Have every policy choose, from the state of its agent."""
        pairs = zip(self._policies, states, strict=True)
        self._waiting: list[Callable[[], Chosen]] = [partial(policy.act, state, epsilon) for policy, state in pairs]
        self._chosen: list[Chosen] = []
        self._next()
        return self._chosen[::-1]  # the innermost call is over first

    def _next(self) -> None:
        if self._waiting:
            self._chosen.append(self._waiting.pop(0)())
        else:
            self._q: list[NDArray[np.float32]] = list(self._forward())

    def _values(self, row: int, state: NDArray[Any]) -> NDArray[np.float32]:
        """In place of :meth:`EpsilonGreedy.values`."""
        self._policies[row].stage(state)
        self._next()
        return self._q[row]

    @torch.inference_mode()
    def _forward(self) -> NDArray[np.float32]:
        self._inputs.upload()
        weights = torch.stack([policy.weights for policy in self._policies])
        return np.asarray(torch.vmap(self._values_of_one)(weights, self._inputs.device).cpu())

    def _values_of_one(self, weights: Tensor, staged: Mapping[str, Tensor]) -> Any:
        """The values of an agent's actions, whose network has these weights."""
        views = self._policies[0].layout.views(weights)
        return functional_call(self._of_one, {f"network.{name}": each for name, each in views.items()}, (staged,))

    def _q_of_first(self, staged: Mapping[str, Tensor]) -> Tensor:
        first = self._policies[0]
        first.network.set_noise(staged["noise"])
        return first.q(staged)

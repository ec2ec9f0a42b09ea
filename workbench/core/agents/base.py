"""What the rest of the core asks of an agent: a learning side, an acting side, and arguments that make both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import AgentSpec
from workbench.core.records import Metric
from workbench.core.settings import Choice, between, require

if TYPE_CHECKING:
    import torch

    from workbench.core.agents.flat_parameters import ParameterLayout
    from workbench.core.config import Config
    from workbench.core.shared.replay import Batch


# What every update returns: of the batch, before the step. An agent that does not measure one returns nan for it.
UPDATE_METRICS = ("loss", "mean_q", "max_q", "td_error", "grad_norm")


@dataclass
class Chosen:
    """What a policy chose in W worlds, and how likely that was.

    Attributes:
        action: (W,) int64, the action to take.
        greedy: (W,) int64, the action with the greatest value.
        probability: (W,) float32, of ``action`` under the epsilon-greedy policy.
        q: (W, A) float32, value of every action.
    """

    action: NDArray[np.int64]
    greedy: NDArray[np.int64]
    probability: NDArray[np.float32]
    q: NDArray[np.float32]


class Policy(Protocol):
    """The acting side of an agent, with weights of its own.

    Attributes:
        vector_size: floats in a snapshot.
        device: where values are computed.
    """

    vector_size: int
    device: "torch.device"

    def load(self, vector: NDArray[np.float32]) -> None:
        """Act with a snapshot, (vector_size,) float32 in host memory, from now on; it is copied.

        Raises:
            ValueError: it is not a snapshot of such an agent.
        """

    def act(self, stack: NDArray[Any], epsilon: float) -> Chosen:
        """Choose an action in every world. As many random numbers are drawn whatever is chosen.

        Args:
            stack: (W, F, *shape) of the spec's dtype, oldest frame first.
            epsilon: probability of a uniformly random action.
        """


class Agent(Protocol):
    """The learning side of an agent.

    Attributes:
        index: which agent of the world it is; it addresses the random streams.
        batch: host arrays to fill before :meth:`update`, which may be filled again when it has returned.
        updates, target_updates: how many there were.
    """

    index: int
    batch: "Batch"
    updates: int
    target_updates: int

    def update(self, learning_rate: float) -> "torch.Tensor":
        """Make one update from ``batch``.

        Returns:
            (5 + M,) float32 on the device, which may still compute it: :data:`UPDATE_METRICS`, then the ``metrics``
            of its arguments.
        """

    def td_errors(self) -> NDArray[np.float32]:
        """(B,) float32: |TD error| of each row of the last update. Only asked for by samplers that take them back."""

    def snapshot(self, out: NDArray[np.float32]) -> None:
        """Copy the weights, as they are after the last update, into host memory: (2 * layout.size,) float32."""

    def get_state(self, copy: bool = True) -> dict[str, Any]:
        """All that its future depends on: arrays and whole numbers whose shapes never change; "vector" is the snapshot.

        Without ``copy``, arrays that lie in host memory already may be given as they are, until the next update.
        """

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned.

        Raises:
            ValueError: it is the state of another agent.
        """


@dataclass(frozen=True)
class AgentConfig(Choice, group="agent"):
    """Arguments of an agent. An agent's own dataclass is derived from it.

    Attributes:
        agent_class: The learning side, an :class:`Agent`. It is called with the whole configuration, the agent's index
            in the world, and the device where updates are computed; and with a snapshot to start from, copied, where
            it is not to start from fresh weights out of its own stream.
        policy_class: The acting side, a :class:`Policy`. It is called with the configuration, the index, the device
            where values are computed, the stream of random actions, and the stream of what a value depends on, such as
            quantile fractions; and with ``noise=False`` where layers that are noisy in learning act without.
        num_frames: Newest observations stacked into one state, in frames.
    """

    agent_class: ClassVar[type[Any]]
    policy_class: ClassVar[type[Any]]
    loss: ClassVar[str] = "loss"  # what charts call it
    uncorrected: ClassVar[str] = "this agent has no off-policy corrections"  # why; empty if it has
    metrics: ClassVar[tuple[Metric, ...]] = ()  # what its updates return beyond UPDATE_METRICS
    num_frames: Annotated[int, between(1, 65536, "frames")] = 1

    def check_spec(self, spec: AgentSpec) -> None:
        """Refuse observations or actions that it cannot be built for, before a process is started.

        Raises:
            ConfigError: the reason, and what to do.
        """
        rule = f"this agent takes observations of numbers, not of dtype {spec.dtype}; cast them to float32"
        require(np.can_cast(spec.dtype, np.float64) and np.dtype(spec.dtype).isnative, "world", spec, rule)

    def layout(self, spec: AgentSpec) -> "ParameterLayout":
        """Where its parameters lie in a snapshot, which holds them twice: online, then target network."""
        raise self.lacks("layout")

    def example_state(self, config: "Config", index: int) -> dict[str, Any]:
        """A state such as :meth:`Agent.get_state` gives, for its names, shapes and dtypes."""
        raise self.lacks("example_state")

"""What the rest of the core asks of an agent, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from workbench.core.records import Metric
from workbench.core.settings import Choice, between


@dataclass(frozen=True)
class AgentConfig(Choice):
    """Arguments of an agent. An agent's own dataclass is derived from it.

    Its name in a configuration is the registered one, or ``module:Class``.
    """

    group: ClassVar[str] = "agent"
    metrics: ClassVar[tuple[Metric, ...]] = ()  # what its updates return beyond loss, Q-values, TD error and gradient
    num_frames: Annotated[int, between(1, 65536, "frames")] = 1
    """Newest observations stacked into one state, in frames."""

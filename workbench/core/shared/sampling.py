"""Which rows of a replay a learner draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workbench.core.settings import Choice


@dataclass(frozen=True)
class SamplerConfig(Choice):
    """Arguments of a sampler. A sampler's own dataclass is derived from it.

    Its name in a configuration is the registered one, or ``module:Class``.
    """

    group: ClassVar[str] = "replay.sampler"


@dataclass(frozen=True)
class UniformConfig(SamplerConfig):
    """Every row of the window is as likely as any other, with replacement."""

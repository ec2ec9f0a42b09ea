"""Batches that are filled by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import AgentSpec
from workbench.core.shared.replay import Batch


def zeros(batch_size: int, num_frames: int, spec: AgentSpec, weighted: bool = False, n_step: int = 0) -> Batch:
    """A batch of zeros; see :meth:`Batch.fields`."""
    fields = Batch.fields(batch_size, num_frames, spec, weighted, n_step)
    return Batch(**{name: np.zeros(*each) for name, each in fields.items()})


def arrays_of(batch: Batch) -> dict[str, NDArray[Any]]:
    """The arrays of a batch, by name."""
    return {name: array for name, array in vars(batch).items() if array is not None}

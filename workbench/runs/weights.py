"""Snapshots of all agents of a run as one array, as it is saved and shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.runs.sentences import said


def padded(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Snapshots of all agents in one array, (agents, longest) float32; shorter ones have nan behind their end."""
    weights = np.full((len(vectors), max(map(len, vectors))), np.nan, np.float32)
    for row, vector in zip(weights, vectors, strict=True):
        row[: len(vector)] = vector
    return weights


def unpadded(weights: NDArray[np.float32], config: Config) -> list[NDArray[np.float32]]:
    """The snapshot of each agent out of what :func:`padded` made: a view of (2 * size,) float32 each.

    Raises:
        ValueError: there are other agents, or snapshots of other lengths.
    """
    sizes = [2 * config.agent.layout(spec).size for spec in config.spec.agents]
    if np.shape(weights) != (wanted := (len(sizes), max(sizes))):
        raise ValueError(said("initial_weights.shape", found=np.shape(weights), wanted=wanted))
    return [row[:size] for row, size in zip(weights, sizes, strict=True)]

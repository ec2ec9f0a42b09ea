"""Random streams: one seed, one independent NumPy generator per role and agent, never a global generator.

A stream is addressed, not drawn from its neighbours: building one part of a run cannot shift the numbers of another,
and a process that owns agent 3 alone gets the same numbers as one that owns all agents.
"""

from __future__ import annotations

import numpy as np

ROLES = (
    "world",  # where agents start and gems appear
    "exploration",  # whether and which random action an agent takes
    "acting_quantiles",  # quantile fractions (and layer noise) when an action is chosen
    "sampling",  # which rows a learner draws
    "learning_quantiles",  # quantile fractions (and layer noise) in an update
    "initialisation",  # initial weights
    "evaluation",  # worlds, quantile fractions of greedy evaluation
    "reference",  # random and scripted reference policies
    "viewing",  # the world of whoever looks on
)


def stream(seed: int, role: str, agent: int = 0) -> np.random.Generator:
    """The generator of one role of one agent.

    Args:
        seed: ``config.seed``.
        role: one of :data:`ROLES`.
        agent: index of the agent; 0 for roles that no agent owns.

    Raises:
        ValueError: the role is unknown.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), agent)))

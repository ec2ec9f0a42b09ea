"""Random streams: one seed, one independent NumPy generator per role and agent, never a global generator.

A stream is addressed, not drawn from its neighbours: building one part of a run cannot shift the numbers of another,
and a process that owns agent 3 alone gets the same numbers as one that owns all agents.
"""

import numpy as np
from numpy.typing import NDArray

from workbench.core.sentences import beside

# What a stream may be for; what the numbers of each role decide stands beside this file.
ROLES = tuple(beside(__file__))


def stream(seed: int, role: str, agent: int = 0) -> np.random.Generator:
    """The generator of one of :data:`ROLES` of one agent; for a role that no agent owns, that is agent 0.

    Raises:
        ValueError: the role is unknown.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), agent)))


def rng_words(rng: np.random.Generator) -> NDArray[np.uint64]:
    """The state of a PCG64 generator: (6,) uint64."""
    state = rng.bit_generator.state
    words = [word for name in ("state", "inc") for word in divmod(state["state"][name], 2**64)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def set_rng_words(rng: np.random.Generator, words: NDArray[np.uint64]) -> None:
    """Set a PCG64 generator to a state that :func:`rng_words` gave."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words)
    state = {"state": high * 2**64 + low, "inc": inc_high * 2**64 + inc_low}
    rng.bit_generator.state = {"bit_generator": "PCG64", "state": state, "has_uint32": has_uint32, "uinteger": uinteger}

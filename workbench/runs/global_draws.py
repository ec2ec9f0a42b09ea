"""Whether classes of the user's own draw from generators that all code of a process shares, which no seed decides."""

import functools
import random
from typing import Any

import numpy as np
import torch

from workbench.core.processes.blocks import Plan, Shared
from workbench.core.processes.worker import Parts
from workbench.core.shared.layout import Field, Layout
from workbench.core.train.hooks import Hook
from workbench.runs.own_classes import own
from workbench.runs.sentences import said

# The modules with such a generator, and what seeds it there.
SEEDS: dict[Any, str] = {np.random: "seed", random: "seed", torch: "manual_seed"}
BLOCK = "global generators"


def states() -> dict[Any, Any]:
    """Of those generators."""
    return {np.random: str(np.random.get_state()), random: random.getstate(), torch: torch.get_rng_state().tolist()}


class GlobalDraws(Hook):
    """Notes which global generators the children of a run have drawn from, where it has classes of the user's own.

    One that is seeded in a child is left out: a simulator that takes no generator can be given a seed in each reset.
    """

    def layouts(self, plan: Plan) -> dict[str, Layout]:
        """For each global generator, whether a child has drawn from it."""
        return {BLOCK: Layout(BLOCK, (Field("drawn", (len(SEEDS),), "<i8", 0),))}

    def on_parts(self, parts: Parts) -> None:
        """Look at their states before there are other parts, and once more when the work is done."""
        config, report_end, before = parts.config, parts.progress.report_end, states()
        drawn = parts.blocks[BLOCK].open()["drawn"]

        def seeded(module: Any, seed: Any, *given: Any, **named: Any) -> Any:
            before.pop(module, None)
            return seed(*given, **named)

        def looked_at(process: int) -> None:
            drawn[:] |= [before.get(module, state) != state for module, state in states().items()]
            report_end(process)

        if any(map(own, (config.world, config.agent, config.replay.sampler))):
            parts.progress.report_end = looked_at  # type: ignore[method-assign]
            for module, seed in SEEDS.items():
                setattr(module, seed, functools.partial(seeded, module, getattr(module, seed)))


def drawn_globally(shared: Shared) -> str:
    """As :func:`unseeded`, of what the children of a run have drawn from the generators of whole processes."""
    drawn = [it.__name__ for it, moved in zip(SEEDS, shared.blocks[BLOCK].open()["drawn"], strict=True) if moved]
    return said("own_classes.global", drawn=" and ".join(drawn)) if drawn else ""

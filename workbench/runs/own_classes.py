"""What is asked of a world and of an agent of the user's own, before their mistakes become results.

Those that the workbench brings along are tested instead. A world is looked at in every turn, by a hook of every run.
"""

from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from workbench.core import registry
from workbench.core.agents.value_agent import ValueConfig, network
from workbench.core.config import Config
from workbench.core.envs.base import Turn
from workbench.core.processes.worker import Parts
from workbench.core.settings import Choice, require
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector
from workbench.runs.sentences import said


def own(choice: Choice) -> bool:
    """Whether a world or an agent is of a class that is not registered."""
    return ":" in registry.name_of(type(choice))


def unseeded(config: Config) -> str:
    """Why runs of the same seed may differ, in a sentence; "" where the seed decides all.

    Raises:
        ConfigError: the networks of an own agent hold more than parameters.
    """
    agent = config.agent
    for spec in set(config.spec.agents if own(agent) else ()):
        made = network(agent, spec) if isinstance(agent, ValueConfig) else nn.Identity()
        kept = sorted(set(made.state_dict()) - {name for name, _ in made.named_parameters()})
        require(not kept, "agent", registry.name_of(type(agent)), said("own_classes.buffers", kept=", ".join(kept)))
        if drawing := {type(layer).__name__ for layer in made.modules() if isinstance(layer, _DropoutNd)}:
            return said("own_classes.drawing", layers=", ".join(sorted(drawing)))
    return config.world.unseeded()


class OwnWorld(Hook):
    """Refuses what a world of the user's own gives, where it is not what :class:`Turn` says."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look at every turn."""
        world, end_turn, spec = collector.world, collector.world.end_turn, parts.config.spec
        due = len(spec.agents), world.num_worlds

        def looked_at() -> Turn:
            """What the world gives, if it is what it must be."""
            turn = end_turn()
            for name in Turn._fields:
                found: Any = getattr(turn, name, turn)
                kind = np.floating if name == "rewards" else np.bool_
                if not (isinstance(found, np.ndarray) and found.shape == due and np.issubdtype(found.dtype, kind)):
                    what = f"{found.dtype} of shape {found.shape}" if hasattr(found, "dtype") else str(type(found))
                    raise ValueError(said("own_classes.turn", name=name, found=what, due=due, kind=kind.__name__))
            if spec.whole_epochs and (turn.terminated | turn.truncated).any():
                raise ValueError(said("own_classes.whole"))
            return turn

        if own(parts.config.world):
            world.end_turn = looked_at  # type: ignore[method-assign]

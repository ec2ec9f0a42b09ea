"""Deep looks at parts that the product itself does not need: whether they keep all their rules, and why not."""

from __future__ import annotations

import numpy as np
import torch

from workbench.core.agents.value_agent import ValueAgent
from workbench.core.envs.treasurehunt import AGENT, EMPTY, GEM, WALL, Treasurehunt
from workbench.core.shared.replay import Replay
from workbench.runs.rows import broken_rows


def check_world(world: Treasurehunt) -> tuple[bool, str]:
    """Whether a Treasurehunt keeps the rules of the world, and which one it breaks if it does not."""
    cells, inner = world.cells, world.cells[:, 1:-1, 1:-1]
    if (cells == WALL).sum() != cells.size - inner.size or (inner == WALL).any():
        return False, "the walls are not exactly the border"
    if not np.isin(inner, (EMPTY, GEM, AGENT)).all():
        return False, "an inner cell is neither empty, gem nor agent"
    there = [{(int(row), int(column)) for row, column in each} for each in world.positions.swapaxes(0, 1)]
    stand = [{(int(row), int(column)) for row, column in np.argwhere(each == AGENT)} for each in cells]
    if stand != there or any(len(each) != world.num_agents for each in there):
        return False, "an agent does not stand where its position says"
    return True, ""


def check_replay(replay: Replay) -> tuple[bool, str]:
    """Whether every row of the window is whole, and what is wrong where it is not."""
    begun, committed = (int(replay.arrays[name][0]) for name in ("begun", "committed"))
    if begun not in (committed, committed + 1):
        return False, f"{begun} epochs begun and {committed} committed; they may differ by one at most"
    numbers = np.arange(max(replay.oldest_intact, replay.count - replay.window), replay.count)
    broken = broken_rows(replay, numbers)
    return broken == 0, f"{broken} of {len(numbers)} rows do not match their stamp" if broken else ""


def check_agent(agent: ValueAgent) -> tuple[bool, str]:
    """Whether networks, vector, optimiser and counters belong together, and why not if they do not."""
    parameters = agent.parameters
    for network, half in ((agent.online, parameters.online), (agent.target, parameters.target)):
        views = parameters.layout.views(half)
        for name, parameter in network.named_parameters():
            if parameter.data_ptr() != views[name].data_ptr():
                return False, f"parameter {name} is no longer a view of the vector"
    if not bool(torch.isfinite(parameters.vector).all()):
        return False, "a weight is not finite"
    if agent.optimizer.weights is not parameters.online:
        return False, "the optimiser was made for other weights"
    if int(agent.optimizer.steps.item()) != agent.updates:
        return False, f"the optimiser has made {int(agent.optimizer.steps.item())} steps in {agent.updates} updates"
    due = agent.updates // agent.config.learning.target_interval
    return agent.target_updates == due, f"{agent.target_updates} target updates" if agent.target_updates != due else ""

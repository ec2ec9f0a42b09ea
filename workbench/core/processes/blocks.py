"""Everything that the processes of one run share, and how a checkpoint is taken out of it and put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.processes.shared_memory import Block, machine_fence
from workbench.core.processes.worker import Journals, Modifier, warm_start_layout, weight_store_layout
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Layout
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.runs.live_settings import Changes
from workbench.runs.recovery.journal import Journal

Cut = dict[str, NDArray[Any]]
"""One cut through a run: arrays by ``owner/name``; owners are "actor", "agent 0" and so on, ``at`` their epochs."""


@dataclass(frozen=True)
class Plan:
    """What a run is, before anything of it exists."""

    config: Config
    mode: str
    lag: int | None
    weights: NDArray[np.float32] | None
    """(agents, vector size) float32 to start from, or None."""
    modifiers: tuple[Modifier, ...]
    """What wraps or replaces parts in the children."""


class Shared:
    """The blocks of one run."""

    def __init__(self, plan: Plan, num_processes: int, create: Callable[[Layout], Block]) -> None:
        """Take the memory.

        Raises:
            MemoryError: there is not enough.
        """
        config, fence = plan.config, machine_fence()
        self._agents = range(config.num_agents)
        self._steps_per_epoch = config.steps_per_epoch
        self.progress_block = create(Progress.layout(len(self._agents), num_processes))
        replay, store = Replay.layout(config), weight_store_layout(config, plan.lag)
        self.replay_blocks = [create(replay) for _ in self._agents]
        self.store_blocks = [create(store) for _ in self._agents]
        self.journal_blocks = Journals.create(config, self.replay_blocks, self.store_blocks, create)
        self.changes_block = create(Changes.layout())
        self.weights_block = None
        if plan.weights is not None:
            self.weights_block = create(warm_start_layout(plan.weights))
            self.weights_block.open()["weights"][:] = plan.weights
        self.changes = Changes(config, self.changes_block.open(), fence)
        self.progress = Progress(self.progress_block.open(), fence)
        self.replays = [Replay(config, block.open(), fence) for block in self.replay_blocks]
        self.stores = [WeightStore(block.open(), fence) for block in self.store_blocks]
        blocks = self.journal_blocks
        self._journals = self._named(
            Journal(blocks.actor.open(), fence), [Journal(b.open(), fence) for b in blocks.agents]
        )
        self._copies: dict[str, Journal] = {}
        if blocks.actor_checkpoint is not None and blocks.agent_checkpoints is not None:
            copies = [Journal(block.open(), fence) for block in blocks.agent_checkpoints]
            self._copies = self._named(Journal(blocks.actor_checkpoint.open(), fence), copies)

    def _named(self, actor: Journal, agents: list[Journal]) -> dict[str, Journal]:
        return {"actor": actor} | {f"agent {index}": journal for index, journal in enumerate(agents)}

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the run writes any."""
        return bool(self._copies)

    def complete_cut(self) -> tuple[int, Cut] | None:
        """The checkpoint that every process has left its part of, until :meth:`Progress.keep_checkpoint`; else None.

        An agent whose learning was given up is taken as it was left.
        """
        due = self.progress.checkpoint_due
        if not self._copies or due <= self.progress.checkpoint_kept:
            return None
        cut: Cut = {}
        for owner, copy in self._copies.items():
            if owner != "actor" and self.progress.frozen(int(owner.split()[1])):
                cut |= self._as_left(owner)
            elif copy.step == due:
                cut |= _under(owner, copy.load(), copy.step)
            else:
                return None
        return due, cut

    def cut_as_left(self) -> Cut | None:
        """The run as its processes have left it, all of which must be gone; None if one of them never got to begin."""
        if any(journal.step < 0 for journal in self._journals.values()):
            return None
        return {name: array for owner in self._journals for name, array in self._as_left(owner).items()}

    def _as_left(self, owner: str) -> Cut:
        journal = self._journals[owner]
        return _under(owner, journal.load() | self._blocks_of(owner), journal.step)

    def _blocks_of(self, owner: str) -> dict[str, NDArray[np.uint8]]:
        if owner == "actor":
            return {f"replay {index}": block.bytes for index, block in enumerate(self.replay_blocks)}
        return {"weight store": self.store_blocks[int(owner.split()[1])].bytes}

    def put_back(self, cut: Cut, epoch: int) -> None:
        """Lay a cut into memory that no process has used yet; the children then go on from it.

        Raises:
            ValueError: it is a cut through another run; the message names the array.
        """
        for owner, journal in self._journals.items():
            state = {
                name.removeprefix(f"{owner}/"): array for name, array in cut.items() if name.startswith(f"{owner}/")
            }
            for name in ("at", *self._blocks_of(owner)):
                if name not in state:
                    raise ValueError(f"{owner}/{name} is missing")
            step = int(state.pop("at"))
            for name, block in self._blocks_of(owner).items():
                saved = state.pop(name)
                if saved.shape != block.shape:
                    raise ValueError(f"{owner}/{name} has {saved.shape[0]} bytes; this run's has {block.shape[0]}")
                block[:] = saved
            journal.save(step, state)
        self._count_again(cut, epoch)
        self.progress.begin_checkpoint(epoch)
        self.progress.keep_checkpoint(epoch)

    def _count_again(self, cut: Cut, epoch: int) -> None:
        """What was done until the cut is counted from the start, also by a run that is stopped before it goes on."""
        progress = self.progress
        progress.report_collected(epoch, epoch * self._steps_per_epoch)
        progress.restore_rewards(cut["actor/rewards"])
        for agent in self._agents:
            found = {name: cut[f"agent {agent}/{name}"] for name in ("updates", "losses", "learned")}
            progress.restore_updates(agent, int(found["updates"]), found["losses"])
            progress.report_learned(agent, int(found["learned"]))


def _under(owner: str, state: dict[str, NDArray[Any]], step: int) -> Cut:
    return {f"{owner}/{name}": array for name, array in state.items()} | {f"{owner}/at": np.array(step)}

"""Return and length of every episode that has ended, where episodes end inside an epoch.

What an epoch earns says little there: a pole that falls and is put up again at once earns the same in every epoch.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.envs.base import Turn
from workbench.core.processes.worker import Parts
from workbench.core.records import POINT, RecordTable
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector
from workbench.runs.metrics import metrics_beside

# "number" grows with every episode of an agent, so that one that is played twice is told from the next.
_EPISODE = [*POINT.descr, ("number", "<i8"), ("episode_return", "<f8"), ("length", "<i4")]
_MOST_WORLDS = 65536


class EpisodeRecords(Hook):
    """Records every agent's part of an episode when it has ended; those of greedy evaluations in a table of their own.

    Rewards are undiscounted and unscaled, lengths are turns in which the agent took part.
    """

    tables = {  # noqa: RUF012
        "episodes": RecordTable(np.dtype(_EPISODE), axis="epoch"),
        "greedy_episodes": RecordTable(np.dtype([*_EPISODE, ("final", "<i1")]), axis="epoch"),
    }
    metrics = metrics_beside(__file__, tables)

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Look on at every turn."""

        def watch(epoch: int, final: bool | None) -> Callable[[Turn], None]:
            """What looks on in an epoch of training (``final`` is None) or of a greedy evaluation."""
            table, also = ("episodes", {}) if final is None else ("greedy_episodes", {"final": final})
            passed = (2 * epoch + bool(final)) * collector.config.max_turns
            earned: NDArray[Any] = np.zeros((1, 1))
            length: NDArray[Any] = np.zeros((1, 1), np.int64)

            def each_turn(turn: Turn) -> None:
                """Add up the turn, and record the episodes that end with it."""
                nonlocal earned, length, passed
                earned, length, passed = earned + turn.rewards, length + turn.valid, passed + 1
                ended = turn.terminated | turn.truncated
                for agent, copy in np.argwhere(ended & (length > 0)).tolist():
                    parts.channel[table].write(
                        time=time.time(), agent=agent, epoch=epoch, update=collector.in_use[agent].updates,
                        number=passed * _MOST_WORLDS + copy, episode_return=earned[agent, copy],
                        length=length[agent, copy], **also,
                    )  # fmt: skip
                earned, length = np.where(ended, 0, earned), np.where(ended, 0, length)

            return each_turn

        collector.watch = watch

"""What watching costs a trainer that is not ours, with every call in place and updates of some 12 ms."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch

import workbench as wb
from notebooks.foreign_trainer import Config, actor, model, train
from workbench.watch import watch

WIDTH = 17_500  # of the hidden layer: some 650,000 parameters
BATCH = 64
BLOCKS = 10  # of epochs, whose shares say how far the share can be trusted
MOST = 0.05  # of the trainer's time


def watching(quick: bool) -> dict[str, Any]:
    """The cost, in a process of its own: a trainer that is not ours is no child of a run, and gives memory back."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as process:
        return process.submit(_watching, quick).result()


def _watching(quick: bool) -> dict[str, Any]:
    """One training whose calls are the watch's in one epoch and do nothing in the next.

    Two processes differ in speed by some per cent for as long as they live, whatever they do: where their memory lies
    is enough. So both kinds of epochs are of the same process, and all that the machine does meets both. Of each two
    epochs the order changes. An agent's first updates are looked at in full and later ones now and then, and so are
    copies, so the share falls with a training's length; ``updates`` is the number of those that were watched of each
    agent.
    """
    config = Config(epochs=44 if quick else 804, updates_per_epoch=4)
    spent, inside = _train(config)
    pairs = np.array([spent[each : each + 2][:: 1 if each % 4 else -1] for each in range(4, config.epochs, 2)])
    shares = [part[:, 0].sum() / part[:, 1].sum() - 1 for part in np.array_split(pairs, BLOCKS)]
    watched, plain = pairs.sum(axis=0).tolist()
    updates = config.updates_per_epoch * len(pairs)
    return {
        "agents": config.agents, "updates": updates, "width": WIDTH, "batch": BATCH,
        "seconds": {"watched": watched, "not watched": plain}, "update_ms": 1e3 * plain / (updates * config.agents),
        "share": watched / plain - 1, "share_of_blocks": shares, "mean_of_blocks": fmean(shares),
        "standard_error": stdev(shares) / BLOCKS**0.5, "inside_the_calls": inside / watched,
        "held": watched / plain - 1 <= MOST,
    }  # fmt: skip


class _InTurn:
    """What the trainer takes for a watch: the watch in the second and third of four epochs, and nothing in the others.

    Attributes:
        spent: seconds of each epoch.
        unwatched: seconds of those without the watch, for its clock to leave out: it keeps to a share of the time.
    """

    def __init__(self) -> None:
        self.spent, self.unwatched, self._began = list[float](), 0.0, time.perf_counter()
        self._calls: Any = watch.NoWatch()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)

    def next_epoch(self, made: watch.Watch) -> None:
        """An epoch is over."""
        now = time.perf_counter()
        self.spent.append(now - self._began)
        if not isinstance(self._calls, watch.Watch):
            self.unwatched += self.spent[-1]
        self._calls = made if len(self.spent) % 4 in (1, 2) else watch.NoWatch()
        self._began = time.perf_counter()


def _train(config: Config) -> tuple[list[float], float]:
    """Train; returns the seconds of each epoch, and of those that are watched the seconds within the calls."""
    in_turn, play, made = _InTurn(), actor.Actor.play_epoch, cast(Callable[[], watch.Watch], wb.watching)

    def play_next(self: actor.Actor, epoch: int) -> float:
        if epoch:
            in_turn.next_epoch(made())
        return play(self, epoch)

    clock = SimpleNamespace(
        perf_counter=lambda: time.perf_counter() - in_turn.unwatched, time=time.time, time_ns=time.time_ns
    )
    with (
        tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder, mock.patch.object(model, "HIDDEN", WIDTH),
        mock.patch.object(Config, "batch", BATCH), mock.patch.object(actor.Actor, "play_epoch", play_next),
        mock.patch.object(wb, "watching", lambda: in_turn), mock.patch.object(watch, "time", clock),
    ):  # fmt: skip
        train("sequential", config, "watched", folder)
        in_turn.next_epoch(made())
        inside = made()._call().seconds
        made().close()
    return in_turn.spent, inside

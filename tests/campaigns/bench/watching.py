"""What watching costs a trainer that is not ours, with every call in place and updates of some 12 ms."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

import workbench as wb
from notebooks.foreign_trainer import Config, actor, model, train
from workbench.watch import watch

WIDTH = 15_000  # of the hidden layer: some 560,000 parameters
BATCH = 64
BLOCKS = 10  # of epochs, whose shares say how far the share can be trusted
MOST = 0.05  # of the trainer's time


def watching(quick: bool) -> dict[str, Any]:
    """The same training in two processes, watched and not, which take turns: an epoch of one, then that of the other.

    So whatever the machine does meets both alike. The share is what the watched one takes longer over the whole
    training. An agent's first 100 updates are looked at in full and later ones now and then, so the share falls with a
    training's length; ``updates`` is that of each agent here.
    """
    config = Config(epochs=20 if quick else 400, updates_per_epoch=4)
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        pipes, children = [], []
        for name in ("watched", None):
            ours, theirs = processes.Pipe()
            children.append(processes.Process(target=_train, args=(theirs, config, name, folder), daemon=True))
            children[-1].start()
            theirs.close()
            pipes.append(ours)
        turns = []
        for epoch in range(config.epochs):
            order = pipes if epoch % 2 else pipes[::-1]
            taken = {pipe: _turn(pipe) for pipe in order}
            turns.append([taken[pipe] for pipe in pipes])
        inside = pipes[0].recv()
        for child in children:
            child.join()
    seconds = np.array(turns)
    shares = [part[:, 0].sum() / part[:, 1].sum() - 1 for part in np.array_split(seconds, BLOCKS)]
    watched, plain = seconds.sum(axis=0).tolist()
    updates = 4 * (config.epochs - config.warmup_epochs)
    return {
        "agents": config.agents, "updates": updates, "width": WIDTH, "batch": BATCH,
        "seconds": {"watched": watched, "not watched": plain}, "update_ms": 1e3 * plain / (updates * config.agents),
        "share": watched / plain - 1, "share_of_blocks": shares, "mean_of_blocks": fmean(shares),
        "standard_error": stdev(shares) / BLOCKS**0.5, "inside_the_calls": inside / watched,
        "held": watched / plain - 1 <= MOST,
    }  # fmt: skip


def _turn(pipe: Connection) -> float:
    """Let one training go on for an epoch; returns the seconds that it took."""
    pipe.send(None)
    taken: float = pipe.recv()
    return taken


def _train(pipe: Connection, config: Config, name: str | None, folder: str) -> None:
    """Train, an epoch whenever it is asked for; says how long each took, and at the end how long the calls did."""
    play, waited, began = actor.Actor.play_epoch, 0.0, 0.0

    def play_in_turn(self: actor.Actor, epoch: int) -> None:
        nonlocal waited, began
        ended = time.perf_counter()
        if epoch:
            pipe.send(ended - began)
        pipe.recv()
        began = time.perf_counter()
        waited += began - ended
        play(self, epoch)

    # While the other one has its turn, this clock stands still: a watch keeps to a share of its trainer's time.
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() - waited, time=time.time, time_ns=time.time_ns)
    with (
        mock.patch.object(model, "HIDDEN", WIDTH), mock.patch.object(Config, "batch", BATCH),
        mock.patch.object(actor.Actor, "play_epoch", play_in_turn), mock.patch.object(watch, "time", clock),
    ):  # fmt: skip
        train("sequential", config, name, folder)
        pipe.send(time.perf_counter() - began)
    if name:
        made = wb.watching()
        pipe.send(made._call().seconds)
        made.close()

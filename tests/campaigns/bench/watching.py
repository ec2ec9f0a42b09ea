"""What watching costs a trainer that is not ours, with every call in place and updates of some 12 ms."""

from __future__ import annotations

import tempfile
import time
from statistics import median
from typing import Any
from unittest import mock

import workbench as wb
from notebooks.foreign_trainer import Config, model, train

WIDTH = 15_000  # of the hidden layer: some 500,000 parameters, as in our default network
BATCH = 64
MOST = 0.05  # of the trainer's time


def watching(quick: bool) -> dict[str, Any]:
    """The same training in one process, watched and not, in turns; the share is the median over the pairs.

    An agent's first 100 updates are looked at in full and later ones now and then, so the share falls with a training's
    length; ``updates`` is that of each agent here.
    """
    epochs, repeats = (6, 1) if quick else (300, 3)
    config = Config(epochs=epochs, updates_per_epoch=4)
    seconds: dict[str, list[float]] = {"watched": [], "not watched": []}
    with mock.patch.object(model, "HIDDEN", WIDTH), mock.patch.object(Config, "batch", BATCH):
        for _ in range(repeats):
            for name, several in seconds.items():
                with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
                    began = time.perf_counter()
                    train("sequential", config, "watched" if name == "watched" else None, folder)
                    several.append(time.perf_counter() - began)
                    wb.watching().close()
    shares = [one / other - 1 for one, other in zip(*seconds.values(), strict=True)]
    updates = 4 * (epochs - Config.warmup_epochs)
    return {
        "agents": config.agents, "updates": updates, "width": WIDTH, "batch": BATCH, "seconds": seconds,
        "update_ms": 1e3 * median(seconds["not watched"]) / (updates * config.agents), "share": median(shares),
        "held": median(shares) <= MOST,
    }  # fmt: skip

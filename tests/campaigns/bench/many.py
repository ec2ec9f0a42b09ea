"""What many runs cost: the list of a thousand folders, and the charts of ten long runs."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import workbench as wb
from workbench.view.panel.charts import Choices, charts_of
from workbench.view.panel.feed import Feed

made = importlib.import_module("tests.unit.finished")
# Seconds for the list of a thousand folders, after the first time.
MOST_S = 2.0


def many_runs(quick: bool) -> dict[str, Any]:
    """Seconds of the first and of a later list of 1,000 folders; milliseconds to take up and to send ten long runs.

    The ten runs have 20,000 updates each, in 12 charts, as an open panel draws them for a page that has just been
    loaded. Their time in the browser is not in it.
    """
    folders, runs, updates = (20, 2, 200) if quick else (1_000, 10, 20_000)
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as parent:
        for seed in range(folders):
            made.finished_run(Path(parent), seed=seed)
        listing = [_seconds(lambda: wb.runs(parent)) for _ in range(4)]
    config = made.CONFIG
    waiting = config.epochs - config.learning_epochs
    config = config.replace(epochs=waiting + updates // config.pacing.updates_per_epoch)
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as parent:
        loaded = [wb.load(made.finished_run(Path(parent), seed=seed, config=config)) for seed in range(runs)]
        charts = tuple(charts_of(loaded))[:12]
        feed = Feed(loaded, Choices(charts))
        taking_s = _seconds(feed.update)
        sent: list[int] = []
        sending_s = median(_seconds(lambda: sent.append(len(feed.news(everything=True)[1]))) for _ in range(5))
    return {
        "folders": folders, "listing_s": {"first": listing[0], "later": median(listing[1:])},
        "runs": runs, "charts": len(charts), "updates": config.total_updates, "taking_ms": 1e3 * taking_s,
        "sending_ms": 1e3 * sending_s, "sent_mib": sent[0] / 2**20, "held": median(listing[1:]) <= MOST_S,
    }  # fmt: skip


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began

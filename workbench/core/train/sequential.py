"""The sequential baseline: one loop over the same two sides that the processes of a multiprocess run have."""

from __future__ import annotations

from collections.abc import Callable

from workbench.core.train.loop import Collector, Trainer


def run_sequential(collector: Collector, trainer: Trainer, lag: int, before_epoch: Callable[[], object]) -> None:
    """Collect an epoch with the weights of ``lag`` epochs ago, then let every agent learn from it.

    ``before_epoch`` is called before every epoch; it may wait, or raise to end the run. What the counters say is done
    is not done again.
    """
    progress = collector.progress
    for epoch in range(min(progress.epochs_learned(agent) for agent in trainer.agents), collector.config.epochs):
        before_epoch()
        if progress.epochs_collected <= epoch:
            collector.epoch(epoch, max(0, epoch - lag))
        collector.evaluate_if_due(epoch)
        for agent in trainer.agents:
            if progress.epochs_learned(agent) <= epoch:
                trainer.epoch(agent, epoch)

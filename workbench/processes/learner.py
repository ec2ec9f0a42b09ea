"""A learner process: wait until its agents may learn, update, publish, tell the actor."""

from __future__ import annotations

from functools import partial

from workbench.loop import Trainer
from workbench.processes.job import Job, Parts
from workbench.processes.pacing import Pacing


def learn(job: Job) -> None:
    """Make every update of this process's agents."""
    parts = Parts(job)
    trainer, pacing = parts.trainer(), parts.pacing()
    trainer.publish_initial()
    parts.ready()
    if job.lag is None:
        _learn_freely(parts, trainer, pacing)
    else:
        _learn_by_epoch(parts, trainer, pacing)
    parts.progress.report_end(job.index)


def _learn_by_epoch(parts: Parts, trainer: Trainer, pacing: Pacing) -> None:
    progress = parts.progress
    for epoch in range(min(progress.epochs_learned(agent) for agent in trainer.agents), trainer.config.epochs):
        parts.bell.wait_until(partial(pacing.may_learn, epoch), progress)
        for agent in trainer.agents:
            if progress.epochs_learned(agent) <= epoch:
                trainer.config = parts.changes.config
                trainer.epoch(agent, epoch)
                parts.ring_others()


def _learn_freely(parts: Parts, trainer: Trainer, pacing: Pacing) -> None:
    def somebody_may() -> bool:
        return pacing.all_learned(trainer.agents) or any(pacing.updates_allowed(agent) for agent in trainer.agents)

    while not pacing.all_learned(trainer.agents):
        parts.bell.wait_until(somebody_may, parts.progress)
        for agent in trainer.agents:
            if allowed := pacing.updates_allowed(agent):
                trainer.config = parts.changes.config
                trainer.updates(agent, allowed)
                parts.ring_others()

"""A learner process: wait until its agents may learn, update, publish, tell the actor."""

from functools import partial

from workbench.core.processes.worker import Job, Parts
from workbench.core.train.loop import Trainer
from workbench.core.train.pacing import Pacing


def learn(job: Job) -> None:
    """Make every update of this process's agents."""
    parts = Parts(job)
    trainer, pacing = parts.trainer(), parts.pacing()
    trainer.publish_initial()
    parts.ready()
    if parts.lag is None:
        _learn_freely(parts, trainer, pacing)
    else:
        _learn_by_epoch(parts, trainer, pacing)
    parts.progress.report_end(job.index)


def _learn_by_epoch(parts: Parts, trainer: Trainer, pacing: Pacing) -> None:
    progress = parts.progress
    for epoch in range(min(progress.epochs_learned(agent) for agent in trainer.agents), trainer.config.epochs):
        parts.wakeup.wait_until(partial(pacing.may_learn, epoch), progress)
        for agent in trainer.agents:
            if progress.epochs_learned(agent) <= epoch:
                trainer.epoch(agent, epoch)
                parts.notify_others()


def _learn_freely(parts: Parts, trainer: Trainer, pacing: Pacing) -> None:
    agents, progress = trainer.agents, parts.progress

    def may(agent: int) -> bool:
        return not pacing.all_learned([agent]) and (pacing.updates_allowed(agent) > 0 or pacing.may_end(agent))

    while not pacing.all_learned(agents):
        parts.wakeup.wait_until(lambda: pacing.all_learned(agents) or any(map(may, agents)), progress)
        for agent in filter(may, agents):
            epoch = progress.epochs_collected - 1  # before its settings are looked up: they are known then
            trainer.updates(agent, epoch, pacing.updates_allowed(agent))
            if pacing.may_end(agent):
                trainer.end(agent)
            parts.notify_others()

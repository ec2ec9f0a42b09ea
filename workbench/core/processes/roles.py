"""The roles of children, each in a function: the actor, a learner, and both in one process, the sequential baseline.

The actor waits until the next epoch may start, syncs, collects, and tells the learners. A learner waits until its
agents may learn, updates, publishes, and tells the actor. The sequential baseline calls the same parts in turn.
"""

from functools import partial

from workbench.core.processes.worker import Job, Parts
from workbench.core.train.loop import Trainer, run_sequential
from workbench.core.train.pacing import Pacing


def act(job: Job) -> None:
    """Collect every epoch of the run that is not collected yet, then evaluate the last weights."""
    parts = Parts(job)
    collector, pacing = parts.collector(), parts.pacing()
    parts.ready()
    collected = parts.progress.epochs_collected
    if collected:
        collector.evaluator.after_epoch(collected - 1)
    for epoch in range(collected, parts.config.epochs):
        parts.wakeup.wait_until(partial(pacing.may_collect, epoch), parts.progress)
        collector.epoch(epoch, pacing.version_for(epoch))
        parts.notify_others()
        collector.evaluator.after_epoch(epoch)
    parts.wakeup.wait_until(pacing.all_learned, parts.progress)
    parts.progress.report_end(job.index)
    collector.finish()


def learn(job: Job) -> None:
    """Make every update of this process's agents."""
    parts = Parts(job)
    trainer, pacing = parts.trainer(), parts.pacing()
    trainer.publish_initial()
    parts.ready()
    make_updates = _learn_freely if parts.lag is None else _learn_by_epoch
    make_updates(parts, trainer, pacing)
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
            allowed = pacing.updates_allowed(agent)  # before the epoch, which may be a newer one then, and no older
            trainer.updates(agent, progress.epochs_collected - 1, allowed)
            if pacing.may_end(agent):
                trainer.end(agent)
            parts.notify_others()


def act_and_learn(job: Job) -> None:
    """The whole run in this process, at ``parts.lag``."""
    parts = Parts(job)
    trainer, collector = parts.trainer(), parts.collector()
    trainer.publish_initial()
    parts.ready()
    assert parts.lag is not None, "check_launch refuses a free-running sequential run"

    def before_epoch() -> None:
        parts.trim_memory()
        parts.wakeup.wait_until(lambda: not parts.progress.paused, parts.progress)

    run_sequential(collector, trainer, parts.lag, before_epoch)
    parts.progress.report_end(job.index)
    collector.finish()

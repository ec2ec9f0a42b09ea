"""The actor process: wait until the next epoch may start, sync, collect, tell the learners."""

from functools import partial

from workbench.core.processes.worker import Job, Parts


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

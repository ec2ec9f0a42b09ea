"""The sequential baseline in one child process: the same parts as the actor and the learners, called in turn."""

from workbench.core.processes.worker import Job, Parts
from workbench.core.train.loop import run_sequential


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

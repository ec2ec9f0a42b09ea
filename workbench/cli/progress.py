"""Where a run is, on stderr: a bar on a terminal, a line now and then anywhere else."""

import sys
import threading
import time
from collections.abc import Sequence

from tqdm import tqdm

from workbench.cli.sentences import said
from workbench.runs.compare import Comparison
from workbench.runs.run import Run
from workbench.runs.table import plain

REFRESH_S = 0.25
# Seconds between two lines where there is no terminal, as in a log file.
LINE_EVERY_S = 10.0
BAR = "{percentage:3.0f}% |{bar:20}| {remaining} left  {desc}"

tqdm.monitor_interval = 0  # no thread of its own
tqdm.set_lock(threading.RLock())  # else it makes a semaphore that other processes could share


def follow(job: Run | Comparison, runs: Sequence[Run]) -> None:
    """Start a job and show its progress until it has ended; an interruption stops it in order first.

    Args:
        job: what is started, waited for and stopped.
        runs: its runs, in the order in which they are made.

    Raises:
        ChildFailed: a child of one of the runs failed.
        KeyboardInterrupt: the user interrupted; the children have left.
    """
    waiting = list(runs)
    try:
        with tqdm(bar_format=BAR, leave=False, dynamic_ncols=True, disable=None, file=sys.stderr) as bar, job:
            try:
                job.start()
                _watch(job, bar, waiting)
            except KeyboardInterrupt:
                _stop(job, runs)
                raise
    finally:
        _report_ended(waiting)


def _stop(job: Run | Comparison, runs: Sequence[Run]) -> None:
    """Stop in order; at once if the user interrupts again. Either way the work done is saved."""
    try:
        _say("stopping in order; Ctrl-C again stops at once")
        job.stop()
    except KeyboardInterrupt:
        _say("stopping at once")
        for run in runs:
            run.stop(now=True)


def where(run: Run) -> str:
    """One line on a run that is under way."""
    return said("progress.where", run=run, now=run.progress)


def outcome(run: Run) -> str:
    """One line on a run that has ended."""
    path = run.folder.path
    resumable = run.status in ("stopped", "failed") and any((path / "checkpoints").glob("*.npz"))
    further = f"; to continue: workbench resume {path}" if resumable else ""
    further += "".join(f"; {text}" for text in run.warnings) if run.status == "stopped" else ""  # nobody waited for it
    further += f"; NOT SAVED, as the disk refused: {', '.join(run.unsaved)}" if run.unsaved else ""
    return said("progress.outcome", run=run, now=run.progress, further=further)


def _watch(job: Run | Comparison, bar: tqdm, waiting: list[Run]) -> None:
    """Until the job has ended, show the first run that has not."""
    next_line = 0.0
    while True:
        try:
            job.wait(REFRESH_S)
            return
        except TimeoutError:
            _report_ended(waiting)
        for run in waiting[:1]:
            if not bar.disable:
                _draw(bar, run)
            elif time.monotonic() >= next_line:
                _say(where(run))
                next_line = time.monotonic() + LINE_EVERY_S


def _draw(bar: tqdm, run: Run) -> None:
    done = run.progress["epochs"]
    if done < bar.n or bar.total is None:  # the first look at this run
        bar.reset(run.config.epochs)
    bar.update(done - bar.n)
    bar.set_description_str(plain(where(run)))


def _report_ended(waiting: list[Run]) -> None:
    while waiting and waiting[0].ended:
        _say(outcome(waiting.pop(0)))


def _say(line: str) -> None:
    """Write a line above the bar."""
    tqdm.write(plain(line), file=sys.stderr)

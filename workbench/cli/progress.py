"""Where a run is, on stderr: one line that is rewritten on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from workbench.runs.compare import Comparison
from workbench.runs.run import Run

REFRESH_S = 0.25
LINE_EVERY_S = 10.0
"""Seconds between two lines where they cannot be rewritten, as in a log file."""


class ProgressLine:
    """A line of text that is replaced by the next one, if the stream can do that."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rewrites = stream, stream.isatty()
        self._next_time = 0.0

    def show(self, text: str) -> None:
        """Show how things stand now."""
        if self._rewrites:
            self._write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
        elif time.monotonic() >= self._next_time:
            self._next_time = time.monotonic() + LINE_EVERY_S
            self._write(text + "\n")

    def keep(self, text: str) -> None:
        """Write a line that stays."""
        self._write(("\r\x1b[K" if self._rewrites else "") + text + "\n")
        self._next_time = 0.0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def follow(job: Run | Comparison, runs: Sequence[Run]) -> None:
    """Start a job and show its progress until it has ended; an interruption stops it in order first.

    Args:
        job: what is started, waited for and stopped.
        runs: its runs, in the order in which they are made.

    Raises:
        ChildFailed: a child of one of the runs failed.
        KeyboardInterrupt: the user interrupted; the children have left.
    """
    line, waiting = ProgressLine(sys.stderr), list(runs)
    try:
        with job:
            try:
                job.start()
                _watch(job, line, waiting)
            except KeyboardInterrupt:
                _stop(job, runs, line)
                raise
    finally:
        _keep_ended(line, waiting)


def _stop(job: Run | Comparison, runs: Sequence[Run], line: ProgressLine) -> None:
    """Stop in order; if the user cannot wait for that, at once. Either way what was done is saved."""
    try:
        line.keep("stopping in order; Ctrl-C again stops at once")
        job.stop()
    except KeyboardInterrupt:
        line.keep("stopping at once")
        for run in runs:
            run.stop(now=True)


def where(run: Run) -> str:
    """One line on a run that goes on."""
    now = run.progress
    return (
        f"{run.label}: {run.status}, epoch {now['epochs']:.0f} of {run.config.epochs}, {now['updates']:,.0f} updates, "
        f"{now['agent_steps_per_s']:,.0f} agent steps/s, {now['updates_per_s']:,.0f} updates/s"
    )


def outcome(run: Run) -> str:
    """One line on a run that has ended."""
    now, path = run.progress, run.folder.path
    resumable = run.status in ("stopped", "failed") and any((path / "checkpoints").glob("*.npz"))
    further = f"; to go on: workbench resume {path}" if resumable else ""
    return (
        f"{run.label}: {run.status} at epoch {now['epochs']:.0f} of {run.config.epochs} "
        f"after {now['elapsed_s']:.1f} s; its records are in {path}{further}"
    )


def _watch(job: Run | Comparison, line: ProgressLine, waiting: list[Run]) -> None:
    while True:
        try:
            job.wait(REFRESH_S)
            return
        except TimeoutError:
            _keep_ended(line, waiting)
            line.show(where(waiting[0]) if waiting else "writing down the results")


def _keep_ended(line: ProgressLine, waiting: list[Run]) -> None:
    while waiting and waiting[0].ended:
        line.keep(outcome(waiting.pop(0)))

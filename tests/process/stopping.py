"""A world that stops the process of the run for a while, and then lets it go on or interrupts it."""

import os
import signal
from dataclasses import dataclass

import numpy as np

from workbench.core.envs.treasurehunt import Treasurehunt, TreasurehuntConfig

STOPPED, LATER, INTERRUPTED = 100, 1000, 1040
"""Epochs of the acting process, greedy ones included, before which it is stopped, goes on, and is interrupted."""


@dataclass(frozen=True)
class StoppingConfig(TreasurehuntConfig):
    """Treasurehunt, where the environment has the number of the run's process in RUN, and what else is done in END."""

    def make(self, rng: np.random.Generator) -> Treasurehunt:
        """The world."""
        return Stopping(self, rng)


class Stopping(Treasurehunt):
    """Counts all epochs that its process begins."""

    epochs = 0

    def reset(self) -> None:
        """Begin an epoch, and do what is due before it."""
        super().reset()
        run = int(os.environ.get("RUN", os.getpid()))
        if run == os.getpid():  # which plays with the policies that rewards are compared with
            return
        Stopping.epochs += 1
        due = {STOPPED: signal.SIGSTOP, LATER: signal.SIGCONT}
        if os.environ.get("END") == "interrupted":
            due[INTERRUPTED] = signal.SIGINT
        if Stopping.epochs in due:
            os.kill(run, due[Stopping.epochs])

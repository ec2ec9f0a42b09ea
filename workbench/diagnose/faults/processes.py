"""Faults of processes: killed, hung, or killed in the middle of a publication (catalogue P1 to P3)."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.faults.fault import Fault, override
from workbench.diagnose.sentences import said


def _kill_this_process() -> None:
    """No handler, no farewell."""
    signal.raise_signal(signal.SIGKILL)


class _Ends(Fault):
    """Something happens to one process in an epoch of the run, and not again to the one that takes its place."""

    def last(self, config: Config, lag: int | None) -> int:
        """The last point of the run at which it can happen."""
        return config.epochs - 1

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """It takes that process, and a run that gets so far."""
        last = self.last(config, lag)
        late = said("faults.too late", strength=self.strength, last=last) if self.strength > last else ""
        return super().why_not(config, mode, lag) or late


class _LearnerEnds(_Ends):
    """Something happens to the learner of agent 0 when it would make its updates of an epoch: what ``happens`` does."""

    happens: Callable[[], object]

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """The first updates in or after that epoch are not made."""

        def learn(original: Any, index: int, epoch: int, *rest: Any) -> None:
            """Learn, unless it is time."""
            if epoch >= self.strength:
                self.happens()
            original(index, epoch, *rest)

        if 0 in trainer.agents and not parts.job.restarts:
            override(trainer, "learn", learn)


class KillLearner(_LearnerEnds):
    """A learner is killed. In the original this went unnoticed, and its agent acted on, frozen."""

    happens = staticmethod(lambda: _kill_this_process())


class HangLearner(_LearnerEnds):
    """A learner hangs: the system sees it alive, but it never does anything again, as it waits for what never comes."""

    happens = staticmethod(lambda: threading.Event().wait())


class KillActor(_Ends):
    """The actor is killed. In the original that looked like a run that had finished."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """It dies in the middle of that epoch, with rows half written."""

        def act(original: Any, *arguments: Any) -> Any:
            """Act in the world, unless it is time."""
            if collector.progress.epochs_collected == self.strength:
                _kill_this_process()
            return original(*arguments)

        if not parts.job.restarts:
            override(collector.world, "act", act)


class KillWhileWriting(_Ends):
    """A learner is killed with half of a snapshot written. With a lock, the others would now wait forever.

    Here no process waits: the last whole version can still be read, and the supervisor says which process died.
    """

    def last(self, config: Config, lag: int | None) -> int:
        """The run's last publication."""
        return config.epochs if lag is not None else -(-config.total_updates // config.pacing.publish_interval)

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Agent 0's learner dies in that publication."""

        def snapshot(original: Any, out: NDArray[np.float32]) -> None:
            """Write the snapshot; of the one in question the first half, and die."""
            before = out.copy()
            original(out)
            if store.newest + 1 == self.strength:
                out[len(out) // 2 :] = before[len(out) // 2 :]
                _kill_this_process()

        if 0 in trainer.agents and not parts.job.restarts:
            store = trainer.stores[0]
            override(trainer.agents[0], "snapshot", snapshot)

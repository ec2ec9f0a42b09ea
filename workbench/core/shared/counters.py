"""Counters of what has been done: who is ready, how many epochs are collected, how many updates are made.

One block for the whole run, one writer for each word. Pacing decides from these counters alone who may continue; the
parent reads them for the status line. The digests that prove two runs equal are continued here, step by step.
"""

import time

import numpy as np
from numpy.typing import NDArray

from workbench.core.digest import chain
from workbench.core.sentences import beside
from workbench.core.shared.layout import Arrays, Counter, Layout, fields_of

TIMES_KEPT = 256  # epochs


class Progress:
    """The counters of one run, over arrays that :meth:`layout` describes."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._collected, self._stop = Counter(arrays["epochs_collected"]), Counter(arrays["stop"])
        self._learned, self._updates = Counter(arrays["epochs_learned"]), Counter(arrays["updates"])

    @staticmethod
    def layout(num_agents: int, num_processes: int) -> Layout:
        """The table for a run of ``num_agents`` agents in ``num_processes`` child processes."""
        sizes = {"agents": num_agents, "processes": num_processes, "times": TIMES_KEPT}
        return Layout("progress", fields_of(beside(__file__), sizes))

    # --- stop and start --------------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether the parent has asked the children to leave in order."""
        return bool(self._stop.get())

    def request_stop(self) -> None:
        """Ask the children to leave in order. They look when they are woken."""
        self._stop.set(1)

    def report_ready(self, process: int) -> None:
        """A child has built its parts."""
        self._arrays["ready_time"][process] = time.monotonic()

    def ready(self) -> list[bool]:
        """Of each child, whether it has built its parts."""
        return [bool(built) for built in np.isfinite(self._arrays["ready_time"])]

    def open_barrier(self) -> None:
        """Let the children start; throughput is measured from here."""
        self._arrays["start_time"][0] = time.monotonic()

    @property
    def started(self) -> bool:
        """Whether the barrier is open."""
        return bool(np.isfinite(self._arrays["start_time"][0]))

    @property
    def start_time(self) -> float:
        """When the barrier opened, by time.monotonic(), which the processes of a machine share; nan before."""
        return float(self._arrays["start_time"][0])

    @property
    def end_time(self) -> float:
        """When the last process was done with its work, by time.monotonic(); nan before."""
        return float(self._arrays["end_time"].max())

    def report_end(self, process: int) -> None:
        """A process is done with its work; the evaluation after the last update is not counted as work."""
        self._arrays["end_time"][process] = time.monotonic()

    def ended(self, process: int) -> bool:
        """Whether a process is done with its work."""
        return bool(np.isfinite(self._arrays["end_time"][process]))

    def beat(self, process: int) -> None:
        """A process is at work: it has made a turn or an update, or it waits and was awake for a moment."""
        self._arrays["heartbeats"][process] += 1

    def heartbeats(self) -> list[int]:
        """How many heartbeats there were of each process."""
        return [int(beats) for beats in self._arrays["heartbeats"]]

    # --- what has been done ----------------------------------------------------------------------------------------

    @property
    def epochs_collected(self) -> int:
        """Epochs that the actor has committed to the replays."""
        return self._collected.get()

    def add_rewards(self, rewards: NDArray[np.float64]) -> None:
        """Continue the digests with the rewards of an epoch, (agents,) float64."""
        for digest, reward in zip(self._arrays["reward_digest"], rewards, strict=True):
            _continue(digest, reward.tobytes())

    def report_collected(self, epochs: int) -> None:
        """``epochs`` epochs are committed to the replays."""
        self._arrays["collected_at"][(epochs - 1) % TIMES_KEPT] = time.monotonic()
        self._collected.set(epochs)

    def collected_at(self, epoch: int) -> float:
        """When an epoch was committed, by time.monotonic(); nan before, and when :data:`TIMES_KEPT` came after it."""
        kept = 0 < self.epochs_collected - epoch < TIMES_KEPT  # the place of the oldest may just be written
        return float(self._arrays["collected_at"][epoch % TIMES_KEPT]) if kept else np.nan

    def updates(self, agent: int) -> int:
        """Updates of an agent so far."""
        return self._updates.get(agent)

    def skipped(self, agent: int) -> int:
        """Updates of an agent that were left out so far."""
        return int(self._arrays["skipped"][agent])

    def settled(self, agent: int) -> int:
        """Updates of an agent that were made or left out so far."""
        return self.updates(agent) + self.skipped(agent)

    def epochs_learned(self, agent: int) -> int:
        """Epochs whose updates an agent has made and published."""
        return self._learned.get(agent)

    def report_updates(self, agent: int, updates: int, losses: NDArray[np.float32]) -> None:
        """An agent has made more updates; ``losses`` are theirs, in order."""
        for loss in losses:
            _continue(self._arrays["loss_digest"][agent], loss.tobytes())
        self._updates.set(updates, agent)

    def report_skipped(self, agent: int, updates: int) -> None:
        """An agent has left out that many updates in all."""
        self._arrays["skipped"][agent] = updates

    def report_learned(self, agent: int, epochs: int) -> None:
        """An agent's updates for ``epochs`` epochs are made and published."""
        self._learned.set(epochs, agent)

    def frozen(self, agent: int) -> bool:
        """Whether an agent learns no more, because its learner is gone and the run continues without it."""
        return bool(self._arrays["frozen"][agent])

    def freeze(self, agent: int) -> None:
        """Continue without an agent's learning: nobody waits for its updates any more."""
        self._arrays["frozen"][agent] = 1

    @property
    def paused(self) -> bool:
        """Whether no new epoch may begin."""
        return bool(self._arrays["paused"][0])

    def pause(self, paused: bool) -> None:
        """Let no new epoch begin, or let the run continue. Waiters look when they are woken."""
        self._arrays["paused"][0] = paused

    # --- where one process takes the place of another ---------------------------------------------------------------

    def digests(self) -> dict[str, NDArray[np.uint8]]:
        """Chains over all rewards and all losses so far, (agents, 32) uint8 each."""
        return {"rewards": self._arrays["reward_digest"].copy(), "losses": self._arrays["loss_digest"].copy()}

    def restore_rewards(self, digests: NDArray[np.uint8]) -> None:
        """Go back to the digests of all rewards, (agents, 32) uint8, that :meth:`digests` gave."""
        self._arrays["reward_digest"][:] = digests

    def restore_updates(self, agent: int, updates: int, digest: NDArray[np.uint8]) -> None:
        """Go back to that many updates of an agent, and to the digest of its losses then, (32,) uint8."""
        self._arrays["loss_digest"][agent] = digest
        self._updates.set(updates, agent)

    def forget_ready(self, process: int) -> None:
        """A process is about to be restarted."""
        self._arrays["ready_time"][process] = np.nan


def _continue(digest: NDArray[np.uint8], data: bytes) -> None:
    digest[:] = np.frombuffer(chain(digest.tobytes(), data), np.uint8)

"""The parent's side of checkpoints: gather what the processes have left, have it written, and put it back.

Files are written in a thread of their own, so that a slow disk delays neither the watching thread nor the run.
"""

import threading
from collections.abc import Callable

import numpy as np

from workbench.core.processes.supervisor import Supervisor
from workbench.core.shared.layout import Arrays
from workbench.core.train.hooks import Listener
from workbench.runs.recovery.keepers import places_of

# What a checkpoint holds: arrays by ``owner/name``; owners are "actor", "agent 0" and so on, ``at`` their epochs.
Contents = Arrays


class Checkpoints(Listener):
    """The checkpoints of one run.

    Attributes:
        counters: which checkpoint is wanted, due and kept.
    """

    def __init__(
        self, supervisor: Supervisor, keep_records: Callable[[], bool], write: Callable[[int, Contents], object]
    ) -> None:
        """Watch over a run.

        Args:
            supervisor: of the run.
            keep_records: puts every record so far on disk and says whether it could: without them a checkpoint would
                leave a gap in the history.
            write: writes the checkpoint of an epoch; the arrays change once it returns.
        """
        self._supervisor, self._keep_records, self._write = supervisor, keep_records, write
        self._shared, self._progress = supervisor.shared, supervisor.progress
        agents = [f"agent {index}" for index in range(len(self._shared.replays))]
        found = {owner: places_of(owner, self._shared) for owner in ["actor", *agents]}
        self._journals = {owner: journal for owner, (journal, *_) in found.items()}
        self.counters = found["actor"][2]
        self._copies = {owner: copies for owner, (_, copies, *_) in found.items() if copies is not None}
        self._written = {owner: blocks for owner, (*_, blocks) in found.items()}
        self._writer: threading.Thread | None = None

    def look(self) -> None:
        """Have a complete checkpoint written, after the records of what it holds."""
        if (self._writer is not None and self._writer.is_alive()) or (complete := self.complete()) is None:
            return
        self._supervisor.drain()
        if self._keep_records():
            self._writer = threading.Thread(target=self.write, args=complete, name="checkpoint", daemon=True)
            self._writer.start()

    def write(self, epoch: int, contents: Contents) -> None:
        """Have a checkpoint written; the processes may leave the next one then."""
        try:
            self._write(epoch, contents)
        finally:
            self.counters.kept.set(epoch)

    def end(self) -> None:
        """Keep the run as it was left, so that it can be resumed however it ended."""
        if self._writer is not None:
            self._writer.join()
        if (contents := self.as_left()) is not None and self._keep_records():
            self._write(self._progress.epochs_collected, contents)

    def complete(self) -> tuple[int, Contents] | None:
        """The checkpoint that every process has left its part of, until it is written; None if there is none.

        An agent whose learning was given up is taken as it was left.
        """
        due = self.counters.due.get()
        if not self._copies or due <= self.counters.kept.get():
            return None
        contents: Contents = {}
        for owner, copies in self._copies.items():
            if owner != "actor" and self._progress.frozen(int(owner.split()[1])):
                contents |= self._as_left(owner)
            elif copies.step == due:
                contents |= _under(owner, copies.load(), copies.step)
            else:
                return None
        return due, contents

    def as_left(self) -> Contents | None:
        """The run as its processes have left it, all of which must be gone.

        None if one of them never got to begin, or no checkpoints are kept.
        """
        if not self._copies or any(journal.step < 0 for journal in self._journals.values()):
            return None
        return {name: array for owner in self._journals for name, array in self._as_left(owner).items()}

    def put_back(self, contents: Contents, epoch: int) -> None:
        """Lay a checkpoint of such a run into memory that no process has used yet; the children continue from it."""
        for owner, journal in self._journals.items():
            state = {key.removeprefix(f"{owner}/"): contents[key] for key in contents if key.startswith(f"{owner}/")}
            for name, block in self._written[owner].items():
                block[:] = state.pop(name)
            journal.save(int(state.pop("at")), state)
        self.counters.begin(epoch)
        self.counters.kept.set(epoch)
        progress = self._progress  # what was done counts also for a run that is stopped before its children start
        progress.report_collected(epoch)
        progress.restore_rewards(contents["actor/rewards"])
        for agent in range(len(self._shared.replays)):
            updates, losses, learned = (contents[f"agent {agent}/{name}"] for name in ("updates", "losses", "learned"))
            progress.restore_updates(agent, int(updates), losses)
            progress.report_learned(agent, int(learned))

    def _as_left(self, owner: str) -> Contents:
        journal = self._journals[owner]
        return _under(owner, journal.load() | self._written[owner], journal.step)


def _under(owner: str, state: Contents, step: int) -> Contents:
    return {f"{owner}/{name}": array for name, array in state.items()} | {f"{owner}/at": np.array(step)}

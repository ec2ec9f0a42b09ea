"""Records that come twice, or too early, because a process's place was taken or a run was resumed.

A process that takes a dead one's place continues from the last state that was kept, and does what followed it again.
What was recorded of that before is the same to the last digit in a deterministic run, and must not be counted twice.
Each record has a key that grows with every record of its agent and kind: the update, the epoch, the version. The table
of a hook has one if it has the fields "agent" and "number".
"""

import numpy as np
from numpy.typing import NDArray

from workbench.core.records import EventKind, Records
from workbench.runs.history import History

_AT_ONCE = 2**16


class Repeats:
    """Drops what is recorded already; lets everything through until a process's place has been taken."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int, int], int] = {}  # greatest key by table, agent and kind
        self._marked: dict[str, int] = {}  # records that were looked at
        self.dropped = 0

    def expect(self, history: History) -> None:
        """Everything that is in the history may come again."""
        for table in history.schema.tables:
            records, marked = history.table(table), self._marked.get(table, 0)
            for start in range(marked, len(records), _AT_ONCE):  # a long run has more of them than memory should hold
                part = records[start : start + _AT_ONCE]
                if found := keys(table, part):
                    for agent, kind, key in np.transpose([part["agent"], *found]).tolist():
                        self._marks[table, agent, kind] = max(key, self._marks.get((table, agent, kind), -1))
            self._marked[table] = len(records)

    def drop(self, table: str, records: Records) -> Records:
        """The records that are new."""
        if not self._marks or (found := keys(table, records)) is None:
            return records
        kind, key = found
        owners = zip(records["agent"].tolist(), kind.tolist(), strict=True)
        new: Records = records[key > [self._marks.get((table, *owner), -1) for owner in owners]]
        self.dropped += len(records) - len(new)
        return new


def keys(table: str, records: Records) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Kind and key of each record, (n,) int64 each; None for a table whose records may come twice."""
    none = np.zeros(len(records), np.int64)
    if table == "evaluations":
        return none, 2 * records["epoch"].astype(np.int64) + records["final"]
    if table == "events":
        published = records["kind"] == EventKind.PUBLISH
        return records["kind"].astype(np.int64), np.where(published, records["version"], records["epoch"])
    column = {"updates": "update", "epochs": "epoch"}.get(table, "number")
    return (none, records[column].astype(np.int64)) if {"agent", column} <= set(records.dtype.names or ()) else None


def until(
    table: str, records: Records, epochs: int, updates: list[int], versions: list[int], evaluated: int
) -> Records:
    """The records of a run up to a checkpoint: what comes after it will be recorded again.

    Args:
        table: the records' table.
        records: (n,) of that table.
        epochs: epochs collected.
        updates: updates of each agent.
        versions: newest published version of each agent.
        evaluated: epochs after which nothing is left to evaluate.
    """
    names = set(records.dtype.names or ())
    if table == "updates":
        kept = records["update"] <= np.array(updates)[records["agent"]]
    elif {"final", "epoch"} <= names:  # of evaluations
        kept = (records["epoch"] < evaluated) & (records["final"] == 0)
    elif table == "events":
        published, newest = records["kind"] == EventKind.PUBLISH, np.array(versions)[records["agent"]]
        kept = np.where(published, records["version"] <= newest, records["epoch"] < epochs)
    elif {"time", "epoch"} <= names:
        kept = records["epoch"] < epochs
    else:  # all of a timeline, and of a table that knows no epochs: what was done was done
        kept = np.full(len(records), True)
    return np.asarray(records[kept])

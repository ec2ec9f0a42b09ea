"""One process's way to the parent: a ring for each table of records, in one block of memory."""

from __future__ import annotations

from collections.abc import Callable

from workbench.core.shared.layout import Arrays, Field, Layout
from workbench.core.shared.record_ring import Ring, RingReader
from workbench.runs.metrics import TABLES, Records

CAPACITY = {"updates": 16384, "epochs": 4096, "events": 8192, "evaluations": 512, "probes": 32768, "spans": 32768}
"""Records that wait for the parent before the oldest is overwritten and counted as lost."""


class Channel:
    """The writing end, held by the process that makes the records."""

    def __init__(self, arrays: Arrays, fence: Callable[[], None] | None = None) -> None:
        rings = {name: Ring(arrays[f"{name}_count"], arrays[name], fence) for name in TABLES}
        self.updates, self.epochs = rings["updates"], rings["epochs"]
        self.events, self.evaluations = rings["events"], rings["evaluations"]
        self.probes, self.spans = rings["probes"], rings["spans"]

    @staticmethod
    def layout() -> Layout:
        """The table of one process's rings."""
        fields = []
        for name, dtype in TABLES.items():
            fields += [Field(f"{name}_count", (1,), "<i8", 0), Field(name, (CAPACITY[name],), dtype, 0)]
        return Layout("telemetry", tuple(fields))


class ChannelReader:
    """The reading end, held by the parent."""

    def __init__(self, arrays: Arrays, fence: Callable[[], None] | None = None) -> None:
        self._readers = {name: RingReader(arrays[f"{name}_count"], arrays[name], fence) for name in TABLES}

    def drain(self) -> dict[str, tuple[Records, int]]:
        """New records of each table, and how many were lost before them."""
        return {name: reader.drain() for name, reader in self._readers.items()}

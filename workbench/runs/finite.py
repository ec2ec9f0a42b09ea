"""Numbers that are not finite: where in a run's records the first one is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from workbench.core.records import Records

# What an actor or a learner computes and writes down, by table.
COMPUTED = {"epochs": ("reward",), "updates": ("loss", "mean_q", "max_q", "td_error", "grad_norm")}


class NotFinite(NamedTuple):
    """A number that is nan or infinite, and whose it is; ``update`` is None for one of an epoch."""

    field: str
    value: float
    agent: int
    epoch: int
    update: int | None

    def __str__(self) -> str:
        where = f"epoch {self.epoch}" if self.update is None else f"update {self.update}, epoch {self.epoch}"
        return f"{self.field.replace('_', ' ')} is {self.value}, agent {self.agent}, {where}"


def first_not_finite(tables: Mapping[str, Records]) -> NotFinite | None:
    """The first number that is not finite, by epoch; None if all are."""
    found = []
    for table, records in tables.items():
        for field in COMPUTED[table]:
            if len(bad := np.flatnonzero(~np.isfinite(records[field]))):
                first = records[bad[np.argmin(records["epoch"][bad])]]
                update = int(first["update"]) if table == "updates" else None
                found.append(NotFinite(field, float(first[field]), int(first["agent"]), int(first["epoch"]), update))
    return min(found, key=lambda each: (each.epoch, each.update or 0), default=None)

"""What runs are to be able to do beside starting and stopping, as far as a panel sees, where they are not yet."""

import time
from types import SimpleNamespace
from typing import Any

from workbench.run import Run

_told: dict[str, dict[str, Any]] = {}


def _of(run: Run) -> dict[str, Any]:
    return _told.setdefault(run.name, {"paused": False, "changes": []})


def _change(run: Run, **values: Any) -> None:
    run.config.replace(**values)
    _of(run)["changes"].append((time.time(), int(run.progress["epochs"]), values))


def _processes(run: Run) -> list[Any]:
    children = run._supervisor.processes
    return [
        SimpleNamespace(
            name=child.name, role=child.name.split()[0], agents=(), pid=child.pid, alive=child.is_alive(),
            silence_s=0.0, restarts=0,
        )
        for child in children
        if child.pid is not None
    ]  # fmt: skip


_PARTS: dict[str, Any] = {
    "pause": lambda run: _of(run).update(paused=True),
    "proceed": lambda run: _of(run).update(paused=False),
    "paused": property(lambda run: _of(run)["paused"]),
    "checkpoint": lambda run: None,
    "change": _change,
    "changeable": ("learning.learning_rate",),
    "changes": property(lambda run: _of(run)["changes"]),
    "processes": property(_processes),
}
for _name, _part in _PARTS.items():
    if not hasattr(Run, _name):
        setattr(Run, _name, _part)

"""A workbench for multiprocess reinforcement learning: one trainer, run sequentially and multiprocess, side by side.

Everything that is offered here is made in :mod:`workbench.api`, which is imported when a name of it is first asked for:
a child process, which needs none of it, starts sooner.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.api import *
else:
    from workbench import runs

    del runs  # the folder is imported once and for all, so its name stays free for the function that lists runs

def __getattr__(name: str) -> Any:
    if name != "__all__" and name.startswith("_"):
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    api = import_module("workbench.api")
    if name == "__all__":
        return api.__all__
    if name not in api.__all__:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))

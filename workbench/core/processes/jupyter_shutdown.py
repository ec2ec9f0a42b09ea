"""The kernel of a notebook, where this process is one: when it shuts down, it ends every child by itself."""

from __future__ import annotations

import sys


def kernel_is_ending() -> bool:
    """Whether this process is a kernel that was told to shut down or to restart.

    Its children are then ended one by one, with SIGTERM and again with SIGTERM, which nobody should take for deaths to
    be made good (ipykernel, ``Kernel._at_shutdown``).
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return bool(getattr(shell, "exit_now", False))

"""Memory that a process has freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of the GNU C library; other libraries of C have none."""


def give_back() -> None:
    """Give freed memory back, also that which lies between pieces in use.

    The library does this by itself only for the end of the heap. What lies before a piece that happens to be in use
    stays, and how much that is differs from one process to the next and changes for no reason.
    """
    if _trim is not None:
        _trim(0)

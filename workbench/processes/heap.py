"""Memory that a process frees stays with it, instead of going back to the system and being asked for anew.

Every update of a learner takes arrays of some hundreds of KiB and frees them again. Those at the end of the heap the
GNU allocator gives back, and the system then hands out other pages for the next update, each of which it must fill with
zeros: by chance of where they lie, 3 to 260 page faults per update of the default run. Kept, they cost none, and the
process holds the same memory before and after an update.

Source: mallopt(3). Setting either threshold also ends the allocator's own adjustment of both.
"""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the parameters in ``malloc.h``; the standard library has no such call."""
KEPT = 256 << 20
"""Bytes of free memory at the end of the heap above which it is given back all the same."""
FROM_HEAP = 32 << 20
"""Bytes from which an array gets pages of its own, which it gives back; the most that the allocator takes."""
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")
"""Environment variables by which a user may have decided otherwise."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, unless the environment says how it is to be done.

    Returns:
        Whether the allocator took it. One that does not know it leaves everything as it was.
    """
    if sys.platform != "linux" or any(name in os.environ for name in SETTINGS):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return all(
        set_option(parameter, number) for parameter, number in ((TRIM_THRESHOLD, KEPT), (MMAP_THRESHOLD, FROM_HEAP))
    )

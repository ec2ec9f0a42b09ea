"""How long a process asks to keep its core when more processes than cores want to run.

A learner's weights, moments and batch fill a core's cache. Linux gives a normal process about 1.4 ms at a time on a
machine of 2 cores, so that with a learner per agent each comes back to a cache that others have filled: asking for
100 ms makes such a run about an eighth faster (``tests.campaigns.bench`` measures both). It takes no time from any
other process: shares stay equal, and one that asks for less, such as a notebook's kernel, still runs first when it
wakes.

Source: sched_setattr(2); Linux honours ``sched_runtime`` of a normal process since 6.12 and ignored it before.
"""

import ctypes
import os
import platform
import struct
import sys

from workbench.core.processes.worker import Parts
from workbench.core.train.hooks import Hook

SYSTEM_CALL = {"x86_64": 314, "aarch64": 274}  # sched_setattr by machine; the standard library has no such call
# Size, policy, flags, nice, priority, runtime (ns), deadline, period, and two bounds of utilisation.
ATTRIBUTES = struct.Struct("=IIQiIQQQII")


class TimeSlice(Hook):
    """Has every process ask for what ``processes.time_slice_ms`` says."""

    def on_parts(self, parts: Parts) -> None:
        """Ask, before the work begins."""
        ask_for_time_slice(parts.config.processes.time_slice_ms)


def ask_for_time_slice(milliseconds: float) -> bool:
    """Ask for time slices of that length for this process; 0 asks for nothing.

    Returns:
        Whether the system took the request. One that does not know it, or refuses it, leaves everything as it was.
    """
    number = SYSTEM_CALL.get(platform.machine())
    if not milliseconds or number is None or sys.platform != "linux":
        return False
    nice, runtime = os.getpriority(os.PRIO_PROCESS, 0), round(milliseconds * 1e6)
    attributes = ATTRIBUTES.pack(ATTRIBUTES.size, os.sched_getscheduler(0), 0, nice, 0, runtime, 0, 0, 0, 0)
    return not ctypes.CDLL(None).syscall(number, 0, attributes, 0)

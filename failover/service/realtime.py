"""As punctual as the machine lets us be: SCHED_FIFO, locked memory, no garbage collection in the middle of a beat."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from typing import Final

_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4  # linux/mman.h: what is there, what comes, each page once it is used


def become_punctual(priority: int) -> str:
    """Ask for SCHED_FIFO ``priority`` (0: none); return what was got, in words. Never fails: late ticks gate."""
    gc.collect()
    gc.freeze()  # what was loaded stays
    gc.set_threshold(50_000, 50, 50)
    locked = _lock_memory()
    if not priority:
        return f"ordinary scheduling, as configured; {locked}"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        return f"ordinary scheduling: SCHED_FIFO {priority} is refused ({error.strerror}); grant LimitRTPRIO; {locked}"
    return f"SCHED_FIFO {priority}, {locked}"


def _lock_memory() -> str:
    """A page that went to disk makes a late beat. Only with no limit on it: locking in part fails later, in malloc."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return "memory not locked (LimitMEMLOCK is not infinity)"
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        return f"memory not locked ({os.strerror(ctypes.get_errno())})"
    return "memory locked"

"""A full memory barrier from Python, where the machine needs one.

x86 keeps loads in order and stores in order, which is all that the ring's stamps need. Arm does not. There the barrier
is ``atomic_thread_fence`` of libatomic, or, without that library, sched_yield(2): the kernel's scheduler passes a full
barrier (``smp_mb__after_spinlock`` in ``__schedule``) even when it goes on with the same task.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from typing import Final

_SEQ_CST: Final = 5  # memory_order_seq_cst of C11
_ORDERED: Final = frozenset({"x86_64", "AMD64", "i686"})


def _nothing() -> None:
    return None


def choose(machine: str) -> Callable[[], None]:
    """Return the barrier for a machine as named by ``platform.machine()``."""
    if machine in _ORDERED:
        return _nothing
    try:
        library = ctypes.CDLL("libatomic.so.1")
    except OSError:
        return os.sched_yield
    thread_fence = library.atomic_thread_fence
    thread_fence.argtypes = [ctypes.c_int]
    thread_fence.restype = None

    def fence() -> None:
        thread_fence(_SEQ_CST)

    return fence


fence: Final = choose(platform.machine())

"""A process that measures: on its CPUs, under SCHED_FIFO and with locked memory where granted, bounded in time."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from array import array
from collections.abc import Callable
from typing import Final, NoReturn

from touchline.errors import ResourceError

PRIORITY: Final = 80
_GRACE_S: Final = 10  # beyond what was asked; then the alarm ends a process that hangs
_MCL_CURRENT_FUTURE: Final = 3  # <sys/mman.h>

Job = Callable[[tuple[bool, bool]], "array[int]"]
"""Gets (SCHED_FIFO granted, memory locked) and returns whole numbers."""


class Measurer:
    """Starts at once; :meth:`result` waits for its numbers."""

    def __init__(self, job: Job, cpus: frozenset[int] | None, seconds: float) -> None:
        sys.stdout.flush()
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _be_measurer(job, cpus, seconds, writer)
        os.close(writer)

    def result(self) -> list[int]:
        """The job's numbers. Raises ResourceError with its last word when it failed."""
        with os.fdopen(self._reader, "rb") as stream:
            data = stream.read()
        _, status = os.waitpid(self._pid, 0)
        if status != 0:
            word = data.decode(errors="replace") or f"wait status {status}"
            raise ResourceError(
                f"a measuring process failed: {word}", hint="name a CPU that is online and allowed, or none (--cpu)"
            )
        numbers = array("q")
        numbers.frombytes(data)
        return numbers.tolist()


def _be_measurer(job: Job, cpus: frozenset[int] | None, seconds: float, writer: int) -> NoReturn:
    """The child's whole life. It leaves by _exit: what the parent has open is not its business."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + _GRACE_S)
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        gc.disable()
        locked = ctypes.CDLL(None).mlockall(_MCL_CURRENT_FUTURE) == 0
        _write_all(writer, job((_real_time(), locked)).tobytes())
        status = 0
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        _write_all(writer, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(status)


def _real_time() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return False
    return True


def _write_all(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]

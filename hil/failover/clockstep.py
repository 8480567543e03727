"""A step of one node's system time without touching this machine's clock.

The programs of one node get a ``sitecustomize`` that adds to CLOCK_REALTIME what a file says; monotonic time, which
everything that must not jump goes by, stays as it is. So the node sees exactly what a step of its own clock would
show it. Not possible this way: steps of a PTP hardware clock, of timers that the kernel itself runs on real time, and
of programs that are not Python (nodes run none that look at the time).
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = "TOUCHLINE_HIL_STEP_FILE"
PAGE_BYTES: Final = 4096

_SHIM: Final = f'''\
"""Real time plus a step; written by hil.failover.clockstep."""
import mmap, os, time

def _install(path):
    with open(path, "rb") as file:
        page = mmap.mmap(file.fileno(), {PAGE_BYTES}, prot=mmap.PROT_READ)
    step_ns = lambda: int.from_bytes(page[:8], "little", signed=True)
    real_time, real_time_ns = time.time, time.time_ns
    real_clock, real_clock_ns = time.clock_gettime, time.clock_gettime_ns
    is_real = lambda clock: clock == time.CLOCK_REALTIME
    time.time = lambda: real_time() + step_ns() / 1e9
    time.time_ns = lambda: real_time_ns() + step_ns()
    time.clock_gettime = lambda clock: real_clock(clock) + (step_ns() / 1e9 if is_real(clock) else 0.0)
    time.clock_gettime_ns = lambda clock: real_clock_ns(clock) + (step_ns() if is_real(clock) else 0)

if os.environ.get("{ENVIRONMENT}"):
    _install(os.environ["{ENVIRONMENT}"])
'''


class SteppedClock:
    """The system time of programs that run with :attr:`env`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SHIM)
        file = folder / "step"
        file.write_bytes(bytes(PAGE_BYTES))
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), PAGE_BYTES)
        self.env = {"PYTHONPATH": str(folder), ENVIRONMENT: str(file)}

    def set(self, step_ns: int) -> None:
        """Step to real time plus ``step_ns``."""
        self._page[:8] = step_ns.to_bytes(8, "little", signed=True)

    def close(self) -> None:
        """Give the page back; the last step stays with those who run."""
        self._page.close()

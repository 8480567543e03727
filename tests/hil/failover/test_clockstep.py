"""A stepped clock is seen by Python programs that run with it, as a step of real time and of nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hil.failover.clockstep import SteppedClock
from touchline.timeline import monotonic_ns, utc_s

LOOK = "import time; print(time.time(), time.time_ns(), time.clock_gettime(time.CLOCK_REALTIME), time.monotonic_ns())"


def look(env: dict[str, str]) -> list[float]:
    argv = [sys.executable, "-c", LOOK]
    done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def test_real_time_steps_and_monotonic_time_does_not(tmp_path: Path):
    clock = SteppedClock(tmp_path / "clock")
    for step_s in (0, 3600, -5):
        clock.set(step_s * 10**9)
        began_s, began_ns = utc_s(), monotonic_ns()
        seconds, ns, other, monotonic = look(clock.env)
        for value in (seconds, ns / 1e9, other):
            assert began_s - 1.0 <= value - step_s <= utc_s() + 1.0
        assert began_ns <= monotonic <= monotonic_ns()
    clock.close()

"""The drill's watchdog: a process of its own that switches the links on again, whatever becomes of the drill.

    python -m failover.guard PLAN SECONDS

It says ``ready``, waits, and restores when its standard input ends (the drill is over, or its process is), when
SECONDS have passed since the drill said ``cut``, or at SIGTERM. Then it says in one JSON line how that went and removes
the plan. It imports nothing that it would have to load later.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path

from failover.cut import Plan, apply_plan
from touchline.timeline import monotonic_ns


def guard(path: Path, seconds: float, *, stdin: int = 0, stdout: int = 1) -> int:
    """Wait and restore; returns the exit code: 0 when everything is as it was."""
    plan = Plan.load(path.read_text())
    wake, knock = os.pipe()
    os.set_blocking(knock, False)
    signal.set_wakeup_fd(knock, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.write(stdout, b"ready\n")
    until_ns = plan.until_ns
    cut = False
    while True:
        wait_s = max(0.0, (until_ns - monotonic_ns()) * 1e-9)
        ready = select.select([stdin, wake], [], [], wait_s)[0]
        if not ready or wake in ready or not os.read(stdin, 64):
            break
        if not cut:
            cut, until_ns = True, min(until_ns, monotonic_ns() + round(seconds * 1e9))
    restored = apply_plan(plan)
    path.unlink(missing_ok=True)
    line = json.dumps({"at_ns": restored.at_ns, "trouble": restored.trouble})
    with contextlib.suppress(OSError):  # the drill was killed: nobody listens
        os.write(stdout, line.encode() + b"\n")
    return 1 if restored.trouble else 0


if __name__ == "__main__":
    sys.exit(guard(Path(sys.argv[1]), float(sys.argv[2])))

"""A drill's process for the tests: cuts and waits to be killed or told to restore. run_dir, seconds, links."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from failover.cut import LinkCut

if __name__ == "__main__":
    cut = LinkCut(sys.argv[3:], Path(sys.argv[1]))
    cut.prepare(float(sys.argv[2]))
    guard = cut._guard
    assert guard is not None
    cut.cut()
    sys.stdout.write(f"{guard.pid}\n")
    sys.stdout.flush()
    sys.stdin.readline()
    restored = cut.restore()
    sys.stdout.write(json.dumps(restored.trouble) + "\n")

"""Every benchmark in turn: ``python -m benchmarks [--json FILE] [NAME ...]``; exit 8 if a bar is missed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import machine

NAMES = ("publish", "ring", "pipeline", "tracker", "engine", "clock", "failover", "thermal", "virtual")


def main(argv: Sequence[str] | None = None) -> int:
    """Run them and, with ``--json``, write all rows to one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python -m benchmarks --json all.json ring publish"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--json", type=Path, default=None, help="write every row to this file")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    document: dict[str, Any] = {"machine": machine(), "rows": []}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or NAMES:
            print(f"\n== {name}", flush=True)
            part = Path(folder) / f"{name}.json"
            argv_of_one = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(part)]
            if subprocess.run(argv_of_one, check=False).returncode != 0:
                missed.append(name)
            document["rows"] += json.loads(part.read_text())["rows"] if part.exists() else []
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nmissed a bar: {', '.join(missed)}" if missed else "\nevery bar holds")
    return 8 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

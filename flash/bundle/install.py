#!/usr/bin/env python3
"""Install the Touchline bundle that this file lies in:  sudo python3 install.py [--help]

Needs nothing but Python 3.10: the installer itself is in our wheel, which is checked before it is loaded.
"""

import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def fail(message: str, fix: str, code: int) -> None:
    """One line, the fix below it, and the exit code of its kind."""
    sys.stderr.write(f"touchline: {message}\n      fix: {fix}\n")
    sys.exit(code)


def main() -> None:
    """Load the installer from our wheel and run it."""
    if sys.version_info < (3, 10):  # noqa: UP036 - run by whatever Python the node has
        found = ".".join(map(str, sys.version_info[:3]))
        fail(f"this is Python {found}, and 3.10 is the oldest that works", "run install.py with a newer one", 5)
    copy_again = "copy the bundle again; the one that you have is damaged"
    try:
        files = json.loads((HERE / "manifest.json").read_text())["files"]
        ours = next(one for one in files if one["path"].startswith("wheels/touchline-"))
        good = hashlib.sha256((HERE / ours["path"]).read_bytes()).hexdigest() == ours["sha256"]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        fail(f"the bundle in {HERE} cannot be read: {error!r}", copy_again, 4)
    if not good:
        fail(f"{ours['path']} is not what was packed", copy_again, 4)
    sys.path.insert(0, str(HERE / ours["path"]))
    from flash.bundle.node.main import main as install

    sys.exit(install(sys.argv[1:], HERE))


if __name__ == "__main__":
    main()

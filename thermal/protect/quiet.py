"""The word to writers: keep your files on this disk closed. A small file in a run folder; the protect service's.

Whoever writes to the guarded disk asks :class:`QuietFlag` now and then (a stat call every ``LOOK_NS``) and, while it
answers, closes what it has open for writing and counts what it cannot keep. No acknowledgement: the remount succeeds
when the last file is closed. A word older than ``VALID_NS`` is void: a service that died must not silence a match.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from thermal.whole import write_whole

FILE: Final = "quiet.json"
VALID_NS: Final = 180_000_000_000  # three looks of the longest disk_look_s
LOOK_NS: Final = 200_000_000
_MAX_BYTES: Final = 4096


def write_quiet(run_dir: Path, mount: str, why: str, now_ns: int) -> None:
    """Say it, or say it again. Raises OSError."""
    write_whole(run_dir / FILE, json.dumps({"mount": mount, "why": why, "at_ns": now_ns}).encode())


def end_quiet(run_dir: Path) -> None:
    """Take it back. Raises OSError."""
    (run_dir / FILE).unlink(missing_ok=True)


class QuietFlag:
    """The reader's side, for a writer whose files lie in ``folder``. ``run_dir``: ``[node] run_dir``."""

    def __init__(self, run_dir: Path, folder: Path) -> None:
        self._path, self._folder = run_dir / FILE, folder
        self._looked_ns: int | None = None
        self._why = ""

    def why(self, now_ns: int) -> str:
        """Why this writer is to keep its files closed; "" while it may write. Never raises; cheap: call it often."""
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._why = self._read(now_ns)
        return self._why

    def _read(self, now_ns: int) -> str:
        try:
            with self._path.open("rb") as file:
                word = json.loads(file.read(_MAX_BYTES))
            mount, why, at_ns = str(word["mount"]), str(word["why"]), int(word["at_ns"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""
        if not 0 <= now_ns - at_ns <= VALID_NS:
            return ""
        inside = os.path.commonpath([os.path.realpath(self._folder), os.path.normpath(mount)])
        return why if inside == os.path.normpath(mount) else ""

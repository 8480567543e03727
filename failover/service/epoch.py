"""The highest epoch that this node has heard of, kept across restarts of its service.

Without it, both nodes started again while the witness is away would send records under epoch 0, which the rack takes
for older than all it had. Written by a thread of its own, at each change: the loop never waits. A file that cannot be
believed is named and counts as none; the witness's next grant is above every epoch that anybody knows.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from failover.durable import MAX_FILE_BYTES, checked_line, read_checked, replace_file
from failover.wire.beats import MAX_EPOCH
from touchline.timeline import utc_text

EPOCH_FILE: Final = "epoch"
RETRY_S: Final = 10.0
_FORMAT: Final = "touchline failover epoch 1"
_LOG: Final = logging.getLogger("failover")


def to_text(epoch: int, when: str) -> str:
    """The line of the file."""
    return checked_line({"format": _FORMAT, "epoch": epoch, "written": when})


def from_text(text: str) -> int:
    """Read the file's line. Raises ValueError in plain words for anything that :func:`to_text` did not write."""
    epoch = read_checked(text, _FORMAT).get("epoch")
    if type(epoch) is not int or not 0 <= epoch <= MAX_EPOCH:
        raise ValueError("the epoch is out of range")
    return epoch


class EpochFile:
    """See the module. ``found``: what the last life knew, 0 for nothing; ``damage``: why a file was not believed.

    ``trouble``: why the disk does not take it, in words; tried again every ten seconds.
    """

    def __init__(self, folder: Path, retry_s: float = RETRY_S) -> None:
        self._path, self._retry_s = folder / EPOCH_FILE, retry_s
        self.damage = ""
        self.trouble = ""
        self.found = self._read()
        self._wanted = self._written = self.found
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="failover-epoch", daemon=True)
        self._thread.start()

    def keep(self, epoch: int) -> None:
        """Have it written, if it is higher than what is. Never waits."""
        if self._wanted < epoch <= MAX_EPOCH:
            self._wanted = epoch
            self._wake.set()

    def close(self, wait_s: float = 1.0) -> None:
        """Write what is not written yet, for at most ``wait_s``."""
        self._closing = True
        self._wake.set()
        self._thread.join(wait_s)

    def _read(self) -> int:
        try:
            with self._path.open("rb") as file:
                return from_text(file.read(MAX_FILE_BYTES + 1).decode())
        except FileNotFoundError:
            return 0
        except (ValueError, OSError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            self.damage = f"{self._path}: {error}; it counts as absent and is written anew"
            return 0

    def _run(self) -> None:
        while True:
            self._wake.wait(self._retry_s if self.trouble else None)
            self._wake.clear()
            closing = self._closing
            if self._wanted > self._written:
                self._write(self._wanted)
            if closing:
                return

    def _write(self, epoch: int) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, to_text(epoch, utc_text()))
        except OSError as error:
            if not self.trouble:
                _LOG.warning("%s: %s; after a restart without a witness epochs begin anew", self._path, error.strerror)
            self.trouble = f"{self._path}: {error.strerror}"
            return
        if self.trouble:
            _LOG.info("%s is written again", self._path)
        self._written, self.trouble = epoch, ""

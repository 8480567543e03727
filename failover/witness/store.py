"""Epochs on disk: reserved in blocks, so that no grant waits for a disk and no epoch is ever given twice.

Two files, the state file and its ``.copy``, each a line of JSON with a checksum: all epochs up to ``reserved`` may have
been given. A block is used only when both files hold it (written beside, synced, renamed, folder synced). One good file
is therefore enough to go on; a start skips what the block before it had left. With both files bad the witness refuses
to start: beginning at 1 again would have the rack drop what a new holder sends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.durable import MAX_FILE_BYTES, checked_line, read_checked, replace_file
from touchline.errors import InputError, ResourceError
from touchline.timeline import utc_text

BLOCK: Final = 1024
MAX_EPOCH: Final = 2**63 - 1
_FORMAT: Final = "touchline witness 1"


@dataclass(frozen=True, slots=True)
class State:
    """What a file says: epochs up to ``reserved`` may be out; no lease was ever longer than ``longest_lease_ns``."""

    reserved: int
    longest_lease_ns: int


def to_text(state: State, when: str) -> str:
    """The line of a file."""
    return checked_line(
        {
            "format": _FORMAT,
            "reserved": state.reserved,
            "longest_lease_ns": state.longest_lease_ns,
            "written": when,
        }
    )


def from_text(text: str) -> State:
    """Read a file's line. Raises ValueError in plain words for anything that :func:`to_text` did not write."""
    body = read_checked(text, _FORMAT)
    numbers = [body.get("reserved"), body.get("longest_lease_ns")]
    if not all(type(number) is int and 0 <= number <= MAX_EPOCH for number in numbers):
        raise ValueError("a number is out of range")
    return State(*numbers)  # type: ignore[arg-type]


class EpochStore:
    """The files of one witness, held by one process. A context manager.

    Args:
        path: the state file; ``.copy`` and ``.lock`` lie beside it.
        lease_limit_ns: the longest lease that this process may grant; kept for the next one's quarantine.
        first_epoch: no epoch below this is given.

    Raises:
        ResourceError: the folder is missing or cannot be written, or another witness uses the files.
        InputError: no file can be believed.
    """

    def __init__(self, path: Path, lease_limit_ns: int, first_epoch: int = 1) -> None:
        self._path, self._files = path, (path, path.with_name(path.name + ".copy"))
        self._lease_ns = lease_limit_ns
        self._worker: threading.Thread | None = None
        self.trouble = ""
        self.notes: list[str] = []
        self._lock = _lock(path)
        try:
            found = self._read()
            self.first_start = found is None
            start = found or State(0, 0)
            self.quarantine_lease_ns = max(start.longest_lease_ns, lease_limit_ns)
            self._next = max(start.reserved + 1, first_epoch)
            self._durable = start.reserved
            self._reserve(self._next + BLOCK, self.quarantine_lease_ns)
        except OSError as error:
            self.close()
            raise ResourceError(
                f"state_file {path} cannot be written: {error.strerror}", hint="name a folder on a disk, ours to write"
            ) from error
        except BaseException:  # the lock goes with us whatever it was
            self.close()
            raise

    def take(self, above: int) -> int | None:
        """The next epoch, above ``above`` too; None while the disk has not confirmed enough. Never waits."""
        epoch = max(self._next, above + 1)
        if self._durable - epoch < BLOCK // 2:
            self._reserve_behind(epoch + BLOCK)
        if epoch > self._durable:
            return None
        self._next = epoch + 1
        return epoch

    @property
    def last(self) -> int:
        """The last epoch that was given, or would have been."""
        return self._next - 1

    def close(self) -> None:
        """Let another process have the files; waits for a reservation that is under way."""
        if self._worker is not None:
            self._worker.join()
        os.close(self._lock)

    def __enter__(self) -> EpochStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- files ----------------------------------------------------------------------------------------------------

    def _read(self) -> State | None:
        good: list[State] = []
        bad: list[str] = []
        for file in self._files:
            try:
                with file.open("rb") as source:
                    good.append(from_text(source.read(MAX_FILE_BYTES).decode()))
            except FileNotFoundError:
                bad.append(f"{file} is missing")
            except (ValueError, OSError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
                bad.append(f"{file}: {error}")
        if not any(file.exists() for file in self._files):
            return None
        if not good:
            raise InputError(
                f"no epoch can be read: {'; '.join(bad)}",
                hint=(
                    "put back a backup of one of the two files; or delete both and set witness.first_epoch above the "
                    "highest epoch that touchline failover status shows on any node"
                ),
            )
        self.notes += bad
        return State(max(one.reserved for one in good), max(one.longest_lease_ns for one in good))

    def _reserve(self, reserved: int, lease_ns: int) -> None:
        text = to_text(State(min(reserved, MAX_EPOCH), lease_ns), utc_text())
        for file in self._files:
            replace_file(file, text)
        self._durable = min(reserved, MAX_EPOCH)

    def _reserve_behind(self, reserved: int) -> None:
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._try_to_reserve, args=(reserved,), name="epochs", daemon=True)
            self._worker.start()

    def _try_to_reserve(self, reserved: int) -> None:
        try:
            self._reserve(reserved, self._lease_ns)  # hundreds of epochs after the start: the quarantine is over
            self.trouble = ""
        except OSError as error:  # a full disk: what is reserved is used up, then there are no new holders
            self.trouble = f"state_file {self._path}: {error.strerror}; {self._durable - self._next + 1} epochs left"


def _lock(path: Path) -> int:
    try:
        held = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ResourceError(
            f"state_file {path} cannot be used: {error.strerror}",
            hint="its folder must exist and be ours; a folder that was there before may be a disk that is not mounted",
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise ResourceError(f"another witness uses {path}", hint="one rack has one witness; end the other") from error
    return held

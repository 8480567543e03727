"""The latch: a cut stays a cut over restarts, kill -9 and power cuts, until a person resets it.

One small file, whole or not at all: written beside, synced, renamed, folder synced. No file: not latched. A file that
cannot be read, or one that was just being written when the process died, is latched: what is in doubt is cut.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FILE: Final = "latch.json"
FORMAT: Final = "touchline-protect-latch-1"
MAX_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Latch:
    """``event``: what was latched, as it stands in the log; ``damage``: why the file could not be read."""

    latched: bool
    event: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""


class LatchFile:
    """The latch of a state folder. Writing and clearing raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._fresh = folder / f"{FILE}.new"

    def read(self) -> Latch:
        """What is latched. Never raises."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            begun = os.path.lexists(self._fresh)
            return Latch(begun, damage=f"{self._fresh.name} was not finished" if begun else "")
        except OSError as error:
            return Latch(True, damage=f"{self.path}: {error.strerror}")
        return decode(raw)

    def set(self, event: Mapping[str, Any]) -> None:
        """Latch; on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fresh.unlink(missing_ok=True)
        descriptor = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            raw = encode(event)
            if os.write(descriptor, raw) != len(raw):
                raise OSError(28, "the latch was not written whole", str(self._fresh))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._fresh.replace(self.path)
        sync_folder(self.path.parent)

    def clear(self) -> None:
        """A person reset it; on the disk when this returns."""
        self._fresh.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)


def encode(event: Mapping[str, Any]) -> bytes:
    """The file's bytes. Raises ValueError for what does not fit."""
    body = {"format": FORMAT, "event": dict(event)}
    raw = json.dumps({**body, "crc32": _checksum(body)}, allow_nan=False).encode() + b"\n"
    if len(raw) > MAX_BYTES:
        raise ValueError(f"an event of {len(raw)} bytes, {MAX_BYTES} are allowed")
    return raw


def decode(raw: bytes) -> Latch:
    """The latch in these bytes; whatever is wrong with them, it is latched."""
    try:
        if len(raw) > MAX_BYTES:
            return Latch(True, damage=f"longer than {MAX_BYTES} bytes")
        body = json.loads(raw)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            return Latch(True, damage=f"not {FORMAT}")
        if body.pop("crc32", None) != _checksum(body) or not isinstance(body.get("event"), dict):
            return Latch(True, damage="the checksum is wrong")
    except (ValueError, RecursionError) as error:
        return Latch(True, damage=f"no JSON: {type(error).__name__}")
    return Latch(True, body["event"])


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())

"""What a device handle needs of a running virtual node: its shell, its registers, its machine monitor; and the rack's
address, which network and passenger have to agree on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

RACK_ADDRESS: Final = "10.77.0.1"


@dataclass(frozen=True, slots=True)
class GuestResult:
    """How a command in the guest ended."""

    exit_code: int
    out: str
    err: str


class Guest(Protocol):
    """Commands and files inside the guest, over a channel that no network fault can cut."""

    def run(self, command: str, *, timeout_s: float = 30.0, check: bool = True) -> GuestResult:
        """Run ``command`` with ``sh -c`` as root; ``check``: a non-zero exit raises HardwareError with its stderr."""
        ...

    def read_file(self, path: str) -> bytes:
        """Whole content of a file in the guest."""
        ...

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file in the guest whole; folders above it are made."""
        ...


class Registers(Protocol):
    """The reserved megabyte of guest memory that stands in for device registers. ``offset``: bytes from its start."""

    def read32(self, offset: int) -> int:
        """One little-endian register."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Set one little-endian register."""
        ...


class Monitor(Protocol):
    """QEMU's machine protocol (QMP)."""

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Run one command and give its ``return``; raises HardwareError with QEMU's own words."""
        ...

"""The guest's memory as the host sees it: the reserved megabyte behind the emulated device registers."""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from hil.virtual.machine.qemu import RAM_START, REGISTERS_ADDRESS, REGISTERS_BYTES
from touchline.errors import HardwareError

_MEMFD_LINK: Final = "/memfd:memory-backend-memfd"
_WORD_BYTES: Final = 4


class MappedRegisters:
    """Registers at ``address`` of guest physical memory, mapped from QEMU's memfd. Each access is one 32-bit load or
    store, so the guest never sees half a word. The mapping outlives QEMU; writes then reach nobody.
    """

    def __init__(self, pid: int, *, address: int = REGISTERS_ADDRESS, size_bytes: int = REGISTERS_BYTES) -> None:
        if sys.byteorder != "little":
            raise HardwareError("registers need a little-endian host")
        fd = _open_guest_ram(pid)
        try:
            offset = address - RAM_START
            if os.fstat(fd).st_size < offset + size_bytes:
                raise HardwareError(f"the guest has no memory at {address:#x}", hint="mem_mib must be 1536")
            self._map = mmap.mmap(fd, size_bytes, offset=offset)
        finally:
            os.close(fd)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("I")

    def read32(self, offset: int) -> int:
        """One little-endian register."""
        return int(self._words[self._index(offset)])

    def write32(self, offset: int, value: int) -> None:
        """Set one little-endian register."""
        if not 0 <= value <= 0xFFFF_FFFF:
            raise ValueError(f"register value {value:#x} does not fit 32 bits")
        self._words[self._index(offset)] = value

    def close(self) -> None:
        """Unmap."""
        self._words.release()
        self._bytes.release()
        self._map.close()

    def _index(self, offset: int) -> int:
        if offset % _WORD_BYTES or not 0 <= offset < len(self._map):
            raise ValueError(f"register offset {offset:#x} is not one of the megabyte's words")
        return offset // _WORD_BYTES


def _open_guest_ram(pid: int) -> int:
    folder = Path(f"/proc/{pid}/fd")
    try:
        for entry in folder.iterdir():
            with suppress(FileNotFoundError):  # QEMU opens and closes others all the time
                if str(entry.readlink()).startswith(_MEMFD_LINK):
                    return os.open(entry, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise HardwareError(f"cannot open the memory of QEMU (pid {pid}): {error.strerror}") from error
    raise HardwareError(f"QEMU (pid {pid}) keeps its guest's memory in no memfd")

"""The far end of the node's serial line: QEMU's socket behind the guest's ttyS0 (MSG-4)."""

from __future__ import annotations

import select
import socket
from pathlib import Path
from typing import Final

from touchline.errors import HardwareError, LinkError
from touchline.timeline import monotonic_ns

_CHUNK_BYTES: Final = 65536
BUFFER_BYTES: Final = 1 << 20


class Uart:
    """Bytes from and to the guest's ``/dev/ttyS0``.

    The line is not paced: QEMU passes bytes as fast as the guest's processor writes them, at whatever baud rate.
    What was received and not read is held up to ``buffer_bytes``; then the oldest bytes go, counted in :attr:`dropped`.
    """

    def __init__(self, path: Path, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._path = path
        self._limit = buffer_bytes
        self._held = bytearray()
        self._socket: socket.socket | None = None
        self.dropped = 0

    def connect(self) -> None:
        """Open the line; reads and writes do so by themselves. What the guest sent before is lost, as on a wire."""
        if self._socket is not None:
            return
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(str(self._path))
        except OSError as error:
            line.close()
            raise HardwareError(
                f"cannot open the serial line {self._path}: {error.strerror or error}",
                hint="is the node running, and does nobody else hold its line?",
            ) from error
        line.setblocking(False)
        self._socket = line

    def read(self, timeout_s: float = 1.0) -> bytes:
        """All that has arrived; waits up to ``timeout_s`` for the first byte, and is empty when none came."""
        if not self._held:
            self._pump(timeout_s)
        self._pump(0.0)
        data = bytes(self._held)
        self._held.clear()
        return data

    def read_line(self, timeout_s: float = 1.0) -> bytes | None:
        """The next line without its line end (CR LF or LF); None when no whole one came in time."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        self._pump(0.0)
        while (end := self._held.find(b"\n")) < 0:
            left_s = (deadline_ns - monotonic_ns()) / 1e9
            if left_s <= 0:
                return None
            self._pump(left_s)
        line = bytes(self._held[:end]).rstrip(b"\r")
        del self._held[: end + 1]
        return line

    def write(self, data: bytes, timeout_s: float = 5.0) -> None:
        """Send bytes to the guest; LinkError when it does not take them in time."""
        self.connect()
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        rest = memoryview(data)
        while rest:
            left_s = max(0.0, (deadline_ns - monotonic_ns()) / 1e9)
            _, writable, _ = select.select([], [self._line()], [], left_s)
            if not writable:
                raise LinkError(
                    f"the node took {len(data) - len(rest)} of {len(data)} bytes within {timeout_s:g} s",
                    hint="something in the node must read /dev/ttyS0",
                )
            rest = rest[self._line().send(rest) :]

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _line(self) -> socket.socket:
        self.connect()
        assert self._socket is not None
        return self._socket

    def _pump(self, timeout_s: float) -> None:
        """Take in what has arrived, waiting for the first byte only."""
        line = self._line()
        while select.select([line], [], [], max(0.0, timeout_s))[0]:
            data = line.recv(_CHUNK_BYTES)
            if not data:
                self.close()
                return
            self._held += data
            over = len(self._held) - self._limit
            if over > 0:
                del self._held[:over]
                self.dropped += over
            timeout_s = 0.0

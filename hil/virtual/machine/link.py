"""Lines of JSON over a unix socket with deadlines: what QEMU's monitor and the guest agent both speak."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns, sleep_until

_LONGEST_SOCKET_PATH: Final = 107  # sun_path of sockaddr_un holds 108 bytes with its closing zero
_CHUNK_BYTES: Final = 1 << 16
_ENDED: Final = "the node has ended or is being reset"
_RETRY_NS: Final = 20_000_000


class LinkClosed(HardwareError):
    """The other side hung up: QEMU ended, or the guest was reset."""


def connect_unix(path: Path, *, timeout_s: float = 5.0, check: Callable[[], None] | None = None) -> socket.socket:
    """Connect to a stream socket, waiting for it to appear; a path of any length will do.

    Raises :class:`HardwareError` when nobody listens there within ``timeout_s``, or whatever ``check`` raises first.
    """
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while True:
        if check is not None:
            check()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            _connect(sock, path)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, TimeoutError) as error:
            sock.close()
            if monotonic_ns() > deadline_ns:
                raise HardwareError(f"nobody answers at {path}", hint="is the node running?") from error
            sleep_until(monotonic_ns() + _RETRY_NS)
        else:
            return sock


def _connect(sock: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        sock.connect(str(path))
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


class JsonLink:
    """One connection. Not for two threads at once: its users hold a lock over a question and its answer."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0, check: Callable[[], None] | None = None) -> None:
        self.path = path
        self._socket = connect_unix(path, timeout_s=timeout_s, check=check)
        self._received = bytearray()

    def send(self, message: dict[str, Any], *, prefix: bytes = b"") -> None:
        """Send one object as a line."""
        try:
            self._socket.settimeout(30.0)
            self._socket.sendall(prefix + json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise LinkClosed(f"{self.path.name}: the connection is gone ({error})", hint=_ENDED) from error

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next line without its end, or None when none came within ``timeout_s`` (0: only what is here)."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while (end := self._received.find(b"\n")) < 0:
            left_s = (deadline_ns - monotonic_ns()) / 1e9
            if not self._fill(max(left_s, 0.0)):
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _fill(self, wait_s: float) -> bool:
        self._socket.settimeout(wait_s)
        try:
            got = self._socket.recv(_CHUNK_BYTES)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            raise LinkClosed(f"{self.path.name}: the connection is gone ({error})", hint=_ENDED) from error
        if not got:
            raise LinkClosed(f"{self.path.name}: the other side hung up", hint=_ENDED)
        self._received += got
        return True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

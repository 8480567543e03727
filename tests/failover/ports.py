"""Ports that nobody has, and that the kernel gives to nobody by itself: they are still free when they are used."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

_FIRST, _COUNT = 20_000, 12_000  # below the range that bind() to port 0 and connect() take theirs from
_NUMBERS = itertools.count(os.getpid() * 97)


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port on loopback, each time another one."""
    for number in itertools.islice(_NUMBERS, _COUNT):
        port = _FIRST + number % _COUNT
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port from {_FIRST} on is free")

"""Ports that nobody has, and that the kernel gives to nobody by itself: they are still free when they are used."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

_FIRST, _COUNT = 20_000, 12_000  # below the range that bind() to port 0 and connect() take theirs from
_NUMBERS = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """A port on loopback, each time another one, free for datagrams and connections."""
    for number in itertools.islice(_NUMBERS, _COUNT):
        port = _FIRST + number % _COUNT
        with contextlib.suppress(OSError), _bound(port, socket.SOCK_DGRAM), _bound(port, socket.SOCK_STREAM):
            return port
    raise AssertionError(f"no port from {_FIRST} on is free")


def _bound(port: int, kind: socket.SocketKind) -> socket.socket:
    end = socket.socket(socket.AF_INET, kind)
    try:
        end.bind(("127.0.0.1", port))
    except OSError:
        end.close()
        raise
    return end

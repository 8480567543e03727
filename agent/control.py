"""What the agent's processes say to each other: one JSON document per message on a SOCK_SEQPACKET pair.

Only ``child`` and ``parent`` ends of our own making speak here, so a document that does not fit is a bug of ours and
raises. Messages are bounded; a full socket is not waited for: reports are replaced by the next one anyway.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any, Final

MAX_MESSAGE_BYTES: Final = 64 * 1024


def pair() -> tuple[socket.socket, socket.socket]:
    """Return (parent's end, child's end), both close-on-exec."""
    parent, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for end in (parent, child):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_MESSAGE_BYTES)
    parent.setblocking(False)
    return parent, child


def send(end: socket.socket, message: Mapping[str, Any]) -> bool:
    """Send one message without waiting; False when the peer is gone or its buffer is full."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"control message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES}")
    try:
        end.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except (BlockingIOError, ConnectionError):
        return False
    return True


class PeerGoneError(Exception):
    """The other end closed: the parent died, or the child did."""


def receive(end: socket.socket) -> dict[str, Any] | None:
    """Return the next message, None when there is none now. Raises PeerGoneError at the end of the connection."""
    try:
        data = end.recv(MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except ConnectionError as error:
        raise PeerGoneError from error
    if not data:
        raise PeerGoneError
    message = json.loads(data)
    assert isinstance(message, dict)
    return message

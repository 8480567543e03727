"""What two recorders say to each other: small heads, bounded bodies. Pure.

The sender dials and says HELLO (JSON: version, node, camera); the receiver answers HAVE at once, after what it has
written, and twice a second. Then INIT (head box, ftyp, moov) once a stream and FRAGMENT (its three boxes) each; PING
when there is nothing to say. All numbers are big-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from agent.record.fragment import MAX_FRAGMENT_BYTES, MAX_HEAD_BYTES
from agent.record.stream import MAX_INIT_BYTES

VERSION: Final = 1
_HEAD: Final = struct.Struct(">B3xI")
_HAVE: Final = struct.Struct(">16sQQQ")
NO_STREAM: Final = bytes(16)
_MAX_HELLO_BYTES: Final = 4096


class Kind(IntEnum):
    """The messages."""

    HELLO = 1
    HAVE = 2
    INIT = 3
    FRAGMENT = 4
    PING = 5


_LIMITS: Final = {
    Kind.HELLO: _MAX_HELLO_BYTES,
    Kind.HAVE: _HAVE.size,
    Kind.INIT: MAX_INIT_BYTES + MAX_HEAD_BYTES,
    Kind.FRAGMENT: MAX_FRAGMENT_BYTES,
    Kind.PING: 0,
}


class WireError(ValueError):
    """The peer says what no recorder of this version says."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    kind: Kind
    body: bytes = b""

    def to_bytes(self) -> bytes:
        """As it goes over the wire. Raises ValueError for what the other end would refuse."""
        if len(self.body) > _LIMITS[self.kind]:
            raise ValueError(f"{self.kind.name} of {len(self.body)} bytes; at most {_LIMITS[self.kind]} may go")
        return _HEAD.pack(self.kind, len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class Have:
    """What the receiver holds: the newest stream, the number it wants next, the exposure of the last frame it wrote.

    ``stored_bytes``: of the twin's recordings altogether, written in this life of the receiver.
    """

    stream: str = NO_STREAM.hex()
    next_number: int = 0
    ptp_ns: int = 0
    stored_bytes: int = 0

    def message(self) -> Message:
        """To be sent."""
        packed = _HAVE.pack(bytes.fromhex(self.stream), self.next_number, self.ptp_ns, self.stored_bytes)
        return Message(Kind.HAVE, packed)

    @classmethod
    def of(cls, message: Message) -> Have:
        """Read :meth:`message`; raises WireError."""
        if message.kind is not Kind.HAVE or len(message.body) != _HAVE.size:
            raise WireError(f"{message.kind.name} of {len(message.body)} bytes where HAVE should be")
        stream, next_number, ptp_ns, stored = _HAVE.unpack(message.body)
        return cls(stream.hex(), next_number, ptp_ns, stored)


def hello(node: str, camera: int) -> Message:
    """The first message of a sender."""
    return Message(Kind.HELLO, json.dumps({"version": VERSION, "node": node, "camera": camera}).encode())


def read_hello(message: Message) -> tuple[str, int]:
    """(node, camera) of a HELLO; raises WireError for anything else."""
    if message.kind is not Kind.HELLO:
        raise WireError(f"{message.kind.name} before HELLO")
    try:
        found: Any = json.loads(message.body)
    except (ValueError, RecursionError) as error:
        raise WireError("HELLO is no JSON") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise WireError(f"the twin's recorder speaks another version than {VERSION}")
    node, camera = found.get("node"), found.get("camera")
    if not isinstance(node, str) or type(camera) is not int:
        raise WireError("HELLO without node and camera")
    return node, camera


class Decoder:
    """Bytes to messages; holds at most one unfinished message. Raises WireError."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take ``data``, give out what is whole."""
        self._waiting += data
        at = 0
        try:
            while len(self._waiting) - at >= _HEAD.size:
                code, size = _HEAD.unpack_from(self._waiting, at)
                if code not in Kind.__members__.values() or size > _LIMITS[Kind(code)]:
                    raise WireError(f"message {code} of {size} bytes")
                body = at + _HEAD.size
                if len(self._waiting) - body < size:
                    return
                at = body + size
                yield Message(Kind(code), bytes(self._waiting[body:at]))
        finally:
            del self._waiting[:at]

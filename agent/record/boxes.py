"""Boxes of ISO 14496-12 (MP4): walk them without trust, take trees apart and put them together again. Pure.

Everything here is bounded and total: bytes that are no boxes raise :class:`BoxError`, nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 8
MAX_BOXES: Final = 4096
_HEAD: Final = struct.Struct(">I4s")
_LARGE: Final = struct.Struct(">Q")
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf"})

Buffer = bytes | bytearray | memoryview


class BoxError(ValueError):
    """These bytes are not the boxes they should be."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box in a buffer: its kind, where it starts, where its body starts and where it ends."""

    kind: bytes
    start: int
    body: int
    end: int


def box_at(buffer: Buffer, at: int, end: int) -> Box | None:
    """The box at ``at``; None when it is not whole before ``end``. Raises BoxError for a size that cannot be."""
    if end - at < _HEAD.size:
        return None
    size, kind = _HEAD.unpack_from(buffer, at)
    body = at + _HEAD.size
    if size == 1:
        if end - body < _LARGE.size:
            return None
        size, body = _LARGE.unpack_from(buffer, body)[0], body + _LARGE.size
    if size < body - at:
        raise BoxError(f"a box of {size} bytes at byte {at}")
    if at + size > end:
        return None
    return Box(kind, at, body, at + size)


def walk(buffer: Buffer, at: int, end: int) -> Iterator[Box]:
    """Every box from ``at`` to ``end``, which they must fill exactly."""
    for _ in range(MAX_BOXES):
        if at == end:
            return
        box = box_at(buffer, at, end)
        if box is None:
            raise BoxError(f"a torn box at byte {at}")
        yield box
        at = box.end
    raise BoxError(f"more than {MAX_BOXES} boxes")


def make(kind: bytes, *parts: bytes) -> bytes:
    """One box around ``parts``."""
    size = _HEAD.size + sum(map(len, parts))
    return _HEAD.pack(size, kind) + b"".join(parts)


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """One box with version and flags."""
    return make(kind, struct.pack(">I", version << 24 | flags), *parts)


@dataclass(slots=True)
class Node:
    """A box taken apart: containers have ``children``, the others their bytes."""

    kind: bytes
    data: bytes = b""
    children: list[Node] | None = None

    def child(self, kind: bytes) -> Node:
        """The first child of a kind; raises BoxError when there is none."""
        for node in self.children or ():
            if node.kind == kind:
                return node
        raise BoxError(f"{self.kind.decode('latin-1')} has no {kind.decode('latin-1')}")

    def at(self, path: Sequence[bytes]) -> Node:
        """Follow a path of kinds downward."""
        node = self
        for kind in path:
            node = node.child(kind)
        return node

    def to_bytes(self) -> bytes:
        """The box again."""
        if self.children is None:
            return make(self.kind, self.data)
        return make(self.kind, *(node.to_bytes() for node in self.children))


def tree(buffer: Buffer, box: Box, depth: int = 0) -> Node:
    """Take ``box`` apart as deep as its containers go."""
    if box.kind not in _CONTAINERS:
        return Node(box.kind, bytes(buffer[box.body : box.end]))
    if depth >= MAX_DEPTH:
        raise BoxError(f"boxes nested more than {MAX_DEPTH} deep")
    return Node(box.kind, b"", [tree(buffer, child, depth + 1) for child in walk(buffer, box.body, box.end)])

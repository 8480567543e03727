"""ffmpeg's standard output taken apart: the start of the file once, then one fragment after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.record.boxes import Box, BoxError, box_at
from agent.record.fragment import MAX_FRAGMENT_BYTES
from agent.record.moof import Moof, read_moof

MAX_INIT_BYTES: Final = 1 << 20
_PASSED_OVER: Final = frozenset({b"free", b"skip", b"styp", b"sidx", b"mfra", b"prft", b"uuid", b"emsg"})


@dataclass(frozen=True, slots=True)
class Init:
    """``ftyp`` and ``moov``: what a file begins with."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """A fragment as ffmpeg made it, at ffmpeg's media time."""

    moof: Moof
    data: bytes


class FragmentStream:
    """Feed it bytes as they come; it holds at most one unfinished fragment. Raises BoxError for what is none."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._ftyp: bytes | None = None
        self._begun = False
        self._moof: Moof | None = None

    @property
    def unfinished_bytes(self) -> int:
        """Bytes that belong to no whole box yet."""
        return len(self._waiting)

    def feed(self, data: bytes) -> Iterator[Init | Raw]:
        """Take ``data`` and give out what is whole now."""
        self._waiting += data
        at = 0
        while (box := box_at(self._waiting, at, len(self._waiting))) is not None:
            found = self._take(box)
            at = box.end
            if found is not None:
                yield found
        del self._waiting[:at]
        limit = MAX_FRAGMENT_BYTES if self._begun else MAX_INIT_BYTES
        if len(self._waiting) > limit:
            raise BoxError(f"a box of more than {limit} bytes")

    def _take(self, box: Box) -> Init | Raw | None:
        kind = box.kind
        if kind in _PASSED_OVER:
            return None
        if not self._begun:
            return self._take_init(box)
        if kind == b"moof" and self._moof is None:
            self._moof = read_moof(self._waiting, box)
            return None
        if kind == b"mdat" and self._moof is not None:
            moof, self._moof = self._moof, None
            data = bytes(memoryview(self._waiting)[box.body : box.end])
            if len(data) != moof.data_bytes:
                raise BoxError(f"{len(data)} bytes of samples, their moof says {moof.data_bytes}")
            return Raw(moof, data)
        raise BoxError(f"{kind.decode('latin-1')} where a fragment should begin or go on")

    def _take_init(self, box: Box) -> Init | None:
        whole = bytes(memoryview(self._waiting)[box.start : box.end])
        if box.kind == b"ftyp" and self._ftyp is None:
            self._ftyp = whole
            return None
        if box.kind == b"moov" and self._ftyp is not None:
            self._begun = True
            return Init(self._ftyp + whole)
        raise BoxError(f"{box.kind.decode('latin-1')} at the start of ffmpeg's output instead of ftyp and moov")

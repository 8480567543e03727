"""Packet sockets that say when the kernel saw each frame, not when a process on a busy machine came to read it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from touchline.timeline import Timebase, monotonic_ns, tie

_ETH_P_ALL: Final = 3
_PACKET_OUTGOING: Final = 4
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h: struct timespec of CLOCK_REALTIME
_TIMESPEC: Final = struct.Struct("=qq")
_FRAME_BYTES: Final = 2048
_TIE_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame, and when the kernel saw it (monotonic ns). ``outgoing``: it left this interface."""

    frame: bytes
    at_ns: int
    outgoing: bool


class Ear:
    """Hears everything that comes to an interface or leaves it. Make it inside the interface's namespace."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._offset_ns = self._tied_ns = 0

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def hear(self) -> Iterator[Heard]:
        """Everything that waits."""
        now_ns = monotonic_ns()
        if not self._tied_ns or now_ns - self._tied_ns > _TIE_NS:
            self._offset_ns = tie(Timebase.REALTIME, Timebase.MONOTONIC).difference_ns
            self._tied_ns = now_ns
        while True:
            try:
                frame, told, _, sender = self._socket.recvmsg(_FRAME_BYTES, 64)
            except OSError:  # nothing more, or ENETDOWN, said once
                return
            yield Heard(frame, self._at(told), sender[2] == _PACKET_OUTGOING)

    def _at(self, told: list[tuple[int, int, bytes]]) -> int:
        for level, kind, data in told:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, ns = _TIMESPEC.unpack(data)
                return int(seconds) * 1_000_000_000 + int(ns) + self._offset_ns
        return monotonic_ns()

"""Small rings for tests, and the ways in which their processes die."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

from agent.ring import Ring, RingFds, RingReader, RingSpec, RingWriter, layout
from touchline.timeline import ClockState, Stamp

PAYLOAD = struct.Struct("@8Q")


def small_ring(slots: int = 6, guard_slots: int = 2, readers: int = 2) -> Ring:
    return Ring.create(RingSpec(slots, PAYLOAD.size, readers, guard_slots), lock="off")


def stamp_of(number: int) -> Stamp:
    return Stamp(ptp_ns=1000 + number, bound_ns=50, epoch=3, state=ClockState.HOLDOVER)


def write(writer: RingWriter, count: int = 1) -> None:
    """Commit frames whose payload, sequence and stamp all follow from the frame's number."""
    for _ in range(count):
        number = writer.committed
        PAYLOAD.pack_into(writer.acquire(), 0, *[number] * 8)
        writer.commit(10 + number, stamp_of(number))


def duplicate(fds: RingFds) -> RingFds:
    """The descriptors as a child would inherit them."""
    return RingFds(os.dup(fds.memfd), tuple(os.dup(event) for event in fds.events))


def forget_writer(ring: Ring) -> None:
    """Leave the header as a killed writer leaves it: attached, its process gone."""
    ring.words[layout.word_of(layout.WRITER, "pid", layout.WRITER_OFFSET)] = 0


def forget_reader(ring: Ring, index: int) -> None:
    """Leave the header as a killed reader leaves it."""
    ring.words[layout.word_of(layout.READER, "pid", layout.reader_offset(index))] = 0


class Interleaved:
    """The ring's words with another process running between any two looks at them."""

    def __init__(self, words: memoryview, between: Callable[[], None]) -> None:
        self.words = words
        self.between = between
        self.claimed_seen = 0
        self._claimed = layout.word_of(layout.WRITER, "claimed", layout.WRITER_OFFSET)

    def __getitem__(self, at: int) -> int:
        self.between()
        value = int(self.words[at])
        if at == self._claimed:
            self.claimed_seen = value
        return value

    def __setitem__(self, at: int, value: int) -> None:
        self.words[at] = value


def interleave(reader: RingReader, between: Callable[[], None]) -> Interleaved:
    """Let ``between`` run at every load that the reader makes."""
    proxy = Interleaved(reader._words, between)
    changed: Any = reader
    changed._words = proxy
    return proxy

"""Rules of the ring, as arithmetic: which slot, which frame next, what is lost. No memory, no clock, no process.

Frames are numbered from 0 in the order of their landing. Frame ``n`` lies in slot ``n % slots`` and stays intact
until frame ``n + slots`` is claimed. ``claimed`` counts the frames whose slot the writer has taken, ``committed`` those
it has finished; ``committed <= claimed <= committed + 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from touchline.errors import ConfigError

MAX_READERS = 16
MIN_WORKING_SLOTS = 2  # one slot being written and one to read, beyond the guard band
STAMP_TORN = 0  # of a slot never written, or left half written by a writer that died


@dataclass(frozen=True, slots=True)
class RingSpec:
    """Size of a ring: everything is fixed when it is created (CAP-2: seconds follow from it).

    Args:
        slots: number of frames held.
        slot_bytes: bytes of one frame's payload, at most.
        readers: number of reader places (1..16).
        guard_slots: a frame is never handed out when fewer than this many further frames would overwrite it.

    Raises:
        ConfigError: the numbers do not make a ring.
    """

    slots: int
    slot_bytes: int
    readers: int = 2
    guard_slots: int = 2

    def __post_init__(self) -> None:
        if self.slot_bytes < 1:
            raise ConfigError(f"ring.slot_bytes is {self.slot_bytes}", hint="use the frame size in bytes, at least 1")
        if not 1 <= self.readers <= MAX_READERS:
            raise ConfigError(f"ring.readers is {self.readers}", hint=f"use 1..{MAX_READERS}")
        if self.guard_slots < 1:
            raise ConfigError(f"ring.guard_slots is {self.guard_slots}", hint="use at least 1")
        if self.slots < self.guard_slots + MIN_WORKING_SLOTS:
            raise ConfigError(
                f"ring.slots is {self.slots} with guard_slots {self.guard_slots}",
                hint=f"use at least {self.guard_slots + MIN_WORKING_SLOTS} slots",
            )

    def seconds_at(self, rate_hz: float) -> float:
        """Return how many seconds of frames the ring holds at ``rate_hz`` frames per second (CAP-2).

        Raises:
            ConfigError: the rate is not positive.
        """
        if not rate_hz > 0:
            raise ConfigError(f"frame rate is {rate_hz} Hz", hint="use a positive rate")
        return self.slots / rate_hz


class Pick(NamedTuple):
    """The frame to hand out next and the number of committed frames passed over to reach it."""

    frame: int
    skipped: int


def slot_of(index: int, slots: int) -> int:
    """Return the slot of frame ``index``."""
    return index % slots


def oldest_handable(claimed: int, spec: RingSpec) -> int:
    """Return the oldest frame outside the guard band when ``claimed`` frames have been claimed."""
    return max(0, claimed + spec.guard_slots - spec.slots)


def intact(index: int, claimed: int, slots: int) -> bool:
    """Return whether frame ``index`` has not begun to be overwritten."""
    return claimed <= index + slots


def pick(cursor: int, committed: int, claimed: int, spec: RingSpec, newest: bool = False) -> Pick | None:
    """Choose the frame to hand to a reader whose next frame would be ``cursor``; None when there is none.

    In order while the reader keeps up. A reader that fell into the guard band goes on at the newest frame, not at the
    oldest safe one: at the edge of the band it would be late again at once. ``newest`` asks for the newest frame
    always.
    """
    last = committed - 1
    if cursor > last:
        return None
    index = last if newest or cursor < oldest_handable(claimed, spec) else cursor
    return Pick(index, index - cursor)


def stamp_writing(index: int) -> int:
    """Return the generation stamp of a slot while frame ``index`` is being written: odd."""
    return 2 * index + 1


def stamp_ready(index: int) -> int:
    """Return the generation stamp of a slot that holds frame ``index``: even and never 0."""
    return 2 * index + 2

"""Which recordings may go: by the order in which they were made, and by age only where age can be told. Pure.

A clock may be wrong for a moment, also one that says it is locked: it jumps ten years ahead and comes back. So a file's
name carries a number that grows from file to file whatever the clock says, and the oldest is the one with the smallest
number. Age is asked last and is believed only after the clock was locked and went on evenly for an hour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from agent.record.fragment import Head, Mark
from touchline.timeline import TAI_MINUS_UTC_S, ClockState

SUFFIX: Final = ".mp4"
KEEP_FILES: Final = 4  # the newest of a camera never go by age
AGED_AT_ONCE: Final = 2  # files that go by age when a new one begins: a clock that lies for long costs no more
SETTLE_NS: Final = 3_600_000_000_000  # the clock has been locked and even for so long
STEP_NS: Final = 60_000_000_000  # PTP less monotonic time; a stalled disk or encoder moves it by seconds
_ANCHOR_NS: Final = 600_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAME: Final = re.compile(
    r".*_cam\d+(?:_(?P<serial>\d{8,12}))?_(?P<utc>\d{8}T\d{6}\.\d{6})(?P<trust>[ZU])_[0-9a-f]{8}(?:-\d+)?"
)


def utc_of(ptp_ns: int) -> str:
    """PTP time as UTC in the form of a file name, without its last letter: ``20261121T100000.123456``."""
    seconds, rest_ns = divmod(ptp_ns, 1_000_000_000)
    moment = _EPOCH + timedelta(seconds=seconds - TAI_MINUS_UTC_S)
    return f"{moment:%Y%m%dT%H%M%S}.{rest_ns // 1000:06d}"


def name_of(head: Head, mark: Mark, serial: int) -> str:
    """A recording's file name: ``pitch-a1_cam1_00000042_20261121T100000.123456Z_1f2e3d4c.mp4``.

    The number counts the camera's files, the last word is the stream's. ``U`` instead of ``Z``: by a clock that was not
    locked, so do not trust it.
    """
    trust = "U" if mark.state is ClockState.UNLOCKED else "Z"
    return f"{head.node}_cam{head.camera}_{serial:08d}_{utc_of(mark.ptp_ns)}{trust}_{head.stream[:8]}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Label:
    """What a file's name says. ``serial`` 0: named by an earlier version; ``trusted``: by a clock that was locked."""

    serial: int
    ptp_ns: int
    trusted: bool


def label_of(path: Path) -> Label | None:
    """Read a name; None when it is none of ours: such a file is neither counted nor ever deleted."""
    found = _NAME.fullmatch(path.stem)
    if found is None or path.suffix != SUFFIX:
        return None
    try:
        moment = datetime.strptime(found["utc"], "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    since = moment - _EPOCH
    ptp_ns = ((since.days * 86400 + since.seconds + TAI_MINUS_UTC_S) * 1_000_000 + since.microseconds) * 1000
    serial = int(found["serial"] or 0)
    return Label(serial, ptp_ns, trusted=serial > 0 and found["trust"] == "Z")


def order_key(path: Path) -> tuple[int, int, str]:
    """Sorts files as they were recorded: by number; the unnumbered ones before these, by their time."""
    label = label_of(path)
    return (0, 0, path.name) if label is None else (label.serial, 0 if label.serial else label.ptp_ns, path.name)


class SteadyClock:
    """Whether the present time may be used to call a recording old: locked, and even with CLOCK_MONOTONIC for long."""

    def __init__(self, settle_ns: int = SETTLE_NS) -> None:
        self._settle_ns = settle_ns
        self._anchor: tuple[int, int] | None = None
        self._good_ns: int | None = None

    def see(self, mark: Mark, now_ns: int) -> int:
        """Take the stamp of what came at ``now_ns`` (CLOCK_MONOTONIC); returns by how much the clock stepped, ns."""
        step_ns = 0
        if self._anchor is not None:
            step_ns = (mark.ptp_ns - self._anchor[0]) - (now_ns - self._anchor[1])
            step_ns = step_ns if abs(step_ns) > STEP_NS else 0
        if self._anchor is None or step_ns or now_ns - self._anchor[1] > _ANCHOR_NS:
            self._anchor = mark.ptp_ns, now_ns
        if step_ns or mark.state is ClockState.UNLOCKED:
            self._good_ns = None
        if self._good_ns is None and mark.state is not ClockState.UNLOCKED:
            self._good_ns = now_ns
        return step_ns

    @property
    def locked(self) -> bool:
        """Whether it is, or holds over; it may still have to go on so for a while."""
        return self._good_ns is not None

    def doubt(self, now_ns: int) -> str:
        """Why no recording may be called old now; empty when it may."""
        if self._good_ns is None:
            return "the clock is not locked"
        if now_ns - self._good_ns < self._settle_ns:
            return f"the clock has not been locked and without a step for {self._settle_ns / 60e9:g} min yet"
        return ""


def old_files(labels: Sequence[Label], now_ns: int, oldest_ns: int) -> tuple[int, int]:
    """Of files in the order of recording: how many seem older than ``oldest_ns``, how many of the first surely are.

    A time by a clock that was not locked, or one that lies ahead, tells nothing: such a file is old when a later one
    is. The first file that is known to be young ends the count; the newest files are not asked.
    """
    asked = labels[: max(0, len(labels) - KEEP_FILES)]
    sure = 0
    for count, label in enumerate(asked, start=1):
        if not label.trusted or label.ptp_ns > now_ns + STEP_NS:
            continue
        if label.ptp_ns >= oldest_ns:
            break
        sure = count
    return sum(label.ptp_ns < oldest_ns for label in asked), sure

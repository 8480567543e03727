"""From stamps to media time, and back from what the encoder gives: which picture is which frame. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.record.fragment import Fragment, Mark
from agent.record.moof import Moof, Sample, durations
from agent.record.stream import Raw

NS_PER_US: Final = 1_000
LONGEST_STEP_NS: Final = 60_000_000_000  # a longer pause is no gap in a picture, it is another time


class MediaTime:
    """Media time in us, strictly rising: PTP time while one epoch of the clock lasts, and as it landed across a step.

    Within an epoch each time is rounded on its own from one anchor, so no error adds up.
    """

    def __init__(self, begin_us: int = 0) -> None:
        self._last_us = begin_us - 1
        self._anchor_us = begin_us
        self._anchor_ns: int | None = None
        self._epoch = 0
        self._last_ptp_ns = self._last_landed_ns = 0

    def at(self, ptp_ns: int, clock_epoch: int, landed_ns: int) -> int:
        """The media time of the next frame."""
        step_ns = ptp_ns - self._last_ptp_ns
        if self._anchor_ns is None:
            self._anchor_ns = ptp_ns
        elif clock_epoch != self._epoch or not 0 < step_ns <= LONGEST_STEP_NS:
            landed_step = min(max(landed_ns - self._last_landed_ns, NS_PER_US), LONGEST_STEP_NS)
            self._anchor_us = self._last_us + landed_step // NS_PER_US
            self._anchor_ns = ptp_ns
        self._epoch, self._last_ptp_ns, self._last_landed_ns = clock_epoch, ptp_ns, landed_ns
        media_us = self._anchor_us + (ptp_ns - self._anchor_ns + NS_PER_US // 2) // NS_PER_US
        self._last_us = max(self._last_us + 1, media_us)
        return self._last_us


class Lineup:
    """Frames that the encoder has and has not given back, by media time. One thread adds, another takes.

    What went in to prime the encoder has no mark: it comes out and is thrown away.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Mark | None, int]] = {}

    def add(self, media_us: int, mark: Mark | None, landed_ns: int) -> None:
        """A frame goes in; it landed at ``landed_ns`` (CLOCK_MONOTONIC)."""
        self._waiting[media_us] = mark, landed_ns

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, raw: Raw) -> tuple[list[Mark], int] | None:
        """The marks of a fragment and when its newest frame landed; None when it only primed.

        Raises LookupError when the encoder gave out a time that never went in, or both kinds at once.
        """
        found = [self._waiting.pop(media_us) for media_us in times_of(raw.moof)]
        marks = [mark for mark, _ in found if mark is not None]
        if not marks:
            return None
        if len(marks) != len(found):
            raise LookupError("a fragment of which a part only primed the encoder")
        return marks, found[-1][1]


def times_of(moof: Moof) -> list[int]:
    """The media time of each picture of a fragment, us."""
    times, at = [], moof.media_us
    for sample in moof.samples:
        times.append(at)
        at += sample.duration_us
    return times


def fragment_of(raw: Raw, marks: Sequence[Mark], number: int, role: tuple[bool, int], nominal_us: int) -> Fragment:
    """Our fragment from ffmpeg's; the last picture's time on screen, which nobody knows yet, is the nominal one."""
    shown = durations(times_of(raw.moof), nominal_us)
    samples = tuple(
        Sample(sample.size, shown_us, sample.key) for sample, shown_us in zip(raw.moof.samples, shown, strict=True)
    )
    return Fragment(number, role[0], role[1], tuple(marks), Moof(raw.moof.media_us, samples), raw.data)

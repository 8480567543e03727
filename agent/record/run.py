"""One run of the encoder: ffmpeg, the times that went into it, and the thread that takes what comes out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from agent.camera.port import frame_bytes
from agent.record.command import Coding, Picture
from agent.record.ebml import stream_head
from agent.record.encoder import Encoder, EncoderGone, death_of
from agent.record.fragment import Head, Mark
from agent.record.media import Lineup, MediaTime
from agent.record.probe import Found
from agent.record.sink import Out, Sink
from agent.ring import RingFrame
from touchline.timeline import monotonic_ns

STREAM_BYTES: Final = 16
ABANDON_S: Final = 2.0  # then an abandoned run's output is given up


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record and how. ``stopped``: the standby's encoder is primed and stopped; ``outs``: where it goes.

    ``turn``: whose turn it is to write to ``outs``, one run after the other. Locked though no run is fed: the disk
    holds the last one up.
    """

    head: Head
    picture: Picture
    coding: Coding
    found: Found
    stopped: bool
    outs: tuple[Out, ...]
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)


class Run:
    """From the start of one ffmpeg to its end. ``primes``: black pictures before the first frame, thrown away again.

    A whole group of pictures primes it, so that the first frame after them is a key frame.
    """

    def __init__(self, plan: Plan, role: Callable[[], tuple[bool, int]], *, primed: bool) -> None:
        self.started_ns = monotonic_ns()
        picture, coding = plan.picture, plan.coding
        self._coding = coding
        self._frame_bytes = frame_bytes(picture.width_px, picture.height_px, picture.pixel_format)
        start = stream_head(picture.width_px, picture.height_px, picture.pixel_format, picture.rate_hz)
        self.encoder = Encoder(plan.found.argv, start)
        self._lineup = Lineup()
        self.head = replace(plan.head, stream=os.urandom(STREAM_BYTES).hex())
        self.sink = Sink(self.encoder.output, self.head, self._lineup, plan.outs, role, turn=plan.turn)
        self._primes = [round(index * 1e6 / picture.rate_hz) for index in range(coding.gop)] if primed else []
        self._media = MediaTime(round(coding.gop * 1e6 / picture.rate_hz) if primed else 0)
        self._black = memoryview(bytes(self._frame_bytes)) if primed else memoryview(b"")
        self.fed = 0
        self.parked = False

    def prime(self) -> bool:
        """Offer the next black picture; False when all of them are in."""
        if not self._primes:
            return False
        media_us = self._primes.pop(0)
        self._lineup.add(media_us, None, monotonic_ns())
        self.encoder.offer(media_us, self._black, lambda: True)
        return True

    @property
    def primed(self) -> bool:
        """Whether every black picture is out again, but for the fragment that the muxer holds until the next frame."""
        return not self._primes and not self.encoder.busy and len(self._lineup) <= self._coding.fragment

    def offer(self, frame: RingFrame) -> None:
        """The next frame of the ring; it is finished with when the encoder is no longer busy."""
        stamp = frame.stamp
        media_us = self._media.at(stamp.ptp_ns, stamp.epoch, frame.landed_monotonic_ns)
        mark = Mark(stamp.ptp_ns, frame.sequence, stamp.bound_ns, stamp.epoch, stamp.state)
        self._lineup.add(media_us, mark, frame.landed_monotonic_ns)
        self.encoder.offer(media_us, frame.payload[: self._frame_bytes], frame.still_valid)
        self.fed += 1

    def finish(self, timeout_s: float) -> tuple[int, str]:
        """No frame follows: the exit code of ffmpeg, and what is wrong (empty when nothing is)."""
        with suppress(EncoderGone):
            self.encoder.pump(timeout_s / 2)
        self.encoder.close_input()
        code = self.encoder.wait(timeout_s)
        return code, self._judge(code, timeout_s)

    def abandon(self) -> tuple[int, str]:
        """End it by force, or take note that it has ended; the same two."""
        code = self.encoder.kill()
        return code, self._judge(code, ABANDON_S)

    def _judge(self, code: int, timeout_s: float) -> str:
        read = self.sink.join(timeout_s)
        words = self.encoder.last_words()
        wrong = [] if code == 0 else [f"ffmpeg: {death_of(code)}"]
        wrong += [self.sink.trouble] if self.sink.trouble else []
        wrong += [words] if words and wrong else []
        if not read:
            self.sink.disown()
            wrong.append("its output was not written in time: the disk is stuck")
        self.encoder.close()
        missing = self.fed - self.sink.frames
        if missing:
            wrong.append(f"{missing} frames were lost in it")
        return "; ".join(wrong)

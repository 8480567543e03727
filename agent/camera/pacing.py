"""When the next frame of a paced source is exposed, and which frames a late source has to let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.camera.port import FrameTimeout


@dataclass(frozen=True, slots=True)
class Pace:
    """A steady rhythm: frame ``n`` begins its exposure at ``start_ns + n * period``, with no accumulated rounding."""

    start_ns: int
    rate_hz: float

    def exposure_ns(self, frame: int) -> int:
        """Start of exposure of a frame."""
        return self.start_ns + round(frame * 1e9 / self.rate_hz)

    def frame_at(self, now_ns: int) -> int:
        """The frame whose period holds ``now_ns``; negative before the start."""
        frame = int((now_ns - self.start_ns) * self.rate_hz // 1e9)
        return frame + 1 if self.exposure_ns(frame + 1) <= now_ns else frame

    def next_frame(self, wanted: int, now_ns: int, slack_frames: int) -> int:
        """The frame to deliver: ``wanted``, or a later one when more than ``slack_frames`` periods have passed."""
        current = self.frame_at(now_ns)
        return wanted if current - wanted <= slack_frames else current


def await_exposure(
    exposure_ns: int, timeout_s: float, monotonic: Callable[[], int], wait_until: Callable[[int], None]
) -> None:
    """Wait until ``exposure_ns`` of the monotonic clock; raises FrameTimeout when that is beyond the time-out."""
    deadline_ns = monotonic() + int(timeout_s * 1e9)
    wait_until(min(exposure_ns, deadline_ns))
    if exposure_ns > deadline_ns:
        raise FrameTimeout(f"the next frame is due in {(exposure_ns - deadline_ns) / 1e9:.3g} s")

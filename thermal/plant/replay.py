"""A board that was recorded: a run's samples again, as they came; what is ordered is kept for comparison."""

from __future__ import annotations

import bisect
import errno
from collections.abc import Mapping
from typing import Final

from thermal.record import Record
from thermal.types import Domain, Raw, Sample

_OVER: Final = errno.ENODATA  # the record has ended


class ReplayBoard:
    """Shows a recorded run, its first entry at the first look. ``orders``: what was written, as (at_ns, duty_pct).

    After the end every zone is gone: whoever judges that must not take the last value for the present.
    """

    def __init__(self, record: Record) -> None:
        if not record.entries:
            raise ValueError("there is nothing to replay: the record has no entries")
        self._entries = record.entries
        self._times = [entry.sample.at_ns for entry in record.entries]
        self._shift_ns: int | None = None
        self._now_ns = 0
        self.orders: list[tuple[int, float]] = []
        self.caps: list[tuple[int, dict[Domain, float]]] = []

    @property
    def span_ns(self) -> int:
        """From the first entry to the last."""
        return self._times[-1] - self._times[0]

    def sample(self, now_ns: int) -> Sample:
        """The newest entry that is not younger than ``now_ns``, under the time it was recorded at, moved to ours."""
        if self._shift_ns is None:
            self._shift_ns = now_ns - self._times[0]
        self._now_ns = now_ns
        recorded_ns = now_ns - self._shift_ns
        if recorded_ns > self._times[-1]:
            return Sample(now_ns, {}, Raw(None, _OVER), Raw(None, _OVER))
        found = self._entries[max(0, bisect.bisect_right(self._times, recorded_ns) - 1)].sample
        return Sample(
            at_ns=found.at_ns + self._shift_ns,
            zones_c=found.zones_c,
            fan_rpm=found.fan_rpm,
            duty_pct=found.duty_pct,
            power_w=found.power_w,
            clock_hz=found.clock_hz,
            oc_events=found.oc_events,
            ambient_c=found.ambient_c,
        )

    def set_duty(self, duty_pct: float) -> str | None:
        """Keep the order; a record does not change."""
        self.orders.append((self._now_ns, duty_pct))
        return None

    def set_caps(self, cap_hz: Mapping[Domain, float]) -> str | None:
        """Keep the order."""
        self.caps.append((self._now_ns, dict(cap_hz)))
        return None

    def take(self) -> str | None:
        """Nothing to take."""
        return None

    def give_back(self) -> str | None:
        """Nothing to give back."""
        return None

    def close(self) -> None:
        """Nothing is open."""

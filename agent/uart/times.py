"""A frame's moment on a clock of the node that nobody steers: the TSC where it is mapped (MSG-4).

The ring carries PTP stamps alone; the reading behind one is counted back through the clock's present mapping. While
that is steady it is the driver's own number within a few ns (a tick of Tegra's counter is 32 ns); after a correction of
the mapping the two differ by what was corrected, which the stamp's bound covers.
"""

from __future__ import annotations

from typing import Final

from agent.clock.page import PageClock
from agent.uart.line import TIMES_NS, Raw
from touchline.timeline import Clock, Stamp, Timebase, monotonic_ns

_BEST: Final = (Timebase.TSC, Timebase.MONOTONIC_RAW)


def raw_of(clock: Clock, stamp: Stamp) -> Raw | None:
    """Return the reading that has this stamp; None where the clock has begun another epoch since."""
    page = clock.page() if isinstance(clock, PageClock) else None
    for timebase in _BEST if page is not None else ():
        mapping = page.mappings.get(timebase) if page is not None else None
        if mapping is not None and mapping.epoch == stamp.epoch:
            return _checked(timebase, mapping.base_at(stamp.ptp_ns))
    here_ns = monotonic_ns()
    now = clock.at(here_ns)
    if now.epoch != stamp.epoch:
        return None
    return _checked(Timebase.MONOTONIC, here_ns - (now.ptp_ns - stamp.ptp_ns))


def _checked(timebase: Timebase, base_ns: int) -> Raw | None:
    return Raw(timebase, base_ns) if 0 <= base_ns < TIMES_NS else None

"""The Arm system counter ("TSC"), in which Tegra stamps start of frame, against CLOCK_MONOTONIC_RAW.

NVIDIA's kernels tell the difference in sysfs: MONOTONIC_RAW = TSC - offset_ns (NVIDIA's forum, "Argus timestamp
domain"; both count the same 31.25 MHz, so it stays the same until the machine is suspended). Without that file the
counter would have to be read by the instruction ``mrs cntvct_el0``, which Python cannot issue: then there is no tie,
and pairs for the counter come from /dev/nvpps0 alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from touchline.timeline import Tie

OFFSET_FILE: Final = Path("/sys/devices/system/clocksource/clocksource0/offset_ns")
HALF_NS: Final = 1_000  # how well the kernel's number is known is written nowhere and not measured yet
_MAX_NS: Final = 1 << 62


def tsc_to_raw(path: Path = OFFSET_FILE) -> Tie | None:
    """Return what to add to the counter's reading, ns, to have MONOTONIC_RAW; None where the kernel does not tell."""
    try:
        offset_ns = int(path.read_text())
    except (OSError, ValueError):
        return None
    return Tie(-offset_ns, HALF_NS) if abs(offset_ns) < _MAX_NS else None


def source(path: Path = OFFSET_FILE) -> str:
    """Say where the tie comes from, or why there is none."""
    if tsc_to_raw(path) is not None:
        return f"TSC by {path.name} of {path.parent.name}"
    if path.exists():
        return f"no TSC: {path} holds no number"
    return "no TSC: the kernel has no clocksource0/offset_ns"

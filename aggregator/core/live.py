"""Dots get short numbers that stay with them, for the page only: nothing here is stored or claims to be an identity.

A dot with a player UUID keeps the number of that UUID. The others are linked from moment to moment: the nearest dot to
where a known one should be now, within a gate. A dot that is not seen coasts for a moment, marked as predicted, and
goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.core.fuse import Dots

_GATE_M: Final = 0.8  # of a standing player
_GATE_MPS: Final = 12.0  # and this much more per second: no player is faster
_GATE_MAX_M: Final = 3.0
_HOLD_S: Final = 0.6  # POS-4: an occlusion of 0.6 s is bridged by linear motion
_NUMBERS: Final = 999  # then they begin again at 1
_RESTART_S: Final = 1.0  # a step back in time of more than this is a new timeline


@dataclass(slots=True)
class LiveDot:
    """One numbered dot. Positions in metres on the pitch, velocity in m/s; ``timeline`` as in :class:`Dots`."""

    number: int
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    predicted: bool
    kind: int
    cameras: tuple[int, ...]
    player: bytes
    seen_ptp_ns: int
    timeline: str = ""

    def at(self, ptp_ns: int) -> tuple[float, float]:
        """Where it is at another time if it goes on as it went."""
        dt_s = (ptp_ns - self.seen_ptp_ns) / 1e9
        return self.x_m + self.vx_mps * dt_s, self.y_m + self.vy_mps * dt_s


class Linker:
    """Follows dots from moment to moment; at most a few hundred."""

    def __init__(self) -> None:
        self._dots: list[LiveDot] = []
        self._last_number = 0
        self.ptp_ns = 0

    def update(self, moment: Dots) -> None:
        """Take the next moment; one that is older than the last by less than a second is ignored."""
        if moment.ptp_ns < self.ptp_ns:
            if self.ptp_ns - moment.ptp_ns < _RESTART_S * 1e9:
                return
            self._dots.clear()
        self.ptp_ns = moment.ptp_ns
        matched = self._match(moment)
        for row in range(len(moment)):
            dot = matched.get(row)
            if dot is None:
                dot = self._new(moment, row)
                self._dots.append(dot)
            self._write(dot, moment, row)
        oldest = moment.ptp_ns - int(_HOLD_S * 1e9)
        self._dots = [d for d in self._dots if d.seen_ptp_ns >= oldest]

    def dots(self) -> list[LiveDot]:
        """All dots, those that coast included."""
        return list(self._dots)

    def _match(self, moment: Dots) -> dict[int, LiveDot]:
        """Row number -> known dot: by player UUID first, then nearest pairs within the gate."""
        by_player = {d.player: d for d in self._dots if any(d.player)}
        matched: dict[int, LiveDot] = {}
        used: set[int] = set()
        for row in range(len(moment)):
            dot = by_player.get(moment.player[row].tobytes())
            if dot is not None and dot.number not in used:
                matched[row] = dot
                used.add(dot.number)
        rows = [r for r in range(len(moment)) if r not in matched]
        known = [d for d in self._dots if d.number not in used]
        for row, dot in self._nearest(moment, rows, known):
            if row not in matched and dot.number not in used:
                matched[row] = dot
                used.add(dot.number)
        return matched

    def _nearest(self, moment: Dots, rows: list[int], known: list[LiveDot]) -> list[tuple[int, LiveDot]]:
        if not rows or not known:
            return []
        here = moment.xy_m[rows]
        there = np.array([d.at(moment.ptp_ns) for d in known])
        delta = here[:, None, :] - there[None, :, :]
        distance = np.hypot(delta[..., 0], delta[..., 1])
        age_s = (moment.ptp_ns - np.array([d.seen_ptp_ns for d in known])) / 1e9
        gate = np.minimum(_GATE_M + _GATE_MPS * age_s, _GATE_MAX_M)
        r, k = np.nonzero(distance <= gate[None, :])
        order = np.argsort(distance[r, k], kind="stable")
        pairs = [(rows[int(r[i])], known[int(k[i])]) for i in order]
        return [(row, dot) for row, dot in pairs if int(moment.kind[row]) == dot.kind]

    def _new(self, moment: Dots, row: int) -> LiveDot:
        taken = {d.number for d in self._dots}
        number = self._last_number % _NUMBERS + 1
        while number in taken and len(taken) < _NUMBERS:
            number = number % _NUMBERS + 1
        self._last_number = number
        return LiveDot(number, 0.0, 0.0, 0.0, 0.0, False, int(moment.kind[row]), (), b"", moment.ptp_ns)

    def _write(self, dot: LiveDot, moment: Dots, row: int) -> None:
        dot.x_m, dot.y_m = (float(v) for v in moment.xy_m[row])
        dot.vx_mps, dot.vy_mps = (float(v) for v in moment.v_mps[row])
        dot.predicted = bool(moment.predicted[row])
        dot.cameras = moment.cameras[row]
        dot.player = moment.player[row].tobytes()
        dot.seen_ptp_ns = moment.ptp_ns
        dot.timeline = moment.timelines[row]


def beside(dots: list[LiveDot]) -> list[str]:
    """The nodes that are not aligned and whose dots stand beside others'; none while all dots are of one timeline."""
    timelines = {dot.timeline for dot in dots}
    return sorted(timelines - {""}) if len(timelines) > 1 else []


def liveness(quiet_s: float | None, behind_s: float | None, stale_s: float) -> str:
    """Say whether the picture is live.

    ``quiet_s``: since the last camera frame arrived (None: never). ``behind_s``: rack time minus the exposure shown.
    Returns waiting, stale (nothing arrives), behind (old exposures arrive), ahead (a clock is wrong) or live.
    """
    if quiet_s is None or behind_s is None:
        return "waiting"
    if quiet_s > stale_s:
        return "stale"
    if behind_s > stale_s + quiet_s:
        return "behind"
    return "ahead" if behind_s < -stale_s else "live"

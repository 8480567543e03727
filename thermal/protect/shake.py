"""Is the node being shaken? Pure: samples in, a verdict out; times in CLOCK_MONOTONIC ns, accelerations in g (PRT-1).

At rest an accelerometer reads 1 g, so what counts is the deviation. From what: from the vector read at rest
(``learnt``), because |a| hides what is across gravity: 0.8 g sideways makes |a| only 1.28. Until rest has been seen, or
with ``magnitude``, it is ``||a| - 1|``. A node that lies on its side deviates by 1.41 g from where it stood: a mast
that fell is shaken until a person says otherwise.

A run of shaking begins with a sample above the limit and ends with a calm longer than the gap: an oscillation passes
through zero twice a period, so without a gap only a steady push would ever last 500 ms. A sample that could not be read
is no calm, and ends no rest; silence up to ``SILENCE_NS`` (or two samples and a half) leaves the run alive.

A real sensor is never still: 10 bits of +-2 g (LIS3DH, ADXL345) are steps of 3.9 mg, and 220 ug/sqrt(Hz) over 50 Hz are
1.6 mg of noise (LIS3DH, DocID17530), so even midway between two steps all three axes repeat with a chance of one half,
and ten seconds of that have one of 1e-100. A part of coarse steps (8 bits: 16 mg, ten times the noise) may well repeat
for hours. So only a part that was seen to move by ``FINE_G`` or less is judged, and ``frozen_ns`` is long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

Vector = tuple[float, float, float]

LEAST_SAMPLES: Final = 5  # above the limit within a run: two stray readings are no shaking
SILENCE_NS: Final = 250_000_000  # a busy machine samples late; that is no evidence of calm
REST_NS: Final = 2_000_000_000  # calm for so long is rest
REST_SPREAD_G: Final = 0.2  # between the samples of a rest, each axis
REST_OFF_G: Final = 0.15  # a sensor at rest reads 1 g within this; LIS3DH: offset 40 mg each axis, gain some percent
REST_SAMPLES: Final = 10
SLOW_SAMPLES: Final = 2  # one alone is a process that was held up
FINE_G: Final = 0.005  # a step of 10 bits of +-2 g, rounded up
MOST_G: Final = 1000.0  # no such sensor: a reading beyond it is none


@dataclass(frozen=True, slots=True)
class ShakeSettings:
    """What counts as shaking. ``learn``: deviation from the vector at rest; ``lost_ns``: no sample for so long.

    ``frozen_ns``: the same sample to the last bit for so long is no sensor either; 0: that is not judged.
    """

    limit_g: float = 0.7
    hold_ns: int = 500_000_000
    gap_ns: int = 100_000_000
    period_ns: int = 20_000_000
    learn: bool = True
    lost_ns: int = 2_000_000_000
    frozen_ns: int = 600_000_000_000


@dataclass(frozen=True, slots=True)
class Missed:
    """A sample that could not be read, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Calm:
    """A stretch of samples that differ little."""

    since_ns: int
    low: Vector
    high: Vector
    total: Vector
    count: int

    @property
    def mean(self) -> Vector:
        """Their mean."""
        x, y, z = self.total
        return x / self.count, y / self.count, z / self.count


@dataclass(frozen=True, slots=True)
class Run:
    """Shaking that goes on. ``last_ns``: the newest sample above the limit; ``calm``: whether one below came since."""

    since_ns: int
    last_ns: int
    samples: int
    peak_g: float
    calm: bool = False


@dataclass(frozen=True, slots=True)
class ShakeState:
    """``begun_ns``: when the first sample was asked for; ``gravity``: the vector at rest, once it was seen."""

    begun_ns: int | None = None
    good_ns: int | None = None
    why: str = ""
    gravity: Vector | None = None
    calm: Calm | None = None
    run: Run | None = None
    deviation_g: float | None = None
    vector: Vector | None = None
    slow: int = 0  # samples in a row that came later than ``lost_ns``
    still_ns: int = 0  # since when the samples are the same to the last bit
    least_g: float = math.inf  # the smallest change of an axis between two samples: its step, or less


@dataclass(frozen=True, slots=True)
class Shaken:
    """The limit was exceeded for long enough."""

    lasted_ns: int
    peak_g: float
    samples: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this sample says. ``lost``: why there is no sensor, "" while there is one; ``rest``: calm for 2 s at 1 g.

    ``frozen``: it is lost because it repeats itself.
    """

    shaken: Shaken | None = None
    lost: str = ""
    rest: bool = False
    frozen: bool = False


def step(settings: ShakeSettings, state: ShakeState, look: Vector | Missed, now_ns: int) -> tuple[ShakeState, Verdict]:
    """Take one sample."""
    begun_ns = now_ns if state.begun_ns is None else state.begun_ns
    state = replace(state, begun_ns=begun_ns)
    if isinstance(look, Missed) or not all(math.isfinite(part) and abs(part) <= MOST_G for part in look):
        return _missed(settings, state, look.why if isinstance(look, Missed) else "reads nonsense", now_ns)
    calm = _calm(state.calm, look, now_ns)
    deviation_g = deviation(look, state.gravity)
    run, shaken = _run(settings, state.run, deviation_g, now_ns)
    rest = _at_rest(calm, now_ns)  # also of a node that lies on its side
    learnt = calm.mean if settings.learn and rest and state.gravity is None else state.gravity
    slow = state.slow + 1 if state.good_ns is not None and now_ns - state.good_ns >= settings.lost_ns else 0
    kept = replace(
        _stillness(state, look, now_ns), good_ns=now_ns, why="", calm=calm, run=run, gravity=learnt, slow=slow
    )
    return replace(kept, deviation_g=deviation_g, vector=look), _doubted(
        settings, kept, Verdict(shaken, rest=rest), now_ns
    )


def forget(state: ShakeState) -> ShakeState:
    """After a reset by a person: rest is learnt anew, from how the node stands now."""
    return replace(state, gravity=None, run=None, calm=None)


def deviation(vector: Vector, gravity: Vector | None) -> float:
    """How far a sample is from rest, g."""
    return abs(math.hypot(*vector) - 1.0) if gravity is None else math.dist(vector, gravity)


def _missed(settings: ShakeSettings, state: ShakeState, why: str, now_ns: int) -> tuple[ShakeState, Verdict]:
    state = replace(state, why=why)
    assert state.begun_ns is not None
    since_ns = state.begun_ns if state.good_ns is None else state.good_ns
    if now_ns - since_ns < settings.lost_ns:
        rest = state.calm is not None and now_ns - since_ns <= _silence_ns(settings) and _at_rest(state.calm, since_ns)
        return state, _doubted(settings, state, Verdict(rest=rest), now_ns)
    lost = replace(state, calm=None, run=None, deviation_g=None, vector=None)
    return lost, Verdict(None, f"no sample for {(now_ns - since_ns) / 1e9:.1f} s: {why}")


def _stillness(state: ShakeState, look: Vector, now_ns: int) -> ShakeState:
    """Since when the samples are the same, and the smallest change ever seen."""
    if look == state.vector:
        return state
    moved = [] if state.vector is None else [abs(a - b) for a, b in zip(look, state.vector, strict=True) if a != b]
    return replace(state, still_ns=now_ns, least_g=min([state.least_g, *moved]))


def _doubted(settings: ShakeSettings, state: ShakeState, verdict: Verdict, now_ns: int) -> Verdict:
    """The verdict of a sensor that answers, unless it is too slow or frozen."""
    still_ns = now_ns - state.still_ns
    if settings.frozen_ns and state.least_g <= FINE_G and still_ns >= settings.frozen_ns:
        lost = f"frozen: the same sample to the last bit for {still_ns / 1e9:.0f} s"
        return replace(verdict, lost=lost, rest=False, frozen=True)
    if state.slow >= SLOW_SAMPLES:
        return replace(verdict, lost="samples come too slowly: can its driver's rate be set?")
    return verdict


def _calm(calm: Calm | None, look: Vector, now_ns: int) -> Calm:
    if calm is not None:
        low: Vector = tuple(map(min, calm.low, look))  # type: ignore[assignment]
        high: Vector = tuple(map(max, calm.high, look))  # type: ignore[assignment]
        if all(b - a <= REST_SPREAD_G for a, b in zip(low, high, strict=True)):
            x, y, z = calm.total
            return Calm(calm.since_ns, low, high, (x + look[0], y + look[1], z + look[2]), calm.count + 1)
    return Calm(now_ns, look, look, look, 1)


def _at_rest(calm: Calm, now_ns: int) -> bool:
    long = now_ns - calm.since_ns >= REST_NS and calm.count >= REST_SAMPLES
    return long and abs(math.hypot(*calm.mean) - 1.0) <= REST_OFF_G


def _silence_ns(settings: ShakeSettings) -> int:
    """For so long no sample is no evidence of anything."""
    return max(settings.gap_ns, SILENCE_NS, settings.period_ns * 5 // 2)


def _run(settings: ShakeSettings, run: Run | None, deviation_g: float, now_ns: int) -> tuple[Run | None, Shaken | None]:
    if deviation_g <= settings.limit_g:
        over = run is None or now_ns - run.last_ns > settings.gap_ns
        return (None if over or run is None else replace(run, calm=True)), None
    if run is None or now_ns - run.last_ns > (settings.gap_ns if run.calm else _silence_ns(settings)):
        return Run(now_ns, now_ns, 1, deviation_g), None
    run = Run(run.since_ns, now_ns, run.samples + 1, max(run.peak_g, deviation_g))
    if now_ns - run.since_ns < settings.hold_ns or run.samples < LEAST_SAMPLES:
        return run, None
    return None, Shaken(now_ns - run.since_ns, run.peak_g, run.samples)

"""A sliding fit of rate and offset to pairs of two clocks, judged by how well it foretold the next pair. Pure.

One pair and an assumed rate leave microseconds (20 ppm over a second is 20 us); a line over many pairs averages jitter
and ticks away. How long the window may be depends on how fast heat bends the oscillator, which nobody knows beforehand.
So several models run side by side, lines and parabolas over windows of different length; each foretells every new pair
before it is taken in, and the one with the smallest recent error is used. That error is the honest measure of the
prediction itself: it holds noise, ticks and whatever bends, with no assumption on any of them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.clock.mapping import Pair

MAX_PAIRS: Final = 32
MIN_TOLD: Final = 6  # predictions that a model must have made before its error is believed
SETTLED: Final = 16  # predictions after which the choice of the model and its error have settled
_MEMORY: Final = 64  # errors remembered, as an exponential mean
_BETTER: Final = 0.92  # another model must be so much better before it takes over
_HUBER: Final = 2.0  # residuals beyond so many scales weigh less (Huber 1964; 2.0 keeps 97 % efficiency)
_TO_SIGMA: Final = 1.4826  # from the median of absolute deviations to a normal distribution's sigma
_FAR: Final = 6.0  # scales from the median line: no part of it
_UNHEARD: Final = 1e-6
_TILT: Final = {1: 3.0, 2: 12.0}
"""Sum of the weights' sizes with which pairs make the slope at the newest one, times the window's span: least squares
over many evenly spaced pairs, for a line and for a parabola."""
_STUBBORN: Final = 3  # newest pairs left out in a row while learning: it is the older ones that are wild
_FEW: Final = 8.0  # the median deviation of few pairs may be small by chance: so much more is allowed of one pair alone


@dataclass(frozen=True, slots=True)
class Model:
    """A polynomial of ``degree`` over the newest ``length`` pairs."""

    degree: int
    length: int

    @property
    def least(self) -> int:
        """Pairs it needs."""
        return self.degree + 2


MODELS: Final = (Model(1, 8), Model(1, 16), Model(1, 32), Model(2, 16), Model(2, 32))


@dataclass(frozen=True, slots=True)
class Line:
    """PTP time less base time: ``offset_ns`` at ``base_ns``, growing by ``rate_ppb``; ``ptp_ns`` is the sum there."""

    base_ns: int
    ptp_ns: int
    rate_ppb: float


@dataclass(slots=True)
class _Judged:
    """A model's polynomial about the newest pair, lowest power first, ns and s, and how well it foretold."""

    model: Model
    poly: NDArray[np.float64] | None = None
    slope_sigma_ppb: float = 0.0
    mean_square: float = 0.0
    told: int = 0

    def foretell(self, age_s: float) -> float | None:
        """Offset against the newest pair's, ns, ``age_s`` after it; None while there is no polynomial."""
        if self.poly is None:
            return None
        value = 0.0
        for coefficient in reversed(self.poly):
            value = value * age_s + float(coefficient)
        return value

    def judge(self, error_ns: float) -> None:
        self.told += 1
        self.mean_square += (error_ns * error_ns - self.mean_square) / min(self.told, _MEMORY)


class PairFit:
    """The fit of one timebase. Pairs are added in their order; times are ns, offsets are kept against the newest."""

    def __init__(self) -> None:
        self._pairs: deque[Pair] = deque(maxlen=MAX_PAIRS)
        self._judged = [_Judged(model) for model in MODELS]
        self._used = self._judged[0]
        self._taken = 0
        self._left_out: list[Pair] = []  # newest pairs in a row, while learning
        self._heard_ns = 0

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def taken(self) -> int:
        """Pairs taken in all its life."""
        return self._taken

    @property
    def ready(self) -> bool:
        """Whether there is a line whose error is known."""
        return self._used.told >= MIN_TOLD

    @property
    def settled(self) -> bool:
        """Whether its error is known well enough to speak of a lock."""
        return self._used.told >= SETTLED

    @property
    def model(self) -> Model:
        """The model in use."""
        return self._used.model

    @property
    def newest(self) -> Pair:
        """The newest pair."""
        return self._pairs[-1]

    @property
    def heard_ns(self) -> int:
        """Base time of the newest pair that has a say in the line: from there on it is a prophecy."""
        return self._heard_ns

    @property
    def rms_ns(self) -> float:
        """Root of the mean square error of the recent predictions, widened while there were few of them.

        The widening is that of Student's distribution against the normal one at 99.9 %: 1.7 for 6, 1.1 for 64.
        """
        used = self._used
        return math.sqrt(used.mean_square) * (1.0 + 4.0 / max(min(used.told, _MEMORY), 1))

    @property
    def half_ns(self) -> float:
        """Mean of what the window's pairs do not average out, ns."""
        recent = list(self._pairs)[-self._used.model.length :]
        return sum(pair.half_ns for pair in recent) / len(recent)

    @property
    def slope_sigma_ppb(self) -> float:
        """Standard deviation of the slope, ppb."""
        return self._used.slope_sigma_ppb

    def tilt_ppb(self, error_ns: float) -> float:
        """How wrong the slope may be when every pair may be wrong by ``error_ns`` either way, in the worst order, ppb.

        Errors that wander within the window look like a slope, and no residual shows them.
        """
        pairs = list(self._pairs)[-self._used.model.length :]
        span_s = (pairs[-1].base_ns - pairs[0].base_ns) * 1e-9
        return _TILT[self._used.model.degree] * error_ns / span_s if span_s > 0 else 0.0

    def error_of(self, pair: Pair) -> float | None:
        """How far a pair lies from what was foretold, ns; None while nothing can be foretold."""
        foretold = self._used.foretell(self._age_s(pair)) if self._pairs else None
        return None if foretold is None else self._rise(pair) - foretold

    def add(self, pair: Pair) -> None:
        """Take a pair that is newer than the last. Raises ValueError when it is not."""
        if self._pairs and pair.base_ns <= self.newest.base_ns:
            raise ValueError(f"pair at {pair.base_ns} is not newer than {self.newest.base_ns}")
        before = [(one.mean_square, one.told) for one in self._judged]
        if self._pairs:
            rise, age_s = self._rise(pair), self._age_s(pair)
            for one in self._judged:
                foretold = one.foretell(age_s)
                if foretold is not None:
                    one.judge(rise - foretold)
        self._pairs.append(pair)
        self._taken += 1
        if not self.ready and self._forget_wild(before):
            return
        self._fit_all()
        self._choose()

    def line(self, ahead_s: float) -> Line:
        """The line from the newest pair on: through the model there and ``ahead_s`` later. Needs :attr:`ready`."""
        here, there = self._used.foretell(0.0), self._used.foretell(ahead_s)
        assert here is not None and there is not None
        newest = self.newest
        return Line(newest.base_ns, newest.ptp_ns + round(here), (there - here) / ahead_s)

    # --- inside ---

    def _age_s(self, pair: Pair) -> float:
        return (pair.base_ns - self.newest.base_ns) * 1e-9

    def _rise(self, pair: Pair) -> float:
        newest = self.newest
        return float((pair.ptp_ns - newest.ptp_ns) - (pair.base_ns - newest.base_ns))

    def _columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Age in s and rise in ns against the newest pair, and half in ns, of all pairs."""
        age_s = np.array([self._age_s(pair) for pair in self._pairs])
        rise_ns = np.array([self._rise(pair) for pair in self._pairs])
        return age_s, rise_ns, np.array([pair.half_ns for pair in self._pairs])

    def _forget_wild(self, before: list[tuple[float, int]]) -> bool:
        """While learning: leave out a newest pair that is wild; older ones with all that was thought of them.

        Older ones that agree by chance would leave out all that comes, for ever; :data:`_STUBBORN` says when they go.
        """
        near = _near_the_median_line(*self._columns())
        if near.all():
            self._left_out = []
            return False
        newest, self._pairs = (
            self.newest,
            deque((pair for pair, kept in zip(self._pairs, near, strict=True) if kept), maxlen=MAX_PAIRS),
        )
        self._left_out = [] if near[-1] else [*self._left_out, newest]
        if len(self._left_out) >= _STUBBORN:
            self._pairs, self._left_out = deque(self._left_out, maxlen=MAX_PAIRS), []
        elif near[:-1].all():
            for one, (mean_square, told) in zip(self._judged, before, strict=True):
                one.mean_square, one.told = mean_square, told
            return True  # the polynomials of the last pair stand
        self._judged = [_Judged(model) for model in MODELS]
        self._used = self._judged[0]
        self._fit_all()
        return True

    def _fit_all(self) -> None:
        age_s, rise_ns, half_ns = self._columns()
        floor = float(half_ns.min())
        weight = (floor**2 + 1.0) / (half_ns**2 + 1.0)  # a wide bracket says less
        near = _near_the_median_line(age_s, rise_ns, half_ns)
        self._heard_ns = max(pair.base_ns for pair, heard in zip(self._pairs, near, strict=True) if heard)
        weight = np.where(near, weight, weight * _UNHEARD)
        for one in self._judged:
            part = slice(-one.model.length, None)
            if len(self._pairs) >= one.model.least:
                one.poly, one.slope_sigma_ppb = _fit(one.model.degree, age_s[part], rise_ns[part], weight[part])

    def _choose(self) -> None:
        able = [one for one in self._judged if one.told >= MIN_TOLD]
        if not able:
            return
        best = min(able, key=lambda one: one.mean_square)
        if self._used.told < MIN_TOLD or best.mean_square < self._used.mean_square * _BETTER:
            self._used = best


def _fit(
    degree: int, x_s: NDArray[np.float64], y_ns: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Weighted least squares with Huber's weights; the polynomial (lowest power first) and its slope's sigma at 0."""
    powers = np.vander(x_s, degree + 1, increasing=True)
    use = weight
    for _ in range(3):
        normal = powers.T @ (powers * use[:, None])
        poly = _solved(normal, powers.T @ (use * y_ns))
        residual = y_ns - powers @ poly
        scale = _TO_SIGMA * float(np.median(np.abs(residual))) + 1e-3
        use = weight * np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residual), 1e-9))
    spare = max(1.0, float(use.sum()) - degree - 1)
    variance = float((use * residual * residual).sum()) / spare
    return poly, math.sqrt(max(0.0, variance * float(_solved(normal, np.eye(degree + 1))[1, 1])))


def _solved(normal: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution; where weights are so far apart that some pairs say nothing beside others, the smallest of them."""
    try:
        return np.asarray(np.linalg.solve(normal, right), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(normal, right, rcond=None)[0], np.float64)


def _near_the_median_line(
    x_s: NDArray[np.float64], y_ns: NDArray[np.float64], half_ns: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which pairs do not lie far from the line of median slope (Theil 1950, Sen 1968); all of fewer than five."""
    count = len(x_s)
    if count < 5:
        return np.ones(count, np.bool_)
    later, earlier = np.tril_indices(count, -1)
    slope = float(np.median((y_ns[later] - y_ns[earlier]) / (x_s[later] - x_s[earlier])))
    residual = y_ns - slope * x_s
    away = np.abs(residual - np.median(residual))
    allowed = _FAR * _TO_SIGMA * float(np.median(away)) * (1.0 + _FEW / count) + 2.0 * half_ns
    return np.asarray(away <= allowed + 1.0, np.bool_)

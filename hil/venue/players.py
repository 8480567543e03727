"""A match as a pure function of (seed, PTP time): where everybody is, how fast, facing where.

The motion is integrated once per seed with bounded accelerations over one period of :data:`PERIOD_S` seconds, closed
into a loop, and read back between its knots by cubic Hermite pieces. So position and velocity are continuous, any
instant can be asked for in any order, and two processes with the same seed see the same match.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hil.venue.pitch import LENGTH_M, WIDTH_M

PERIOD_S = 240.0
STEP_S = 0.1
MAX_PEOPLE = 26
MAX_SPEED_MPS = 8.0
MAX_ACCELERATION_MPS2 = 8.0
HOME, AWAY, OFFICIALS = 0, 1, 2

_KNOTS = round(PERIOD_S / STEP_S)
_PERIOD_NS = round(PERIOD_S * 1e9)
_WARM_KNOTS = 400
_BLEND_KNOTS = 120
_CRUISE_LIMIT_MPS = 7.2
_ACCELERATION_LIMIT_MPS2 = 7.0
_PERSONAL_SPACE_M = 2.2
_NAMESPACE = uuid.UUID("6f2c6a0e-6f0c-4f6b-9a52-6d1c0f4a6a11")

# Own goal line = 0, opponents' = 1; across the pitch 0..1. Goalkeeper first.
_FORMATION = np.array(
    [
        [0.03, 0.50], [0.26, 0.14], [0.22, 0.38], [0.22, 0.62], [0.26, 0.86],
        [0.50, 0.12], [0.43, 0.38], [0.43, 0.62], [0.50, 0.88], [0.68, 0.40], [0.68, 0.62],
    ]
)  # fmt: skip

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VenueState:
    """Everybody at one instant; arrays share their first axis (one row per person).

    ``team`` is 0 home, 1 away, 2 officials; ``facing`` are unit vectors; ``stride_rad`` is the phase of the gait.
    """

    ptp_ns: int
    xy_m: Array
    v_mps: Array
    height_m: Array
    facing: Array
    stride_rad: Array
    team: NDArray[np.int64]
    ids: NDArray[np.int64]
    uuids: NDArray[np.uint8]
    ball_xy_m: Array


@dataclass(frozen=True, slots=True)
class _Motion:
    """One closed loop of knots: (K, n, 2) positions, velocities and facings, (K+1, n) gait phase, (K, 2) ball."""

    xy_m: Array
    v_mps: Array
    facing: Array
    stride_rad: Array
    ball_xy_m: Array


class Venue:
    """The match of one seed. Cheap to ask, immutable, equal for equal ``(seed, people)``.

    Args:
        seed: chooses the match, the people and their heights.
        people: 1..26; both teams grow alternately to 22, then referee, two assistants and the fourth official.
    """

    def __init__(self, seed: int, people: int = 25) -> None:
        if not 1 <= people <= MAX_PEOPLE:
            raise ValueError(f"people must be 1..{MAX_PEOPLE}, not {people}")
        self.seed = seed
        self.people = people
        order = _order()[:people]
        self.team = np.repeat([HOME, AWAY, OFFICIALS], [11, 11, 4])[order].astype(np.int64)
        self.ids = order.astype(np.int64)
        self.height_m = np.clip(np.random.default_rng([seed, 1]).normal(1.80, 0.065, MAX_PEOPLE), 1.64, 1.97)[order]
        names = [uuid.uuid5(_NAMESPACE, f"{seed}/{index}").bytes for index in order]
        self.uuids = np.frombuffer(b"".join(names), np.uint8).reshape(people, 16)
        self._order = order
        self._motion = _motion(seed)

    def state_at(self, ptp_ns: int) -> VenueState:
        """The truth at ``ptp_ns`` (any integer; the match repeats every :data:`PERIOD_S`)."""
        knot, rest_ns = divmod(int(ptp_ns) % _PERIOD_NS, _PERIOD_NS // _KNOTS)
        u = rest_ns / (_PERIOD_NS // _KNOTS)
        motion, order, following = self._motion, self._order, (knot + 1) % _KNOTS
        xy_m, v_mps = _hermite(
            motion.xy_m[knot, order], motion.v_mps[knot, order],
            motion.xy_m[following, order], motion.v_mps[following, order], u,
        )  # fmt: skip
        facing = motion.facing[knot, order] * (1 - u) + motion.facing[following, order] * u
        facing = facing / np.linalg.norm(facing, axis=1, keepdims=True)
        stride = motion.stride_rad[knot, order] * (1 - u) + motion.stride_rad[knot + 1, order] * u
        ball = motion.ball_xy_m[knot] * (1 - u) + motion.ball_xy_m[following] * u
        return VenueState(
            int(ptp_ns), xy_m, v_mps, self.height_m, facing, stride, self.team, self.ids, self.uuids, ball
        )


def _order() -> NDArray[np.intp]:
    """Rows in order of appearance: home and away alternately, then the officials."""
    pairs = np.stack([np.arange(11), np.arange(11, 22)], axis=1).ravel()
    return np.concatenate([pairs, np.arange(22, MAX_PEOPLE)]).astype(np.intp)


def _hermite(p0: Array, v0: Array, p1: Array, v1: Array, u: float) -> tuple[Array, Array]:
    """Cubic Hermite position and velocity at ``u`` in 0..1 of one step."""
    h = STEP_S
    position = (
        p0 * (2 * u**3 - 3 * u**2 + 1)
        + v0 * (h * (u**3 - 2 * u**2 + u))
        + p1 * (-2 * u**3 + 3 * u**2)
        + v1 * (h * (u**3 - u**2))
    )
    velocity = (p0 - p1) * ((6 * u**2 - 6 * u) / h) + v0 * (3 * u**2 - 4 * u + 1) + v1 * (3 * u**2 - 2 * u)
    return position, velocity


def _waves(rng: np.random.Generator, count: int, low: int, high: int) -> Array:
    """(K, count) periodic signals of unit standard deviation with harmonics ``low..high`` of the period."""
    phase = 2 * np.pi * np.arange(_KNOTS)[:, None] / _KNOTS
    harmonics = np.arange(low, high + 1)
    amplitude = rng.normal(size=(len(harmonics), count)) / np.sqrt(harmonics)[:, None]
    offset = rng.uniform(0, 2 * np.pi, size=(len(harmonics), count))
    total: Array = np.zeros((_KNOTS, count))
    for index, harmonic in enumerate(harmonics):
        total += amplitude[index] * np.sin(harmonic * phase + offset[index])
    return np.asarray(total / total.std(axis=0))


@lru_cache(maxsize=8)
def _motion(seed: int) -> _Motion:
    """Integrate, close the loop, and derive facing and gait."""
    rng = np.random.default_rng([seed, 0])
    ball = np.array([52.5, 34.0]) + np.array([46.0, 28.0]) * np.sin(_waves(rng, 2, 2, 11) * 0.9)
    wander = _waves(rng, MAX_PEOPLE * 2, 4, 22).reshape(_KNOTS, MAX_PEOPLE, 2)
    xy_m, v_mps = _close(*_integrate(_targets(ball, wander, rng), ball))
    facing = _facing(xy_m, v_mps, ball)
    return _Motion(xy_m, v_mps, facing, _stride(v_mps), ball)


def _targets(ball: Array, wander: Array, rng: np.random.Generator) -> Array:
    """(K, 26, 2) where everybody would like to be: formation moving with the ball, plus personal runs."""
    base = np.empty((_KNOTS, MAX_PEOPLE, 2))
    shift = ball - np.array([52.5, 34.0])
    for first, side in ((0, 1), (11, -1)):
        formation = _FORMATION + rng.normal(0, 0.02, _FORMATION.shape) * (np.arange(11) > 0)[:, None]
        along = 52.5 + side * (formation[:, 0] * 0.9 - 0.45) * LENGTH_M
        follow = np.where(np.arange(11) == 0, 0.05, 0.42)
        base[:, first : first + 11, 0] = along + shift[:, :1] * follow
        base[:, first : first + 11, 1] = formation[:, 1] * WIDTH_M + shift[:, 1:] * follow * 0.8
    reach = np.where(np.arange(22) % 11 == 0, 1.2, 4.5)[:, None]
    base[:, :22] += wander[:, :22] * reach
    base[:, 22] = ball * 0.8 + np.array([10.5, 6.8]) + np.array([-6.0, 6.0]) + wander[:, 22] * 2.5
    base[:, 23] = np.stack([np.clip(ball[:, 0], 52.5, 104.0), np.full(_KNOTS, -1.2)], axis=1)
    base[:, 24] = np.stack([np.clip(ball[:, 0], 1.0, 52.5), np.full(_KNOTS, WIDTH_M + 1.2)], axis=1)
    base[:, 25] = np.array([49.0, -3.5]) + wander[:, 25] * np.array([1.5, 0.4])
    base[:, :23] = np.clip(base[:, :23], [0.5, 0.5], [LENGTH_M - 0.5, WIDTH_M - 0.5])
    return base


def _integrate(targets: Array, ball: Array) -> tuple[Array, Array]:
    """Knots of warm-up plus one period; acceleration constant within a step and bounded."""
    total = _WARM_KNOTS + _KNOTS
    xy, v = np.empty((total, MAX_PEOPLE, 2)), np.zeros((total, MAX_PEOPLE, 2))
    xy[0] = targets[-_WARM_KNOTS]
    chases = (np.arange(MAX_PEOPLE) % 11 != 0) & (np.arange(MAX_PEOPLE) < 22)
    for step in range(1, total):
        knot = (step - _WARM_KNOTS) % _KNOTS
        p, speed = xy[step - 1], v[step - 1]
        to_ball = ball[knot] - p
        eager = chases * 0.75 * np.exp(-(to_ball**2).sum(axis=1) / 110.0)
        goal = targets[knot] - p
        wish = goal + eager[:, None] * (to_ball - goal)
        a = _limit(wish * 1.1 - speed * 1.7, _ACCELERATION_LIMIT_MPS2 * 0.5) + _repulsion(p)
        a = _limit(a, _ACCELERATION_LIMIT_MPS2)
        v[step] = _limit(speed + a * STEP_S, _CRUISE_LIMIT_MPS)
        xy[step] = p + (speed + v[step]) * (STEP_S / 2)
    return xy, v


def _repulsion(p: Array) -> Array:
    """Acceleration away from everyone nearer than the personal space, m/s2."""
    apart = p[:, None] - p[None]
    distance = np.sqrt((apart**2).sum(axis=2) + 1e-6)
    push = np.maximum(_PERSONAL_SPACE_M - distance, 0.0) * (12.0 / distance)
    np.fill_diagonal(push, 0.0)
    total: Array = (apart * push[..., None]).sum(axis=1)
    return total


def _limit(vectors: Array, most: float) -> Array:
    """Rows shortened to a length of at most ``most``."""
    length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    limited: Array = vectors * np.minimum(1.0, most / np.maximum(length, 1e-9))
    return limited


def _close(xy: Array, v: Array) -> tuple[Array, Array]:
    """Blend the last seconds into what the warm-up did before the first knot, so that the loop is smooth."""
    s = np.linspace(0.0, 1.0, _BLEND_KNOTS + 1)[:-1, None, None]
    weight = s**3 * (10 - 15 * s + 6 * s**2)
    slope = 30 * s**2 * (1 - s) ** 2 / (_BLEND_KNOTS * STEP_S)
    before = slice(_WARM_KNOTS - _BLEND_KNOTS, _WARM_KNOTS)
    gap = xy[before] - xy[-_BLEND_KNOTS:]
    v[-_BLEND_KNOTS:] += weight * (v[before] - v[-_BLEND_KNOTS:]) + slope * gap
    xy[-_BLEND_KNOTS:] += weight * gap
    return xy[_WARM_KNOTS:].copy(), v[_WARM_KNOTS:].copy()


def _facing(xy_m: Array, v_mps: Array, ball: Array) -> Array:
    """(K, n, 2) unit vectors: along the way when running, towards the ball when standing."""
    to_ball = ball[:, None] - xy_m
    to_ball /= np.linalg.norm(to_ball, axis=2, keepdims=True) + 1e-9
    raw = v_mps + 0.8 * to_ball
    smooth = sum(np.roll(raw, shift, axis=0) for shift in range(-3, 4))
    unit: Array = smooth / (np.linalg.norm(smooth, axis=2, keepdims=True) + 1e-9)
    return unit


def _stride(v_mps: Array) -> Array:
    """(K+1, n) gait phase: cadence v / (0.6 + 0.5 v) strides per second, a whole number of strides per period."""
    speed = np.linalg.norm(v_mps, axis=2)
    cadence_hz = speed / (0.6 + 0.5 * speed)
    turns = np.zeros((_KNOTS + 1, v_mps.shape[1]))
    np.cumsum((cadence_hz + np.roll(cadence_hz, -1, axis=0)) * (STEP_S / 2), axis=0, out=turns[1:])
    phase: Array = 2 * np.pi * turns * (np.maximum(np.round(turns[-1]), 1) / np.maximum(turns[-1], 1e-9))
    return phase

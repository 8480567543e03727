"""The pitch of the Laws of the Game as numbers: lines, arcs, spots and goals.

Frame: origin at the near left corner flag as seen from the mast, x along the touchline (0..105 m), y across the
pitch away from the mast (0..68 m), z up. The frame is right-handed. Dimensions: IFAB Laws of the Game, Law 1.
"""

from __future__ import annotations

from typing import NamedTuple

LENGTH_M = 105.0
WIDTH_M = 68.0
LINE_WIDTH_M = 0.12
CENTRE_CIRCLE_M = 9.15
PENALTY_AREA_M = (16.5, 40.32)
GOAL_AREA_M = (5.5, 18.32)
PENALTY_SPOT_M = 11.0
CORNER_ARC_M = 1.0
GOAL_M = (7.32, 2.44)
GOAL_DEPTH_M = 2.0
SPOT_RADIUS_M = 0.11


class Segment(NamedTuple):
    """An axis-parallel line marking between two points, metres."""

    x0_m: float
    y0_m: float
    x1_m: float
    y1_m: float


class Arc(NamedTuple):
    """A circular marking, kept where ``side * (x - beyond_m) >= 0`` (``side`` 0 keeps the full circle)."""

    x_m: float
    y_m: float
    radius_m: float
    side: int
    beyond_m: float


def segments() -> list[Segment]:
    """Every straight marking, the halfway line included."""
    half = WIDTH_M / 2
    lines = [
        Segment(0, 0, LENGTH_M, 0),
        Segment(0, WIDTH_M, LENGTH_M, WIDTH_M),
        Segment(0, 0, 0, WIDTH_M),
        Segment(LENGTH_M, 0, LENGTH_M, WIDTH_M),
        Segment(LENGTH_M / 2, 0, LENGTH_M / 2, WIDTH_M),
    ]
    for depth_m, width_m in (PENALTY_AREA_M, GOAL_AREA_M):
        for goal_x, front_x in ((0.0, depth_m), (LENGTH_M, LENGTH_M - depth_m)):
            low, high = half - width_m / 2, half + width_m / 2
            left, right = sorted((goal_x, front_x))
            lines += [Segment(left, low, right, low), Segment(left, high, right, high)]
            lines.append(Segment(front_x, low, front_x, high))
    return lines


def arcs() -> list[Arc]:
    """The centre circle, the penalty arcs and the corner arcs (whole circles: the outside is cut by the grass)."""
    half = WIDTH_M / 2
    box_m = PENALTY_AREA_M[0]
    found = [
        Arc(LENGTH_M / 2, half, CENTRE_CIRCLE_M, 0, 0.0),
        Arc(PENALTY_SPOT_M, half, CENTRE_CIRCLE_M, 1, box_m),
        Arc(LENGTH_M - PENALTY_SPOT_M, half, CENTRE_CIRCLE_M, -1, LENGTH_M - box_m),
    ]
    return found + [Arc(x, y, CORNER_ARC_M, 0, 0.0) for x in (0.0, LENGTH_M) for y in (0.0, WIDTH_M)]


def spots() -> list[tuple[float, float]]:
    """Penalty spots and the centre spot, metres."""
    half = WIDTH_M / 2
    return [(PENALTY_SPOT_M, half), (LENGTH_M - PENALTY_SPOT_M, half), (LENGTH_M / 2, half)]

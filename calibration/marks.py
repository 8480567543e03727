"""The painted marks of a pitch (IFAB Laws of the Game, Law 1): named points and the lines between them, in metres."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

GOAL_WIDTH_M = 7.32
GOAL_AREA_M = 5.5
PENALTY_AREA_M = 16.5
PENALTY_SPOT_M = 11.0
CIRCLE_RADIUS_M = 9.15


def _end_marks(length: float, width: float, right: bool) -> dict[str, tuple[float, float]]:
    side, middle = ("right" if right else "left"), width / 2

    def x(depth: float) -> float:
        return length - depth if right else depth

    marks = {f"{side} penalty spot": (x(PENALTY_SPOT_M), middle)}
    marks[f"{side} penalty arc top"] = (x(PENALTY_SPOT_M + CIRCLE_RADIUS_M), middle)
    reach = math.sqrt(CIRCLE_RADIUS_M**2 - (PENALTY_AREA_M - PENALTY_SPOT_M) ** 2)
    for half, sign in (("far", -1), ("near", 1)):
        goal, goal_area = GOAL_WIDTH_M / 2, GOAL_WIDTH_M / 2 + GOAL_AREA_M
        area = GOAL_WIDTH_M / 2 + PENALTY_AREA_M
        marks[f"{side} {half} corner flag"] = (x(0), middle + sign * middle)
        marks[f"{side} {half} goal post"] = (x(0), middle + sign * goal)
        marks[f"{side} {half} goal area on the goal line"] = (x(0), middle + sign * goal_area)
        marks[f"{side} {half} goal area corner"] = (x(GOAL_AREA_M), middle + sign * goal_area)
        marks[f"{side} {half} penalty area on the goal line"] = (x(0), middle + sign * area)
        marks[f"{side} {half} penalty area corner"] = (x(PENALTY_AREA_M), middle + sign * area)
        marks[f"{side} {half} penalty arc end"] = (x(PENALTY_AREA_M), middle + sign * reach)
    return marks


def marks(pitch_m: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Name to (x, y) of every painted point; ``far`` is y = 0, ``left`` is x = 0."""
    length, width = pitch_m
    named = {**_end_marks(length, width, False), **_end_marks(length, width, True)}
    named["centre spot"] = (length / 2, width / 2)
    for half, sign in (("far", -1), ("near", 1)):
        named[f"halfway line on the {half} touchline"] = (length / 2, width / 2 + sign * width / 2)
        named[f"centre circle on the halfway line, {half}"] = (length / 2, width / 2 + sign * CIRCLE_RADIUS_M)
    return named


def lines(pitch_m: tuple[float, float], step_m: float = 0.5) -> list[FloatArray]:
    """The painted lines as polylines (n, 2), points at most ``step_m`` apart so that a lens may bend them."""
    length, width = pitch_m
    corners = [((0, 0), (length, 0)), ((0, width), (length, width)), ((length / 2, 0), (length / 2, width))]
    for x0, sign in ((0.0, 1.0), (length, -1.0)):
        corners.append(((x0, 0), (x0, width)))
        for depth, half in ((GOAL_AREA_M, GOAL_AREA_M), (PENALTY_AREA_M, PENALTY_AREA_M)):
            low, high = width / 2 - GOAL_WIDTH_M / 2 - half, width / 2 + GOAL_WIDTH_M / 2 + half
            x1 = x0 + sign * depth
            corners += [((x0, low), (x1, low)), ((x1, low), (x1, high)), ((x1, high), (x0, high))]
    drawn = [_straight(np.array(a, float), np.array(b, float), step_m) for a, b in corners]
    drawn.append(_arc((length / 2, width / 2), 0.0, math.tau, step_m))
    half_angle = math.acos((PENALTY_AREA_M - PENALTY_SPOT_M) / CIRCLE_RADIUS_M)
    drawn.append(_arc((PENALTY_SPOT_M, width / 2), -half_angle, half_angle, step_m))
    drawn.append(_arc((length - PENALTY_SPOT_M, width / 2), math.pi - half_angle, math.pi + half_angle, step_m))
    return drawn


def _straight(a: FloatArray, b: FloatArray, step_m: float) -> FloatArray:
    count = max(2, math.ceil(float(np.hypot(*(b - a))) / step_m) + 1)
    return a + np.linspace(0.0, 1.0, count)[:, None] * (b - a)


def _arc(centre: tuple[float, float], start: float, end: float, step_m: float) -> FloatArray:
    angle = np.linspace(start, end, max(8, math.ceil((end - start) * CIRCLE_RADIUS_M / step_m) + 1))
    return np.asarray(centre) + CIRCLE_RADIUS_M * np.column_stack((np.cos(angle), np.sin(angle)))

"""Small least squares without numpy: Levenberg-Marquardt over a handful of parameters. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_STEP: Final = 1e-4  # of the finite differences, relative to 1: parameters are scaled (logarithms, tens of K)
Residuals = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True, slots=True)
class Solution:
    """``sigma``: standard error of each value, as the residuals' spread and their sensitivity give it."""

    values: tuple[float, ...]
    sigma: tuple[float, ...]
    rms: float
    steps: int


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float] | None:
    """Solve a small system by elimination with pivots; None when it is singular."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda place: abs(rows[place][column]))
        if not abs(rows[pivot][column]) > 1e-300:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for place in range(column + 1, size):
            share = rows[place][column] / rows[column][column]
            rows[place] = [a - share * b for a, b in zip(rows[place], rows[column], strict=True)]
    found = [0.0] * size
    for place in reversed(range(size)):
        known = sum(rows[place][column] * found[column] for column in range(place + 1, size))
        found[place] = (rows[place][size] - known) / rows[place][place]
    return found


def fit(residuals: Residuals, start: Sequence[float], *, most_steps: int = 30) -> Solution:
    """Minimise the sum of squares from ``start``. Parameters should be of the order of 1 in what they do."""
    values, damping = list(start), 1e-3
    now = residuals(values)
    cost = _square(now)
    steps = 0
    while steps < most_steps:
        steps += 1
        normal, slope = _normal(residuals, values, now)
        step = _damped(normal, slope, damping)
        tried = None if step is None else [value + change for value, change in zip(values, step, strict=True)]
        new = residuals(tried) if tried is not None else now
        new_cost = _square(new)
        if tried is None or not new_cost < cost:
            damping *= 8.0
            if damping > 1e9:
                break
            continue
        small = cost - new_cost < 1e-7 * cost
        values, now, cost, damping = tried, new, new_cost, max(damping / 5.0, 1e-9)
        if small:
            break
    normal, _slope = _normal(residuals, values, now)
    return Solution(tuple(values), _sigma(normal, cost, len(now)), math.sqrt(cost / max(len(now), 1)), steps)


def _square(found: Sequence[float]) -> float:
    total = sum(value * value for value in found)
    return total if math.isfinite(total) else math.inf


def _normal(
    residuals: Residuals, values: Sequence[float], now: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """J'J and -J'r by finite differences."""
    columns = []
    for place in range(len(values)):
        moved = list(values)
        moved[place] += _STEP
        columns.append([(a - b) / _STEP for a, b in zip(residuals(moved), now, strict=True)])
    normal = [[_dot(a, b) for b in columns] for a in columns]
    return normal, [-_dot(column, now) for column in columns]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _damped(normal: Sequence[Sequence[float]], slope: Sequence[float], damping: float) -> list[float] | None:
    matrix = [
        [value * (1.0 + damping) + 1e-12 if place == column else value for column, value in enumerate(row)]
        for place, row in enumerate(normal)
    ]
    step = solve(matrix, slope)
    if step is None or not all(math.isfinite(value) for value in step):
        return None
    return [min(max(value, -2.0), 2.0) for value in step]


def _sigma(normal: Sequence[Sequence[float]], cost: float, count: int) -> tuple[float, ...]:
    """Square roots of the diagonal of the covariance; infinite where the data say nothing."""
    size = len(normal)
    variance = cost / max(count - size, 1)
    found = []
    for place in range(size):
        unit = [1.0 if other == place else 0.0 for other in range(size)]
        column = solve(normal, unit)
        found.append(math.sqrt(variance * column[place]) if column is not None and column[place] > 0 else math.inf)
    return tuple(found)

"""What stands up around the pitch: advertising boards, a stand with a crowd, trees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hil.venue.kits import Look
from hil.venue.optics import Rays
from hil.venue.painting import Grain, Image, Picture, Surface, mix, wall
from hil.venue.pitch import LENGTH_M, WIDTH_M

Span = tuple[float, float]
Colouring = Callable[[Surface], Image]

_SEAT_ROWS = 16
_SEAT_M = 0.55
_FACES = (190.0, 150.0, 122.0)


def paint(picture: Picture, view: Rays, look: Look, seed: int) -> None:
    """Far things first: trees all round, the stand or nearer trees opposite, then the boards."""
    grain = Grain(seed)
    _trees(picture, wall(view, 1, WIDTH_M + 48.0, (-0.5, 24.0)), 13.0, grain)
    for at_m in (-38.0, LENGTH_M + 38.0):
        _trees(picture, wall(view, 0, at_m, (-0.5, 18.0)), 10.0, grain)
    if look.backdrop == "trees":
        _trees(picture, wall(view, 1, WIDTH_M + 16.0, (-0.5, 16.0)), 9.0, grain)
    else:
        _stand(picture, view, look, seed)
    panel = _panels(seed)
    for axis, at_m, span in (
        (0, -6.5, (-2.0, WIDTH_M + 5.5)),
        (0, LENGTH_M + 6.5, (-2.0, WIDTH_M + 5.5)),
        (1, WIDTH_M + 5.5, (-6.5, LENGTH_M + 6.5)),
    ):
        _rectangle(picture, wall(view, axis, at_m, (0.0, 0.9)), (span, (0.0, 0.9)), panel)


def _rectangle(picture: Picture, surface: Surface | None, extent: tuple[Span, Span], colour: Colouring) -> None:
    """Blend the part of a wall within ``extent`` (along, up) over the picture."""
    if surface is not None:
        mix(picture[surface.rows], surface.inside(*extent), colour(surface))


def _trees(picture: Picture, surface: Surface | None, tall_m: float, grain: Grain) -> None:
    """A row of trees, irregular crowns about ``tall_m`` high."""
    if surface is None:
        return
    crown = np.full_like(surface.u_m, tall_m)
    for wave, strength in ((16.0, 0.14), (5.0, 0.07), (1.6, 0.025)):
        crown += tall_m * strength * grain.at(surface.u_m, surface.u_m * 0, wave, surface.du_m)
    share = np.clip((crown - surface.v_m) / (surface.dv_m * 2), 0, 1)
    share = share * surface.inside((-600.0, 600.0), (-0.5, tall_m * 1.8))
    leaf = 1.0 + 0.3 * grain.on(surface, 2.2) + 0.22 * grain.on(surface, 0.7)
    leaf *= np.clip(0.45 + surface.v_m / tall_m, 0.4, 1.1)
    mix(picture[surface.rows], share, np.array([52, 74, 40], np.float32) * leaf[..., None])


def _panels(seed: int) -> Colouring:
    """Boards of 6 m in plain colours with blocks that look like letters."""
    rng = np.random.default_rng([seed, 5])
    grain = Grain(seed)
    colours = _clothes(rng, 32)
    inks = np.where(colours.mean(axis=1, keepdims=True) > 128, np.float32(24), np.float32(235))

    def panel(board: Surface) -> Image:
        index = np.floor(board.u_m / 6.0).astype(int) % len(colours)
        stroke = grain.at(board.u_m, board.v_m * 0.4, 0.5, board.footprint_m)
        stroke = stroke + 0.5 * grain.at(board.u_m, board.v_m * 0.2, 1.4, board.footprint_m)
        along = np.mod(board.u_m, 6.0)
        middle = np.clip((along - 1.0) * 4, 0, 1) * np.clip((5.0 - along) * 4, 0, 1)
        ink = (np.clip(stroke * 3.0, 0, 1) * middle * ((board.v_m > 0.25) & (board.v_m < 0.7)))[..., None]
        return np.asarray(colours[index] * (1 - ink) + inks[index] * ink)

    return panel


def _clothes(rng: np.random.Generator, count: int) -> Picture:
    """Colours as things have them: mostly muted, a few strong ones."""
    grey = rng.uniform(20, 222, (count, 1))
    return np.clip(grey + rng.normal(0, 36, (count, 3)), 10, 240).astype(np.float32)


def _stand(picture: Picture, view: Rays, look: Look, seed: int) -> None:
    """A back wall, rows of seats rising away from the pitch, some taken, and a low wall in front."""
    rng = np.random.default_rng([seed, 6])
    grain = Grain(seed)
    taken = float(rng.uniform(0.05, 0.7))
    crowd, shuffled = _clothes(rng, 4096), rng.permutation(4096)
    span = (-28.0, LENGTH_M + 28.0)

    def back(surface: Surface) -> Image:
        pillar = 10.0 * (np.mod(surface.u_m, 8.0) < 0.4)
        return np.asarray(58.0 + np.repeat(pillar[..., None], 3, axis=2))

    def front(surface: Surface) -> Image:
        return np.asarray(np.array([132, 130, 126]) * (1 + 0.06 * grain.on(surface, 1.5))[..., None])

    back_extent = ((span[0] - 12.0, span[1] + 12.0), (0.0, 15.0))
    _rectangle(picture, wall(view, 1, WIDTH_M + 26.0, back_extent[1]), back_extent, back)
    for index in range(_SEAT_ROWS - 1, -1, -1):
        base = 1.2 + index * 0.55
        row = _seat_row(np.array(look.seats, np.float32), crowd[shuffled], rng.random(4096) < taken, base)
        shuffled = np.roll(shuffled, 1013)
        up = (base, base + 0.62)
        _rectangle(picture, wall(view, 1, WIDTH_M + 9.0 + index * 0.85, up), (span, up), row)
    _rectangle(picture, wall(view, 1, WIDTH_M + 9.0, (0.0, 1.2)), (span, (0.0, 1.2)), front)


def _seat_row(seats: Picture, crowd: Picture, taken: NDArray[np.bool_], base_m: float) -> Colouring:
    """One row: seats, and on the taken ones a torso in some colour with a head; far away their mean."""
    share = float(taken.mean())

    def seat(surface: Surface) -> Image:
        cell = np.floor(surface.u_m / _SEAT_M).astype(int)
        draw = cell % len(crowd)
        height = surface.v_m - base_m
        is_head = height > 0.42
        off_centre = np.abs(np.mod(surface.u_m, _SEAT_M) - _SEAT_M / 2)
        shown = taken[draw] & (off_centre < np.where(is_head, 0.1, 0.22))
        person = np.where(is_head[..., None], np.array(_FACES, np.float32), crowd[draw])
        empty = np.where((height < 0.35)[..., None], seats, np.float32(105))
        sharp = np.where(shown[..., None], person, empty)
        mean = empty * (1 - 0.6 * share) + np.float32(118 * 0.6 * share)
        blur = np.clip(surface.footprint_m / 0.3 - 0.4, 0, 1)[..., None]
        return np.asarray(sharp * (1 - blur) + mean * blur)

    return seat

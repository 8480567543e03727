"""Tools of the background painter: surfaces under rays, box-filtered edges, noise, blending.

An edge is filtered by the pixel's own footprint, so nothing needs supersampling: a line thinner than a pixel gets its
share of the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from hil.venue.optics import Rays

Image: TypeAlias = NDArray[np.floating[Any]]
"""(h, w) or (h, w, 3) float32, colours 0..255."""

Picture: TypeAlias = NDArray[np.float32]

HORIZON_M = 600.0
_TILE = 512


@dataclass(frozen=True)
class Surface:
    """A plane as every pixel of some rows hits it: coordinates (h, w), their change per pixel, and where it is seen.

    ``rows`` are the picture's rows that the arrays stand for; ``seen`` is 0..1.
    """

    u_m: Image
    v_m: Image
    du_m: Image
    dv_m: Image
    seen: Image
    rows: slice

    @property
    def footprint_m(self) -> Image:
        """The larger extent of each pixel on the surface."""
        return np.maximum(self.du_m, self.dv_m)

    def inside(self, u_m: tuple[float, float], v_m: tuple[float, float]) -> Image:
        """Share of each pixel within a rectangle of the surface."""
        across = band(self.u_m, self.du_m, *u_m) * band(self.v_m, self.dv_m, *v_m)
        return np.asarray(across * self.seen)


def ground(view: Rays) -> Surface:
    """The plane of the grass; u is x, v is y."""
    falls = -view.directions[..., 2]
    least = np.float32(view.origin_m[2] / HORIZON_M)
    reach = np.float32(view.origin_m[2]) / np.maximum(falls, least)
    x = np.float32(view.origin_m[0]) + reach * view.directions[..., 0]
    y = np.float32(view.origin_m[1]) + reach * view.directions[..., 1]
    seen = np.clip((falls - least) / slope(falls) + 0.5, 0, 1)
    return Surface(x, y, slope(x), slope(y), seen, slice(0, len(x)))


def wall(view: Rays, axis: int, at_m: float, up_m: tuple[float, float]) -> Surface | None:
    """The vertical plane x (axis 0) or y (axis 1) = ``at_m``; u runs along it, v is up.

    Only the rows that see heights within ``up_m`` are kept; None when there are none.
    """
    step = view.directions[..., axis]
    gap = np.float32(at_m - view.origin_m[axis])
    sign = np.float32(1.0 if gap >= 0 else -1.0)
    reach = np.clip(gap * sign / np.maximum(step * sign, 1e-3), 0, HORIZON_M)
    up = np.float32(view.origin_m[2]) + reach * view.directions[..., 2]
    front = step * sign > 1e-3
    found = np.flatnonzero(((up > up_m[0] - 1.0) & (up < up_m[1] + 1.0) & front).any(axis=1))
    if found.size < 2:
        return None
    rows = slice(int(found[0]), int(found[-1]) + 1)
    along = np.float32(view.origin_m[1 - axis]) + reach[rows] * view.directions[rows, :, 1 - axis]
    return Surface(along, up[rows], slope(along), slope(up[rows]), front[rows].astype(np.float32), rows)


def slope(values: Image) -> Image:
    """Change of ``values`` (h, w) over one pixel."""
    down, right = np.gradient(values)
    return np.asarray(np.hypot(down, right) + 1e-6)


def band(values: Image, change: Image, low: float, high: float) -> Image:
    """Share of each pixel's footprint whose value lies in low..high (box filter)."""
    up = np.clip((values - low) / change + 0.5, 0, 1)
    down = np.clip((values - high) / change + 0.5, 0, 1)
    return np.asarray(up - down)


def mix(picture: Picture, share: Image, colour: Image | tuple[float, float, float]) -> None:
    """Blend ``colour`` (one, or per pixel) over the picture by ``share`` (h, w)."""
    found = np.flatnonzero(share.max(axis=1) > 0)
    if not found.size:
        return
    rows = slice(int(found[0]), int(found[-1]) + 1)
    paint = np.asarray(colour, np.float32)
    paint = paint[rows] if paint.ndim == 3 else paint
    picture[rows] += (paint - picture[rows]) * share[rows, :, None]


@dataclass(frozen=True)
class Grain:
    """Noise of one seed: a wrapping tile of unit deviation, read at any scale."""

    seed: int

    def at(self, u: Image, v: Image, wave: float, footprint: Image | float = 0.0) -> Image:
        """Noise of wavelength ``wave`` over (u, v); it fades where a pixel covers more than a wave."""
        scale = np.float32(4.0 / wave)
        at_u, at_v = (np.mod(values * scale, _TILE).astype(np.float32) for values in (u, v))
        raw = cv2.remap(_tile(self.seed), at_u, at_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(raw * np.minimum(1.0, wave / np.maximum(2.0 * np.asarray(footprint), 1e-6)))

    def on(self, surface: Surface, wave: float) -> Image:
        """The same over a surface's own coordinates."""
        return self.at(surface.u_m, surface.v_m, wave, surface.footprint_m)

    def textured(self, colour: tuple[float, float, float], surface: Surface, strength: float) -> Image:
        """One colour with grain at three scales, (h, w, 3)."""
        grain = self.on(surface, 0.2) + self.on(surface, 1.1) + self.on(surface, 6.0)
        return np.asarray(np.array(colour, np.float32) * (1.0 + strength * grain)[..., None])


@lru_cache(maxsize=2)
def _tile(seed: int) -> Picture:
    noise = np.random.default_rng([seed, 4]).normal(size=(_TILE, _TILE)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 1.1), np.float32)
    middle = smooth[_TILE : 2 * _TILE, _TILE : 2 * _TILE]
    return np.ascontiguousarray(middle / middle.std())

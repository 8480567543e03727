"""The empty venue as one picture per camera: sky, grass, markings, boards, goals, light. Painted once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration
from hil.venue import backdrop
from hil.venue.kits import Look
from hil.venue.optics import Rays, rays
from hil.venue.painting import Grain, Image, Picture, Surface, band, ground, mix, slope
from hil.venue.pitch import (
    GOAL_DEPTH_M,
    GOAL_M,
    LENGTH_M,
    LINE_WIDTH_M,
    SPOT_RADIUS_M,
    WIDTH_M,
    arcs,
    segments,
    spots,
)

Point = tuple[float, float, float]


def paint(camera: CameraCalibration, look: Look, seed: int) -> Picture:
    """The empty venue seen by ``camera``: (h, w, 3) float32 RGB, 0..255 and a little beyond, without sensor noise."""
    view, grain = rays(camera), Grain(seed)
    picture = _sky(view, grain)
    _ground(picture, ground(view), look, grain)
    backdrop.paint(picture, view, look, seed)
    _goals_and_flags(picture, camera)
    light = _light(picture.shape[:2], look)
    picture *= light[..., None] * (np.array(look.tint, np.float32) * np.float32(look.gain))
    return picture


def _light(shape: tuple[int, ...], look: Look) -> Picture:
    """Vignetting and a slow gradient across the picture."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x, y = x / shape[1] - 0.5, y / shape[0] - 0.5
    light = (1.0 - look.vignette * 1.6 * (x * x + y * y)) * (1.0 + 0.08 * x - 0.05 * y)
    return np.asarray(light, np.float32)


def _sky(view: Rays, grain: Grain) -> Picture:
    """Sky from horizon to zenith with soft clouds."""
    d = view.directions
    up = np.clip(d[..., 2] / np.sqrt((d**2).sum(axis=2)), -0.05, 1.0)
    azimuth = np.arctan2(d[..., 0], d[..., 1])
    blend = np.clip(up * 3.0, 0, 1)[..., None]
    picture = np.array([214, 222, 232], np.float32) * (1 - blend) + np.array([150, 178, 222], np.float32) * blend
    for wave in (0.6, 0.25, 0.1):
        picture += grain.at(azimuth, up * 2.5, wave)[..., None] * (26.0 * wave)
    return np.asarray(picture, np.float32)


def _ground(picture: Picture, grass: Surface, look: Look, grain: Grain) -> None:
    """Everything on z = 0: meadow, track, grass, markings."""
    mix(picture, grass.seen, grain.textured((86.0, 100.0, 70.0), grass, 0.08))
    track = grass.inside((-13.0, LENGTH_M + 13.0), (-11.0, WIDTH_M + 10.0))
    mix(picture, track, grain.textured(look.surround, grass, 0.05))
    field = grass.inside((-4.5, LENGTH_M + 4.5), (-4.0, WIDTH_M + 3.5))
    mix(picture, field, _grass(grass, look, grain))
    wear = np.clip(0.86 + 0.10 * grain.on(grass, 0.7), 0.4, 1.0)
    mix(picture, _markings(grass) * grass.seen * wear, (236.0, 240.0, 236.0))


def _grass(grass: Surface, look: Look, grain: Grain) -> Image:
    """Mown grass: stripes, blades, patches."""
    along = np.clip(np.sin(grass.u_m * (2 * np.pi / 10.5)) * 5, -1, 1)
    across = np.clip(np.sin(grass.v_m * (2 * np.pi / 11.3333)) * 5, -1, 1)
    pattern = {"along": along, "across": across, "checker": (along + across) / 2, "plain": along * 0}[look.stripe]
    shade = 1.0 + look.stripe_contrast * 0.5 * pattern
    for wave, strength in ((0.12, 0.07), (0.45, 0.045), (2.2, 0.03), (9.0, 0.03)):
        shade = shade + strength * grain.on(grass, wave)
    dry = np.clip(grain.on(grass, 5.0) * 0.5, 0, 1)[..., None] * 0.10
    blade = np.array(look.grass, np.float32) * (1 - dry) + np.array([132, 122, 74], np.float32) * dry
    return np.asarray(blade * shade[..., None])


def _markings(grass: Surface) -> Image:
    """Coverage 0..1 of the white lines."""
    half = LINE_WIDTH_M / 2
    chalk = np.zeros_like(grass.u_m)
    for line in segments():
        share = grass.inside((line.x0_m - half, line.x1_m + half), (line.y0_m - half, line.y1_m + half))
        np.maximum(chalk, share, out=chalk)
    pitch = grass.inside((0, LENGTH_M), (0, WIDTH_M))
    for arc in arcs():
        radius = np.hypot(grass.u_m - arc.x_m, grass.v_m - arc.y_m)
        share = band(radius, slope(radius), arc.radius_m - half, arc.radius_m + half) * pitch
        if arc.side:
            share *= np.clip(arc.side * (grass.u_m - arc.beyond_m) / grass.du_m + 0.5, 0, 1)
        np.maximum(chalk, share, out=chalk)
    for spot_x, spot_y in spots():
        radius = np.hypot(grass.u_m - spot_x, grass.v_m - spot_y)
        np.maximum(chalk, band(radius, slope(radius), -1.0, SPOT_RADIUS_M), out=chalk)
    return chalk


def _goals_and_flags(picture: Picture, camera: CameraCalibration) -> None:
    """Posts, bars, nets and corner flags as anti-aliased lines."""
    for goal_x, back_x in ((0.0, -GOAL_DEPTH_M), (LENGTH_M, LENGTH_M + GOAL_DEPTH_M)):
        _strokes(picture, camera, _net(goal_x, back_x), (225, 228, 230), 0.015)
        low, high = WIDTH_M / 2 - GOAL_M[0] / 2, WIDTH_M / 2 + GOAL_M[0] / 2
        feet, tops = [(goal_x, y, 0.0) for y in (low, high)], [(goal_x, y, GOAL_M[1]) for y in (low, high)]
        frame = [(feet[0], tops[0]), (feet[1], tops[1]), (tops[0], tops[1])]
        _strokes(picture, camera, frame, (246, 246, 246), 0.12)
    flags = [((x, y, 0.0), (x, y, 1.5)) for x in (0.0, LENGTH_M) for y in (0.0, WIDTH_M)]
    _strokes(picture, camera, flags, (232, 210, 50), 0.05)


def _net(goal_x: float, back_x: float) -> list[tuple[Point, Point]]:
    """The sloping back of a net as a grid of lines."""
    low, high = WIDTH_M / 2 - GOAL_M[0] / 2, WIDTH_M / 2 + GOAL_M[0] / 2
    lines: list[tuple[Point, Point]] = []
    for y in np.linspace(low, high, 31):
        lines.append(((goal_x, float(y), GOAL_M[1]), (back_x, float(y), 0.1)))
    for share in np.linspace(0, 1, 11):
        x, up = float(goal_x + (back_x - goal_x) * share), float(GOAL_M[1] * (1 - share))
        lines.append(((x, low, up), (x, high, up)))
    return lines


def _strokes(
    picture: Picture,
    camera: CameraCalibration,
    lines: list[tuple[Point, Point]],
    colour: tuple[int, int, int],
    width_m: float,
) -> None:
    """Blend lines of ``width_m``; thinner than a pixel they fade instead of breaking up."""
    ends = np.array(lines, float)
    px = camera.pixels_from_pitch(ends.reshape(-1, 3)).reshape(-1, 2, 2)
    distance = np.linalg.norm(ends.mean(axis=1) - camera.position_m, axis=1)
    for pair, width_px in zip(px, width_m * camera.camera_matrix[0, 0] / distance, strict=True):
        if not np.isfinite(pair).all() or np.abs(pair).max() > 8000:
            continue
        mask: NDArray[np.uint8] = np.zeros(picture.shape[:2], np.uint8)
        start, end = ((int(p[0] * 16 - 8), int(p[1] * 16 - 8)) for p in pair)
        cv2.line(mask, start, end, 255, max(1, round(float(width_px))), cv2.LINE_AA, 4)
        mix(picture, mask.astype(np.float32) * np.float32(min(1.0, float(width_px)) / 255), colour)

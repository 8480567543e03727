"""The calibration as one SVG: the pitch from above with errors and certainty, and the lines drawn over a still."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration, Landmark, LandmarkState
from calibration.cells import Cell, cells
from calibration.marks import lines

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]

PX_PER_M = 10.0
MARGIN_PX = 64.0
ARROW_SCALE = 5.0
PLAN_TOP_PX = 118.0
STILL_JPEG_WIDTH_PX = 1536

CLASSES = ((0.05, "#1d6b4f"), (0.08, "#3f8f5b"), (0.15, "#86ad57"), (0.30, "#d2b04c"), (0.60, "#d98242"))
"""Upper bound in metres and colour; the second bound is the POS-1 gate."""

WORST_COLOUR = "#b94a3c"
UNSEEN_COLOUR = "#59635d"

_STYLE = """
text{font-family:Inter,'Segoe UI','DejaVu Sans',sans-serif;fill:#16231c}
.title{font-size:22px;font-weight:600}.sub{font-size:14px;fill:#4c5a52}.note{font-size:12px;fill:#4c5a52}
.cell{font-size:11px;fill:#fff;fill-opacity:.85;text-anchor:middle}.bad{font-size:12px;font-weight:600;fill:#fff;
paint-order:stroke;stroke:#8d1330;stroke-width:3px}
.line{fill:none;stroke:#fff;stroke-opacity:.9;stroke-width:1.6}.over{fill:none;stroke:#ff2d55;stroke-width:1.4}
.arrow{stroke:#0b1f3a;stroke-width:1.8}.dot{fill:#0b1f3a;stroke:#fff;stroke-width:1}
.ring{fill:none;stroke:#ff2d55;stroke-width:2.2}.off{stroke:#ff2d55;stroke-width:2;stroke-dasharray:4 3}
"""


@dataclass
class _Canvas:
    parts: list[str] = field(default_factory=list)

    def add(self, part: str) -> None:
        self.parts.append(part)

    def text(self, at: tuple[float, float], text: str, kind: str, extra: str = "") -> None:
        self.add(f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" class="{kind}" {extra}>{escape(text)}</text>')

    def polyline(self, points: FloatArray, kind: str) -> None:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.add(f'<polyline points="{joined}" class="{kind}"/>')

    def segment(self, a: FloatArray, b: FloatArray, kind: str) -> None:
        self.add(f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" class="{kind}"/>')

    def circle(self, at: FloatArray, radius: float, kind: str) -> None:
        self.add(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" class="{kind}"/>')


def draw(calibration: CameraCalibration, still: Image | None = None) -> str:
    """The SVG text; ``still`` (h, w, 3) BGR, of the calibrated size, adds the second panel."""
    length, width = calibration.pitch_m
    page_w = length * PX_PER_M + 2 * MARGIN_PX
    plan_h = PLAN_TOP_PX + width * PX_PER_M + 118
    canvas = _Canvas()
    _heading(canvas, calibration)
    _plan(canvas, calibration)
    _legend(canvas, plan_h - 40, calibration)
    page_h = plan_h
    if still is not None:
        page_h += _over_still(canvas, calibration, still, plan_h, page_w)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page_w:.0f}" height="{page_h:.0f}" '
        f'viewBox="0 0 {page_w:.0f} {page_h:.0f}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#f6f8f5"/>'
    )
    return head + "\n".join(canvas.parts) + "</svg>\n"


def _heading(canvas: _Canvas, calibration: CameraCalibration) -> None:
    quality, place = calibration.quality, calibration.position_m
    canvas.text((MARGIN_PX, 38), f"Calibration{f' of {calibration.camera}' if calibration.camera else ''}", "title")
    if quality is None:
        return
    gate = "holds" if quality.gate_holds else "missed"
    canvas.text(
        (MARGIN_PX, 60),
        f"{quality.rms_m:.2f} m RMS and {quality.max_m:.2f} m at most on the grass over {quality.used} landmarks · "
        f"{quality.rejected} rejected · {quality.gate_m:.2f} m gate {gate}",
        "sub",
    )
    where = f"Camera at x {place[0]:.1f}, y {place[1]:.1f}, {place[2]:.1f} m high · {quality.method}"
    canvas.text((MARGIN_PX, 79), where, "sub")


def _plan_px(xy_m: FloatArray) -> FloatArray:
    moved: FloatArray = np.asarray(xy_m, dtype=np.float64) * PX_PER_M + (MARGIN_PX, PLAN_TOP_PX)
    return moved


def _plan(canvas: _Canvas, calibration: CameraCalibration) -> None:
    for cell in cells(calibration):
        _draw_cell(canvas, cell)
    for line in lines(calibration.pitch_m):
        canvas.polyline(_plan_px(line), "line")
    landed = calibration.pitch_from_pixels([landmark.px for landmark in calibration.landmarks])
    for landmark, at in zip(calibration.landmarks, landed, strict=True):
        _draw_landmark(canvas, landmark, at)


def colour(sigma_m: float | None) -> str:
    """Colour of a cell by its 1-sigma in metres."""
    if sigma_m is None:
        return UNSEEN_COLOUR
    return next((shade for bound, shade in CLASSES if sigma_m <= bound), WORST_COLOUR)


def _draw_cell(canvas: _Canvas, cell: Cell) -> None:
    x, y = _plan_px(np.array([cell.x_m - cell.width_m / 2, cell.y_m - cell.height_m / 2]))
    w, h = cell.width_m * PX_PER_M, cell.height_m * PX_PER_M
    canvas.add(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{colour(cell.sigma_m)}" '
        'stroke="#fff" stroke-opacity=".18"/>'
    )
    if cell.sigma_m is not None:
        canvas.text((x + w / 2, y + h - 6), f"{cell.sigma_m:.2f}", "cell")


def _draw_landmark(canvas: _Canvas, landmark: Landmark, landed_m: FloatArray) -> None:
    label = np.asarray(landmark.pitch_m)
    at = _plan_px(label)
    known = bool(np.isfinite(landed_m).all())
    if landmark.state is LandmarkState.USED:
        if known:
            canvas.segment(at, _plan_px(label + (landed_m - label) * ARROW_SCALE), "arrow")
        canvas.circle(at, 3.6, "dot")
        return
    if known:
        end = _plan_px(np.clip(landed_m, (-6, -6), label + 400))
        canvas.segment(at, end, "off")
    canvas.circle(at, 7, "ring")
    anchor = 'text-anchor="end"' if at[0] > 700 else ""
    canvas.text((at[0] + (-12 if anchor else 12), at[1] - 8), landmark.label, "bad", anchor)


def _legend(canvas: _Canvas, y: float, calibration: CameraCalibration) -> None:
    x = MARGIN_PX
    canvas.text(
        (x, y - 22),
        f"1-sigma of the calibration per cell of the {calibration.pitch_m[0]:g} x "
        f"{calibration.pitch_m[1]:g} m pitch, metres",
        "note",
    )
    below = 0.0
    for bound, shade in (*CLASSES, (float("inf"), WORST_COLOUR)):
        name = f"≤ {bound:.2f}" if np.isfinite(bound) else f"> {below:.2f}"
        canvas.add(f'<rect x="{x:.0f}" y="{y - 12:.0f}" width="16" height="16" rx="3" fill="{shade}"/>')
        canvas.text((x + 21, y + 1), name, "note")
        x, below = x + 82, bound
    canvas.add(f'<rect x="{x:.0f}" y="{y - 12:.0f}" width="16" height="16" rx="3" fill="{UNSEEN_COLOUR}"/>')
    canvas.text((x + 21, y + 1), "not in view", "note")
    x += 130
    canvas.circle(np.array([x, y - 4]), 3.6, "dot")
    canvas.segment(np.array([x, y - 4]), np.array([x + 30, y - 4]), "arrow")
    canvas.text((x + 38, y + 1), f"landmark, error {ARROW_SCALE:.0f} times enlarged", "note")
    x += 252
    canvas.circle(np.array([x, y - 4]), 7, "ring")
    canvas.text((x + 14, y + 1), "rejected landmark, line to its click", "note")


def _over_still(canvas: _Canvas, calibration: CameraCalibration, still: Image, top: float, page_w: float) -> float:
    """Draw the still with the model's lines and the clicks; the height used."""
    full_w, full_h = calibration.image_size_px
    scale = page_w / full_w
    canvas.text((MARGIN_PX, top + 14), "The model's lines over the still", "title")
    canvas.add(f'<svg x="0" y="{top + 30:.0f}" width="{page_w:.0f}" height="{full_h * scale:.0f}">')
    canvas.add(f'<image width="{page_w:.0f}" height="{full_h * scale:.0f}" href="{_data_url(still)}"/>')
    for line in lines(calibration.pitch_m):
        px = calibration.pixels_from_pitch(line)
        px[~(np.abs(px) < 4 * full_w).all(axis=1)] = np.nan
        seen = np.isfinite(px[:, 0])
        for run in np.split(np.arange(len(px)), np.flatnonzero(np.diff(seen.astype(int))) + 1):
            if len(run) > 1 and np.isfinite(px[run]).all():
                canvas.polyline(px[run] * scale, "over")
    for landmark in calibration.landmarks:
        at = np.asarray(landmark.px) * scale
        if landmark.state is LandmarkState.USED:
            canvas.circle(at, 2.6, "dot")
            continue
        expected = calibration.pixels_from_pitch([landmark.pitch_m])[0] * scale
        if np.isfinite(expected).all():
            canvas.segment(at, expected, "off")
        canvas.circle(at, 7, "ring")
        canvas.text((at[0] + 10, at[1] - 8), landmark.label, "bad")
    canvas.add("</svg>")
    return full_h * scale + 30


def _data_url(still: Image) -> str:
    height, width = still.shape[:2]
    if width > STILL_JPEG_WIDTH_PX:
        size = (STILL_JPEG_WIDTH_PX, round(height * STILL_JPEG_WIDTH_PX / width))
        still = np.asarray(cv2.resize(still, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    done, data = cv2.imencode(".jpg", still, [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")

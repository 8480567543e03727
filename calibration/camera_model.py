"""The camera model: pixels to metres on the grass, metres to pixels, and how wrong either may be (POS-1, POS-2).

Frames and conventions, fixed here for the whole project:

* **Pixels** are continuous: ``(0, 0)`` is the outer corner of the first pixel, its centre is ``(0.5, 0.5)``. Boxes of
  detectors and CVAT clicks already use this; OpenCV's corner finders count from pixel centres and need ``+0.5``.
* **Pitch**: origin at the corner flag of the labels, ``x`` along the touchline, ``y`` across the pitch, metres, and
  height ``h`` positive *up* from the grass.
* **Handedness**: with the origin at the far-left flag and ``y`` growing towards the camera, ``(x, y, up)`` is
  left-handed. The pose is therefore kept in the right-handed frame ``W = (x, y, s*h)`` with ``s = -1`` for ``left``
  and ``+1`` for ``right``: ``p_camera = R @ W + t`` stays a proper rotation and callers only ever see ``h`` up.
* **Grass**: flat, or a shallow dome of ``crown_m`` at the centre spot (calibration/surface.py); heights of people count
  from the grass under them.
* **Lens**: OpenCV's order ``k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]]``, 0, 4, 5, 8 or 12 numbers.

Points without an answer are ``nan``, never a guess: pixels at or above the horizon (or so close below it that the grass
would be more than ``MAX_DEPTH_M`` away), pixels outside the lens model's one-to-one range, and pitch points behind the
camera. Input that is not finite comes back as ``nan`` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.lens import check_intrinsics, distorted_r2, fold_radius, undistort
from calibration.surface import dome, dome_slope, meet_dome
from touchline.errors import ConfigError

FloatArray = NDArray[np.float64]

MAX_DEPTH_M = 500.0
"""Grass farther than this from the camera is treated as above the horizon; a pitch diagonal is 125 m."""

PITCH_M = (105.0, 68.0)
"""Length and width of a full-size pitch (IFAB Law 1, the size most stadiums use)."""

POSE_PARAMETERS = 10
"""Leading rows of the parameter covariance: rvec (3), t (3), fx, fy, cx, cy; then the lens, then the crown."""

CROWN_MAX_M = 1.0
"""A drained pitch rises 0.15 to 0.5 m (slopes of 0.5 to 1.5 %); more is no pitch."""


class Handedness(str, Enum):
    """Whether (x, y, up) of the pitch labels is a right-handed or a left-handed frame."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def up(self) -> float:
        """Sign that turns a height above the grass into the third axis of the right-handed frame."""
        return -1.0 if self is Handedness.LEFT else 1.0


class LandmarkState(str, Enum):
    """What became of a clicked landmark."""

    USED = "used"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Landmark:
    """One clicked pitch point and how it agreed with the solution.

    ``error_px`` is the length of the reprojection error, ``error_m`` the distance on the grass between the label and
    where the click lands; both are ``None`` where the camera cannot see the point. ``reason`` is empty when used.
    """

    label: str
    pitch_m: tuple[float, float]
    px: tuple[float, float]
    state: LandmarkState = LandmarkState.USED
    error_px: float | None = None
    error_m: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Quality:
    """Residuals of the solution over the landmarks it used (POS-1); lengths on the grass in metres, image in pixels."""

    rms_m: float
    max_m: float
    rms_px: float
    max_px: float
    sigma_px: float
    condition: float
    used: int
    rejected: int
    gate_m: float
    gate_holds: bool
    method: str


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """One camera's lens and pose over the pitch; immutable, arrays are read-only copies.

    Args:
        image_size_px: width and height of the images it holds for.
        camera_matrix: (3, 3) K, zero skew.
        distortion: (0 | 4 | 5 | 8 | 12,) lens coefficients, OpenCV order.
        rvec: (3,) Rodrigues rotation from the right-handed pitch frame W to the camera, radians.
        t_m: (3,) translation of the same transform, metres.
        handedness: of the pitch frame (x, y, up).
        pitch_m: length (x) and width (y).
        crown_m: height of the centre spot above the corners, 0 for flat grass.
        parameter_covariance: (11+k, 11+k) covariance of ``rvec, t, fx, fy, cx, cy, lens, crown``, or None when unknown.

    Raises:
        ConfigError: shapes or values that are no camera.
    """

    image_size_px: tuple[int, int]
    camera_matrix: FloatArray
    distortion: FloatArray
    rvec: FloatArray
    t_m: FloatArray
    handedness: Handedness = Handedness.LEFT
    pitch_m: tuple[float, float] = PITCH_M
    crown_m: float = 0.0
    camera: str = ""
    quality: Quality | None = None
    landmarks: tuple[Landmark, ...] = ()
    parameter_covariance: FloatArray | None = None
    rotation: FloatArray = field(init=False, repr=False)
    position_m: FloatArray = field(init=False, repr=False)
    _ground: FloatArray = field(init=False, repr=False)
    _fold_r2: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._freeze("camera_matrix", (3, 3))
        self._freeze("distortion", (-1,))
        self._freeze("rvec", (3,))
        self._freeze("t_m", (3,))
        check_intrinsics(self.camera_matrix, self.distortion, self.image_size_px)
        if self.parameter_covariance is not None:
            size = POSE_PARAMETERS + self.distortion.size + 1
            self._freeze("parameter_covariance", (size, size))
        if min(self.pitch_m) <= 0:
            raise ConfigError(f"pitch_m {self.pitch_m} is no pitch", hint="give length and width in metres")
        if not 0 <= self.crown_m <= CROWN_MAX_M:
            raise ConfigError(f"crown_m {self.crown_m} is no pitch", hint=f"allowed 0 to {CROWN_MAX_M:g} metres")
        rotation = np.asarray(cv2.Rodrigues(self.rvec)[0], dtype=np.float64)
        plane = np.column_stack((rotation[:, 0], rotation[:, 1], self.t_m))
        if abs(np.linalg.det(plane)) < 1e-6:
            raise ConfigError("the camera lies in the plane of the grass", hint="check pose.t_m and pose.rvec_rad")
        self._set("rotation", _read_only(rotation))
        centre = -rotation.T @ self.t_m * (1.0, 1.0, self.handedness.up)
        self._set("position_m", _read_only(np.asarray(centre, dtype=np.float64)))
        self._set("_ground", _read_only(np.linalg.inv(plane).T.astype(np.float64)))
        self._set("_fold_r2", fold_radius(self.distortion) ** 2)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _freeze(self, name: str, shape: tuple[int, ...]) -> None:
        try:
            array = np.array(getattr(self, name), dtype=np.float64).reshape(shape)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name} has the wrong shape or type: {error}", hint=f"expected {shape}") from error
        if not np.isfinite(array).all():
            raise ConfigError(f"{name} is not finite", hint="every number must be finite")
        self._set(name, _read_only(array))

    @classmethod
    def from_look_at(
        cls,
        image_size_px: tuple[int, int],
        focal_px: float,
        position_m: Sequence[float],
        target_m: Sequence[float],
        *,
        distortion: ArrayLike = (),
        roll_rad: float = 0.0,
        handedness: Handedness = Handedness.LEFT,
        pitch_m: tuple[float, float] = PITCH_M,
        crown_m: float = 0.0,
        camera: str = "",
    ) -> CameraCalibration:
        """A camera at ``position_m`` (x, y, height) looking at ``target_m`` (x, y, height); for simulated venues.

        The principal point is the image centre and pixels are square. ``roll_rad`` turns the image clockwise.
        """
        scale = np.array([1.0, 1.0, handedness.up])
        position, target = np.asarray(position_m, float) * scale, np.asarray(target_m, float) * scale
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0.0, 0.0, handedness.up])
        if np.linalg.norm(right) < 1e-9:
            raise ConfigError("the camera looks straight down", hint="move target_m a little off the foot point")
        right /= np.linalg.norm(right)
        axes = np.stack((right, np.cross(forward, right), forward))
        turn = np.asarray(cv2.Rodrigues(np.array([0.0, 0.0, -roll_rad]))[0])
        rotation = turn @ axes
        width, height = image_size_px
        matrix = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
        rvec = np.asarray(cv2.Rodrigues(rotation)[0]).ravel()
        lens = np.asarray(distortion, dtype=np.float64)
        return cls(image_size_px, matrix, lens, rvec, -rotation @ position, handedness, pitch_m, crown_m, camera)

    def pitch_from_pixels(self, px: ArrayLike) -> FloatArray:
        """Where pixels (n, 2) meet the grass, (n, 2) metres; ``nan`` rows as the module says (POS-2)."""
        points = _points(px, 2)
        if not points.size:
            return np.empty((0, 2))
        flat = undistort(points, self.camera_matrix, self.distortion)
        ground = flat @ self._ground[:2] + self._ground[2]
        inverse_depth = ground[:, 2]
        seen = inverse_depth > 1.0 / MAX_DEPTH_M
        if np.isfinite(self._fold_r2):
            seen &= self._inside_fold(points)
        xy: FloatArray = ground[:, :2] / np.where(seen, inverse_depth, np.nan)[:, None]
        return meet_dome(xy, self.position_m, self.crown_m, self.pitch_m) if self.crown_m else xy

    def _inside_fold(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which pixels lie within the lens model's one-to-one range (the distorted radius stays below its turn)."""
        focal = self.camera_matrix[0, 0], self.camera_matrix[1, 1]
        offset = (points - self.camera_matrix[:2, 2]) / focal
        inside: NDArray[np.bool_] = np.einsum("ij,ij->i", offset, offset) < distorted_r2(self.distortion, self._fold_r2)
        return inside

    def pixels_from_pitch(self, points_m: ArrayLike) -> FloatArray:
        """Pixels (n, 2) of pitch points (n, 3) = x, y, height, or (n, 2) on the grass; ``nan`` behind the camera."""
        world = self._world(points_m)
        if not world.size:
            return np.empty((0, 2))
        return self._project(world)[0]

    def _world(self, points_m: ArrayLike) -> FloatArray:
        """Right-handed points (n, 3) of pitch points (n, 2 | 3); heights count from the grass."""
        given = np.asarray(points_m, dtype=np.float64)
        points = _points(given, 3 if given.ndim == 2 and given.shape[1] == 3 else 2)
        heights = points[:, 2] if points.shape[1] == 3 else np.zeros(len(points))
        if self.crown_m:
            heights = heights + self.crown_m * dome(points[:, :2], self.pitch_m)
        return np.column_stack((points[:, :2], heights * self.handedness.up))

    def _project(self, world: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixels (n, 2) of right-handed points (n, 3) and their Jacobian (n, 2, 10+k) over the parameters."""
        px, jacobian = cv2.projectPoints(
            world.reshape(-1, 1, 3), self.rvec, self.t_m, self.camera_matrix, self.distortion
        )[:2]
        flat = world @ self.rotation.T + self.t_m
        with np.errstate(divide="ignore", invalid="ignore"):
            radius2 = (flat[:, 0] ** 2 + flat[:, 1] ** 2) / flat[:, 2] ** 2
        seen = (flat[:, 2] > 0) & (radius2 < self._fold_r2)
        pixels: FloatArray = np.where(seen[:, None], np.asarray(px).reshape(-1, 2), np.nan)
        columns = POSE_PARAMETERS + self.distortion.size
        return pixels, np.asarray(jacobian, dtype=np.float64).reshape(-1, 2, jacobian.shape[1])[:, :, :columns]

    def _ground_jacobians(self, xy_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the pixel at grass points (n, 2): over x, y (n, 2, 2) and over the parameters (n, 2, 11+k)."""
        over_parameters = self._project(self._world(xy_m))[1]
        over_world = over_parameters[:, :, 3:6] @ self.rotation
        over_height = over_world[:, :, 2:] * self.handedness.up
        over_crown = over_height * dome(xy_m, self.pitch_m)[:, None, None]
        over_xy = over_world[:, :, :2]
        if self.crown_m:
            over_xy = over_xy + over_height * (self.crown_m * dome_slope(xy_m, self.pitch_m))[:, None, :]
        return over_xy, np.concatenate((over_parameters, over_crown), axis=2)

    def ground(self, px: ArrayLike, sigma_px: float | ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Both answers at once: ``pitch_from_pixels`` (n, 2) and its covariance (n, 2, 2) in square metres (POS-2).

        ``sigma_px`` is the 1-sigma error of each pixel coordinate: a number, or (n,) per point. The uncertainty of the
        calibration itself is added where the file carries it. Points off the grass have ``nan`` in both.
        """
        xy = self.pitch_from_pixels(px)
        if not len(xy):
            return xy, np.empty((0, 2, 2))
        per_metre, jacobian = self._ground_jacobians(xy)
        sigma = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64), (len(xy),))
        image = sigma[:, None, None] ** 2 * np.eye(2)
        if self.parameter_covariance is not None:
            image = image + jacobian @ self.parameter_covariance @ jacobian.transpose(0, 2, 1)
        per_pixel = _inverse_2x2(per_metre)
        return xy, per_pixel @ image @ per_pixel.transpose(0, 2, 1)

    def pitch_covariance(self, px: ArrayLike, sigma_px: float | ArrayLike) -> FloatArray:
        """(n, 2, 2) covariance in square metres of ``pitch_from_pixels(px)``; see ``ground``."""
        return self.ground(px, sigma_px)[1]

    def heights_m(self, feet_px: ArrayLike, heads_px: ArrayLike) -> FloatArray:
        """Heights (n,) in metres of upright people whose feet (n, 2) stand on the grass below their heads (n, 2).

        The vertical line through the foot point is cut by the head's ray in the least-squares sense; a head below its
        feet gives a negative height, a foot off the grass ``nan``.
        """
        feet = self.pitch_from_pixels(feet_px)
        heads = _points(heads_px, 2)
        if len(heads) != len(feet):
            raise ValueError(f"{len(feet)} feet but {len(heads)} heads")
        if not len(feet):
            return np.empty(0)
        head = undistort(heads, self.camera_matrix, self.distortion)
        base = self._world(feet) @ self.rotation.T + self.t_m
        rise = self.rotation[:, 2] * self.handedness.up
        a = head * base[:, 2:] - base[:, :2]
        b = rise[:2] - head * rise[2]
        heights: FloatArray = np.einsum("ij,ij->i", a, b) / np.einsum("ij,ij->i", b, b)
        return heights

    def for_view(self, roi_xywh_px: Sequence[float], out_size_px: tuple[int, int]) -> CameraCalibration:
        """The calibration of a view: the region (x, y, w, h) of this image scaled to ``out_size_px`` (w, h).

        Raises:
            ConfigError: the region has no area or leaves the image.
        """
        x, y, width, height = (float(value) for value in roi_xywh_px)
        full_w, full_h = self.image_size_px
        if width <= 0 or height <= 0 or x < 0 or y < 0 or x + width > full_w or y + height > full_h:
            raise ConfigError(
                f"region x={x:g} y={y:g} w={width:g} h={height:g} is not inside the calibrated {full_w}x{full_h} image",
                hint="choose a region inside the image, or calibrate at the size of the source",
            )
        sx, sy = out_size_px[0] / width, out_size_px[1] / height
        view = np.array([[sx, 0.0, -x * sx], [0.0, sy, -y * sy], [0.0, 0.0, 1.0]])
        covariance = self.parameter_covariance
        if covariance is not None:
            scale = np.ones(len(covariance))
            scale[6:10] = sx, sy, sx, sy
            covariance = covariance * np.outer(scale, scale)
        return replace(
            self, image_size_px=out_size_px, camera_matrix=view @ self.camera_matrix, parameter_covariance=covariance
        )

    def check_source(self, width_px: int, height_px: int, source: str) -> None:
        """Raises ConfigError when a source's images are not of the calibrated size."""
        if (width_px, height_px) != self.image_size_px:
            raise ConfigError(
                f"{source} is {width_px}x{height_px} but the calibration{f' of {self.camera}' if self.camera else ''} "
                f"holds for {self.image_size_px[0]}x{self.image_size_px[1]}",
                hint="use the calibration made at this size, or calibrate again with stills of this source",
            )

    def to_json(self) -> dict[str, Any]:
        """The file's content as plain JSON values (``touchline.calibration/1``)."""
        from calibration.file import to_document

        return to_document(self)

    def save(self, path: str | Path) -> None:
        """Write the file atomically. Raises ResourceError when the disk refuses."""
        from calibration.file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> CameraCalibration:
        """Read and validate a calibration file. Raises ConfigError naming file, key and fix."""
        from calibration.file import load

        return load(Path(path))


def _read_only(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array


def _points(values: ArrayLike, columns: int) -> FloatArray:
    points = np.ascontiguousarray(values, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, columns))
    if points.ndim != 2 or points.shape[1] != columns:
        raise ValueError(f"expected points of shape (n, {columns}), found {points.shape}")
    return points


def _inverse_2x2(matrices: FloatArray) -> FloatArray:
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    adjugate = np.stack((d, -b, -c, a), axis=1).reshape(-1, 2, 2)
    inverse: FloatArray = adjugate / (a * d - b * c)[:, None, None]
    return inverse

"""The least-squares problem: 16 camera numbers, clicked landmarks, priors; residuals in units of their own sigma.

Parameters, in this order: rvec (3), t (3), fx, fy, cx, cy, k1, k2, p1, p2, k3, crown. A click is wrong by
``CLICK_PX`` on the image and its label by ``LABEL_M`` on the grass, so near clicks (50 px per metre) and far ones (2 px
per metre) weigh what they are worth. The solver then measures how far off this guess is and scales it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibration.camera_model import CameraCalibration, Handedness
from calibration.surface import dome

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CLICK_PX = 1.0
LABEL_M = 0.15
SOFT_L1_SCALE = 1.5
"""Residuals beyond 1.5 sigma pull linearly, not quadratically."""

LOST_PX = 1e5
"""Error of a point that projects to nowhere."""

INTRINSICS = slice(6, 15)
CROWN = 15
PARAMETERS = 16

SQUARE_PIXELS = 0.002
"""1-sigma of fy/fx - 1: sensors have square pixels; lens imperfection moves it by permille."""

CROWN_SIGMA_M = 0.2
"""Prior of the crown: 0 to 0.4 m at the centre covers 0 to 1.2 % of slope."""


@dataclass(frozen=True)
class Prior:
    """Means and 1-sigma of ``fx, fy, cx, cy, k1, k2, p1, p2, k3``; ``crown_sigma_m`` 0 keeps the given crown."""

    mean: FloatArray
    sigma: FloatArray
    crown_m: float = 0.0
    crown_sigma_m: float = CROWN_SIGMA_M


def lens_guess(image_size_px: tuple[int, int], focal_px: float, k1: float) -> Prior:
    """A prior without a board: focal free, centre near the middle, a small smooth lens."""
    width, height = image_size_px
    mean = np.array([focal_px, focal_px, width / 2, height / 2, k1, k1 * k1, 0, 0, 0])
    sigma = np.array([focal_px, focal_px, 0.02 * width, 0.02 * width, 0.3, 0.2, 0.002, 0.002, 0.03])
    return Prior(mean, sigma)


@dataclass(frozen=True)
class Solution:
    """Parameters (16,), per landmark errors in sigma (n,), and the covariance (16, 16) and condition at the optimum."""

    parameters: FloatArray
    distance: FloatArray
    covariance: FloatArray
    condition: float


@dataclass(frozen=True)
class Problem:
    """Landmarks (n, 2) metres and (n, 2) pixels, the prior, and ``up``: +1 or -1, the grass's side of the frame."""

    places: FloatArray
    clicks: FloatArray
    image_size_px: tuple[int, int]
    pitch_m: tuple[float, float]
    prior: Prior
    up: float
    noise: float = 1.0

    def with_prior(self, prior: Prior) -> Problem:
        return replace(self, prior=prior)

    def distance(self, parameters: FloatArray) -> FloatArray:
        """Reprojection errors (n,) in units of their sigma."""
        error, over = self._reproject(parameters)
        whitening = self._whitening(parameters, over)
        length: FloatArray = np.linalg.norm(whitening @ error[:, :, None], axis=(1, 2))
        return length

    def _reproject(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Errors (n, 2) in pixels and their Jacobian (n, 2, 16); a point behind the camera is a constant huge error."""
        swell = dome(self.places, self.pitch_m) * self.up
        world = np.column_stack((self.places, parameters[CROWN] * swell))
        px, over = cv2.projectPoints(
            world.reshape(-1, 1, 3), parameters[:3], parameters[3:6], matrix_of(parameters), parameters[10:15]
        )[:2]
        rotation = np.asarray(cv2.Rodrigues(parameters[:3])[0])
        jacobian = np.asarray(over, dtype=np.float64)[:, :15].reshape(-1, 2, 15)
        over_crown = jacobian[:, :, 3:6] @ rotation[:, 2] * swell[:, None]
        jacobian = np.concatenate((jacobian, over_crown[:, :, None]), axis=2)
        error = np.asarray(px, dtype=np.float64).reshape(-1, 2) - self.clicks
        lost = (world @ rotation[2] + parameters[5] <= 0) | ~np.isfinite(jacobian).all(axis=(1, 2))
        lost |= ~(np.abs(error) < LOST_PX).all(axis=1)
        error[lost], jacobian[lost] = LOST_PX, 0.0
        return error, jacobian

    def _whitening(self, parameters: FloatArray, jacobian: FloatArray) -> FloatArray:
        """(n, 2, 2) inverse Cholesky factors of the errors' expected covariance."""
        rotation = np.asarray(cv2.Rodrigues(parameters[:3])[0])
        per_metre = jacobian[:, :, 3:6] @ rotation[:, :2] * LABEL_M
        covariance = CLICK_PX**2 * np.eye(2) + per_metre @ per_metre.transpose(0, 2, 1)
        return np.linalg.inv(np.linalg.cholesky(covariance)) / self.noise

    def solve(self, start: FloatArray, used: BoolArray, rounds: int = 100) -> Solution:
        """Robust refinement (soft-L1) from ``start`` with the landmarks in ``used`` (n,).

        The weights of label against click depend a little on the pose: they are held within a pass and renewed once.
        """
        free = np.ones(PARAMETERS, dtype=np.bool_)
        free[CROWN] = self.prior.crown_sigma_m > 0
        low, high = self._bounds()
        parameters = np.clip(start, low + 1e-9, high - 1e-9)
        parameters[CROWN] = parameters[CROWN] if free[CROWN] else self.prior.crown_m
        jacobian = np.empty((0, int(free.sum())))
        for _ in range(2):
            whitening = self._whitening(parameters, self._reproject(parameters)[1])
            cost = _Cost(self, whitening, used, free, parameters)
            result = least_squares(
                cost.residuals,
                parameters[free],
                jac=cost.jacobian,
                bounds=(low[free], high[free]),
                loss="soft_l1",
                f_scale=SOFT_L1_SCALE,
                x_scale=self._scale()[free],
                max_nfev=rounds,
            )
            parameters = cost.full(result.x)
            jacobian = np.asarray(result.jac, dtype=np.float64)
        covariance = np.zeros((PARAMETERS, PARAMETERS))
        covariance[np.ix_(free, free)], condition = _covariance(jacobian)
        return Solution(parameters, self.distance(parameters), covariance, condition)

    def _scale(self) -> FloatArray:
        pose = [0.01, 0.01, 0.01, 1.0, 1.0, 1.0]
        return np.concatenate((pose, np.maximum(self.prior.sigma * 0.3, 1e-6), [0.1]))

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        """What no stadium camera leaves: focal 0.2 to 20 image widths, centre inside the image, a lens that is one."""
        width, height = self.image_size_px
        low = [-np.inf] * 6 + [0.2 * width] * 2 + [0, 0, -1.5, -3, -0.05, -0.05, -3, -1]
        high = [np.inf] * 6 + [20 * width] * 2 + [width, height, 1.5, 3, 0.05, 0.05, 3, 1]
        return np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)


@dataclass(frozen=True)
class _Cost:
    """Residuals and their Jacobian over the free parameters, with the weights held."""

    problem: Problem
    whitening: FloatArray
    used: BoolArray
    free: BoolArray
    base: FloatArray

    def full(self, values: FloatArray) -> FloatArray:
        parameters = self.base.copy()
        parameters[self.free] = values
        return parameters

    def residuals(self, values: FloatArray) -> FloatArray:
        """Landmark errors, then prior errors, all in sigma."""
        parameters, prior = self.full(values), self.problem.prior
        error = self.problem._reproject(parameters)[0]
        white = (self.whitening @ error[:, :, None])[self.used].ravel()
        square = (parameters[7] / parameters[6] - 1.0) / SQUARE_PIXELS
        tail = [square]
        if self.free[CROWN]:
            tail.append((parameters[CROWN] - prior.crown_m) / prior.crown_sigma_m)
        return np.concatenate((white, (parameters[INTRINSICS] - prior.mean) / prior.sigma, tail))

    def jacobian(self, values: FloatArray) -> FloatArray:
        """(residuals, free parameters)."""
        parameters, prior = self.full(values), self.problem.prior
        over = self.problem._reproject(parameters)[1]
        white = (self.whitening @ over)[self.used].reshape(-1, PARAMETERS)
        lens = np.zeros((9, PARAMETERS))
        lens[:, INTRINSICS] = np.diag(1.0 / prior.sigma)
        tail = np.zeros((1 + int(self.free[CROWN]), PARAMETERS))
        tail[0, 6] = -parameters[7] / parameters[6] ** 2 / SQUARE_PIXELS
        tail[0, 7] = 1.0 / parameters[6] / SQUARE_PIXELS
        if self.free[CROWN]:
            tail[1, CROWN] = 1.0 / prior.crown_sigma_m
        return np.concatenate((white, lens, tail))[:, self.free]


def _covariance(jacobian: FloatArray) -> tuple[FloatArray, float]:
    """Covariance of the parameters, and the condition of the Jacobian with columns scaled to length one."""
    lengths = np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
    scaled = jacobian / lengths
    covariance = np.linalg.pinv(scaled.T @ scaled, hermitian=True) / np.outer(lengths, lengths)
    return (covariance + covariance.T) / 2, float(np.linalg.cond(scaled))


def matrix_of(parameters: FloatArray) -> FloatArray:
    """(3, 3) camera matrix of the parameters."""
    fx, fy, cx, cy = parameters[6:10]
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def to_calibration(parameters: FloatArray, problem: Problem, covariance: FloatArray | None = None) -> CameraCalibration:
    """The camera of these parameters."""
    return CameraCalibration(
        problem.image_size_px,
        matrix_of(parameters),
        parameters[10:15],
        parameters[:3],
        parameters[3:6],
        Handedness.RIGHT if problem.up > 0 else Handedness.LEFT,
        problem.pitch_m,
        max(float(parameters[CROWN]), 0.0),
        parameter_covariance=covariance,
    )

"""From clicks to a camera: seed by USAC, refine robustly, reject, re-admit, decide on the crown, state the covariance.

The order of things (POS-1): a homography with random sampling finds most blunders; least squares with soft-L1 and
priors refines pose, lens and crown together; landmarks beyond ``REJECT_SIGMA`` leave, and come back if the next
solution agrees with them. The crown of the grass stays only if the landmarks prove it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import BoardResult
from calibration.camera_model import CROWN_MAX_M, CameraCalibration
from calibration.lens import undistort
from calibration.problem import CROWN, CROWN_SIGMA_M, Prior, Problem, Solution, lens_guess, to_calibration
from touchline.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

REJECT_SIGMA = 4.0
"""A landmark this many robust sigmas off is a blunder: 0.03 % of good two-dimensional errors are beyond it."""

NOISE_MIN, NOISE_MAX = 0.6, 4.0
"""Bounds on the measured noise in units of (1 px, 0.15 m): nobody clicks better than half a pixel."""

ROUNDS_MAX = 15
SEED_SHARE = 0.015
"""A seed inlier reprojects within this share of the image width: a plain homography ignores crown and lens error."""

BOARD_INFLATION = 3.0
"""Board sigmas are multiplied by this: the corners of one still are wrong together, and boards bend."""

CROWN_PROOF_SIGMA = 3.0
FOCAL_GUESSES = (0.5, 0.7, 1.0, 1.5, 2.5, 4.0)
K1_GUESSES = (0.0, -0.15, -0.35)
CONDITION_MAX = 1e7
_POSE_FREEDOMS = 8


@dataclass(frozen=True)
class Fit:
    """A finished fit: the camera with covariance, which landmarks it used (n,), the noise in sigma, the condition."""

    calibration: CameraCalibration
    used: BoolArray
    distance: FloatArray
    noise: float
    condition: float
    crown_sigma_m: float
    method: str


def fit_camera(
    places: FloatArray,
    clicks: FloatArray,
    image_size_px: tuple[int, int],
    pitch_m: tuple[float, float],
    *,
    board: BoardResult | None = None,
    crown_m: float | None = None,
) -> Fit:
    """Solve for a camera from landmarks (n, 2) metres and (n, 2) pixels.

    ``board`` gives the lens prior, otherwise the lens is found from the landmarks; ``crown_m`` None lets the landmarks
    decide whether the grass has a crown.

    Raises:
        InputError: no camera agrees with the landmarks, or they leave it undetermined.
    """
    problem, start = _seed(places, clicks, image_size_px, pitch_m, board)
    free = replace(problem.prior, crown_m=crown_m or 0.0, crown_sigma_m=CROWN_SIGMA_M if crown_m is None else 0.0)
    inliers = _inliers(problem, start)
    fit = _settle(problem.with_prior(free), start, inliers)
    if crown_m is None:
        crown, sigma = fit[1].parameters[CROWN], np.sqrt(fit[1].covariance[CROWN, CROWN])
        if crown < CROWN_PROOF_SIGMA * sigma or crown > CROWN_MAX_M:
            flat = replace(free, crown_sigma_m=0.0)
            fit = _settle(problem.with_prior(flat), start, inliers)
    return _finish(*fit, board)


def _seed(
    places: FloatArray,
    clicks: FloatArray,
    size: tuple[int, int],
    pitch_m: tuple[float, float],
    board: BoardResult | None,
) -> tuple[Problem, FloatArray]:
    """The best start over all lens guesses, judged by the robust cost over all landmarks."""
    if board is not None:
        priors = [Prior(board.mean, board.sigma * BOARD_INFLATION)]
    else:
        priors = [lens_guess(size, focal * size[0], k1) for focal in FOCAL_GUESSES for k1 in K1_GUESSES]
    best: tuple[float, Problem, FloatArray] | None = None
    for prior in priors:
        posed = _pose_from_homography(places, clicks, prior, size)
        if posed is None:
            continue
        pose, up = posed
        problem = Problem(places, clicks, size, pitch_m, replace(prior, crown_sigma_m=0.0), up)
        start = np.concatenate((pose, prior.mean, [0.0]))
        solution = problem.solve(start, _inliers(problem, start), rounds=30)
        cost = float(np.log1p(solution.distance**2).sum())
        if best is None or cost < best[0]:
            best = cost, problem, solution.parameters
    if best is None:
        raise InputError("no camera pose agrees with the landmarks", hint="check labels and clicks")
    _, problem, start = best
    if board is None:
        problem = problem.with_prior(replace(lens_guess(size, float(start[6]), 0.0), crown_sigma_m=0.0))
    agreeing = int(_inliers(problem, start).sum())
    if agreeing * 2 < len(places):
        raise InputError(
            f"only {agreeing} of {len(places)} landmarks agree with one camera",
            hint="check the labels, the pitch size and the image",
        )
    return problem, start


def _pose_from_homography(
    places: FloatArray, clicks: FloatArray, prior: Prior, size: tuple[int, int]
) -> tuple[FloatArray, float] | None:
    """rvec and t (6,) of the camera over the plane, and the side of the plane that is up."""
    fx, fy, cx, cy = prior.mean[:4]
    matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    ideal = undistort(clicks, matrix, prior.mean[4:9])
    if not np.isfinite(ideal).all():
        return None
    limit = SEED_SHARE * size[0] / fx
    homography, mask = cv2.findHomography(places, ideal, cv2.USAC_ACCURATE, limit, None, 5000, 0.999)
    if np.asarray(mask).size != len(places) or not np.isfinite(homography).all():
        return None
    inliers = np.asarray(mask).ravel() > 0
    columns = np.asarray(homography) / max(float(np.linalg.norm(homography[:, 0])), 1e-12)
    depth = places[inliers] @ columns[2, :2] + columns[2, 2]
    columns = columns * (1.0 if np.median(depth) > 0 else -1.0)
    columns = columns / np.sqrt(np.linalg.norm(columns[:, 0]) * max(float(np.linalg.norm(columns[:, 1])), 1e-12))
    rough = np.column_stack((columns[:, 0], columns[:, 1], np.cross(columns[:, 0], columns[:, 1])))
    left, _, right = np.linalg.svd(rough)
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        return None
    centre = -rotation.T @ columns[:, 2]
    rvec = np.asarray(cv2.Rodrigues(rotation)[0]).ravel()
    return np.concatenate((rvec, columns[:, 2])), 1.0 if centre[2] > 0 else -1.0


def _inliers(problem: Problem, parameters: FloatArray) -> BoolArray:
    """Landmarks (n,) within the seed's tolerance, or the better half where fewer are."""
    distance = problem.distance(parameters)
    near: BoolArray = distance <= max(SEED_SHARE * problem.image_size_px[0], float(np.median(distance)))
    return near


def noise_of(distance: FloatArray, used: BoolArray) -> float:
    """Robust sigma of the errors (n,), corrected for the freedoms that the fit has spent."""
    observations = 2 * int(used.sum())
    spent = np.sqrt(observations / max(observations - _POSE_FREEDOMS, observations / 2))
    return float(np.clip(np.median(distance[used]) / 1.1774 * spent, NOISE_MIN, NOISE_MAX))


def _settle(problem: Problem, start: FloatArray, used: BoolArray) -> tuple[Problem, Solution, BoolArray]:
    """Refine and reject until the set of used landmarks stands still, then refine with the measured noise."""
    parameters = start
    for _ in range(ROUNDS_MAX):
        solution = problem.solve(parameters, used)
        parameters = solution.parameters
        keep = solution.distance <= REJECT_SIGMA * noise_of(solution.distance, used)
        if (keep == used).all():
            break
        used = keep
    scaled = replace(problem, noise=noise_of(solution.distance, used))
    return scaled, scaled.solve(parameters, used), used


def _finish(problem: Problem, solution: Solution, used: BoolArray, board: BoardResult | None) -> Fit:
    condition, parameters = solution.condition, solution.parameters
    if not np.isfinite(parameters).all() or not condition < CONDITION_MAX:
        raise InputError(
            f"the landmarks leave the camera undetermined (condition {condition:.1e}, at most {CONDITION_MAX:.0e})",
            hint="click landmarks that spread over the pitch, far and near, left and right",
        )
    crown_sigma = float(np.sqrt(solution.covariance[CROWN, CROWN]))
    lens = "checkerboard lens as prior" if board is not None else "lens from the landmarks"
    grass = f"crown {parameters[CROWN]:.2f} m" if parameters[CROWN] > 1e-6 else "flat grass"
    calibration = to_calibration(parameters, problem, solution.covariance)
    distance = solution.distance * problem.noise
    return Fit(calibration, used, distance, problem.noise, condition, crown_sigma, f"soft-L1, {lens}, {grass}")

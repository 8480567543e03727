"""The 7-state metric filter of POS-3, batched: x, y, vx, vy, ax, ay together (6) and height beside them (1).

Position noise on the ground is a full 2 x 2 matrix (a pixel at the far touchline is metres deep and centimetres
wide), so the six kinematic states are one block. Height is measured apart and shares no noise with them: its block is
a scalar, and the two blocks together are exactly the 7 x 7 filter with that covariance.

Motion is the constant-acceleration model driven by continuous white jerk (Bar-Shalom, Li, Kirubarajan, "Estimation with
Applications to Tracking and Navigation", 6.2.3): two steps of dt/2 are one step of dt, so it is the same at any rate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
KINEMATIC = 6
_COFACTOR = np.array([[1.0, -1.0], [-1.0, 1.0]])


class Motion:
    """F and Q of a true step, written into kept arrays.

    Args:
        density: spectral density of the white jerk, (m/s2)^2/s.
    """

    def __init__(self, density: float) -> None:
        self._density = density
        self._matrix = np.eye(KINEMATIC)
        self._noise = np.zeros((KINEMATIC, KINEMATIC))

    def step(self, dt_s: float) -> tuple[F64, F64]:
        """``(F, Q)`` of a step of ``dt_s`` > 0, each (6, 6). The next call writes into the same arrays."""
        matrix, noise = self._matrix, self._noise
        half_square = 0.5 * dt_s * dt_s
        aa = self._density * dt_s
        va = self._density * half_square
        pa = va * dt_s / 3.0
        vv = 2.0 * pa
        pv = 0.5 * va * half_square
        pp = 0.4 * pv * dt_s
        for axis in (0, 1):
            vel, acc = axis + 2, axis + 4
            matrix[axis, vel] = matrix[vel, acc] = dt_s
            matrix[axis, acc] = half_square
            noise[axis, axis] = pp
            noise[axis, vel] = noise[vel, axis] = pv
            noise[axis, acc] = noise[acc, axis] = pa
            noise[vel, vel] = vv
            noise[vel, acc] = noise[acc, vel] = va
            noise[acc, acc] = aa
        return matrix, noise


def predict(cov: F64, matrix: F64, noise: F64) -> None:
    """Move symmetric covariances ``cov`` (n, 6, 6) one step on, in place: F P F' + Q."""
    count = len(cov)
    turned = matrix.T
    half = (cov.reshape(count * KINEMATIC, KINEMATIC) @ turned).reshape(count, KINEMATIC, KINEMATIC)
    # cov is symmetric, so (P F')' = F P: a second plain product instead of a batched one
    full = half.transpose(0, 2, 1).reshape(count * KINEMATIC, KINEMATIC) @ turned
    np.add(full.reshape(count, KINEMATIC, KINEMATIC), noise, out=cov)


def correct(state: F64, cov: F64, innovation: F64, noise: F64, used: Bools) -> None:
    """Measurement update in Joseph form by ground positions, in place; where ``used`` is false the gain is zero.

    (I - KH) P (I - KH)' + K R K' is multiplied out as B + (K R - B H') K' with B = P - K (H P): H only picks the first
    two states, so that no 6 x 6 product is left. It holds for any gain, as Joseph's form must.

    Args:
        state: (6, n). cov: (n, 6, 6). innovation: measured minus predicted position (2, n), metres.
        noise: covariances of the measured positions (n, 2, 2), symmetric, m2. used: (n,).
    """
    cross = cov[:, :, :2]
    total = cross[:, :2] + noise
    scale = used / (total[:, 0, 0] * total[:, 1, 1] - total[:, 0, 1] * total[:, 0, 1])
    gain = cross @ (total[:, ::-1, ::-1] * (_COFACTOR * scale.reshape(-1, 1, 1)))
    state += (gain @ innovation.T[:, :, None])[:, :, 0].T
    after = cov - gain @ cov[:, :2]
    rest = gain @ noise
    rest -= after[:, :, :2]
    after += rest @ np.ascontiguousarray(gain.transpose(0, 2, 1))
    after *= 0.5
    np.add(after, after.transpose(0, 2, 1), out=cov)


def correct_scalar(value: F64, var: F64, measured: F64, noise: F64, used: Bools) -> None:
    """Kalman update of independent scalars with variances, all (n,), in place, where ``used``."""
    gain = used * var / (var + noise)
    value += gain * (measured - value)
    var *= 1.0 - gain

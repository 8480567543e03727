"""What the tracker gives out for one frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.track.filter import F64, KINEMATIC, Bools
from agent.track.store import I64, Row


class Tracks:
    """The published tracks of one frame; ``len()`` is their number k. The arrays are this frame's own copies.

    Attributes:
        ids: (k,) int64, positive, growing, never reused, each at most once per frame.
        time_s: of the frame, on the tracker's axis.
    """

    __slots__ = ("_cov", "_table", "ids", "time_s")

    def __init__(self, time_s: float, table: F64, cov: F64, ids: I64) -> None:
        """``table`` (25, k) and ``cov`` (k, 6, 6) as in :mod:`agent.track.store`; kept, not copied."""
        self._table = table
        self._cov = cov
        self.ids = ids
        self.time_s = time_s

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def xy_m(self) -> F64:
        """(k, 2) filtered ground position."""
        return np.asarray(self._table[Row.PLACE].T)

    @property
    def v_mps(self) -> F64:
        """(k, 2) velocity."""
        return np.asarray(self._table[Row.SPEED].T)

    @property
    def a_mps2(self) -> F64:
        """(k, 2) acceleration."""
        return np.asarray(self._table[Row.PUSH].T)

    @property
    def cov_m2(self) -> F64:
        """(k, 2, 2) covariance of ``xy_m``."""
        return np.asarray(self._cov[:, :2, :2])

    @property
    def motion_cov(self) -> F64:
        """(k, 6, 6) covariance of x, y, vx, vy, ax, ay."""
        return self._cov

    @property
    def height_m(self) -> F64:
        """(k,) filtered height above the grass."""
        return np.asarray(self._table[Row.TALL])

    @property
    def height_var_m2(self) -> F64:
        """(k,) its variance."""
        return np.asarray(self._table[Row.TALL_VAR])

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """(k, 4) x1, y1, x2, y2 source pixels: the detection's, or the last one moved on where predicted."""
        return self._table[Row.BOX].T.astype(np.float32)

    @property
    def classes(self) -> I64:
        """(k,) class of the last detection."""
        classes: I64 = self._table[Row.CLASS].astype(np.int64)
        return classes

    @property
    def detection_index(self) -> I64:
        """(k,) index into this frame's detections, -1 where predicted."""
        index: I64 = np.where(self.predicted, -1.0, self._table[Row.INDEX]).astype(np.int64)
        return index

    @property
    def last(self) -> F64:
        """(7, k) what is known of each last detection, rows as in :data:`agent.track.observe.LAST`; not copied."""
        return self._table[Row.LAST]

    @property
    def predicted(self) -> Bools:
        """(k,) true where no detection of this frame belongs to the track."""
        return np.asarray(self._table[Row.SEEN_S] < self.time_s)


def no_tracks() -> Tracks:
    """An empty frame."""
    return Tracks(0.0, np.empty((Row.NUMBER, 0)), np.empty((0, KINEMATIC, KINEMATIC)), np.empty(0, dtype=np.int64))

"""From tracks to records: the last step before the spool. Pure; one call a frame (REC-1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from touchline.record import Flag, detection_keys, new_records
from touchline.timeline import ClockState, Stamp

_METRES = ("x_m", "y_m", "vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "height_m")


@dataclass(frozen=True, slots=True)
class FrameContext:
    """What all records of a frame share. ``standby``: this node is not the active one of its pair."""

    camera: int
    sequence: int
    stamp: Stamp
    bound_limit_ns: int
    standby: bool = False

    @property
    def flags(self) -> int:
        """The flag bits that come from the clock and the role; a stamp counts as good only from a locked clock."""
        good = self.stamp.state is not ClockState.UNLOCKED and self.stamp.bound_ns <= self.bound_limit_ns
        return (Flag.CLOCK_IN_BOUND if good else 0) | (Flag.FROM_STANDBY if self.standby else 0)


class Followed(Protocol):
    """The people of one frame, k of them; :class:`agent.track.tracks.Tracks` is it."""

    @property
    def xy_m(self) -> NDArray[np.floating[Any]]:
        """(k, 2) position."""

    @property
    def v_mps(self) -> NDArray[np.floating[Any]]:
        """(k, 2) velocity."""

    @property
    def a_mps2(self) -> NDArray[np.floating[Any]]:
        """(k, 2) acceleration."""

    @property
    def height_m(self) -> NDArray[np.floating[Any]]:
        """(k,) height above the grass."""

    @property
    def boxes(self) -> NDArray[np.floating[Any]]:
        """(k, 4) x1, y1, x2, y2, source pixels."""

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(k,) not seen in this frame."""

    @property
    def classes(self) -> NDArray[np.integer[Any]]:
        """(k,) class numbers."""


def records_of(tracks: Followed, frame: FrameContext) -> tuple[NDArray[np.void], int]:
    """Return the frame's records and how many tracks were left out because a value was not finite."""
    metres = np.column_stack((tracks.xy_m, tracks.v_mps, tracks.a_mps2, tracks.height_m))
    finite = np.isfinite(np.column_stack((metres, tracks.boxes))).all(axis=1, keepdims=True)[:, 0]
    records = new_records(int(finite.sum()))
    if len(records) == 0:
        return records, len(finite)
    classes = np.asarray(tracks.classes[finite], np.uint8) & 0x0F
    records["flags"] = frame.flags | tracks.predicted[finite].astype(np.uint8) | classes << 4
    records["camera"] = frame.camera
    records["frame"] = frame.sequence & 0xFFFFFFFF
    records["ptp_ns"] = frame.stamp.ptp_ns
    records["key"] = detection_keys(frame.camera, frame.stamp.ptp_ns, tracks.boxes[finite])
    for column, name in enumerate(_METRES):
        records[name] = metres[finite, column]
    return records, len(finite) - len(records)

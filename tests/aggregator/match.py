"""A synthetic match for tests: people who move smoothly, seen by cameras that overlap in the middle of the pitch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from touchline.record import BatchHeader, Flag, detection_keys, new_records, pack_batch

T0_NS = 1_800_000_037_000_000_000
BOOT = bytes(range(16))
OVERLAP_M = 6.0


def rows(camera: int, frame: int, ptp_ns: int, xy_m: Any, v_mps: Any = None, *, salt: int = 0) -> NDArray[np.void]:
    """Records of one camera frame at the given places; ``salt`` makes the keys of another node's boxes differ."""
    xy = np.asarray(xy_m, np.float64).reshape(-1, 2)
    records = new_records(len(xy))
    records["camera"], records["frame"], records["ptp_ns"] = camera, frame, ptp_ns
    boxes = np.concatenate([xy * 10 + salt, xy * 10 + 20 + np.arange(len(xy))[:, None]], axis=1)
    records["key"] = detection_keys(camera, ptp_ns, boxes)
    records["x_m"], records["y_m"] = xy[:, 0], xy[:, 1]
    if v_mps is not None:
        records["vx_mps"], records["vy_mps"] = np.asarray(v_mps, np.float64).reshape(-1, 2).T
    records["flags"] = Flag.CLOCK_IN_BOUND
    records["height_m"] = 1.8
    return records


@dataclass
class Node:
    """Packs batches as a node does: numbers run on over the batches of one boot."""

    name: str = "node-a"
    boot_id: bytes = BOOT
    epoch: int = 1
    next_record: int = 0
    next_batch: int = 0
    sent: list[bytes] = field(default_factory=list)

    def batch(self, records: NDArray[np.void]) -> bytes:
        """The wire bytes of the next batch."""
        header = BatchHeader(self.name, self.boot_id, self.epoch, self.next_batch, self.next_record, len(records))
        self.next_batch += 1
        self.next_record += len(records)
        data = pack_batch(header, records)
        self.sent.append(data)
        return data

    @property
    def topic(self) -> str:
        """Where it publishes."""
        return f"tl/v1/{self.name}/det"


class Match:
    """``count`` people on smooth paths; two cameras overlap by ``OVERLAP_M`` round the half-way line."""

    def __init__(self, count: int = 24, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.home_m = np.stack([rng.uniform(8, 97, count), rng.uniform(6, 62, count)], axis=1)
        self.reach_m = rng.uniform(2.5, 9.0, (count, 2))
        self.pace = rng.uniform(0.25, 0.6, (count, 2))
        self.phase = rng.uniform(0, 2 * np.pi, (count, 2))

    def state(self, t_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions (n, 2) in m and velocities (n, 2) in m/s at a time."""
        angle = self.pace * t_s + self.phase
        xy = np.clip(self.home_m + self.reach_m * np.sin(angle), 1.0, (104.0, 67.0))
        return xy, self.reach_m * self.pace * np.cos(angle)

    def seen(self, camera: int, frame: int, t_s: float, ptp_ns: int) -> NDArray[np.void]:
        """What camera 0 (left) or 1 (right) records of it; a few of them as predictions."""
        xy, v = self.state(t_s)
        half = 52.5 + (OVERLAP_M if camera == 0 else -OVERLAP_M)
        mine = xy[:, 0] < half if camera == 0 else xy[:, 0] > half
        records = rows(camera, frame, ptp_ns, xy[mine], v[mine])
        hidden = np.flatnonzero(mine) % 11 == 4
        records["flags"][hidden] = Flag.PREDICTED | Flag.CLOCK_IN_BOUND
        return records

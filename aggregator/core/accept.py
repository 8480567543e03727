"""Each camera frame from exactly one node (design: failover).

Every camera has an owner: the node with the highest fencing epoch, first come among equals, kept while it is heard. The
owner's frames are taken as they come. A frame of another node is a twin's copy when that exposure has already been
taken; when it has not, it is parked for a moment, so that the owner's copy goes first, and taken if none comes. So two
publishers can neither double a frame nor, whoever of them falls silent, leave a hole that one of them could fill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from aggregator.core.coverage import Coverage, FramePeriod, Interval


class Verdict(Enum):
    """What happens to one camera frame of one node."""

    TAKE = "take"
    TWIN = "twin"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """A camera now listens to another node; ``reason`` is first, epoch or silent."""

    camera: int
    before: str
    after: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """One camera frame as one node sent it."""

    camera: int
    frame: int
    ptp_ns: int


@dataclass(slots=True)
class CameraState:
    """One camera: who owns it, since when it has been heard, and what was taken."""

    period: FramePeriod
    coverage: Coverage
    owner: str = ""
    epoch: int = -1
    heard_ns: int = 0


@dataclass(frozen=True, slots=True)
class SavedCamera:
    """What changed of a camera and must be saved with the records it led to."""

    camera: int
    owner: str
    epoch: int
    intervals: list[Interval]
    forgotten: list[int]


@dataclass(slots=True)
class Acceptor:
    """The rule, over all cameras. Times are monotonic ns given by the caller; exposures are PTP ns.

    ``rate_hz``: frame rate of the cameras, None to learn it per camera. ``silent_ns``: an owner unheard for so long
    gives way. ``max_intervals``: remembered intervals per camera.
    """

    silent_ns: int = 500_000_000
    rate_hz: float | None = None
    max_intervals: int = 4096
    cameras: dict[int, CameraState] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)
    _half_ns: dict[str, dict[int, int]] = field(default_factory=dict)  # node -> camera -> half its frame period

    def judge(
        self, exposures: list[Exposure], node: str, epoch: int, now_ns: int
    ) -> tuple[list[Verdict], list[OwnerChange]]:
        """Judge a batch's frames, in order; the verdicts are parallel to ``exposures``."""
        changes: list[OwnerChange] = []
        for camera in dict.fromkeys(e.camera for e in exposures):
            change = self._claim(camera, node, epoch, now_ns)
            if change is not None:
                changes.append(change)
        verdicts = [self._judge_one(exposure, node) for exposure in exposures]
        halves = self._half_ns.setdefault(node, {})
        for camera in dict.fromkeys(e.camera for e in exposures):
            halves[camera] = self._state(camera).period.period_ns // 2
        return verdicts, changes

    def half_period_ns(self, node: str) -> int:
        """Half the shortest frame period of the cameras that a node sends; of an unknown camera when it sends none."""
        halves = self._half_ns.get(node)
        return min(halves.values()) if halves else FramePeriod(self.rate_hz).period_ns // 2

    def settle(self, exposure: Exposure, node: str) -> Verdict:
        """Judge a parked frame whose wait is over: taken if nobody else's copy came, else a twin's copy."""
        state = self._state(exposure.camera)
        return self._take_or_twin(state, exposure, node)

    def _claim(self, camera: int, node: str, epoch: int, now_ns: int) -> OwnerChange | None:
        state = self._state(camera)
        reason = ""
        if not state.owner:
            reason = "first"
        elif node == state.owner:
            if epoch > state.epoch:
                state.epoch = epoch
                self._changed.add(camera)
        elif epoch > state.epoch:
            reason = "epoch"
        elif now_ns - state.heard_ns > self.silent_ns:
            reason = "silent"
        if reason:
            change = OwnerChange(camera, state.owner, node, epoch, reason)
            state.owner, state.epoch, state.heard_ns = node, epoch, now_ns
            self._changed.add(camera)
            return change
        if node == state.owner:
            state.heard_ns = now_ns
        return None

    def _judge_one(self, exposure: Exposure, node: str) -> Verdict:
        state = self._state(exposure.camera)
        state.period.observe(node, exposure.frame, exposure.ptp_ns)
        holders = state.coverage.holders(exposure.ptp_ns, state.period.period_ns // 2)
        if not holders and node != state.owner:
            return Verdict.PARK
        return self._take_or_twin(state, exposure, node)

    def _take_or_twin(self, state: CameraState, exposure: Exposure, node: str) -> Verdict:
        period_ns = state.period.period_ns
        holders = state.coverage.holders(exposure.ptp_ns, period_ns // 2)
        if holders and node not in holders:
            return Verdict.TWIN
        state.coverage.add(exposure.ptp_ns, node, period_ns)
        self._changed.add(exposure.camera)
        return Verdict.TAKE

    def _state(self, camera: int) -> CameraState:
        state = self.cameras.get(camera)
        if state is None:
            state = CameraState(FramePeriod(self.rate_hz), Coverage(self.max_intervals))
            self.cameras[camera] = state
        return state

    def take_changes(self) -> list[SavedCamera]:
        """What changed since the last call."""
        saved: list[SavedCamera] = []
        for camera in sorted(self._changed):
            state = self.cameras[camera]
            saved.append(SavedCamera(camera, state.owner, state.epoch, *state.coverage.take_changes()))
        self._changed.clear()
        return saved

    def restore(self, camera: int, owner: str, epoch: int, intervals: list[Interval], now_ns: int) -> None:
        """Take one camera's saved state; its owner counts as heard now."""
        self.cameras[camera] = CameraState(
            FramePeriod(self.rate_hz), Coverage.restore(intervals, self.max_intervals), owner, epoch, now_ns
        )

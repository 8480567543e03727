"""The inference process of one camera: ring, detector, tracker, records, and on to the publisher."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.camera.port import PixelFormat, frame_bytes
from agent.camera.registry import open_camera
from agent.clock.open import open_clock
from agent.detect.build import open_detector
from agent.detect.detector import Detector
from agent.detect.pixels import to_rgb
from agent.detect.types import Detections
from agent.processes.child import TRACKER, Child
from agent.processes.frames import frame_message
from agent.publish.duty import Look
from agent.records import FrameContext, records_of
from agent.ring import RingFrame, RingReader, WriterGone
from agent.trace import FrameTrace, open_tracer
from agent.track.ground import GroundProjector, locate
from agent.track.tracker import Tracker
from agent.track.tracks import Tracks, no_tracks
from agent.uart.feed import Feed, Shot
from agent.view import view_of
from calibration.camera_model import CameraCalibration
from touchline.config import CameraSection, TrackSection
from touchline.timeline import ClockState, Stamp, monotonic_ns

_WAIT_S: Final = 0.1
_MOVED_NS: Final = 20_000_000  # more than frames land early or late by


@dataclass
class Pipeline:
    """Everything between a picture and its records, without the ring and the link: pure but for the engine.

    ``clock_bound_limit_ns``: stamps with a larger bound lose their flag. ``tracks``: of the last frame.
    """

    camera: CameraSection
    detector: Detector
    tracker: Tracker
    ground: GroundProjector
    track: TrackSection
    clock_bound_limit_ns: int
    tracks: Tracks = field(default_factory=no_tracks)
    _rgb: NDArray[np.uint8] | None = None
    _last: tuple[Stamp, int] | None = None

    @property
    def pixel_format(self) -> PixelFormat:
        """How the camera's bytes are to be read."""
        return PixelFormat(self.camera.pixel_format)

    def place(self, pixels: memoryview) -> None:
        """Put one frame, given as its slot's bytes, before the engine; the slot is free afterwards."""
        width_px, height_px, kind = self.camera.width_px, self.camera.height_px, self.pixel_format
        reusable = None if kind is PixelFormat.RGB24 else self._rgb  # rgb24 is looked at in place, in the ring
        self._rgb = to_rgb(pixels[: frame_bytes(width_px, height_px, kind)], width_px, height_px, kind, reusable)
        self.detector.place(self._rgb)

    def follow(self, detections: Detections, frame: RingFrame) -> tuple[NDArray[np.void], int]:
        """Detections to records: ground position, tracking, packing; also how many tracks were not finite."""
        self._begin_anew_where_time_moved(frame.stamp, frame.landed_monotonic_ns)
        located = locate(detections, self.ground, sigma_px=self.track.sigma_px, sigma_share=self.track.sigma_share)
        tracks = self.tracks = self.tracker.update(frame.stamp.ptp_ns / 1e9, located)
        context = FrameContext(self.camera.number, frame.sequence, frame.stamp, self.clock_bound_limit_ns)
        return records_of(tracks, context)

    def _begin_anew_where_time_moved(self, stamp: Stamp, landed_ns: int) -> None:
        """Between two epochs time may have moved by anything; the tracker bears what is no more than landing jitter."""
        last, self._last = self._last, (stamp, landed_ns)
        if last is not None and last[0].epoch != stamp.epoch:
            moved_ns = (stamp.ptp_ns - last[0].ptp_ns) - (landed_ns - last[1])
            if abs(moved_ns) > _MOVED_NS:
                self.tracker.reset()


def build_pipeline(child: Child) -> Pipeline:
    """Load model and calibration; raises ConfigError or InputError naming what is wrong with them."""
    config, camera = child.config, child.camera
    calibration = CameraCalibration.load(Path(camera.calibration))
    detect = config.detect
    detector = open_detector(
        detect.model,
        threads=detect.threads,
        spin=False,
        score_threshold=detect.score_threshold,
        iou_threshold=detect.iou_threshold,
        allow_large=detect.allow_large_model,
    )
    return Pipeline(
        camera=camera,
        detector=detector,
        tracker=Tracker(config.track),
        ground=view_of(calibration, camera),
        track=config.track,
        clock_bound_limit_ns=config.clock.bound_limit_ns,
    )


def run_inference(child: Child) -> None:
    """Work through the ring until its writer closes it in good order; a dead writer is waited for."""
    pipeline = build_pipeline(child)
    ring = child.ring()
    reader = RingReader(ring, 0)
    assert child.spec.link_fd is not None
    link = socket.socket(fileno=child.spec.link_fd)
    info = pipeline.detector.info
    child.ready(engine={"name": info.name, "load_ms": info.load_ms, "model_bytes": info.model_bytes})
    work = _Work(child, pipeline, link)
    try:
        while work.step(reader):
            child.tick()
    finally:
        work.close()
        child.report()
        reader.close()


class _Work:
    """One frame at a time, with the books."""

    def __init__(self, child: Child, pipeline: Pipeline, link: socket.socket) -> None:
        self._child, self._pipeline, self._link = child, pipeline, link
        self._clock = open_clock(child.config)
        self._locked_only = child.config.clock.on_unlocked == "required"
        follows = open_camera(child.camera, self._clock).info().follows_readers
        self._max_lag_ns = 0 if follows else int(child.config.detect.max_lag_ms * 1e6)
        self._lagging = False
        self._tracer = open_tracer(child.config, child.camera.number)
        uart_fd = child.spec.uart_fd
        self._feed = None if uart_fd is None else Feed(socket.socket(fileno=uart_fd))

    def step(self, reader: RingReader) -> bool:
        """Handle the next frame, if one comes; False when there will be none."""
        try:
            frame = reader.next(_WAIT_S, newest=self._lagging)
        except WriterGone as gone:
            return not gone.orderly  # a dead writer is followed by the next life of the capture
        if frame is None:
            return not self._child.stopping
        self._lagging = bool(self._max_lag_ns) and self._age_ns(frame) > self._max_lag_ns
        self._handle(frame)
        return True

    def _age_ns(self, frame: RingFrame) -> int:
        """Time since the exposure began; since the frame landed where the clock has begun another epoch meanwhile."""
        now = self._clock.now()
        same = now.epoch == frame.stamp.epoch
        return now.ptp_ns - frame.stamp.ptp_ns if same else monotonic_ns() - frame.landed_monotonic_ns

    def _handle(self, frame: RingFrame) -> None:
        child, pipeline = self._child, self._pipeline
        picked_ns = monotonic_ns()
        child.took("ring", (picked_ns - frame.landed_monotonic_ns) / 1e6)
        pipeline.place(frame.payload)
        if not frame.still_valid():
            return  # the ring's ledger has counted it as late
        detections = pipeline.detector.find()
        detected_ns = monotonic_ns()
        records, not_finite = pipeline.follow(detections, frame)
        child.took("track", (monotonic_ns() - detected_ns) / 1e6)
        for stage in ("letterbox", "infer", "decode"):
            child.took(stage, getattr(pipeline.detector.timings, f"{stage}_ms"))
        child.count("processed")
        child.count("dropped_not_finite", not_finite)
        child.counters["dropped_candidates_not_finite"] = pipeline.detector.non_finite
        tracked = asdict(pipeline.tracker.counters)
        child.counters["dropped_frames_refused"] = tracked.pop("frames_refused")
        child.counters.update({f"{TRACKER}{name}": total for name, total in tracked.items()})
        if self._locked_only and frame.stamp.state is ClockState.UNLOCKED:
            child.count("dropped_clock_unlocked", len(records))
            records = records[:0]
        self._send(Look(child.camera.number, frame.sequence, frame.stamp.ptp_ns), records)
        sent_ns = monotonic_ns()
        child.took("exposure_to_link", self._age_ns(frame) / 1e6)
        if self._feed is not None:
            self._tell_uart(self._feed, frame, detections)
        if self._tracer.on or self._tracer.why:
            self._trace(frame, (detected_ns, sent_ns), records)

    def _trace(self, frame: RingFrame, times: tuple[int, int], records: NDArray[np.void]) -> None:
        """What happened to the frame, into the trace ring (CAP-6); ``times``: detected and sent, monotonic ns."""
        number, landed_ns = self._child.camera.number, frame.landed_monotonic_ns
        traced = FrameTrace(number, frame.sequence, frame.stamp, landed_ns, *times, records.tobytes())
        self._tracer.put(traced, times[1])
        self._child.counters.update(self._tracer.counters())

    def close(self) -> None:
        """Close the trace ring; what is in it waits for a flush."""
        self._tracer.close()

    def _tell_uart(self, feed: Feed, frame: RingFrame, detections: Detections) -> None:
        """To the serial line, also what is unlocked: it says so itself."""
        began_ns, stamp, tracks = monotonic_ns(), frame.stamp, self._pipeline.tracks
        in_bound = stamp.state is not ClockState.UNLOCKED and stamp.bound_ns <= self._pipeline.clock_bound_limit_ns
        shot = Shot(self._child.camera.number, frame.sequence, stamp, in_bound, began_ns)
        if not feed.tell(shot, tracks, detections.scores):  # its process is down or far behind
            self._child.count("dropped_uart_link")
        self._child.took("uart", (monotonic_ns() - began_ns) / 1e6)

    def _send(self, look: Look, records: NDArray[np.void]) -> None:
        """To the publisher, also when nobody was seen: frames flow."""
        try:
            self._link.send(frame_message(look, records), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, ConnectionError):  # the publisher is down or far behind: counted, never waited for
            self._child.count("dropped_link", len(records))
        else:
            self._child.count("records", len(records))

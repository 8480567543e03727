"""The recorder process of one camera: ring to files, here and at the twin; see :mod:`agent.record`."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from agent import control
from agent.camera.port import PixelFormat
from agent.processes.child import Child
from agent.processes.voice import Voice
from agent.record.command import Coding, Picture
from agent.record.files import Bounds, Shelf, folder_of
from agent.record.fragment import Head
from agent.record.mirror.receiver import MirrorReceiver
from agent.record.mirror.sender import MirrorSender
from agent.record.mirror.tls import Identity
from agent.record.probe import find_encoder
from agent.record.recorder import Recorder
from agent.record.run import Plan
from agent.record.spare import choose, primary_of
from agent.ring import RingReader, WriterGone
from agent.rings import RECORDER_READER
from thermal.protect.quiet import QuietFlag
from touchline.config import CameraSection
from touchline.config.record import RecordSection, port_of
from touchline.errors import ConfigError, ResourceError
from touchline.stats import Window
from touchline.timeline import monotonic_ns

_LOG = logging.getLogger(__name__)

FILES_A_CAMERA: Final = 8  # at most an eighth of a camera's share is in its open file
MIRROR_FILES: Final = 4
_FLUSH_S: Final = 1.0
_LAST_FRAMES_NS: Final = 1_000_000_000
_BOOK_EVERY_NS: Final = 250_000_000
_BOOKED: Final = ("fragments", "frames", "bytes", "files", "files_deleted", "files_aged", "dropped_disk")


def run_recorder(child: Child) -> None:
    """Record until the camera's ring is closed in good order or the parent says stop."""
    with ExitStack() as stack:
        work = _Work(child, stack)
        child.ready(encoder=work.plan.found.encoder, program=work.plan.found.argv[0])
        try:
            while work.turn():
                pass
            work.recorder.finish()
        finally:
            work.book()
            child.report()


def picture_of(camera: CameraSection) -> Picture:
    """What the camera's frames are."""
    return Picture(camera.width_px, camera.height_px, PixelFormat(camera.pixel_format), camera.rate_hz)


def coding_of(record: RecordSection) -> Coding:
    """What ``[record]`` asks of the encoder."""
    return Coding(**{name: getattr(record, name) for name in Coding.__dataclass_fields__})


def choose_program(record: RecordSection) -> tuple[str, Sequence[str]]:
    """ffmpeg or its spare, and what is to be said of that (FOV-5). Raises ResourceError when none can be run."""
    found = primary_of(record.ffmpeg)
    choice = choose(found, Path(record.spare) if record.spare else None)
    if choice is None:
        spare = f", nor its spare {record.spare}" if record.spare else ""
        raise ResourceError(
            f"{found} cannot be run{spare}", hint="apt install ffmpeg, set record.ffmpeg, or take [record] out"
        )
    return choice.program, choice.complaints


class _Work:
    """One life of a recorder process."""

    def __init__(self, child: Child, stack: ExitStack) -> None:
        record, index = child.config.record, child.spec.camera
        if record is None or index is None:
            raise ConfigError("[record] is missing", hint="add it, or start no recorder")
        os.setpriority(os.PRIO_PROCESS, 0, record.nice)
        self._child, self._record, self._index = child, record, index
        self._said: deque[dict[str, str]] = deque(maxlen=64)
        camera = child.camera
        program, complaints = choose_program(record)
        for complaint in complaints:
            self._say("warning", "encoder_spare", complaint)
        found = find_encoder(program, coding_of(record), picture_of(camera))
        if found.complaint:
            self._say(found.severity, "encoder_passed_over", found.complaint)
        self._shelf = self._make_shelf(False, self._bounds())
        stack.callback(self._shelf.close)
        self._shelves = [self._shelf]
        head = Head(
            node=child.config.node.name,
            camera=camera.number,
            stream="",
            codec=record.codec,
            encoder=found.encoder,
            width_px=camera.width_px,
            height_px=camera.height_px,
            rate_hz=camera.rate_hz,
        )
        self._sender, self._receiver = self._mirror(stack)
        self._voice = self._make_voice(stack)
        outs = tuple(out for out in (self._sender, self._shelf, self._voice) if out)  # a stuck disk: the twin has it
        stopped = record.standby_encoder == "stopped"
        self.plan = Plan(head, picture_of(camera), coding_of(record), found, stopped, outs)
        ring = child.ring()
        reader = RingReader(ring, RECORDER_READER)
        stack.callback(reader.close)
        self.recorder = Recorder(self.plan, reader, ring.spec.slots, self._say, child.control.fileno())
        self.recorder.mirror = self._receiver
        self._stop_ns = self._booked_ns = 0
        self._stages = {name: Window() for name in ("encode", "to_disk", "to_twin")}
        self._start_syncing(stack)

    def _make_shelf(self, mirror: bool, bounds: Bounds) -> Shelf:
        """One that obeys the disk's guard (PRT-2)."""
        record = self._record
        quiet = QuietFlag(self._child.config.node.run_dir, record.folder)
        folder = folder_of(record.folder, self._child.camera.number, mirror)
        return Shelf(folder, bounds, self._say_of_mirror if mirror else self._say, quiet.why)

    def _bounds(self) -> Bounds:
        record = self._record
        share = record.max_bytes // len(self._child.config.camera)
        return Bounds(
            max_bytes=share,
            min_free_bytes=record.min_free_bytes,
            max_age_s=record.max_age_h * 3600,
            file_bytes=share // FILES_A_CAMERA,
            file_us=round(record.file_minutes * 60e6),
        )

    def _mirror(self, stack: ExitStack) -> tuple[MirrorSender | None, MirrorReceiver | None]:
        config, record, camera = self._child.config, self._record, self._child.camera
        if not record.mirror_peer:
            return None, None
        if config.failover is None:
            raise ConfigError("record.mirror_peer needs [failover]", hint="it names the twin; or take mirror_peer out")
        identity = Identity(config.mqtt, config.failover.twin)
        share = record.mirror_share(len(config.camera))
        bounds = Bounds(share, record.min_free_bytes, file_bytes=share // MIRROR_FILES)
        shelf = self._make_shelf(True, bounds)
        self._shelves.append(shelf)
        receiver = MirrorReceiver(port_of(record.mirror_listen, self._index), identity, camera.number, shelf)
        stack.callback(receiver.close)
        backlog = record.mirror_backlog_bytes // len(config.camera)
        peer = port_of(record.mirror_peer, self._index)
        sender = MirrorSender(peer, identity, config.node.name, camera.number, backlog)
        stack.callback(sender.close, _FLUSH_S)
        return sender, receiver

    def _make_voice(self, stack: ExitStack) -> Voice | None:
        """None without failover: nobody would listen."""
        config = self._child.config
        if config.failover is None:
            return None
        number = self._child.camera.number
        voice = Voice(config.node.run_dir, number, lambda: not self._shelf.trouble, self._behind_ptp_ns)
        stack.callback(voice.close)
        return voice

    def _start_syncing(self, stack: ExitStack) -> None:
        """A disk may take long to sync: nobody else waits for it."""
        over = threading.Event()

        def keep_syncing() -> None:
            while not over.wait(self._record.sync_s):
                for shelf in self._shelves:
                    try:
                        shelf.sync()
                    except OSError as error:  # no descriptor left, a disk gone read-only: the thread stays for the rest
                        _LOG.error("%s: not synced: %s", shelf.folder, error.strerror)

        threading.Thread(target=keep_syncing, name="record-sync", daemon=True).start()
        stack.callback(over.set)

    # --- a turn -------------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Hear the parent, move a frame; False when it is over."""
        child, now_ns = self._child, monotonic_ns()
        while self._said:
            control.send(child.control, {"type": "events", "events": [self._said.popleft()]})
        if now_ns - self._booked_ns > _BOOK_EVERY_NS:
            self._booked_ns = now_ns
            self.book()
        child.tick()
        inbox, child.inbox = child.inbox, []
        for message in inbox:
            if message["type"] == "role":
                self._take_role(message["role"] == "active", int(message["epoch"]))
        if self._voice is not None:
            self._voice.pump(self._state, self._shelf.why or self.recorder.trouble, self._twin_ptp_ns)
        if child.stopping and self._is_over():
            return False
        try:
            self.recorder.step()
        except WriterGone as gone:
            return not gone.orderly  # a dead writer is followed by the next life of the capture
        return True

    def _take_role(self, active: bool, epoch: int) -> None:
        if self._voice is not None:
            self._voice.role(active, epoch)
        self.recorder.set_role(active, epoch)

    @property
    def _state(self) -> str:
        return "disk" if self._shelf.trouble else self.recorder.state

    def _behind_ptp_ns(self) -> int:
        takeover = self.recorder.takeover
        return 0 if takeover is None else takeover.tail_ptp_ns or 0

    @property
    def _twin_ptp_ns(self) -> int:
        """The newest picture of the twin's recording that is mirrored here; 0: none."""
        tail = None if self._receiver is None else self._receiver.tail
        return 0 if tail is None else tail.ptp_ns

    def _is_over(self) -> bool:
        """Told to stop: what the ring still holds is recorded, for a moment."""
        now_ns = monotonic_ns()
        self._stop_ns = self._stop_ns or now_ns
        return self.recorder.caught_up or now_ns - self._stop_ns > _LAST_FRAMES_NS

    def _say(self, severity: str, code: str, text: str) -> None:
        """From any thread; told to the parent at the next turn."""
        camera = self._child.camera.number
        self._said.append({"severity": severity, "code": code, "text": f"camera {camera}: {text}"})

    def _say_of_mirror(self, severity: str, code: str, text: str) -> None:
        self._say(severity, code.replace("recording", "mirror"), f"the twin's copy: {text}")

    def book(self) -> None:
        """What happened goes into the child's report."""
        child, recorder = self._child, self.recorder
        while self._said:
            control.send(child.control, {"type": "events", "events": [self._said.popleft()]})
        counters = {f"record_{name}": count for name, count in asdict(recorder.counts).items()}
        counters |= {f"record_{name}": self._shelf.counters[name] for name in _BOOKED}
        run = recorder.run
        if run is not None:
            self._drain("encode", run.sink.encoded_ms)
            self._drain("to_disk", run.sink.written_ms)
        if self._sender is not None:
            self._drain("to_twin", self._sender.to_twin_ms)
            books = self._sender.books
            counters |= {"mirror_sent": books.sent, "mirror_bytes": books.sent_bytes, "mirror_skipped": books.skipped}
        if self._receiver is not None:
            counters["mirror_refused"] = self._receiver.refused
        child.counters.update(counters)
        child.extra = {"recording": self._document()}

    def _drain(self, stage: str, values: deque[float]) -> None:
        if values:
            self._child.stages[stage] = self._stages[stage]
        while values:
            self._stages[stage].add(values.popleft())

    def _document(self) -> dict[str, Any]:
        recorder, shelf = self.recorder, self._shelf
        document: dict[str, Any] = {
            "state": self._state,
            "role": "active" if recorder.role[0] else "standby",
            "epoch": recorder.role[1],
            "encoder": self.plan.found.encoder,
            "passed_over": list(self.plan.found.passed_over),
            "file": None if shelf.path is None else shelf.path.name,
            "file_bytes": shelf.size if shelf.path is not None else 0,
            "trouble": shelf.why or recorder.trouble,
        }
        if recorder.takeover is not None:
            document["takeover"] = recorder.takeover.as_dict()
        if self._sender is not None and self._receiver is not None:
            books = self._sender.books
            document["mirror"] = {
                "to_twin": books.connected,
                "to_twin_ptp_ns": books.have.ptp_ns,
                "to_twin_trouble": books.trouble,
                "from_twin": self._receiver.connected,
                "from_twin_ptp_ns": self._twin_ptp_ns,
            }
        return document

"""The recorder of one camera: from the ring to files here and at the twin, whatever ffmpeg, disk or twin do.

It takes frames from the ring and never keeps the ring's writer waiting: an encoder that is too slow, a disk that is
full, a twin that is away cost frames of the recording, counted, and nothing else.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from agent.record.encoder import EncoderGone
from agent.record.mirror.receiver import MirrorReceiver
from agent.record.run import Plan, Run
from agent.ring import RingFrame, RingReader
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

STUCK_NS: Final = 5_000_000_000  # an encoder that takes nothing for so long is ended and started again
FIRST_PAUSE_NS: Final = 100_000_000
LONGEST_PAUSE_NS: Final = 5_000_000_000
HEALTHY_NS: Final = 30_000_000_000  # of one run: then the pauses begin anew
FINISH_S: Final = 2.0
MOST_FAILURES: Final = (
    5  # runs in a row that recorded nothing: the process ends, its next life chooses the program anew
)
_WAIT_S: Final = 0.05
_HOLD_S: Final = 0.01

Say = Callable[[str, str, str], None]  # severity, code, text


@dataclass(slots=True)
class Counts:
    """Frames of the ring by what became of them, and what the recorder has been through."""

    offered: int = 0
    slow: int = 0  # passed over: the encoder is behind
    overwritten: int = 0  # the ring took them back first
    torn: int = 0  # changed while they were read: that run of the encoder was ended
    standby: int = 0  # passed over while the standby's encoder is stopped
    idle: int = 0  # came while no encoder ran
    restarts: int = 0
    lost_in_encoder: int = 0


@dataclass(slots=True)
class Takeover:
    """How the stopped encoder went on, when this node became active."""

    begin_ns: int
    sigcont_ms: float
    tail_ptp_ns: int | None
    first_ptp_ns: int | None = None
    first_fragment_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the report; ``step_ms``: from the mirrored tail's last frame to ours."""
        step = None
        if self.tail_ptp_ns is not None and self.first_ptp_ns is not None:
            step = round((self.first_ptp_ns - self.tail_ptp_ns) / 1e6, 3)
        return {
            "sigcont_ms": round(self.sigcont_ms, 3),
            "step_ms": step,
            "first_fragment_ms": None if self.first_fragment_ms is None else round(self.first_fragment_ms, 1),
        }


class Recorder:
    """One camera's. Everything but the sink's and the mirror's threads happens in :meth:`step`."""

    def __init__(self, plan: Plan, reader: RingReader, slots: int, say: Say, wake_fd: int | None = None) -> None:
        self._plan, self._reader, self._say, self._wake_fd = plan, reader, say, wake_fd
        self._late, self._later = max(1, slots // 4), max(2, slots * 3 // 4)
        self._catching_up = True
        self.mirror: MirrorReceiver | None = None
        self.role: tuple[bool, int] = (False, 0)
        self.run: Run | None = None
        self.counts = Counts()
        self.takeover: Takeover | None = None
        self.trouble = ""
        self._held: RingFrame | None = None
        self._start_ns = 0
        self._pause_ns = FIRST_PAUSE_NS
        self._failures = 0
        self._half_ns = round(0.5e9 / plan.picture.rate_hz)

    # --- role -------------------------------------------------------------------------------------------------------

    def set_role(self, active: bool, epoch: int) -> None:
        """What this node is from now on; with a stopped standby the encoder goes on or is put away."""
        was, self.role = self.role[0], (active, epoch)
        if not self._plan.stopped or was == active:
            return
        if active:
            self._go_on()
        elif self.run is not None and not self.run.parked:
            self._end_run(*self.run.finish(FINISH_S), orderly=True)

    def _go_on(self) -> None:
        tail = None if self.mirror is None else self.mirror.tail
        begin_ns, took_ms = monotonic_ns(), 0.0
        run = self.run
        if run is not None and run.parked:
            try:
                took_ms = run.encoder.go_on()
                run.parked = False
            except (EncoderGone, ResourceError) as error:
                self._say("error", "encoder_not_continued", f"the stopped encoder did not go on ({error!r}): a new one")
                self._end_run(*run.abandon())
                self._start_ns = 0
        self._catching_up = True
        self.takeover = Takeover(begin_ns, took_ms, None if tail is None else tail.ptp_ns)

    @property
    def _is_to_stand(self) -> bool:
        return self._plan.stopped and not self.role[0]

    # --- one turn ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One turn of at most about 50 ms. Raises WriterGone as the ring's reader does."""
        run = self.run
        if run is None:
            self._start_or_wait()
            return
        try:
            if run.sink.trouble or run.encoder.ended() is not None:
                raise EncoderGone
            self._look_at_takeover(run)
            if run.encoder.busy:
                self._push(run)
            elif run.prime():
                run.encoder.pump(_WAIT_S)
            elif self._is_to_stand:
                self._stand(run)
            else:
                self._feed(run)
        except EncoderGone:
            self._end_run(*run.abandon())

    def finish(self) -> None:
        """End in order: what was fed is written."""
        if self.run is not None:
            self._end_run(*self.run.finish(FINISH_S), orderly=True)

    def _start_or_wait(self) -> None:
        if monotonic_ns() < self._start_ns:
            frame = self._next(_HOLD_S) if self._reader.ledger().lag > self._later else None
            self.counts.idle += frame is not None
            if frame is None:
                select.select([], [], [], _HOLD_S)
            return
        try:
            self.run = Run(self._plan, lambda: self.role, primed=self._is_to_stand)
        except ResourceError as error:
            self._later_again()
            self._complain("encoder_not_started", str(error))
            return
        self._catching_up = True

    def _end_run(self, code: int, wrong: str, *, orderly: bool = False) -> None:
        """Judge how a run ended and say when the next one begins."""
        run, self.run = self.run, None
        assert run is not None
        lost = run.fed - run.sink.frames
        self.counts.lost_in_encoder += lost
        self._failures = 0 if run.sink.frames else self._failures
        if orderly and code == 0 and not wrong:
            self._start_ns = 0
            return
        self.counts.restarts += 1
        if monotonic_ns() - run.started_ns > HEALTHY_NS:
            self._pause_ns = FIRST_PAUSE_NS
        self._later_again()
        self._complain("encoder_ended", wrong or f"ffmpeg ended with exit code {code} while frames came")

    def _later_again(self) -> None:
        self._start_ns = monotonic_ns() + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)

    def _complain(self, code: str, text: str) -> None:
        self.trouble = text
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise ResourceError(f"ffmpeg recorded nothing {self._failures} times: {text}", hint="see record.encoder")
        self._say("error", code, f"{text}; started again after {(self._start_ns - monotonic_ns()) / 1e9:.1f} s")

    # --- feeding ----------------------------------------------------------------------------------------------------

    def _push(self, run: Run) -> None:
        if not run.encoder.pump(_WAIT_S) and run.encoder.busy_ns() > STUCK_NS:
            self._say("error", "encoder_stuck", f"ffmpeg has taken nothing for {STUCK_NS / 1e9:g} s: it is ended")
            raise EncoderGone
        self._after_push(run)

    def _after_push(self, run: Run) -> None:
        if run.encoder.torn:
            self.counts.torn += 1
            self._say("error", "frame_torn", "the ring took a frame back while the encoder read it: a new file begins")
            raise EncoderGone

    def _next(self, timeout_s: float) -> RingFrame | None:
        frame = self._reader.next(timeout_s)
        self.counts.overwritten += 0 if frame is None else frame.skipped_before
        return frame

    def _feed(self, run: Run) -> None:
        """Give the encoder the next frame, or pass it over when that is too far behind."""
        takeover = self.takeover
        if takeover is not None and takeover.first_ptp_ns is None:
            takeover.tail_ptp_ns = self._pass_over_mirrored() or None  # more of it may have come meanwhile
        frame, self._held = self._held or self._next(_WAIT_S), None
        if frame is None:
            return
        lag = self._reader.ledger().lag
        self._catching_up = self._catching_up and lag > self._late
        if lag > (self._later if self._catching_up else self._late):
            self.counts.slow += 1
            return
        if not frame.still_valid():
            self.counts.overwritten += 1
            return
        run.offer(frame)
        self.counts.offered += 1
        if takeover is not None and takeover.first_ptp_ns is None:
            takeover.first_ptp_ns = frame.stamp.ptp_ns
        run.encoder.pump(_WAIT_S)
        self._after_push(run)
        if monotonic_ns() - run.started_ns > HEALTHY_NS:
            self.trouble = ""

    def _look_at_takeover(self, run: Run) -> None:
        takeover = self.takeover
        if takeover is None or takeover.first_fragment_ms is not None or not run.sink.first_ns:
            return
        takeover.first_fragment_ms = (run.sink.first_ns - takeover.begin_ns) / 1e6
        done = takeover.as_dict()
        behind = "no mirrored tail" if done["step_ms"] is None else f"{done['step_ms']} ms behind the mirrored tail"
        text = (
            f"SIGCONT obeyed in {done['sigcont_ms']} ms, first fragment after {done['first_fragment_ms']} ms, {behind}"
        )
        self._say("info", "recording_continues", text)

    # --- a stopped standby --------------------------------------------------------------------------------------------

    def _stand(self, run: Run) -> None:
        """Stop the primed encoder, keep the frame after the mirrored tail's last at hand, and listen for the role."""
        if not run.parked and (run.primed or monotonic_ns() - run.started_ns > STUCK_NS):
            primed = "primed" if run.primed else "NOT primed within 5 s"
            took_ms = run.encoder.stop()
            run.parked = True
            self._say("info", "encoder_stopped", f"the standby's encoder is {primed} and stopped ({took_ms:.1f} ms)")
        self._pass_over_mirrored()
        select.select([] if self._wake_fd is None else [self._wake_fd], [], [], _HOLD_S)

    def _pass_over_mirrored(self) -> int:
        """Keep the frame after the mirrored tail's last at hand; returns that last one's exposure, 0: there is none."""
        tail = None if self.mirror is None else self.mirror.tail
        covered_ns = 0 if tail is None else tail.ptp_ns + self._half_ns
        frame = self._held
        while True:
            frame = frame or self._next(0)
            if frame is None:
                break
            if frame.stamp.ptp_ns > covered_ns and self._reader.ledger().lag <= self._later:
                break
            self.counts.standby += 1
            frame = None
        self._held = frame
        return 0 if tail is None else tail.ptp_ns

    # --- what it says of itself ---------------------------------------------------------------------------------------

    @property
    def caught_up(self) -> bool:
        """Whether nothing of the ring waits for the encoder, or nobody wants it; one that begins yet is wanted too."""
        waits = self._reader.ledger().lag or self._held is not None or (self.run is not None and self.run.encoder.busy)
        return self._is_to_stand or not waits

    @property
    def state(self) -> str:
        """One word: recording, waiting (no encoder runs), standing (stopped), starting."""
        if self.run is None:
            return "waiting"
        if self.run.parked:
            return "standing"
        return "recording" if self.run.sink.frames else "starting"

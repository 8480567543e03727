"""The protect service: a sample every ``sample_ms``, the disk in a thread, a status, a socket, a watchdog."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thermal.protect.control import ControlServer
from thermal.protect.flush import flush_trouble, read_flush
from thermal.protect.guard import Answer, ShockGuard
from thermal.protect.keeper import DiskKeeper
from thermal.protect.status import FILE, SOCKET, write_status
from thermal.types import Fault, Severity
from touchline.notify import notify
from touchline.timeline import monotonic_ns, utc_text

TELL_NS: Final = 500_000_000
WATCHDOG_NS: Final = 1_000_000_000
HANGS_NS: Final = 180_000_000_000  # each thing done to the disk is stamped; the stop of a unit takes 150 s at most
LAST_LOOK_S: Final = 5.0  # a stop waits so long for a look that is under way
_LOG: Final = logging.getLogger("thermal.protect")


@dataclass(frozen=True, slots=True)
class Desk:
    """Who this is and where it tells. ``sensor``: the accelerometer's name, "" for none; ``log_lost``: lines lost."""

    node: str
    run_dir: Path
    flush_status: Path | None
    sensor: str
    sample_ns: int
    disk_every_s: float
    log_lost: Callable[[], int] = lambda: 0
    sensor_says: Callable[[], str] = lambda: ""
    threads: Callable[[], Sequence[threading.Thread]] = tuple  # that never end while all is well
    close: Callable[[], None] = lambda: None


class ProtectService:
    """:meth:`run` serves until SIGTERM; :meth:`turn` is one turn, for tests that hold the clock."""

    def __init__(
        self, guard: ShockGuard, keeper: DiskKeeper | None, desk: Desk, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self.guard, self.keeper = guard, keeper
        self._desk, self._clock = desk, clock
        self._told_ns: int | None = None
        self._turns = 0
        self._flush: dict[str, Any] = {}
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._side: dict[str, int] = {}
        self._unwritten = 0
        self._over = threading.Event()
        self._disk_thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. The relay's line is held to the last and then let go as it is."""
        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stopping.append(number))
        control = ControlServer(self._desk.run_dir / SOCKET, self.handle)
        try:
            self.guard.start(self._clock())
            if self.keeper is not None:
                self._disk_thread = threading.Thread(target=self._keep_disk, name="protect-disk", daemon=True)
                self._disk_thread.start()
            self._serve(control, stopping)
            notify("STOPPING=1")
            self._release_disk()
        finally:
            self._over.set()
            control.close()
            (self._desk.run_dir / FILE).unlink(missing_ok=True)  # nothing is guarded from here on
            self._desk.close()

    def _keep_disk(self) -> None:
        assert self.keeper is not None
        self.keeper.run(self._over, self._desk.disk_every_s)

    def _release_disk(self) -> None:
        """Give back what the keeper took, unless its thread is still at work: then the next start takes it over."""
        self._over.set()
        if self.keeper is not None and self._disk_thread is not None:
            self._disk_thread.join(LAST_LOOK_S)
            if not self._disk_thread.is_alive():
                self.keeper.release()

    def _serve(self, control: ControlServer, stopping: list[int]) -> None:
        due_ns, fed_ns, words = self._clock(), 0, ["READY=1"]
        while not stopping:
            self.turn()
            now_ns = self._clock()
            if words or now_ns - fed_ns >= WATCHDOG_NS:
                fed_ns = now_ns
                fed = () if self.ended() else ("WATCHDOG=1",)
                notify(*words, *fed, f"STATUS={self.line()}")
                words = []
            due_ns = max(due_ns + self._desk.sample_ns, now_ns)  # what was missed is not made up for
            control.wait(due_ns)

    def ended(self) -> list[str]:
        """Threads that are gone, by a fault of ours: the watchdog is not fed, for a start anew mends that.

        One that hangs is an alarm, not an end: a kill frees no disk and no bus, but lets the relay's line go.
        """
        own = [] if self._disk_thread is None else [self._disk_thread]
        return [one.name for one in (*self._desk.threads(), *own) if not one.is_alive()]

    def turn(self) -> None:
        """One sample, and twice a second the status."""
        now_ns = self._clock()
        self.guard.turn(now_ns)
        self._turns += 1
        if self._told_ns is None or now_ns - self._told_ns >= TELL_NS:
            self._told_ns = now_ns
            self._tell(now_ns)

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What a person asked over the socket."""
        now_ns = self._clock()
        match request.get("do"):
            case "reset":
                answer = self.guard.reset(now_ns, blind=request.get("blind") is True)
            case "test":
                seconds = request.get("seconds")
                good = isinstance(seconds, int | float) and not isinstance(seconds, bool)
                answer = self.guard.test(float(seconds or 0.0) if good else 0.0, now_ns)
            case other:
                answer = Answer(False, f"there is no {other!r} to do")
        self._tell(now_ns)
        return {"done": answer.done, "text": answer.text}

    def document(self, now_ns: int) -> dict[str, Any]:
        """The status."""
        guard, state = self.guard, self.guard.state
        feed = guard.feed
        return {
            "node": self._desk.node,
            "at": utc_text(),
            "at_ns": now_ns,
            "turns": self._turns,
            "latched": guard.latch.latched,
            "event": dict(guard.latch.event),
            "effect": guard.effect if guard.latch.latched else "",
            "relay": None if feed is None else {"cut": feed.is_cut(), "trouble": feed.trouble, "test": guard.testing},
            "accelerometer": None
            if not self._desk.sensor
            else {
                "name": self._desk.sensor,
                "rate": self._desk.sensor_says(),
                "g": _rounded(state.vector),
                "deviation_g": None if state.deviation_g is None else round(state.deviation_g, 3),
                "gravity": _rounded(state.gravity),
                "rest": guard.verdict.rest,
                "shaking": state.run is not None,
                "lost": guard.verdict.lost,
                "last_miss": state.why,
            },
            "disk": None if self.keeper is None else self.keeper.document(),
            "flush": self._flush or None,
            "events_lost": self._desk.log_lost(),
            "faults": [_of_fault(fault) for fault in self.faults(now_ns)],
        }

    def faults(self, now_ns: int) -> tuple[Fault, ...]:
        """Everything that is wrong."""
        rows: list[tuple[str, str, Severity, str]] = []
        rows += [("thread", name, Severity.ALARM, "it ended; systemd starts the service anew") for name in self.ended()]
        keeper = self.keeper
        if keeper is not None:
            if keeper.state.quiet:
                rows.append(
                    ("disk_full", keeper.disk.target, Severity.ALARM, f"{keeper.state.phase.value}: writers quiet")
                )
            if trouble := keeper.document()["trouble"]:
                rows.append(("disk", keeper.disk.target, Severity.ALARM, str(trouble)))
            if now_ns - keeper.turned_ns > HANGS_NS:
                rows.append(("disk_hangs", keeper.disk.target, Severity.ALARM, "no look at it for three minutes"))
        if self._desk.flush_status is not None and (late := flush_trouble(self._flush, now_ns)):
            rows.append(("flush", "logs", Severity.WARNING, late))
        self._side = {row[0]: self._side.get(row[0], now_ns) for row in rows}
        return (*self.guard.faults(now_ns), *(Fault(*row, self._side[row[0]]) for row in rows))

    def line(self) -> str:
        """As systemctl status shows it."""
        count = len(self._known)
        state = f"LATCHED: cameras {self.guard.effect}" if self.guard.latch.latched else "guarding"
        return f"{state}{f'; {count} faults' if count else ''}"

    def _tell(self, now_ns: int) -> None:
        if self._desk.flush_status is not None:
            self._flush = read_flush(self._desk.flush_status)
        document = self.document(now_ns)
        self._note(document["faults"])
        try:
            write_status(self._desk.run_dir / FILE, document)
        except (OSError, ValueError) as error:
            self._unwritten += 1
            if self._unwritten == 1:
                _LOG.error("status: %s; its readers take protection for dead", error)
        else:
            self._unwritten = 0

    def _note(self, faults: list[dict[str, Any]]) -> None:
        now = {(fault["code"], fault["what"]): fault for fault in faults}
        for key in now.keys() - self._known:
            _LOG.error("%s %s: %s", *key, now[key]["text"])
        for key in self._known - now.keys():
            _LOG.info("%s %s: over", *key)
        self._known = frozenset(now)


def _rounded(vector: tuple[float, float, float] | None) -> list[float] | None:
    return None if vector is None else [round(part, 3) for part in vector]


def _of_fault(fault: Fault) -> dict[str, Any]:
    return {
        "code": fault.code,
        "what": fault.what,
        "severity": fault.severity.value,
        "text": fault.text,
        "since_ns": fault.since_ns,
    }

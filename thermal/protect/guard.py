"""Shock guard: what the accelerometer says, the latch, the relay, and the order between them (PRT-1).

The order is the point: latch and event line are on the disk (fdatasync) before the relay moves. The latch comes first
of these two, so that a process killed in between cuts at its next start, after an event of its own. A disk that does
not take the line within ``log_wait_s`` is not waited for any longer: cameras matter more than a log, and it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from thermal.protect.latch import Latch
from thermal.protect.shake import (
    Missed,
    Shaken,
    ShakeSettings,
    ShakeState,
    Vector,
    Verdict,
    forget,
    step,
)
from thermal.types import Fault, Severity

TEST_LEAST_S: Final = 0.5
RETRY_NS: Final = 5_000_000_000  # an event that the disk refused is written again
RETRY_WAIT_S: Final = 0.1
TEST_MOST_S: Final = 30.0
NOT_CUT: Final = "NOT CUT: "
NO_RELAY: Final = "no relay is configured (relay_line)"

Event = Mapping[str, Any]


class Log(Protocol):
    """Events on the disk: see :class:`thermal.protect.events.EventLog`."""

    def put(self, event: Event) -> None: ...

    def commit(self, event: Event, wait_s: float, before: Callable[[], None] | None = None) -> str | None: ...


class Latching(Protocol):
    """The latch on the disk: see :class:`thermal.protect.latch.LatchFile`."""

    def read(self) -> Latch: ...

    def set(self, event: Event) -> None: ...

    def clear(self) -> None: ...


class Feed(Protocol):
    """The cameras' feed: see :class:`thermal.protect.relay.KeptRelay`."""

    trouble: str | None

    def bring(self, cut: bool, now_ns: int) -> str | None: ...

    def tend(self, now_ns: int) -> None: ...

    def is_cut(self) -> bool | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class GuardPorts:
    """What the guard works with. ``read``: a sample, None without a sensor; ``feed``: None without a relay."""

    log: Log
    latch: Latching
    read: Callable[[], Vector | Missed] | None
    feed: Feed | None
    utc: Callable[[], str]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """``cut_on_loss``: a lost sensor cuts; ``log_wait_s``: how long a disk is waited for before the relay moves."""

    shake: ShakeSettings = field(default_factory=ShakeSettings)
    cut_on_loss: bool = False
    log_wait_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person is told. ``done``: whether it was."""

    done: bool
    text: str


class ShockGuard:
    """See the module. One thread; :meth:`start` once, then :meth:`turn` for every sample."""

    def __init__(self, settings: GuardSettings, ports: GuardPorts) -> None:
        self._settings, self._ports = settings, ports
        self.state = ShakeState()
        self.verdict = Verdict()
        self.latch = Latch(False)
        self._lost = False
        self._unlogged: tuple[Event, str] | None = None  # the newest event not known to be on the disk, and why
        self._retry_ns = 0
        self._test_until_ns: int | None = None
        self._since: dict[str, int] = {}

    def start(self, now_ns: int) -> None:
        """Hear the latch, write it down, and bring the relay to it."""
        self.latch = self._ports.latch.read()
        kind = "start_latched" if self.latch.latched else "start"
        self._commit({"kind": kind, "damage": self.latch.damage, "latched": self.latch.event.get("kind", "")})
        self._bring(self.latch.latched, now_ns)

    def turn(self, now_ns: int) -> None:
        """Take a sample and act on it; ``now_ns`` is when it was asked for."""
        if self._ports.read is not None:
            self.state, self.verdict = step(self._settings.shake, self.state, self._ports.read(), now_ns)
            self._hear_loss(now_ns)
            if self.verdict.shaken is not None and not self.latch.latched:
                self._trip({"kind": "shaken", **_told(self.verdict.shaken), **self._how()}, now_ns)
        if self._test_until_ns is not None and now_ns >= self._test_until_ns:
            self._end_test(now_ns)
        if self._ports.feed is not None:
            self._ports.feed.tend(now_ns)
        if self._unlogged is not None and now_ns >= self._retry_ns:
            self._retry_ns = now_ns + RETRY_NS
            self._commit(self._unlogged[0], RETRY_WAIT_S)

    def reset(self, now_ns: int, *, blind: bool = False) -> Answer:
        """A person says that all is well. Refused while it shakes, and without a sensor unless ``blind``."""
        if not self.latch.latched:
            return Answer(False, "nothing is latched")
        refusal = self._not_at_rest(blind)
        if refusal:
            return Answer(False, refusal)
        trouble = self._ask({"kind": "reset", "blind": blind, "was": self.latch.event.get("kind", "damaged latch")})
        if trouble is None:
            try:
                self._ports.latch.clear()
            except OSError as error:
                trouble = str(error)
        if trouble is not None:
            return Answer(False, f"still latched, for the disk does not take the reset: {trouble}")
        self.latch, self.state, self._unlogged = Latch(False), forget(self.state), None
        refused = self._bring(False, now_ns)
        return Answer(refused is None, "reset; cameras are fed" if refused is None else f"reset, but {refused}")

    def test(self, seconds: float, now_ns: int) -> Answer:
        """Cut the cameras for so long, to see that it can be done: event first, as in earnest."""
        feed = self._ports.feed
        if feed is None:
            return Answer(False, NO_RELAY)
        if self.latch.latched or self._test_until_ns is not None:
            return Answer(False, "latched: reset first" if self.latch.latched else "another test is under way")
        if not TEST_LEAST_S <= seconds <= TEST_MOST_S:
            return Answer(False, f"{seconds:g} s is not between {TEST_LEAST_S:g} and {TEST_MOST_S:g} s")
        trouble = self._ask({"kind": "test", "seconds": seconds})
        if trouble is not None:
            return Answer(False, f"the relay was left alone, for the event is not on the disk: {trouble}")
        self._test_until_ns = now_ns + round(seconds * 1e9)
        refused = feed.bring(True, now_ns)
        if refused is not None:
            self._end_test(now_ns)
            return Answer(False, refused)
        read = {True: "reads cut", False: "reads fed", None: "cannot be read back"}[feed.is_cut()]
        return Answer(feed.is_cut() is not False, f"cut for {seconds:g} s; the line {read}")

    @property
    def feed(self) -> Feed | None:
        """The relay; None without one."""
        return self._ports.feed

    @property
    def effect(self) -> str:
        """What the latch does to the cameras, as the line reads."""
        feed = self._ports.feed
        if feed is None:
            return NOT_CUT + NO_RELAY
        read = feed.is_cut()
        if read is True:
            return "cut"
        if read is False or feed.trouble:
            return NOT_CUT + str(feed.trouble or "the line reads fed")
        return "cut, and the line cannot be read back"

    @property
    def testing(self) -> bool:
        """Whether a test has the cameras cut."""
        return self._test_until_ns is not None

    def faults(self, now_ns: int) -> tuple[Fault, ...]:
        """What is wrong, each since when."""
        feed = self._ports.feed
        rows = [
            ("shaken", "cameras", f"{self.effect}; until a person says: touchline protect reset", self.latch.latched),
            ("latch", "latch", f"{self.latch.damage}; taken for latched", bool(self.latch.damage)),
            (self._loss, "accelerometer", self.verdict.lost, bool(self.verdict.lost)),
            (
                "relay",
                "relay",
                "" if feed is None else str(feed.trouble),
                feed is not None and feed.trouble is not None,
            ),
            ("not_logged", "events", self._unlogged[1] if self._unlogged else "", self._unlogged is not None),
        ]
        found = [row for row in rows if row[3]]
        self._since = {code: self._since.get(code, now_ns) for code, *_ in found}
        return tuple(Fault(code, what, Severity.ALARM, text, self._since[code]) for code, what, text, _ in found)

    @property
    def _loss(self) -> str:
        return "sensor_frozen" if self.verdict.frozen else "sensor_lost"

    # --- acting -------------------------------------------------------------------------------------------------------

    def _trip(self, event: Event, now_ns: int) -> None:
        """Latch and event to the disk, then the relay."""
        self.latch = Latch(True, self._stamped(event))
        self._test_until_ns = None
        self._commit(self.latch.event)
        refused = self._bring(True, now_ns)
        outcome = refused or ("events only" if self._ports.feed is None else "")
        self._ports.log.put(self._stamped({"kind": "cut", "trouble": outcome}))

    def _hear_loss(self, now_ns: int) -> None:
        was, self._lost = self._lost, bool(self.verdict.lost)
        if was and not self._lost:
            self._ports.log.put(self._stamped({"kind": "sensor_back"}))
        if was or not self._lost:
            return
        event = {"kind": self._loss, "why": self.verdict.lost}
        if self._settings.cut_on_loss and not self.latch.latched:
            self._trip(event, now_ns)
        else:
            self._ports.log.put(self._stamped(event))

    def _end_test(self, now_ns: int) -> None:
        self._test_until_ns = None
        if not self.latch.latched:
            refused = self._bring(False, now_ns)
            self._ports.log.put(self._stamped({"kind": "test_over", "trouble": refused or ""}))

    def _bring(self, cut: bool, now_ns: int) -> str | None:
        return None if self._ports.feed is None else self._ports.feed.bring(cut, now_ns)

    def _commit(self, event: Event, wait_s: float | None = None) -> str | None:
        """Bring an event to the disk, after the latch where it is what is latched."""
        event = event if "at" in event else self._stamped(event)
        latched = self.latch.event is event
        before = (lambda: self._ports.latch.set(event)) if latched else None
        trouble = self._ports.log.commit(event, self._settings.log_wait_s if wait_s is None else wait_s, before)
        self._unlogged = None if trouble is None else (event, f"the newest event may not be on the disk: {trouble}")
        return trouble

    def _ask(self, event: Event) -> str | None:
        """Bring what a person asks for to the disk. What is refused is not tried again, and takes no latch's turn."""
        return self._ports.log.commit(self._stamped(event), self._settings.log_wait_s)

    def _stamped(self, event: Event) -> dict[str, Any]:
        return {"at": self._ports.utc(), **event}

    def _how(self) -> dict[str, Any]:
        gravity = self.state.gravity
        return {
            "limit_g": self._settings.shake.limit_g,
            "from": "|a| - 1 g" if gravity is None else [round(part, 3) for part in gravity],
        }

    def _not_at_rest(self, blind: bool) -> str:
        if self._ports.read is None or self.verdict.rest:
            return ""
        if self.verdict.lost or self.state.good_ns is None:
            lost = self.verdict.lost or "no sample yet"
            return "" if blind else f"the accelerometer cannot be read ({lost}); look, then use --blind"
        deviation_g = self.state.deviation_g or 0.0
        return f"not at rest yet ({deviation_g:.2f} g off); it must stand still for 2 s at 1 g"


def _told(shaken: Shaken) -> dict[str, Any]:
    return {
        "lasted_ms": round(shaken.lasted_ns / 1e6),
        "peak_g": round(shaken.peak_g, 3),
        "samples": shaken.samples,
    }

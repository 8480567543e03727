"""The clock's judgement: pairs and the servo's word in, mappings and events out. Pure, time is an argument.

An epoch is one timeline: the grandmaster's time as it ran without a step. A mapping belongs to one epoch for ever. When
the grandmaster changes or the time steps, the old mapping holds over (its stamps stay true on the old timeline, its
bound grows) until enough pairs of the new timeline are there; then the epoch grows by one and the new mapping takes
over. Pairs are trusted only while the servo that steers the hardware clock is locked: the hardware clock is no truth.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from typing import Final

from agent.clock.fit import MAX_PAIRS, PairFit
from agent.clock.mapping import Growth, Mapping, Pair
from touchline.timeline import ClockState, Stamp, Timebase

SIGMAS: Final = 2.5
"""Root-mean-square errors in a bound. The errors of prediction carry the noise of the pairs besides the line's own, so
three of them cover more than the 99.7 % of a normal distribution; the simulation holds 99.9 % (tests/agent/clock)."""

OFFSETS: Final = 8  # of the servo's last offsets that say how well it holds
GATE_HALVES: Final = 2.0
PATIENCE: Final = 40  # pairs off the line or of a new one: what is not known by then is not waited for
RETURNS: Final = 2  # pairs on the old line in a row: the step was taken back
SUSPECTS: Final = 2  # pairs off the line in a row, over a pair's period: no outlier
_PERIOD: Final = 0.9  # of the pairs' period: what counts as one
_MAX_EVENTS: Final = 64


@dataclass(frozen=True, slots=True)
class ClockPolicy:
    """What the configuration says.

    ``servo_ns``: the offset up to which the servo counts as locked. ``extra_ns``: what no measurement shows, above all
    how wrong the asymmetry correction may be. ``wander_ppb_per_s``: how fast heat may bend the oscillator while there
    are no pairs. ``reach_s``: how far ahead of the newest pair lines are laid, the pairs' period. ``fresh_s``: pairs
    older than this are missing. ``restart_s``: after so long a gap the fit begins anew.
    """

    limit_ns: int
    servo_ns: float
    extra_ns: float = 0.0
    wander_ppb_per_s: float = 5.0
    reach_s: float = 1.0
    fresh_s: float = 3.5
    restart_s: float = 12.0


@dataclass(frozen=True, slots=True)
class ServoView:
    """What is known of the servo at ``at_ns`` (CLOCK_MONOTONIC).

    ``follows``: the port is locked to a master, or is itself the grandmaster by configuration. ``offset_ns``: the last
    measured offset of the hardware clock from its master; 0 for a grandmaster, None when pairs carry it themselves.
    ``path_doubt_ns``: how wrong an asymmetry of the path may make the offset, unseen.
    """

    at_ns: int
    follows: bool
    grandmaster: str
    offset_ns: float | None
    why_not: str = ""
    path_doubt_ns: float = 0.0


@dataclass(frozen=True, slots=True)
class ClockEvent:
    """Something that an operator should know; ``code`` as in the event topic."""

    severity: str
    code: str
    text: str


@dataclass(slots=True)
class _Timeline:
    """The fits of one timeline, one for each timebase."""

    grandmaster: str
    fits: dict[Timebase, PairFit] = field(default_factory=dict)
    doubts_ns: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_PAIRS))  # of the path, with each sample

    def add(self, sample: Table[Timebase, Pair], doubt_ns: float) -> None:
        self.doubts_ns.append(doubt_ns)
        for timebase, pair in sample.items():
            fit = self.fits.setdefault(timebase, PairFit())
            if len(fit) == 0 or pair.base_ns > fit.newest.base_ns:
                fit.add(pair)

    def forget_before(self, sample: Table[Timebase, Pair], gap_s: float) -> None:
        """After a long gap the old pairs say nothing of the present rate: begin anew, on the same timeline."""
        for timebase, pair in sample.items():
            fit = self.fits.get(timebase)
            if fit is not None and pair.base_ns - fit.newest.base_ns > gap_s * 1e9:
                del self.fits[timebase]

    def ready(self) -> bool:
        return any(fit.ready for fit in self.fits.values())

    def replaces(self, known: Iterable[Timebase]) -> bool:
        """Whether every timebase that was known is ready here; one whose pairs are long overdue is not waited for."""
        waited = max((fit.taken for fit in self.fits.values()), default=0)
        missing = [timebase for timebase in known if timebase not in self.fits or not self.fits[timebase].ready]
        return self.ready() and (not missing or waited >= PATIENCE)


class ClockCore:
    """Turns samples into mappings. ``epoch``: that of the last mapping ever given out, 0 for none."""

    def __init__(self, policy: ClockPolicy, epoch: int = 0) -> None:
        self.policy = policy
        self.epoch = epoch
        self.mappings: dict[Timebase, Mapping] = {}
        self.outliers = self.ignored = 0
        self.state = ClockState.UNLOCKED
        self._events: list[ClockEvent] = []
        self._offsets: deque[float] = deque(maxlen=OFFSETS)
        self._offset_at_ns = 0
        self._carried = False
        self._path_doubt_ns = 0.0
        self._now: _Timeline | None = None
        self._next: _Timeline | None = None
        self._reason = ""  # why there is a next timeline
        self._suspects: list[Table[Timebase, Pair]] = []
        self._returned = 0
        self._stepped = False

    # --- what the owner calls ---

    def servo(self, view: ServoView) -> None:
        """Take the servo's word, as often as it comes."""
        self._carried = view.offset_ns is None
        self._path_doubt_ns = view.path_doubt_ns if view.follows else self._path_doubt_ns
        if not view.follows:
            self._offsets.clear()
            self._lose_lock()
            if view.grandmaster == self.grandmaster:  # ptp4l drops its lock at once when it sees a jump
                self._note_a_step(view.offset_ns)
        elif view.offset_ns is not None and view.at_ns > self._offset_at_ns:
            self._offset_at_ns = view.at_ns
            self._offsets.append(view.offset_ns)
            if abs(view.offset_ns) > self.policy.servo_ns:
                self._offsets.clear()
                self._lose_lock()
                self._note_a_step(view.offset_ns)

    def sample(self, sample: Table[Timebase, Pair], view: ServoView) -> None:
        """Take the pairs of one moment, one for each timebase, under the servo's newest word."""
        sample = {timebase: pair for timebase, pair in sample.items() if pair.half_ns >= 0}
        if not sample:
            return
        if not self._trusted(view):
            self.ignored += 1
            self._next, self._suspects, self._returned = None, [], 0
            self._note_a_step(self._off(sample))
            self._lose_lock()
        elif self._now is None:
            self._begin(sample, view.grandmaster, "")
        elif view.grandmaster != (self._next or self._now).grandmaster:
            self._begin(sample, view.grandmaster, f"grandmaster {self._now.grandmaster} -> {view.grandmaster}")
        elif self._next is not None:
            self._go_over(sample)
        else:
            self._follow(sample)

    def look(self, now: Stamp | None) -> list[ClockEvent]:
        """Return the events since the last call, after a look at the present stamp: a change of state is one."""
        state = ClockState.UNLOCKED if now is None else now.state
        if state is not self.state:
            severity = "info" if state is ClockState.LOCKED else "warning"
            bound = "" if now is None else f", bound {now.bound_ns:,} ns of {self.policy.limit_ns:,} allowed"
            if state is ClockState.UNLOCKED:
                severity = "error"
            self._say(severity, f"clock_{state.value}", f"clock {self.state.value} -> {state.value}{bound}")
            self.state = state
        events, self._events = self._events, []
        return events

    @property
    def fits(self) -> Table[Timebase, PairFit]:
        """The fits in use, for the status."""
        return {} if self._now is None else self._now.fits

    @property
    def grandmaster(self) -> str:
        """Whose time the mappings in use are; "" before the first."""
        return "" if self._now is None else self._now.grandmaster

    @property
    def servo_rms_ns(self) -> float:
        """Root of the mean square of the servo's last offsets; 0 when pairs carry them."""
        if not self._offsets:
            return 0.0
        return math.sqrt(sum(offset * offset for offset in self._offsets) / len(self._offsets))

    # --- inside ---

    def _trusted(self, view: ServoView) -> bool:
        return view.follows and (view.offset_ns is None or abs(view.offset_ns) <= self.policy.servo_ns)

    def _begin(self, sample: Table[Timebase, Pair], grandmaster: str, reason: str) -> None:
        """Start to learn a timeline; the one in use, if any, holds over."""
        fresh = _Timeline(grandmaster)
        fresh.add(sample, self._path_doubt_ns)
        self._suspects, self._returned, self._reason = [], 0, reason
        if not self.mappings:
            self._now, self._next = fresh, None
            return
        self._next = fresh
        self._lose_lock()
        self._say("warning", "clock_grandmaster", f"{reason}: the old time is held over until the new one is known")

    def _follow(self, sample: Table[Timebase, Pair]) -> None:
        assert self._now is not None
        off_ns = self._off(sample)
        if off_ns is not None:
            self._suspects.append(sample)
            if self._suspicious():
                self._lose_lock()
                self._next = _Timeline(self._now.grandmaster)
                for suspect in self._suspects:
                    self._next.add(suspect, self._path_doubt_ns)
                self._reason, self._suspects, self._stepped = f"time stepped by {off_ns:+,.0f} ns", [], True
                self._say("error", "clock_step", f"{self._reason}: the old time is held over until it is confirmed")
            return
        if self._suspects:
            self.outliers += len(self._suspects)
            self._suspects = []
        if self._stepped:
            self._stepped = False
            self.epoch += 1
            self._say("warning", "clock_epoch", f"the hardware clock stepped and came back: epoch {self.epoch}")
        self._now.forget_before(sample, self.policy.restart_s)
        self._now.add(sample, self._path_doubt_ns)
        if self._now.ready():
            if not self.mappings:
                self.epoch += 1
            self._lay(self._now)

    def _suspicious(self) -> bool:
        """Whether the suspects are too many, for too long, to be outliers: one bad moment may spoil several pairs.

        So many as a new timeline is waited for are none either, also where no timebase shows how long they last.
        """
        first: dict[Timebase, int] = {}
        for suspect in self._suspects:
            for timebase, pair in suspect.items():
                first.setdefault(timebase, pair.base_ns)
        apart_ns = max(pair.base_ns - first[timebase] for timebase, pair in self._suspects[-1].items())
        long = len(self._suspects) >= SUSPECTS and apart_ns >= _PERIOD * self.policy.reach_s * 1e9
        return long or len(self._suspects) >= PATIENCE

    def _go_over(self, sample: Table[Timebase, Pair]) -> None:
        """While a next timeline is learnt: is it the old one after all, or is it ready?"""
        assert self._now is not None and self._next is not None
        if self._stepped and self._next.grandmaster == self._now.grandmaster and self._off(sample) is None:
            self._returned += 1
            if self._returned >= RETURNS:
                self._next = None
                self._follow(sample)
            return
        self._returned = 0
        self._next.add(sample, self._path_doubt_ns)
        if self._next.replaces(self.mappings):
            self._now, self._next, self._stepped = self._next, None, False
            self.epoch += 1
            moved = _moved(self.mappings, self._now)
            self._say("warning", "clock_epoch", f"{self._reason}: epoch {self.epoch}, {moved}")
            self.mappings = {}
            self._lay(self._now)

    def _off(self, sample: Table[Timebase, Pair]) -> float | None:
        """How far a sample lies off the timeline in use when that is more than its bound explains, ns; else None."""
        for timebase, pair in sorted(sample.items(), key=lambda one: one[1].half_ns):  # the sharpest first
            mapping = self.mappings.get(timebase)
            if mapping is None:
                continue
            error_ns = float(pair.ptp_ns - mapping.ptp_at(pair.base_ns))
            allowed_ns = mapping.bound_at(pair.base_ns) + GATE_HALVES * pair.half_ns + self.servo_rms_ns
            allowed_ns += self._path_doubt_ns  # the line may be wrong by its path, and the pair by the present one
            return error_ns if abs(error_ns) > allowed_ns else None
        return None

    def _note_a_step(self, off_ns: float | None) -> None:
        """A hardware clock that jumps, by a pair or by the servo's own word: said at once, an epoch once it is back."""
        if off_ns is None or self._stepped or not self.mappings:
            return
        if abs(off_ns) > max(self.policy.limit_ns, 10 * self.policy.servo_ns):
            self._stepped = True
            self._say("error", "clock_step", f"the hardware clock stepped: it is {off_ns:+,.0f} ns off")

    def _lay(self, timeline: _Timeline) -> None:
        policy, path_ns = self.policy, max(self._path_doubt_ns, *timeline.doubts_ns)
        for timebase, fit in timeline.fits.items():
            if not fit.ready:
                continue  # what there is holds over
            line = fit.line(policy.reach_s)
            spread_ns = SIGMAS * math.hypot(fit.rms_ns, self.servo_rms_ns)
            self.mappings[timebase] = Mapping(
                timebase=timebase,
                base_ns=line.base_ns,
                ptp_ns=line.ptp_ns,
                rate_ppb=line.rate_ppb,
                newest_ns=fit.heard_ns,
                bound_ns=spread_ns + fit.half_ns + policy.extra_ns + path_ns,
                growth=Growth(SIGMAS * fit.slope_sigma_ppb + fit.tilt_ppb(path_ns), policy.wander_ppb_per_s),
                locked=fit.settled and self._servo_settled(),
                fresh_ns=int(policy.fresh_s * 1e9),
                limit_ns=policy.limit_ns,
                epoch=self.epoch,
            )

    def _servo_settled(self) -> bool:
        """Whether the servo has held for a while; pairs that carry the offset themselves need none."""
        return self._carried or len(self._offsets) == OFFSETS

    def _lose_lock(self) -> None:
        for timebase, mapping in self.mappings.items():
            if mapping.locked:
                self.mappings[timebase] = replace(mapping, locked=False)

    def _say(self, severity: str, code: str, text: str) -> None:
        self._events = [*self._events, ClockEvent(severity, code, text)][-_MAX_EVENTS:]


def _moved(before: Table[Timebase, Mapping], after: _Timeline) -> str:
    """By how much time moved from one timeline to the next, in words."""
    for timebase, fit in after.fits.items():
        old = before.get(timebase)
        if old is not None:
            return f"time moved by {fit.newest.ptp_ns - old.ptp_at(fit.newest.base_ns):+,d} ns"
    return "the old time was not known"

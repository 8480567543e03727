"""The drill (FOV-4) as a pure plan: refuse or cut, wait, restore, watch, report. Time and what happened come in.

    drill = Drill(request)
    report = run(drill, hands)        # the simple driver; a shell of its own may feed the plan instead

``Hands`` do what the plan wants: on a node :class:`failover.cut.LinkCut` and the service's control socket, on the rig
its relays. Whatever happens after a cut, its restoring is wanted, exactly once, and the report says how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, Protocol

from failover.cut import Restored
from failover.drill_report import Continuity, Facts, Mark, compose
from touchline.errors import InputError, TouchlineError
from touchline.timeline import monotonic_ns, sleep_until
from touchline.windows import Window, covering

CUT_MS: Final = 1_000.0  # FOV-4
WATCH_MS: Final = 12_000.0  # after restoring, until the twin is heard again and the rack is calm
AHEAD: Final = timedelta(minutes=15)  # a match that begins so soon is a match
_POLL_NS: Final = 20_000_000

Want = Literal["begin", "prepare", "cut", "restore", "watch", "end", "keep", "film", "finish"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What the service says before the drill (``touchline failover status``)."""

    role: str
    twin_heard: bool
    twin_fit: bool
    settled: bool = True  # no switch or hand-over is under way


@dataclass(frozen=True, slots=True)
class Request:
    """One drill. ``at``: wall-clock time as text; ``budgets``: of the takeover's steps, ms."""

    node: str
    twin: str
    at: str
    cut_ms: float = CUT_MS
    forced: bool = False
    budgets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known so far. ``calm``: nothing more is to come. ``marks``: from ``drill_report.marks_of``."""

    marks: Sequence[Mark] = ()
    calm: bool = False


class Hands(Protocol):
    """Does what the plan wants. Each may raise TouchlineError; that ends the drill, restored and reported."""

    def tell(self, what: Literal["drill-begin", "drill-end"]) -> None:
        """To the service: a silence from now on is a drill's."""

    def prepare(self, max_s: float) -> str:
        """Make certain that the cut will end; returns what will be cut."""

    def cut(self) -> int:
        """Cut; returns when that was done, CLOCK_MONOTONIC ns."""

    def restore(self) -> Restored:
        """Restore; must not raise for what can be said in the result."""

    def watch(self, cut_ns: int, cut_ptp_ns: int) -> Watched:
        """Look what has happened since the cut."""

    def ptp_ns(self, at_ns: int) -> int:
        """PTP time of a moment of CLOCK_MONOTONIC; 0: unknown."""

    def keep(self, report: Mapping[str, Any]) -> None:
        """Keep what is known before the film, which may take its time or never end."""

    def film(self, cut_ptp_ns: int, restored_ptp_ns: int) -> Continuity:
        """Look at the match over the cut, once everything else is over; may take its time."""


def refusal(
    situation: Situation, windows: Sequence[Window], moment: datetime, *, forced: bool = False
) -> InputError | None:
    """Why no drill may run now. ``forced`` overrides the match windows and nothing else; ``moment`` has a zone."""
    if situation.role != "active":
        return InputError(
            "this node is standby: a drill cuts the active one", hint="run it on the twin (touchline failover status)"
        )
    if not situation.twin_heard:
        return InputError(
            "the twin is not heard: a cut now would stop the records", hint="mend that first: touchline failover status"
        )
    if not situation.twin_fit:
        return InputError(
            "the twin is not fit to take over: a cut now would stop the records",
            hint="touchline failover status says why",
        )
    if not situation.settled:
        return InputError("a switch or a hand-over is under way", hint="try again in a few seconds")
    window = None if forced else covering(windows, moment, AHEAD)
    if window is not None:
        return InputError(
            f'a match is on or begins within {AHEAD.seconds // 60} min ("{window.text}", [failover] match_windows)',
            hint="wait for its end, or use --force",
        )
    return None


class Phase(str, Enum):
    """Where a drill is."""

    NEW = "new"
    PREPARING = "preparing"
    CUTTING = "cutting"
    CUT = "cut"
    RESTORING = "restoring"
    WATCHING = "watching"
    OVER = "over"


class Drill:
    """The plan. Each method returns what is wanted next; ``finish`` means that :meth:`report` is whole."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.phase = Phase.NEW
        self.cut_ns = 0
        self.cut_ptp_ns = 0
        self._links = ""
        self._until_ns = 0
        self._was_cut_ms: float | None = None
        self._restored_ms: float | None = None
        self._trouble: list[str] = []
        self._watched = Watched()
        self._film = Continuity(why="not looked at")

    @property
    def next_ns(self) -> int | None:
        """When :meth:`tick` has something to say at the latest."""
        return self._until_ns if self.phase in (Phase.CUT, Phase.WATCHING) else None

    def begin(self) -> list[Want]:
        """Start."""
        self._to(Phase.NEW, Phase.PREPARING)
        return ["begin", "prepare"]

    def prepared(self, links: str) -> list[Want]:
        """The end of the cut is certain."""
        self._to(Phase.PREPARING, Phase.CUTTING)
        self._links = links
        return ["cut"]

    def was_cut(self, at_ns: int, ptp_ns: int) -> list[Want]:
        """The links are off."""
        self._to(Phase.CUTTING, Phase.CUT)
        self.cut_ns, self.cut_ptp_ns = at_ns, ptp_ns
        self._until_ns = at_ns + round(self.request.cut_ms * 1e6)
        return []

    def tick(self, now_ns: int) -> list[Want]:
        """Time passed."""
        if self.phase is Phase.CUT and now_ns >= self._until_ns:
            self._to(Phase.CUT, Phase.RESTORING)
            return ["restore"]
        if self.phase is Phase.WATCHING:
            if self._watched.calm or now_ns >= self._until_ns:
                return self._over()
            return ["watch"]
        return []

    def restored(self, result: Restored) -> list[Want]:
        """The links are on again, or what is the matter with them."""
        self._trouble += result.trouble
        if self.phase is not Phase.RESTORING:
            return []
        self._to(Phase.RESTORING, Phase.WATCHING)
        self._was_cut_ms = self._restored_ms = (result.at_ns - self.cut_ns) / 1e6
        self._until_ns = result.at_ns + round(WATCH_MS * 1e6)
        return ["watch"]

    def watched(self, seen: Watched) -> list[Want]:
        """What is known by now; replaces what was known before."""
        self._watched = seen
        return []

    def filmed(self, seen: Continuity) -> list[Want]:
        """How the match went on."""
        self._film = seen
        return []

    @property
    def restored_ptp_ns(self) -> int:
        """PTP time of the cut's end; 0: unknown."""
        return self.cut_ptp_ns + round((self._restored_ms or 0.0) * 1e6) if self.cut_ptp_ns else 0

    def failed(self, why: str) -> list[Want]:
        """Something raised. After a cut that means: restore; without one: it is over."""
        self._trouble.append(why)
        if self.phase is Phase.CUT:
            self._to(Phase.CUT, Phase.RESTORING)
            return ["restore"]
        if self.phase in (Phase.PREPARING, Phase.CUTTING):  # a cut that raised has restored by its contract; make sure
            self.phase = Phase.OVER
            return ["restore", "end", "finish"]
        return self._over() if self.phase in (Phase.RESTORING, Phase.WATCHING) else []

    def report(self) -> dict[str, Any]:
        """The drill's report, as far as it is known."""
        request = self.request
        marks = list(self._watched.marks)
        if self.cut_ns:
            marks.append(Mark("node", "cut", 0.0, self._links))
        if self._restored_ms is not None:
            marks.append(Mark("node", "restored", self._restored_ms))
        facts = Facts(
            request.node,
            request.twin,
            request.at,
            self.cut_ptp_ns,
            self._links,
            request.cut_ms,
            self._was_cut_ms,
            request.forced,
            tuple(self._trouble),
        )
        return compose(facts, marks, self._film, request.budgets)

    def _over(self) -> list[Want]:
        self.phase = Phase.OVER
        return ["end", "finish"] if self._restored_ms is None else ["end", "keep", "film", "finish"]

    def _to(self, before: Phase, after: Phase) -> None:
        if self.phase is not before:
            raise RuntimeError(f"a drill that is {self.phase.value} cannot become {after.value}")
        self.phase = after


def run(
    drill: Drill,
    hands: Hands,
    now: Callable[[], int] = monotonic_ns,
    sleep: Callable[[int], None] = sleep_until,
) -> dict[str, Any]:
    """Do what the plan wants until it is over; returns the report. An interrupt restores before it goes on."""
    wants: list[Want] = drill.begin()
    try:
        while True:
            while wants:
                want = wants.pop(0)
                if want == "finish":
                    return drill.report()
                try:
                    wants += _do(drill, hands, want)
                except TouchlineError as error:
                    wants = drill.failed(str(error)) or wants
            due_ns = drill.next_ns
            sleep(now() + _POLL_NS if due_ns is None else min(due_ns, now() + 10 * _POLL_NS))
            wants = drill.tick(now())
    except BaseException:  # an interrupt too: the links come back first
        hands.restore()
        with suppress(TouchlineError):  # what is under way says more
            hands.tell("drill-end")
        raise


def _do(drill: Drill, hands: Hands, want: Want) -> list[Want]:
    """One want; returns what follows. Raises TouchlineError for the plan to judge."""
    if want == "prepare":
        return drill.prepared(hands.prepare(drill.request.cut_ms / 1e3))
    if want == "cut":
        at_ns = hands.cut()
        return drill.was_cut(at_ns, hands.ptp_ns(at_ns))
    if want == "restore":
        return drill.restored(hands.restore())
    if want == "watch":
        return drill.watched(hands.watch(drill.cut_ns, drill.cut_ptp_ns))
    if want == "film":
        return drill.filmed(hands.film(drill.cut_ptp_ns, drill.restored_ptp_ns))
    if want == "keep":
        hands.keep(drill.report())
    else:
        hands.tell("drill-begin" if want == "begin" else "drill-end")
    return []

"""What a node knows and is: the state that :func:`failover.core.step.step` takes and gives. Frozen, plain values.

Times are CLOCK_MONOTONIC ns of this machine, of the caller; 0 stands for "never" where None is not said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from failover.core.suspicion import Suspicion, unknown
from failover.core.types import (
    NS_PER_MS,
    Beat,
    CameraCursor,
    Exclusive,
    Gate,
    Health,
    Role,
    Settings,
    Trigger,
)

RACKLESS_PROMISE_NS: Final = 500 * NS_PER_MS  # of a standby that cannot claim anyway, for it does not reach the witness
LONGEST_PROMISE_NS: Final = 700 * NS_PER_MS  # that any settings allow (silence_ms); a new session waits so long
HANDOVER_NS: Final = 300 * NS_PER_MS  # the twin has so long to take over
STOP_NS: Final = 150 * NS_PER_MS  # the same, when this service is to stop
HANDOVER_AGAIN_NS: Final = 2_000 * NS_PER_MS  # after a handover that the twin did not take
VOLUNTARY_NS: Final = 10_000 * NS_PER_MS  # between a switch and the next that is not needed at once
SOFT_NS: Final = 1_000 * NS_PER_MS  # worse than the twin for so long, but able: hand over
HARD_BEATS: Final = (
    2  # no frames for so many beats while the twin has some: hand over; what blinds both is heard of both
)
DEFER_NS: Final = 1_000 * NS_PER_MS  # nobody is active: how long a fitter twin is waited for
DRILL_NS: Final = 60_000 * NS_PER_MS  # a drill that nobody ends is over
RENEWALS: Final = 5  # of a lease, at least
LATE_MISSES: Final = 2  # questions without an answer, the older one long due: the twin is asked what it hears
LOST_MISSES: Final = 6  # and so many, over LOST_RENEWALS renewals: at a loss of 5 % each way less than once an hour
LOST_RENEWALS: Final = 2.75
BACKED_MISSES: Final = 3  # of them after the twin's first word that the witness lives: it may have just come back
RACK_NOTE_NS: Final = 300 * NS_PER_MS  # the witness lost for so long is worth an event; three lost answers are not
SETTLE_NS: Final = 1_000 * NS_PER_MS  # twin or witness back for so long: worth an event
LATE_NOTE_NS: Final = 10_000 * NS_PER_MS  # between two notes of late ticks
SENT_KEPT: Final = 64  # own beats whose times are kept: more than a second of them


@dataclass(frozen=True, slots=True)
class Attention:
    """When this node looked, and how long it heard nothing while it did.

    A gap between two steps counts as at most one beat of silence: a node that was stopped for a second has not
    listened for a second. After such a gap no judgement falls before ``deaf_until_ns``, so that what waits in the
    sockets is read first.
    """

    started_ns: int
    stepped_ns: int
    deaf_until_ns: int = 0
    late: bool = False  # this step came more than a beat after the one before
    late_noted_ns: int | None = None
    twin_silent_ns: int = 0
    witness_silent_ns: int = 0


@dataclass(frozen=True, slots=True)
class Handing:
    """A handover in progress: until when the twin may take it, and whether this service stops after it."""

    until_ns: int
    stop: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Me:
    """This node. ``epoch``: under which it is, or last was, active. ``known``: the highest heard of anywhere."""

    role: Role = Role.STANDBY
    epoch: int = 0
    known: int = 0
    health: Health = field(default_factory=Health)
    cursors: tuple[CameraCursor, ...] = ()
    reason: str = "started"
    joined: bool = False  # an active node was there: this one, or the twin was heard to be
    want: Trigger | None = None  # standby: why it wants to be active
    handing: Handing | None = None
    worse: str = ""  # "hard", "soft": how it compares with the twin, since worse_ns
    worse_ns: int = 0
    switched_ns: int | None = None  # the last change of roles, its own or the twin's
    unable_ns: int | None = None  # since when it cannot do the work
    given_ns: tuple[int | None, int | None] = (None, None)  # when a living twin left it the role: last but one, last
    claim_after_ns: int = 0  # after giving up: an able twin goes first
    hand_after_ns: int = 0
    nobody_ns: int | None = None  # since when nobody is known to be active
    drill_until_ns: int = 0
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """What gives the right to the exclusive things, the margin taken off, and what this node promised.

    ``holding`` begins with a grant only; the twin's promise can prolong it and never begin it. A promise counts when
    it answers a beat after ``floor``, the last one sent before a hold was given up. Grants that were asked for at or
    before ``void_ns``, or whose epoch is not above ``released``, are void: we gave them back.
    """

    holding: bool = False
    granted: int = 0  # epoch of the last grant
    lease_ns: int = 0  # for how long that was
    lease_until_ns: int = 0
    promise_until_ns: int = 0
    floor: int = 0
    void_ns: int = -1
    released: int = 0
    pledge_until_ns: int = 0  # before this no claim leaves: we promised

    @property
    def until_ns(self) -> int:
        """The end of the hold as known now."""
        return max(self.lease_until_ns, self.promise_until_ns)


@dataclass(frozen=True, slots=True)
class Twin:
    """The other node: its newest beat, when that was heard, and how its beats come."""

    suspicion: Suspicion
    beat: Beat | None = None
    heard_ns: int = 0
    suspected_ns: int | None = None
    back_ns: int = 0  # heard again since
    lost_noted: bool = False
    fit_ns: int | None = None  # fit since
    rack_bad_ns: int | None = None  # says since then that the witness does not answer it
    overlap: int = 0  # beats in a row in which both were active

    @property
    def alive(self) -> bool:
        """Heard, and not believed dead."""
        return self.beat is not None and self.suspected_ns is None


@dataclass(frozen=True, slots=True)
class Witness:
    """The rack's word. ``asked_ns``: when the newest answered question was asked; ``holder`` counts until its time.

    ``missed``: questions since then. ``late_from``: the first of our beats that said so, 0 before it. ``backed``: the
    twin vouches for it all the same; when it last did, and what was missed when it first did. The other way round,
    ``probe``: when we asked after a late beat of the twin, and that beat's number; answered, it is ``vouched``.
    """

    ok: bool = False
    ok_ns: int = 0  # answers since
    answered_ns: int | None = None
    asked_ns: int = 0
    holder: str = ""
    holder_until_ns: int = 0
    lost_noted: bool = False
    missed: int = 0
    late_from: int = 0
    backed: tuple[int, int] | None = None
    probe: tuple[int, int] | None = None
    vouched: int = 0

    @property
    def late(self) -> bool:
        """It owes us answers."""
        return self.missed >= LATE_MISSES


@dataclass(frozen=True, slots=True)
class Talk:
    """What was said last, and when the next word is due."""

    number: int
    first: int  # the number of this session's first beat
    sent: tuple[tuple[int, int], ...] = ()  # (number, when) of our last beats
    gist: tuple[Role, int, Health, bool, bool, bool, int] | None = None  # of the last beat: a change is worth a beat
    next_beat_ns: int = 0
    next_ask_ns: int = 0
    claiming: bool = False
    gate: Gate | None = None
    exclusive: Exclusive | None = None


class View(Protocol):
    """What the judgements read: a state, or one in the making."""

    @property
    def settings(self) -> Settings: ...
    @property
    def attention(self) -> Attention: ...
    @property
    def me(self) -> Me: ...
    @property
    def hold(self) -> Hold: ...
    @property
    def twin(self) -> Twin: ...
    @property
    def witness(self) -> Witness: ...
    @property
    def now_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class State:
    """All of it. ``covered``: the cursors of the twin while it was active, the furthest per camera."""

    settings: Settings
    attention: Attention
    me: Me
    hold: Hold
    twin: Twin
    witness: Witness
    talk: Talk
    covered: tuple[CameraCursor, ...] = ()

    @property
    def now_ns(self) -> int:
        """The time of the last step."""
        return self.attention.stepped_ns


def initial(settings: Settings, now_ns: int, epoch: int = 0) -> State:
    """Return the state of a service that starts now. ``epoch``: the highest that an earlier life knew, if it is kept.

    Beats are numbered from the milliseconds of the clock, so that a twin's late answer to a beat of the session
    before, which counted fewer than one a millisecond, is never taken for one to this session's beats.
    """
    number = max(1, now_ns // NS_PER_MS)
    return State(
        settings=settings,
        attention=Attention(started_ns=now_ns, stepped_ns=now_ns),
        me=Me(known=epoch, epoch=epoch),
        hold=Hold(pledge_until_ns=now_ns + LONGEST_PROMISE_NS, floor=number, void_ns=now_ns - 1),
        twin=Twin(unknown(settings.beat_ns, settings.silence_ns, settings.phi)),
        witness=Witness(),
        talk=Talk(number=number, first=number + 1, next_beat_ns=now_ns, next_ask_ns=now_ns),
    )

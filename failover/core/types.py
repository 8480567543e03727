"""The words of failover: what a node says of itself, what can happen, what is to be done. Plain values, times in ns.

Times named ``now_ns``, ``*_until_ns``, ``sent_ns`` are of this machine's CLOCK_MONOTONIC; they never leave it.
Exposures ``ptp_ns`` are TAI nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

MAX_CAMERAS: Final = 16
MAX_TOLD_EPOCH: Final = 2**61  # a node that tells of more is out of its mind; its word is ignored
NO_TAG: Final = bytes(16)
NS_PER_MS: Final = 1_000_000


class Role(str, Enum):
    """What a node of a pair is."""

    STANDBY = "standby"
    ACTIVE = "active"


class Trigger(str, Enum):
    """Why a node became active."""

    START = "start"  # no twin was heard to be active
    SILENCE = "silence"  # the twin's beats stopped
    UNFIT = "unfit"  # the twin lives and cannot do its work
    HANDOVER = "handover"  # the twin, or a person, asked
    DRILL = "drill"  # as SILENCE, while a drill runs


@dataclass(frozen=True, slots=True)
class CameraCursor:
    """Everything of this camera exposed up to ``ptp_ns`` is at the rack (acknowledged), or was nothing to say."""

    camera: int
    ptp_ns: int


@dataclass(frozen=True, slots=True)
class Health:
    """What decides whether a node can do the work. ``cameras``: how many deliver frames through the whole pipeline.

    ``clock_ok``: stamps are within their limit, or may be published all the same. ``hot``: the node says that it will
    throttle. ``rack_ok``: the witness answers. ``broker_ok``: the broker acknowledges. A node that has said nothing is
    not fit.
    """

    cameras: int = 0
    clock_ok: bool = False
    hot: bool = False
    rack_ok: bool = False
    publishing: bool = False  # the publisher is there and takes frames
    broker_ok: bool = True  # false only once the publisher says so

    @property
    def fit(self) -> bool:
        """Able to be the active one."""
        whole = self.cameras > 0 and self.clock_ok and self.publishing
        return whole and not self.hot and self.rack_ok and self.broker_ok


@dataclass(frozen=True, slots=True)
class Beat:
    """What a node tells its twin, every ``beat_ms`` and at once when something changed.

    ``number`` grows by one a beat; ``seen`` is the highest number heard from the twin (0: none) and ``promise_ns``
    says: for this long after you sent beat ``seen`` I shall not claim the lease. ``handover``: please take over.

    ``late``: the witness owes me answers. ``vouched`` (0: none) is the number of a beat of yours that was late: the
    witness has answered a question that I asked after I had heard it. ``given`` (0: none) is the wire's to fill in: I
    gave back the lease of this epoch and shall never hold it again. It is what a release says to the witness; the twin
    shows it with its claims, should the release itself not get through. ``given_tag`` is what only I can have made of
    it and only the witness can check, so that no twin can say it in my place.
    """

    number: int
    role: Role
    epoch: int
    health: Health
    cursors: tuple[CameraCursor, ...] = ()
    seen: int = 0
    promise_ns: int = 0
    handover: bool = False
    late: bool = False
    vouched: int = 0
    given: int = 0
    given_tag: bytes = NO_TAG


# --- what can happen ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; comes at least every half beat."""


@dataclass(frozen=True, slots=True)
class BeatHeard:
    """A beat of the twin arrived, for the first time on any path. Numbers may come out of order; old ones tell less."""

    beat: Beat


@dataclass(frozen=True, slots=True)
class TwinRestarted:
    """The twin began a new session: what we knew of it is void, its beats are numbered anew.

    Not void are its cursors, which say what is at the rack, and its promise: a new session keeps the promises of the
    one before by waiting for the longest before its first claim.
    """


@dataclass(frozen=True, slots=True)
class Granted:
    """The witness granted or renewed our lease; it counts from ``sent_ns``, when we asked."""

    epoch: int
    sent_ns: int
    lease_ns: int


@dataclass(frozen=True, slots=True)
class Denied:
    """The witness answered: the lease is ``holder``'s, for at most ``wait_ns`` more unless renewed ("" and 0: free).

    ``epoch``: the highest that it gave to anybody. ``sent_ns``: when we asked, as in :class:`Granted`; 0: unknown.
    """

    epoch: int
    holder: str
    wait_ns: int
    sent_ns: int = 0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The agent's word about itself; all False when the agent is not there. ``rack_ok`` is the core's own judgement."""

    health: Health
    cursors: tuple[CameraCursor, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A person or a timer wants something."""

    what: Literal["handover", "drill-begin", "drill-end", "stop"]


Event = Tick | BeatHeard | TwinRestarted | Granted | Denied | Pipeline | Command


# --- what is to be done ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendBeat:
    """To the twin, on every path."""

    beat: Beat


@dataclass(frozen=True, slots=True)
class AskWitness:
    """``claim``: grant or renew; ``look``: only say who holds it; ``release``: ours is free from now.

    ``epoch``: of ``release`` the one that is given back; else the highest we know of, below which nothing may be
    granted (a witness that lost its file learns from it).
    """

    what: Literal["claim", "look", "release"]
    epoch: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What the publisher may send. Frames may leave while ``open`` and before ``until_ns``, under ``epoch``.

    Comes at each change, with each beat and with each grant. ``settled``: the role is certain, so that what this node
    recorded while it was active may leave even when shut.
    ``covered``: the twin's cursors: what lies at or before them is at the rack already.
    """

    open: bool
    epoch: int
    until_ns: int
    role: Role
    settled: bool = False
    covered: tuple[CameraCursor, ...] = ()


@dataclass(frozen=True, slots=True)
class Exclusive:
    """Take or give up what only one may have: the virtual address and the live recording. ``until_ns`` bounds it.

    Giving up comes before all else in the answer of a step and must be done before the rest of it.
    """

    hold: bool
    epoch: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The role changed: to be told to the rack, the log and the history.

    ``suspected_ns``: when the twin was given up, ``heard_ns``: its last beat; None where that was not the reason.
    """

    role: Role
    epoch: int
    trigger: Trigger | None
    reason: str
    heard_ns: int | None = None
    suspected_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth an event: witness lost, twin lost, twin back, late tick, both claimed to be active."""

    severity: Literal["info", "warning", "error"]
    code: str
    text: str


Action = SendBeat | AskWitness | Gate | Exclusive | Changed | Note


@dataclass(frozen=True, slots=True)
class Settings:
    """The times and choices of one pair, from ``[failover]``; all nanoseconds."""

    node: str
    twin: str
    start: Literal["auto", "active", "standby"] = "auto"
    without_witness: Literal["records", "nothing"] = "records"
    beat_ns: int = 20 * NS_PER_MS
    silence_ns: int = 60 * NS_PER_MS
    phi: float = 8.0
    lease_ns: int = 100 * NS_PER_MS
    lease_margin_ns: int = 5 * NS_PER_MS  # our lease ends so much earlier for us than for the witness
    renew_ns: int = 20 * NS_PER_MS
    claim_ns: int = 10 * NS_PER_MS  # between two claims of a standby that wants the lease
    witness_lost_ns: int = 70 * NS_PER_MS
    publisher_silent_ns: int = 250 * NS_PER_MS  # one that is connected and silent so long hangs
    patience_ns: int = 400 * NS_PER_MS  # unable for so long, before the role is given back to and fro
    grace_ns: int = 1_000 * NS_PER_MS  # after the start: how long a twin may take to be heard
    fail_back: bool = False
    fail_back_after_ns: int = 60_000 * NS_PER_MS
    preferred: bool = False

"""What ptp4l says, put together from its data sets, and what follows from it for the servo.

Pure but for :class:`Watch`. ptp4l 3.1.1 pushes changes of port state only, so its last Sync is asked for; what changes
seldom is asked seldom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.clock.core import ServoView
from agent.clock.management import (
    CurrentDataSet,
    DefaultDataSet,
    DelayMechanism,
    Event,
    ManagementClient,
    PortDataSet,
    PortState,
    TimeFlags,
    TimePropertiesDataSet,
    TimeStatusNp,
)
from agent.clock.management.errors import Refused, WireError
from agent.clock.management.values import number_text
from touchline.config.clock import PtpSection
from touchline.errors import LinkError
from touchline.timeline import TAI_MINUS_UTC_S

OLD_NS: Final = 2_000_000_000  # an answer older than this is none
SYNCS_MISSING: Final = 4.0  # sync intervals without a Sync until the master counts as lost
LEAST_SYNC_NS: Final = 1_500_000_000  # and at the least so long
_FOLLOWING: Final = frozenset({PortState.SLAVE, PortState.UNCALIBRATED})
_SELDOM_NS: Final = 1_000_000_000
_NO_FACTS: Final = "ptp4l has not answered yet"


@dataclass(frozen=True, slots=True)
class PtpFacts:
    """ptp4l's state. ``heard_ns``, ``sync_ns``: CLOCK_MONOTONIC of the last answer and of the last new Sync.

    ``fresh``: this look brought a new measurement of the offset, for pairs that are made of it.
    ``path_delay_ns``, ``offset_ns`` and ``grandmaster`` are ptp4l's own; they are kept while no Sync comes.
    ``path_delay_ns`` is that to the neighbour where delays are measured peer to peer.
    ``path_doubt_ns``: the error that an asymmetry of the path may make unseen, see :class:`Watch`.
    ``carried``: the offset is not of this master, whose path has not been measured yet.
    ``utc_offset_s``: TAI less UTC as ptp4l counts it, which is not always what is announced.
    """

    heard_ns: int
    sync_ns: int
    ingress_ns: int
    offset_ns: int
    path_delay_ns: float
    gm_present: bool
    grandmaster: str
    own_identity: str
    port_state: PortState | int
    sync_interval_s: float
    ptp_timescale: bool
    utc_offset_s: int
    path_doubt_ns: float = 0.0
    fresh: bool = False
    carried: bool = False

    @property
    def port_state_text(self) -> str:
        """``SLAVE``, ``LISTENING``..."""
        return number_text(self.port_state)

    @property
    def timescale(self) -> str:
        """``PTP`` for TAI, ``ARB`` for a time of the grandmaster's own."""
        return "PTP" if self.ptp_timescale else "ARB"


def servo_view(facts: PtpFacts | None, ptp: PtpSection, now_ns: int, trouble: str = "") -> ServoView:
    """Return what the core needs to know; pure.

    A follower's port is SLAVE once its servo has locked; with ``free_running`` there is no servo, and it stays
    UNCALIBRATED. Software stamps carry ptp4l's offset in the pairs themselves, so none is given beside them.
    """
    if facts is None or now_ns - facts.heard_ns > OLD_NS:
        return ServoView(now_ns, False, "", None, trouble or _NO_FACTS)
    if ptp.role == "grandmaster":
        serves = facts.port_state is PortState.MASTER
        why_not = "" if serves else f"the port is {facts.port_state_text}, not MASTER"
        return ServoView(now_ns, serves, facts.own_identity, 0.0 if ptp.hardware else None, why_not)
    offset_ns = float(facts.offset_ns) if ptp.hardware else None
    why_not = _why_not_followed(facts, ptp, now_ns)
    return ServoView(facts.sync_ns, not why_not, facts.grandmaster, offset_ns, why_not, facts.path_doubt_ns)


def _why_not_followed(facts: PtpFacts, ptp: PtpSection, now_ns: int) -> str:
    good = _FOLLOWING if ptp.free_running else {PortState.SLAVE}
    if facts.port_state not in good:
        return f"the port is {facts.port_state_text}, not SLAVE"
    if not facts.gm_present:
        return "no grandmaster"
    if facts.carried:
        return "the path to the master is not measured: no answer to delay requests"
    age_ns = now_ns - facts.sync_ns
    if age_ns > max(LEAST_SYNC_NS, SYNCS_MISSING * facts.sync_interval_s * 1e9):
        return f"no Sync for {age_ns * 1e-9:.1f} s"
    return ""


def utc_offset_of(scale: TimePropertiesDataSet) -> int:
    """TAI less UTC as ptp4l counts it, s: what is announced when that is valid and traceable or newer than its own.

    Otherwise its configured utc_offset, for which ours is :data:`TAI_MINUS_UTC_S` (linuxptp, clock.c; seen with 3.1.1).
    """
    sure = TimeFlags.UTC_OFFSET_VALID | TimeFlags.TIME_TRACEABLE
    if scale.flags & sure == sure or scale.current_utc_offset_s > TAI_MINUS_UTC_S:
        return scale.current_utc_offset_s
    return TAI_MINUS_UTC_S


class Watch:
    """Asks ptp4l. ``trouble``: why there is no answer, "" when there is; ``facts``: the newest ones, None before.

    An offset is wrong by half of what the ways to the master and back differ. Stamps of the hardware leave the cable,
    which is configured, and what has changed since the lock: ``path_doubt_ns`` is how far the delay has moved. Stamps
    of the kernel have the CPU's latencies in the path, and with the load these go from one way to the other: nothing
    takes less than no time, so the whole delay is the most that it may be.
    """

    def __init__(self, ptp: PtpSection, domain: int, folder: Path) -> None:
        self.facts: PtpFacts | None = None
        self._hardware = ptp.hardware
        self.trouble = _NO_FACTS
        self.client = ManagementClient(
            Path(ptp.uds_path), timeout_s=0.5, domain=domain, transport_specific="auto", folder=folder
        )
        self._seldom: tuple[DefaultDataSet, TimePropertiesDataSet] | None = None
        self._seldom_ns = 0
        self._subscribed = False
        self._path: tuple[str, float] | None = None  # whose, and the delay when it was first followed
        self._followed = ""  # the grandmaster at the last look, "" when none was followed
        self._carried_ns: int | None = 0  # the offset of a time before, None once this master's is there

    def open(self) -> None:
        """Make the socket."""
        self.client.open()

    def close(self) -> None:
        """Remove it."""
        self.client.close()

    def hear(self) -> bool:
        """Whether ptp4l pushed a change of its port's state since the last call; never waits."""
        if not self._subscribed:
            return False
        try:
            return bool(self.client.poll(0.0))
        except (LinkError, WireError):
            return False  # the next look finds out

    def look(self, now_ns: int) -> PtpFacts | None:
        """Ask; the new facts, or None when ptp4l does not answer (then :attr:`trouble` says why)."""
        try:
            if not self._subscribed:
                self.client.subscribe({Event.PORT_STATE})
                self._subscribed = True
            self.facts = self._ask(now_ns)
        except (LinkError, WireError, Refused) as error:
            self.trouble, self._subscribed, self._seldom = str(error), False, None
            return None
        self.trouble = ""
        return self.facts

    def _ask(self, now_ns: int) -> PtpFacts:
        client, last = self.client, self.facts
        status, port, current = client.get(TimeStatusNp), client.get(PortDataSet), client.get(CurrentDataSet)
        if self._seldom is None or now_ns - self._seldom_ns > _SELDOM_NS:
            self._seldom, self._seldom_ns = (client.get(DefaultDataSet), client.get(TimePropertiesDataSet)), now_ns
        own, scale = self._seldom
        fresh = status.ingress_time_ns > 0 and (last is None or status.ingress_time_ns != last.ingress_ns)
        carried = self._is_carried_over(status, port)
        fresh = fresh and not carried
        peer = port.delay_mechanism is DelayMechanism.P2P  # then CURRENT_DATA_SET's stays 0 (3.1.1)
        known = status.gm_present or last is None
        facts = PtpFacts(
            heard_ns=now_ns,
            sync_ns=now_ns if fresh or last is None else last.sync_ns,
            ingress_ns=status.ingress_time_ns,
            offset_ns=status.master_offset_ns,
            path_delay_ns=port.peer_mean_path_delay_ns if peer else current.mean_path_delay_ns,
            gm_present=status.gm_present,
            grandmaster=str(status.gm_identity) if known or last is None else last.grandmaster,
            own_identity=str(own.clock_identity),
            port_state=port.port_state,
            sync_interval_s=2.0**port.log_sync_interval,
            ptp_timescale=bool(scale.flags & TimeFlags.PTP_TIMESCALE),
            utc_offset_s=utc_offset_of(scale),
            fresh=fresh,
            carried=carried,
        )
        return replace(facts, path_doubt_ns=self._path_doubt_ns(facts))

    def _is_carried_over(self, status: TimeStatusNp, port: PortDataSet) -> bool:
        """Whether the offset is still that of the master before, or 0: ptp4l keeps it until the path is measured.

        Seen with 3.1.1, whose ingress time is the new master's meanwhile, and whose mean delay is kept as well: that
        there is one shows nothing. Without answers to delay requests it stays so for good. Where pairs are made of
        offsets only one that has changed is a measurement; of stamps of the kernel no two in a row are alike for long.
        """
        following = status.gm_present and port.port_state in _FOLLOWING
        grandmaster = str(status.gm_identity) if following else ""
        if not grandmaster or grandmaster != self._followed:
            self._followed, self._carried_ns = grandmaster, status.master_offset_ns
        elif status.master_offset_ns != self._carried_ns:
            self._carried_ns = None
        return self._carried_ns is not None and not self._hardware

    def _path_doubt_ns(self, facts: PtpFacts) -> float:
        if not self._hardware:
            return abs(facts.path_delay_ns)
        # Only of a port in SLAVE is it sure that the delay is this master's: ptp4l keeps the last one's until then.
        if facts.port_state is PortState.SLAVE and facts.path_delay_ns > 0:
            if self._path is None or self._path[0] != facts.grandmaster:
                self._path = facts.grandmaster, facts.path_delay_ns
            return abs(facts.path_delay_ns - self._path[1])
        return 0.0 if self._path is None else abs(facts.path_delay_ns - self._path[1])

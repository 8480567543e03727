"""The data sets that Touchline reads from ptp4l, one definition each (IEEE 1588-2008, 15.5.3; linuxptp for _NP). Pure.

Units stand in the names. ``offset`` is ours less the master's: positive = we are ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from agent.clock.management.layout import (
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    Clock,
    DataSet,
    Interval,
    Port,
    ScaledNs,
    Text,
    Truth32,
    counters,
    enumeration,
    flags,
    number,
    octets,
)
from agent.clock.management.values import (
    ClockAccuracy,
    DefaultFlags,
    DelayMechanism,
    Event,
    HwclockFlags,
    MessageType,
    PortState,
    TimeFlags,
    TimeSource,
    TimeStamping,
    named,
)

_RATE_ONE: Final = 1 << 41  # cumulativeScaledRateOffset counts 2^-41 (IEEE 802.1AS, Follow_Up information TLV)
_EVENT_OCTETS: Final = 64

_OctetAndPad = Annotated[int, number("Bx")]
_Counts = Annotated[tuple[int, ...], counters(16)]
_Bitmask = Annotated[bytes, octets(_EVENT_OCTETS)]
_DefaultFlags = Annotated[DefaultFlags, flags(DefaultFlags, "Bx")]
_HwclockFlags = Annotated[HwclockFlags, flags(HwclockFlags, "Bx")]
_TimeFlags = Annotated[TimeFlags, flags(TimeFlags)]
_ClockAccuracy = Annotated[ClockAccuracy | int, enumeration(ClockAccuracy)]
_TimeSource = Annotated[TimeSource | int, enumeration(TimeSource)]
_PortState = Annotated[PortState | int, enumeration(PortState)]
_TimeStamping = Annotated[TimeStamping | int, enumeration(TimeStamping)]
_DelayMechanism = Annotated[DelayMechanism | int, enumeration(DelayMechanism)]


@dataclass(frozen=True, slots=True)
class DefaultDataSet(DataSet):
    """The clock itself."""

    MANAGEMENT_ID: ClassVar[int] = 0x2000
    NAME: ClassVar[str] = "DEFAULT_DATA_SET"

    flags: _DefaultFlags
    number_ports: U16
    priority1: U8
    clock_class: U8
    clock_accuracy: _ClockAccuracy
    offset_scaled_log_variance: U16
    priority2: U8
    clock_identity: Clock
    domain_number: _OctetAndPad


@dataclass(frozen=True, slots=True)
class CurrentDataSet(DataSet):
    """Where the clock stands beside its master."""

    MANAGEMENT_ID: ClassVar[int] = 0x2001
    NAME: ClassVar[str] = "CURRENT_DATA_SET"

    steps_removed: U16
    offset_from_master_ns: Interval
    mean_path_delay_ns: Interval


@dataclass(frozen=True, slots=True)
class ParentDataSet(DataSet):
    """Whom the clock follows, and the grandmaster behind."""

    MANAGEMENT_ID: ClassVar[int] = 0x2002
    NAME: ClassVar[str] = "PARENT_DATA_SET"

    parent_port_identity: Port
    parent_stats: _OctetAndPad
    observed_parent_offset_scaled_log_variance: U16
    observed_parent_clock_phase_change_rate: I32
    grandmaster_priority1: U8
    grandmaster_clock_class: U8
    grandmaster_clock_accuracy: _ClockAccuracy
    grandmaster_offset_scaled_log_variance: U16
    grandmaster_priority2: U8
    grandmaster_identity: Clock


@dataclass(frozen=True, slots=True)
class TimePropertiesDataSet(DataSet):
    """The timescale in force."""

    MANAGEMENT_ID: ClassVar[int] = 0x2003
    NAME: ClassVar[str] = "TIME_PROPERTIES_DATA_SET"

    current_utc_offset_s: I16
    flags: _TimeFlags
    time_source: _TimeSource


@dataclass(frozen=True, slots=True)
class PortDataSet(DataSet):
    """One port. ``log_..._interval``: the interval is 2^value s."""

    MANAGEMENT_ID: ClassVar[int] = 0x2004
    NAME: ClassVar[str] = "PORT_DATA_SET"
    PER_PORT: ClassVar[bool] = True

    port_identity: Port
    port_state: _PortState
    log_min_delay_req_interval: I8
    peer_mean_path_delay_ns: Interval
    log_announce_interval: I8
    announce_receipt_timeout: U8
    log_sync_interval: I8
    delay_mechanism: _DelayMechanism
    log_min_pdelay_req_interval: I8
    version: U8

    @property
    def version_number(self) -> int:
        """versionPTP: 2."""
        return self.version & 0x0F

    @property
    def minor_version_number(self) -> int:
        """minorVersionPTP: 0 for IEEE 1588-2008, 1 for 2019."""
        return self.version >> 4


@dataclass(frozen=True, slots=True)
class TimeStatusNp(DataSet):
    """The last Sync: ``ingress_time_ns`` on the clock that ptp4l disciplines, ``master_offset_ns`` its offset then."""

    MANAGEMENT_ID: ClassVar[int] = 0xC000
    NAME: ClassVar[str] = "TIME_STATUS_NP"

    master_offset_ns: I64
    ingress_time_ns: I64
    cumulative_scaled_rate_offset: I32
    scaled_last_gm_phase_change: I32
    gm_time_base_indicator: U16
    last_gm_phase_change_scaled: ScaledNs
    gm_present: Truth32
    gm_identity: Clock

    @property
    def cumulative_rate_offset_ppb(self) -> float:
        """The grandmaster's rate over ours, less one."""
        return self.cumulative_scaled_rate_offset / _RATE_ONE * 1e9

    @property
    def last_gm_phase_change_ns(self) -> float:
        """The grandmaster's last jump, where the profile (802.1AS) tells of it."""
        return self.last_gm_phase_change_scaled / 65_536


@dataclass(frozen=True, slots=True)
class GrandmasterSettingsNp(DataSet):
    """What this clock would say of itself as grandmaster."""

    MANAGEMENT_ID: ClassVar[int] = 0xC001
    NAME: ClassVar[str] = "GRANDMASTER_SETTINGS_NP"

    clock_class: U8
    clock_accuracy: _ClockAccuracy
    offset_scaled_log_variance: U16
    current_utc_offset_s: I16
    flags: _TimeFlags
    time_source: _TimeSource


@dataclass(frozen=True, slots=True)
class PortDataSetNp(DataSet):
    """802.1AS at one port."""

    MANAGEMENT_ID: ClassVar[int] = 0xC002
    NAME: ClassVar[str] = "PORT_DATA_SET_NP"
    PER_PORT: ClassVar[bool] = True

    neighbor_prop_delay_thresh_ns: U32
    as_capable: Truth32


@dataclass(frozen=True, slots=True)
class SubscribeEventsNp(DataSet):
    """What ptp4l pushes to whoever asks, and for how long still."""

    MANAGEMENT_ID: ClassVar[int] = 0xC003
    NAME: ClassVar[str] = "SUBSCRIBE_EVENTS_NP"

    duration_s: U16
    bitmask: _Bitmask

    @classmethod
    def of(cls, events: Iterable[Event | int], duration_s: int) -> SubscribeEventsNp:
        """Build one of events; none ends a subscription."""
        bits = 0
        for event in events:
            if not 0 <= event < _EVENT_OCTETS * 8:
                raise ValueError(f"{event} is no event: allowed are 0..{_EVENT_OCTETS * 8 - 1}")
            bits |= 1 << event
        return cls(duration_s, bits.to_bytes(_EVENT_OCTETS, "little"))

    @property
    def events(self) -> frozenset[Event | int]:
        """The events whose bits are set."""
        bits = int.from_bytes(self.bitmask, "little")
        return frozenset(named(Event, n) for n in range(_EVENT_OCTETS * 8) if bits >> n & 1)


@dataclass(frozen=True, slots=True)
class PortPropertiesNp(DataSet):
    """One port's interface and how packets are stamped there."""

    MANAGEMENT_ID: ClassVar[int] = 0xC004
    NAME: ClassVar[str] = "PORT_PROPERTIES_NP"
    PER_PORT: ClassVar[bool] = True

    port_identity: Port
    port_state: _PortState
    time_stamping: _TimeStamping
    interface: Text


@dataclass(frozen=True, slots=True)
class PortStatsNp(DataSet):
    """Messages of each type that one port received and sent; ``stats.received[MessageType.SYNC]``."""

    MANAGEMENT_ID: ClassVar[int] = 0xC005
    NAME: ClassVar[str] = "PORT_STATS_NP"
    PER_PORT: ClassVar[bool] = True

    port_identity: Port
    received: _Counts
    sent: _Counts

    def by_name(self) -> dict[str, int]:
        """As pmc writes it: ``rx_sync``, ..., ``tx_management``."""
        ways = (("rx", self.received), ("tx", self.sent))
        return {f"{way}_{kind.name.lower()}": counts[kind] for way, counts in ways for kind in MessageType}


@dataclass(frozen=True, slots=True)
class PortHwclockNp(DataSet):
    """One port's hardware clock, from linuxptp 4.0 on: ``/dev/ptp<phc_index>``, -1 for none."""

    MANAGEMENT_ID: ClassVar[int] = 0xC009
    NAME: ClassVar[str] = "PORT_HWCLOCK_NP"
    PER_PORT: ClassVar[bool] = True

    port_identity: Port
    phc_index: I32
    flags: _HwclockFlags


DATA_SETS: Final[dict[int, type[DataSet]]] = {
    kind.MANAGEMENT_ID: kind
    for kind in (
        DefaultDataSet,
        CurrentDataSet,
        ParentDataSet,
        TimePropertiesDataSet,
        PortDataSet,
        TimeStatusNp,
        GrandmasterSettingsNp,
        PortDataSetNp,
        SubscribeEventsNp,
        PortPropertiesNp,
        PortStatsNp,
        PortHwclockNp,
    )
}


def name_of(management_id: int) -> str:
    """``TIME_STATUS_NP``, or the number where no data set here has it."""
    kind = DATA_SETS.get(management_id)
    return kind.NAME if kind is not None else f"management id {management_id:#06x}"

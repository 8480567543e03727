"""Numbers of IEEE 1588 and of linuxptp that have names, and the two identities. Pure.

A number without a name stays a number: a ptp4l of next year must not break a reader of today.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, TypeVar

ALL_PORTS: Final = 0xFFFF  # portNumber of "every port" (IEEE 1588-2008, clause 15)

_Named = TypeVar("_Named", bound=IntEnum)


def named(kind: type[_Named], number: int) -> _Named | int:
    """Return the member of that number, or the number."""
    try:
        return kind(number)
    except ValueError:
        return number


def number_text(value: int) -> str:
    """``SLAVE`` for a member, ``0x2b`` for a number without a name."""
    return value.name if isinstance(value, IntEnum) else f"{value:#x}"


@dataclass(frozen=True, slots=True, order=True)
class ClockIdentity:
    """Eight octets; as text like pmc writes it: ``001122.fffe.334455``."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 8:
            raise ValueError(f"a clock identity has 8 octets, not {len(self.raw)}")

    def __str__(self) -> str:
        text = self.raw.hex()
        return f"{text[:6]}.{text[6:10]}.{text[10:]}"

    @classmethod
    def parse(cls, text: str) -> ClockIdentity:
        """Read the text of :meth:`__str__`; ValueError for anything else."""
        return cls(bytes.fromhex(text.replace(".", "")))


@dataclass(frozen=True, slots=True, order=True)
class PortIdentity:
    """A clock's port; as text ``001122.fffe.334455-1``. Port 0 is ptp4l's management socket itself."""

    clock: ClockIdentity
    port: int

    def __str__(self) -> str:
        return f"{self.clock}-{self.port}"


ANY_CLOCK: Final = ClockIdentity(b"\xff" * 8)


class Action(IntEnum):
    """actionField (IEEE 1588-2008, table 38)."""

    GET = 0
    SET = 1
    RESPONSE = 2
    COMMAND = 3
    ACKNOWLEDGE = 4


class ErrorCode(IntEnum):
    """managementErrorId (IEEE 1588-2008, table 72)."""

    RESPONSE_TOO_BIG = 0x0001
    NO_SUCH_ID = 0x0002
    WRONG_LENGTH = 0x0003
    WRONG_VALUE = 0x0004
    NOT_SETABLE = 0x0005
    NOT_SUPPORTED = 0x0006
    GENERAL_ERROR = 0xFFFE


class PortState(IntEnum):
    """portState (IEEE 1588-2008, table 8)."""

    INITIALIZING = 1
    FAULTY = 2
    DISABLED = 3
    LISTENING = 4
    PRE_MASTER = 5
    MASTER = 6
    PASSIVE = 7
    UNCALIBRATED = 8
    SLAVE = 9


class ClockAccuracy(IntEnum):
    """clockAccuracy (IEEE 1588-2008, table 6); those under 25 ns came in 2019."""

    WITHIN_1_PS = 0x17
    WITHIN_2_5_PS = 0x18
    WITHIN_10_PS = 0x19
    WITHIN_25_PS = 0x1A
    WITHIN_100_PS = 0x1B
    WITHIN_250_PS = 0x1C
    WITHIN_1_NS = 0x1D
    WITHIN_2_5_NS = 0x1E
    WITHIN_10_NS = 0x1F
    WITHIN_25_NS = 0x20
    WITHIN_100_NS = 0x21
    WITHIN_250_NS = 0x22
    WITHIN_1_US = 0x23
    WITHIN_2_5_US = 0x24
    WITHIN_10_US = 0x25
    WITHIN_25_US = 0x26
    WITHIN_100_US = 0x27
    WITHIN_250_US = 0x28
    WITHIN_1_MS = 0x29
    WITHIN_2_5_MS = 0x2A
    WITHIN_10_MS = 0x2B
    WITHIN_25_MS = 0x2C
    WITHIN_100_MS = 0x2D
    WITHIN_250_MS = 0x2E
    WITHIN_1_S = 0x2F
    WITHIN_10_S = 0x30
    OVER_10_S = 0x31
    UNKNOWN = 0xFE


class TimeSource(IntEnum):
    """timeSource (IEEE 1588-2008, table 7); ``SERIAL_TIME_CODE`` came in 2019."""

    ATOMIC_CLOCK = 0x10
    GNSS = 0x20
    TERRESTRIAL_RADIO = 0x30
    SERIAL_TIME_CODE = 0x39
    PTP = 0x40
    NTP = 0x50
    HAND_SET = 0x60
    OTHER = 0x90
    INTERNAL_OSCILLATOR = 0xA0


class TimeStamping(IntEnum):
    """How ptp4l stamps packets at a port (PORT_PROPERTIES_NP)."""

    SOFTWARE = 0
    HARDWARE = 1
    LEGACY_HW = 2
    ONESTEP = 3
    P2P1STEP = 4


class DelayMechanism(IntEnum):
    """delayMechanism (IEEE 1588-2008, table 9; 3 and 4 came in 2019); ``AUTO`` is linuxptp's own."""

    AUTO = 0x00
    E2E = 0x01
    P2P = 0x02
    COMMON_P2P = 0x03
    SPECIAL = 0x04
    NO_MECHANISM = 0xFE


class MessageType(IntEnum):
    """messageType (IEEE 1588-2008, table 19): the places of PORT_STATS_NP's counters."""

    SYNC = 0x0
    DELAY_REQ = 0x1
    PDELAY_REQ = 0x2
    PDELAY_RESP = 0x3
    FOLLOW_UP = 0x8
    DELAY_RESP = 0x9
    PDELAY_RESP_FOLLOW_UP = 0xA
    ANNOUNCE = 0xB
    SIGNALING = 0xC
    MANAGEMENT = 0xD


class DefaultFlags(IntFlag):
    """Flags of DEFAULT_DATA_SET."""

    TWO_STEP = 1 << 0
    SLAVE_ONLY = 1 << 1


class TimeFlags(IntFlag):
    """Flags of TIME_PROPERTIES_DATA_SET. Without ``PTP_TIMESCALE`` the grandmaster's time is its own (ARB), not TAI."""

    LEAP_61 = 1 << 0
    LEAP_59 = 1 << 1
    UTC_OFFSET_VALID = 1 << 2
    PTP_TIMESCALE = 1 << 3
    TIME_TRACEABLE = 1 << 4
    FREQUENCY_TRACEABLE = 1 << 5


class HwclockFlags(IntFlag):
    """Flags of PORT_HWCLOCK_NP: the port uses a virtual clock on that hardware clock."""

    VIRTUAL_CLOCK = 1 << 0


class Event(IntEnum):
    """What ptp4l can push: bits of SUBSCRIBE_EVENTS_NP.

    3.1.1 stores every bit and pushes ``PORT_STATE`` only; ``TIME_SYNC`` and
    ``PARENT_DATA_SET`` are in 4.2, ``CMLDS`` came after it. No answer tells them apart: see ``Capabilities.events``.
    """

    PORT_STATE = 0
    TIME_SYNC = 1
    PARENT_DATA_SET = 2
    CMLDS = 3

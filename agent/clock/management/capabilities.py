"""What a ptp4l understands, found by asking it. No message carries linuxptp's version, so its ids have to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.clock.management.datasets import DATA_SETS, DefaultDataSet, PortHwclockNp, SubscribeEventsNp
from agent.clock.management.errors import NoAnswer, NoSuchId, Refused
from agent.clock.management.layout import decode_data
from agent.clock.management.values import ALL_PORTS, ErrorCode, Event, PortIdentity, number_text
from agent.clock.management.wire import Management, Message

OTHER_IDS: Final[dict[int, str]] = {
    0x0001: "CLOCK_DESCRIPTION",
    0xC006: "SYNCHRONIZATION_UNCERTAIN_NP",
    0xC007: "PORT_SERVICE_STATS_NP",
    0xC008: "UNICAST_MASTER_TABLE_NP",
    0xC00A: "POWER_PROFILE_SETTINGS_NP",
}
"""Ids that are asked for but have no definition here."""

_CLOCK_WIDE: Final = frozenset({0xC006, *(kind.MANAGEMENT_ID for kind in DATA_SETS.values() if not kind.PER_PORT)})
_OF_3: Final = frozenset({Event.PORT_STATE})
_OF_4: Final = frozenset({Event.PORT_STATE, Event.TIME_SYNC, Event.PARENT_DATA_SET})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found.

    ``management_port``: where the answers come from; its port number is 0. ``minor_version``: of their PTP header: 0 =
    IEEE 1588-2008, 1 = 2019; linuxptp 3.1.1 sends 0, 4.2 sends 1 unless configured otherwise. ``known``: names of the
    ids that are answered, ``refused``: of the others, with ptp4l's reason. ``before_4``: linuxptp older than 4.0, for
    which PORT_HWCLOCK_NP is no id at all. ``read_only``: the socket takes no subscription. ``events``: what it can be
    expected to push; read from 3.1.1 and 4.2, taken to be that of 4.2 in between.
    """

    management_port: PortIdentity
    domain: int
    transport_specific: int
    minor_version: int
    ports: int
    known: frozenset[str]
    refused: Mapping[str, str]
    before_4: bool
    read_only: bool
    events: frozenset[Event]


def probe(ask: Callable[[int, int], Message]) -> Capabilities:
    """Ask for every id that has a name here. ``ask``: management id and port to the answer, or a Refused."""
    hello = ask(DefaultDataSet.MANAGEMENT_ID, ALL_PORTS)
    known, refused = set(), {}
    names = {**{number: kind.NAME for number, kind in DATA_SETS.items()}, **OTHER_IDS}
    before_4 = False
    for number, name in sorted(names.items()):
        try:
            answer = ask(number, ALL_PORTS if number in _CLOCK_WIDE else 1)
        except Refused as error:
            refused[name] = number_text(error.code)
            before_4 = before_4 or (number == PortHwclockNp.MANAGEMENT_ID and isinstance(error, NoSuchId))
        except NoAnswer:
            refused[name] = "no answer"
        else:
            if _empty(answer):
                refused[name] = number_text(ErrorCode.NOT_SUPPORTED)
            else:
                known.add(name)
    read_only = SubscribeEventsNp.NAME in refused
    events: frozenset[Event] = _OF_3 if before_4 else _OF_4
    return Capabilities(
        management_port=hello.source,
        domain=hello.domain,
        transport_specific=hello.transport_specific,
        minor_version=hello.minor_version,
        ports=_ports(hello),
        known=frozenset(known),
        refused=refused,
        before_4=before_4,
        read_only=read_only,
        events=frozenset() if read_only else events,
    )


def _empty(answer: Message) -> bool:
    return isinstance(answer.body, Management) and not answer.body.data


def _ports(hello: Message) -> int:
    if not isinstance(hello.body, Management):
        raise TypeError("a refusal is no data set")
    return decode_data(DefaultDataSet, hello.body.data).number_ports

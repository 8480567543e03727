"""Data sets: what pmc said of the same octets, numbers without names, limits, there and back."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.management import (
    DATA_SETS,
    ClockAccuracy,
    CurrentDataSet,
    DefaultDataSet,
    Event,
    MessageType,
    PortDataSet,
    PortPropertiesNp,
    PortState,
    PortStatsNp,
    SubscribeEventsNp,
    TimeStatusNp,
    WireError,
)
from agent.clock.management.datasets import name_of
from agent.clock.management.layout import DataSet, decode_data, encode_data, layout_of
from agent.clock.management.wire import Management, decode
from tests.agent.clock.management.golden import ANSWERS, BY_NAME, golden
from tests.agent.clock.management.pmc_text import shown, without_later_events

GOOD = [one for one in ANSWERS if "error" not in one[3]]
SIZES = {  # octets, from the tables of IEEE 1588-2008, 15.5.3 and linuxptp's tlv.h; text without its letters
    "DEFAULT_DATA_SET": 20,
    "CURRENT_DATA_SET": 18,
    "PARENT_DATA_SET": 32,
    "TIME_PROPERTIES_DATA_SET": 4,
    "PORT_DATA_SET": 26,
    "TIME_STATUS_NP": 50,
    "GRANDMASTER_SETTINGS_NP": 8,
    "PORT_DATA_SET_NP": 8,
    "SUBSCRIBE_EVENTS_NP": 66,
    "PORT_PROPERTIES_NP": 13,
    "PORT_STATS_NP": 266,
    "PORT_HWCLOCK_NP": 16,
}


def data_of(name: str, version: str = "4.2") -> bytes:
    body = decode(golden(name, version)).body
    assert isinstance(body, Management)
    return body.data


def size_of(kind: type[DataSet]) -> int:
    return sum(wire.layout.size if wire.layout is not None else 1 for _, wire in layout_of(kind))


@pytest.mark.parametrize(("version", "name", "datagram", "pmc"), GOOD, ids=[f"{one[1]}-{one[0]}" for one in GOOD])
def test_each_field_reads_as_pmc_read_it(version, name, datagram, pmc):
    data = cast(Management, decode(datagram).body).data
    data_set = decode_data(BY_NAME[name], data)
    assert without_later_events(shown(data_set), tuple(map(int, version.split(".")))) == pmc
    assert encode_data(data_set) == data


def test_no_data_set_lacks_its_golden_answer():
    assert {one[1] for one in GOOD} == set(BY_NAME) == set(SIZES)


@pytest.mark.parametrize("kind", DATA_SETS.values(), ids=lambda kind: kind.NAME)
def test_each_layout_has_its_size(kind):
    assert size_of(kind) == SIZES[kind.NAME]


@pytest.mark.parametrize("kind", DATA_SETS.values(), ids=lambda kind: kind.NAME)
@given(st.data())
def test_any_octets_of_the_right_number_are_read_and_written_again(kind, data):
    raw = data.draw(st.binary(min_size=size_of(kind), max_size=size_of(kind)))
    if kind is PortPropertiesNp:
        text = data.draw(st.binary(max_size=255))
        raw = raw[:12] + bytes([len(text)]) + text
        raw += b"\0" * (len(raw) % 2)
    found = decode_data(kind, raw)
    written = encode_data(found)
    assert len(written) == len(raw)
    assert decode_data(kind, written) == found


@pytest.mark.parametrize("kind", DATA_SETS.values(), ids=lambda kind: kind.NAME)
@given(st.binary(max_size=300))
def test_octets_of_another_number_are_a_wire_error(kind, raw):
    if kind is PortPropertiesNp:
        raw = raw[:12] + b"\xff" + raw[12:200]
    elif len(raw) == size_of(kind):
        raw += b"\0"
    with pytest.raises(WireError, match=kind.NAME):
        decode_data(kind, raw)


def test_an_interval_is_ns_and_keeps_its_fraction():
    data = CurrentDataSet(1, -12.5, 1 / 65536)
    assert encode_data(data).hex(" ", 2) == "0001 ffff ffff fff3 8000 0000 0000 0000 0001"
    assert decode_data(CurrentDataSet, encode_data(data)) == data


def test_an_interval_beyond_its_range_is_clamped():
    assert encode_data(CurrentDataSet(0, 1e30, -1e30))[2:] == b"\x7f" + b"\xff" * 7 + b"\x80" + b"\0" * 7


def test_counters_are_little_endian():
    data = bytearray(data_of("PORT_STATS_NP"))
    data[10:18] = (0x0102030405060708).to_bytes(8, "little")
    stats = decode_data(PortStatsNp, bytes(data))
    assert stats.received[MessageType.SYNC] == 0x0102030405060708
    assert stats.by_name()["rx_sync"] == 0x0102030405060708
    assert stats.by_name()["tx_delay_req"] == stats.sent[MessageType.DELAY_REQ]


def test_a_phase_change_has_96_bits_and_a_sign():
    data = bytearray(data_of("TIME_STATUS_NP"))
    data[26:38] = b"\xff" * 10 + b"\x80\x00"
    status = decode_data(TimeStatusNp, bytes(data))
    assert status.last_gm_phase_change_scaled == -0x8000
    assert status.last_gm_phase_change_ns == -0.5


def test_a_rate_offset_is_in_parts_of_2_to_the_41():
    status = replace(decode_data(TimeStatusNp, data_of("TIME_STATUS_NP")), cumulative_scaled_rate_offset=1 << 21)
    assert status.cumulative_rate_offset_ppb == pytest.approx(1e9 / (1 << 20))


def test_numbers_without_a_name_stay_numbers():
    port = bytearray(data_of("PORT_DATA_SET"))
    port[10] = 0x2B
    found = decode_data(PortDataSet, bytes(port))
    assert found.port_state == 0x2B
    assert not isinstance(found.port_state, PortState)
    default = bytearray(data_of("DEFAULT_DATA_SET"))
    default[0], default[6] = 0xF1, 0x05
    clock = decode_data(DefaultDataSet, bytes(default))
    assert not isinstance(clock.clock_accuracy, ClockAccuracy)
    assert encode_data(clock)[:1] == b"\xf1"


def test_a_version_of_2019_has_a_minor_number():
    port = replace(decode_data(PortDataSet, data_of("PORT_DATA_SET")), version=0x12)
    assert (port.version_number, port.minor_version_number) == (2, 1)


def test_an_interface_name_of_odd_length_is_padded_and_strange_octets_survive():
    data = data_of("PORT_PROPERTIES_NP")
    port = decode_data(PortPropertiesNp, data)
    assert port.interface == "eth0"
    for name in (b"en1", b"\xff\xfe", b"", b"x" * 255):
        raw = data[:12] + bytes([len(name)]) + name
        raw += b"\0" * (len(raw) % 2)
        found = decode_data(PortPropertiesNp, raw)
        assert found.interface.encode("utf-8", "surrogateescape") == name
        assert encode_data(found) == raw


def test_events_are_bits():
    wanted = SubscribeEventsNp.of([Event.PORT_STATE, Event.PARENT_DATA_SET, 511], 60)
    assert wanted.bitmask == b"\x05" + bytes(62) + b"\x80"
    assert wanted.events == {Event.PORT_STATE, Event.PARENT_DATA_SET, 511}
    with pytest.raises(ValueError, match="512 is no event"):
        SubscribeEventsNp.of([512], 1)


@pytest.mark.parametrize(
    "data",
    [
        SubscribeEventsNp(65_536, bytes(64)),
        SubscribeEventsNp(1, bytes(63)),
        replace(decode_data(TimeStatusNp, data_of("TIME_STATUS_NP")), last_gm_phase_change_scaled=1 << 95),
        replace(decode_data(PortPropertiesNp, data_of("PORT_PROPERTIES_NP")), interface="x" * 256),
        replace(decode_data(PortStatsNp, data_of("PORT_STATS_NP")), sent=(1, 2)),
    ],
    ids=lambda data: data.NAME,
)
def test_what_does_not_fit_is_refused_by_name(data):
    with pytest.raises(ValueError, match=f"{data.NAME}: .* does not fit"):
        encode_data(data)


def test_an_id_has_a_name():
    assert name_of(0xC000) == "TIME_STATUS_NP"
    assert name_of(0xC0FF) == "management id 0xc0ff"

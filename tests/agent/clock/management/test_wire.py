"""Management messages: what ptp4l sent, what it must never be fooled by, there and back."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.management.errors import WireError
from agent.clock.management.values import ANY_CLOCK, Action, ClockIdentity, ErrorCode, PortIdentity
from agent.clock.management.wire import FIXED, MAX_MESSAGE, ErrorStatus, Management, Message, decode, encode
from tests.agent.clock.management.golden import ANSWERS, BY_NAME, golden

US = PortIdentity(ClockIdentity(b"capture!"), 1)
ASKED = Message(Action.GET, US, PortIdentity(ANY_CLOCK, 0xFFFF), 7, Management(0x2000))
CURRENT = golden("CURRENT_DATA_SET", "3.1.1")

identities = st.builds(PortIdentity, st.builds(ClockIdentity, st.binary(min_size=8, max_size=8)), st.integers(0, 65535))
bodies = st.one_of(
    st.builds(Management, st.integers(0, 65535), st.binary(max_size=200).map(lambda data: data[: len(data) // 2 * 2])),
    st.builds(ErrorStatus, st.sampled_from(ErrorCode), st.integers(0, 65535), st.text(max_size=40)),
)
octet = st.integers(0, 255)
messages = st.builds(
    Message,
    st.sampled_from(Action),
    identities,
    identities,
    st.integers(0, 65535),
    bodies,
    domain=octet,
    transport_specific=st.integers(0, 15),
    minor_version=st.integers(0, 15),
    flags=st.integers(0, 65535),
    starting_hops=octet,
    hops=octet,
)


@pytest.mark.parametrize(("version", "name", "datagram", "pmc"), ANSWERS, ids=[f"{one[1]}-{one[0]}" for one in ANSWERS])
def test_every_golden_answer_is_read(version, name, datagram, pmc):
    message = decode(datagram)
    assert message.action == Action.RESPONSE
    assert message.target == US
    assert message.sequence_id == 1
    assert message.minor_version == (1 if version == "4.2" else 0)
    assert message.body.management_id == BY_NAME[name].MANAGEMENT_ID
    assert isinstance(message.body, ErrorStatus) == ("error" in pmc)
    assert message.source.port == (1 if BY_NAME[name].PER_PORT else 0)


def test_ptp4l_3_1_1_has_never_heard_of_the_hardware_clock():
    body = decode(golden("PORT_HWCLOCK_NP", "3.1.1")).body
    assert body == ErrorStatus(ErrorCode.NO_SUCH_ID, 0xC009)


def test_a_question_octet_for_octet():
    assert encode(ASKED).hex(" ", 2) == (
        "0d02 0036 0000 0000 0000 0000 0000 0000 0000 0000 "  # management, version 2, 54 octets, domain 0
        "6361 7074 7572 6521 0001 0007 047f "  # from, sequence, control, interval
        "ffff ffff ffff ffff ffff 0000 0000 "  # to everyone, no hops, GET
        "0001 0002 2000"
    )


@given(messages)
def test_there_and_back(message):
    assert decode(encode(message)) == message


@given(messages, st.binary(max_size=20))
def test_padding_behind_the_message_is_ignored(message, padding):
    assert decode(encode(message) + padding) == message


def test_further_whole_tlvs_are_passed_over():
    pad = struct.pack(">HH4x", 0x8008, 4)
    longer = CURRENT[:2] + struct.pack(">H", len(CURRENT) + len(pad)) + CURRENT[4:] + pad
    assert decode(longer) == decode(CURRENT)


def test_octets_of_unknown_kinds_stay_numbers():
    raw = bytearray(encode(replace(ASKED, body=ErrorStatus(0x1234, 0xBEEF))))
    raw[46] = 0xF9
    message = decode(bytes(raw))
    assert message.action == 9
    assert message.body == ErrorStatus(0x1234, 0xBEEF)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[: FIXED - 1], "47 octets"),
        (lambda raw: raw + b"\0" * MAX_MESSAGE, "octets are no management message"),
        (lambda raw: b"\x0c" + raw[1:], "message type 0xc"),
        (lambda raw: raw[:1] + b"\x01" + raw[2:], "PTP version 1"),
        (lambda raw: raw[:2] + b"\xff\xff" + raw[4:], "messageLength 65535"),
        (lambda raw: raw[:2] + b"\x00\x10" + raw[4:], "messageLength 16"),
        (lambda raw: raw[:2] + b"\x00\x30" + raw[4:], "without a TLV"),
        (lambda raw: raw[:2] + b"\x00\x32" + raw[4:], "2 octets left over"),
        (lambda raw: raw[:50] + b"\x00\x15" + raw[52:], "odd length 21"),
        (lambda raw: raw[:50] + b"\x00\xf0" + raw[52:], "a TLV of 240 octets, 20 are left"),
        (lambda raw: raw[:48] + b"\x00\x03" + raw[50:], "TLV type 0x3"),
        (lambda raw: raw[:2] + b"\x00\x34" + raw[4:50] + b"\0\0", "without an id"),
        (lambda raw: raw[:2] + b"\x00\x36" + raw[4:48] + b"\x00\x02\x00\x02\x00\x01", "MANAGEMENT_ERROR_STATUS of 2"),
        (
            lambda raw: raw[:2] + b"\x00\x3e" + raw[4:48] + b"\x00\x02\x00\x0a\x00\x01\x20\x00\0\0\0\0\x09a",
            "error text of 9 octets",
        ),
    ],
)
def test_malformed_octets_name_what_is_wrong(change, said):
    with pytest.raises(WireError, match=said):
        decode(change(CURRENT))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": 256},
        {"sequence_id": 65536},
        {"transport_specific": 16},
        {"minor_version": 16},
        {"action": 16},
        {"body": Management(0x2000, b"\0" * MAX_MESSAGE)},
        {"body": Management(65536)},
        {"body": ErrorStatus(1, 2, "x" * 256)},
    ],
)
def test_what_does_not_fit_is_refused(changes):
    with pytest.raises(ValueError, match=r"fit|allowed|0\.\.15"):
        encode(replace(ASKED, **changes))


def test_a_clock_identity_reads_its_own_text():
    identity = ClockIdentity(bytes(range(8)))
    assert str(identity) == "000102.0304.050607"
    assert ClockIdentity.parse(str(identity)) == identity
    assert str(PortIdentity(identity, 3)) == "000102.0304.050607-3"
    with pytest.raises(ValueError, match="8 octets"):
        ClockIdentity.parse("0001")

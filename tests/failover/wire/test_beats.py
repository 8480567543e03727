"""The datagrams: golden bytes, round trips, and every kind of bad input as a typed error."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.core.types import Beat, CameraCursor, Health, Role
from failover.wire.beats import (
    HEAD,
    MAX_DATAGRAM_BYTES,
    TAG_BYTES,
    UNSEALED,
    Ask,
    Confirm,
    Denial,
    Fault,
    Frame,
    Grant,
    Hello,
    Kind,
    Message,
    Reason,
    WireError,
    decode,
    encode,
    pack,
    pack_hello,
    pack_lost,
    split,
    unpack_hello,
)
from tests.failover.wire.values import HELLOS, MESSAGES, U64

GOLDEN = json.loads((Path(__file__).parents[2] / "vectors" / "failover_wire_v1.json").read_text())
BEAT = Beat(
    number=77,
    role=Role.ACTIVE,
    epoch=7,
    health=Health(cameras=2, clock_ok=True, hot=False, rack_ok=True, publishing=True),
    cursors=(CameraCursor(1, 1_795_000_037_000_000_000), CameraCursor(2, 1_795_000_037_008_333_333)),
    seen=76,
    promise_ns=60_000_000,
    late=True,
    vouched=75,
    given=6,
    given_tag=bytes.fromhex(GOLDEN["given"]),
)
MESSAGES_OF_THE_VECTORS: dict[str, Message] = {
    "beat": BEAT,
    "beat_empty": Beat(1, Role.STANDBY, 0, Health()),
    "ask": Ask("claim", "goal-1", "pitch-a1", 7, 100_000_000, 42, 6, bytes.fromhex(GOLDEN["given"])),
    "grant": Grant(42, 8, 100_000_000),
    "denial": Denial(42, 8, "pitch-a2", 61_500_000, Reason.HELD),
    "confirm": Confirm(b"\1" * 8, b"\2" * 8, True),
}


def sealed(message: Message, path: int = 0, channel: int = 5, number: int = 9) -> bytes:
    kind, body = encode(message)
    return pack(kind, path, channel, number, body) + bytes(TAG_BYTES)


def fault_of(datagram: bytes) -> Fault:
    with pytest.raises(WireError) as caught:
        frame = split(datagram)
        if frame.kind is Kind.HELLO:
            unpack_hello(frame.body)
        else:
            decode(frame.kind, frame.body)
    return caught.value.kind


# --- golden bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGES_OF_THE_VECTORS)
def test_golden_messages_are_byte_for_byte_those_on_disk(name):
    frame = split(bytes.fromhex(GOLDEN["sealed"][name]))
    message = MESSAGES_OF_THE_VECTORS[name]
    assert decode(frame.kind, frame.body) == message
    assert encode(message) == (frame.kind, frame.body)


def test_the_golden_beat_decodes_without_our_code():
    data = bytes.fromhex(GOLDEN["sealed"]["beat"])
    head = struct.unpack_from("<3sBBBHQQ", data)
    assert head == (b"TLF", 1, 4, 1, 89, GOLDEN["channel"], 5)
    role, flags, cameras, *numbers, tag, count = struct.unpack_from("<BBHQQQQQQ16sB", data, 24)
    assert (role, flags, cameras, count) == (1, 0b1111010, 2, 2)
    assert numbers == [7, 77, 76, 60_000_000, 75, 6]  # epoch, number, seen, promise, vouched, given
    assert tag.hex() == GOLDEN["given"]
    assert struct.unpack_from("<HqHq", data, 93) == (1, 1_795_000_037_000_000_000, 2, 1_795_000_037_008_333_333)
    assert len(data) == 93 + 20 + 16


def test_golden_hello_and_lost():
    hello = Hello(bytes(range(1, 17)), bytes(range(0x41, 0x51)), "pitch-a1", b"DER")
    assert pack_hello(hello, 1).hex() == GOLDEN["hello"]
    assert unpack_hello(split(bytes.fromhex(GOLDEN["hello"])).body) == hello
    assert pack_lost(0x1122334455667788, 1).hex() == GOLDEN["lost"]
    assert len(bytes.fromhex(GOLDEN["lost"])) == 24


# --- round trips ----------------------------------------------------------------------------------------------------


@given(MESSAGES, st.integers(0, 3), U64, U64)
def test_what_is_packed_is_what_is_read(message, path, channel, number):
    kind, body = encode(message)
    datagram = pack(kind, path, channel, number, body) + b"t" * TAG_BYTES
    assert len(datagram) <= MAX_DATAGRAM_BYTES
    frame = split(datagram)
    assert frame == Frame(kind, path, channel, number, body, datagram[:-TAG_BYTES], b"t" * TAG_BYTES)
    assert decode(kind, body) == message


@given(HELLOS, st.integers(0, 3))
def test_a_hello_comes_back(hello, path):
    datagram = pack_hello(hello, path)
    assert len(datagram) <= MAX_DATAGRAM_BYTES
    frame = split(datagram)
    assert (frame.kind, frame.path, frame.channel, frame.number, frame.tag) == (Kind.HELLO, path, 0, 0, b"")
    assert unpack_hello(frame.body) == hello


# --- total on arbitrary bytes ---------------------------------------------------------------------------------------


def canonical(datagram: bytes) -> None:
    """Whatever can be read must be written the same: no two encodings of one value."""
    try:
        frame = split(datagram)
        if frame.kind is Kind.HELLO:
            assert pack_hello(unpack_hello(frame.body), frame.path) == datagram
        elif frame.kind is Kind.LOST:
            assert pack_lost(frame.channel, frame.path) == datagram
        else:
            assert encode(decode(frame.kind, frame.body)) == (frame.kind, frame.body)
    except WireError as error:
        assert isinstance(error.kind, Fault)


@given(st.binary(max_size=MAX_DATAGRAM_BYTES + 2))
def test_junk_is_an_error_with_a_kind(data):
    canonical(data)


@settings(max_examples=500)
@given(st.sampled_from(Kind), st.binary(max_size=200), st.integers(0, 255), U64, U64)
def test_a_true_head_before_junk(kind, body, path, channel, number):
    canonical(pack(kind, path, channel, number, body) + (b"" if kind in UNSEALED else bytes(TAG_BYTES)))


@settings(max_examples=500)
@given(MESSAGES, st.data())
def test_changed_bytes_are_an_error_or_another_message(message, data):
    datagram = bytearray(sealed(message))
    for _ in range(data.draw(st.integers(1, 3))):
        datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
    canonical(bytes(datagram))
    canonical(bytes(datagram[: data.draw(st.integers(0, len(datagram)))]))


def change(datagram: bytes, offset: int, value: bytes) -> bytes:
    return datagram[:offset] + value + datagram[offset + len(value) :]


HELLO = pack_hello(Hello(b"s" * 16, bytes(16), "pitch-a1", b"DER"), 0)
CLAIM = sealed(Ask("claim", "goal-1", "pitch-a1", 1, 1, 1))
BODY = HEAD.size


@pytest.mark.parametrize(
    ("datagram", "fault"),
    [
        (b"", Fault.SHORT),
        (bytes(23), Fault.SHORT),
        (bytes(MAX_DATAGRAM_BYTES + 1), Fault.LONG),
        (change(CLAIM, 0, b"TLB"), Fault.FOREIGN),
        (change(CLAIM, 3, b"\2"), Fault.VERSION),
        (change(CLAIM, 4, b"\0"), Fault.KIND),
        (change(CLAIM, 4, b"\x0a"), Fault.KIND),
        (change(CLAIM, 5, b"\4"), Fault.FIELD),
        (CLAIM[:-1], Fault.LENGTH),
        (CLAIM + b"\0", Fault.LENGTH),
        (change(CLAIM, BODY, b"\3"), Fault.FIELD),
        (change(CLAIM, BODY + 1, b"Goal"), Fault.FIELD),
        (change(CLAIM, BODY + 1, bytes(16)), Fault.FIELD),
        (change(CLAIM, BODY + 4, b"\0"), Fault.FIELD),  # a hole in a name
        (change(CLAIM, BODY + 40, b"\x80"), Fault.FIELD),  # an epoch over 2**63 - 1
        (change(CLAIM, BODY + 48, b"\x80"), Fault.FIELD),  # and one given back
        (change(sealed(BEAT), BODY + 51, b"\x80"), Fault.FIELD),
        (change(HELLO, 8, b"\1"), Fault.FIELD),
        (change(HELLO, 16, b"\1"), Fault.FIELD),
        (change(HELLO, BODY, bytes(16)), Fault.FIELD),
        (change(HELLO, BODY + 48, b"\2"), Fault.LENGTH),
        (pack(Kind.HELLO, 0, 0, 0, b"short"), Fault.LENGTH),
        (pack(Kind.HELLO, 0, 0, 0, b"s" * 16 + bytes(16) + b"a".ljust(16, b"\0") + bytes(2)), Fault.FIELD),
        (pack(Kind.LOST, 0, 1, 1, b""), Fault.FIELD),
        (pack(Kind.LOST, 0, 1, 0, b"x"), Fault.LENGTH),
        (change(sealed(BEAT), BODY, b"\2"), Fault.FIELD),
        (change(sealed(BEAT), BODY + 1, b"\x80"), Fault.FIELD),
        (change(sealed(BEAT), BODY + 68, b"\3"), Fault.LENGTH),
        (change(sealed(BEAT), BODY + 79, b"\1\0"), Fault.FIELD),  # the same camera twice
        (sealed(Confirm(bytes(8), bytes(8), False)), Fault.FIELD),
        (change(sealed(Confirm(b"1" * 8, bytes(8), False)), BODY + 16, b"\2"), Fault.FIELD),
        (change(sealed(Grant(1, 1, 1)), BODY, b"\2"), Fault.FIELD),
        (change(sealed(Grant(1, 1, 1)), BODY + 1, b"\1"), Fault.FIELD),
        (change(sealed(Denial(1, 1, "a", 1)), BODY + 1, b"\6"), Fault.FIELD),
        (pack(Kind.BEAT, 0, 1, 1, b"") + bytes(16), Fault.LENGTH),
        (pack(Kind.ASK, 0, 1, 1, b"") + bytes(16), Fault.LENGTH),
        (pack(Kind.ANSWER, 0, 1, 1, b"") + bytes(16), Fault.LENGTH),
        (pack(Kind.CONFIRM, 0, 1, 1, b"") + bytes(16), Fault.LENGTH),
        (pack_lost(1, 0), Fault.KIND),  # has nothing to decode
    ],
)
def test_each_fault_has_its_kind(datagram, fault):
    assert fault_of(datagram) is fault


def test_a_beat_with_more_cursors_than_cameras_is_a_bug_here():
    with pytest.raises(ValueError, match="17 cursors"):
        encode(Beat(1, Role.ACTIVE, 1, Health(), tuple(CameraCursor(n, 0) for n in range(17))))


def test_the_largest_of_all_fit():
    most = Beat(2**64 - 1, Role.ACTIVE, 2**63 - 1, Health(16, True, True, True, True))
    full = Beat(most.number, most.role, most.epoch, most.health, tuple(CameraCursor(n, -(2**63)) for n in range(16)))
    assert len(sealed(full)) == 24 + 69 + 160 + 16
    assert len(pack_hello(Hello(b"s" * 16, b"h" * 16, "n" * 16, bytes(1024)), 0)) == 1098 <= MAX_DATAGRAM_BYTES

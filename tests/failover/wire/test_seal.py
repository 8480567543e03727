"""A channel's keys and tags: golden, against RFC 5869 written out by hand, and what must not verify."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.wire.beats import Kind, Message, WireError, decode, encode, split
from failover.wire.seal import Channel, End, derive
from tests.failover.wire.test_beats import BEAT, GOLDEN, MESSAGES_OF_THE_VECTORS

SECRET = bytes.fromhex(GOLDEN["secret"])
A = End("pitch-a1", bytes.fromhex(GOLDEN["sessions"][0]))
B = End("pitch-a2", bytes.fromhex(GOLDEN["sessions"][1]))

SESSIONS = st.binary(min_size=16, max_size=16)


def channels(secret: bytes = SECRET, a: End = A, b: End = B) -> tuple[Channel, Channel]:
    return Channel(derive(secret, a, b), b.session, b"\1" * 8), Channel(derive(secret, b, a), a.session, b"\2" * 8)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869, sections 2.2 and 2.3."""
    key, made, block = hmac.new(salt, secret, hashlib.sha256).digest(), b"", b""
    for counter in range(1, 255):
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha256).digest()
        made += block
        if len(made) >= size:
            break
    return made[:size]


def test_the_keys_are_hkdf_over_both_sessions_and_both_names():
    made = hkdf_sha256(SECRET, A.session + B.session, b"touchline failover\x01\x08pitch-a1\x08pitch-a2", 72)
    keys = derive(SECRET, A, B)
    assert (keys.sending, keys.receiving) == (made[:32], made[32:64])
    assert keys.channel == int.from_bytes(made[64:], "little")
    assert (keys.channel, keys.sending.hex(), keys.receiving.hex()) == (
        GOLDEN["channel"],
        GOLDEN["sending"],
        GOLDEN["receiving"],
    )


@pytest.mark.parametrize(("name", "path", "number"), [("beat", 1, 5), ("beat_empty", 0, 1), ("ask", 0, 9)])
def test_golden_datagrams_are_byte_for_byte_those_on_disk(name, path, number):
    ours, theirs = channels()
    data = bytes.fromhex(GOLDEN["sealed"][name])
    kind, body = encode(MESSAGES_OF_THE_VECTORS[name])
    assert ours.seal(kind, path, number, body) == data
    assert data[-16:] == hmac.new(ours.keys.sending, data[:-16], hashlib.sha256).digest()[:16]
    frame = split(data)
    assert theirs.verify(frame)
    assert decode(frame.kind, frame.body) == MESSAGES_OF_THE_VECTORS[name]


def test_the_golden_word_of_a_lease_given_back():
    ours, theirs = channels()
    said = b"given " + b"goal-1".ljust(16, b"\0") + (6).to_bytes(8, "little")
    tag = hmac.new(ours.keys.sending, said, hashlib.sha256).digest()[:16]
    assert ours.give("goal-1", 6) == tag == bytes.fromhex(GOLDEN["given"])
    assert theirs.gave("goal-1", 6, tag)


@given(st.sampled_from(["goal-1", "goal-2"]), st.integers(0, 2**62), SESSIONS)
def test_the_word_is_of_one_pair_epoch_session_and_direction(pair, epoch, session):
    ours, theirs = channels()
    tag = ours.give(pair, epoch)
    assert theirs.gave(pair, epoch, tag) and not ours.gave(pair, epoch, tag)
    assert not theirs.gave(pair, epoch + 1, tag) and not theirs.gave("goal-3", epoch, tag)
    if session != A.session:
        assert not channels(a=End("pitch-a1", session))[1].gave(pair, epoch, tag)
    if session != B.session:
        assert not channels(b=End("pitch-a2", session))[1].gave(pair, epoch, tag)


def test_both_ends_agree_and_each_direction_has_its_own_key():
    ours, theirs = channels()
    assert (ours.keys.sending, ours.keys.receiving) == (theirs.keys.receiving, theirs.keys.sending)
    assert ours.keys.sending != ours.keys.receiving
    frame = split(ours.seal(*_first(BEAT)))
    assert theirs.verify(frame)
    assert not ours.verify(frame), "a datagram sent back to its sender must not verify"


def _first(message: Message) -> tuple[Kind, int, int, bytes]:
    kind, body = encode(message)
    return kind, 0, 1, body


@given(SESSIONS, SESSIONS, SESSIONS)
def test_another_session_of_either_side_is_another_key(one, two, three):
    there = channels(a=End("a", one), b=End("b", two))[0]
    frame = split(there.seal(*_first(BEAT)))
    assert channels(a=End("a", one), b=End("b", two))[1].verify(frame)
    if three != two:
        assert not channels(a=End("a", one), b=End("b", three))[1].verify(frame)
    if three != one:
        assert not channels(a=End("a", three), b=End("b", two))[1].verify(frame)


@pytest.mark.parametrize(("a", "b"), [("pitch-a", "1b"), ("pitch-a1", "c"), ("b", "pitch-a1")])
def test_other_names_are_another_key(a, b):
    theirs = derive(SECRET, End(b, B.session), End(a, A.session))
    assert theirs.receiving != derive(SECRET, A, B).sending


def test_another_secret_is_another_key():
    ours, theirs = channels()[0], channels(secret=bytes(32))[1]
    assert not theirs.verify(split(ours.seal(*_first(BEAT))))


@given(st.data())
def test_no_changed_bit_verifies(data):
    ours, theirs = channels()
    datagram = bytearray(ours.seal(*_first(BEAT)))
    bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    try:
        frame = split(bytes(datagram))
    except WireError:  # the head itself was hit
        return
    assert not theirs.verify(frame)

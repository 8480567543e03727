"""Whatever comes over the socket: one typed error or a message, never anything else. TOUCHLINE_CAMPAIGN=1 for more."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.clock.management.datasets import DATA_SETS
from agent.clock.management.errors import WireError
from agent.clock.management.inbox import Inbox, Question
from agent.clock.management.layout import decode_data, encode_data
from agent.clock.management.values import ClockIdentity
from agent.clock.management.wire import MAX_MESSAGE, Management, decode, encode
from tests.agent.clock.management.golden import DATAGRAMS

CAMPAIGN = 200_000
NOBODY = ClockIdentity(b"capture!")  # whom the golden answers were sent to


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A golden answer with octets changed, cut out, doubled, cut off or added."""
    raw = bytearray(draw(st.sampled_from(DATAGRAMS)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del raw[place : place + draw(st.integers(1, 8))]
            case 2:
                raw[place:place] = raw[place : place + draw(st.integers(1, 16))]
            case 3:
                del raw[place:]
            case _:
                raw += draw(st.binary(max_size=20))
    if draw(st.booleans()) and len(raw) >= 4:
        raw[2:4] = len(raw).to_bytes(2, "big")  # so that more gets past messageLength
    return bytes(raw)


octets = st.one_of(st.binary(max_size=400), mutated(), mutated(), mutated())


def look(raw: bytes) -> None:
    """Read it in every way; what was read is written and read again."""
    inbox = Inbox(NOBODY)
    inbox.expect([Question(1, 1, number) for number in DATA_SETS])
    inbox.accept(raw, 0)
    try:
        message = decode(raw)
    except WireError as error:
        assert str(error)
        return
    assert decode(encode(message)) == message
    if not isinstance(message.body, Management):
        return
    for kind in DATA_SETS.values():
        try:
            data_set = decode_data(kind, message.body.data)
        except WireError as error:
            assert kind.NAME in str(error)
        else:
            assert decode_data(kind, encode_data(data_set)) == data_set


@settings(max_examples=300)
@given(octets)
@example(b"")
@example(b"\xff" * (MAX_MESSAGE + 1))
def test_any_octets_give_a_message_or_the_one_error(raw):
    look(raw)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get("TOUCHLINE_CAMPAIGN"), reason=f"{CAMPAIGN} examples: TOUCHLINE_CAMPAIGN=1")
@settings(max_examples=CAMPAIGN, suppress_health_check=list(HealthCheck), deadline=None)
@given(octets)
def test_a_great_many_octets_give_a_message_or_the_one_error(raw):
    look(raw)

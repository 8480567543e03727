"""Whether the broker acknowledges: from TCP's books and PUBACKs, and what that makes of two nodes. Pure, time given."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.publish.pulse import (
    NO_LINK,
    STALLED,
    TCP_INFO_BYTES,
    UNHEARD,
    Pulse,
    TcpSigns,
    read_tcp_info,
)

MS = 1_000_000
IDLE = TcpSigns(0, 5_000)


def good(now_ms: int = 5_000) -> Pulse:
    """Linked and acknowledged for a long time."""
    pulse = Pulse(0)
    pulse.look(1, linked=True, waiting=0, heard=True, tcp=IDLE)
    pulse.look(now_ms * MS, linked=True, waiting=0, heard=False, tcp=IDLE)
    assert pulse.trouble(now_ms * MS, active=False) == ""
    return pulse


def stall(pulse: Pulse, from_ms: int, until_ms: int) -> None:
    """TCP gets no ACK for what was sent at ``from_ms``; it is looked at every 10 ms."""
    for now_ms in range(from_ms, until_ms + 1, 10):
        tcp = TcpSigns(3, now_ms - from_ms + 2)
        pulse.look(now_ms * MS, linked=True, waiting=1, heard=False, tcp=tcp)


def test_data_without_an_ack_for_300_ms_is_a_stall_and_a_reason_to_connect_anew():
    pulse = good()
    stall(pulse, 5_000, 5_290)
    assert not pulse.should_redial(5_290 * MS)
    assert pulse.trouble(5_290 * MS, active=False) == ""
    stall(pulse, 5_000, 5_300)
    assert pulse.trouble(5_300 * MS, active=False) == STALLED
    assert pulse.should_redial(5_300 * MS)
    assert not pulse.should_redial(5_310 * MS)
    pulse.redialled(5_550 * MS)
    assert not pulse.should_redial(5_649 * MS)
    assert pulse.should_redial(5_650 * MS)


def test_what_was_sent_a_moment_ago_on_an_idle_connection_is_no_stall():
    """The last ACK is as old as what was sent before, and says nothing of what was sent now."""
    pulse = good()
    pulse.look(5_010 * MS, linked=True, waiting=1, heard=False, tcp=TcpSigns(1, 9_000))
    pulse.look(5_200 * MS, linked=True, waiting=1, heard=False, tcp=TcpSigns(1, 9_190))
    assert pulse.trouble(5_200 * MS, active=False) == ""


def test_a_steady_flow_always_has_something_under_way():
    pulse = good()
    for now_ms in range(5_000, 9_000, 10):
        pulse.look(now_ms * MS, linked=True, waiting=2, heard=True, tcp=TcpSigns(2, 1))
    assert pulse.trouble(9_000 * MS, active=False) == ""


def test_a_broker_that_hangs_is_no_reason_to_connect_anew():
    pulse = good()
    for now_ms in range(5_000, 6_001, 10):
        pulse.look(now_ms * MS, linked=True, waiting=1, heard=False, tcp=TcpSigns(0, 3))
    assert pulse.trouble(6_000 * MS, active=False) == UNHEARD
    assert not pulse.should_redial(6_000 * MS)
    pulse.look(6_010 * MS, linked=True, waiting=1, heard=True, tcp=TcpSigns(0, 3))
    assert pulse.trouble(6_010 * MS, active=True) == ""


def test_a_publisher_begins_without_a_connection():
    pulse = Pulse(0)
    assert pulse.trouble(0, active=False) == NO_LINK
    assert not pulse.should_redial(10_000 * MS)  # the usual attempts go on


def test_an_active_node_has_patience_and_a_standby_is_believed_later():
    pulse = good()
    pulse.look(5_010 * MS, linked=False, waiting=0, heard=False, tcp=None)
    assert pulse.trouble(5_010 * MS, active=False) == NO_LINK
    assert pulse.trouble(6_009 * MS, active=True) == ""
    assert pulse.trouble(6_010 * MS, active=True) == NO_LINK
    pulse.look(7_000 * MS, linked=True, waiting=0, heard=False, tcp=IDLE)
    assert pulse.trouble(7_000 * MS, active=True) == ""
    assert "not for long" in pulse.trouble(8_999 * MS, active=False)
    assert pulse.trouble(9_000 * MS, active=False) == ""


FATES = st.sampled_from(["killed", "hangs", "cut"])


TIMES = st.tuples(st.integers(0, 499), st.integers(0, 39), st.integers(0, 1_000), st.integers(0, 50))


@given(FATES, st.integers(20, 6_000), TIMES)
def test_what_goes_wrong_at_the_rack_never_makes_the_standby_look_better(fate, lasts_ms, times):
    """Both look every 10 ms. The active one sends each 40 ms, the standby its health each 500; after a kill the active
    one dials again within a second of the broker's return, the standby maybe at once."""
    health_ms, frame_ms, a_ms, b_ms = times
    active, standby = good(), good()
    dies_ms, back_ms = 10_000, 10_000 + lasts_ms
    for now_ms in range(5_010, back_ms + 4_000, 10):
        for pulse, every_ms, phase_ms, again_ms in ((active, 40, frame_ms, a_ms), (standby, 500, health_ms, b_ms)):
            first_ms = dies_ms + (phase_ms - dies_ms) % every_ms
            gone = dies_ms <= now_ms < back_ms
            mute = fate != "killed" and gone and now_ms >= first_ms
            pulse.look(
                now_ms * MS,
                linked=fate != "killed" or not dies_ms <= now_ms < back_ms + again_ms,
                waiting=1 if mute else 0,
                heard=not mute,
                tcp=TcpSigns(1, now_ms - first_ms) if mute and fate == "cut" else TcpSigns(0, 1),
            )
        worse = active.trouble(now_ms * MS, active=True)
        assert not worse or standby.trouble(now_ms * MS, active=False), f"at {now_ms - dies_ms} ms: {worse}"


def test_the_kernels_words():
    """Of a living connection: what nobody has read is acknowledged all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            near.sendall(b"x" * 100)
            data = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    signs = read_tcp_info(data)
    assert signs is not None and signs.unacked <= 1 and signs.silent_ms < 60_000


@pytest.mark.parametrize(("unacked", "silent_ms"), [(0, 0), (7, 1234)])
def test_where_the_kernel_says_it(unacked, silent_ms):
    words = [0] * 13
    words[4], words[12] = unacked, silent_ms
    assert read_tcp_info(bytes(8) + struct.pack("=13I", *words)) == TcpSigns(unacked, silent_ms)
    assert read_tcp_info(bytes(TCP_INFO_BYTES - 1)) is None

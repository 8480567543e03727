"""The tap: leases and roles from the datagrams themselves, by whoever sent them."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from failover.core.types import Beat, Health, Role
from failover.wire.beats import TAG_BYTES, Ask, Denial, Grant, Kind, Message, encode, pack
from hil.failover.judge import Lease
from hil.failover.tap import Packet, Said, TapLog, read_packet, read_tap

NAMES = {"198.51.100.11": "node-a", "198.51.100.12": "node-b"}
FIT = Health(1, True, False, True, True)


def frame(message: Message, source: str = "198.51.100.1", target: str = "198.51.100.11") -> bytes:
    kind, body = encode(message)
    datagram = pack(kind, 0, 99, 1, body) + bytes(TAG_BYTES)
    udp = struct.pack("!HHHH", 7401, 7400, 8 + len(datagram), 0) + datagram
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    return bytes(12) + b"\x08\x00" + head + socket.inet_aton(source) + socket.inet_aton(target) + udp


def test_a_grant_is_read_with_its_target():
    grant = Grant(7, 3, 100)
    assert read_packet(frame(grant)) == Packet("198.51.100.1", "198.51.100.11", grant)


def test_other_traffic_is_passed_over():
    assert read_packet(b"") is None
    assert read_packet(bytes(60)) is None
    hello = frame(Grant(1, 1, 1)).replace(b"TLF", b"XYZ")
    assert read_packet(hello) is None
    tcp = bytearray(frame(Grant(1, 1, 1)))
    tcp[23] = socket.IPPROTO_TCP
    assert read_packet(bytes(tcp)) is None


@given(st.binary(max_size=120), st.integers(0, 120))
def test_any_frame_is_read_or_passed_over(noise: bytes, cut: int):
    whole = frame(Beat(1, Role.ACTIVE, 2, FIT))
    read_packet(noise)
    read_packet(whole[:cut] + noise)


def test_a_lease_counts_from_when_its_node_asked():
    log = TapLog(NAMES)
    log.left_node(1_000, "node-a", Ask("claim", "pair-1", "node-a", 0, 500, 7))
    log.left_rack(1_300, "198.51.100.11", Grant(7, 3, 500))
    log.left_rack(1_400, "198.51.100.99", Grant(8, 3, 500))  # nobody of ours
    log.left_rack(1_500, "198.51.100.12", Denial(1, 3, "node-a", 100))
    tapped = read_tap(log.take().splitlines())
    assert tapped.leases == (Lease("node-a", 3, 1_300, 1_500),)
    assert [(one.node, one.epoch, one.at_ns) for one in tapped.takeovers()] == [("node-a", 3, 1_300)]


def test_a_grant_that_leaves_after_its_own_end_is_no_lease():
    log = TapLog(NAMES)
    log.left_node(1_000, "node-a", Ask("claim", "pair-1", "node-a", 0, 500, 7))
    log.left_rack(1_500, "198.51.100.11", Grant(7, 3, 500))
    assert read_tap(log.take().splitlines()).leases == ()


def test_a_lease_that_is_given_back_ends_then():
    log = TapLog(NAMES)
    log.left_rack(100, "198.51.100.11", Grant(7, 3, 500))
    log.came_to_rack(200, Ask("look", "pair-1", "node-a", 3, 0, 8))
    log.came_to_rack(250, Ask("release", "pair-1", "node-a", 3, 0, 9))
    log.left_rack(251, "198.51.100.12", Grant(1, 4, 500))
    assert read_tap(log.take().splitlines()).leases == (Lease("node-a", 3, 100, 250), Lease("node-b", 4, 251, 751))


def test_a_lease_that_is_given_back_through_the_twin_ends_when_its_holder_says_so():
    log = TapLog(NAMES)
    log.left_rack(100, "198.51.100.11", Grant(7, 3, 500))
    for at_ns in (250, 251, 270):  # on the other path too, and again
        log.left_node(at_ns, "node-a", Beat(at_ns, Role.ACTIVE, 3, FIT, given=3))
    lines = log.take().splitlines()
    assert read_tap(lines).leases == (Lease("node-a", 3, 100, 250),)
    assert sum("release" in line for line in lines) == 1


def test_roles_are_said_when_they_are_new():
    log = TapLog(NAMES)
    for at_ns, role in ((1, Role.STANDBY), (2, Role.STANDBY), (3, Role.ACTIVE), (4, Role.ACTIVE)):
        log.left_node(at_ns, "node-b", Beat(at_ns, role, 2, FIT))
    roles = read_tap([*log.take().splitlines(), '{"kind": "ro']).roles
    assert roles == (Said("node-b", 1, "standby", 2, True), Said("node-b", 3, "active", 2, True))


def test_kinds_that_are_not_sealed_are_left_alone():
    lost = pack(Kind.LOST, 0, 99, 0, b"")
    raw = frame(Grant(1, 1, 1))
    assert read_packet(raw[:42] + lost) is None

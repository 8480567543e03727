"""Announcements: golden frames, checksums, the schedule; and a third machine's neighbour table on real kernels."""

from __future__ import annotations

import errno
import ipaddress
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.actions.address import VirtualAddress, parse_addresses
from failover.actions.announce import (
    BURST_MS,
    TAIL_MS,
    Announcement,
    PacketSocket,
    advertisement_frame,
    arp_frame,
    frames,
    internet_checksum,
)
from tests.failover.actions.net import wait_until
from touchline.errors import HardwareError, LinkError

DEADLINE_S = 30.0
LONG_S = 60
MAC = bytes.fromhex("02005e100001")
V4, V6 = ipaddress.IPv4Address("192.0.2.10"), ipaddress.IPv6Address("2001:db8::10")


def is_unicast(mac: bytes) -> bool:
    return mac[0] % 2 == 0 and mac != bytes(6)


GOLDEN_REQUEST = (
    "ffffffffffff 02005e100001 0806"  # to all, from us, ARP
    "0001 0800 06 04 0001"  # Ethernet, IPv4, request
    "02005e100001 c000020a"  # sender
    "000000000000 c000020a" + "00" * 18  # target: unknown, and the same address
)
GOLDEN_REPLY = GOLDEN_REQUEST.replace("06 04 0001", "06 04 0002").replace("000000000000 c0", "02005e100001 c0")
GOLDEN_ADVERTISEMENT = (
    "333300000001 02005e100001 86dd"
    "60000000 0020 3a ff"  # IPv6, 32 bytes, ICMPv6, hop limit 255
    "20010db8000000000000000000000010"
    "ff020000000000000000000000000001"
    "88 00 9afc 20000000"  # advertisement, checksum (added up by hand), override alone
    "20010db8000000000000000000000010"
    "02 01 02005e100001"  # target link-layer address
)


def test_golden_frames():
    assert arp_frame(MAC, V4, 1).hex() == GOLDEN_REQUEST.replace(" ", "")
    assert arp_frame(MAC, V4, 2).hex() == GOLDEN_REPLY.replace(" ", "")
    assert advertisement_frame(MAC, V6).hex() == GOLDEN_ADVERTISEMENT.replace(" ", "")
    both = frames(MAC, parse_addresses("192.0.2.10/24,2001:db8::10/64"))
    assert both == (arp_frame(MAC, V4, 1), arp_frame(MAC, V4, 2), advertisement_frame(MAC, V6))
    assert all(len(one) >= 60 for one in both)


@given(st.binary(max_size=200))
def test_a_checksum_put_in_makes_the_sum_zero(data):
    data += bytes(len(data) % 2)
    assert internet_checksum(data + internet_checksum(data).to_bytes(2, "big")) == 0


@given(st.binary(min_size=6, max_size=6).filter(is_unicast), st.ip_addresses(v=6))
def test_every_advertisement_has_a_right_checksum(mac, address):
    packet = advertisement_frame(mac, address)[14:]
    pseudo = packet[8:40] + (len(packet) - 40).to_bytes(4, "big") + bytes([0, 0, 0, 58])
    assert internet_checksum(pseudo + packet[40:]) == 0


@pytest.mark.parametrize("mac", [b"", bytes(6), b"\xff" * 6, b"\x01" + bytes(5), bytes(20)])
def test_what_is_no_mac_address_is_refused(mac):
    with pytest.raises(ValueError, match="no Ethernet address"):
        arp_frame(mac, V4, 1)


def test_five_times_in_100_ms_and_then_until_a_hung_twin_has_lost_its_address():
    assert BURST_MS[0] == 0 and BURST_MS[-1] <= 100
    assert TAIL_MS[-1] >= 3_000  # life of 2 s and what the kernel rounds (test_address_system)
    plan, sent = Announcement(1_000), []
    for now_ms in range(5_000):
        if plan.due(1_000 + now_ms * 1_000_000):
            sent.append(now_ms)
    assert tuple(sent) == (*BURST_MS, *TAIL_MS)
    assert plan.next_ns is None
    plan.refresh(10**10)
    assert plan.next_ns == 10**10 + 30 * 10**9


@given(st.lists(st.integers(0, 6_000_000_000), min_size=1, max_size=60))
def test_a_late_loop_sends_once_and_never_a_burst(moments):
    plan, sent = Announcement(0), 0
    for now_ns in sorted(moments):
        sent += plan.due(now_ns)
        assert not plan.due(now_ns)
        assert plan.next_ns is None or plan.next_ns > now_ns
    assert sent <= len(BURST_MS) + len(TAIL_MS)


@pytest.mark.system
def test_a_third_machine_learns_the_new_owner_at_once(three, monkeypatch):
    monkeypatch.setattr("failover.actions.address.LIFETIME_S", LONG_S)  # what A has goes for no pause of ours
    texts = ("192.0.2.10/24", "2001:db8::10/64")
    address = VirtualAddress(parse_addresses(",".join(texts)), "eth0", lifetime_s=LONG_S)
    three.inside("a", address.hold)

    def talk() -> None:
        for family, to in ((socket.AF_INET, str(V4)), (socket.AF_INET6, str(V6))):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", (to, 9))

    def is_of(host: str, to: object) -> bool:
        return bool(three.neighbour("c", str(to)) == three.mac(host))

    three.inside("c", talk)
    for to in (V4, V6):
        wait_until(partial(is_of, "a", to), DEADLINE_S, f"{to} is A's")
    held = three.inside("b", address.hold)  # and A still holds it, as a hung node would
    assert three.neighbour("c", str(V4)) == three.mac("a")

    def announce() -> int:
        sender = PacketSocket("eth0")
        left = sender.send(frames(held.link.mac, held.new))
        sender.close()
        return left

    assert three.inside("b", announce) == 3
    for to in (V4, V6):
        wait_until(partial(is_of, "b", to), DEADLINE_S, f"{to} is B's")  # C sends nothing: nothing else can tell it


@pytest.mark.system
@pytest.mark.parametrize("form", [1, 2])
def test_each_form_of_arp_does_it_alone(three, form):
    address = VirtualAddress(parse_addresses("192.0.2.10/24"), "eth0")
    three.ip("c", "neighbour", "replace", str(V4), "lladdr", three.mac("a"), "dev", "eth0", "nud", "stale")
    held = three.inside("b", address.hold)

    def announce() -> None:
        sender = PacketSocket("eth0")
        sender.send([arp_frame(held.link.mac, V4, form)])
        sender.close()

    three.inside("b", announce)
    wait_until(lambda: three.neighbour("c", str(V4)) == three.mac("b"), DEADLINE_S)


@pytest.mark.system
def test_errors_say_what_to_do(three):
    with pytest.raises(HardwareError, match="no interface eth7"):
        three.inside("a", lambda: PacketSocket("eth7"))
    sender = three.inside("a", lambda: PacketSocket("eth0"))
    three.ip("a", "link", "set", "eth0", "down")
    with pytest.raises(LinkError, match="switched off") as caught:
        three.inside("a", lambda: sender.send([arp_frame(MAC, V4, 1)]))
    assert caught.value.hint == "ip link set eth0 up"
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENETDOWN
    sender.close()


@pytest.mark.system
def test_without_the_capability_the_unit_is_named():
    code = (
        "from failover.actions.announce import PacketSocket\n"
        "from touchline.errors import ResourceError\n"
        "try:\n    PacketSocket('lo')\n"
        "except ResourceError as error:\n    assert 'CAP_NET_RAW' in error.hint; print('refused')\n"
    )
    argv = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "refused", done.stderr

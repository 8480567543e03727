"""The virtual address on real kernels: taken, renewed, fenced, refused."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess

import pytest

from failover.actions.address import VirtualAddress, parse_addresses
from tests.failover.actions.net import ThreeHosts
from touchline.errors import HardwareError, LinkError, ResourceError, TouchlineError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system
LONG_S = 60
V4, V6 = "192.0.2.10/24", "2001:db8::10/64"


def on(host: ThreeHosts, name: str, text: str, interface: str = "eth0", lifetime_s: int = 2) -> VirtualAddress:
    return VirtualAddress(parse_addresses(text), interface, lifetime_s=lifetime_s)


@pytest.fixture
def long(monkeypatch):
    """Addresses that do not go because somebody here is not run for two seconds."""
    monkeypatch.setattr("failover.actions.address.LIFETIME_S", LONG_S)


def test_taken_renewed_and_dropped_in_both_families(three, long):
    address = on(three, "a", f"{V4}, {V6}", lifetime_s=LONG_S)
    held = three.inside("a", address.hold)
    assert [str(one) for one in held.new] == [V4, V6] and held.renewed == ()
    assert held.link.mac.hex(":") == three.mac("a") and held.link.carrier
    shown = three.ip("a", "address", "show", "dev", "eth0")
    lines = shown.splitlines()
    for text in (V4, V6):
        place = next(n for n, line in enumerate(lines) if f" {text} " in line)
        life = re.search(r"valid_lft (\d+)sec preferred_lft 0sec", lines[place + 1])
        assert life is not None and 0 < int(life[1]) <= LONG_S, shown
        assert "tentative" not in lines[place]
    again = three.inside("a", address.hold)
    assert again.new == () and [str(one) for one in again.renewed] == [V4, V6]
    assert [str(one) for one in three.inside("a", address.drop)] == [V4, V6]
    assert not three.has("a", V4) and not three.has("a", V6)
    assert three.has("a", "192.0.2.1/24") and three.has("a", "2001:db8::1/64")
    assert three.inside("a", address.drop) == ()


def test_a_process_of_ours_before_this_one_is_no_stranger(three, long):
    three.inside("a", on(three, "a", V4, lifetime_s=LONG_S).hold)
    assert [str(one) for one in three.inside("a", on(three, "a", V4).hold).renewed] == [V4]


@pytest.mark.parametrize("lifetime", ["forever", "3600"])
@pytest.mark.parametrize("text", [V4, V6])
def test_an_address_that_somebody_else_gave_is_neither_taken_nor_removed(three, text, lifetime):
    three.ip("a", "address", "add", text, "dev", "eth0", "valid_lft", lifetime, "preferred_lft", lifetime)
    with pytest.raises(LinkError, match="we did not put it there") as caught:
        three.inside("a", on(three, "a", text).hold)
    assert f"ip address del {text} dev eth0" in caught.value.hint
    assert three.inside("a", on(three, "a", text).drop) == ()
    assert three.has("a", text)


def test_on_another_interface_or_with_another_prefix_it_is_a_strangers_too(three):
    three.ip("a", "address", "add", "192.0.2.10/32", "dev", "lo")
    with pytest.raises(LinkError, match=r"192\.0\.2\.10/32 is on lo for ever"):
        three.inside("a", on(three, "a", V4).check)


def test_a_missing_interface_names_those_that_there_are(three):
    with pytest.raises(HardwareError, match="no interface eth7") as caught:
        three.inside("a", on(three, "a", V4, "eth7").hold)
    assert caught.value.hint == "set [failover] address_interface to one of: eth0"
    assert three.inside("a", on(three, "a", V4, "eth7").drop) == ()


def test_without_the_capability_the_unit_is_named(three):
    def powerless() -> None:
        # of this thread alone: capget(2)/capset(2) with empty sets
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0
        for what in (on(three, "a", V4).hold, on(three, "a", V4).check):
            with pytest.raises(ResourceError, match="may not change addresses") as caught:
                what()
            assert "CAP_NET_ADMIN" in caught.value.hint

    three.inside("a", powerless)


def test_ipv6_switched_off_says_how_to_switch_it_on(three):
    subprocess.run(
        ["ip", "netns", "exec", three.names["a"], "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"], check=True
    )
    with pytest.raises(TouchlineError, match="2001:db8::10/64 on eth0") as caught:
        three.inside("a", on(three, "a", V6).hold)
    assert "disable_ipv6=0" in caught.value.hint


def test_check_changes_nothing_and_warns(three):
    assert three.inside("a", on(three, "a", V4).check) == []
    assert not three.has("a", V4)
    subprocess.run(
        ["ip", "netns", "exec", three.names["a"], "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=0"],
        check=True,
    )
    subprocess.run(
        ["ip", "netns", "exec", three.names["a"], "sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=0"],
        check=True,
    )
    warned = three.inside("a", on(three, "a", "198.51.100.7/24").check)
    assert len(warned) == 1 and "promote_secondaries=1" in warned[0]
    three.ip("a", "link", "set", "eth0", "down")
    assert any("switched off" in one for one in three.inside("a", on(three, "a", V4).check))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_the_kernel_takes_the_address_from_a_service_that_is_dead_or_hangs(three, sent):
    process = three.start("a", "-m", "tests.failover.actions.holder", "eth0", f"{V4},{V6}", stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(3):
        renewed_ns = int(process.stdout.readline())
    os.kill(process.pid, sent)
    if sent == signal.SIGSTOP:
        os.waitpid(process.pid, os.WUNTRACED)
    else:
        process.wait()
    dead_ns = seen_ns = monotonic_ns()  # it has renewed nothing since
    held = {V4, V6}
    while held:
        assert seen_ns - dead_ns < 3.6e9, f"{held} still there"
        seen_ns = monotonic_ns()
        gone = {text for text in held if not three.has("a", text)}
        assert not gone or monotonic_ns() - renewed_ns > 1.9e9, f"{gone} gone too early"
        held -= gone
    if sent == signal.SIGSTOP:
        os.kill(process.pid, signal.SIGCONT)


def test_a_renewed_address_stays_and_an_ipv6_flush_is_mended(three, long):
    address = on(three, "a", f"{V4},{V6}", lifetime_s=LONG_S)
    three.inside("a", address.hold)
    three.ip("a", "link", "set", "eth0", "down")
    three.ip("a", "link", "set", "eth0", "up")
    assert not three.has("a", V6)  # the kernel drops IPv6 addresses of an interface that is switched off
    assert [str(one) for one in three.inside("a", address.hold).new] == [V6]

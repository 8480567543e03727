"""What we write, told to the real ptp4l and phc2sys; ``TOUCHLINE_PTP4L=/path/ptp4l`` for another than the system's.

Software stamps, free running, namespaces of our own: the machine's clock is never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from agent.clock.linuxptp import find_ptp4l, phc2sys_args, ptp4l_conf, settings_of
from tests.agent.clock.linuxptp.network import PTP4L, Network
from tests.agent.clock.linuxptp.sections import clock
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PTP4L.exists(), reason="linuxptp is not installed here"),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="namespaces need root and iproute2"),
]

REFUSALS = r"unknown option|failed to parse|bad value|out of range|deprecated|could not|usage:|[Ff]ailed"
UP = r"port 0\b.*INITIALIZING to LISTENING"  # port 0 is the management socket, the last of all
PROFILES = ("default", "gptp", "smpte2059-2")
ROLES = ("follower", "grandmaster")


@pytest.fixture
def network():
    with Network() as both:
        yield both


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("role", ROLES)
def test_ptp4l_takes_every_profile_and_role(network, profile, role):
    program = network.ptp4l(profile=profile, role=role)
    program.wait_for(UP)
    network.stop(program)
    assert not re.search(REFUSALS, program.said), program.said


@pytest.mark.parametrize("transport", ["L2", "UDPv4", "UDPv6"])
@pytest.mark.parametrize("delay_mechanism", ["E2E", "P2P"])
def test_ptp4l_takes_every_transport_and_every_key_at_its_ends(network, transport, delay_mechanism):
    program = network.ptp4l(
        transport=transport,
        delay_mechanism=delay_mechanism,
        delay_asymmetry_ns=-10_000_000,
        ingress_latency_ns=-1_000_000,
        egress_latency_ns=1_000_000,
        tx_timestamp_timeout_ms=1000,
        step_threshold_ns=10_000_000_000,
        servo_lock_ns=1_000_000_000,
        priority1=255,
        priority2=0,
    )
    program.wait_for(UP)
    network.stop(program)
    assert not re.search(REFUSALS, program.said), program.said


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("role", ROLES)
def test_ptp4l_takes_the_configuration_for_hardware_stamps_too(network, profile, role):
    """A veth has no hardware clock: ptp4l must get as far as to say so."""
    path = network.folder / "hardware.conf"
    section = clock(interface="port0", profile=profile, role=role, uds_path=str(network.folder / "uds"))
    path.write_text(ptp4l_conf(find_ptp4l(PTP4L).version, section))
    program = network.start(0, str(PTP4L), "-f", str(path))
    program.wait_for("does not support requested timestamping mode|no PHC|PTP device not specified")
    network.stop(program)
    assert not re.search("unknown option|failed to parse|bad value|out of range|usage:", program.said), program.said


def offset_ns(network: Network, profile: str, uds: Path) -> float:
    """Median of what the follower measures once it measures."""
    settings = settings_of(clock(profile=profile).ptp)
    found: list[float] = []
    deadline_ns = monotonic_ns() + 60_000_000_000
    while len(found) < 9 and monotonic_ns() < deadline_ns:
        sleep_until(monotonic_ns() + 130_000_000)
        status = network.pmc("TIME_STATUS_NP", 1, settings.domain, settings.transport_specific, uds)
        found += [offset] if (offset := float(status["master_offset"])) else []
    return sorted(found)[len(found) // 2]


@pytest.mark.parametrize("profile", ["gptp", "smpte2059-2"])
def test_our_grandmaster_is_followed_and_the_correction_has_the_sign_that_we_say(network, profile):
    """Both read one clock, so the offset is 0; +1 ms of asymmetry makes the follower think that it is 1 ms late."""
    master = network.ptp4l(0, profile=profile, role="grandmaster")
    master.wait_for("to MASTER|assuming the grand master role")
    offsets = []
    for asymmetry_ns in (0, 1_000_000):
        follower = network.ptp4l(1, profile=profile, delay_asymmetry_ns=asymmetry_ns)
        follower.wait_for("to UNCALIBRATED")
        offsets.append(offset_ns(network, profile, network.folder / "1.uds"))
        network.stop(follower)
    assert abs(offsets[0]) < 200_000, offsets
    assert -1_200_000 < offsets[1] - offsets[0] < -800_000, offsets


def test_the_grandmaster_says_of_itself_what_we_wrote(network):
    program = network.ptp4l(role="grandmaster", profile="smpte2059-2")
    program.wait_for(UP)
    found = network.pmc("GRANDMASTER_SETTINGS_NP", 0, 127, 0, network.folder / "0.uds")
    assert found["clockClass"] == "248"
    assert (found["clockAccuracy"], found["offsetScaledLogVariance"]) == ("0xfe", "0xffff")
    assert (found["currentUtcOffset"], found["currentUtcOffsetValid"], found["timeSource"]) == ("37", "0", "0xa0")
    assert found["ptpTimescale"] == "0"  # the kernel's stamps are UTC, and it says so


def test_the_management_socket_is_its_owners_and_its_groups(network):
    """Whoever can write to it can SET: never the world."""
    program = network.ptp4l()
    program.wait_for(UP)
    assert stat.S_IMODE((network.folder / "0.uds").stat().st_mode) == 0o660


@pytest.mark.parametrize("role", ROLES)
def test_phc2sys_takes_its_arguments(network, role):
    """A veth has no clock, so phc2sys can set none: it must get as far as to say so."""
    phc2sys = PTP4L.parent / "phc2sys"
    args = phc2sys_args(clock(interface="port0", role=role, profile="gptp"))
    argv = ["ip", "netns", "exec", network.names[0], str(phc2sys), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search("interface port0 does not have a PHC", said), said
    assert not re.search("unrecognized|invalid option|bad value|out of range|too long", said.split("usage:")[0]), said

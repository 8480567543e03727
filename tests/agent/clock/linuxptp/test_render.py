"""ptp4l's and phc2sys's words: right for the version, the role, the profile; every key of ours arrives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.linuxptp import Version, phc2sys_args, ptp4l_conf, settings_of
from agent.clock.linuxptp.profile import Profiles, profiles
from tests.agent.clock.linuxptp.sections import clock
from touchline.config import PtpSection

OLD, NEW = Version(3, 1, 1), Version(4, 2)
NEW_WORDS = {"clientOnly", "serverOnly", "uds_ro_address"}
PROFILES = ("default", "gptp", "smpte2059-2")


def options(text: str) -> dict[str, dict[str, str]]:
    """{section: {option: value}} of a ptp4l.conf."""
    sections: dict[str, dict[str, str]] = {}
    here: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("["):
            here = sections.setdefault(line.strip("[]"), {})
        elif not line.startswith("#"):
            name, value = line.split(maxsplit=1)
            assert name not in here, f"{name} twice"
            here[name] = value
    return sections


def words(version: Version, **ptp) -> dict[str, str]:
    """All options, the port's over the global ones."""
    sections = options(ptp4l_conf(version, clock(**ptp)))
    return sections["global"] | sections[ptp.get("interface", "eth0")]


# --- versions and roles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("role", ["follower", "grandmaster"])
def test_3_1_gets_none_of_the_words_that_it_refuses(profile, role):
    old, new = (set(words(version, profile=profile, role=role)) for version in (OLD, NEW))
    assert not old & NEW_WORDS
    assert not new & {"slaveOnly", "masterOnly"}
    assert new - old <= NEW_WORDS


def test_a_follower_is_never_a_master():
    assert words(OLD)["slaveOnly"] == words(NEW)["clientOnly"] == "1"
    assert not {"masterOnly", "serverOnly", "clockClass"} & (set(words(OLD)) | set(words(NEW)))


def test_a_grandmaster_never_follows_and_promises_nothing():
    old, new = words(OLD, role="grandmaster"), words(NEW, role="grandmaster")
    assert old["masterOnly"] == new["serverOnly"] == "1"
    assert not {"slaveOnly", "clientOnly"} & (set(old) | set(new))
    assert {name: new[name] for name in ("clockClass", "clockAccuracy", "timeSource", "utc_offset")} == {
        "clockClass": "248",
        "clockAccuracy": "0xFE",
        "timeSource": "0xA0",
        "utc_offset": "37",
    }
    assert (new["priority1"], new["priority2"]) == ("128", "127")  # a clock with GNSS wins, an equal one does not


def test_the_read_only_socket_lies_beside_the_other():
    new = words(NEW, uds_path="/run/touchline-ptp/x")
    assert new["uds_address"] == "/run/touchline-ptp/x"
    assert new["uds_ro_address"] == "/run/touchline-ptp/xro"


# --- profiles -------------------------------------------------------------------------------------------------------


def test_smpte():
    found = words(OLD, profile="smpte2059-2")
    assert found["domainNumber"] == "127"
    assert found["logSyncInterval"] == found["logMinDelayReqInterval"] == "-3"
    assert found["logAnnounceInterval"] == "-2"
    assert found["announceReceiptTimeout"] == "3"
    assert (found["network_transport"], found["delay_mechanism"]) == ("UDPv4", "E2E")


def test_gptp():
    found = words(OLD, profile="gptp")
    assert (found["network_transport"], found["delay_mechanism"], found["transportSpecific"]) == ("L2", "P2P", "0x1")
    assert found["ptp_dst_mac"] == "01:80:C2:00:00:0E"
    assert found["logSyncInterval"] == "-3"
    assert found["neighborPropDelayThresh"] == "800"
    assert found["gmCapable"] == "1"  # ptp4l refuses a client that is not


def test_gptp_with_the_kernels_stamps_lets_their_delay_pass():
    assert words(OLD, profile="gptp", time_stamping="software")["neighborPropDelayThresh"] == "20000000"


def test_default_is_ieee_1588s():
    found = words(OLD)
    assert [found[f"log{name}Interval"] for name in ("Announce", "Sync", "MinDelayReq")] == ["1", "0", "0"]
    assert (found["domainNumber"], found["network_transport"], found["delay_mechanism"]) == ("0", "UDPv4", "E2E")


def test_every_profile_that_can_be_configured_is_there_with_its_source():
    (choices,) = [field.annotation for name, field in PtpSection.model_fields.items() if name == "profile"]
    names = {field.alias or name for name, field in Profiles.model_fields.items()}
    assert set(choices.__args__) == names == set(PROFILES)  # type: ignore[union-attr]
    assert all(len(profile.source) > 40 for _, profile in profiles())


def test_the_configuration_wins_over_the_profile():
    ptp = clock(profile="smpte2059-2", domain=5, transport="L2", delay_mechanism="P2P", priority1=1, priority2=2).ptp
    found = settings_of(ptp)
    assert (found.domain, found.transport, found.delay_mechanism) == (5, "L2", "P2P")
    assert (found.priority1, found.priority2) == (1, 2)
    assert settings_of(clock(domain=0, profile="smpte2059-2").ptp).domain == 0


# --- keys -----------------------------------------------------------------------------------------------------------


def test_corrections_are_the_ports_and_keep_their_sign():
    sections = options(
        ptp4l_conf(OLD, clock(interface="enp1s0", delay_asymmetry_ns=-200, ingress_latency_ns=12, egress_latency_ns=-7))
    )
    assert sections["enp1s0"] == {"delayAsymmetry": "-200", "ingressLatency": "12", "egressLatency": "-7"}


def test_in_gptp_an_asymmetry_is_a_shift_of_all_stamps():
    keys = {"profile": "gptp", "delay_asymmetry_ns": 200, "ingress_latency_ns": 12, "egress_latency_ns": 7}
    found = options(ptp4l_conf(NEW, clock(**keys)))["eth0"]
    assert found == {"delayAsymmetry": "0", "ingressLatency": "212", "egressLatency": "-193"}
    found = options(ptp4l_conf(NEW, clock(**keys, role="grandmaster")))["eth0"]
    assert found == {"delayAsymmetry": "0", "ingressLatency": "12", "egressLatency": "7", "serverOnly": "1"}


def test_thresholds_arrive_in_their_units():
    found = words(OLD, step_threshold_ns=1_500_000_250, servo_lock_ns=400, tx_timestamp_timeout_ms=70)
    assert found["step_threshold"] == "1.500000250"
    assert found["tx_timestamp_timeout"] == "70"
    assert not any("servo_offset" in word for word in found)  # 3.1.1 would not come back from a fault


@given(st.integers(0, 10**10))
def test_seconds_are_exact(step_ns):
    text = words(OLD, step_threshold_ns=step_ns)["step_threshold"]
    assert re.fullmatch(r"\d+\.\d{9}", text)
    assert int(text.replace(".", "")) == step_ns


def test_the_journal_gets_few_lines_and_syslog_none():
    found = words(OLD)
    assert (found["verbose"], found["use_syslog"], found["summary_interval"]) == ("1", "0", "6")


def test_free_running():
    assert words(OLD, time_stamping="software", free_running=True)["free_running"] == "1"
    assert words(OLD)["free_running"] == "0"


# --- phc2sys --------------------------------------------------------------------------------------------------------


def pairs(args: list[str]) -> dict[str, str]:
    """{option: value} of phc2sys's arguments that have one."""
    return {name: args[args.index(name) + 1] for name in ("-s", "-c", "-n", "-z", "-S", "-u")}


def test_a_followers_system_clock_comes_from_the_interfaces_clock():
    args = phc2sys_args(clock(interface="enp1s0"))
    assert pairs(args) == {
        "-s": "enp1s0",
        "-c": "CLOCK_REALTIME",
        "-n": "0",
        "-z": "/run/touchline-ptp/ptp4l",
        "-S": "0.001000000",
        "-u": "64",
    }
    assert {"-w", "-m", "-q", "--transportSpecific=0"} <= set(args)
    assert "-O" not in args  # the UTC offset comes from ptp4l


def test_a_grandmasters_clock_comes_from_the_system():
    found = pairs(phc2sys_args(clock(role="grandmaster", phc="/dev/ptp1")))
    assert (found["-s"], found["-c"]) == ("CLOCK_REALTIME", "/dev/ptp1")


def test_phc2sys_speaks_the_profiles_domain():
    assert pairs(phc2sys_args(clock(profile="smpte2059-2")))["-n"] == "127"
    assert "--transportSpecific=1" in phc2sys_args(clock(profile="gptp"))


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", fullmatch=True).filter(lambda name: name.lower() != "global")
paths = st.from_regex(r"/[A-Za-z0-9._/-]{1,90}", fullmatch=True)


@given(names, paths, st.sampled_from(PROFILES), st.sampled_from(["follower", "grandmaster"]))
def test_nothing_that_the_configuration_lets_in_breaks_a_line_or_an_argument(interface, uds_path, profile, role):
    section = clock(interface=interface, uds_path=uds_path, profile=profile, role=role)
    assert set(options(ptp4l_conf(NEW, section))) == {"global", interface}
    assert not re.search(r"\s|[\"'\\$%]", "".join(phc2sys_args(section)))

"""The units of failover, its drill, the witness and the host's tuning: order, rights, and who is skipped."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from flash.bundle.node.place import CONFIG
from tests.systemd.units import FOLDER, asks_for_table, read_unit, value, values
from touchline.config import Section
from touchline.config.failover import FailoverSection
from touchline.config.witness import WitnessSection

AGENT = FOLDER / "touchline-agent.service"
FAILOVER = FOLDER / "touchline-failover.service"
WITNESS = FOLDER / "touchline-witness.service"
DRILL = FOLDER / "touchline-drill.service"
DRILL_TIMER = FOLDER / "touchline-drill.timer"
TUNE = FOLDER / "touchline-tune.service"
TUNE_TIMER = FOLDER / "touchline-tune.timer"
PROGRAM = "/opt/touchline/current/bin/touchline"
RACK_CONFIG = "/etc/touchline/rack.toml"


def seconds(text: str) -> float:
    """A duration of a unit file: ``2``, ``200ms``."""
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text)


def largest(model: type[Section], field: str) -> float:
    return max(float(rule.le) for rule in model.model_fields[field].metadata if hasattr(rule, "le"))


def test_a_node_without_a_twin_is_skipped():
    for unit in (FAILOVER, DRILL):
        assert value(unit, "ConditionPathExists") == str(CONFIG)
    assert "failover" in asks_for_table(FAILOVER, str(CONFIG))
    asked = f"{PROGRAM} failover needed --config {CONFIG}"
    assert values(DRILL, "ExecCondition") == [f"/bin/grep -q failover {CONFIG}", asked]


def test_a_node_without_tuning_is_skipped():
    asked = f"{PROGRAM} node tune needed --config {CONFIG}"
    assert values(TUNE, "ExecCondition") == [f"/bin/grep -q tune {CONFIG}", asked]
    assert value(TUNE, "ExecStart") == f"{PROGRAM} node tune apply --config {CONFIG}"


def test_the_witness_is_the_racks():
    assert value(WITNESS, "ConditionPathExists") == RACK_CONFIG
    assert values(WITNESS, "ExecCondition") == [f"/bin/grep -q witness {RACK_CONFIG}"]
    assert value(WITNESS, "ExecStart") == f"{PROGRAM} failover witness --config {RACK_CONFIG}"


def test_a_stop_hands_over_before_the_agent_drains():
    """systemd stops in the opposite order of After=."""
    assert AGENT.name in value(FAILOVER, "After").split()
    assert FAILOVER.name not in value(AGENT, "After").split()
    assert value(FAILOVER, "PartOf") == "touchline.target"


def test_the_watchdog_bites_before_the_addresss_lifetime_and_the_address_goes_however_it_ended():
    for unit in (FAILOVER, WITNESS):
        assert value(unit, "Type") == "notify"
        assert value(unit, "NotifyAccess") == "main"
        assert seconds(value(unit, "WatchdogSec")) <= 2
    after = value(FAILOVER, "ExecStopPost")
    assert f"exec {PROGRAM} failover drop --config {CONFIG}'" in after
    assert after.startswith("""-/bin/sh -c 'test "$$SERVICE_RESULT" = exec-condition || """)  # a skip costs no Python


def test_a_witness_that_restarts_is_back_before_it_may_grant():
    assert seconds(value(WITNESS, "RestartSec")) <= WitnessSection.model_fields["lease_limit_ms"].default / 1000


def test_failover_and_witness_are_never_given_up_but_for_what_no_restart_mends():
    for unit in (FAILOVER, WITNESS):
        assert value(unit, "Restart") == "always"
        assert value(unit, "StartLimitIntervalSec") == "0"
        assert value(unit, "RestartPreventExitStatus") == value(AGENT, "RestartPreventExitStatus")


def test_the_priorities_of_the_configuration_are_granted():
    assert int(value(FAILOVER, "LimitRTPRIO")) >= largest(FailoverSection, "realtime_priority")
    assert int(value(WITNESS, "LimitRTPRIO")) >= largest(WitnessSection, "realtime_priority")
    for unit in (FAILOVER, WITNESS):
        assert value(unit, "LimitMEMLOCK") == "infinity"
        assert values(unit, "RestrictRealtime") == []


@pytest.mark.parametrize(
    ("unit", "capabilities", "families"),
    [
        (FAILOVER, "CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_NICE", "AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET"),
        (WITNESS, "CAP_SYS_NICE", "AF_UNIX AF_INET AF_INET6"),
        (DRILL, "CAP_NET_ADMIN", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
        (TUNE, "CAP_SYS_ADMIN CAP_NET_ADMIN", "AF_UNIX"),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_least_privilege(unit, capabilities, families):
    assert value(unit, "CapabilityBoundingSet") == capabilities
    assert values(unit, "AmbientCapabilities") == ([capabilities] if unit in (FAILOVER, WITNESS, DRILL) else [])
    assert value(unit, "RestrictAddressFamilies") == families
    assert value(unit, "NoNewPrivileges") == "yes"
    assert value(unit, "ProtectSystem") == "strict"
    assert value(unit, "PrivateDevices") == "yes"
    assert values(unit, "DeviceAllow") == []


def test_the_services_share_the_agents_user_and_folders():
    for unit in (FAILOVER, WITNESS, DRILL):
        for key in ("User", "Group", "RuntimeDirectory", "RuntimeDirectoryPreserve", "StateDirectory"):
            assert value(unit, key) == value(AGENT, key), (unit.name, key)


def test_tuning_may_write_what_it_tunes_and_nothing_else_of_the_kernel():
    assert values(TUNE, "User") == []  # root: the kernel's files are root's
    assert values(TUNE, "ProtectKernelTunables") == values(TUNE, "PrivateNetwork") == []
    assert value(TUNE, "ReadOnlyPaths") == "/proc/sys /sys"
    assert value(TUNE, "ReadWritePaths") == "/proc/sys/net/core /sys/devices/system/cpu"
    assert value(TUNE, "InaccessiblePaths") == "-/etc/touchline/pki"
    assert value(TUNE, "StateDirectory") == "touchline-tune"


def test_tuning_comes_after_those_who_set_the_same_and_before_those_who_need_it():
    assert value(TUNE, "After").split() == ["systemd-sysctl.service", "nvpmodel.service", "irqbalance.service"]
    assert value(TUNE, "Before").split() == [AGENT.name, FAILOVER.name]


def test_what_a_timer_starts_can_be_started_again():
    for unit in (TUNE, DRILL):
        assert value(unit, "Type") == "oneshot"
        assert values(unit, "RemainAfterExit") == []
    assert values(DRILL, "WantedBy") == []  # the timer alone starts it


def test_the_drill_is_weekly_random_and_made_up_for():
    assert value(DRILL_TIMER, "Persistent") == "yes"
    assert value(DRILL_TIMER, "RandomizedDelaySec") == "2h"
    assert value(DRILL, "ExecStart") == f"{PROGRAM} failover drill --weekly --config {CONFIG}"  # no --force in a timer
    weekday, date, _ = value(DRILL_TIMER, "OnCalendar").split()
    assert (weekday, date) == ("Tue", "*-*-*")


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here")
def test_systemd_reads_the_timers_as_meant():
    calendar = value(DRILL_TIMER, "OnCalendar")
    argv = ["systemd-analyze", "calendar", "--iterations=3", "--base-time=2026-11-21 00:00:00 UTC", calendar]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert [day in done.stdout for day in ("2026-11-24", "2026-12-01", "2026-12-08")] == [True] * 3
    for unit in (DRILL_TIMER, TUNE_TIMER):
        for _, key, text in read_unit(unit):
            if key.endswith("Sec"):
                subprocess.run(["systemd-analyze", "timespan", text], capture_output=True, check=True)


def test_each_timer_has_its_service():
    for timer in (DRILL_TIMER, TUNE_TIMER):
        assert timer.with_suffix(".service").exists()
        assert value(timer, "PartOf") == "touchline.target"

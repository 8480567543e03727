"""The units of protection: skipped without it, back soon, events where no remount reaches, trace flushed last."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from flash.bundle.node.place import CONFIG
from tests.systemd.units import FOLDER, REPO, asks_for_table, value, values
from thermal.protect import events, flush, mount, quiet, service, status
from touchline.config.protect import ProtectSection

PROTECT = FOLDER / "touchline-protect.service"
FLUSH = FOLDER / "touchline-flush.service"
TIMER = FOLDER / "touchline-flush.timer"
TRACE = FOLDER / "touchline-trace.service"
AGENT = FOLDER / "touchline-agent.service"
PROGRAM = "/opt/touchline/current/bin/touchline"


def longest(key: str) -> float:
    return max(float(rule.le) for rule in ProtectSection.model_fields[key].metadata if hasattr(rule, "le"))


def test_a_node_without_protect_is_skipped():
    for unit in (PROTECT, TRACE):
        assert value(unit, "ConditionPathExists") == str(CONFIG)
    assert "protect" in asks_for_table(PROTECT, str(CONFIG))
    asked = f"{PROGRAM} protect needed --config {CONFIG} --part trace"
    assert values(TRACE, "ExecCondition") == [f"/bin/grep -q protect {CONFIG}", asked]


@pytest.mark.parametrize(
    ("text", "found"),
    [("[protect]", True), ("  [ protect ]", True), ("# [protect]", False), ("[protected]", False), ("", False)],
)
def test_the_flush_asks_for_the_table_itself(tmp_path, text, found):
    (tmp_path / "node.toml").write_text(f"[node]\n{text}\n")
    pattern = value(FLUSH, "ExecCondition").split(" ", 2)[2].rpartition(" ")[0].strip('"').replace("\\\\", "\\")
    done = subprocess.run(["grep", "-Eq", pattern, str(tmp_path / "node.toml")], check=False)
    assert (done.returncode == 0) is found


def test_protection_is_started_again_for_ever_and_killed_when_it_hangs():
    assert value(PROTECT, "Type") == "notify"
    assert value(PROTECT, "NotifyAccess") == "main"
    assert value(PROTECT, "Restart") == "always"
    assert value(PROTECT, "RestartSec") == "200ms"
    assert value(PROTECT, "StartLimitIntervalSec") == "0"
    assert value(PROTECT, "RestartPreventExitStatus") == value(AGENT, "RestartPreventExitStatus")
    assert value(PROTECT, "WatchdogSignal") == "SIGKILL"
    assert float(value(PROTECT, "WatchdogSec")) > 2 * longest("log_wait_s")


def test_cameras_are_fed_before_the_agent_looks_for_them():
    assert AGENT.name in value(PROTECT, "Before").split()


def test_what_readers_look_for_is_linked_to_where_it_lies():
    folder = Path("/run") / value(PROTECT, "RuntimeDirectory")
    flushed = Path("/run") / value(FLUSH, "RuntimeDirectory")
    assert f"--run-dir {folder} " in value(PROTECT, "ExecStart")
    assert value(FLUSH, "ExecStart").endswith(f"--run-dir {flushed}")
    table = (FOLDER / "tmpfiles.d" / "touchline.conf").read_text()
    names = {status.FILE: folder, status.SOCKET: folder, quiet.FILE: folder, flush.FILE: flushed}
    for name, where in names.items():
        assert re.search(rf"^L\+ /run/touchline/{re.escape(name)} - - - - {where / name}$", table, re.M)


def test_events_and_latch_lie_on_no_disk_that_is_made_read_only():
    state = f"/var/lib/{value(PROTECT, 'StateDirectory')}"
    assert value(PROTECT, "ExecStart").endswith(f"--state-dir {state}")
    assert not Path(state).is_relative_to("/var/lib/touchline")
    assert value(PROTECT, "ReadWritePaths").split() == ["/sys/devices", "-/data", "-/var/lib/touchline"]


def test_least_privilege():
    assert value(PROTECT, "CapabilityBoundingSet").split() == ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
    assert values(PROTECT, "DeviceAllow") == ["char-gpiochip rw"]
    for unit in (FLUSH, TRACE):
        assert value(unit, "CapabilityBoundingSet") == ""
        assert value(unit, "PrivateDevices") == "yes"
    for unit in (PROTECT, FLUSH, TRACE):
        assert values(unit, "AmbientCapabilities") == []
        assert value(unit, "PrivateNetwork") == "yes"
        assert value(unit, "ProtectSystem") == "strict"
        assert value(unit, "InaccessiblePaths") == "-/etc/touchline/pki"
    assert value(TRACE, "User") == value(AGENT, "User")


def test_the_flush_comes_every_30_s():
    assert value(TIMER, "OnActiveSec") == value(TIMER, "OnUnitInactiveSec") == f"{flush.PERIOD_S:g}s"
    assert float(value(FLUSH, "TimeoutStartSec")) < flush.LATE_S


def test_the_trace_is_flushed_after_the_agents_end_and_holds_up_no_restart():
    """Started before it, so stopped after it; stopped once nobody wants it; a crashed agent that comes again does."""
    assert value(TRACE, "Before") == AGENT.name
    assert value(TRACE, "WantedBy") == AGENT.name
    assert value(TRACE, "StopWhenUnneeded") == "yes"
    assert values(TRACE, "PartOf") == [], "a restart of the agent would be one of this, and wait for a flush of 2 GB"
    assert value(TRACE, "RemainAfterExit") == "yes"
    assert value(TRACE, "ExecStop") == f"{PROGRAM} protect flush-trace --config {CONFIG}"
    assert values(TRACE, "ExecStart") == []


def test_a_stop_has_time_to_give_the_disk_back():
    assert float(value(PROTECT, "TimeoutStopSec")) > service.LAST_LOOK_S + mount.REMOUNT_S + 2 * events.CLOSE_S


def test_the_archive_of_the_example_is_where_the_unit_may_write():
    archive = Path(str(ProtectSection().trace_archive))
    assert archive.is_relative_to(f"/var/lib/{value(TRACE, 'StateDirectory')}")
    assert (REPO / "docs" / "protect.md").exists()

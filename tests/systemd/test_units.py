"""The unit files keep their promises: known to systemd 245, least privilege, and they start what is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.clock.linuxptp import NEEDS
from agent.clock.linuxptp.version import UNIT_PTP4L
from agent.clock.linuxptp.write import PHC2SYS_ENV, PHC2SYS_VARIABLE, PTP4L_CONF
from agent.supervise import FINAL_EXITS
from flash.bundle.node.place import CONFIG, ENABLED
from tests.systemd.units import FOLDER, REPO, UNITS, read_unit, value, values
from tests.test_house import resolve
from touchline.config import PtpSection
from touchline.config.node import ProcessSection

AGENT = FOLDER / "touchline-agent.service"
SAFE = FOLDER / "touchline-safe-state@.service"
PTP4L = FOLDER / "touchline-ptp4l.service"
PHC2SYS = FOLDER / "touchline-phc2sys.service"
NTP_OFF = FOLDER / "touchline-ntp-off.service"
PTP = (PTP4L, PHC2SYS)
PROGRAM = "/opt/touchline/current/bin/touchline"
PYTHON = "/opt/touchline/current/venv/bin/python"
LINUXPTP = {"/usr/sbin/ptp4l", "/usr/sbin/phc2sys"}
SYSTEM_PROGRAMS = {"/bin/systemctl", "/bin/journalctl", "/bin/systemd-tmpfiles", "/bin/grep"} | LINUXPTP
NTP = {f"{name}.service" for name in ["systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpd", "ntpsec", "openntpd"]}
HOST = {"systemd-sysctl.service", "nvpmodel.service", "irqbalance.service", "nvfancontrol.service"}
SYSTEM_UNITS = {"network.target", "multi-user.target", "time-sync.target"} | NTP | HOST
OLDEST = 245  # JetPack 5

OLD = (
    "AccuracySec",
    "After",
    "Before",
    "CapabilityBoundingSet",
    "ConditionPathExists",
    "Conflicts",
    "Description",
    "DeviceAllow",
    "DevicePolicy",
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "Group",
    "IOSchedulingClass",
    "KillMode",
    "LimitCORE",
    "LimitMEMLOCK",
    "LimitRTPRIO",
    "Nice",
    "NoNewPrivileges",
    "NotifyAccess",
    "OOMScoreAdjust",
    "OnActiveSec",
    "OnCalendar",
    "OnFailure",
    "OnUnitInactiveSec",
    "PartOf",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateTmp",
    "RemainAfterExit",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestrictAddressFamilies",
    "StandardError",
    "StandardOutput",
    "StopWhenUnneeded",
    "SupplementaryGroups",
    "SyslogIdentifier",
    "SyslogLevel",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "User",
    "WantedBy",
    "Wants",
    "WatchdogSec",
    "WorkingDirectory",
)

# The release of systemd in which each directive appeared; 1: long before.
SINCE = {
    **dict.fromkeys(OLD, 1),
    "RuntimeDirectory": 211,
    "Persistent": 212,
    "RuntimeDirectoryMode": 211,
    "RemoveIPC": 212,
    "ProtectHome": 214,
    "ProtectSystem": 214,
    "AmbientCapabilities": 229,
    "RandomizedDelaySec": 229,
    "StartLimitBurst": 230,
    "StartLimitIntervalSec": 230,
    "MemoryDenyWriteExecute": 231,
    "RestrictRealtime": 231,
    "InaccessiblePaths": 231,
    "ReadOnlyPaths": 231,
    "ReadWritePaths": 231,
    "ProtectControlGroups": 232,
    "ProtectKernelModules": 232,
    "ProtectKernelTunables": 232,
    "RestrictNamespaces": 233,
    "BindPaths": 233,
    "IPAddressDeny": 235,
    "StateDirectory": 235,
    "StateDirectoryMode": 235,
    "RuntimeDirectoryPreserve": 235,
    "KeyringMode": 235,
    "WatchdogSignal": 244,
    "LockPersonality": 235,
    "TemporaryFileSystem": 238,
    "PrivateMounts": 239,
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "ExecCondition": 243,
    "OOMPolicy": 243,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_245_knows_every_directive(unit):
    for _, key, _ in read_unit(unit):
        assert key in SINCE, f"{key}: add the release that brought it"
        assert SINCE[key] <= OLDEST, f"{key} came with systemd {SINCE[key]}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_every_program_that_a_unit_starts_is_there(unit):
    for _, key, line in read_unit(unit):
        if key.startswith("Exec"):
            program, *words = shlex.split(line.lstrip("+-"))
            if program == "/bin/sh":
                assert words[0] == "-c" and " exec " in words[1]
                program, *words = shlex.split(words[1].rpartition(" exec ")[2])
            if program == PROGRAM:
                resolve([word for word in words if not word.startswith("/")])
            elif program == PYTHON:
                assert words[:2] == ["-I", "-m"]
                assert (REPO / words[2].replace(".", "/")).with_suffix(".py").exists()
            else:
                assert program in SYSTEM_PROGRAMS


def test_units_name_only_units_that_are_ours_or_the_systems():
    ours = {path.name for path in UNITS}
    for unit in UNITS:
        for _, key, line in read_unit(unit):
            if key in {"After", "Before", "PartOf", "OnFailure", "Wants", "Requires", "WantedBy"}:
                for name in line.split():
                    plain = re.sub(r"@.*\.", "@.", name)
                    assert plain in ours | SYSTEM_UNITS, f"{unit.name}: {name}"


def test_the_installer_enables_what_the_units_say():
    wanted = {unit.name: by for unit in UNITS for by in values(unit, "WantedBy")}
    assert wanted == ENABLED


def test_the_agent_waits_for_its_configuration_and_for_no_network():
    assert value(AGENT, "ConditionPathExists") == str(CONFIG)
    assert str(CONFIG) in value(AGENT, "ExecStart")
    assert value(AGENT, "After") == "network.target"


def test_a_stop_leaves_the_agent_time_to_drain():
    rules = ProcessSection.model_fields["drain_s"].metadata
    longest_s = max(rule.le for rule in rules if hasattr(rule, "le"))
    assert float(value(AGENT, "TimeoutStopSec")) > longest_s
    assert value(AGENT, "KillMode") == "mixed"


def test_what_a_restart_cannot_mend_is_not_restarted():
    assert value(AGENT, "Restart") == "always"
    assert set(map(int, value(AGENT, "RestartPreventExitStatus").split())) == FINAL_EXITS
    assert value(AGENT, "OnFailure") == "touchline-safe-state@%n.service"


def test_the_watchdog_is_slower_than_the_agents_own_look_at_its_frames():
    assert value(AGENT, "Type") == "notify"
    assert value(AGENT, "NotifyAccess") == "main"
    assert float(value(AGENT, "WatchdogSec")) > 2 * float(ProcessSection.model_fields["stall_s"].default)


def test_the_run_folder_of_the_example_is_the_units():
    example = (REPO / "docs" / "examples" / "node.toml").read_text()
    assert f'run_dir = "/run/{value(AGENT, "RuntimeDirectory")}"' in example
    assert value(AGENT, "RuntimeDirectoryPreserve") == "yes"


def test_the_agent_has_two_capabilities_and_five_kinds_of_device():
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert value(AGENT, key).split() == ["CAP_SYS_NICE", "CAP_IPC_LOCK"]
    devices = ["char-video4linux rw", "char-media rw", "char-ptp r", "char-nvpps r", "char-ttyTHS rw"]
    assert values(AGENT, "DeviceAllow") == devices
    assert value(AGENT, "DevicePolicy") == "closed"
    assert value(AGENT, "ProtectSystem") == "strict"
    assert values(AGENT, "ReadWritePaths") == []
    assert value(AGENT, "User") == value(SAFE, "User") == "touchline"


def test_the_log_of_given_up_services_has_its_folder_before_the_unit_starts():
    log = value(SAFE, "StandardOutput").removeprefix("append:")
    table = (FOLDER / "tmpfiles.d" / "touchline.conf").read_text()
    assert re.search(rf"^d {Path(log).parent} ", table, re.M)


# --- PTP ----------------------------------------------------------------------------------------------------------


def test_each_ptp_unit_asks_whether_this_node_needs_it():
    for unit, what in ((PTP4L, "ptp4l"), (PHC2SYS, "phc2sys"), (NTP_OFF, "no-ntp")):
        asked = f"{PROGRAM} clock config --config {CONFIG} --needs {what}"
        assert values(unit, "ExecCondition") == [f"/bin/grep -q ptp {CONFIG}", asked]
        assert what in NEEDS
        assert value(unit, "ConditionPathExists") == str(CONFIG)


def test_the_ptp_units_start_what_was_written_for_the_version_found():
    folder = Path("/run") / value(PTP4L, "RuntimeDirectory")
    for unit in PTP:
        assert f"{PROGRAM} clock config --config {CONFIG} --out {folder}" in values(unit, "ExecStartPre")
    assert value(PTP4L, "ExecStart") == f"{UNIT_PTP4L} -f {folder / PTP4L_CONF}"
    assert value(PHC2SYS, "EnvironmentFile") == f"-{folder / PHC2SYS_ENV}"  # not there yet when the condition is asked
    assert value(PHC2SYS, "ExecStart") == f"/usr/sbin/phc2sys ${PHC2SYS_VARIABLE}"
    assert Path(PtpSection().uds_path).parent == folder


def test_both_ptp_units_live_in_one_folder_which_is_their_var_run():
    """phc2sys 3.1.1 and 4.2 bind /var/run/phc2sys.PID, and ptp4l must find it under the same name."""
    for unit in PTP:
        assert value(unit, "RuntimeDirectory") == "touchline-ptp"
        assert value(unit, "RuntimeDirectoryMode") == "0750"
        assert value(unit, "RuntimeDirectoryPreserve") == "yes"
        assert value(unit, "TemporaryFileSystem") == "/var:ro"
        assert "/run/touchline-ptp:/var/run" in values(unit, "BindPaths")


def test_only_the_agents_group_can_reach_the_management_socket():
    for unit in PTP:
        assert (value(unit, "User"), value(unit, "Group")) == ("touchline-ptp", value(AGENT, "Group"))
        assert value(unit, "UMask") == "0077"


def test_the_agent_may_not_set_a_clock_and_ptp_may_not_read_keys():
    assert value(PTP4L, "CapabilityBoundingSet").split() == ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"]
    assert value(PHC2SYS, "CapabilityBoundingSet") == "CAP_SYS_TIME"
    for unit in PTP:
        assert value(unit, "AmbientCapabilities") == value(unit, "CapabilityBoundingSet")
        assert values(unit, "DeviceAllow") == ["char-ptp rw"]
        assert value(unit, "InaccessiblePaths") == "-/etc/touchline/pki"
    table = (FOLDER / "tmpfiles.d" / "touchline.conf").read_text()
    assert re.search(r"^z /dev/ptp\[0-9\]\* 0640 touchline-ptp touchline -$", table, re.M)
    assert re.search(r"^z /dev/nvpps\[0-9\]\* 0640 root touchline -$", table, re.M)


def test_the_clock_is_never_given_up():
    for unit in PTP:
        assert value(unit, "Restart") == "always"
        assert value(unit, "StartLimitIntervalSec") == "0"
        assert values(unit, "OnFailure") == []


def test_phc2sys_starts_anew_with_ptp4l():
    assert PTP4L.name in value(PHC2SYS, "PartOf").split()
    assert PTP4L.name in value(PHC2SYS, "After").split()


def test_ntp_is_stopped_once_it_was_started_and_before_ptp():
    """Not by Conflicts=, which would stop it on nodes that skip our units, too."""
    assert set(value(NTP_OFF, "After").split()) == NTP
    assert {line.split()[-1] for line in values(NTP_OFF, "ExecStart")} == NTP
    assert all(line.startswith("-/bin/systemctl stop ") for line in values(NTP_OFF, "ExecStart"))
    assert set(value(NTP_OFF, "Before").split()) == {unit.name for unit in PTP}
    assert value(PTP4L, "Wants") == NTP_OFF.name
    conflicts = {unit.name: values(unit, "Conflicts") for unit in UNITS if values(unit, "Conflicts")}
    assert set(conflicts) <= {"touchline-thermal-hold.service"}  # which no boot starts


# --- systemd's own judges -----------------------------------------------------------------------------------------

analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here")


@pytest.fixture
def copies(tmp_path):
    """The units with a program that exists on this machine."""
    for unit in UNITS:
        text = unit.read_text()
        for program in (PROGRAM, PYTHON, *LINUXPTP):
            text = text.replace(program, "/bin/true")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@analyze
@pytest.mark.system
def test_systemd_finds_nothing_wrong(copies):
    names = [str(copies / unit.name.replace("@.", "@touchline-agent.service.")) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, cwd=copies, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "touchline" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


@analyze
@pytest.mark.system
@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_the_exposure_is_at_most_2_5(unit, copies):
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(copies / unit.name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge offline (before 250)")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="making users and folders in a tree needs root")
@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed here")
def test_user_and_folders_can_be_made_in_an_image(tmp_path):
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(FOLDER / kind, tmp_path / "usr/local/lib" / kind)
    (tmp_path / "etc/touchline/pki").mkdir(parents=True)
    key = tmp_path / "etc/touchline/pki/pitch-a1.key"
    key.write_text("secret")
    key.chmod(0o644)
    for argv in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        done = subprocess.run(
            [*argv, f"--root={tmp_path}", "touchline.conf"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    entry = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("touchline:"))
    assert entry.endswith(":/usr/sbin/nologin")
    assert re.search("^touchline-ptp:.*:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.M)
    assert "video" in (tmp_path / "etc/group").read_text()
    assert key.stat().st_mode & 0o777 == 0o400
    assert key.stat().st_uid == int(entry.split(":")[2])
    assert (tmp_path / "etc/touchline/pki").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "var/log/touchline").is_dir()

"""The unit of fan and clocks: never given up, safe however it ends, root with nothing but the name."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from flash.bundle.node.place import CONFIG
from tests.systemd.units import FOLDER, asks_for_table, read_unit, value, values
from thermal.status import FILE
from thermal.sysfs.table import FAN, PWM_FULL, VENDOR_UNIT
from touchline.config.thermal import ThermalSection

THERMAL = FOLDER / "touchline-thermal.service"
HOLD = FOLDER / "touchline-thermal-hold.service"
AGENT = FOLDER / "touchline-agent.service"
PYTHON = "/opt/touchline/current/venv/bin/python"


def longest_period_s() -> float:
    return max(float(rule.le) for rule in ThermalSection.model_fields["period_s"].metadata if hasattr(rule, "le"))


def test_a_node_without_thermal_is_skipped():
    assert value(THERMAL, "ConditionPathExists") == str(CONFIG)
    assert "thermal" in asks_for_table(THERMAL, str(CONFIG))


def test_it_is_started_again_for_ever_and_killed_when_it_hangs():
    assert value(THERMAL, "Type") == "notify"
    assert value(THERMAL, "NotifyAccess") == "main"
    assert value(THERMAL, "Restart") == "always"
    assert value(THERMAL, "StartLimitIntervalSec") == "0"
    assert value(THERMAL, "RestartPreventExitStatus") == value(AGENT, "RestartPreventExitStatus")
    assert value(THERMAL, "WatchdogSignal") == "SIGKILL"  # a stopped process takes no other
    watchdog_s = float(value(THERMAL, "WatchdogSec"))
    assert watchdog_s >= 2 * longest_period_s()
    assert watchdog_s <= 5
    assert watchdog_s > 2 * ThermalSection.model_fields["period_s"].default


def test_given_up_the_fan_is_held_at_full_speed_until_the_next_start():
    assert HOLD.name in value(THERMAL, "OnFailure").split()
    assert value(HOLD, "ExecStart") == f"{PYTHON} -I -m thermal.safe --hold"
    assert value(HOLD, "Conflicts") == value(HOLD, "After") == THERMAL.name
    assert value(HOLD, "Restart") == "on-failure"  # it ends well when the vendor's daemon has the fan
    assert values(HOLD, "WantedBy") == values(HOLD, "PartOf") == []
    of_the_service = {(key, text) for _, key, text in read_unit(THERMAL)}
    own = {"Description", "Conflicts", "After", "ExecStart", "Restart"}
    assert {(key, text) for _, key, text in read_unit(HOLD) if key not in own} <= of_the_service


def test_it_comes_after_those_who_set_the_same_and_conflicts_with_nobody():
    assert value(THERMAL, "After").split() == [VENDOR_UNIT, "nvpmodel.service"]
    assert values(THERMAL, "Conflicts") == values(THERMAL, "Before") == []


def test_the_status_lies_where_its_readers_look():
    folder = Path("/run") / value(THERMAL, "RuntimeDirectory")
    assert f"--run-dir {folder} " in value(THERMAL, "ExecStart")
    assert f"--history /var/lib/{value(THERMAL, 'StateDirectory')}" in value(THERMAL, "ExecStart")
    assert value(THERMAL, "RuntimeDirectoryPreserve") == "yes"
    agents = Path("/run") / value(AGENT, "RuntimeDirectory")
    table = (FOLDER / "tmpfiles.d" / "touchline.conf").read_text()
    assert re.search(rf"^d {agents} 0755 {value(AGENT, 'User')} {value(AGENT, 'Group')} -$", table, re.M)
    assert re.search(rf"^L\+ {agents / FILE} - - - - {folder / FILE}$", table, re.M)
    assert values(AGENT, "RuntimeDirectoryMode") == []  # 0755, as in the table


def test_least_privilege():
    assert values(THERMAL, "User") == []  # root: the kernel's files are root's
    assert value(THERMAL, "CapabilityBoundingSet") == ""
    assert values(THERMAL, "AmbientCapabilities") == values(THERMAL, "DeviceAllow") == []
    assert value(THERMAL, "ReadOnlyPaths") == "/proc/sys /sys"
    assert value(THERMAL, "ReadWritePaths") == "/sys/devices"
    assert value(THERMAL, "InaccessiblePaths") == "-/etc/touchline/pki"
    for key, wanted in (
        ("NoNewPrivileges", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateNetwork", "yes"),
        ("ProtectSystem", "strict"),
        ("RestrictAddressFamilies", "AF_UNIX"),
    ):
        assert value(THERMAL, key) == wanted


def shell_line(hwmon: Path, python: str = "/bin/true") -> str:
    """What the shell gets of ExecStopPost, as systemd hands it over, with another tree and program."""
    text = value(THERMAL, "ExecStopPost")
    assert text.startswith("-/bin/sh -c '")
    line = text.removeprefix("-/bin/sh -c '").removesuffix("'").replace("$$", "$").replace("%%", "%")
    assert line.endswith(f"exec {PYTHON} -I -m thermal.safe")
    return line.replace("/sys/class/hwmon", str(hwmon)).replace(PYTHON, python)


@pytest.fixture
def hwmon(tmp_path: Path) -> Path:
    for number, name in enumerate(("nvme", *FAN.names)):
        folder = tmp_path / "hwmon" / f"hwmon{number}"
        folder.mkdir(parents=True)
        for file, text in (("name", name), ("pwm1", "20"), ("pwm1_enable", "0")):
            (folder / file).write_text(f"{text}\n")
    (tmp_path / "hwmon" / "hwmon9").mkdir()  # half a device
    return tmp_path / "hwmon"


def test_the_shell_alone_makes_the_fan_safe_when_nothing_of_ours_works(hwmon: Path):
    line = shell_line(hwmon, "/nonexistent/python")
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
    assert done.returncode == 127
    assert [(hwmon / "hwmon1" / name).read_text() for name in ("pwm1", "pwm1_enable")] == [f"{PWM_FULL}\n", "1\n"]
    assert (hwmon / "hwmon0" / "pwm1").read_text() == "20\n"


def test_then_the_program_runs_but_not_after_a_skip(hwmon: Path):
    line = shell_line(hwmon, "/bin/echo")
    for result, said in (
        ("signal", "-I -m thermal.safe\n"),
        ("watchdog", "-I -m thermal.safe\n"),
        ("exec-condition", ""),
    ):
        (hwmon / "hwmon1" / "pwm1").write_text("20\n")
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env={**os.environ, "SERVICE_RESULT": result},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == said
        assert (hwmon / "hwmon1" / "pwm1").read_text() == ("255\n" if said else "20\n")

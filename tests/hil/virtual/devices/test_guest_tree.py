"""The tree that is copied into the node's root: plain files, scripts that parse, units that name what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hil.virtual.devices.optics import FILE
from hil.virtual.passenger.seat import OPTICS_FILE, OPTICS_PATH

TREE = Path(__file__).resolve().parents[4] / "hil" / "virtual" / "guest"
UNITS = TREE / "etc" / "systemd" / "system"
SCRIPTS = TREE / "usr" / "local" / "lib" / "touchline-hil"
COMPILE = ["python3", "-m", "py_compile"]


def test_no_links_and_no_package():
    assert not [path for path in TREE.rglob("*") if path.is_symlink()]
    assert not list(TREE.rglob("__init__.py"))


@pytest.mark.parametrize(
    ("script", "check"),
    [("seat", ["sh", "-n"]), ("uart_clock", ["perl", "-c"]), ("phc_offset", COMPILE), ("optics", COMPILE)],
)
def test_scripts_parse(script, check, tmp_path):
    if shutil.which(check[0]) is None:
        pytest.skip(f"{check[0]} is not installed")
    copy = shutil.copy(SCRIPTS / script, tmp_path)
    subprocess.run([*check, copy], check=True, capture_output=True)


def test_what_units_and_rules_start_is_in_the_tree():
    text = "\n".join(path.read_text() for path in [*UNITS.rglob("*"), *TREE.rglob("*.rules")] if path.is_file())
    named = set(re.findall(r"/usr/local/lib/touchline-hil/(\w+)", text))
    assert named == {"optics", "seat", "uart_clock"}
    assert all((SCRIPTS / name).is_file() for name in named)


def test_masks_are_empty_files():
    masks = {path.name for path in UNITS.iterdir() if path.is_file() and path.stat().st_size == 0}
    assert {"systemd-logind.service", "apt-daily.timer"} <= masks
    assert not {name for name in masks if name.startswith("touchline")}


def test_two_cameras_have_two_names():
    rules = (TREE / "etc/udev/rules.d/90-touchline-hil.rules").read_text()
    links = re.findall(r'ATTR\{name\}=="vivid-00(\d)-vid-cap", SYMLINK="v4l/by-path/platform-vivid\.(\d)', rules)
    assert links == [("0", "0"), ("1", "1")]


def test_the_shared_camera_has_one_name_and_one_file():
    """What the passenger's configuration, the handle and the node's own files say of it."""
    rule = (TREE / "etc/udev/rules.d/90-touchline-hil.rules").read_text()
    label, link = re.findall(r'ATTR\{name\}=="([\w-]+)", SYMLINK\+="([\w-]+)"', rule)[0]
    assert f"card_label={label}" in (TREE / "etc/modprobe.d/touchline-hil.conf").read_text()
    unit = (UNITS / "touchline-hil-optics.service").read_text()
    assert f"/dev/{link}" == OPTICS_PATH
    assert FILE == OPTICS_FILE
    assert f"ConditionPathExists={FILE}" in unit
    assert f"/touchline-hil/optics {OPTICS_PATH} {FILE}" in unit

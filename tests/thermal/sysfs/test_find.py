"""Devices by what they say they are, on every release's names."""

from __future__ import annotations

import errno

import pytest

from tests.thermal.faketree import HWMON, THERMAL, ZONES_JP5, ZONES_JP6, ZONES_VIRTUAL, FakeTree, File
from thermal import safe
from thermal.sysfs import table
from thermal.sysfs.find import Finder
from thermal.sysfs.table import FAN, RAILS


@pytest.mark.parametrize("release", table.RELEASES)
def test_every_release_has_what_the_law_needs(release):
    named = {row.ours: getattr(row, release) for row in table.ZONES}
    assert named["tj"]
    assert named["cpu"]
    assert named["gpu"]
    assert getattr(table.FAN, release)
    assert getattr(table.TACHOMETER, release)


def test_no_two_rows_share_a_name():
    names = [name for row in (*table.ZONES, table.BOARD_ZONE) for name in row.names]
    assert len(names) == len(set(names))


def test_the_safe_program_knows_the_same_names():
    assert {safe.FAN} == FAN.names
    assert table.HWMON_FOLDER[1:] == safe.HWMON
    assert safe.VENDOR_UNIT == table.VENDOR_UNIT
    assert str(table.PWM_FULL) == safe.FULL


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (ZONES_JP6, {"cpu", "gpu", "cv0", "soc0", "soc1", "soc2", "tj"}),
        (ZONES_JP5, {"cpu", "gpu", "cv0", "soc0", "soc1", "tj"}),
        (ZONES_VIRTUAL, {"cpu", "gpu", "soc0", "tj"}),
        (("acpitz", "x86_pkg_temp"), set()),
    ],
)
def test_zones_by_type(kinds, found):
    tree = FakeTree(kinds)
    zones = Finder(tree).zones()
    assert set(zones) == found
    for ours, folder in zones.items():
        assert tree[f"{folder}/type"].text.lower().startswith(ours)


def test_a_zone_whose_type_cannot_be_read_is_missing_and_the_others_are_there():
    tree = FakeTree()
    tree[f"{THERMAL}/thermal_zone0/type"].read_errno = errno.EIO
    assert "cpu" not in Finder(tree).zones()
    assert "tj" in Finder(tree).zones()


def test_what_moved_is_found_anew_and_what_came_is_found():
    tree = FakeTree()
    finder = Finder(tree)
    assert finder.hwmon(FAN) == f"{HWMON}/hwmon2"
    tree.renumber()
    assert finder.hwmon(FAN) == f"{HWMON}/hwmon9"
    assert len(finder.hwmons(RAILS)) == 1
    tree.files[f"{HWMON}/hwmon11/name"] = tree.files.pop(f"{HWMON}/hwmon7/name")
    tree.files[f"{HWMON}/hwmon12/name"] = File("ina3221")
    assert len(finder.hwmons(RAILS)) == 2


def test_a_name_that_changes_in_place_is_seen():
    tree = FakeTree()
    finder = Finder(tree)
    assert finder.hwmon(FAN) == f"{HWMON}/hwmon2"
    tree[f"{HWMON}/hwmon2/name"].text, tree[f"{HWMON}/hwmon0/name"].text = "nvme", "pwmfan"
    assert finder.hwmon(FAN) == f"{HWMON}/hwmon0"

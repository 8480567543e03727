"""The fan by its registers: off underneath, lost writes, other numbers."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.thermal.faketree import HWMON, FakeTree, File
from thermal.sysfs.fan import SysfsFan, pwm_of, read_rpm
from thermal.sysfs.find import Finder


def fan_of(tree: FakeTree) -> SysfsFan:
    return SysfsFan(tree, Finder(tree))


@given(st.floats())
def test_the_register_never_gives_less_than_ordered(duty_pct):
    pwm = pwm_of(duty_pct)
    assert 0 <= pwm <= 255
    if 0 <= duty_pct <= 100:
        assert duty_pct - 1e-6 <= pwm * 100 / 255 < duty_pct + 100 / 255
    elif not duty_pct < 0:
        assert pwm == 255  # above the range, and what is no number


@given(duty=st.floats(0, 100), pwm=st.integers(0, 255), enable=st.integers(0, 3))
def test_from_any_state_the_fan_gets_what_was_ordered(duty, pwm, enable):
    tree = FakeTree()
    tree.fan.pwm, tree.fan.enable = pwm, enable
    assert fan_of(tree).set_duty(duty) is None
    assert (tree.fan.duty, tree.fan.enable) == (pwm_of(duty), 1)


class Ordered(FakeTree):
    """Remembers in which order files were written."""

    order: tuple[str, ...] = ()

    def write(self, path: str, data: str | bytes) -> None:
        self.order = (*self.order, path.rpartition("/")[2])
        super().write(path, data)


def test_duty_is_written_before_the_switch():
    tree = Ordered()
    tree.fan.enable = 0
    fan_of(tree).set_duty(50)
    assert tree.order == ("pwm1", "pwm1_enable", "pwm1")  # the first one was lost: it was off


def test_switched_off_reads_zero_whatever_the_register_says():
    tree = FakeTree()
    tree.fan.pwm, tree.fan.enable = 200, 0
    assert fan_of(tree).duty_pct().value == 0


def test_a_switch_that_cannot_be_read_is_no_duty_and_one_that_is_not_there_is_fine():
    tree = FakeTree()
    tree.attribute("pwmfan", "pwm1_enable").read_errno = errno.EIO
    assert fan_of(tree).duty_pct().errno == errno.EIO
    assert fan_of(FakeTree(enable=False)).duty_pct().value == pytest.approx(76 / 2.55)
    assert fan_of(FakeTree(enable=False)).set_duty(100) is None


@pytest.mark.parametrize("name", ["pwm1", "pwm1_enable"])
def test_a_refused_write_is_said(name):
    tree = FakeTree()
    tree.attribute("pwmfan", name).write_errno = errno.EACCES
    assert f"hwmon2/{name}: Permission denied" in (fan_of(tree).set_duty(50) or "")


def test_a_write_that_does_not_stay_is_said():
    tree = FakeTree()
    tree.fan.foreign = 51
    assert "reads 51 after 255 was written" in (fan_of(tree).set_duty(100) or "")


def test_no_fan_is_said_and_read_as_no_device():
    tree = FakeTree()
    tree.remove(f"{HWMON}/hwmon2")
    fan = fan_of(tree)
    assert "pwmfan" in (fan.set_duty(100) or "")
    assert fan.duty_pct().errno == errno.ENODEV


def test_the_tachometer_is_a_device_of_its_own_or_mainlines():
    tree = FakeTree()
    tree.fan.pwm = 255
    assert read_rpm(tree, Finder(tree)).value == 2900
    tree.attribute("pwm_tach", "rpm").read_errno = errno.EIO
    assert read_rpm(tree, Finder(tree)).errno == errno.EIO
    tree.remove(f"{HWMON}/hwmon1")
    assert read_rpm(tree, Finder(tree)).errno == errno.ENODEV
    tree.files[f"{HWMON}/hwmon2/fan1_input"] = File("1234")
    assert read_rpm(tree, Finder(tree)).value == 1234


def test_renumbered_between_two_writes():
    tree = FakeTree()
    fan = fan_of(tree)
    fan.set_duty(50)
    tree.renumber()
    assert fan.set_duty(100) is None
    assert tree.fan.duty == 255
    assert tree[f"{HWMON}/hwmon2/pwm1"].text == "33"

"""Thermal zones, fan, rails and accelerometer against recorded ports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.devices.fan import Fan, Rotor
from hil.virtual.devices.imu import Imu
from hil.virtual.devices.rails import RAILS, Rails
from hil.virtual.devices.registers import PWM, TACHOMETER, chip_offset, ina_code, tachometer_rpm, zone_offset
from hil.virtual.devices.thermal import Thermal
from hil.virtual.ports import GuestResult
from touchline.errors import ConfigError, HardwareError

from .fakes import FakeGuest, FakeRegisters

EIO = GuestResult(1, "", "cat: temp: Input/output error")
ABSENT = GuestResult(66, "", "")
ON = 1 << 31


def test_a_zone_is_set_fails_and_recovers():
    registers = FakeRegisters()
    thermal = Thermal(FakeGuest(), registers)
    thermal.set_c("tj-thermal", 65.0)
    good = registers.words[zone_offset("tj-thermal")]
    thermal.fail("tj-thermal")
    assert registers.words[zone_offset("tj-thermal")] == good & 0x3FF
    thermal.recover("tj-thermal")
    assert registers.words[zone_offset("tj-thermal")] == good


def test_a_wrong_zone_names_those_that_exist():
    with pytest.raises(ConfigError, match=r"no 'tj'.*cpu-thermal, gpu-thermal"):
        Thermal(FakeGuest(), FakeRegisters()).set_c("tj", 40.0)


def test_the_guest_reads_a_number_nothing_or_no_device():
    registers = FakeRegisters()
    assert Thermal(FakeGuest("65250\n"), registers).read_c("tj-thermal") == 65.25
    assert Thermal(FakeGuest(EIO), registers).read_c("tj-thermal") is None
    with pytest.raises(HardwareError, match="no /sys/class/thermal/thermal_zone device named 'tj-thermal'"):
        Thermal(FakeGuest(ABSENT), registers).read_c("tj-thermal")


def test_a_ramp_is_a_line_and_ends():
    registers = FakeRegisters()
    thermal = Thermal(FakeGuest(), registers)
    thermal.set_c("cpu-thermal", 40.0)
    ramp = thermal.ramp_c("cpu-thermal", 60.0, c_per_s=10.0)
    assert ramp.duration_s == 2.0
    assert [ramp.at_c(at_s) for at_s in (-1.0, 0.0, 0.5, 2.0, 9.0)] == [40.0, 40.0, 45.0, 60.0, 60.0]
    assert not ramp.step(1.9)
    assert ramp.step(2.0)


def test_no_ramp_from_a_failed_sensor():
    thermal = Thermal(FakeGuest(), FakeRegisters())
    with pytest.raises(HardwareError, match="recover"):
        thermal.ramp_c("cpu-thermal", 60.0)


@given(st.floats(0, 100), st.lists(st.floats(0.01, 2.0), max_size=20))
def test_the_rotor_stays_within_its_speeds(duty_pct, steps):
    rotor, rpm = Rotor(), 0.0
    for step_s in steps:
        rpm = rotor.after(rpm, duty_pct, step_s)
        assert 0.0 <= rpm <= rotor.full_rpm


def test_the_rotor_has_one_time_constant():
    rotor = Rotor(full_rpm=1000.0, tau_s=2.0)
    assert rotor.after(0.0, 100.0, 2.0) == pytest.approx(632.1, abs=0.1)
    assert rotor.after(0.0, 15.0, 60.0) == 0.0
    assert rotor.after(900.0, 15.0, 60.0) == pytest.approx(150.0)


def test_the_fan_follows_its_duty_stalls_and_is_released():
    registers = FakeRegisters()
    fan = Fan(FakeGuest(), registers)
    registers.words[PWM] = ON | (128 << 16)
    assert (fan.duty_pct(), fan.duty_raw, fan.enabled()) == (50.0, 128, True)
    fan.step(0.0)
    assert fan.step(30.0) == pytest.approx(1500.0, abs=1.0)
    fan.stall()
    assert tachometer_rpm(registers.words[TACHOMETER]) == 0
    assert fan.step(60.0) == 0.0
    fan.release()
    assert fan.step(61.5) == pytest.approx(948.0, abs=1.0)
    fan.fail_tachometer()
    assert tachometer_rpm(registers.words[TACHOMETER]) is None


def test_a_new_handle_takes_over_the_speed_that_is_shown():
    registers = FakeRegisters()
    Fan(FakeGuest(), registers).spin_rpm(1234.0)
    assert Fan(FakeGuest(), registers).rpm() == 1234.0


@given(st.sampled_from(sorted(RAILS)), st.floats(0, 100_000))
def test_a_rail_makes_the_power_within_half_a_step(rail, milliwatts):
    rails = Rails(FakeGuest(), FakeRegisters())
    rails.set_mw(rail, milliwatts)
    millivolts, milliamps = rails.set_as(rail)
    assert millivolts == RAILS[rail].usual_mv
    assert millivolts * milliamps / 1000 == pytest.approx(milliwatts, abs=millivolts * 0.01)


def test_the_shunt_sum_counts_the_summed_rails_only():
    registers = FakeRegisters()
    rails = Rails(FakeGuest(), registers)
    for rail, milliamps in (("VDD_GPU_SOC", 1000), ("VDD_CPU_CV", 500), ("VIN_SYS_5V0", 2000)):
        rails.set_ma(rail, milliamps)
    assert ina_code(registers.words[chip_offset(0x40, 0x0D)], shift=1) == 75


def test_a_chip_fails_with_all_its_rails_and_keeps_its_register():
    registers = FakeRegisters()
    registers.words[chip_offset(0x40)] = 0x2771
    rails = Rails(FakeGuest(), registers)
    assert rails.fail("VDD_CPU_CV") == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert registers.words[chip_offset(0x40)] == (1 << 31) | 0x2771
    rails.recover("VDD_CPU_CV")
    assert registers.words[chip_offset(0x40)] == 0x2771


def test_rails_as_the_guest_reads_them():
    assert Rails(FakeGuest("19000\n1320\n"), FakeRegisters()).read_mw("VDD_GPU_SOC") == 25_080.0
    assert Rails(FakeGuest(GuestResult(1, "", "")), FakeRegisters()).read_mw("VDD_GPU_SOC") is None
    with pytest.raises(HardwareError, match="no rail 'VDD_GPU_SOC'"):
        Rails(FakeGuest(ABSENT), FakeRegisters()).read("VDD_GPU_SOC")
    with pytest.raises(ConfigError, match="power rail: there is no 'VDD_IN'"):
        Rails(FakeGuest(), FakeRegisters()).read("VDD_IN")


def test_too_much_power_is_refused():
    with pytest.raises(ConfigError, match="rail VIN_SYS_5V0: 1e"):
        Rails(FakeGuest(), FakeRegisters()).set_mw("VIN_SYS_5V0", 1e6)


def test_the_accelerometer_follows_the_range_that_the_guest_chose():
    registers = FakeRegisters()
    imu = Imu(FakeGuest(), registers)
    imu.set_g(0.0, -0.5, 1.0)
    assert imu.set_as() == (0.0, -0.5, 1.0)
    registers.words[chip_offset(0x19, 0x23)] = 0x20
    imu.set_g(5.0, 0.0, 1.0)
    assert imu.set_as() == (5.0, 0.0, 1.0)


def test_the_accelerometer_as_the_guest_reads_it():
    shown = "0\n-500\n1000\n0.009806\n0.009806\n0.009806\n"
    assert Imu(FakeGuest(shown), FakeRegisters()).read_g() == pytest.approx((0.0, -0.5, 1.0), abs=1e-3)
    assert Imu(FakeGuest(GuestResult(1, "", "")), FakeRegisters()).read_g() is None

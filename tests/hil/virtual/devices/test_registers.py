"""Register encoding: round trips, limits, and words worked out by hand from the drivers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.devices import registers as r
from touchline.errors import ConfigError


def test_offsets_are_those_of_the_device_tree():
    assert r.zone_offset("cpu-thermal") == 0x10200
    assert r.zone_offset("tj-thermal") == 0x13200
    assert r.chip_offset(0x40) == 0x30000
    assert r.chip_offset(0x7F, 0xFF) + 4 == 0x40000


def test_a_temperature_word_worked_out_by_hand():
    assert r.temperature_word(65.0) == (1 << 16) | (1 << 10) | (65000 + 50000) // 250


@given(st.floats(r.MIN_C, r.MAX_C))
def test_temperatures_come_back_within_half_a_step(temp_c):
    word = r.temperature_word(temp_c)
    assert r.temperature_c(word) == pytest.approx(temp_c, abs=0.125)
    assert r.temperature_c(r.failed_temperature(word)) is None


@given(st.floats().filter(lambda value: not r.MIN_C <= value <= r.MAX_C))
def test_a_temperature_outside_the_sensor_is_refused(temp_c):
    with pytest.raises(ConfigError, match=r"temperature: .* is outside -50..205.75 C"):
        r.temperature_word(temp_c)


def test_pwm_words():
    assert r.pwm_duty_pct((1 << 31) | (128 << 16)) == 50.0
    assert r.pwm_duty_pct((1 << 31) | (256 << 16)) == 100.0
    assert r.pwm_duty_pct(256 << 16) == 0.0
    assert r.pwm_duty_raw(256 << 16) == 256


@given(st.integers(0, r.MAX_RPM))
def test_speeds_come_back(rpm):
    assert r.tachometer_rpm(r.tachometer_word(rpm)) == rpm


def test_an_invalid_tachometer_has_no_speed():
    assert r.tachometer_rpm(1234) is None


@given(st.integers(-4095, 4095))
def test_ina_codes_come_back(code):
    assert r.ina_code(r.ina_word(code)) == code
    assert r.ina_code(r.ina_word(2 * code, shift=1), shift=1) == 2 * code


def test_an_ina_word_worked_out_by_hand():
    assert r.ina_word(r.bus_code(19_000)) == r.swapped(2375 << 3)
    assert r.swapped(0x1234) == 0x3412


@given(st.floats(-163_800, 163_800))
def test_shunts_are_within_half_a_step(microvolts):
    assert r.shunt_code(microvolts) * r.SHUNT_UV == pytest.approx(microvolts, abs=20.0)


@pytest.mark.parametrize("millivolts", [-1.0, 26_001.0, float("nan")])
def test_a_bus_outside_the_chip_is_refused(millivolts):
    with pytest.raises(ConfigError, match=r"INA3221 bus: .* 0..26000 mV"):
        r.bus_code(millivolts)


@given(st.floats(-2.0, 2.0), st.sampled_from([0x00, 0x10, 0x20, 0x30]))
def test_accelerations_come_back_within_a_step(g, full_scale):
    step_mg = r.lis_step_mg(full_scale)
    assert r.lis_g(*r.lis_bytes(g, step_mg), step_mg) == pytest.approx(g, abs=step_mg / 1000)


def test_the_chip_saturates():
    assert r.lis_g(*r.lis_bytes(5.0, 1), 1) == 2.047
    assert r.lis_g(*r.lis_bytes(-5.0, 1), 1) == -2.048

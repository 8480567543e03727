"""``[thermal]``: what is refused, and with which words."""

import pytest

from thermal.control import Settings
from touchline.config import parse
from touchline.config.thermal import ThermalSection
from touchline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("set_point_c = 71.0", "must rise"),
        ("low_c = 67.0", "must rise"),
        ("cap_above_c = 75.0", "between set_point_c and cap_now_c"),
        ("cap_above_c = 66.8", "release_below_c 67"),
        ("period_s = 2.0\nstale_s = 3.0\ndeadline_s = 2.0", "deadline_s 2 must be longer"),
        ("stale_s = 1.0", "stale_s 1 must be longer"),
        ("ladder_cpu_mhz = [2000.0]", "as many rungs"),
        ("ladder_cpu_mhz = [1000.0, 2000.0]\nladder_gpu_mhz = [500.0, 400.0]", "must fall"),
        ("last_cpu_mhz = 800.0", "must fall"),
        ('stand_ins = ["tj"]', "stand in for tj"),
        ("min_duty_pct = 0.0", "20"),
        ("gain = 3.0", "unknown key"),
        ("down_pct_s = nan", "down_pct_s"),
    ],
)
def test_what_does_not_fit_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(text, ThermalSection)


def test_keys_come_in_the_units_of_the_law():
    section = parse(
        'period_s = 0.5\nladder_cpu_mhz = [1000.0]\nladder_gpu_mhz = [500.0]\ntachometer = "off"\nstand_ins = []',
        ThermalSection,
    )
    settings = Settings.from_section(section)
    assert settings.period_ns == 500_000_000
    assert settings.ladder == ((1e9, 5e8),)
    assert settings.last_rung == (268.8e6, 114.75e6)
    assert (settings.tachometer, settings.stand_ins) == (False, ())

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.plant.profiles import Phase, Profile, built_in
from thermal.plant.troubles import Trouble
from thermal.simulate.figures import figures
from thermal.simulate.laws import LAWS, FullLaw, LineLaw, OurLaw, asked_line_pct, law_of
from thermal.simulate.picture import clock_text, draw, minutes_text
from thermal.simulate.run import Plan, simulate
from thermal.types import Raw, Sample


def short(*troubles: Trouble, ambient_c: float = 25.0, load: float = 1.0, seconds: float = 900.0) -> Profile:
    phases = (Phase("rest", 60.0, 0.1, ambient_c), Phase("play", seconds, load, ambient_c))
    return Profile("short", "a short one", ambient_c, 0.0, phases, troubles)


def test_the_asked_line():
    assert [asked_line_pct(value) for value in (20.0, 55.0, 62.5, 70.0, 99.0)] == [30.0, 30.0, 65.0, 100.0, 100.0]
    assert asked_line_pct(68.0) == pytest.approx(90.67, abs=0.01)
    assert asked_line_pct(65.0, 5.0) == 100.0


def test_a_run_is_the_same_again_and_the_law_is_called_at_its_period():
    calls: list[int] = []
    runs = [
        simulate(Plan(short()), LineLaw(), each=lambda sample, command: calls.append(sample.at_ns)) for _ in range(2)
    ]
    assert runs[0].columns == runs[1].columns
    assert len(runs[0]) == 2 * 960 and len(calls) == 2 * 960
    assert calls[1] - calls[0] == 1_000_000_000
    assert [one.name for one in runs[0].phases] == ["rest", "play"]
    other = simulate(Plan(short(), seed=1), LineLaw())
    assert other.columns["tj_c"] != runs[0].columns["tj_c"]


@pytest.mark.parametrize("name", LAWS)
def test_each_law_goes_through_a_stretch_of_play(name):
    found = figures(simulate(Plan(short()), law_of(name)))
    assert 50.0 < found.peak_c < 70.0
    assert found.capped_s == 0.0


def test_ours_stays_below_68_where_the_line_does_not_and_never_below_the_line():
    ours, line = (simulate(Plan(short(seconds=1800.0)), law) for law in (OurLaw(), LineLaw()))
    assert max(ours["tj_c"]) < 68.0 < max(line["tj_c"])
    for place in range(200, len(ours)):
        if not math.isnan(ours["read_c"][place - 2]):
            seen = min(ours["read_c"][place - 4 : place + 1])
            assert ours["duty_pct"][place] >= asked_line_pct(seen) - 0.5


def test_thirty_seconds_without_sensors_stay_below_75_and_are_reported():
    profile = short(Trouble("zone_errno", 62.0, 30.0), seconds=600.0)
    run = simulate(Plan(profile), OurLaw())
    assert max(run["tj_c"]) < 75.0
    assert any(one.severity == "alarm" for one in run.faults)
    assert math.isnan(run["read_c"][150]) and not math.isnan(run["read_c"][300])


def test_in_heat_that_no_fan_holds_clocks_give_way():
    profile = short(ambient_c=38.0, seconds=1800.0)
    ours, full = (simulate(Plan(profile), law) for law in (OurLaw(), FullLaw()))
    assert max(full["tj_c"]) > 76.0
    assert max(ours["tj_c"]) < 74.0
    assert figures(ours).capped_s > 600.0


def test_a_stalled_fan_ends_in_low_clocks_and_a_picture_shows_it():
    run = simulate(Plan(short(Trouble("fan_stalled", 300.0, 500.0))), OurLaw())
    svg = draw(run, figures(run))
    texts = [node.text or "" for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
    assert any("fan_stalled" in text for text in texts)
    assert {"74 THM-3", "70 bar", "68 asked", "66.5 set point", "55 THM-4"} <= set(texts)
    assert "short: law ours" in texts and "rest" in texts
    assert len(svg) < 400_000


def test_the_picture_of_a_long_day_stays_small_and_keeps_the_spikes():
    run = simulate(Plan(built_in()["double-header"], tick_s=1.0), LineLaw())
    place = len(run) // 3
    run["tj_c"][place] = 77.0
    svg = draw(run, figures(run))
    assert len(svg) < 600_000
    y = 168.0 + 270.0 * (1 - (77.0 - 10.0) / 70.0)
    assert f",{y:.1f}" in svg
    with pytest.raises(ValueError, match="no rows"):
        draw(type(run)(run.profile, "x", 0, 1.0, 66.0), figures(run))


def test_a_law_that_cannot_read_leaves_the_fan():
    law = LineLaw()
    hot = Sample(1, {"tj": Raw(70.0)}, Raw(1.0), Raw(1.0))
    assert law.order(hot, 1).command.duty_pct == 100.0
    assert law.order(Sample(2, {"tj": Raw(None, 5)}, Raw(1.0), Raw(1.0)), 2).command.duty_pct == 100.0


@given(at_s=st.floats(0, 1e5))
def test_words_for_times(at_s):
    assert clock_text(at_s, True).count(":") == 2
    assert minutes_text(at_s).endswith(("s", "min"))

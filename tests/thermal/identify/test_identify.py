import json
import math

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from thermal.cli import thermal
from thermal.control import Settings
from thermal.identify.gains import keys, propose
from thermal.identify.lsq import fit, solve
from thermal.identify.model import Cooling, identify_cooling, predict
from thermal.identify.series import Series, series_of
from thermal.plant.physics import sink_conductance
from thermal.plant.profiles import Phase, Profile, built_in
from thermal.plant.spec import PlantSpec, Sensors
from thermal.record import Entry, Record
from thermal.simulate.laws import FullLaw, LineLaw
from thermal.simulate.run import Plan, simulate
from touchline.config.thermal import ThermalSection
from touchline.errors import InputError


def recorded(profile: Profile, law=None, spec: PlantSpec | None = None) -> Record:
    entries: list[Entry] = []
    simulate(
        Plan(profile, tick_s=1.0, spec=spec),
        law or LineLaw(),
        each=lambda sample, command: entries.append(Entry(sample, command)),
    )
    return Record(tuple(entries))


@pytest.fixture(scope="module")
def match() -> Record:
    return recorded(built_in()["match"])


def test_a_match_under_the_line_tells_the_nodes_numbers(match):
    series = series_of(match)
    found = identify_cooling(series)
    heat = PlantSpec().heat
    # per watt of the rails, which show 1/1.05 of the heat; the hot spot adds 0.07 K/W of the GPU's half to the die;
    # lags of sensors move a little from there to the heatsink
    assert 1.0 / found.cooling.conductance(1.0) == pytest.approx(1.05 / sink_conductance(heat, 1.0), rel=0.08)
    assert 1.0 / found.cooling.conductance(0.4) == pytest.approx(1.05 / sink_conductance(heat, 0.4), rel=0.08)
    assert found.cooling.c_sink_j_k == pytest.approx(heat.c_sink_j_per_k / 1.05, rel=0.08)
    assert 0.27 < found.cooling.r_die_k_w < 0.36
    assert 2.5 < found.cooling.tau_die_s < 8.0
    assert found.rms_k < 0.3 and found.held_out_rms_k < 0.4
    assert found.held_out_s == pytest.approx(0.3 * series.seconds, rel=0.01)
    assert series.full_rpm == pytest.approx(2900.0, rel=0.01)


def test_it_also_works_without_a_sensor_of_the_air_when_the_air_is_steady():
    spec = PlantSpec(sensors=Sensors(has_ambient=False))
    series = series_of(recorded(built_in()["match"], spec=spec))
    found = identify_cooling(series)
    assert series.air_c is None and found.cooling.air_c == pytest.approx(28.5, abs=4.0)
    assert found.held_out_rms_k < 1.0


def test_gains_are_within_what_the_configuration_takes(match):
    series = series_of(match)
    proposal = propose(series, identify_cooling(series).cooling, Settings())
    section = ThermalSection.model_validate(keys(proposal))
    assert 1.0 <= section.gain_pct_c <= 20.0 and 20.0 <= section.integral_s <= 200.0
    assert section.full_rpm == pytest.approx(2900.0, abs=30.0)
    assert section.sink_k_w == pytest.approx(0.45, abs=0.05)
    assert proposal.closed_loop_s >= proposal.delay_s


def test_a_record_that_does_not_excite_the_plant_is_refused():
    with pytest.raises(InputError, match="power moved by only"):
        identify_cooling(series_of(recorded(built_in()["idle"])))
    with pytest.raises(InputError, match="fan moved by only"):
        identify_cooling(series_of(recorded(built_in()["match"], FullLaw())))


def test_a_short_one_and_an_empty_one_are_refused():
    profile = Profile("short", "", 25.0, 0.0, (Phase("a", 600.0, 0.5, 25.0),))
    with pytest.raises(InputError, match=r"20 are needed"):
        series_of(recorded(profile))
    with pytest.raises(InputError, match="3 damaged"):
        series_of(Record((), 3))


def test_a_node_that_is_not_of_this_model_is_refused(match):
    series = series_of(match)
    wrong = [value + 8.0 * math.sin(place / 40.0) for place, value in enumerate(series.tj_c)]
    changed = Series(**{**{name: getattr(series, name) for name in Series.__slots__}, "tj_c": tuple(wrong)})
    with pytest.raises(InputError, match=r"the model misses tj|does not tell"):
        identify_cooling(changed)


def test_a_hole_splits_the_record(match):
    kept = match.entries[:2000] + match.entries[3000:]
    assert series_of(Record(kept)).seconds == pytest.approx(len(match.entries) - 3000, abs=4.0)


@settings(max_examples=30, deadline=None)
@given(
    power=st.lists(st.floats(5.0, 60.0), min_size=2, max_size=30),
    share=st.floats(0.0, 1.0),
    air=st.floats(-20.0, 45.0),
)
def test_the_model_settles_where_the_resistances_say(power, share, air):
    cooling = Cooling(0.3, 5.0, 250.0, 0.4, 1.8, air + 10.0, None)
    columns = [value for value in power for _ in range(5)] + [power[-1]] * 6000
    count = len(columns)
    series = Series(
        1.0,
        (0.0,) * count,
        tuple(columns),
        tuple(0.7 * value for value in columns),
        (share,) * count,
        (0.0,) * count,
        None,
        (air,) * count,
        None,
    )
    end = air + power[-1] / cooling.conductance(share) + 0.3 * 0.7 * power[-1]
    assert predict(series, cooling)[-1] == pytest.approx(end, abs=0.5)


@given(
    matrix=st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=3, max_size=3),
    wanted=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
)
def test_solve_solves_or_says_that_it_cannot(matrix, wanted):
    for place in range(3):
        matrix[place][place] += 40.0  # diagonally dominant: it has a solution
    right = [sum(a * b for a, b in zip(row, wanted, strict=True)) for row in matrix]
    assert solve(matrix, right) == pytest.approx(wanted, abs=1e-6)
    assert solve([[1.0, 2.0], [1.0, 2.0]], [1.0, 1.0]) is None


def test_fit_finds_a_curve_and_its_errors():
    xs = [place / 10 for place in range(100)]
    ys = [3.0 * math.exp(-0.7 * x) + 0.01 * math.sin(37.0 * x) for x in xs]
    found = fit(lambda p: [p[0] * math.exp(-p[1] * x) - y for x, y in zip(xs, ys, strict=True)], (1.0, 0.1))
    assert found.values == pytest.approx((3.0, 0.7), abs=0.02)
    assert found.rms < 0.01 and all(sigma < 0.01 for sigma in found.sigma)
    blind = fit(lambda p: [p[0] - 1.0 + 0.0 * p[1]] * 5, (0.0, 0.0))
    assert blind.values[0] == pytest.approx(1.0) and math.isinf(blind.sigma[1])


def test_the_command_prints_keys_to_paste(match, tmp_path):
    from thermal.record import encode

    path = tmp_path / "record.jsonl"
    path.write_bytes(b"".join(encode(one.sample, one.command) for one in match.entries) + b"torn")
    done = CliRunner().invoke(thermal, ["identify", str(path)])
    assert done.exit_code == 0, done.output
    assert "[thermal]\ngain_pct_c = " in done.output and "foretold the last" in done.output
    document = json.loads(CliRunner().invoke(thermal, ["identify", str(path), "--json"]).stdout)
    assert set(document["thermal"]) == {"gain_pct_c", "integral_s", "sink_k_w", "sink_s", "full_rpm"}
    missing = CliRunner().invoke(thermal, ["identify", str(tmp_path / "none.jsonl")])
    assert isinstance(missing.exception, InputError) and "does not exist" in missing.exception.message

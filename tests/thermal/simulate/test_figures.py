from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.plant.profiles import built_in
from thermal.simulate.figures import document, figures, held_by_full_fan, peak_where, reversals
from thermal.simulate.run import Run


def run_of(**columns: list[float]) -> Run:
    """A run of two ticks or more with these columns, plain ones else."""
    run = Run(built_in()["idle"], "test", 0, 1.0, 66.0)
    count = len(next(iter(columns.values())))
    for name in run.columns:
        plain = 1.0 if name in ("load", "done") else 0.0
        run.columns[name] = array("d", columns.get(name, [plain] * count))
    return run


@pytest.mark.parametrize(
    ("duty", "count"),
    [
        ([], 0),
        ([50.0], 0),
        ([30.0, 60.0, 90.0], 0),
        ([30.0, 60.0, 30.0], 1),
        ([30.0, 60.0, 57.0, 61.0, 58.0, 62.0], 0),
        ([60.0, 50.0, 60.0, 50.0], 2),
        ([60.0, 52.0, 54.0, 49.0, 58.0], 1),
    ],
)
def test_a_turn_counts_when_it_is_larger_than_five_percent(duty, count):
    assert reversals(duty) == count


@given(duty=st.lists(st.floats(0, 100), max_size=60))
def test_turns_are_the_same_from_the_mirror_and_doubled_points_change_nothing(duty):
    assert reversals([100.0 - value for value in duty]) == pytest.approx(reversals(duty))
    assert reversals([value for value in duty for _ in range(2)]) == reversals(duty)
    assert reversals(duty, 100.1) == 0


def test_times_above_and_the_mean_sound():
    found = figures(run_of(tj_c=[67.0, 69.0, 71.0, 73.0], rpm=[2900.0] * 4, duty_pct=[100.0] * 4, fan_w=[3.0] * 4))
    assert (found.peak_c, found.above_68_s, found.above_70_s) == (73.0, 3.0, 2.0)
    assert found.noise_dba == pytest.approx(42.0) and found.fan_wh == pytest.approx(12.0 / 3600)
    half = figures(run_of(tj_c=[60.0, 60.0], rpm=[1450.0] * 2))
    assert half.noise_dba == pytest.approx(42.0 - 15.05, abs=0.01)  # half the speed: 15 dB less
    assert figures(run_of(tj_c=[60.0], rpm=[0.0])).noise_dba == pytest.approx(15.0)


def test_the_deviation_counts_at_match_load_once_it_has_settled():
    load = [0.3] * 10 + [1.0] * 400
    found = figures(run_of(tj_c=[90.0] * 310 + [68.0] * 100, load=load))
    assert found.rms_k == pytest.approx(2.0)
    assert figures(run_of(tj_c=[60.0] * 400, load=[0.3] * 400)).rms_k is None


def test_lost_frames_are_a_share_of_the_asked_ones():
    found = figures(run_of(tj_c=[60.0, 60.0], load=[1.0, 0.5], done=[0.5, 1.0], cap_level=[2.0, 0.0]))
    assert found.lost_pct == pytest.approx(100 / 3)
    assert found.capped_s == 1.0


def test_where_the_full_fan_holds():
    marked = held_by_full_fan(run_of(tj_c=[60.0, 70.0, 60.0, 60.0, 70.1, 60.0, 60.0]), hold_s=2.0)
    assert marked == [True, True, False, False, False, True, True]
    assert peak_where(run_of(tj_c=[65.0, 69.0, 90.0, 0.0, 0.0, 0.0, 0.0]), marked) == 69.0
    assert peak_where(run_of(tj_c=[65.0]), [False]) is None


def test_the_document_is_plain():
    found = document(run_of(tj_c=[60.0, 61.0]), figures(run_of(tj_c=[60.0, 61.0])))
    assert found["figures"]["peak_c"] == 61.0 and found["figures"]["rms_k"] is None

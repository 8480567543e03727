"""Budget and over-current as faults, from judged rails and raw counters."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from thermal.power import CODES, NOT_HOT, PowerRules, PowerState, watch
from thermal.types import Failed, Fault, Fresh, Raw, Reading, Severity, Stale

S = 1_000_000_000
readings: st.SearchStrategy[Reading] = st.one_of(
    st.builds(Fresh, st.floats(-1, 300), st.integers(0, 10**12)),
    st.builds(Stale, st.floats(-1, 300), st.integers(0, 10**12), st.just("EIO")),
    st.builds(Failed, st.integers(0, 10**12), st.just("EIO")),
)
names = st.sampled_from(["VDD_IN", "VDD_GPU_SOC", "VDD_CPU_CV", "oc1", "oc2"])
raws = st.one_of(st.builds(Raw, st.floats()), st.just(Raw(None, 5)))


class Bench:
    def __init__(self) -> None:
        self.state, self.now_ns = PowerState(), 100 * S

    def looks(self, number: int, gpu_w: float | None, counters: Mapping[str, Raw] | None = None) -> tuple[Fault, ...]:
        for _ in range(number):
            self.now_ns += S
            gpu = Failed(0, "EIO") if gpu_w is None else Fresh(gpu_w, self.now_ns)
            rails = {"VDD_GPU_SOC": gpu, "VDD_CPU_CV": Fresh(15.0, self.now_ns)}
            self.state, faults = watch(PowerRules(), self.state, rails, counters or {}, self.now_ns)
        return faults


def test_over_the_budget_for_five_seconds_is_an_alarm_that_says_what_the_sum_is():
    bench = Bench()
    assert bench.looks(5, 41.0) == ()
    (fault,) = bench.looks(1, 41.0)
    assert (fault.code, fault.severity, fault.since_ns) == ("over_budget", Severity.ALARM, bench.now_ns)
    assert fault.text == "56.0 W, budget 55 (sum of the rails, below the wall's: no VDD_IN here)"
    (still,) = bench.looks(20, 39.0)  # below the budget, not below the band
    assert still.since_ns == fault.since_ns
    assert bench.looks(6, 37.0) == ()


def test_its_alarm_is_not_hot():
    assert set(CODES) >= NOT_HOT == {"over_budget"}


def test_a_lost_rail_is_said_and_ends_no_alarm():
    bench = Bench()
    bench.looks(6, 50.0)
    faults = bench.looks(10, None)
    assert {fault.code for fault in faults} == {"over_budget", "power_unknown"}
    assert "at least 15.0 W" in faults[0].text
    assert {fault.code for fault in bench.looks(1, 50.0)} == {"over_budget"}


def test_a_board_without_rails_or_counters_has_no_faults():
    state, faults = watch(PowerRules(), PowerState(), {}, {}, 5)
    assert (faults, state) == ((), PowerState())


def test_over_current_reset_and_unread():
    bench = Bench()
    assert bench.looks(1, 10.0, {"oc2": Raw(7.0)}) == ()
    (fault,) = bench.looks(1, 10.0, {"oc2": Raw(9.0)})
    assert (fault.code, fault.what, fault.severity) == ("over_current", "oc2", Severity.WARNING)
    assert fault.text == "average current: 2 events, 2 since the service began"
    assert bench.looks(61, 10.0, {"oc2": Raw(9.0)}) == ()
    (fault,) = bench.looks(1, 10.0, {"oc2": Raw(1.0)})
    assert (fault.code, fault.what) == ("oc_reset", "oc2")
    (fault,) = bench.looks(70, 10.0)
    assert (fault.code, fault.text) == ("oc_unread", "the counter cannot be read: missing")


@given(
    st.lists(
        st.tuples(
            st.dictionaries(names, readings, max_size=3),
            st.dictionaries(names, raws, max_size=3),
            st.integers(0, 10**11),
        ),
        max_size=12,
    )
)
def test_whatever_is_read_nothing_raises_and_every_code_is_explained(looks):
    state, now_ns = PowerState(), 0
    for rails, counters, step_ns in looks:
        now_ns += step_ns
        state, faults = watch(PowerRules(), state, rails, counters, now_ns)
        assert {fault.code for fault in faults} <= set(CODES)
        assert all(0 <= fault.since_ns <= now_ns for fault in faults)

"""Restart limits and the watchdog's food."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.supervise import Flow, RestartBudget, Verdict

S = 1_000_000_000


def test_a_clean_end_is_final_and_free():
    budget = RestartBudget(limit=0, window_s=60)
    assert budget.judge(0, 0) is Verdict.FINISHED


def test_what_a_restart_cannot_mend_is_not_restarted():
    for code in (2, 3, 4):
        assert RestartBudget(limit=5, window_s=60).judge(code, 0) is Verdict.GIVE_UP


def test_crashes_are_restarted_up_to_the_limit_within_the_window():
    budget = RestartBudget(limit=2, window_s=60)
    assert [budget.judge(-9, t * S) for t in (0, 1, 2)] == [Verdict.RESTART, Verdict.RESTART, Verdict.GIVE_UP]
    assert budget.judge(-9, 62 * S) is Verdict.RESTART
    assert budget.total == 3


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(0, 5), st.integers(1, 100))
def test_never_more_restarts_than_the_limit_in_any_window(gaps, limit, window_s):
    budget, now, restarts = RestartBudget(limit, window_s), 0, []
    for gap in gaps:
        now += gap
        if budget.judge(-11, now * S) is Verdict.RESTART:
            restarts.append(now)
    for start in restarts:
        assert sum(start <= t <= start + window_s for t in restarts) <= limit


def test_flow_needs_every_camera_to_move():
    flow = Flow(stall_s=2.0)
    flow.saw(1, 10, 0)
    assert not flow.alive(2, 0)
    flow.saw(2, 5, 0)
    assert flow.alive(2, S)
    flow.saw(1, 11, 2 * S)
    flow.saw(2, 5, 2 * S)
    assert flow.alive(2, 2 * S)
    assert flow.stalled(3 * S) == [2]
    assert not flow.alive(2, 3 * S)

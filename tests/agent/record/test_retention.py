"""Names that count, clocks that are believed late, and what is surely old."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.fragment import Mark
from agent.record.retention import (
    KEEP_FILES,
    SETTLE_NS,
    STEP_NS,
    Label,
    SteadyClock,
    label_of,
    name_of,
    old_files,
    order_key,
    utc_of,
)
from tests.agent.record.helpers import HEAD, PTP_NS
from touchline.timeline import ClockState

MARK = Mark(PTP_NS, 1, 250, 1, ClockState.LOCKED)
YEAR_NS = 365 * 24 * 3_600_000_000_000


def test_a_name_says_node_camera_number_time_and_stream():
    assert utc_of(1_800_000_000_123_456_789) == "20270115T075923.123456"  # 37 s of TAI taken off
    assert name_of(HEAD, MARK, 42) == "node-a_cam1_00000042_20270115T075923.000000Z_01234567.mp4"
    assert "000000U_" in name_of(HEAD, replace(MARK, state=ClockState.UNLOCKED), 42)


@given(
    ptp_us=st.integers(37_000_000, 250 * YEAR_NS // 1000),
    serial=st.integers(1, 10**12 - 1),
    state=st.sampled_from(ClockState),
    node=st.sampled_from(["a", "pitch-a1", "x_cam2", "n_cam1_00000009_20270115T075923.000000Z"]),
)
def test_a_name_is_read_as_it_was_written(ptp_us, serial, state, node):
    name = name_of(replace(HEAD, node=node), replace(MARK, ptp_ns=ptp_us * 1000, state=state), serial)
    assert label_of(Path("/x") / name) == Label(serial, ptp_us * 1000, state is not ClockState.UNLOCKED)


@given(st.text(max_size=80))
def test_any_other_name_is_nobodys_or_makes_sense(text):
    label = label_of(Path("/x") / f"{text.replace('/', '')}_.mp4")
    assert label is None or label.serial >= 0


@pytest.mark.parametrize("name", ["match.mp4", "a_cam1_20271315T075923.000000Z_01234567.mp4", "a_cam1_00000001.mp4"])
def test_names_that_are_not_ours(name):
    assert label_of(Path(name)) is None


def test_what_an_earlier_version_named_comes_first_by_its_time():
    names = [
        "b_cam1_20270115T075923.000000Z_01234567.mp4",
        "a_cam1_20280115T075923.000000Z_01234567-2.mp4",
        "a_cam1_00000009_20260115T075923.000000Z_01234567.mp4",
        "a_cam1_00000010_20250115T075923.000000Z_01234567.mp4",
        "a_cam1_123456789_20240115T075923.000000Z_01234567.mp4",
    ]
    assert sorted(map(Path, reversed(names)), key=order_key) == list(map(Path, names))
    labels = [label_of(Path(name)) for name in names]
    assert [label is not None and label.trusted for label in labels] == [False, False, True, True, True]


# --- the clock -------------------------------------------------------------------------------------------------------


class Hands:
    """A clock and the monotonic one beside it, both at zero."""

    def __init__(self) -> None:
        self.clock, self.now_ns, self.ahead_ns = SteadyClock(), 0, 0
        self.steps: list[int] = []

    def go(self, ns: int, state: ClockState = ClockState.LOCKED) -> str:
        self.now_ns += ns
        self.steps.append(
            self.clock.see(replace(MARK, ptp_ns=PTP_NS + self.now_ns + self.ahead_ns, state=state), self.now_ns)
        )
        return self.clock.doubt(self.now_ns)


def test_a_clock_is_believed_after_an_hour():
    hands = Hands()
    assert hands.clock.doubt(0) == "the clock is not locked"
    assert "60 min" in hands.go(0)
    assert hands.go(SETTLE_NS - 1) != ""
    assert hands.go(1) == ""
    assert hands.go(24 * SETTLE_NS) == ""  # a standby that wrote nothing for a day


def test_a_step_and_an_unlocked_moment_begin_the_hour_anew():
    for harm in ("step", "back", "unlocked"):
        hands = Hands()
        hands.go(0)
        assert hands.go(SETTLE_NS) == ""
        hands.ahead_ns = {"step": 10 * YEAR_NS, "back": -2 * STEP_NS}.get(harm, 0)
        assert hands.go(1000, ClockState.UNLOCKED if harm == "unlocked" else ClockState.HOLDOVER) != ""
        assert hands.steps[-1] == hands.ahead_ns
        assert hands.go(SETTLE_NS - 1) != ""
        assert hands.go(SETTLE_NS) == ""
        assert hands.steps[-2:] == [0, 0]


def test_late_frames_and_a_drifting_clock_are_no_steps():
    hands = Hands()
    hands.go(0)
    for _ in range(2000):
        hands.ahead_ns += 300_000_000  # 500 ppm of ten minutes, for two weeks
        hands.go(600_000_000_001)
    hands.ahead_ns -= 7_000_000_000  # a disk that stood still for 7 s
    assert hands.go(1) == ""
    assert not any(hands.steps)


# --- age -------------------------------------------------------------------------------------------------------------

labels = st.lists(st.builds(Label, st.just(1), st.integers(0, 2000), st.booleans()), max_size=30)


@given(labels=labels, oldest=st.integers(0, 1000))
def test_only_the_first_go_none_that_is_known_to_be_young_and_never_the_newest(labels, oldest):
    now_ns = 1000
    _, count = old_files(labels, now_ns, oldest)
    gone = labels[:count]
    assert count <= max(0, len(labels) - KEEP_FILES)
    assert all(label.ptp_ns < oldest for label in gone if label.trusted and label.ptp_ns <= now_ns)
    assert not gone or (gone[-1].trusted and gone[-1].ptp_ns < oldest)


def test_nothing_is_known_of_files_that_no_locked_clock_named():
    assert old_files([Label(n, n, False) for n in range(1, 50)], 10**18, 10**17) == (49 - KEEP_FILES, 0)


def test_a_file_from_the_future_goes_with_the_next_that_is_old():
    days = [Label(1, 100, True), Label(2, 10 * YEAR_NS, True), Label(3, 200, True), *([Label(4, 900, True)] * 5)]
    assert old_files(days, 1000, 500) == (2, 3)

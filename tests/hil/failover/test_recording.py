"""The judge of the film: even times pass, every way of doctoring them is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hil.failover.recording import SLACK_NS, judge_recording

PERIOD_NS = 40_000_000
EVEN = [number * PERIOD_NS for number in range(100)]


def found(times_ns: list[int], excused: tuple[tuple[int, int], ...] = (), decoded: int | None = None) -> str:
    count = len(times_ns) if decoded is None else decoded
    return "; ".join(judge_recording(times_ns, PERIOD_NS, excused, count, [])[1])


@given(st.lists(st.integers(-SLACK_NS // 2, SLACK_NS // 2), min_size=100, max_size=100))
def test_an_even_film_passes(errors_ns: list[int]):
    times_ns = [even + error for even, error in zip(EVEN, errors_ns, strict=True)]
    assert found(times_ns) == ""


@given(st.integers(1, 98))
def test_a_missing_picture_fails_unless_nobody_could_record(number: int):
    times_ns = EVEN[:number] + EVEN[number + 1 :]
    assert "a step of 80.0 ms" in found(times_ns)
    assert found(times_ns, ((EVEN[number] - 1, EVEN[number] + 1),)) == ""
    assert found(times_ns, ((EVEN[-1] + 1, EVEN[-1] + 2),)) != ""


@given(st.integers(1, 98))
def test_a_picture_twice_or_back_in_time_fails(number: int):
    assert "time goes back" in found([*EVEN[:number], EVEN[number - 1], *EVEN[number:]])


def test_pictures_that_cannot_be_decoded_fail():
    assert "99 of 100 pictures" in found(EVEN, decoded=99)
    assert judge_recording(EVEN, PERIOD_NS, (), 100, ["non-existing PPS"])[1] == (
        "recording: the decoder complains: non-existing PPS",
    )


def test_no_film_is_no_success():
    assert found([]) and found([1])

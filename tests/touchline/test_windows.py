"""Spans of time: what is written is what is covered, over midnight, zones and clock changes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchline.windows import DAYS, SingleWindow, covering, parse_window

MUNICH = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MUNICH)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("2026-11-21T18:00/21:30+01:00", ["2026-11-21T18:00", "2026-11-21T21:29"], ["2026-11-21T21:30"]),
        ("2026-11-21T17:00/20:30Z", ["2026-11-21T18:00", "2026-11-21T21:29"], ["2026-11-21T17:59"]),
        ("2026-11-21T22:00/00:30", ["2026-11-22T00:29"], ["2026-11-22T00:30", "2026-11-21T21:59"]),
        ("2026-11-21T22:00/2026-11-23T00:30", ["2026-11-22T12:00"], ["2026-11-23T00:30"]),
        ("Sat 14:00-23:00", ["2026-11-21T14:00", "2026-11-28T22:59"], ["2026-11-21T23:00", "2026-11-22T15:00"]),
        ("Sun 22:00-01:00", ["2026-11-22T23:00", "2026-11-23T00:59"], ["2026-11-22T00:30", "2026-11-23T01:00"]),
        ("Sat-Mon,Wed 09:00-24:00", ["2026-11-23T23:59", "2026-11-25T09:00"], ["2026-11-24T09:00", "2026-11-26T00:00"]),
        ("daily 00:00-24:00", ["2026-11-23T00:00", "2026-11-25T23:59"], []),
    ],
)  # fmt: skip
def test_what_is_covered(window, inside, outside):
    parsed = parse_window(window)
    assert parsed.text == window
    assert all(parsed.covers(at(one)) for one in inside)
    assert not any(parsed.covers(at(one)) for one in outside)


@pytest.mark.parametrize(
    ("window", "wrong"),
    [
        ("", "is no span"),
        ("saturday", "is no span"),
        ("Sat 14:00", "is no span"),
        ("Sam 14:00-15:00", "Sam is no day"),
        ("Sat 25:00-26:00", "25:00 is no time"),
        ("Sat 14:00-14:00", "begin and end are the same"),
        ("2026-02-30T18:00/21:00", "day is out of range|day .* must be"),
        ("2026-11-21T18:00/2026-11-20T21:00", "ends before it begins"),
        ("2026-11-21T18:00/2027-11-20T21:00", "more than 31 days"),
        ("9999-12-31T22:00/24:00", "write|ends"),
    ],
)
def test_what_cannot_be_read_says_the_shape(window, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_window(window)


def test_a_span_that_begins_soon_covers_too():
    windows = [parse_window("Sat 14:00-23:00")]
    assert covering(windows, at("2026-11-21T13:50"), timedelta(minutes=9)) is None
    assert covering(windows, at("2026-11-21T13:50"), timedelta(minutes=10)) is windows[0]
    with pytest.raises(ValueError, match="zone"):
        covering(windows, datetime(2026, 11, 21, 13, 50))  # noqa: DTZ001


def test_the_night_when_the_clock_is_set_back():
    window = parse_window("Sun 02:00-03:00")
    twice = [datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc) + timedelta(hours=n) for n in range(3)]
    assert [window.covers(one.astimezone(MUNICH)) for one in twice] == [True, True, False]


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1))  # noqa: DTZ001 - without a zone on purpose
clocks = st.times().map(lambda one: one.strftime("%H:%M"))


@given(st.sets(st.sampled_from(DAYS), min_size=1), clocks, clocks, moments)
def test_weekly_spans_agree_with_the_plain_definition(days, begin, end, moment):
    if begin == end:
        return
    window = parse_window(f"{','.join(sorted(days))} {begin}-{end}")
    start = moment.replace(hour=int(begin[:2]), minute=int(begin[3:]), second=0, microsecond=0)
    length = timedelta(hours=int(end[:2]) - int(begin[:2]), minutes=int(end[3:]) - int(begin[3:])) % timedelta(days=1)
    starts = [start - timedelta(days=back) for back in (0, 1)]
    wanted = any(DAYS[one.weekday()] in days and one <= moment < one + length for one in starts)
    assert window.covers(moment.replace(tzinfo=timezone.utc)) is wanted


@given(moments, st.integers(1, 1439), st.integers(-14 * 4, 14 * 4))
def test_single_spans_hold_in_their_zone(start, minutes, quarters):
    start = start.replace(second=0, microsecond=0)
    zone = f"{'-' if quarters < 0 else '+'}{abs(quarters) // 4:02d}:{abs(quarters) % 4 * 15:02d}"
    window = parse_window(f"{start:%Y-%m-%dT%H:%M}/{start + timedelta(minutes=minutes):%H:%M}{zone}")
    assert isinstance(window, SingleWindow)
    begin = start.replace(tzinfo=timezone(timedelta(minutes=15 * quarters))).astimezone(timezone.utc)
    for offset, wanted in ((-1, False), (0, True), (minutes - 1, True), (minutes, False)):
        assert window.covers(begin + timedelta(minutes=offset)) is wanted


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        assert parse_window(text).text == text.strip()
    except ValueError as error:
        assert text.strip() in str(error)

"""A stamp counted back to the clock that made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.mapping import Growth, Mapping
from agent.clock.page import Page, PageClock, write_page
from agent.uart.line import Raw
from agent.uart.times import raw_of
from touchline.timeline import ClockState, Stamp, SystemClock, Timebase, monotonic_ns

S = 1_000_000_000


def mapping(timebase: Timebase, base_ns: int, epoch: int = 3, rate_ppb: float = 25_000.0) -> Mapping:
    return Mapping(
        timebase=timebase,
        base_ns=base_ns,
        ptp_ns=1_795_254_037 * S,
        rate_ppb=rate_ppb,
        newest_ns=base_ns,
        bound_ns=100.0,
        growth=Growth(10.0, 1.0),
        locked=True,
        fresh_ns=10 * S,
        limit_ns=10**6,
        epoch=epoch,
    )


def clock_with(folder: Path, *mappings: Mapping) -> PageClock:
    write_page(folder, Page(os.getpid(), monotonic_ns(), {one.timebase: one for one in mappings}))
    return PageClock(folder)


def test_the_tsc_where_it_is_mapped(tmp_path: Path):
    tsc, raw = mapping(Timebase.TSC, 50 * S), mapping(Timebase.MONOTONIC_RAW, 40 * S)
    clock = clock_with(tmp_path, raw, tsc, mapping(Timebase.MONOTONIC, 30 * S))
    reading_ns = 51 * S + 123_456_789
    told = raw_of(clock, tsc.at(reading_ns))
    assert told is not None and told.timebase is Timebase.TSC
    assert abs(told.ns - reading_ns) <= 2


def test_the_next_best_clock(tmp_path: Path):
    raw = mapping(Timebase.MONOTONIC_RAW, 40 * S)
    told = raw_of(clock_with(tmp_path, raw, mapping(Timebase.MONOTONIC, 30 * S)), raw.at(41 * S))
    assert told is not None and told.timebase is Timebase.MONOTONIC_RAW and abs(told.ns - 41 * S) <= 2
    monotonic = mapping(Timebase.MONOTONIC, monotonic_ns())
    there_ns = monotonic_ns() - S // 10
    told = raw_of(clock_with(tmp_path, monotonic), monotonic.at(there_ns))
    assert told is not None and told.timebase is Timebase.MONOTONIC and abs(told.ns - there_ns) < 100_000


def test_another_epoch_is_not_known(tmp_path: Path):
    tsc = mapping(Timebase.TSC, 50 * S)
    assert raw_of(clock_with(tmp_path, tsc), Stamp(tsc.ptp_ns, 1, 2, ClockState.LOCKED)) is None


def test_the_system_clock_knows_its_monotonic_time():
    clock, there_ns = SystemClock(), monotonic_ns() - S // 50
    told = raw_of(clock, clock.at(there_ns))
    assert told is not None and told.timebase is Timebase.MONOTONIC
    assert abs(told.ns - there_ns) < 10_000_000  # NTP may slew between the two looks, and a refresh may fall in


@pytest.mark.parametrize("ptp_ns", [0, 2**63])
def test_a_time_that_has_no_room_is_not_known(tmp_path: Path, ptp_ns: int):
    tsc = mapping(Timebase.TSC, 0)
    told = raw_of(clock_with(tmp_path, tsc), Stamp(ptp_ns, 1, 3, ClockState.LOCKED))
    assert told is None or told.ns >= 0


@given(st.integers(0, 3600 * S), st.floats(-200_000, 200_000))
def test_counting_back_is_exact_to_a_few_ns(since_ns: int, rate_ppb: float):
    tsc = mapping(Timebase.TSC, 50 * S, rate_ppb=rate_ppb)
    assert abs(tsc.base_at(tsc.ptp_at(50 * S + since_ns)) - (50 * S + since_ns)) <= 2


def test_a_raw_time_is_plain_data():
    assert Raw(Timebase.TSC, 5) == Raw(Timebase.TSC, 5)

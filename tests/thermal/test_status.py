"""The status file: what is written is read back, and whatever is not a fresh status of ours is hot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.status import (
    MAX_BYTES,
    STALE_TICKS,
    ThermalStatus,
    decode,
    document,
    encode,
    read_status,
    status_path,
    write_status,
)
from thermal.types import Failed, Fault, Fresh, Reading, Severity, Stale

S = 1_000_000_000
names = st.text(min_size=1, max_size=8)
times = st.integers(0, 2**62)
numbers = st.floats(allow_nan=False, allow_infinity=False)
readings: st.SearchStrategy[Reading] = st.one_of(
    st.builds(Fresh, numbers, times), st.builds(Stale, numbers, times, names), st.builds(Failed, times, names)
)
tables = st.dictionaries(names, readings, max_size=4)
statuses = st.builds(
    ThermalStatus,
    node=names,
    at=names,
    at_ns=times,
    period_s=st.floats(0.1, 10),
    ticks=st.integers(0, 2**40),
    late_ticks=st.integers(0, 2**40),
    hot=st.booleans(),
    tj=readings,
    zones=tables,
    duty_pct=numbers,
    duty_read=readings,
    rpm=readings,
    cap_level=st.integers(0, 16),
    cap_levels=st.integers(0, 16),
    clock_hz=tables,
    power_w=tables,
    oc_events=st.dictionaries(names, st.integers(0, 2**40), max_size=4),
    budget_w=numbers,
    oc_counted=st.dictionaries(names, st.integers(0, 2**40), max_size=4),
    faults=st.lists(st.builds(Fault, names, names, st.sampled_from(Severity), names, times), max_size=4).map(tuple),
)


def a_status(at_ns: int = 100 * S, hot: bool = False, period_s: float = 1.0) -> ThermalStatus:
    fresh = Fresh(61.25, at_ns)
    return ThermalStatus(
        node="pitch-a1",
        at="2026-11-21T10:00:00Z",
        at_ns=at_ns,
        period_s=period_s,
        ticks=7,
        late_ticks=0,
        hot=hot,
        tj=fresh,
        zones={"tj": fresh, "gpu": Failed(3, "EAGAIN")},
        duty_pct=58.0,
        duty_read=Fresh(58.04, at_ns),
        rpm=Fresh(1700, at_ns),
        cap_level=0,
        cap_levels=6,
        clock_hz={"cpu": Fresh(2.2e9, at_ns)},
        power_w={"VDD_GPU_SOC": Fresh(15.0, at_ns), "VDD_CPU_CV": Fresh(9.0, at_ns)},
        oc_events={"oc1": 0},
    )


@given(statuses)
def test_what_is_written_is_read_back(status):
    assert decode(encode(status)) == status


@given(st.binary(max_size=200))
def test_garbage_is_hot(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_bytes(raw)
    assert read_status(path, 0).hot


@given(data=st.data(), junk=st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([None])))
def test_a_field_of_another_kind_is_hot(tmp_path_factory, data, junk):
    found = document(a_status())
    key = data.draw(st.sampled_from([k for k in found if k not in ("tj_c", "total_w", "hot", "node", "at")]))
    path = tmp_path_factory.getbasetemp() / "field.json"
    path.write_text(json.dumps({**found, key: junk}))
    told = read_status(path, 100 * S)
    assert told.hot
    assert "damaged" in told.why


def test_a_number_that_no_float_can_hold_is_hot(tmp_path: Path):
    path = tmp_path / "thermal.json"
    path.write_text(json.dumps({**document(a_status()), "duty_pct": 10**400}))
    told = read_status(path, 100 * S)
    assert told.hot
    assert "damaged" in told.why


def test_a_status_older_than_three_ticks_is_hot(tmp_path: Path):
    path = tmp_path / "thermal.json"
    write_status(path, a_status(period_s=2.0))
    last_ns = 100 * S + STALE_TICKS * 2 * S
    assert read_status(path, last_ns).good
    assert not read_status(path, last_ns).hot
    told = read_status(path, last_ns + 1)
    assert (told.good, told.hot) == (False, True)
    assert told.status == a_status(period_s=2.0)  # still there to be shown


def test_no_file_another_boot_a_long_file_and_a_hot_one(tmp_path: Path):
    path = status_path(tmp_path)
    assert "does not run" in read_status(path, 0).why
    write_status(path, a_status())
    assert "another boot" in read_status(path, 0).why
    write_status(path, a_status(hot=True))
    assert read_status(path, 100 * S).good
    assert read_status(path, 100 * S).hot
    path.write_bytes(b" " * (MAX_BYTES + 1))
    assert read_status(path, 0).hot
    path.unlink()
    path.mkdir()
    assert read_status(path, 0).hot


def test_the_file_is_for_all_to_read_and_no_link_at_its_place_is_followed(tmp_path: Path):
    target = tmp_path / "somebody's"
    target.write_text("precious")
    path = tmp_path / "thermal.json"
    path.symlink_to(target)
    with pytest.raises(OSError, match="a link is not replaced"):
        write_status(path, a_status())
    path.unlink()
    path.with_name("thermal.json.new").symlink_to(target)
    old = os.umask(0o077)
    try:
        write_status(path, a_status())
    finally:
        os.umask(old)
    assert target.read_text() == "precious"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir() if "new" in entry.name] == []


def test_numbers_that_only_fresh_readings_give():
    status = a_status()
    assert status.tj_c == 61.25
    assert status.total_w == 24.0
    lost = ThermalStatus(
        **{
            **{name: getattr(status, name) for name in ThermalStatus.__slots__},
            "tj": Stale(50, 0, "old"),
            "power_w": {**status.power_w, "VIN_SYS_5V0": Failed(0, "ENXIO")},
        }
    )
    assert (lost.tj_c, lost.total_w) == (None, None)


def test_a_number_that_is_none_is_not_written():
    status = a_status()
    broken = ThermalStatus(
        **{**{name: getattr(status, name) for name in ThermalStatus.__slots__}, "duty_pct": float("nan")}
    )
    with pytest.raises(ValueError, match="JSON"):
        encode(broken)

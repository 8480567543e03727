"""Tracks to records: fields, flags, keys, and nothing that is not finite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.records import FrameContext, records_of
from touchline.record import BatchHeader, Flag, detection_keys, pack_batch, unpack_batch
from touchline.timeline import ClockState, Stamp

LOCKED = Stamp(1_800_000_000_000_000_000, 80, 0, ClockState.LOCKED)


@dataclass
class People:
    xy_m: np.ndarray
    v_mps: np.ndarray
    a_mps2: np.ndarray
    height_m: np.ndarray
    boxes: np.ndarray
    predicted: np.ndarray
    classes: np.ndarray


def tracks(count: int) -> People:
    number = np.arange(count, dtype=np.float64)
    pairs = np.stack([number, number + 0.5], axis=1)
    return People(
        xy_m=pairs,
        v_mps=pairs * 0.1,
        a_mps2=pairs * 0.01,
        height_m=np.full(count, 1.8),
        boxes=np.tile(np.array([10, 20, 30, 80], np.float32), (count, 1)) + number[:, None].astype(np.float32),
        predicted=number % 2 == 1,
        classes=np.full(count, 3),
    )


def context(stamp: Stamp = LOCKED, **more: object) -> FrameContext:
    return FrameContext(camera=9, sequence=2**32 + 5, stamp=stamp, bound_limit_ns=100, **more)  # type: ignore[arg-type]


def test_every_field_is_where_it_belongs():
    records, left_out = records_of(tracks(4), context())
    assert left_out == 0
    assert records["x_m"].tolist() == [0, 1, 2, 3]
    assert records["vy_mps"].tolist() == [0.05, 0.15000000000000002, 0.25, 0.35000000000000003]
    assert set(records["camera"]) == {9}
    assert set(records["frame"]) == {5}
    assert set(records["ptp_ns"]) == {LOCKED.ptp_ns}
    assert not records["player"].any()
    assert np.array_equal(records["key"], detection_keys(9, LOCKED.ptp_ns, tracks(4).boxes))


def test_flags_tell_prediction_clock_role_and_class():
    records, _ = records_of(tracks(2), context(standby=True))
    good = Flag.CLOCK_IN_BOUND | Flag.FROM_STANDBY | 0x30
    assert records["flags"].tolist() == [good, good | Flag.PREDICTED]


def test_an_unlocked_or_too_uncertain_clock_loses_its_flag():
    for stamp in (Stamp(1, 101, 0, ClockState.LOCKED), Stamp(1, 5, 0, ClockState.UNLOCKED)):
        records, _ = records_of(tracks(1), context(stamp))
        assert not records["flags"][0] & Flag.CLOCK_IN_BOUND


def test_no_tracks_no_records():
    records, left_out = records_of(tracks(0), context())
    assert (len(records), left_out) == (0, 0)


@given(st.lists(st.sampled_from([0.0, 1.5, np.nan, np.inf, -np.inf]), min_size=1, max_size=30))
def test_what_is_not_finite_is_left_out_and_counted(values):
    made = tracks(len(values))
    made.xy_m[:, 0] = values
    records, left_out = records_of(made, context())
    assert left_out == sum(not np.isfinite(value) for value in values)
    assert np.isfinite(records["x_m"]).all()
    header = BatchHeader("n", bytes(16), 0, 0, 0, len(records))
    assert np.array_equal(unpack_batch(pack_batch(header, records))[1], records)

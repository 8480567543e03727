"""A lane does to frames what it is told, in the shares it is told, the same way for the same seed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.failover.impair import NS_PER_MS, Impairment, Lane, mac_bytes

A, B, C = (bytes.fromhex(f"0200000000{n:02x}") for n in (1, 2, 3))
FRAME = A + B + b"\x08\x00" + bytes(46)
MANY = 20_000


def run(lane: Lane, count: int, gap_ns: int = NS_PER_MS, frame: bytes = FRAME) -> list[tuple[int, ...]]:
    return [lane.offer(number * gap_ns, frame) for number in range(count)]


def test_no_impairment_hands_every_frame_on_at_once():
    assert run(Lane(1), 100) == [(number * NS_PER_MS,) for number in range(100)]


def test_a_cut_lets_nothing_through_and_its_end_everything():
    lane = Lane(1, Impairment(cut=True))
    assert run(lane, 10) == [()] * 10
    lane.set(Impairment())
    assert lane.offer(5, FRAME) == (5,)
    assert lane.counters.as_dict() == {
        "seen": 11,
        "sent": 0,
        "lost": 10,
        "duplicated": 0,
        "reordered": 0,
        "refused": 0,
    }


@pytest.mark.parametrize(("percent", "burst"), [(5.0, 1.0), (20.0, 1.0), (5.0, 4.0), (30.0, 3.0), (100.0, 1.0)])
def test_the_share_lost_and_the_length_of_bursts_are_those_asked_for(percent: float, burst: float):
    passed = [bool(due) for due in run(Lane(3, Impairment(loss_pct=percent, burst=burst)), MANY)]
    assert passed.count(False) / MANY == pytest.approx(percent / 100, rel=0.15)
    if percent < 100:
        bursts = sum(before and not after for before, after in pairwise([True, *passed]))
        expected = burst if burst > 1 else 1 / (1 - percent / 100)
        assert passed.count(False) / bursts == pytest.approx(expected, rel=0.15)


def test_duplicates_are_two_at_the_same_moment():
    due = run(Lane(5, Impairment(duplicate_pct=10.0)), MANY)
    assert sum(len(one) == 2 for one in due) / MANY == pytest.approx(0.1, rel=0.15)
    assert all(len(set(one)) == 1 for one in due)


@given(st.integers(0, 2**32), st.floats(0, 50), st.floats(0, 50))
def test_delay_and_jitter_keep_the_order_and_their_bounds(seed: int, delay_ms: float, jitter_ms: float):
    lane = Lane(seed, Impairment(delay_ms=delay_ms, jitter_ms=jitter_ms))
    due = [one for (one,) in run(lane, 200)]
    assert due == sorted(due)
    for number, one in enumerate(due):
        waited_ms = one / NS_PER_MS - number
        assert max(0.0, delay_ms - jitter_ms) - 1e-6 <= waited_ms <= delay_ms + jitter_ms + 1e-6


def test_reordered_frames_are_passed_by_others():
    lane = Lane(7, Impairment(delay_ms=1.0, reorder_pct=10.0, reorder_ms=5.0))
    due = [one for (one,) in run(lane, MANY)]
    late = sum(before > after for before, after in pairwise(due))
    assert late / MANY == pytest.approx(0.09, rel=0.2)  # one behind another is late once
    assert lane.counters.reordered / MANY == pytest.approx(0.1, rel=0.15)


@given(st.integers(0, 2**32))
def test_the_same_seed_does_the_same(seed: int):
    rough = Impairment(loss_pct=10, burst=2, delay_ms=3, jitter_ms=2, duplicate_pct=5, reorder_pct=5)
    assert run(Lane(seed, rough), 200) == run(Lane(seed, rough), 200)


def test_a_peer_alone_is_cut_off():
    lane = Lane(1, Impairment(cut=True, peer=B.hex(":")))
    assert lane.offer(1, FRAME) == ()
    assert lane.offer(2, B + A + bytes(48)) == ()
    assert lane.offer(3, A + C + bytes(48)) == (3,)
    assert lane.offer(4, b"\xff" * 6 + C + bytes(48)) == (4,)


@pytest.mark.parametrize(
    "wrong",
    [{"loss_pct": 101}, {"loss_pct": -1}, {"delay_ms": -1}, {"burst": 0.5}, {"peer": "x"}, {"peer": "02:00"}],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float | str]):
    with pytest.raises(ValueError):
        Impairment.from_dict(wrong)


def test_an_unknown_key_is_refused():
    with pytest.raises(ValueError, match="unknown: los_pct"):
        Impairment.from_dict({"los_pct": 3})


def test_addresses_are_six_bytes():
    assert mac_bytes("02:00:00:00:00:0a") == bytes.fromhex("02000000000a")

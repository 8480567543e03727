"""Token buckets: the long run, the burst, and that strangers cannot use up a known host's share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from failover.wire.door import MAX_SOURCES, NS_PER_S, Bucket, Door


def test_a_burst_then_the_rate():
    bucket = Bucket(10.0, 5)
    assert [bucket.take(0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(NS_PER_S // 10 - 1)
    assert bucket.take(NS_PER_S // 10)
    assert [bucket.take(60 * NS_PER_S) for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.integers(0, NS_PER_S), min_size=1, max_size=200), st.integers(1, 200), st.integers(1, 50))
def test_never_more_than_burst_and_rate(waits, rate_hz, burst):
    bucket, now_ns, taken = Bucket(float(rate_hz), burst), 0, 0
    for wait_ns in waits:
        now_ns += wait_ns
        taken += bucket.take(now_ns)
    assert taken <= burst + now_ns * rate_hz // NS_PER_S + 1


def test_strangers_share_and_known_hosts_do_not():
    door = Door(("10.0.0.1",))
    let_in = sum(door.knock(f"192.0.2.{number % 250}", 0) for number in range(5_000))
    assert let_in == 50
    assert door.knock("10.0.0.1", 0)
    door.vouch("10.0.0.2")
    assert door.knock("10.0.0.2", 0)
    assert not door.knock("10.0.0.3", 0)


def test_one_host_has_its_own_limit():
    door = Door()
    assert sum(door.knock("192.0.2.1", 0) for _ in range(1_000)) == 20
    assert door.knock("192.0.2.2", 0)


def test_what_is_remembered_is_bounded():
    door = Door()
    for number in range(3 * MAX_SOURCES):
        door.knock(f"10.1.{number // 250}.{number % 250}", number * NS_PER_S)
        door.vouch(f"10.2.{number // 250}.{number % 250}")
    assert len(door._hosts) == len(door._vouched) == MAX_SOURCES

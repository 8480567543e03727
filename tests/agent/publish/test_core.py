"""Retry, in-flight window, pace and documents: pure, time given."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.publish.core import FlowCore, FlowPolicy, LinkCore, LinkPolicy, Phase
from agent.publish.documents import DocumentPolicy, Documents
from agent.publish.segment import Entry

S = 1_000_000_000


def entry(size: int = 1000) -> Entry:
    return Entry(1, 0, 10, size)


def test_retries_back_off_to_the_bound_and_start_anew_after_progress() -> None:
    link = LinkCore(LinkPolicy(first_retry_s=0.1, max_retry_s=1.0), 0, lambda: 1.0)
    now_ns, waits = 0, []
    for _ in range(6):
        assert link.should_dial(now_ns)
        assert not link.should_dial(now_ns), "one attempt at a time"
        link.failed(now_ns)
        assert link.wake_ns is not None
        waits.append((link.wake_ns - now_ns) / S)
        assert not link.should_dial(link.wake_ns - 1)
        now_ns = link.wake_ns
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert link.should_dial(now_ns)
    link.dialled(now_ns)
    link.greeted(now_ns, wait_for_sink=False)
    link.progressed()
    link.failed(now_ns)
    assert link.wake_ns == now_ns + S // 10


def test_a_broker_that_accepts_and_drops_is_not_hammered() -> None:
    link = LinkCore(LinkPolicy(first_retry_s=0.1, max_retry_s=1.0), 0, lambda: 1.0)
    now_ns = 0
    for _ in range(8):
        assert link.should_dial(now_ns)
        link.dialled(now_ns)
        link.greeted(now_ns, wait_for_sink=False)
        link.failed(now_ns)
        assert link.wake_ns is not None
        waited_ns, now_ns = link.wake_ns - now_ns, link.wake_ns
    assert waited_ns == S


def test_a_connection_that_held_for_long_counts_as_success() -> None:
    link = LinkCore(LinkPolicy(first_retry_s=0.1, max_retry_s=1.0), 0, lambda: 0.0)
    for _ in range(5):
        link.failed(0)
    assert link.should_dial(S)
    link.dialled(S)
    link.greeted(S, wait_for_sink=False)
    link.failed(10 * S)
    assert link.wake_ns == 10 * S + S // 20, "half of the first delay: the jitter's lower end"


def test_greeting_has_a_deadline() -> None:
    link = LinkCore(LinkPolicy(greeting_timeout_s=2.0), 0, lambda: 1.0)
    assert link.should_dial(0)
    assert link.wake_ns is None
    link.dialled(S)
    assert not link.greeting_overdue(3 * S - 1)
    assert link.greeting_overdue(3 * S)


def test_sink_opens_and_closes_the_gate() -> None:
    link = LinkCore(LinkPolicy(), 0, lambda: 1.0)
    link.should_dial(0)
    link.dialled(0)
    link.greeted(0, wait_for_sink=True)
    phases = [link.phase]
    for event in (link.sink_heard, link.sink_gone):
        event()
        phases.append(link.phase)
    assert phases == [Phase.LISTENING, Phase.OPEN, Phase.LISTENING]


def test_window_bounds_batches_and_bytes() -> None:
    flow = FlowCore(FlowPolicy(max_in_flight=3, max_in_flight_bytes=2500, drain_bytes_per_s=0.0), 0)
    for mid in range(3):
        assert flow.may_send(0)
        flow.sent(mid, entry(), 0)
    assert not flow.may_send(0)
    assert flow.acknowledged(1) is not None
    assert flow.acknowledged(1) is None
    assert flow.may_send(0)
    flow.reset(receive_maximum=1)
    flow.sent(9, entry(), 0)
    assert not flow.may_send(0), "an MQTT 5 broker's Receive Maximum lowers the window"


def test_overdue_looks_at_the_oldest() -> None:
    flow = FlowCore(FlowPolicy(), 0)
    assert not flow.overdue(99 * S, 1.0)
    flow.sent(1, entry(), 0)
    flow.sent(2, entry(), 5 * S)
    assert flow.overdue(2 * S, 1.0)
    flow.acknowledged(1)
    assert not flow.overdue(6 * S, 1.0)


@given(st.lists(st.integers(100, 100_000), min_size=1, max_size=200), st.floats(1e4, 1e7))
def test_drain_keeps_its_pace(sizes: list[int], rate: float) -> None:
    policy = FlowPolicy(max_in_flight=10_000, max_in_flight_bytes=1 << 40, drain_bytes_per_s=rate)
    flow = FlowCore(policy, 0)
    now_ns = sent = 0
    for mid, size in enumerate(sizes):
        if not flow.may_send(now_ns):
            now_ns += flow.pace_ns(now_ns)
            assert flow.may_send(now_ns)
        flow.sent(mid, entry(size), now_ns)
        sent += size
    assert sent <= rate * (now_ns / S + 0.25) + max(sizes) + 1


def test_only_the_newest_state_is_told_and_not_too_often() -> None:
    documents = Documents(DocumentPolicy(interval_s=1.0))
    for n in range(3):
        documents.set_state("t", {"n": n}, 0)
    first = documents.next(0)
    assert first is not None
    assert json.loads(first.payload) == {"n": 2}
    documents.set_state("t", {"n": 3}, S // 2)
    assert documents.next(S // 2) is None
    assert documents.due_ns() == S
    assert documents.next(S) is not None
    assert documents.due_ns() is None


def test_events_keep_their_order_over_a_reconnect_and_are_bounded() -> None:
    documents = Documents(DocumentPolicy(max_events=3, events_per_s=1000.0))
    for n in range(5):
        documents.add_event("e", {"n": n})
    assert documents.events_dropped == 2
    now_ns = 0
    for mid in range(2):
        message = documents.next(now_ns)
        assert message is not None
        documents.sent(mid, message)
        now_ns += S
    documents.acknowledged(0)
    documents.reset(now_ns)
    taken = documents.next(now_ns)
    assert taken is not None
    documents.put_back(taken)
    now_ns += S
    left = []
    while (message := documents.next(now_ns)) is not None:
        left.append(json.loads(message.payload)["n"])
        now_ns += S
    assert left == [3, 4]


def test_documents_that_are_no_json_or_too_large_are_our_mistake() -> None:
    documents = Documents(DocumentPolicy())
    with pytest.raises(ValueError, match="JSON"):
        documents.set_state("t", {"x": float("nan")}, 0)
    with pytest.raises(ValueError, match="at most"):
        documents.add_event("t", {"x": "x" * 70_000})

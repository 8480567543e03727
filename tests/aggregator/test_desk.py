"""One message, one decision: every record ends in exactly one place."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.accept import Acceptor
from aggregator.core.dedupe import Deduper
from aggregator.core.desk import Desk, frame_groups
from aggregator.core.validate import Limits, Reason
from tests.aggregator.match import BOOT, T0_NS, Match, Node, rows
from touchline.record import BatchHeader, new_records, pack_batch

STEP_NS = 40_000_000


def desk(**limits: Any) -> Desk:
    return Desk(Deduper(), Acceptor(rate_hz=25.0), Limits(**limits), park_ns=100, max_parked=10)


def test_a_batch_is_taken_once():
    node, one = Node(), desk()
    data = node.batch(Match().seen(0, 0, 0.0, T0_NS))
    first = one.message(node.topic, data, 0)
    again = one.message(node.topic, data, 1)
    assert len(first.taken[0].records) == again.redelivered > 10
    assert first.taken[0].numbers.tolist() == list(range(again.redelivered))
    assert not again.taken and not again.parked


def test_an_overlapping_batch_gives_only_its_new_records():
    one = desk()
    records = rows(0, 0, T0_NS, [(x, 5) for x in range(10)])
    head = BatchHeader("node-a", BOOT, 1, 0, 0, 6)
    one.message("tl/v1/node-a/det", pack_batch(head, records[:6]), 0)
    longer = BatchHeader("node-a", BOOT, 1, 1, 2, 8)
    outcome = one.message("tl/v1/node-a/det", pack_batch(longer, records[2:]), 0)
    assert outcome.redelivered == 4
    assert outcome.taken[0].numbers.tolist() == [6, 7, 8, 9]
    assert outcome.taken[0].records["x_m"].tolist() == [6, 7, 8, 9]


def test_a_frame_split_over_two_batches_is_one_frame():
    node, one = Node(), desk()
    records = Match().seen(0, 3, 0.0, T0_NS)
    a = one.message(node.topic, node.batch(records[:5]), 0)
    b = one.message(node.topic, node.batch(records[5:]), 0)
    assert len(a.taken[0].records) + len(b.taken[0].records) == len(records)


def test_a_twin_is_parked_and_settled_by_time():
    a, b, one = Node("a"), Node("b"), desk()
    one.message(a.topic, a.batch(rows(0, 0, T0_NS, [(1, 1)])), 0)
    early = one.message(b.topic, b.batch(rows(0, 1, T0_NS + STEP_NS, [(1, 1), (2, 2)], salt=1)), 0)
    assert len(early.parked) == 1 and one.parked_frames == 1
    assert not one.tick(99).unparked
    late = one.tick(100)
    assert len(late.taken[0].records) == 2 and one.parked_frames == 0
    copy = one.message(a.topic, a.batch(rows(0, 1, T0_NS + STEP_NS + 999, [(1, 1)])), 200)
    assert copy.twin_copies == 1 and not copy.taken


def test_parked_frames_are_bounded():
    a, b, one = Node("a"), Node("b"), desk()
    one.message(a.topic, a.batch(rows(0, 0, T0_NS, [(1, 1)])), 0)
    for frame in range(1, 30):
        one.message(b.topic, b.batch(rows(0, frame, T0_NS + frame * STEP_NS, [(1, 1)])), 0)
    settled = one.tick(1)
    assert one.parked_frames == 10 and len(settled.taken) == 19


def test_records_that_are_no_numbers_are_refused_one_by_one():
    node, one = Node(), desk()
    records = rows(0, 0, T0_NS, [(1, 1), (2, 2), (3, 3)])
    records["vx_mps"][1] = np.nan
    records["height_m"] = np.nan  # unknown height is allowed
    outcome = one.message(node.topic, node.batch(records), 0)
    assert outcome.non_finite == 1
    assert outcome.taken[0].numbers.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("topic", "data", "reason"),
    [
        ("tl/v1/node-b/det", None, Reason.NODE_MISMATCH),
        ("tl/v1/node-c/det", None, Reason.NODE_UNKNOWN),
        ("tl/v2/node-a/det", None, Reason.TOPIC),
        ("tl/v1/node-a/det", b"", Reason.TRUNCATED),
        ("tl/v1/node-a/det", b"\0" * 80, Reason.FOREIGN),
        ("tl/v1/node-a/det", b"\0" * 20_000, Reason.TOO_LARGE),
        ("tl/v1/node-a/health", b"[1]", Reason.DOCUMENT),
        ("tl/v1/node-a/health", b'{"x": NaN}', Reason.DOCUMENT),
        ("tl/v1/node-a/event", b"[" * 60_000, Reason.DOCUMENT),
        ("tl/v1/node-a/clock", b"\xff\xfe", Reason.DOCUMENT),
        ("tl/v1/node-a/clock", b" " * 70_000, Reason.TOO_LARGE),
    ],
)
def test_refusals_have_their_reason(topic, data, reason):
    good = Node("node-a").batch(rows(0, 0, T0_NS, [(1, 1)]))
    one = desk(max_message_bytes=10_000, nodes=frozenset({"node-a", "node-b"}))
    outcome = one.message(topic, good if data is None else data, 0)
    assert outcome.refusal is not None and outcome.refusal.reason is reason
    assert not outcome.taken


def test_numbers_that_no_node_can_reach_are_refused():
    records = rows(0, 0, T0_NS, [(1, 1)])
    for head in (
        BatchHeader("node-a", BOOT, 2**63, 0, 0, 1),
        BatchHeader("node-a", BOOT, 0, 0, 2**64 - 1, 1),
        BatchHeader("node-a", BOOT, 0, 2**62, 0, 1),
    ):
        outcome = desk().message("tl/v1/node-a/det", pack_batch(head, records), 0)
        assert outcome.refusal is not None and outcome.refusal.reason is Reason.OUT_OF_RANGE
    records["ptp_ns"] = 2**64 - 1
    outcome = desk().message("tl/v1/node-a/det", Node().batch(records), 0)
    assert outcome.refusal is not None and outcome.refusal.reason is Reason.OUT_OF_RANGE


@given(st.integers(0, 10**9), st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_batches_never_raise_and_never_count(seed, data):
    node = Node()
    good = bytearray(node.batch(Match(8, seed % 50).seen(0, 0, 0.0, T0_NS)))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    outcome = desk().message(node.topic, bytes(good[:cut]), 0)
    if outcome.refusal is None:  # two flips may undo each other
        assert bytes(good[:cut]) == node.sent[0]


@given(st.text(max_size=40), st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_anything_from_the_network_is_a_value(topic, payload):
    one = desk()
    for name in (topic, "tl/v1/x/det", "tl/v1/x/health", "tl/v1/x/event"):
        one.message(name, payload, 0)


def test_frames_are_split_by_camera_and_exposure():
    parts = [rows(2, 7, T0_NS, [(1, 1), (2, 2)]), rows(1, 7, T0_NS, [(3, 3)]), rows(2, 8, T0_NS + 5, [(4, 4)])]
    mixed = np.concatenate([parts[2], parts[0][:1], parts[1], parts[0][1:]])
    groups = frame_groups(mixed)
    assert [(e.camera, e.frame, len(i)) for e, i in groups] == [(1, 7, 1), (2, 7, 2), (2, 8, 1)]
    assert frame_groups(new_records(0)) == []

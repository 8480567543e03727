"""What a datagram is: the answer waited for, a notification, late, somebody else's, or nonsense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.clock.management.datasets import PortDataSet, TimeStatusNp
from agent.clock.management.inbox import ASKING_PORT, EVENTS_PORT, MAX_WAITING, Inbox, Question
from agent.clock.management.values import Action, ClockIdentity, ErrorCode, PortIdentity
from agent.clock.management.wire import ErrorStatus, Management, Message, decode, encode
from tests.agent.clock.management.golden import golden

US = ClockIdentity(b"ourselfs")
STATUS = TimeStatusNp.MANAGEMENT_ID


def message(name: str = "TIME_STATUS_NP", port: int = ASKING_PORT, sequence_id: int = 5, **changes: object) -> Message:
    raw = replace(decode(golden(name)), target=PortIdentity(US, port), sequence_id=sequence_id)
    return replace(raw, **changes)  # type: ignore[arg-type]


@pytest.fixture
def inbox():
    made = Inbox(US)
    made.expect([Question(ASKING_PORT, 5, STATUS)])
    return made


def test_the_answer_that_is_waited_for_comes_back(inbox):
    assert inbox.accept(encode(message()), 1) == message()
    assert inbox.counters.answers == 1


def test_a_refusal_is_an_answer(inbox):
    refusal = message(body=ErrorStatus(ErrorCode.NOT_SUPPORTED, STATUS))
    assert inbox.accept(encode(refusal), 1) == refusal


@pytest.mark.parametrize(
    "other",
    [message(sequence_id=4), message("CURRENT_DATA_SET"), message(port=9)],
    ids=["an old sequence", "another data set", "another port of ours"],
)
def test_a_late_answer_is_counted_and_passed_over(inbox, other):
    assert inbox.accept(encode(other), 1) is None
    assert inbox.counters.late == 1


def test_an_answer_to_somebody_else_is_counted_and_passed_over(inbox):
    assert inbox.accept(golden("TIME_STATUS_NP"), 1) is None
    assert inbox.counters.foreign == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 60,
        encode(message())[:-1],
        encode(message(action=Action.GET)),
        encode(message(port=EVENTS_PORT, body=ErrorStatus(ErrorCode.NO_SUCH_ID, STATUS))),
        encode(message(port=EVENTS_PORT, body=Management(STATUS, b"\0" * 48))),
    ],
    ids=["nothing", "zeros", "cut off", "a question", "a refusal pushed", "a data set that is too short"],
)
def test_nonsense_is_counted_and_passed_over(inbox, raw):
    assert inbox.accept(raw, 1) is None
    assert inbox.counters.malformed == 1
    assert inbox.accept(encode(message()), 1) is not None


def test_a_notification_is_kept_even_with_the_sequence_of_a_question(inbox):
    assert inbox.accept(encode(message(port=EVENTS_PORT)), 77) is None
    (found,) = inbox.notifications
    assert isinstance(found.data, TimeStatusNp)
    assert (found.sequence_id, found.received_ns) == (5, 77)
    assert inbox.counters.notifications == 1
    assert inbox.counters.missed == 0


def test_a_notification_of_an_unknown_kind_is_kept_as_octets(inbox):
    body = Management(0xC0FF, b"ab")
    inbox.accept(encode(message(port=EVENTS_PORT, body=body)), 1)
    assert inbox.notifications[0].data == body


@pytest.mark.parametrize(
    ("sequence", "missed"),
    [
        ([0, 1, 2], 0),
        ([0, 3], 2),
        ([65534, 65535, 0, 1], 0),
        ([65534, 2], 3),
        ([100, 0, 1], 0),
        ([7, 7], 0),
    ],
    ids=["in order", "two lost", "around", "lost around", "begun anew", "twice"],
)
def test_missed_notifications_are_counted_by_ptp4ls_own_numbers(inbox, sequence, missed):
    for number in sequence:
        inbox.accept(encode(message("PORT_DATA_SET", EVENTS_PORT, number)), 1)
    assert inbox.counters.missed == missed
    assert all(isinstance(one.data, PortDataSet) for one in inbox.notifications)


def test_a_new_series_misses_nothing(inbox):
    inbox.accept(encode(message(port=EVENTS_PORT, sequence_id=40_000)), 1)
    inbox.new_series()
    inbox.accept(encode(message(port=EVENTS_PORT, sequence_id=60_000)), 1)
    assert inbox.counters.missed == 0


def test_what_nobody_fetches_is_dropped_oldest_first(inbox):
    for number in range(MAX_WAITING + 3):
        inbox.accept(encode(message(port=EVENTS_PORT, sequence_id=number)), 1)
    assert len(inbox.notifications) == MAX_WAITING
    assert inbox.notifications[0].sequence_id == 3
    assert inbox.counters.dropped == 3


def test_a_snapshot_stays_as_it_was(inbox):
    before = inbox.snapshot()
    inbox.accept(b"", 1)
    assert (before.malformed, inbox.snapshot().malformed) == (0, 1)

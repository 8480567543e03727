"""The client against a ptp4l that answers wrongly, late, not at all, or goes away."""

from __future__ import annotations

import os
import select
from dataclasses import replace

import pytest

from agent.clock.management import (
    CurrentDataSet,
    DefaultDataSet,
    ErrorCode,
    Event,
    ManagementClient,
    NoAnswer,
    NoSuchId,
    NotSupported,
    PortDataSet,
    PortHwclockNp,
    PortState,
    Refused,
    SubscribeEventsNp,
    TimeStatusNp,
    Unreachable,
    WireError,
    WrongValue,
    safe_duration_s,
)
from agent.clock.management.client import MAX_DURATION_S, SAFE_UNREAD
from agent.clock.management.values import ALL_PORTS, ANY_CLOCK, Action, PortIdentity
from agent.clock.management.wire import ErrorStatus, Management, decode, encode
from tests.agent.clock.management.fake_ptp4l import FakePtp4l
from tests.agent.clock.management.golden import golden
from touchline.errors import LinkError

PATIENT_NS = 60_000_000_000


@pytest.fixture
def fake(tmp_path):
    with FakePtp4l(tmp_path / "ptp4l") as server:
        yield server


@pytest.fixture
def client(fake, tmp_path):
    with ManagementClient(fake.path, folder=tmp_path, timeout_s=60.0) as made:
        yield made


def body_of(name: str) -> Management:
    body = decode(golden(name)).body
    assert isinstance(body, Management)
    return body


# -- questions -----------------------------------------------------------------------------------------------------


def test_get_returns_the_data_set(client):
    status = client.get(TimeStatusNp)
    assert isinstance(status, TimeStatusNp)
    assert client.get(PortDataSet).port_state is PortState.SLAVE
    assert (client.counters.sent, client.counters.answers, client.counters.connects) == (2, 2, 1)


def test_a_question_stays_in_the_ptp4l_that_gets_it_and_only_reads(client, fake):
    client.get(TimeStatusNp)
    client.get(PortDataSet, 3)
    client.get_all(PortDataSet)
    client.capabilities()
    for asked in fake.asked:
        assert asked.action == Action.GET
        assert (asked.starting_hops, asked.hops) == (0, 0)
        assert asked.target.clock == ANY_CLOCK
        assert asked.body.data == b""
    assert [asked.target.port for asked in fake.asked[:4]] == [ALL_PORTS, 3, ALL_PORTS, ALL_PORTS]
    assert len({(asked.source, asked.sequence_id) for asked in fake.asked}) == len(fake.asked)


def test_domain_and_transport_are_sent_as_given(fake, tmp_path):
    with ManagementClient(fake.path, folder=tmp_path, domain=24, transport_specific=1) as client:
        client.get(TimeStatusNp)
        assert client.transport_specific == 1
    assert {(asked.domain, asked.transport_specific) for asked in fake.asked} == {(24, 1)}


@pytest.mark.parametrize("transport", [0, 1])
def test_auto_finds_the_transport_that_is_answered(fake, tmp_path, transport):
    fake.script = lambda self, asked: self.usual(asked) if asked.transport_specific == transport else []
    with ManagementClient(fake.path, folder=tmp_path, transport_specific="auto") as client:
        assert client.transport_specific is None
        client.get(TimeStatusNp)
        assert client.transport_specific == transport
        assert [asked.transport_specific for asked in fake.asked] == [0, 1, transport]
        assert client.counters.late == 0


def test_get_all_ends_without_waiting_for_a_time_out(fake, tmp_path):
    def three_ports(self, asked):
        if asked.body.management_id != PortDataSet.MANAGEMENT_ID:
            return self.usual(asked)
        return [self.reply(asked, body_of("PORT_DATA_SET"), port) for port in (1, 2, 3)]

    fake.script = three_ports
    with ManagementClient(fake.path, folder=tmp_path, timeout_s=60.0) as client:
        assert len(client.get_all(PortDataSet)) == 3
        assert len(client.get_all(DefaultDataSet)) == 1
        assert client.counters.late == 0


def test_get_all_of_what_ptp4l_refuses_or_passes_over(client, fake):
    fake.script = lambda self, asked: (
        [self.reply(asked, ErrorStatus(ErrorCode.NO_SUCH_ID, asked.body.management_id))]
        if asked.body.management_id == PortHwclockNp.MANAGEMENT_ID
        else self.usual(asked)
    )
    with pytest.raises(NoSuchId):
        client.get_all(PortHwclockNp)
    fake.script = lambda self, asked: self.usual(asked) if asked.body.management_id == 0x2000 else []
    with pytest.raises(NoAnswer, match="passes over PORT_HWCLOCK_NP"):
        client.get_all(PortHwclockNp)
    assert client.counters.late == 0


# -- answers that are none -----------------------------------------------------------------------------------------


def test_late_foreign_and_malformed_answers_are_counted_and_passed_over(client, fake):
    def noisy(self, asked):
        (good,) = self.usual(asked)
        late = encode(replace(decode(good), sequence_id=(asked.sequence_id - 1) % 65536))
        return [late, golden("TIME_STATUS_NP"), good[:-3], b"", b"\xff" * 3000, good]

    fake.script = noisy
    for _ in range(3):
        assert isinstance(client.get(TimeStatusNp), TimeStatusNp)
    counters = client.counters
    assert (counters.late, counters.foreign, counters.malformed, counters.answers) == (3, 3, 9, 3)


def test_silence_is_an_error_and_its_late_answer_harms_nothing(fake, tmp_path):
    held = []

    def hold(self, asked):
        held.extend(self.usual(asked))
        return []

    fake.script = hold
    with ManagementClient(fake.path, folder=tmp_path, timeout_s=0.05) as client:
        with pytest.raises(NoAnswer, match=r"does not answer TIME_STATUS_NP within 0\.05 s") as caught:
            client.get(TimeStatusNp)
        assert "domainNumber 0" in caught.value.hint
        assert client.counters.timeouts == 1
        client._timeout_ns = PATIENT_NS
        fake.script = lambda self, asked: [held[0], *self.usual(asked)]
        assert isinstance(client.get(CurrentDataSet), CurrentDataSet)
        assert client.counters.late == 1


def test_an_answer_of_another_layout_is_a_wire_error(client, fake):
    fake.script = lambda self, asked: [self.reply(asked, Management(asked.body.management_id, b"\0" * 4))]
    with pytest.raises(WireError, match="TIME_STATUS_NP of 4 octets"):
        client.get(TimeStatusNp)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.NO_SUCH_ID, NoSuchId),
        (ErrorCode.NOT_SUPPORTED, NotSupported),
        (ErrorCode.WRONG_VALUE, WrongValue),
        (0x1234, Refused),
    ],
)
def test_a_refusal_is_an_error_of_its_kind(client, fake, code, kind):
    fake.script = lambda self, asked: [self.reply(asked, ErrorStatus(code, asked.body.management_id, "why"))]
    with pytest.raises(Refused, match=r"PORT_HWCLOCK_NP: .*why") as caught:
        client.get(PortHwclockNp)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.management_id) == (code, 0xC009)
    assert caught.value.hint
    assert client.counters.refusals == 1


def test_an_empty_answer_is_not_supported(client, fake):
    fake.script = lambda self, asked: [self.reply(asked, Management(asked.body.management_id))]
    with pytest.raises(NotSupported, match="empty"):
        client.get(SubscribeEventsNp)
    with pytest.raises(NotSupported, match="empty"):
        client.get_all(TimeStatusNp)


# -- ptp4l comes and goes ------------------------------------------------------------------------------------------


def test_the_same_client_works_with_a_ptp4l_that_began_anew(tmp_path):
    path = tmp_path / "ptp4l"
    with ManagementClient(path, folder=tmp_path) as client:
        with pytest.raises(Unreachable, match="No such file") as caught:
            client.get(TimeStatusNp)
        assert isinstance(caught.value, LinkError)
        assert client.server is None
        for round_ in (1, 2):
            with FakePtp4l(path):
                client.get(TimeStatusNp)
                assert client.server == path
                assert client.counters.connects == round_
            with pytest.raises(Unreachable):
                client.get(TimeStatusNp)


def test_a_ptp4l_that_was_killed_leaves_a_socket_that_refuses(tmp_path):
    path = tmp_path / "ptp4l"
    with ManagementClient(path, folder=tmp_path) as client:
        with FakePtp4l(path) as fake:
            client.get(TimeStatusNp)
            os.link(path, tmp_path / "kept")
        (tmp_path / "kept").rename(path)
        for _ in range(2):
            with pytest.raises(Unreachable, match="refused") as caught:
                client.get(TimeStatusNp)
        assert "start it again" in caught.value.hint
        with FakePtp4l(path):
            client.get(TimeStatusNp)
        assert fake.asked


def test_a_ptp4l_that_ends_while_it_is_asked_is_unreachable(fake, tmp_path):
    moved = tmp_path / "moved"

    def vanish(self, asked):
        self.path.rename(moved)
        return []

    fake.script = vanish
    with ManagementClient(fake.path, folder=tmp_path, timeout_s=0.05) as client:
        with pytest.raises(Unreachable, match="ended while it was asked"):
            client.get(TimeStatusNp)
        client._timeout_ns = PATIENT_NS
        fake.script = FakePtp4l.usual
        moved.rename(fake.path)
        client.get(TimeStatusNp)


def test_a_closed_client_says_so(fake, tmp_path):
    client = ManagementClient(fake.path, folder=tmp_path)
    with pytest.raises(ValueError, match="with block"):
        client.get(TimeStatusNp)
    with client:
        client.get(TimeStatusNp)
    client.close()
    assert [path.name for path in tmp_path.iterdir()] == ["ptp4l"]


# -- notifications -------------------------------------------------------------------------------------------------


def test_notifications_are_pushed_to_a_port_of_their_own(client, fake):
    noted = client.subscribe([Event.TIME_SYNC, Event.PORT_STATE], 30)
    assert noted.duration_s == 30
    assert noted.events == {Event.TIME_SYNC, Event.PORT_STATE}
    assert fake.asked[-1].action == Action.SET
    for number in range(3):
        fake.push("TIME_STATUS_NP", number)
    fake.push("PORT_DATA_SET", 5)
    found = client.poll(60.0)
    while len(found) < 4:
        found += client.poll(60.0)
    assert [type(one.data) for one in found] == [TimeStatusNp] * 3 + [PortDataSet]
    assert client.counters.missed == 2
    assert found[0].received_ns <= found[3].received_ns


def test_notifications_between_question_and_answer_are_kept(client, fake):
    client.subscribe([Event.TIME_SYNC])

    def push_first(self, asked):
        self.push("TIME_STATUS_NP", asked.sequence_id)  # the very number that the answer has
        return self.usual(asked)

    fake.script = push_first
    client.get(TimeStatusNp)
    assert client.pending == 1
    assert len(client.poll(0)) == 1
    assert client.pending == 0
    assert client.poll(0) == []


def test_the_descriptor_wakes_a_selector(client, fake):
    client.subscribe([Event.TIME_SYNC])
    poller = select.poll()
    poller.register(client.fileno(), select.POLLIN)
    assert poller.poll(0) == []
    fake.push("TIME_STATUS_NP", 0)
    assert poller.poll(60_000)
    assert len(client.poll(0)) == 1


def test_a_subscription_is_renewed_at_half_of_its_time(client, fake, monkeypatch):
    now_ns = [1_000_000_000]
    monkeypatch.setattr("agent.clock.management.client.monotonic_ns", lambda: now_ns[0])
    assert client.renew() is False
    client._timeout_ns = 1 << 62  # the clock above does not go by itself
    client.subscribe([Event.TIME_SYNC], 10)
    now_ns[0] += 4_999_999_999
    assert client.renew() is False
    now_ns[0] += 1
    assert client.renew() is True
    assert client.renew() is False
    assert [asked.action for asked in fake.asked] == [Action.SET, Action.SET]
    assert fake.asked[0].source == fake.asked[1].source
    assert fake.asked[0].body == fake.asked[1].body


def test_poll_subscribes_again_at_a_ptp4l_that_began_anew(tmp_path):
    path = tmp_path / "ptp4l"
    with ManagementClient(path, folder=tmp_path) as client:
        with FakePtp4l(path):
            client.subscribe([Event.PORT_STATE], 60)
        with pytest.raises(Unreachable):
            client.poll(0)
        with FakePtp4l(path) as second:
            assert client.poll(0) == []
            assert second.asked[-1].action == Action.SET
            second.push("PORT_DATA_SET", 0)
            assert len(client.poll(60.0)) == 1
        assert client.counters.missed == 0


def test_poll_subscribes_again_even_if_a_question_found_the_new_ptp4l_first(tmp_path):
    path = tmp_path / "ptp4l"
    with ManagementClient(path, folder=tmp_path) as client:
        with FakePtp4l(path):
            client.subscribe([Event.PORT_STATE], 60)
        with FakePtp4l(path) as second:
            client.get(TimeStatusNp)
            client.poll(0)
            assert [asked.action for asked in second.asked] == [Action.GET, Action.SET]


def test_closing_ends_the_subscription(fake, tmp_path):
    with ManagementClient(fake.path, folder=tmp_path) as client:
        client.subscribe([Event.TIME_SYNC])
    fake.stop()  # when it has heard everything
    last = fake.asked[-1]
    assert last.action == Action.SET
    assert last.body == Management(SubscribeEventsNp.MANAGEMENT_ID, bytes(66))
    assert last.source == PortIdentity(fake.asked[0].source.clock, 2)


def test_a_client_can_be_opened_again(client, fake):
    client.subscribe([Event.TIME_SYNC])
    client.close()
    client.open()
    client.get(TimeStatusNp)
    assert client.poll(0) == []
    assert [asked.action for asked in fake.asked] == [Action.SET, Action.SET, Action.GET]


def test_closing_does_not_wait_for_a_ptp4l_that_is_gone(tmp_path):
    with ManagementClient(tmp_path / "ptp4l", folder=tmp_path) as client, FakePtp4l(tmp_path / "ptp4l"):
        client.subscribe([Event.TIME_SYNC])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("events", "duration_s"), [((), 10), ([0], 0), ([0], 65_535), ([0], -1)])
def test_a_subscription_that_makes_no_sense_is_refused_before_it_is_sent(client, fake, events, duration_s):
    with pytest.raises(ValueError, match="a subscription needs"):
        client.subscribe(events, duration_s)
    client.unsubscribe()
    assert fake.asked == []


def test_a_safe_subscription_cannot_fill_ptp4ls_buffer():
    for rate in (0.1, 1, 8, 16, 50):
        assert safe_duration_s(rate) * rate <= SAFE_UNREAD
    assert safe_duration_s(0) == MAX_DURATION_S
    assert safe_duration_s(1000) == 2

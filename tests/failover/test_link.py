"""The local link: words that survive the way, bytes that are none, ends that come and go."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.types import CameraCursor, Gate, Health, Pipeline, Role
from failover.link import (
    ABSENT,
    CONNECT_EVERY_NS,
    NodeEvent,
    Opened,
    PublisherPort,
    PublisherWord,
    ServicePort,
    opened_message,
    pipeline_message,
    socket_path,
)
from failover.link_words import (
    MAX_MESSAGE_BYTES,
    LinkFormatError,
    RecorderWord,
    event_message,
    gate_message,
    read_publisher,
    read_recorder,
    read_service,
    recorder_message,
)
from touchline.errors import ResourceError

COUNTS = st.integers(0, 2**63 - 1)
CURSORS = st.dictionaries(st.integers(0, 65535), COUNTS, max_size=16).map(
    lambda found: tuple(CameraCursor(camera, ptp_ns) for camera, ptp_ns in sorted(found.items()))
)
GATES = st.builds(Gate, st.booleans(), COUNTS, COUNTS, st.sampled_from(Role), st.booleans(), CURSORS)
HEALTHS = st.builds(
    Health, st.integers(0, 16), st.booleans(), st.booleans(), st.just(False), st.booleans(), st.booleans()
)
WORDS = st.builds(PublisherWord, st.builds(Pipeline, HEALTHS, CURSORS), st.text(max_size=400))
OPENED = st.builds(Opened, COUNTS, st.none() | st.builds(CameraCursor, st.integers(0, 65535), COUNTS), COUNTS)
GATE = Gate(True, 7, 123, Role.ACTIVE, True, (CameraCursor(1, 5),))
WORD = PublisherWord(Pipeline(Health(cameras=1, clock_ok=True, publishing=True), (CameraCursor(1, 9),)))


@given(GATES)
def test_a_gate_survives(gate: Gate) -> None:
    assert read_service(gate_message(gate)) == gate


@given(WORDS)
def test_a_publishers_word_survives_within_its_bound(word: PublisherWord) -> None:
    data = pipeline_message(word)
    assert len(data) <= MAX_MESSAGE_BYTES
    assert read_publisher(data) == word


@given(OPENED)
def test_opened_survives(opened: Opened) -> None:
    assert read_publisher(opened_message(opened)) == opened


@pytest.mark.parametrize("letter", ["\U0001f4a5", "\0", "\udcff", "ü"])
def test_words_of_any_letters_fit_into_a_message(letter: str) -> None:
    """A file's name may be anything; what says it must not end the service."""
    text = 900 * letter
    event = read_service(event_message(NodeEvent("warning", "recorder", text)))
    assert isinstance(event, NodeEvent) and len(event.text) == 400
    word = read_publisher(pipeline_message(PublisherWord(Pipeline(Health()), text)))
    assert isinstance(word, PublisherWord) and len(word.trouble) == 400
    assert len(read_recorder(recorder_message(RecorderWord(1, Role.STANDBY, 0, trouble=text))).trouble) == 400


def test_an_event_survives_and_one_that_is_too_large_loses_its_detail_alone() -> None:
    event = NodeEvent("warning", "takeover", "b took over", {"steps": [1, 2]})
    assert read_service(event_message(event)) == event
    assert event.document() == {
        "severity": "warning", "code": "takeover", "text": "b took over", "detail": {"steps": [1, 2]},
    }  # fmt: skip
    large = read_service(event_message(NodeEvent("info", "c", "t", {"x": "y" * 9000})))
    assert isinstance(large, NodeEvent)
    assert (large.code, large.text) == ("c", "t")
    assert large.detail["left_out_bytes"] > 9000


JUNK: list[Any] = [
    [], {}, {"type": 1}, {"type": "gate"}, {"type": "nothing"}, {"type": "event", "event": 1}, {"type": "event"},
    {"type": "event", "event": {"severity": "loud", "code": "c", "text": "t"}},
    {"type": "event", "event": {"severity": "info", "code": "c", "text": "t", "detail": 1}},
    {"type": "opened", "epoch": 1, "first": [1], "at_ns": 1},
    {"type": "opened", "epoch": -1, "first": None, "at_ns": 1},
]  # fmt: skip


@pytest.mark.parametrize("read", [read_service, read_publisher])
@pytest.mark.parametrize("value", JUNK)
def test_other_documents_are_refused(read: Callable[[bytes], object], value: object) -> None:
    with pytest.raises(LinkFormatError):
        read(json.dumps(value).encode())


GOOD = json.loads(gate_message(GATE))


@pytest.mark.parametrize(
    "changes",
    [
        {"open": 1}, {"epoch": True}, {"epoch": 1.0}, {"epoch": 2**63}, {"until_ns": None}, {"role": "king"},
        {"settled": "yes"}, {"covered": {}}, {"covered": [[1]]}, {"covered": [[1, 2], [1, 3]]},
        {"covered": [[65536, 2]]}, {"covered": [[n, 1] for n in range(17)]},
    ],
)  # fmt: skip
def test_each_field_of_a_gate_is_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(LinkFormatError):
        read_service(json.dumps({**GOOD, **changes}).encode())


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"type": "gate", "open": value, "covered": value}).encode()
    )
)
def test_reading_is_total(data: bytes) -> None:
    for read in (read_service, read_publisher):
        with contextlib.suppress(LinkFormatError):
            read(data)


def test_deep_nesting_and_length_are_refused() -> None:
    for data in (b"[" * 4000, b'{"type":"gate"' + b" " * 5000 + b"}"):
        with pytest.raises(LinkFormatError):
            read_service(data)


# --- sockets ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return socket_path(tmp_path)


def test_both_ways(path: Path) -> None:
    service, publisher = PublisherPort(path), ServicePort(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not service.send(GATE), "nobody is there"
    assert publisher.connect(0) and not publisher.connect(0)
    assert publisher.send(pipeline_message(WORD))
    assert service.receive() == [WORD]
    assert len(service.filenos()) == 2
    event = NodeEvent("info", "c", "t")
    assert service.send(GATE) and service.say(event)
    assert publisher.receive() == [GATE, event]
    assert publisher.receive() == [] and publisher.connected
    publisher.close()
    assert service.receive() == [ABSENT]
    assert not service.connected
    service.close()
    assert not path.exists()


def test_the_publisher_comes_back_every_half_second_and_says_whom_it_leaves(path: Path) -> None:
    left: list[int] = []
    publisher = ServicePort(path, closing=left.append)
    assert not publisher.connect(0), "no service yet"
    service = PublisherPort(path)
    assert not publisher.connect(CONNECT_EVERY_NS - 1)
    assert publisher.connect(CONNECT_EVERY_NS)
    descriptor = publisher.fileno()
    service.receive()
    service.close()
    assert publisher.receive() == []
    assert left == [descriptor] and publisher.fileno() is None
    again = PublisherPort(path)
    assert publisher.connect(2 * CONNECT_EVERY_NS)
    again.receive()
    assert again.send(GATE)
    assert publisher.receive() == [GATE]
    publisher.close()
    again.close()


def test_what_is_no_message_ends_the_connection_of_either_side(path: Path) -> None:
    service, publisher = PublisherPort(path), ServicePort(path)
    publisher.connect(0)
    publisher.send(pipeline_message(WORD))
    publisher.send(b"hello")
    publisher.send(pipeline_message(WORD))
    assert service.receive() == [ABSENT], "nothing is believed of who speaks like that"
    assert service.refused == 1
    assert publisher.receive() == [] and not publisher.connected
    publisher.connect(CONNECT_EVERY_NS)
    service.receive()
    assert service._end is not None
    service._end.send(b"{}")
    assert publisher.receive() == [] and publisher.refused == 1
    assert not publisher.connected
    service.close()


def test_the_newest_publisher_counts(path: Path) -> None:
    service, old, new = PublisherPort(path), ServicePort(path), ServicePort(path)
    old.connect(0)
    service.receive()
    new.connect(0)
    assert service.receive() == [ABSENT]
    service.send(GATE)
    assert new.receive() == [GATE]
    assert old.receive() == [] and not old.connected
    new.close()
    service.close()


def test_a_publisher_that_does_not_read_costs_nobody_time(path: Path) -> None:
    service, publisher = PublisherPort(path), ServicePort(path)
    publisher.connect(0)
    service.receive()
    sent = [service.send(GATE) for _ in range(5000)]
    assert not sent[-1], "the queue is full, and that was that"
    assert service.connected
    heard = 0
    while got := publisher.receive():
        heard += len(got)
    assert heard == sum(sent)
    publisher.close()
    service.close()


def test_one_service_a_node_and_a_dead_ones_socket_is_taken_over(path: Path) -> None:
    service, publisher = PublisherPort(path), ServicePort(path)
    publisher.connect(0)
    service.receive()
    with pytest.raises(ResourceError, match="in use"):
        PublisherPort(path)
    assert service.receive() == [] and service.connected, "the publisher stays where it is"
    publisher.close()
    service._listener._socket.close()  # as kill -9 leaves it
    again = PublisherPort(path)
    service.close()
    assert path.exists(), "it is another one's now"
    again.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be made"):
        PublisherPort(tmp_path / "file" / "s")
    with pytest.raises(ResourceError, match="cannot be made"):
        PublisherPort(tmp_path / ("x" * 120) / "s")


def test_a_stream_socket_is_no_publisher(path: Path) -> None:
    service = PublisherPort(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, pytest.raises(OSError):
        other.connect(str(path))
    assert service.receive() == []
    service.close()

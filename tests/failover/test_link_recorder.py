"""The recorders' connections: words that survive, nonsense that ends one connection and no other, newest counts."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.types import Role
from failover.link import CONNECT_EVERY_NS, ServicePort
from failover.link_recorder import MAX_ENDS, RecorderPort, recorder_socket_path
from failover.link_words import (
    MAX_MESSAGE_BYTES,
    RECORDER_STATES,
    LinkFormatError,
    RecorderWord,
    read_recorder,
    recorder_message,
)

COUNTS = st.integers(0, 2**63 - 1)
WORDS = st.builds(
    RecorderWord,
    st.integers(0, 65535),
    st.sampled_from(Role),
    COUNTS,
    COUNTS,
    st.sampled_from(RECORDER_STATES),
    *[COUNTS] * 6,
    st.text(max_size=400),
)
WORD = RecorderWord(1, Role.ACTIVE, 7, 5, "recording", 90, 80, 70, 60, 50, 40, "")


@given(WORDS)
def test_a_word_survives_within_its_bound(word: RecorderWord) -> None:
    data = recorder_message(word)
    assert len(data) <= MAX_MESSAGE_BYTES
    assert read_recorder(data) == word


GOOD = json.loads(recorder_message(WORD))


@pytest.mark.parametrize(
    "changes",
    [{"type": "pipeline"}, {"camera": 65536}, {"role": "king"}, {"epoch": -1}, {"state": "asleep"}, {"state": ["disk"]},
     {"first_ns": 1.0}, {"last_ptp_ns": None}, {"trouble": 3}],
)  # fmt: skip
def test_each_field_is_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(LinkFormatError):
        read_recorder(json.dumps({**GOOD, **changes}).encode())


@given(st.binary(max_size=200) | st.dictionaries(st.text(), st.integers() | st.text()).map(
    lambda more: json.dumps({**GOOD, **more}).encode()
))  # fmt: skip
def test_reading_is_total(data: bytes) -> None:
    with contextlib.suppress(LinkFormatError):
        read_recorder(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return recorder_socket_path(tmp_path)


def said(port: ServicePort, word: RecorderWord, now_ns: int = 0) -> None:
    port.connect(now_ns)
    assert port.send(recorder_message(word))


def test_each_camera_has_its_own_and_one_that_goes_is_missed(path: Path) -> None:
    service, one, two = RecorderPort(path), ServicePort(path), ServicePort(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    said(one, WORD)
    said(two, RecorderWord(2, Role.STANDBY, 0))
    assert service.receive() == [WORD, RecorderWord(2, Role.STANDBY, 0)]
    assert service.cameras == {1, 2} and len(service.filenos()) == 3
    two.close()
    assert service.receive() == [] and service.cameras == {1}
    said(one, WORD)
    assert service.receive() == [WORD]
    service.close()
    assert not path.exists()
    assert not one.send(recorder_message(WORD)), "the service is gone"


def test_last_words_before_the_end_are_heard(path: Path) -> None:
    service, one = RecorderPort(path), ServicePort(path)
    said(one, WORD)
    one.close()
    assert service.receive() == [WORD] and service.cameras == set()
    service.close()


def test_the_newest_recorder_of_a_camera_counts(path: Path) -> None:
    service, old, new = RecorderPort(path), ServicePort(path), ServicePort(path)
    said(old, WORD)
    service.receive()
    said(new, WORD)
    assert service.receive() == [WORD] and service.cameras == {1}
    assert len(service.filenos()) == 2
    assert old.receive() == [] and not old.connected
    new.close()
    service.close()


def test_nonsense_ends_one_connection_and_no_other(path: Path) -> None:
    service, one, two = RecorderPort(path), ServicePort(path), ServicePort(path)
    said(one, WORD)
    said(two, RecorderWord(2, Role.STANDBY, 0))
    service.receive()
    one.send(b"{}")
    assert service.receive() == [] and service.cameras == {2} and service.refused == 1
    assert one.receive() == [] and not one.connected
    said(one, WORD, CONNECT_EVERY_NS)
    assert service.receive() == [WORD]
    one.close()
    two.close()
    service.close()


def test_a_crowd_is_bounded(path: Path) -> None:
    service = RecorderPort(path)
    crowd = []
    for _ in range(MAX_ENDS + 3):
        crowd.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        crowd[-1].connect(str(path))
        service.receive()
    assert len(service.filenos()) == MAX_ENDS + 1 and service.refused == 3
    for one in crowd:
        one.close()
    service.receive()
    assert len(service.filenos()) == 1
    service.close()

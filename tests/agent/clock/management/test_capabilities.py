"""What a ptp4l understands, from its answers."""

from __future__ import annotations

import pytest

from agent.clock.management import Event, NoAnswer
from agent.clock.management.capabilities import probe
from agent.clock.management.errors import refused
from agent.clock.management.values import ErrorCode
from agent.clock.management.wire import Management, Message, decode
from tests.agent.clock.management.golden import ANSWERS, BY_NAME, golden


def answers(version: str, **errors: ErrorCode | None):
    """Golden answers; ids without one are no ids. ``errors``: other answers, None for silence."""
    by_id = {BY_NAME[name].MANAGEMENT_ID: name for v, name, _, _ in ANSWERS if v == version}

    def ask(management_id: int, port: int) -> Message:
        name = by_id.get(management_id, "")
        if name in errors:
            code = errors[name]
            if code is None:
                raise NoAnswer("silence")
            raise refused(name, code, management_id)
        if not name or not isinstance(decode(golden(name, version)).body, Management):
            raise refused(name, ErrorCode.NO_SUCH_ID, management_id)
        return decode(golden(name, version))

    return ask


def test_3_1_1_is_before_4_and_pushes_the_port_state_only():
    found = probe(answers("3.1.1"))
    assert found.before_4
    assert found.events == {Event.PORT_STATE}
    assert found.minor_version == 0
    assert found.refused["PORT_HWCLOCK_NP"] == "NO_SUCH_ID"
    assert "TIME_STATUS_NP" in found.known
    assert found.ports == 1
    assert not found.read_only
    assert found.management_port.port == 0


def test_4_2_pushes_more():
    found = probe(answers("4.2"))
    assert not found.before_4
    assert found.events == {Event.PORT_STATE, Event.TIME_SYNC, Event.PARENT_DATA_SET}
    assert found.minor_version == 1
    assert "PORT_HWCLOCK_NP" in found.known


def test_a_read_only_socket_of_4_2_is_not_an_old_version():
    no = ErrorCode.NOT_SUPPORTED
    found = probe(answers("4.2", PORT_HWCLOCK_NP=no, PORT_PROPERTIES_NP=no, SUBSCRIBE_EVENTS_NP=no))
    assert found.read_only
    assert not found.before_4
    assert found.events == frozenset()


@pytest.mark.parametrize("name", ["TIME_STATUS_NP", "PORT_STATS_NP"])
def test_silence_is_written_down(name):
    found = probe(answers("4.2", **{name: None}))
    assert found.refused[name] == "no answer"
    assert name not in found.known

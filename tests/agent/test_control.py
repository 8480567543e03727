"""The parent-child conversation."""

from __future__ import annotations

import pytest

from agent import control


def test_messages_arrive_whole_and_in_order():
    parent, child = control.pair()
    with parent, child:
        assert control.send(child, {"type": "ready", "n": 1})
        assert control.send(child, {"type": "report"})
        assert control.receive(parent) == {"type": "ready", "n": 1}
        assert control.receive(parent) == {"type": "report"}
        assert control.receive(parent) is None


def test_a_closed_peer_is_noticed_on_both_sides():
    parent, child = control.pair()
    child.close()
    with parent:
        assert not control.send(parent, {})
        with pytest.raises(control.PeerGoneError):
            control.receive(parent)


def test_a_full_socket_is_not_waited_for():
    parent, child = control.pair()
    with parent, child:
        sent = 0
        while control.send(parent, {"x": "y" * 10_000}) and sent < 1000:
            sent += 1
        assert 0 < sent < 1000


def test_oversized_messages_are_a_bug():
    parent, child = control.pair()
    with parent, child, pytest.raises(ValueError, match="control message"):
        control.send(parent, {"x": "y" * control.MAX_MESSAGE_BYTES})

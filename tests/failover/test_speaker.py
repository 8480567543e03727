"""The log's thread: in order, never waited for, bounded."""

from __future__ import annotations

import logging
import threading

import pytest

from failover.speaker import MAX_WAITING, Speaker, log_through


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """A thread that is not run for a second has still said everything in the end."""
    monkeypatch.setattr("failover.speaker.CLOSE_S", 60.0)


def test_lines_are_said_in_order():
    said: list[str] = []
    speaker = Speaker(said.append)
    for number in range(50):
        speaker.say(str(number))
    speaker.close()
    assert said == [str(number) for number in range(50)]


def test_a_log_that_hangs_is_not_waited_for():
    """This test ends only if nobody waits."""
    hold, said = threading.Event(), []

    def say(line):
        hold.wait()
        said.append(line)

    speaker = Speaker(say)
    for number in range(3 * MAX_WAITING):
        speaker.say(str(number))
    assert 2 * MAX_WAITING - 1 <= speaker.dropped <= 2 * MAX_WAITING
    hold.set()
    speaker.close()
    assert len(said) + speaker.dropped == 3 * MAX_WAITING


def test_a_reader_that_is_gone_ends_nothing():
    def say(line):
        raise BrokenPipeError

    speaker = Speaker(say)
    speaker.say("one")
    speaker.close()
    assert speaker.dropped == 1


def test_the_log_goes_through_it():
    said: list[str] = []
    root, speaker = logging.getLogger(), Speaker(said.append)
    level, handler = root.level, log_through(speaker)
    try:
        logging.getLogger("failover.wire").warning("%d datagrams", 3)
        logging.getLogger("failover").debug("nobody wants to know")
        try:
            raise OSError(5, "Input/output error")
        except OSError:
            logging.getLogger("failover").exception("it failed")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        speaker.close()
    assert said[0] == "failover.wire: 3 datagrams"
    assert said[1].startswith("failover: it failed\nTraceback") and len(said) == 2

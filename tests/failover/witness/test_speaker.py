"""The log's thread: in order, never waited for, bounded."""

from __future__ import annotations

import threading

from failover.witness.speaker import MAX_WAITING, Speaker


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

"""When a publisher that says nothing is believed to hang."""

from __future__ import annotations

import pytest

from failover.core.types import NS_PER_MS as MS
from failover.core.types import Settings
from failover.service.silence import Silence

BEGIN_NS = 7_000 * MS


def listening(**settings: int) -> Silence:
    silence = Silence(Settings("a", "b", **settings), BEGIN_NS)  # type: ignore[arg-type]
    silence.heard(there=True)
    return silence


@pytest.mark.parametrize("limit_ms", [250, 600])
def test_it_is_believed_after_its_time_and_once(limit_ms: int):
    silence = listening(publisher_silent_ns=limit_ms * MS)
    said = [ms for ms in range(1, 2_000) if silence.broken_off(BEGIN_NS + ms * MS)]
    assert said == [limit_ms + 1]
    assert not silence.expected


def test_a_pause_of_the_listener_is_no_silence():
    silence = listening()
    assert not silence.broken_off(BEGIN_NS + 5_000 * MS)
    silence.heard(there=True)
    for beat in range(1, 12):
        assert not silence.broken_off(BEGIN_NS + (5_000 + 400 * beat) * MS), "a listener that is hardly run"
    assert silence.expected


def test_a_word_begins_it_anew_and_one_that_is_gone_is_not_silent():
    silence = listening()
    for ms in range(1, 2_000):
        if ms % 200 == 0:
            silence.heard(there=True)
        assert not silence.broken_off(BEGIN_NS + ms * MS)
    silence.heard(there=False)
    assert not silence.expected
    assert not any(silence.broken_off(BEGIN_NS + ms * MS) for ms in range(2_000, 9_000))

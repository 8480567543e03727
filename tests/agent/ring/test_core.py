"""The ring's arithmetic: which frame next, what may be handed out, what the numbers must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ring.core import RingSpec, intact, oldest_handable, pick, slot_of, stamp_ready, stamp_writing
from touchline.errors import ConfigError

SPECS = st.integers(1, 8).flatmap(
    lambda guard: st.integers(guard + 2, guard + 40).map(lambda slots: RingSpec(slots, 64, 2, guard))
)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ((3, 64, 2, 2), "ring.slots"),
        ((8, 0, 2, 2), "ring.slot_bytes"),
        ((8, 64, 0, 2), "ring.readers"),
        ((8, 64, 17, 2), "ring.readers"),
        ((8, 64, 2, 0), "ring.guard_slots"),
    ],
)
def test_wrong_numbers_are_named(numbers, named):
    with pytest.raises(ConfigError, match=named) as caught:
        RingSpec(*numbers)
    assert caught.value.hint


def test_seconds_follow_from_slots_and_rate():
    spec = RingSpec(600, 1_843_200)
    assert spec.seconds_at(240) == 2.5  # CAP-2
    assert spec.seconds_at(150) == 4.0
    with pytest.raises(ConfigError):
        spec.seconds_at(0)


@given(SPECS, st.integers(0, 10_000), st.booleans(), st.integers(0, 10_000), st.booleans())
def test_what_is_picked_is_committed_unseen_and_outside_the_guard(spec, committed, writing, behind, newest):
    claimed, cursor = committed + writing, max(0, committed - behind)
    choice = pick(cursor, committed, claimed, spec, newest)
    if cursor == committed:
        assert choice is None
        return
    assert choice is not None
    assert cursor <= choice.frame < committed
    assert choice.skipped == choice.frame - cursor
    # even if the writer claims all but the guard's frames more, the slot is not touched
    assert intact(choice.frame, claimed + spec.guard_slots, spec.slots)
    assert choice.frame >= oldest_handable(claimed, spec)
    assert choice.frame == (committed - 1 if newest or cursor < oldest_handable(claimed, spec) else cursor)


@given(SPECS, st.integers(0, 10_000))
def test_a_frame_is_intact_until_its_slot_is_claimed_again(spec, frame):
    again = frame + spec.slots
    assert slot_of(frame, spec.slots) == slot_of(again, spec.slots)
    assert intact(frame, claimed=again, slots=spec.slots)
    assert not intact(frame, claimed=again + 1, slots=spec.slots)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_stamps_tell_frames_and_states_apart(one, other):
    assert stamp_writing(one) % 2 == 1
    assert stamp_ready(one) % 2 == 0
    assert stamp_ready(one) != 0  # the stamp of a slot never written
    assert (stamp_ready(one) == stamp_ready(other)) == (one == other)
    assert (stamp_writing(one) == stamp_writing(other)) == (one == other)

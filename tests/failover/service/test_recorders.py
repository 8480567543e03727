"""What the recorders say becomes a step's result, trouble in words, or nothing to speak of."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.types import Changed, Role, Trigger
from failover.link_words import RECORDER_STATES, RecorderWord
from failover.service.recorders import SILENT_NS, START_NS, STILL_NS, UNSETTLED_NS, Recorders

MS = 1_000_000
NOW = 100_000 * MS
TAKES = Changed(Role.ACTIVE, 8, Trigger.SILENCE, "silent")
GIVES = Changed(Role.STANDBY, 8, None, "lease over")
FIRST, BEFORE = 5_008_300_000, 5_000_000_000
WROTE = RecorderWord(1, Role.ACTIVE, 8, NOW + 3 * MS, "recording", FIRST, NOW + 12 * MS, FIRST, NOW + 12 * MS, BEFORE)


def heard(*words: RecorderWord, cameras: tuple[int, ...] = (1,)) -> Recorders:
    one = Recorders(cameras)
    one.agent(True, NOW)
    one.hear(words, [word.camera for word in words], NOW + 13 * MS)
    return one


def test_the_first_picture_under_the_new_role_is_the_end_of_the_step() -> None:
    found = heard(WROTE).outcome(TAKES, NOW, NOW + 14 * MS)
    assert (found.at_ns, found.code) == (NOW + 12 * MS, 0)
    assert found.text == "camera 1: writes PTP 5008300000, 8.300 ms after the picture before"
    first = heard(replace(WROTE, before_ptp_ns=0)).outcome(TAKES, NOW, NOW + 14 * MS)
    assert first.text.endswith("its first picture")


def test_a_role_that_has_not_arrived_a_picture_of_before_and_none_are_waited_for() -> None:
    for word, why in (
        (replace(WROTE, epoch=7), "has not heard of it"),
        (replace(WROTE, role=Role.STANDBY), "has not heard of it (it is standby"),
        (replace(WROTE, first_ns=0, state="starting"), "no picture under the new role yet (starting)"),
        (replace(WROTE, first_ns=NOW - 9, last_ns=NOW - 5), "no picture under the new role yet"),
    ):
        found = heard(word).outcome(TAKES, NOW, NOW + 14 * MS)
        assert found.code is None and why in found.text, found
    assert heard(replace(WROTE, epoch=9)).outcome(TAKES, NOW, NOW + 14 * MS).code == 0, "an even newer one is as good"


def test_one_that_is_not_there_hangs_or_has_no_disk_is_a_failure_at_once() -> None:
    gone = Recorders((1,)).outcome(TAKES, NOW, NOW)
    assert (gone.code, gone.text) == (errno.ENOTCONN, "camera 1: its recorder is not running")
    hung = heard(WROTE).outcome(TAKES, NOW, NOW + 14 * MS + SILENT_NS)
    assert hung.code == errno.ETIMEDOUT and "hangs: silent for 3.0 s" in hung.text
    full = heard(replace(WROTE, state="disk", trouble="no space")).outcome(TAKES, NOW, NOW + 14 * MS)
    assert (full.code, full.text) == (errno.EIO, "camera 1: nothing is written: no space")


def test_of_several_cameras_the_last_one_counts_and_a_failed_one_decides() -> None:
    two = replace(WROTE, camera=2, first_ns=NOW + 13 * MS)
    both = heard(WROTE, two, cameras=(1, 2)).outcome(TAKES, NOW, NOW + 14 * MS)
    assert (both.at_ns, both.code) == (NOW + 13 * MS, 0) and "camera 2: writes" in both.text
    one = heard(WROTE, cameras=(1, 2)).outcome(TAKES, NOW, NOW + 14 * MS)
    assert one.code == errno.ENOTCONN and "camera 1: writes" in one.text
    waits = heard(WROTE, replace(two, first_ns=0), cameras=(1, 2)).outcome(TAKES, NOW, NOW + 14 * MS)
    assert waits.code is None


def test_a_release_is_over_when_the_role_has_arrived() -> None:
    word = replace(WROTE, role=Role.STANDBY, state="standing", told_ns=NOW + 4 * MS)
    assert heard(word).outcome(GIVES, NOW, NOW + 14 * MS).at_ns == NOW + 4 * MS
    assert heard(replace(word, told_ns=5)).outcome(GIVES, NOW, NOW + 14 * MS).at_ns == NOW
    assert heard(WROTE).outcome(GIVES, NOW, NOW + 14 * MS).code is None


def test_trouble_is_said_once_each_way_and_not_while_the_agent_starts_or_is_away() -> None:
    one = Recorders((1,))
    assert one.look([], [], False, Role.ACTIVE, NOW) is None
    assert one.look([], [], True, Role.ACTIVE, NOW) is None
    assert one.look([], [], True, Role.ACTIVE, NOW + START_NS) is None, "encoders are being tried out"
    late = one.look([], [], True, Role.ACTIVE, NOW + START_NS + 1)
    assert late is not None and (late.severity, late.text) == ("warning", "recorder of camera 1: not running")
    assert one.look([], [], True, Role.ACTIVE, NOW + START_NS + 2) is None
    word = replace(WROTE, last_ns=NOW + START_NS)
    good = one.look([word], [1], True, Role.ACTIVE, NOW + START_NS + 3)
    assert good is not None and good.severity == "info" and one.trouble == ""
    lost = one.look([], [], True, Role.ACTIVE, NOW + START_NS + 4)
    assert lost is not None and "not running" in lost.text, "it was there: nothing to wait for"
    away = one.look([], [], False, Role.ACTIVE, NOW + START_NS + 5)
    assert away is not None and one.trouble == ""
    assert one.look([], [], True, Role.ACTIVE, NOW + START_NS + 6) is None, "a new agent starts its recorders anew"


@pytest.mark.parametrize(
    ("word", "role", "why"),
    [
        (
            replace(WROTE, state="starting", trouble="no frames"),
            Role.ACTIVE,
            "does not get beyond its start: no frames",
        ),
        (replace(WROTE, state="starting", role=Role.STANDBY), Role.STANDBY, "does not get beyond its start"),
        (replace(WROTE, state="standing"), Role.ACTIVE, "stands still on the active node"),
        (replace(WROTE, state="standing", role=Role.STANDBY), Role.ACTIVE, "has not heard that this node is active"),
        (replace(WROTE, last_ns=1 << 62), Role.STANDBY, "has not heard that this node is standby"),
        (replace(WROTE, state="standing", role=Role.STANDBY), Role.STANDBY, ""),
    ],
)
def test_what_is_well_for_a_while_is_trouble_after_ten_seconds(word: RecorderWord, role: Role, why: str) -> None:
    one, now_ns = Recorders((1,)), NOW
    notes = []
    for _ in range(3 * UNSETTLED_NS // (100 * MS)):
        notes.append(one.look([word], [1], True, role, now_ns))
        assert not (one.trouble and now_ns - NOW <= UNSETTLED_NS)
        now_ns += 100 * MS
    assert [note.text for note in notes if note] == ([f"recorder of camera 1: {why}"] if why else [])
    assert one.document(now_ns)[0]["troubles"] == one.counts[1] == bool(why)
    good = one.look([replace(WROTE, role=role, last_ns=now_ns)], [1], True, role, now_ns)
    assert (good is not None and good.text == "recording again") is bool(why)


def test_an_encoder_that_begins_again_and_again_is_one_trouble() -> None:
    one, now_ns, notes = Recorders((1,)), NOW, []
    for turn in range(300):
        word = replace(WROTE, state=("waiting", "starting")[turn % 2], trouble=f"ffmpeg: exit code {turn}")
        notes.append(one.look([word], [1], True, Role.ACTIVE, now_ns))
        now_ns += 100 * MS
    assert len([note for note in notes if note]) <= 2 + 300 * 100 * MS // UNSETTLED_NS
    assert notes[0] is not None and one.counts[1] == 1


def test_a_disk_that_is_kept_closed_is_said_once_and_recording_again_once() -> None:
    one, now_ns, notes = Recorders((1,)), NOW, []
    for share in (90, 91, 92):  # the guard says it anew at each look
        word = replace(WROTE, state="disk", trouble=f"the disk is at {share} %, its files are kept closed")
        for _ in range(5):
            notes.append(one.look([word], [1], True, Role.ACTIVE, now_ns))
            now_ns += 100 * MS
    notes.append(one.look([replace(WROTE, last_ns=now_ns)], [1], True, Role.ACTIVE, now_ns))
    assert [note.text for note in notes if note] == [
        "recorder of camera 1: nothing is written: the disk is at 90 %, its files are kept closed",
        "recording again",
    ]
    assert one.counts[1] == 1


def test_a_recorder_without_encoder_disk_words_or_pictures_is_trouble() -> None:
    for word, later_ns, why in (
        (replace(WROTE, state="waiting", trouble="ffmpeg: exit code 1"), 0, "no encoder runs: ffmpeg: exit code 1"),
        (replace(WROTE, state="disk"), 0, "nothing is written"),
        (WROTE, SILENT_NS + 1, "hangs"),
        (replace(WROTE, last_ns=NOW - STILL_NS), 0, "no picture comes"),
        (WROTE, 0, ""),
        (replace(WROTE, state="standing", last_ns=0), 0, ""),
    ):
        found = heard(word).troubles(Role.ACTIVE, NOW + 13 * MS + later_ns)
        assert found == ((f"recorder of camera 1: {why}",) if why else ()), word


@given(
    st.builds(
        RecorderWord, st.just(1), st.sampled_from(Role), st.integers(0, 9), st.integers(0, 2**63 - 1),
        st.sampled_from(RECORDER_STATES), *[st.integers(0, 2**63 - 1)] * 6, st.text(max_size=40),
    ),
    st.sampled_from([TAKES, GIVES]),
    st.integers(0, 2**62),
)  # fmt: skip
def test_whatever_it_says_there_is_an_answer_and_a_document(word: RecorderWord, change: Changed, now_ns: int) -> None:
    one = heard(word)
    found = one.outcome(change, NOW, now_ns)
    assert found.text and (found.code != 0 or change.role is word.role)
    assert one.document(now_ns)[0]["camera"] == 1
    assert isinstance(one.troubles(change.role, now_ns), tuple)

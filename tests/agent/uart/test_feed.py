"""The best box, the message, and an inference that never waits for the serial line."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.track.tracks import no_tracks
from agent.uart.feed import MAX_MESSAGE_BYTES, Feed, Shot, Sight, best_box, parts_of, read_sight
from agent.uart.line import Box, Line, LineFlag, encode
from tests.agent.uart.values import People
from touchline.timeline import ClockState, Stamp

SMALL, LARGE = (10.0, 20.0, 30.0, 60.0), (100.0, 20.0, 160.0, 140.0)
SHOT = Shot(1, 1, Stamp(10**18, 5, 3, ClockState.LOCKED), True, 7)
SCORES = np.array([0.5, 0.9, 0.9], np.float32)


def best(*rows: tuple[int, int, tuple[float, float, float, float]]) -> Box | None:
    return best_box(People(list(rows)), SCORES)


def test_the_highest_score_wins():
    box = best((1, 0, LARGE), (2, 1, SMALL))
    assert box is not None and box.track == 2 and box.score == pytest.approx(0.9)
    assert (box.x_px, box.y_px, box.width_px, box.height_px) == (10.0, 20.0, 20.0, 40.0)


def test_then_the_oldest():
    """Tracks stand in the order of their birth."""
    assert best((1, 1, SMALL), (2, 2, LARGE)).track == 1  # type: ignore[union-attr]
    assert best((1, 0, SMALL), (2, 2, LARGE), (3, 1, SMALL)).track == 2  # type: ignore[union-attr]


def test_who_is_expected_is_taken_where_nobody_is_seen():
    assert best((1, -1, LARGE), (2, 0, SMALL)).track == 2  # type: ignore[union-attr]
    box = best_box(People([(1, -1, SMALL), (2, -1, LARGE)]), np.empty(0, np.float32))
    assert box is not None and box.track == 1 and box.score is None


def test_nobody():
    assert best() is None
    assert best_box(no_tracks(), np.empty(0, np.float32)) is None


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "wrong",
    [
        (NAN, 0, 1, 1),
        (0, 0, INF, 1),
        (0, 0, 1, -INF),
        (0, 0, 10_000, 5),
        (-10_000, 0, 1, 1),
        (5, 5, 5, 9),
        (9, 9, 1, 1),
    ],
    ids=str,
)
def test_a_box_that_is_none_is_passed_over(wrong: tuple[float, float, float, float]):
    assert best((1, 1, wrong)) is None
    box = best((1, 1, wrong), (2, 0, SMALL))
    assert box is not None and box.track == 2


FLOATS = st.floats(width=32)


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(-1, 2), st.tuples(FLOATS, FLOATS, FLOATS, FLOATS))))
def test_every_choice_has_room_in_a_line(rows):
    shot = SHOT._replace(frame=2**40)
    with np.errstate(all="ignore"):
        told = read_sight(b"".join(parts_of(shot, People(rows), SCORES)))
        assert told.box == best_box(People(rows), SCORES) and told.people == len(rows)
    assert encode(Line(0, 1, told.frame, 10**18, None, told.people, LineFlag(0), told.box))


@pytest.mark.parametrize("state", list(ClockState))
@pytest.mark.parametrize("rows", [[], [(7, -1, SMALL)], [(7, 0, SMALL), (8, -1, LARGE)]])
def test_a_message_survives(state: ClockState, rows: list[Any]):
    shot = Shot(65_535, 2**32 - 1, Stamp(2**63, 2**60, 2**32 - 1, state), not rows, 2**62)
    data = b"".join(parts_of(shot, People(rows), SCORES))
    box = best_box(People(rows), SCORES)
    assert (box is None) == (not rows)
    assert read_sight(memoryview(data)) == Sight(*shot[:4], len(rows), box, 2**62)
    for wrong in (data[:-1], data + b"x", data[:20]):
        with pytest.raises(ValueError, match="message of"):
            read_sight(wrong)


def test_the_trackers_own_memory_is_understood():
    """However it lies there: cut out, of another type."""
    tracks = no_tracks()
    assert read_sight(b"".join(parts_of(SHOT, tracks, np.empty(0, np.float64)))).people == 0
    people = People([(1, 0, LARGE), (2, 1, SMALL)])
    scores = np.array([0.5, 0, 0.9, 0], np.float64)[::2]
    box = read_sight(b"".join(parts_of(SHOT, people, scores))).box
    assert box is not None and box.track == 2 and box.score == pytest.approx(0.9)


def test_an_inference_never_waits_for_a_line_that_nobody_writes():
    """The far end is not read: what fits is kept, the rest is refused at once, for ever."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        feed, people = Feed(near), People([(number, 0, SMALL) for number in range(22)])
        told = [feed.tell(SHOT, people, SCORES) for _ in range(2_000)]
        kept = sum(told)
        assert 40 < kept < 2_000, "a quarter of a second of two cameras: older lines are dropped anyway"
        assert told == [True] * kept + [False] * (2_000 - kept)
        assert read_sight(far.recv(10_000)).people == 22
        far.close()
        assert feed.tell(SHOT, people, SCORES) is False


def test_more_than_the_far_end_has_room_for_is_refused_and_said_once(caplog: pytest.LogCaptureFixture):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        feed = Feed(near)
        crowd = People([(number, 0, SMALL) for number in range(1, MAX_MESSAGE_BYTES // 64 + 2)])
        assert [feed.tell(SHOT, crowd, SCORES) for _ in range(3)] == [False] * 3
        assert len(caplog.messages) == 1 and os.strerror(errno.EMSGSIZE) in caplog.text
        assert feed.tell(SHOT, People([(1, 0, SMALL)]), SCORES)
        assert read_sight(far.recv(MAX_MESSAGE_BYTES)).people == 1


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM, errno.EMSGSIZE, errno.EBADF, errno.EPIPE])
def test_no_error_of_the_kernel_ends_an_inference(code: int, caplog: pytest.LogCaptureFixture):
    class Broken:
        def sendmsg(self, *_: object) -> int:
            raise OSError(code, os.strerror(code))

    feed = Feed(Broken())  # type: ignore[arg-type]
    assert [feed.tell(SHOT, People([]), SCORES) for _ in range(9)] == [False] * 9
    assert len(caplog.messages) == (code != errno.EPIPE)
    assert all(os.strerror(code) in one for one in caplog.messages)

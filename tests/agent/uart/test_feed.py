"""The best box, the message, and an inference that never waits for the serial line."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.track.tracks import no_tracks
from agent.uart.feed import MAX_MESSAGE_BYTES, Feed, Sight, best_box, read_sight, sight_message
from agent.uart.line import Box, Line, LineFlag, encode
from touchline.timeline import ClockState, Stamp


@dataclass
class People:
    """Followed people, one a row: id, index of the detection (-1: expected), box."""

    rows: list[tuple[int, int, tuple[float, float, float, float]]]

    @property
    def ids(self) -> Any:
        return np.array([row[0] for row in self.rows], np.int64)

    @property
    def matches(self) -> list[int]:
        return [row[1] for row in self.rows]

    def box_at(self, at: int) -> list[float]:
        return list(self.rows[at][2])


SMALL, LARGE = (10.0, 20.0, 30.0, 60.0), (100.0, 20.0, 160.0, 140.0)
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
    with np.errstate(all="ignore"):
        box = best_box(People(rows), SCORES)
    sight = Sight(1, 2**40, Stamp(10**18, 5, 3, ClockState.LOCKED), True, len(rows), box, 7)
    told = read_sight(sight_message(sight))
    assert encode(Line(0, 1, told.frame, 10**18, None, told.people, LineFlag(0), told.box))


@pytest.mark.parametrize("state", list(ClockState))
@pytest.mark.parametrize("box", [None, Box(7, None, -1.5, 2.0, 3.0, 4.0), Box(7, 0.5, 1.0, 2.0, 3.0, 4.0)])
def test_a_message_survives(state: ClockState, box: Box | None):
    sight = Sight(65_535, 2**32 - 1, Stamp(2**63, 2**60, 2**32 - 1, state), box is None, 999, box, 2**62)
    assert read_sight(sight_message(sight)) == sight
    with pytest.raises(ValueError):
        read_sight(sight_message(sight)[:-1])


def test_an_inference_never_waits_for_a_line_that_nobody_writes():
    """The far end is not read: what fits is kept, the rest is refused at once, for ever."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        feed = Feed(near)
        sight = Sight(1, 1, Stamp(10**18, 5, 3, ClockState.LOCKED), True, 0, None, 7)
        told = [feed.tell(sight) for _ in range(20_000)]
        kept = sum(told)
        assert 100 < kept < 20_000
        assert told == [True] * kept + [False] * (20_000 - kept)
        assert len(far.recv(1000)) == MAX_MESSAGE_BYTES
        far.close()
        assert feed.tell(sight) is False


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM, errno.EMSGSIZE, errno.EBADF, errno.EPIPE])
def test_no_error_of_the_kernel_ends_an_inference(code: int, caplog: pytest.LogCaptureFixture):
    class Broken:
        def send(self, data: bytes, flags: int) -> int:
            raise OSError(code, os.strerror(code))

    feed = Feed(Broken())  # type: ignore[arg-type]
    assert [feed.tell(Sight(1, 1, Stamp(10**18, 5, 3, ClockState.LOCKED), True, 0, None, 7)) for _ in range(9)] == [
        False
    ] * 9
    assert len(caplog.messages) == (code != errno.EPIPE)
    assert all(os.strerror(code) in one for one in caplog.messages)

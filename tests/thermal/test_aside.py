"""A reader in a thread: its answers, their age, and what hangs."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from thermal.aside import Aside

PATIENCE_S = 30.0


class Device:
    """Counts its reads; each waits for its turn to be let go."""

    def __init__(self) -> None:
        self.reads = 0
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def read(self) -> int:
        self.reads += 1
        read = self.reads
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE_S)
        return read


@given(st.lists(st.sampled_from(["ask", "finish"]), max_size=30))
def test_an_answer_is_of_the_last_two_looks_asked_for_or_none(steps):
    device = Device()
    aside = Aside("test", device.read)
    asked, running, done = 0, 0, 0  # numbers of looks; 0: none
    answers: dict[int, int] = {}
    for step in steps:
        if step == "ask":
            aside.ask()
            asked += 1
            if not running:
                assert device.begun.acquire(timeout=PATIENCE_S)
                running = asked
        elif running:
            done, running = running, 0
            answers[done] = device.reads
            device.go.release()
            if asked == done:
                assert aside.answer(PATIENCE_S) == device.reads
            else:  # asked again meanwhile: it goes on by itself
                assert device.begun.acquire(timeout=PATIENCE_S)
                running = asked
        assert aside.answer(0.0) == (answers.get(done) if asked - done <= 1 else None)
        assert aside.last == answers.get(done)
    aside.close()
    device.go.release(2)


def test_nothing_is_read_before_it_is_asked_for():
    aside = Aside("test", lambda: 1)
    assert (aside.answer(PATIENCE_S), aside.last) == (None, None)
    aside.close()


def test_a_hang_is_waited_for_once():
    """With a wait that a test would notice: the second answer must come at once."""
    device = Device()
    aside = Aside("test", device.read)
    aside.ask()
    assert device.begun.acquire(timeout=PATIENCE_S)
    aside.ask()
    assert aside.answer(3600.0) is None
    device.go.release(2)
    aside.close()

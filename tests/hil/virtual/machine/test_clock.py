"""The guest's clock is moved to the host's, by what it is off, however late the guest gets to it."""

from __future__ import annotations

import pytest

from hil.virtual.machine import clock
from hil.virtual.machine.clock import set_clock
from touchline.errors import HardwareError

HOUR_NS = 3_600 * 10**9


class Guest:
    """A clock that is off by ``off_ns``; reading it takes ``read_ns``, a step ``late_ns`` and moves it by ``share``."""

    def __init__(self, off_ns: int, *, read_ns: int = 1_000_000, late_ns: int = 0, share: float = 1.0) -> None:
        self.now_ns, self.off_ns = 1_800_000_000 * 10**9, off_ns
        self.read_ns, self.late_ns, self.share = read_ns, late_ns, share
        self.steps = 0

    def time_ns(self) -> int:
        self.now_ns += self.read_ns
        return self.now_ns - self.read_ns // 2 + self.off_ns

    def step_time(self, step_ns: int) -> None:
        self.steps += 1
        self.now_ns += self.late_ns
        self.off_ns += int(step_ns * self.share)


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch):
    def run(guest: Guest) -> Guest:
        monkeypatch.setattr(clock, "utc_s", lambda: guest.now_ns / 1e9)
        set_clock(guest, "a")
        return guest

    return run


@pytest.mark.parametrize("off_ns", [-90 * 24 * HOUR_NS, -11_000_000, 11_000_000, HOUR_NS])
def test_one_step_is_enough_however_late_it_comes(settle, off_ns):
    guest = settle(Guest(off_ns, late_ns=700_000_000))
    assert guest.steps == 1
    assert abs(guest.off_ns) < 10_000_000


def test_a_clock_that_is_right_is_left_alone(settle):
    assert settle(Guest(5_000_000)).steps == 0


def test_a_step_that_fell_short_is_made_up_for(settle):
    guest = settle(Guest(-HOUR_NS, share=0.999))
    assert 1 < guest.steps <= 4
    assert abs(guest.off_ns) < 10_000_000


def test_a_busy_host_may_leave_it_in_doubt_but_not_seconds_off(settle):
    assert settle(Guest(-HOUR_NS, read_ns=50_000_000)).steps == 4  # no reading is good to 10 ms
    with pytest.raises(HardwareError, match=r"node a: the guest's clock cannot be set: it is -3600\.0 s off"):
        settle(Guest(-HOUR_NS, share=0.0))

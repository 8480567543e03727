"""A read of the accelerometer that hangs, comes late or kills its thread holds up nobody."""

from __future__ import annotations

import threading

import pytest

from thermal.protect.reader import SampleReader
from thermal.protect.shake import SILENCE_NS, Missed, ShakeSettings, ShakeState, step

MS = 1_000_000
REST = (0.0, 0.0, 1.0)


class Bus:
    """A bus that hangs while ``free`` is clear; the clock stands unless it is moved."""

    def __init__(self) -> None:
        self.free, self.now_ns, self.reads = threading.Event(), 0, 0
        self.free.set()
        self.reader = SampleReader(self.read, 0.002, lambda: self.now_ns)

    def read(self):
        self.reads += 1
        assert self.free.wait(60.0)
        return REST

    def got(self):
        """The next sample, however slowly this machine's threads come to run."""
        return next(found for found in iter(self.reader.read, None) if not isinstance(found, Missed))


@pytest.fixture
def bus():
    made = Bus()
    yield made
    made.free.set()
    made.reader.close()


def test_a_sample_is_read_when_it_is_asked_for(bus):
    assert bus.reads == 0
    assert bus.got() == REST
    assert bus.reads == 1


def test_a_read_that_hangs_is_a_missed_sample_with_its_age_and_no_second_read(bus):
    bus.free.clear()
    bus.reader.read()
    bus.now_ns = 3000 * MS
    assert bus.reader.read() == Missed("its read has not come back for 3.0 s")
    assert bus.reads <= 1


def test_what_comes_back_late_is_not_believed_and_the_next_one_is(bus):
    bus.free.clear()
    bus.reader.read()
    bus.now_ns = SILENCE_NS + MS
    bus.free.set()
    late = bus.reader.read()
    while "not come back" in late.why:  # until the thread has run
        late = bus.reader.read()
    assert late == Missed("its read took 0.3 s")
    assert bus.got() == REST


def test_silence_becomes_a_lost_sensor_by_the_rule_for_one(bus):
    bus.free.clear()
    settings, state = ShakeSettings(lost_ns=2000 * MS), ShakeState()
    for _ in range(101):
        state, verdict = step(settings, state, bus.reader.read(), bus.now_ns)
        bus.now_ns += 20 * MS
    assert verdict.lost == "no sample for 2.0 s: its read has not come back for 2.0 s"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_seen():
    def broken():
        raise RuntimeError("a fault of ours")

    reader = SampleReader(broken, 0.002)
    assert isinstance(reader.read(), Missed)
    assert reader.thread is not None
    reader.thread.join(60.0)
    assert not reader.thread.is_alive()


def test_close_ends_the_thread(bus):
    bus.got()
    bus.reader.close()
    assert bus.reader.thread is not None
    bus.reader.thread.join(60.0)
    assert not bus.reader.thread.is_alive()

"""The threads beside the loop: guard, retaker, history. They wait for events, never for time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from thermal.record import read_record
from thermal.service.guard import Guard
from thermal.service.history import FILE, ROTATED, HistoryWriter, history_files
from thermal.service.retake import AGAIN_NS, BackgroundRetaker
from thermal.types import Command, Raw, Sample

WAIT_S = 60.0


def a_sample(at_ns: int, temp_c: float = 60.0) -> Sample:
    return Sample(at_ns, {"tj": Raw(temp_c)}, Raw(1700.0), Raw(58.0))


def test_the_guard_bites_once_for_each_silence():
    bitten = threading.Semaphore(0)

    def full_speed() -> str | None:
        bitten.release()
        return "pwm1: refused"

    guard = Guard(full_speed, 0.05)
    assert bitten.acquire(timeout=WAIT_S)
    assert not bitten.acquire(timeout=0.2)  # the same silence
    guard.alive()
    assert bitten.acquire(timeout=WAIT_S)
    assert guard.bites == 2
    guard.close()


def test_a_guard_that_is_fed_does_not_bite():
    guard = Guard(lambda: pytest.fail("it bit"), 30.0)
    for _ in range(100):
        guard.alive()
    guard.close()
    assert guard.bites == 0


def test_the_retaker_never_waits_and_never_hurries():
    began, may_end, count = threading.Semaphore(0), threading.Event(), []

    def take() -> str | None:
        count.append(1)
        began.release()
        may_end.wait(WAIT_S)
        return None

    retaker = BackgroundRetaker(take)
    retaker.ask(1)
    assert began.acquire(timeout=WAIT_S)
    retaker.ask(1 + AGAIN_NS)  # still at it
    may_end.set()
    assert retaker._thread is not None
    retaker._thread.join(WAIT_S)
    retaker.ask(AGAIN_NS)  # too soon
    assert len(count) == 1
    retaker.ask(2 + AGAIN_NS)
    assert began.acquire(timeout=WAIT_S)
    assert len(count) == 2


def test_the_history_is_bounded_and_can_be_replayed(tmp_path: Path):
    writer = HistoryWriter(tmp_path / "folder", max_bytes=2000)
    for at_ns in range(1, 101):
        writer.add(a_sample(at_ns), Command(58.0, 0))
    writer.close()
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == sorted([FILE, ROTATED])
    assert all(path.stat().st_size <= 2000 for path in (tmp_path / "folder").iterdir())
    record = read_record(history_files(tmp_path / "folder"))
    assert record.damaged == 0
    assert record.entries[-1].sample == a_sample(100)
    assert writer.lost == 0


def test_a_line_cut_short_costs_itself_alone(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b'{"v": 1, "at')
    writer = HistoryWriter(tmp_path)
    writer.add(a_sample(1), Command(58.0, 0))
    writer.close()
    record = read_record(history_files(tmp_path))
    assert (len(record.entries), record.damaged) == (1, 1)


def test_a_disk_that_refuses_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    writer = HistoryWriter(tmp_path / "file" / "folder")
    for at_ns in range(1, 6):
        writer.add(a_sample(at_ns), Command(58.0, 0))
    writer.add(a_sample(9, temp_c=float("nan")), Command(58.0, 0))
    writer.close()
    assert writer.lost == 6
    assert len([one for one in caplog.records if "goes on without it" in one.message]) == 1

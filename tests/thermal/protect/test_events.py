"""Events: on the disk when commit returns, in order, bounded, and a disk that hangs holds nobody up."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.protect import events
from thermal.protect.events import FILE, MAX_BYTES, ROTATED, EventLog, append, encode, read_events

EVENT = {"kind": "shaken", "peak_g": 1.25}


@pytest.fixture
def log(tmp_path):
    made = EventLog(tmp_path / "state")
    yield made
    made.close()


def test_commit_returns_when_the_line_was_synced(log, tmp_path, monkeypatch):
    synced: list[bytes] = []
    real = os.fdatasync

    def fdatasync(fd):
        synced.append((tmp_path / "state" / FILE).read_bytes())
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    assert log.commit(EVENT, 60.0) is None
    assert synced == [encode(EVENT)]
    assert read_events(tmp_path / "state") == [EVENT]


def test_what_comes_before_comes_first_and_its_failure_does_not_lose_the_line(log, tmp_path):
    seen: list[bool] = []

    def before():
        seen.append((tmp_path / "state" / FILE).exists())
        raise OSError(5, "Input/output error")

    assert "Input/output error" in (log.commit(EVENT, 60.0, before) or "")
    assert seen == [False]
    assert read_events(tmp_path / "state") == [EVENT]
    assert log.lost == 1


def test_a_disk_that_hangs_is_waited_for_so_long_and_written_later(log, tmp_path, monkeypatch):
    gate, real = threading.Event(), events.append
    monkeypatch.setattr(events, "append", lambda folder, event: (gate.wait(60.0), real(folder, event)))
    assert "within 0.05 s" in (log.commit(EVENT, 0.05) or "")
    gate.set()
    log.close(60.0)
    assert read_events(tmp_path / "state") == [EVENT]


def test_too_many_waiting_lines_are_lost_and_counted(tmp_path, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(events, "append", lambda *_: gate.wait(60.0))
    log = EventLog(tmp_path)
    for _ in range(events.MAX_WAITING + 10):
        log.put(EVENT)
    assert log.lost >= 8
    assert "too many" in (log.commit(EVENT, 0.01) or "")
    gate.set()
    log.close()


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path):
    append(tmp_path, EVENT)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"kind": "cut sho')
    append(tmp_path, {"kind": "next"})
    assert read_events(tmp_path) == [EVENT, {"kind": "next"}]


def test_two_files_are_kept(tmp_path):
    (tmp_path / FILE).write_bytes(b"\n" * MAX_BYTES)
    append(tmp_path, EVENT)
    assert (tmp_path / ROTATED).stat().st_size == MAX_BYTES
    assert read_events(tmp_path, last=1) == [EVENT]


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        append(tmp_path, EVENT)
    assert (tmp_path / "victim").read_text() == "kept"


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_can_be_read(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("events")
    (folder / FILE).write_bytes(b"\n".join(lines))
    assert all(isinstance(one, dict) for one in read_events(folder))

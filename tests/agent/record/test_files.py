"""Recordings on disk: names, rotation at key frames, bounds, and disks that are full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.record import files
from agent.record.files import Bounds, Shelf, age_key, name_of, utc_of
from agent.record.read import read_recording
from tests.agent.record.helpers import HEAD, PTP_NS, fragment, start
from touchline.errors import ResourceError


class Desk:
    """A shelf and what it said."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self.said: list[tuple[str, str]] = []
        self.shelf = Shelf(folder, bounds, lambda severity, code, text: self.said.append((severity, code)))
        self.shelf.begin(HEAD, start())

    def put(self, numbers: range, size: int = 0) -> list[bool]:
        return [self.shelf.put(fragment(n, data=bytes(size) if size else b"")) for n in numbers]


def frames_in(path: Path) -> list[int]:
    found = read_recording(path)
    assert found is not None
    return [int(number) for number in found.frames["sequence"]]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_name_says_node_camera_time_and_stream():
    assert utc_of(1_800_000_000_123_456_789) == "20270115T075923.123456Z"  # 37 s of TAI taken off
    assert name_of(HEAD, PTP_NS) == "node-a_cam1_20270115T075923.000000Z_01234567.mp4"


def test_a_new_file_begins_at_the_next_key_frame_and_loses_nothing(tmp_path):
    desk = Desk(tmp_path / "cam1", Bounds(1 << 30, file_us=400_000))
    assert all(desk.put(range(100)))
    desk.shelf.close()
    found = sorted((tmp_path / "cam1").glob("*.mp4"))
    assert [frames_in(path) for path in found] == [
        list(range(30)), list(range(30, 60)), list(range(60, 90)), list(range(90, 100))
    ]  # fmt: skip
    second = read_recording(found[1])
    assert second is not None and second.head.first_number == 30
    assert desk.shelf.counters["files"] == 4


def test_media_time_of_each_file_begins_at_zero(tmp_path):
    desk = Desk(tmp_path, Bounds(1 << 30, file_bytes=1))
    desk.put(range(20))
    desk.shelf.close()
    for path in tmp_path.glob("*.mp4"):
        assert bytes(8) == path.read_bytes().partition(b"tfdt\x01\0\0\0")[2][:8]


def test_what_comes_before_a_key_frame_is_counted_not_written(tmp_path):
    desk = Desk(tmp_path, Bounds(1 << 30))
    assert desk.put(range(3, 18)) == [False] * 12 + [True] * 3
    assert desk.shelf.counters["dropped_disk"] == 12


def test_the_oldest_go_and_are_counted(tmp_path):
    desk = Desk(tmp_path, Bounds(100_000, file_bytes=25_000))
    desk.put(range(150), size=1000)
    desk.shelf.close()
    total = sum(path.stat().st_size for path in tmp_path.glob("*.mp4"))
    assert total <= 100_000
    left = sorted(tmp_path.glob("*.mp4"), key=age_key)
    assert frames_in(left[-1])[-1] == 149
    assert desk.shelf.counters["files_deleted"] == desk.shelf.counters["files"] - len(left) > 0
    kept = [n for path in left for n in frames_in(path)]
    assert kept == list(range(kept[0], 150))  # the newest, without a hole


def test_an_earlier_lifes_files_count_and_go_first(tmp_path):
    old = tmp_path / "node-a_cam1_20200101T000000.000000Z_ffffffff.mp4"
    old.write_bytes(bytes(90_000))
    desk = Desk(tmp_path, Bounds(100_000, file_bytes=25_000))
    desk.put(range(2))
    assert not old.exists()
    assert desk.shelf.counters["files_deleted"] == 1


def test_what_is_too_old_goes(tmp_path, monkeypatch):
    old = tmp_path / "node-a_cam1_20200101T000000.000000Z_ffffffff.mp4"
    old.write_bytes(b"x")
    monkeypatch.setattr(files, "utc_s", lambda: old.stat().st_mtime + 7200 if old.exists() else 0.0)
    Desk(tmp_path, Bounds(1 << 30, max_age_s=3600)).put(range(1))
    assert not old.exists()


def test_a_folder_that_cannot_be_made_is_an_error_with_its_fix(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match=r"make \[record\] folder writable"):
        Shelf(tmp_path / "file" / "cam1", Bounds(1 << 20), lambda *_: None)


def test_a_full_disk_stops_it_once_and_loudly_and_it_goes_on_when_there_is_room(tmpfs, monkeypatch):
    now = [10**9]
    monkeypatch.setattr(files, "monotonic_ns", lambda: now[0])
    ballast = tmpfs / "others.bin"
    ballast.write_bytes(bytes(600_000))
    desk = Desk(tmpfs / "cam1", Bounds(1 << 30))
    written = desk.put(range(150), size=5000)
    count = written.index(False)
    assert 40 < count < 100 and not any(written[count:])
    assert desk.said == [("error", "recording_stopped")]
    path = next((tmpfs / "cam1").glob("*.mp4"))
    assert frames_in(path) == list(range(count))
    whole = read_recording(path)
    assert whole is not None and whole.torn_bytes == 0
    ballast.unlink()
    assert not any(desk.put(range(150, 160), size=5000))  # the pause is not over
    now[0] += files.RETRY_NS
    assert desk.put(range(160, 170), size=5000) == [False] * 5 + [True] * 5  # from the key frame 165 on
    assert desk.said == [("error", "recording_stopped"), ("info", "recording_resumed")]
    assert desk.shelf.counters["dropped_disk"] == 170 - count - 5
    desk.shelf.close()


def test_a_disk_that_stays_full_is_said_once(tmpfs, monkeypatch):
    now = [10**9]
    monkeypatch.setattr(files, "monotonic_ns", lambda: now[0])
    desk = Desk(tmpfs / "cam1", Bounds(1 << 30))
    desk.put(range(300), size=8000)
    for _ in range(5):
        now[0] += files.RETRY_NS
        desk.put(range(300, 330), size=300_000)
    assert [code for _, code in desk.said].count("recording_stopped") - [code for _, code in desk.said].count(
        "recording_resumed"
    ) == 1
    assert all(path.stat().st_size > 0 for path in (tmpfs / "cam1").glob("*.mp4"))


def test_space_is_left_to_others(tmpfs):
    desk = Desk(tmpfs / "cam1", Bounds(1 << 30, min_free_bytes=512 << 10))
    desk.put(range(150), size=5000)
    free = os.statvfs(tmpfs)
    assert free.f_bavail * free.f_frsize >= 512 << 10
    assert desk.said == [("error", "recording_stopped")]


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    for _ in range(3):
        desk = Desk(tmp_path, Bounds(1 << 30))
        desk.put(range(2))
        desk.shelf.close()
    names = sorted(path.name.partition("_01234567")[2] for path in tmp_path.glob("*.mp4"))
    assert names == ["-2.mp4", "-3.mp4", ".mp4"]


def test_a_sync_from_another_thread_reaches_open_and_ended_files(tmp_path):
    desk = Desk(tmp_path, Bounds(1 << 30, file_bytes=1))
    desk.put(range(40))
    desk.shelf.sync()
    desk.put(range(40, 60))
    desk.shelf.close()
    desk.shelf.sync()
    assert sum(len(frames_in(path)) for path in tmp_path.glob("*.mp4")) == 60

"""Recordings on disk: names, rotation at key frames, bounds, and disks that are full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.record import files
from agent.record.files import Bounds, Shelf
from agent.record.read import read_recording
from agent.record.retention import AGED_AT_ONCE, KEEP_FILES, SETTLE_NS, label_of, order_key
from tests.agent.record.helpers import HEAD, fragment, start
from touchline.errors import ResourceError
from touchline.timeline import ClockState


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
    left = sorted(tmp_path.glob("*.mp4"), key=order_key)
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


# --- age -------------------------------------------------------------------------------------------------------------

HOUR_NS = 3_600_000_000_000
TEN_YEARS_NS = 10 * 365 * 24 * HOUR_NS


class Match(Desk):
    """A shelf with an age limit of two hours; a file is an hour, and its clock may lie."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: int) -> None:
        self.hour, self.ahead_ns, self.state = 0, 0, ClockState.LOCKED
        monkeypatch.setattr(files, "monotonic_ns", lambda: 10**12 + self.hour * HOUR_NS)
        super().__init__(folder, Bounds(1 << 30, max_age_s=2 * 3600, file_bytes=1, **more))

    def record(self, hours: int) -> None:
        for _ in range(hours):
            ahead_ns = self.ahead_ns + self.hour * (HOUR_NS - 15 * 20_000_000)
            assert self.shelf.put(fragment(15 * self.hour, ahead_ns=ahead_ns, state=self.state))
            self.hour += 1

    def hours(self) -> list[int]:
        """Which hours' files are there, in the order of recording."""
        self.shelf.close()
        return [frames_in(path)[0] // 15 for path in sorted(self.shelf.folder.glob("*.mp4"), key=order_key)]


def test_what_is_too_old_goes_and_the_newest_stay(tmp_path, monkeypatch):
    match = Match(tmp_path, monkeypatch)
    match.record(10)
    assert match.hours() == list(range(10 - KEEP_FILES - 1, 10))  # the newest four when the tenth began, and that
    assert match.shelf.counters["files_aged"] == match.shelf.counters["files_deleted"] == 5
    assert match.said == []


def test_a_clock_ten_years_ahead_for_a_while_deletes_nothing(tmp_path, monkeypatch):
    match = Match(tmp_path, monkeypatch)
    match.record(6)
    before = match.hours()
    match.ahead_ns = TEN_YEARS_NS
    match.record(1)
    assert match.hours() == [*before, 6]
    assert match.said == [("warning", "recording_clock_stepped")]
    match.ahead_ns = 0
    match.record(1)
    assert match.hours() == [*before, 6, 7]
    match.record(8)  # the clock is good again: age is told again, the file from 2037 goes with its neighbours
    assert match.hours() == list(range(11, 16))
    assert match.said == [("warning", "recording_clock_stepped")] * 2


def test_a_clock_that_stays_ahead_costs_two_files_at_a_time_at_most(tmp_path, monkeypatch):
    old = Match(tmp_path, monkeypatch)
    old.shelf._clock = None
    old.record(40)
    old.shelf.close()
    match = Match(tmp_path, monkeypatch)  # a new life, whose clock is wrong and says that it is locked
    match.ahead_ns = TEN_YEARS_NS
    match.record(1)
    assert match.shelf.counters["files_deleted"] == 0
    match.hour = 1 + SETTLE_NS // HOUR_NS
    match.record(3)
    assert match.shelf.counters["files_deleted"] <= 3 * AGED_AT_ONCE


def test_a_new_life_waits_for_an_hour_without_a_word(tmp_path, monkeypatch):
    match = Match(tmp_path, monkeypatch)
    match.record(10)
    match.shelf.close()
    before = match.hours()
    again = Match(tmp_path, monkeypatch)
    again.hour = 12
    again.record(1)
    assert again.hours() == [*before, 12] and again.said == []
    again.record(1)
    assert len(again.hours()) < len(before) + 2


@pytest.mark.parametrize("state", [ClockState.UNLOCKED, ClockState.HOLDOVER])
def test_an_unlocked_clock_deletes_nothing_by_age_and_says_so_once(tmp_path, monkeypatch, state):
    match = Match(tmp_path, monkeypatch)
    match.state = state
    match.record(12)
    if state is ClockState.UNLOCKED:
        assert match.hours() == list(range(12))
        assert match.said == [("warning", "recording_age_unsure")]
    else:
        assert match.hours() == list(range(7, 12))


def test_hours_of_an_unlocked_clock_go_with_later_ones_that_are_surely_old(tmp_path, monkeypatch):
    match = Match(tmp_path, monkeypatch)
    match.state, match.ahead_ns = ClockState.UNLOCKED, -TEN_YEARS_NS  # it begins in 2017 and is locked later
    match.record(2)
    match.state, match.ahead_ns = ClockState.LOCKED, 0
    match.record(3)
    assert match.hours() == list(range(5))  # hours 0 and 1 seem ten years old, and are not known to be
    match.record(8)
    assert match.hours() == list(range(8, 13))


def test_beyond_the_bound_the_first_recorded_goes_whatever_its_name_says(tmp_path, monkeypatch):
    match = Match(tmp_path, monkeypatch)
    for ahead_ns in (TEN_YEARS_NS, 0, -TEN_YEARS_NS, 0):
        match.ahead_ns = ahead_ns
        match.record(1)
    match.shelf.close()
    size = max(path.stat().st_size for path in tmp_path.glob("*.mp4"))
    tight = Desk(tmp_path, Bounds(5 * size, file_bytes=size))  # a new life goes on counting
    tight.put(range(300, 346, 15))
    tight.shelf.close()
    left = sorted(tmp_path.glob("*.mp4"), key=order_key)
    assert [frames_in(path)[0] for path in left][-1] >= 300
    assert [label_of(path).serial for path in left] == list(range(9 - len(left), 9))  # type: ignore[union-attr]


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    match = tmp_path / "match.mp4"
    match.write_bytes(bytes(90_000))
    desk = Desk(tmp_path, Bounds(100_000, file_bytes=25_000))
    desk.put(range(150), size=1000)
    assert match.exists() and desk.shelf.counters["files_deleted"] > 0


def test_a_shelf_whose_writer_is_held_up_is_closed_without_waiting_for_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_CLOSE_S", 0.01)
    desk = Desk(tmp_path, Bounds(1 << 30))
    desk.put(range(5))
    with desk.shelf._turn:
        desk.shelf.close()
    assert "the disk is stuck" in caplog.text
    desk.shelf.close()
    assert frames_in(next(tmp_path.glob("*.mp4"))) == list(range(5))


# --- disks -----------------------------------------------------------------------------------------------------------


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


def test_a_disk_that_became_read_only_costs_pictures_and_no_thread(tmp_path, monkeypatch):
    """Neither the head can be written nor the empty file be taken away again."""
    desk = Desk(tmp_path / "cam1", Bounds(1 << 30))

    def refuse(*_: object, **__: object) -> int:
        raise OSError(30, "Read-only file system")

    for name in ("write", "ftruncate", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    assert desk.put(range(30)) == [False] * 30
    assert desk.said == [("error", "recording_stopped")] and desk.shelf.counters["dropped_disk"] == 30
    monkeypatch.undo()
    assert open_below(tmp_path) == []
    desk.shelf.close()


class Guarded(Desk):
    """A shelf on a disk whose guard has a say, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, why: str = "") -> None:
        self.now_ns, self.why = 10**9, why
        monkeypatch.setattr(files, "monotonic_ns", lambda: self.now_ns)
        self.said = []
        self.shelf = Shelf(
            folder, Bounds(1 << 30), lambda severity, code, _: self.said.append((severity, code)), self.ask
        )
        self.shelf.begin(HEAD, start())

    def ask(self, now_ns: int) -> str:
        assert now_ns == self.now_ns
        return self.why


def open_below(folder: Path) -> list[str]:
    """Files of this process that lie in a folder."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread closed it
            links.append(str(path.readlink()))
    return [link for link in links if link.startswith(f"{folder}/")]


def test_a_quiet_disk_has_no_file_open_and_recording_goes_on_after_it(tmp_path, monkeypatch):
    desk = Guarded(tmp_path, monkeypatch)
    assert all(desk.put(range(20)))
    desk.why = "/data is full"
    assert not any(desk.put(range(20, 40)))
    assert (open_below(tmp_path), desk.shelf.trouble, desk.shelf.why) == ([], True, "/data is full")
    desk.now_ns += 10 * files.RETRY_NS
    assert not any(desk.put(range(40, 50)))
    desk.why = ""
    assert not any(desk.put(range(50, 61))), "the pause is not over"
    desk.now_ns += files.RETRY_NS
    assert desk.put(range(61, 80)) == [False] * 14 + [True] * 5
    assert desk.said == [("warning", "recording_stopped"), ("info", "recording_resumed")]
    assert (desk.shelf.trouble, desk.shelf.why, desk.shelf.counters["dropped_disk"]) == (False, "", 55)
    desk.shelf.close()
    found = [frames_in(path) for path in sorted(tmp_path.glob("*.mp4"), key=order_key)]
    assert found == [list(range(20)), list(range(75, 80))]


def test_a_writer_without_pictures_lets_go_at_the_next_sync(tmp_path, monkeypatch):
    desk = Guarded(tmp_path, monkeypatch)
    desk.put(range(20))
    desk.shelf.sync()
    assert len(open_below(tmp_path)) == 1
    desk.why = "/data is full"
    with desk.shelf._turn:  # it does write just now: the next sync, or itself
        desk.shelf.sync()
    assert len(open_below(tmp_path)) == 1
    desk.shelf.sync()
    assert open_below(tmp_path) == []
    assert desk.said == [("warning", "recording_stopped")]
    assert frames_in(next(tmp_path.glob("*.mp4"))) == list(range(20))


def test_a_recorder_may_begin_on_a_quiet_disk_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ResourceError):
        Guarded(tmp_path, monkeypatch)
    desk = Guarded(tmp_path, monkeypatch, "/data is full")
    assert not any(desk.put(range(15)))
    desk.why = ""
    desk.now_ns += files.RETRY_NS
    assert all(desk.put(range(15, 30)))
    assert desk.said == [("warning", "recording_stopped"), ("info", "recording_resumed")]


def test_a_disk_that_is_quiet_while_it_is_full_is_said_once(tmpfs, monkeypatch):
    desk = Guarded(tmpfs / "cam1", monkeypatch)
    desk.put(range(300), size=8000)
    desk.why = "/data is full"
    desk.put(range(300, 330), size=8000)
    assert desk.said == [("error", "recording_stopped")]


def test_space_is_left_to_others(tmpfs):
    desk = Desk(tmpfs / "cam1", Bounds(1 << 30, min_free_bytes=512 << 10))
    desk.put(range(150), size=5000)
    free = os.statvfs(tmpfs)
    assert free.f_bavail * free.f_frsize >= 512 << 10
    assert desk.said == [("error", "recording_stopped")]


def test_each_file_has_the_next_number_also_in_another_life(tmp_path):
    for _ in range(3):
        desk = Desk(tmp_path, Bounds(1 << 30))
        desk.put(range(2))
        desk.shelf.close()
    taken = tmp_path / next(tmp_path.glob("*_00000003_*")).name.replace("_00000003_", "_00000004_")
    desk = Desk(tmp_path, Bounds(1 << 30))
    taken.touch()  # by somebody else, meanwhile
    desk.put(range(2))
    desk.shelf.close()
    labels = [label_of(path) for path in sorted(tmp_path.glob("*.mp4"), key=order_key)]
    assert [label.serial for label in labels if label is not None] == [1, 2, 3, 4, 5]


def test_a_sync_from_another_thread_reaches_open_and_ended_files(tmp_path):
    desk = Desk(tmp_path, Bounds(1 << 30, file_bytes=1))
    desk.put(range(40))
    desk.shelf.sync()
    desk.put(range(40, 60))
    desk.shelf.close()
    desk.shelf.sync()
    assert sum(len(frames_in(path)) for path in tmp_path.glob("*.mp4")) == 60

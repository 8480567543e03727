"""The disk guard's hands: files go first-made first, writers are told, the phase is remembered; a real mount."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.fragment import Head, Mark
from agent.record.retention import label_of, name_of
from thermal.protect import keeper as keeping
from thermal.protect.disk import DiskSettings, Look, Phase
from thermal.protect.keeper import DiskKeeper, Keeping
from thermal.protect.quiet import FILE, VALID_NS, QuietFlag, end_quiet, write_quiet
from thermal.protect.retention import Kept, delete, expendable, shelves
from touchline.timeline import ClockState

S = 1_000_000_000


def name(serial: int, camera: int = 1) -> str:
    return f"pitch-a1_cam{camera}_{serial:08d}_20261121T100000.000000Z_1f2e3d4c.mp4"


def test_the_recorders_names_are_known_here():
    head = Head("a_cam9_b", 3, "0123456789abcdef", "h264", "libx264", 640, 360, 30.0)
    for state in ClockState:
        made = name_of(head, Mark(1_800_000_000_000_000_000, 1, 10, 1, state), 42)
        assert Kept(Path(made), 0).serial == 42
        assert label_of(Path(made)) is not None
    assert Kept(Path("holiday.mp4"), 0).serial is None
    assert Kept(Path(name(1) + ".part"), 0).serial is None


def test_first_made_go_first_and_never_the_newest():
    shelf = [Kept(Path(name(serial)), 10) for serial in (7, 12, 3, 9, 5, 100)]
    gone = expendable([shelf], 2, 10**9)
    assert [one.serial for one in gone] == [3, 5, 7, 9]
    assert [one.serial for one in expendable([shelf], 2, 15)] == [3, 5]
    assert expendable([[*shelf, Kept(Path("notes.txt"), 10**12)]], 6, 10**9) == []


sizes = st.lists(st.lists(st.integers(1, 100), max_size=12), max_size=4)


@given(sizes, st.integers(1, 5), st.integers(1, 500))
def test_no_more_than_needed_and_each_camera_keeps_its_newest(rows, keep, want):
    made = [[Kept(Path(name(n + 1, cam)), size) for n, size in enumerate(row)] for cam, row in enumerate(rows)]
    gone = expendable(made, keep, want)
    assert sum(one.size for one in gone[:-1]) < want
    for row in made:
        left = [one for one in row if one not in gone]
        assert len(left) >= min(keep, len(row))
        assert not left or row[-len(left) :] == left


class Disk:
    """A disk whose use is what lies in a folder, of 1000 bytes."""

    def __init__(self, folder: Path) -> None:
        self.target = str(folder)
        self.read_only, self.busy = False, False
        self.tried: list[bool] = []

    def look(self):
        used = sum(path.stat().st_size for path in Path(self.target).rglob("*") if path.is_file())
        return Look(used / 10, 1000, self.read_only)

    def remount(self, read_only):
        self.tried.append(read_only)
        if read_only and self.busy:
            return "mount point is busy"
        self.read_only = read_only
        return ""

    def holds(self, path):
        return path.is_relative_to(self.target)


@pytest.fixture
def data(tmp_path):
    for camera in ("cam1", "mirror/cam1"):
        (tmp_path / "data/recordings" / camera).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    return tmp_path / "data"


def keeper(data: Path, events: list[dict[str, Any]], disk: Disk | None = None, **settings) -> DiskKeeper:
    words = Keeping(data.parent / "run", DiskSettings(**settings), events.append, data / "recordings", 2)
    ticks = iter(range(10**6))
    return DiskKeeper(disk or Disk(data), words, lambda: next(ticks) * S)


def fill(data: Path, count: int, size: int = 100, camera: str = "cam1") -> None:
    for serial in range(1, count + 1):
        (data / "recordings" / camera / name(serial)).write_bytes(b"x" * size)


def test_retention_is_enough(data):
    fill(data, 10)
    events: list[dict[str, Any]] = []
    kept = keeper(data, events)
    for _ in range(3):
        kept.turn()
    assert kept.state.phase is Phase.OPEN
    left = [one.serial for shelf in shelves(data / "recordings") for one in shelf]
    assert sorted(filter(None, left)) == list(range(3, 11))
    assert kept.document()["deleted"] == 2
    assert [one["kind"] for one in events] == ["disk_full", "disk_deleted", "disk_trimmed"]


def test_writers_hear_of_it_before_the_remount_and_the_phase_outlives_the_service(data):
    (data / "footage.raw").write_bytes(b"x" * 950)
    events: list[dict[str, Any]] = []
    disk = Disk(data)
    disk.busy = True
    kept = keeper(data, events, disk)
    flag = QuietFlag(data.parent / "run", data / "recordings")
    for _ in range(4):
        kept.turn()
    assert kept.state.phase is Phase.QUIET
    assert set(disk.tried) == {True}
    assert "full" in flag.why(kept.turned_ns)
    assert kept.document()["trouble"]
    disk.busy = False
    for _ in range(3):
        kept.turn()
    again = keeper(data, events, disk)
    assert (disk.read_only, again.state.phase) == (True, Phase.READ_ONLY)
    (data / "footage.raw").write_bytes(b"")
    for _ in range(3):
        again.turn()
    assert not disk.read_only
    assert not (data.parent / "run" / FILE).exists()


def test_trim_stops_when_somebody_else_makes_room(data):
    """The recorder deletes too: what it freed need not be deleted twice."""
    fill(data, 9, 110)

    class Helped(Disk):
        def look(self):
            found: Look = super().look()  # type: ignore[no-untyped-call]
            if len(list((data / "recordings/cam1").iterdir())) < 9:  # a file of ours is gone; another's goes as well
                found = replace(found, used_pct=(found.used_pct or 0.0) - 30.0)
            return found

    events: list[dict[str, Any]] = []
    kept = keeper(data, events, Helped(data))
    for _ in range(3):
        kept.turn()
    assert kept.document()["deleted"] == 1
    assert events[1]["text"].startswith("1 recordings")


def test_trim_follows_no_link_and_takes_only_files_with_one_name(data, tmp_path):
    other = tmp_path / "elsewhere"
    for shelf in ("cam1", "mirror/cam1", "linked"):
        (other / shelf).mkdir(parents=True)
        (other / shelf / name(1)).write_bytes(b"x" * 100)
    recordings = data / "recordings"
    (recordings / "cam7").symlink_to(other / "linked")
    shutil.rmtree(recordings / "mirror")
    (recordings / "mirror").symlink_to(other / "mirror")
    (recordings / "cam1" / name(1)).symlink_to(other / "cam1" / name(1))
    (recordings / "cam1" / name(2)).write_bytes(b"x" * 100)
    os.link(recordings / "cam1" / name(2), recordings / "cam1" / name(3))
    (recordings / "cam1" / name(4)).write_bytes(b"x" * 100)
    assert [one.serial for shelf in shelves(recordings) for one in shelf] == [4]
    (one,) = next(iter(shelves(recordings)))
    (recordings / "cam1").rename(recordings / "old")
    (recordings / "cam1").symlink_to(recordings / "old")  # between the look and the deletion
    with pytest.raises(OSError, match=r"cam1|directory|symbolic"):
        delete(recordings, one)
    assert (recordings / "old" / name(4)).exists()
    assert all((other / shelf / name(1)).exists() for shelf in ("cam1", "mirror/cam1", "linked"))


class Slow(Disk):
    """A disk on which everything takes three minutes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.now_ns = 100 * S
        self.whys: list[str] = []

    def remount(self, read_only):
        self.whys.append(QuietFlag(Path(self.target).parent / "run", Path(self.target)).why(self.now_ns))
        self.now_ns += VALID_NS
        return "mount point is busy"


def test_the_word_to_writers_outlives_long_actions(data, monkeypatch):
    (data / "footage.raw").write_bytes(b"x" * 950)
    disk = Slow(data)
    whys: list[str] = []

    def slow(words: list[str], timeout_s: float) -> None:
        flag = QuietFlag(data.parent / "run", data)
        disk.now_ns += round(timeout_s * 1e9)
        whys.append(flag.why(disk.now_ns))

    monkeypatch.setattr(keeping, "run", slow)
    settings = DiskSettings(trims=False, stop_units=True, quiesce_ns=0)
    units = ("a.service", "b.service", "c.service")
    words = Keeping(data.parent / "run", settings, lambda _: None, units=units)
    kept = DiskKeeper(disk, words, lambda: disk.now_ns)
    for _ in range(4):
        kept.turn()
        assert disk.now_ns - kept.turned_ns < S, "it lives, however long that took"
    assert whys == [f"{data} is full"] * 3
    assert disk.whys == [f"{data} is full"] * 3


# --- stop and start -------------------------------------------------------------------------------------------------


def full(data: Path, events: list[dict[str, Any]], monkeypatch: Any, **settings: Any) -> tuple[DiskKeeper, Disk]:
    """A keeper that has made its disk read-only, after stopping a unit where it has one."""
    (data / "footage.raw").write_bytes(b"x" * 950)
    disk = Disk(data)
    disk.busy = bool(settings)
    kept = keeper(data, events, disk, trims=False, quiesce_ns=0, **settings)
    kept._keeping = replace(kept._keeping, units=("touchline-agent.service",))

    def units(words: list[str], timeout_s: float) -> None:
        disk.busy = False
        events.append({"kind": " ".join(words)})

    monkeypatch.setattr(keeping, "run", units)
    for _ in range(5):
        kept.turn()
    assert kept.state.phase is Phase.READ_ONLY
    return kept, disk


def test_a_stop_gives_back_what_was_taken(data, monkeypatch):
    events: list[dict[str, Any]] = []
    kept, disk = full(data, events, monkeypatch, stop_units=True)
    assert events[-2]["kind"] == "systemctl stop touchline-agent.service"
    kept.release()
    assert not disk.read_only
    assert not (data.parent / "run" / FILE).exists()
    assert [one["kind"] for one in events[-2:]] == [
        "disk_released",
        "systemctl --no-block start touchline-agent.service",
    ]
    assert keeper(data, events, disk).state == replace(kept.state, since_ns=0)


def test_what_cannot_be_given_back_is_taken_over_by_the_next_start(data, monkeypatch):
    events: list[dict[str, Any]] = []
    kept, disk = full(data, events, monkeypatch)
    monkeypatch.setattr(disk, "remount", lambda read_only: "mount did not finish within 30 s")
    kept.release()
    assert events[-1]["kind"] == "disk_kept"
    assert keeper(data, events, disk).state.phase is Phase.READ_ONLY
    assert (data.parent / "run" / FILE).exists()


def test_a_stop_leaves_alone_what_was_not_taken(data):
    events: list[dict[str, Any]] = []
    disk = Disk(data)
    disk.read_only = True  # errors=remount-ro
    kept = keeper(data, events, disk)
    kept.turn()
    kept.release()
    assert disk.tried == []


def test_a_damaged_memory_is_the_first_start(data):
    (data.parent / "run" / "disk.json").write_text('{"target": 1')
    assert keeper(data, []).state.phase is Phase.OPEN


def test_recordings_on_another_disk_are_left_alone(data, tmp_path):
    fill(data, 10)
    words = Keeping(tmp_path / "run", DiskSettings(), lambda _: None, tmp_path / "elsewhere", 2)
    kept = DiskKeeper(Disk(data), words, lambda: 0)
    for _ in range(3):
        kept.turn()
    assert kept.deleted == 0
    assert kept.state.phase is Phase.QUIET


# --- the word to writers --------------------------------------------------------------------------------------------


def test_the_word_holds_for_files_on_that_disk_and_for_so_long(tmp_path):
    inside, outside = tmp_path / "data" / "spool", tmp_path / "database"
    write_quiet(tmp_path, str(tmp_path / "data"), "full", 100 * S)
    assert QuietFlag(tmp_path, inside).why(100 * S) == "full"
    assert QuietFlag(tmp_path, outside).why(100 * S) == ""
    assert QuietFlag(tmp_path, inside).why(100 * S + VALID_NS + 1) == ""
    assert QuietFlag(tmp_path, inside).why(99 * S) == "", "of another boot"
    end_quiet(tmp_path)
    assert QuietFlag(tmp_path, inside).why(100 * S) == ""


def test_it_is_looked_at_five_times_a_second(tmp_path):
    flag = QuietFlag(tmp_path, tmp_path / "data")
    assert flag.why(S) == ""
    write_quiet(tmp_path, str(tmp_path / "data"), "full", S)
    assert flag.why(S + S // 10) == ""
    assert flag.why(S + S // 5) == "full"


@given(st.binary(max_size=80))
def test_any_bytes_are_no_word(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("quiet")
    (folder / FILE).write_bytes(raw)
    assert QuietFlag(folder, folder).why(S) == ""

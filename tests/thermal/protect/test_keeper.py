"""The disk guard's hands: files go first-made first, writers are told, the phase is remembered; a real mount."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.fragment import Head, Mark
from agent.record.retention import label_of, name_of
from thermal.protect.disk import DiskSettings, Look, Phase
from thermal.protect.keeper import DiskKeeper, Keeping
from thermal.protect.mount import mount_rows
from thermal.protect.quiet import FILE, VALID_NS, QuietFlag, end_quiet, write_quiet
from thermal.protect.retention import Kept, expendable, shelves
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


# --- mounts ---------------------------------------------------------------------------------------------------------


def test_mountinfo_is_read_as_proc_5_says():
    text = (
        "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,discard\n"
        "36 22 259:2 / /data\\040a ro,relatime shared:2 master:3 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n"
        "nonsense\n40 22 0:5 / /dev rw - tmpfs\n"
    )
    rows = mount_rows(text)
    assert [(row.target, row.kind, row.read_only) for row in rows] == [("/", "ext4", False), ("/data a", "ext4", False)]


@given(st.text(max_size=200))
def test_any_text_is_some_mountinfo(text):
    mount_rows(text)


REAL = """
import json, sys
from pathlib import Path
from typing import Any
from thermal.protect.disk import DiskSettings
from thermal.protect.keeper import DiskKeeper, Keeping
from thermal.protect.mount import Mount
data, run_dir = Path(sys.argv[1]), Path(sys.argv[2])
ticks = iter(range(10**6))
events, seen = [], []
disk = Mount(str(data))
keeper = DiskKeeper(disk, Keeping(run_dir, DiskSettings(trims=False), events.append), lambda: next(ticks) * 10**9 * 4)
def turn(what):
    keeper.turn()
    seen.append([what, keeper.state.phase.value, disk.look().read_only, keeper.document()["trouble"]])
turn("empty")
held = (data / "recording.mp4").open("wb", buffering=0)
held.write(b"x" * int(disk.look().total_bytes * 0.93))
for _ in range(4):
    turn("file open for writing")
held.close()
turn("closed"); turn("closed")
refused = ""
try:
    (data / "more").write_bytes(b"x")
except OSError as error:
    refused = error.strerror
turn("read-only")
import subprocess
subprocess.run(["mount", "-o", "remount,rw", str(data)], check=True)
turn("lent")
(data / "recording.mp4").unlink()
turn("room"); turn("room")
(data / "more").write_bytes(b"x")
other = Mount(str(data / "no-mount")).look().trouble
print(json.dumps({"seen": seen, "events": [one["kind"] for one in events], "refused": refused, "other": other}))
"""


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root and unshare")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_real_mount_in_a_namespace_of_its_own(tmp_path, kind):
    """Busy while a file is open for writing, then read-only, lent to a person, and back."""
    data, run_dir = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    run_dir.mkdir()
    (tmp_path / "real.py").write_text(REAL)
    mount = f"mount -t tmpfs -o size=4m,nosuid,noatime tmpfs {data}"
    if kind == "ext4":
        if not shutil.which("mkfs.ext4") or not Path("/dev/loop-control").exists():
            pytest.skip("no loop device or mkfs.ext4 here")
        made = f"truncate -s 16M {tmp_path}/image && mkfs.ext4 -q -m 0 {tmp_path}/image"
        mount = f"{made} && mount -o loop,nosuid,noatime {tmp_path}/image {data}"
    python = f"PYTHONPATH={Path(__file__).parents[3]} {sys.executable} {tmp_path}/real.py {data} {run_dir}"
    line = f"mount --make-rprivate / && {mount} && {python} && grep ' {data} ' /proc/self/mountinfo >&2; umount {data}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    if kind == "ext4" and "failed to setup loop" in done.stderr:
        pytest.skip("no free loop device here")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    phases = [(what, phase, read_only) for what, phase, read_only, _ in found["seen"]]
    assert phases[0] == ("empty", "open", False)
    assert ("file open for writing", "quiet", False) in phases
    assert ("read-only", "read_only", True) in phases
    assert ("lent", "lent", False) in phases
    assert phases[-1] == ("room", "open", False)
    assert any("busy" in trouble and "fuser" in trouble for *_, trouble in found["seen"])
    assert found["refused"] == "Read-only file system"
    assert "not a mount point" in found["other"]
    assert found["events"][:2] == ["disk_full", "disk_quiesce"]
    assert {"disk_busy", "disk_read_only", "disk_lent", "disk_open"} <= set(found["events"])
    assert "nosuid" in done.stderr, "the options of the mount are still there"
    assert "noatime" in done.stderr

"""The guarded mount point: mountinfo, mount(8)'s word against the kernel's, and real mounts in a namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.protect import mount as mounting
from thermal.protect.disk import Look
from thermal.protect.mount import mount_rows
from touchline.errors import TouchlineError


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


def test_the_kernel_says_whether_it_is_remounted(monkeypatch, tmp_path):
    """mount(8) fails after the fact where it may not write its own table."""
    words: list[str] = []

    def fails(argv, **_):
        words.extend(argv)
        raise TouchlineError("mount failed with status 1: any subsequent operation failed")

    monkeypatch.setattr(mounting, "run", fails)
    made = mounting.Mount(str(tmp_path))
    monkeypatch.setattr(made, "look", lambda: Look(95.0, 1000, read_only=True))
    assert made.remount(True) == ""
    assert "status 1" in made.remount(False)
    monkeypatch.setattr(made, "look", lambda: Look(None, trouble="is not a mount point"))
    assert "status 1" in made.remount(False)
    assert "-n" in words


REAL = """
import json, sys
from pathlib import Path
from typing import Any
from thermal.protect.disk import DiskSettings
from thermal.protect.keeper import DiskKeeper, Keeping
from thermal.protect.mount import Mount
from thermal.protect.retention import shelves
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
(data / "recording.mp4").write_bytes(b"x" * int(disk.look().total_bytes * 0.93))
for _ in range(3):
    turn("full again")
keeper = DiskKeeper(disk, keeper._keeping, lambda: next(ticks) * 10**9 * 4)  # killed, and started anew
turn("taken over")
keeper.release()
seen.append(["released", keeper.state.phase.value, disk.look().read_only, ""])
keeper = DiskKeeper(disk, keeper._keeping, lambda: next(ticks) * 10**9 * 4)
turn("the next start"); turn("the next start"); turn("the next start")
(data / "recording.mp4").unlink(missing_ok=True) if not disk.look().read_only else None
keeper.release()
recordings = data / "recordings"
for camera in ("cam1", "cam2"):
    (recordings / camera).mkdir(parents=True, exist_ok=True)
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(recordings / "cam2")], check=True)
shelf = "n_cam1_00000001_20261121T100000.000000Z_1f2e3d4c.mp4"
for camera in ("cam1", "cam2"):
    (recordings / camera / shelf).write_bytes(b"x")
listed = [str(one.path.relative_to(recordings)) for row in shelves(recordings) for one in row]
subprocess.run(["umount", str(recordings / "cam2")], check=True)
other = Mount(str(data / "no-mount")).look().trouble
found = {"seen": seen, "refused": refused, "other": other, "listed": listed}
print(json.dumps({**found, "events": [one["kind"] for one in events]}))
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
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True, check=False, timeout=150)
    if kind == "ext4" and "failed to setup loop" in done.stderr:
        pytest.skip("no free loop device here")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    phases = [(what, phase, read_only) for what, phase, read_only, _ in found["seen"]]
    assert phases[0] == ("empty", "open", False)
    assert ("file open for writing", "quiet", False) in phases
    assert ("read-only", "read_only", True) in phases
    assert ("lent", "lent", False) in phases
    assert ("room", "open", False) in phases
    assert [row for row in phases if row[0] in ("taken over", "released")] == [
        ("taken over", "read_only", True),
        ("released", "open", False),
    ]
    assert phases[-1] == ("the next start", "read_only", True)
    assert found["listed"] == ["cam1/n_cam1_00000001_20261121T100000.000000Z_1f2e3d4c.mp4"], "no other file system"
    assert any("busy" in trouble and "fuser" in trouble for *_, trouble in found["seen"])
    assert found["refused"] == "Read-only file system"
    assert "not a mount point" in found["other"]
    assert found["events"][:2] == ["disk_full", "disk_quiesce"]
    assert {"disk_busy", "disk_read_only", "disk_lent", "disk_open"} <= set(found["events"])
    assert "nosuid" in done.stderr, "the options of the mount are still there"
    assert "noatime" in done.stderr

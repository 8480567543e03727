"""A spool on a disk that is to become read-only (PRT-2): nothing open for writing, nothing lost, nothing doubled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.publish.cursor import read_mark
from agent.publish.segment import Entry
from agent.publish.spool import Spool, SpoolSettings
from tests.agent.publish.helpers import batch

S = 1_000_000_000
PLAIN = SpoolSettings(max_bytes=4 << 20, replay_s=2.0, sync="off")
BATCH = len(batch(0))


class Guard:
    """What the disk's guard says."""

    def __init__(self, why: str = "") -> None:
        self.why = why

    def ask(self, now_ns: int) -> str:
        assert now_ns >= 0
        return self.why


def writable_below(folder: Path) -> list[str]:
    """Files of this process below a folder that it may write."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = link.readlink()
            flags = int(Path(f"/proc/self/fdinfo/{link.name}").read_text().split("flags:")[1].split()[0], 8)
        except OSError:
            continue
        if target.is_relative_to(folder) and flags & os.O_ACCMODE != os.O_RDONLY:
            found.append(target.name)
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fill(spool: Spool, numbers: range, now_ns: int = 0) -> None:
    for number in numbers:
        assert spool.append(batch(number), 2, now_ns)


def drain(spool: Spool) -> list[int]:
    """Take, read and acknowledge everything."""
    found = []
    while (entry := spool.take()) is not None:
        got = spool.read(entry)
        assert got is not None
        found.append(got[0].batch_number)
        spool.acknowledge(entry)
    return found


def test_it_goes_on_in_memory_and_comes_back(tmp_path: Path) -> None:
    guard = Guard()
    spool = Spool(tmp_path, PLAIN, 0, quiet=guard.ask)
    fill(spool, range(10))
    assert sorted(writable_below(tmp_path)) == ["00000000000000000001.seg", "cursor"]
    guard.why = "/data is full"
    spool.tick(S)
    assert (writable_below(tmp_path), spool.trouble) == ([], "/data is full")
    before = content(tmp_path)
    fill(spool, range(10, 20), S)
    assert drain(spool) == list(range(20))
    for second in range(2, 12):
        spool.tick(second * S)
    assert content(tmp_path) == before
    guard.why = ""
    spool.tick(12 * S)
    assert (spool.trouble, list(tmp_path.glob("*.seg"))) == ("", [])
    assert read_mark(tmp_path / "cursor") is not None, "what settled meanwhile is written down at once"
    fill(spool, range(20, 23), 12 * S)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    spool.close()
    again = Spool(tmp_path, PLAIN, 0)
    assert drain(again) == [20, 21, 22]
    assert not spool.dropped
    again.close()


def test_what_was_not_synced_is_before_the_disk_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    guard = Guard()
    spool = Spool(tmp_path, SpoolSettings(sync="interval"), 0, quiet=guard.ask)
    fill(spool, range(3))
    spool._syncer.flush()
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    guard.why = "/data is full"
    spool.tick(1)
    spool._syncer.flush()
    assert synced == ["00000000000000000001.seg", "cursor"]
    spool.close()


def test_memory_is_bounded_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    guard = Guard("/data is full")
    spool = Spool(tmp_path, SpoolSettings(memory_bytes=10 * BATCH, sync="off"), 0, quiet=guard.ask)
    taken = [spool.append(batch(number), 2, 0) is not None for number in range(12)]
    assert taken == [True] * 10 + [False] * 2
    assert spool.dropped == {"disk_full": 4}
    assert drain(spool) == list(range(10))
    assert spool.append(batch(12), 2, 0), "what the broker has makes room"
    assert content(tmp_path) == {}
    spool.close()


def test_memory_that_is_short_costs_no_replay_on_the_disk(tmp_path: Path) -> None:
    guard = Guard()
    spool = Spool(tmp_path, SpoolSettings(memory_bytes=4 * BATCH, sync="off"), 0, quiet=guard.ask)
    fill(spool, range(5))
    drain(spool)
    guard.why = "/data is full"
    for number in range(5, 15):
        fill(spool, range(number, number + 1))
        drain(spool)
    spool.rewind()
    assert drain(spool)[:5] == list(range(5))
    spool.close()


def test_the_bound_of_the_whole_holds_and_the_disk_hears_of_it_later(tmp_path: Path) -> None:
    guard = Guard()
    spool = Spool(tmp_path, SpoolSettings(max_bytes=200 << 10, sync="off"), 0, quiet=guard.ask)
    fill(spool, range(500))
    guard.why = "/data is full"
    spool.tick(0)
    before = content(tmp_path)
    fill(spool, range(500, 900))
    assert spool.held_bytes <= 200 << 10
    assert content(tmp_path) == before
    lost = spool.dropped["spool_full"] // 2
    assert drain(spool) == list(range(lost, 900))
    guard.why = ""
    spool.tick(1)
    assert len(content(tmp_path)) < len(before)
    spool.close()


def test_a_start_on_a_quiet_disk_sends_what_waits_and_repeats_nothing_settled(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(max_bytes=1 << 20, replay_s=0.0, sync="off"), 0)
    fill(spool, range(400))
    for _ in range(300):
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
    spool.tick(1)
    spool.close()
    (tmp_path / f"{0:020d}.seg").write_bytes(batch(999))  # settled long ago
    newest = max(tmp_path.glob("*.seg"))
    newest.write_bytes(newest.read_bytes() + b"torn")
    mark, guard = read_mark(tmp_path / "cursor"), Guard("/data is full")
    again = Spool(tmp_path, PLAIN, 0, quiet=guard.ask)
    assert (writable_below(tmp_path), again.damage.torn_bytes) == ([], 4)
    assert drain(again) == list(range(300, 400))
    fill(again, range(400, 410))
    assert drain(again) == list(range(400, 410))
    assert read_mark(tmp_path / "cursor") == mark
    guard.why = ""
    again.tick(S)
    assert not (tmp_path / f"{0:020d}.seg").exists()
    again.close()


def test_a_cursor_without_files_keeps_new_batches_behind_it(tmp_path: Path) -> None:
    """Numbers never return, also where the cursor could only be read."""
    spool = Spool(tmp_path, SpoolSettings(max_bytes=1 << 20, replay_s=0.0, sync="off"), 0)
    fill(spool, range(900))
    drain(spool)
    spool.tick(1)
    spool.close()
    for path in tmp_path.glob("*.seg"):
        path.unlink()
    guard = Guard("/data is full")
    second = Spool(tmp_path, PLAIN, 0, quiet=guard.ask)
    guard.why = ""
    second.tick(S)
    fill(second, range(900, 905), S)
    second.close()
    third = Spool(tmp_path, PLAIN, 0)
    assert drain(third) == list(range(900, 905))
    third.close()


class QuietMachine(RuleBasedStateMachine):
    """Quiet comes and goes between everything else; crashes while it holds; the model is a list of batch numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="spool-quiet-"))
        self.folder = self.root / "0"
        self.guard = Guard()
        self.before: dict[str, bytes] | None = None
        self.now_ns = self.next = self.runs = 0
        self.open: dict[int, bool] = {}  # not acknowledged: whether it lies in memory
        self.handed: dict[int, Entry] = {}
        self.spool = Spool(self.folder, PLAIN, 0, quiet=self.guard.ask)

    @rule(count=st.integers(1, 30))
    def append(self, count: int) -> None:
        for _ in range(count):
            assert self.spool.append(batch(self.next, 20), 20, self.now_ns)
            self.open[self.next] = bool(self.guard.why)
            self.next += 1

    @rule(count=st.integers(1, 40))
    def take(self, count: int) -> None:
        for _ in range(count):
            entry = self.spool.take()
            if entry is None:
                assert set(self.handed) >= set(self.open)
                return
            got = self.spool.read(entry)
            assert got is not None
            number = got[0].batch_number
            assert number not in self.handed, "handed out twice"
            assert number in self.open
            self.handed[number] = entry

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        ready = sorted(set(self.handed) & set(self.open))
        for number in data.draw(st.lists(st.sampled_from(ready), unique=True)) if ready else ():
            self.spool.acknowledge(self.handed[number])
            del self.open[number]

    @rule(ms=st.sampled_from([1, 900, 3000]))
    def pass_time(self, ms: int) -> None:
        self.spool.tick(self.now_ns)
        self.now_ns += ms * 1_000_000
        self.spool.tick(self.now_ns)

    @precondition(lambda self: not self.guard.why)
    @rule()
    def fall_quiet(self) -> None:
        self.guard.why = "/data is full"
        self.spool.tick(self.now_ns)
        self.before = content(self.folder)

    @precondition(lambda self: bool(self.guard.why))
    @rule()
    def speak_again(self) -> None:
        self.guard.why, self.before = "", None
        self.spool.tick(self.now_ns)

    @rule()
    def crash(self) -> None:
        """What lies on the disk is sent again from *settled*; what lay in memory is gone."""
        self.runs += 1
        copy = self.root / str(self.runs)
        shutil.copytree(self.folder, copy)
        self.spool.close()
        self.folder = copy
        self.spool = Spool(copy, PLAIN, self.now_ns, quiet=self.guard.ask)
        found = []
        while (entry := self.spool.take()) is not None:
            got = self.spool.read(entry)
            assert got is not None
            found.append(got[0].batch_number)
        assert found == sorted(set(found))
        assert {number for number, in_memory in self.open.items() if not in_memory} <= set(found)
        self.spool.rewind()
        self.open, self.handed = dict.fromkeys(found, False), {}

    @invariant()
    def the_disk_is_left_alone(self) -> None:
        assert self.spool.depth.batches == len(self.open)
        assert not self.spool.dropped
        assert bool(self.spool.trouble) == bool(self.guard.why)
        if self.before is not None:
            assert writable_below(self.root) == []
            assert content(self.folder) == self.before

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.root)


TestQuiet = QuietMachine.TestCase
TestQuiet.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


REAL = """
import json, subprocess, sys
from pathlib import Path
from agent.publish.spool import Spool, SpoolSettings
from tests.agent.publish.helpers import batch
from tests.agent.publish.test_spool_quiet import drain
from thermal.protect.quiet import LOOK_NS, QuietFlag, end_quiet, write_quiet
data, run_dir, now = Path(sys.argv[1]), Path(sys.argv[2]), 0
def remount(how):
    done = subprocess.run(["mount", "-o", f"remount,{how}", str(data)], capture_output=True, text=True)
    return done.returncode
def step():
    global now
    now += LOOK_NS
    spool.tick(now)
    spool._syncer.flush()
def fill(numbers):
    for number in numbers:
        assert spool.append(batch(number, 20), 20, now) is not None
spool = Spool(data / "spool", SpoolSettings(max_bytes=2 << 20, replay_s=0.5), now, quiet=QuietFlag(run_dir, data).why)
seen, sent = {}, []
fill(range(300))
for _ in range(100):
    entry = spool.take()
    sent.append(spool.read(entry)[0].batch_number)
    spool.acknowledge(entry)
step()
seen["busy"] = remount("ro")
write_quiet(run_dir, str(data), "full", now)
step()
seen["ro"] = remount("ro")
fill(range(300, 500))
sent += drain(spool)
for _ in range(10):
    step()
fill(range(500, 600))
step()
seen["waiting"] = spool.depth.batches
seen["rw"] = remount("rw")
end_quiet(run_dir)
step()
seen["trouble"] = spool.trouble
fill(range(600, 700))
seen["files"] = len(list((data / "spool").glob("*.seg")))
sent += drain(spool)
seen["dropped"] = dict(spool.dropped)
for _ in range(10):
    step()
spool.close()
spool = Spool(data / "spool", SpoolSettings(), now)
seen["left"] = drain(spool)
spool.close()
print(json.dumps({"sent": sent, **seen}))
"""


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root and unshare")
def test_a_real_disk_becomes_read_only_and_comes_back_and_every_batch_is_sent_once(tmp_path: Path) -> None:
    data, run_dir = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    run_dir.mkdir()
    (tmp_path / "real.py").write_text(REAL)
    python = f"PYTHONPATH={Path(__file__).parents[3]} {sys.executable} {tmp_path}/real.py {data} {run_dir}"
    line = f"mount --make-rprivate / && mount -t tmpfs -o size=8m tmpfs {data} && {python}; umount {data}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["busy"] != 0, "the test is worth nothing where a writer does not keep the disk busy"
    assert (found["ro"], found["rw"], found["trouble"]) == (0, 0, "")
    assert found["sent"] == list(range(700))
    assert found["files"] == 4, "the 100 batches of last; what was sent meanwhile is deleted"
    assert (found["waiting"], found["left"], found["dropped"]) == (100, [], {})

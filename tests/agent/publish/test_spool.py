"""The spool keeps what it took: bounds, acknowledgement out of order, replay, recovery, a full disk (MSG-1)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.publish.segment import DiskSegment
from agent.publish.spool import Spool, SpoolSettings
from agent.publish.sync import InlineSyncer
from tests.agent.publish.helpers import batch
from touchline.errors import ResourceError

NO_REPLAY = SpoolSettings(replay_s=0.0, sync="off")
SIZE = len(batch(0))


def fill(spool: Spool, count: int, *, start: int = 0, now_ns: int = 0) -> None:
    for number in range(start, start + count):
        spool.append(batch(number), 2, now_ns)


def numbers(spool: Spool) -> list[int]:
    """Take and read everything."""
    found = []
    while (entry := spool.take()) is not None:
        got = spool.read(entry)
        if got is not None:
            found.append(got[0].batch_number)
    return found


def test_hands_out_in_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 5)
    assert numbers(spool) == [0, 1, 2, 3, 4]
    assert spool.take() is None
    assert spool.depth.batches == 5
    assert spool.depth.records == 10
    assert spool.depth.bytes == 5 * SIZE


def test_acknowledged_out_of_order_and_reopened(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 6)
    entries = [spool.take() for _ in range(6)]
    for i in (1, 0, 4):
        entry = entries[i]
        assert entry is not None
        spool.acknowledge(entry)
        spool.acknowledge(entry)
    assert (spool.depth.batches, spool.acknowledged.batches) == (3, 2)
    spool.tick(1)
    spool.close()
    again = Spool(tmp_path, NO_REPLAY, 2)
    assert numbers(again) == [2, 3, 4, 5], "4 was acknowledged out of turn: it may come twice, never be lost"
    assert again.recovered.batches == 4


def test_everything_acknowledged_leaves_an_empty_folder_after_reopening(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 3)
    while (entry := spool.take()) is not None:
        spool.acknowledge(entry)
    spool.tick(1)
    spool.close()
    again = Spool(tmp_path, NO_REPLAY, 2)
    assert again.depth.batches == 0
    assert list(tmp_path.glob("*.seg")) == []


def test_rewind_repeats_what_the_broker_may_have_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(replay_s=5.0, sync="off"), 0)
    fill(spool, 4)
    for second in range(3):
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
        spool.tick(second * 2_000_000_000)
    spool.tick(6_500_000_000)  # the first (0 s) has settled; the others (2 s and 4 s) have not
    assert spool.rewind() == 2
    assert numbers(spool) == [1, 2, 3]
    assert spool.acknowledged.batches == 3, "a repeat is not counted twice"


def test_repeats_after_restart_reach_back_to_settled(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(replay_s=5.0), 0)
    fill(spool, 3)
    while (entry := spool.take()) is not None:
        spool.acknowledge(entry)
    spool.tick(0)
    spool.close()
    assert numbers(Spool(tmp_path, NO_REPLAY, 0)) == [0, 1, 2]


def test_drop_oldest_keeps_the_newest_and_counts_records(tmp_path: Path) -> None:
    settings = SpoolSettings(max_bytes=256 << 10, replay_s=0.0, sync="off")
    spool = Spool(tmp_path, settings, 0)
    total = 2000
    fill(spool, total)
    assert spool.held_bytes <= settings.max_bytes
    left = numbers(spool)
    assert left == list(range(total - len(left), total))
    assert spool.dropped["spool_full"] == 2 * (total - len(left)) > 0
    assert spool.depth.batches == len(left)


def test_drop_newest_keeps_the_oldest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(max_bytes=128 << 10, when_full="drop-newest", sync="off"), 0)
    fill(spool, 1000)
    left = numbers(spool)
    assert left == list(range(len(left)))
    assert spool.dropped["spool_full"] == 2 * (1000 - len(left)) > 0


def test_full_of_acknowledged_batches_drops_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(max_bytes=128 << 10, replay_s=3600.0, sync="off"), 0)
    for number in range(1500):
        spool.append(batch(number), 2, number)
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
        spool.tick(number)
    assert not spool.dropped
    assert spool.acknowledged.batches == 1500


def test_late_acknowledgement_of_a_dropped_batch_is_ignored(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolSettings(max_bytes=128 << 10, sync="off"), 0)
    fill(spool, 1)
    entry = spool.take()
    assert entry is not None
    fill(spool, 1000, start=1)
    before = spool.depth
    spool.acknowledge(entry)
    assert spool.read(entry) is None
    assert spool.depth == before


def test_one_owner(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NO_REPLAY, 0)
    with pytest.raises(ResourceError, match="in use by another process"):
        Spool(tmp_path, NO_REPLAY, 0)
    spool.close()
    Spool(tmp_path, NO_REPLAY, 0).close()


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(ResourceError, match="cannot be used"):
        Spool(tmp_path / "spool", NO_REPLAY, 0)


def test_lost_cursor_means_repeats_never_loss(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 3)
    entry = spool.take()
    assert entry is not None
    spool.acknowledge(entry)
    spool.tick(1)
    spool.close()
    (tmp_path / "cursor").write_bytes(b"\xff" * 1024)
    assert numbers(Spool(tmp_path, NO_REPLAY, 0)) == [0, 1, 2]


def test_segment_lost_in_a_power_cut_is_never_numbered_again(tmp_path: Path) -> None:
    """The cursor can be ahead of a file that was never synced: new batches must not look acknowledged."""
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 3)
    for _ in range(2):
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
    spool.tick(1)
    spool.close()
    for path in tmp_path.glob("*.seg"):
        path.unlink()
    again = Spool(tmp_path, NO_REPLAY, 2)
    fill(again, 2, start=10)
    again.close()
    assert numbers(Spool(tmp_path, NO_REPLAY, 3)) == [10, 11]


class FailingDisk:
    """Makes appends to disk fail with ``error`` while ``broken``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = errno.ENOSPC) -> None:
        self.broken = False
        real = DiskSegment._write

        def write(segment: DiskSegment, data: bytes) -> None:
            if self.broken:
                raise OSError(error, os.strerror(error))
            real(segment, data)

        monkeypatch.setattr(DiskSegment, "_write", write)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_refusing_disk_falls_back_to_memory_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    disk = FailingDisk(monkeypatch, error)
    spool = Spool(tmp_path, NO_REPLAY, 0)
    fill(spool, 3)
    disk.broken = True
    fill(spool, 3, start=3)
    assert spool.trouble == os.strerror(error)
    disk.broken = False
    fill(spool, 1, start=6, now_ns=10)
    assert spool.trouble, "it looks again only after a second"
    fill(spool, 3, start=7, now_ns=2_000_000_000)
    assert not spool.trouble
    assert not spool.dropped
    assert numbers(spool) == list(range(10))
    spool.close()
    again = Spool(tmp_path, NO_REPLAY, 0)
    assert numbers(again) == [0, 1, 2, 7, 8, 9]
    assert spool.dropped["disk_full"] == 8, "what lived in memory only is counted when the process ends"


def test_memory_is_bounded_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FailingDisk(monkeypatch)
    spool = Spool(tmp_path, SpoolSettings(memory_bytes=64 << 10, replay_s=5.0, sync="off"), 0)
    disk.broken = True
    for number in range(1000):  # acknowledged as they come: the bound is never met
        spool.append(batch(number), 2, number)
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
        spool.tick(number)
    assert not spool.dropped
    fill(spool, 1000, start=1000)
    left = numbers(spool)
    assert left == list(range(1000, 1000 + len(left)))
    assert spool.dropped["disk_full"] == 2 * (1000 - len(left)) > 0


def test_failed_sync_is_trouble_and_later_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_segment: DiskSegment) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    spool = Spool(tmp_path, SpoolSettings(sync_interval_ms=10.0), 0, syncer=InlineSyncer())
    fill(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(DiskSegment, "sync", failing)
        spool.tick(20_000_000)
    assert spool.trouble == os.strerror(errno.EIO)
    fill(spool, 1, start=1, now_ns=2_000_000_000)
    assert not spool.trouble
    assert numbers(spool) == [0, 1]


def test_interval_sync_runs_at_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(DiskSegment, "sync", lambda segment: synced.append(len(segment)))
    spool = Spool(tmp_path, SpoolSettings(sync_interval_ms=100.0), 0, syncer=InlineSyncer())
    for ms in range(0, 250, 10):
        spool.append(batch(ms), 2, ms * 1_000_000)
        spool.tick(ms * 1_000_000)
    assert synced == [11, 21]


def test_batch_sync_runs_before_the_batch_is_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(DiskSegment, "sync", lambda segment: synced.append(len(segment)))
    fill(Spool(tmp_path, SpoolSettings(sync="batch"), 0), 3)
    assert synced == [1, 2, 3]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, or a skip without the right to mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mount)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.system
def test_really_full_disk_loses_nothing(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool", SpoolSettings(replay_s=0.0, sync="batch"), 0)
    fill(spool, 2000)
    assert "No space left" in spool.trouble
    assert not spool.dropped
    (on_disk,) = [p.stat().st_size for p in (small_disk / "spool").glob("*.seg")][:1]
    assert on_disk % SIZE == 0, "no half batch stays behind"
    for _ in range(1900):
        entry = spool.take()
        assert entry is not None
        spool.acknowledge(entry)
    spool.tick(1)
    spool._syncer.flush()
    fill(spool, 5, start=2000, now_ns=3_000_000_000)
    assert not spool.trouble
    assert numbers(spool) == list(range(1900, 2005))
    spool.close()


@pytest.mark.system
def test_full_disk_at_start_still_serves(small_disk: Path) -> None:
    (small_disk / "spool").mkdir()
    with (small_disk / "hog").open("wb", buffering=0) as hog, pytest.raises(OSError, match="No space"):
        while True:
            hog.write(bytes(4096))
    spool = Spool(small_disk / "spool", NO_REPLAY, 0)
    fill(spool, 10)
    assert spool.trouble
    assert numbers(spool) == list(range(10))
    (small_disk / "hog").unlink()
    fill(spool, 1, start=10, now_ns=5_000_000_000)
    assert not spool.trouble
    spool.close()


KILLED = """
import os, sys, signal
from pathlib import Path
from agent.publish.spool import Spool, SpoolSettings
from tests.agent.publish.helpers import batch
spool = Spool(Path(sys.argv[1]), SpoolSettings(replay_s=0.0), 0)
for number in range(100_000):
    spool.append(batch(number), 2, number)
    if number % 3 == 0:
        spool.acknowledge(spool.take())
        spool.tick(number)
    os.write(1, number.to_bytes(4, "little"))
"""


@pytest.mark.system
def test_kill_9_in_a_burst_loses_nothing_that_was_spooled(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    last = 0
    while last < 400:
        data = process.stdout.read(4)
        assert data, f"it ended with {process.wait()}"
        last = int.from_bytes(data, "little")
    process.kill()
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    if len(rest) >= 4:
        last = int.from_bytes(rest[len(rest) // 4 * 4 - 4 : len(rest) // 4 * 4], "little")
    found = numbers(Spool(tmp_path, NO_REPLAY, 0))
    assert found[0] <= last // 3 + 1, "nothing unacknowledged was skipped"
    assert found == list(range(found[0], found[-1] + 1))
    assert found[-1] >= last

"""The trace ring: bounded, counted, whole after kill -9, and flushed without the writer's help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermal.trace import flush as flushing
from thermal.trace.flush import Archive, flush_rings
from thermal.trace.ring import LEAST_SEGMENT, RETRY_NS, RingBounds, Room, TraceRing, whole_part
from thermal.trace.segment import HEAD_BYTES, MAX_PAYLOAD, Head, read_head, record_bytes, records_in
from touchline.errors import ResourceError

PLENTY = Room(1 << 40, 1 << 40, "tmpfs")
SMALL = RingBounds(max_bytes=4 * LEAST_SEGMENT, spare_bytes=1 << 20)


def ring(folder: Path, bounds: RingBounds = SMALL, room: Room = PLENTY) -> TraceRing:
    return TraceRing(folder, bounds, lambda _: room)


def payload(number: int, size: int = 1000) -> bytes:
    return number.to_bytes(8, "little") * (size // 8)


def numbers(*files: Path) -> list[int]:
    return [int.from_bytes(one[:8], "little") for path in files for _, one in records_in(path.read_bytes())]


def archived(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.trace"))


def kept(folder: Path, node: str = "n", **more: Any) -> Archive:
    return Archive(folder, node, **{"max_bytes": 1 << 40, **more})


def put(made: TraceRing, first: int, count: int) -> None:
    for number in range(first, first + count):
        assert made.put(payload(number), 0)


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_golden_bytes():
    head = Head(bytes(range(8)), 7).to_bytes()
    assert head.hex() == "544c5452010020000001020304050607" + "0700000000000000" + "00" * 8
    assert record_bytes(b"abc").hex() == "03000000c2412435616263"


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(0, 2000))
def test_a_file_cut_anywhere_gives_its_whole_records(payloads, cut):
    data = Head(b"12345678", 1).to_bytes() + b"".join(map(record_bytes, payloads))
    cut = min(cut, len(data))
    found = [bytes(one) for _, one in records_in(data[:cut])]
    assert found == payloads[: len(found)]
    if cut == len(data):
        assert found == payloads


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    list(records_in(data))
    with suppress(ValueError):
        read_head(data)


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD + 1])
def test_a_record_has_a_size(size):
    with pytest.raises(ValueError, match="are allowed"):
        record_bytes(b"x" * size)


# --- ring -----------------------------------------------------------------------------------------------------------


def test_what_is_put_is_there(tmp_path):
    made = ring(tmp_path / "cam1")
    put(made, 0, 200)
    made.close()
    files = sorted((tmp_path / "cam1").glob("*.seg"))
    assert numbers(*files) == list(range(200))
    assert [int(path.stem.split("-")[1]) for path in files] == [len(numbers(path)) for path in files]


def test_the_bound_holds_and_every_loss_is_counted(tmp_path):
    made = ring(tmp_path / "cam1")
    put(made, 0, 2000)
    assert made.held_bytes() <= SMALL.max_bytes
    made.close()
    left = numbers(*sorted((tmp_path / "cam1").glob("*.seg")))
    assert left == list(range(2000 - len(left), 2000))
    assert made.counts.overwritten == 2000 - len(left)
    assert made.counts.dropped == made.counts.overwritten
    assert made.counts.written == 2000


def test_the_next_life_cuts_a_torn_tail_and_goes_on(tmp_path):
    first = ring(tmp_path)
    put(first, 0, 10)
    os.close(first._lock)  # the process is gone, the file as it was
    (torn,) = tmp_path.glob("*.open")
    with torn.open("ab") as file:
        file.write(record_bytes(payload(99))[:500])
    second = ring(tmp_path)
    assert second.counts.torn == 1
    put(second, 10, 5)
    second.close()
    assert numbers(*sorted(tmp_path.glob("*.seg"))) == list(range(15))


def test_one_writer_a_folder(tmp_path):
    first = ring(tmp_path)
    with pytest.raises(ResourceError, match="another process"):
        ring(tmp_path)
    first.close()
    ring(tmp_path).close()


@pytest.mark.parametrize(
    ("room", "says"),
    [
        (Room(1 << 20, 1 << 40, "tmpfs"), "free memory"),
        (Room(1 << 40, 1000, "tmpfs"), "has room for"),
        (Room(1 << 40, 1 << 40, "ext4"), "is on ext4, not in memory"),
    ],
)
def test_it_is_refused_where_memory_is_short_or_none(tmp_path, room, says):
    with pytest.raises(ResourceError, match=says):
        ring(tmp_path, SMALL, room)
    ring(tmp_path).close()


def test_memory_that_runs_short_later_costs_the_oldest_then_new_ones(tmp_path):
    room = [PLENTY]
    made = TraceRing(tmp_path, SMALL, lambda _: room[0])
    put(made, 0, 150)
    room[0] = Room(1 << 18, 1 << 40, "tmpfs")
    results = [made.put(payload(1000 + n), 0) for n in range(200)]
    assert not all(results)
    assert made.counts.overwritten > 0
    assert made.counts.refused == results.count(False)
    assert "of memory are free" in made.trouble
    room[0] = PLENTY
    assert made.put(payload(5000), RETRY_NS)
    assert made.trouble == ""


def test_a_full_tmpfs_keeps_what_is_whole(tmp_path, monkeypatch):
    made = ring(tmp_path)
    put(made, 0, 3)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: real(fd, raw[:100]))
    assert not made.put(payload(3), 0)
    monkeypatch.undo()
    assert made.counts.refused == 1
    assert made.put(payload(4), RETRY_NS)
    made.close()
    assert numbers(*tmp_path.glob("*.seg")) == [0, 1, 2, 4]


def test_a_record_that_is_too_large_is_counted(tmp_path):
    made = ring(tmp_path)
    assert not made.put(b"x" * (MAX_PAYLOAD + 1), 0)
    assert made.put(b"x" * MAX_PAYLOAD, 0)
    assert made.counts.too_large == 1
    made.close()


# --- flush ----------------------------------------------------------------------------------------------------------


def test_half_time(tmp_path):
    """Closed files leave the ring, the open one is copied and stays; the next flush replaces its copy."""
    made = ring(tmp_path / "ring" / "cam1")
    put(made, 0, 100)
    first = flush_rings(tmp_path / "ring", kept(tmp_path / "archive", "pitch-a1"))
    assert numbers(*archived(tmp_path / "archive")) == list(range(100))
    assert (first.records, first.left, first.damaged) == (100, 1, 0)
    assert list((tmp_path / "ring/cam1").glob("*.seg")) == []
    put(made, 100, 100)
    made.close()
    flush_rings(tmp_path / "ring", kept(tmp_path / "archive", "pitch-a1"))
    assert numbers(*archived(tmp_path / "archive")) == list(range(200))
    assert [path.name for path in (tmp_path / "ring/cam1").iterdir()] == [".writer"]
    assert flush_rings(tmp_path / "ring", kept(tmp_path / "archive", "pitch-a1")).files == 0


def test_a_ring_that_began_anew_after_a_reboot_overwrites_nothing(tmp_path):
    for life in range(2):
        made = ring(tmp_path / str(life) / "cam1")
        put(made, 100 * life, 10)
        made.close()
        flush_rings(tmp_path / str(life), kept(tmp_path / "archive", "pitch-a1"))
    assert sorted(numbers(*archived(tmp_path / "archive"))) == [*range(10), *range(100, 110)]


def test_a_flush_killed_at_any_step_loses_and_doubles_nothing(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    for step in range(12):
        trace, archive = tmp_path / str(step) / "ring", tmp_path / str(step) / "archive"
        made = ring(trace / "cam1")
        put(made, 0, 150)
        left = iter(range(1000))
        with monkeypatch.context() as patch:
            for name in ("fsync", "pread", "unlink"):
                real = getattr(os, name)

                def call(*args, _real=real, _left=left, _step=step, **kwargs):
                    if next(_left) == _step:
                        raise Killed
                    return _real(*args, **kwargs)

                patch.setattr(os, name, call)
            with pytest.raises(Killed):
                flush_rings(trace, kept(archive))
        flush_rings(trace, kept(archive))
        assert numbers(*archived(archive)) == list(range(150))
        assert not list(archive.glob("*.part"))
        made.close()


def test_each_file_is_synced_before_it_has_its_name_and_leaves_the_ring_last(tmp_path, monkeypatch):
    made = ring(tmp_path / "ring" / "cam1")
    put(made, 0, 10)
    made.close()
    calls: list[str] = []

    def noted(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("rename", Path.replace))
    monkeypatch.setattr(Path, "unlink", noted("unlink", Path.unlink))
    flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
    assert calls == ["fsync", "rename", "fsync", "unlink"]


def test_an_archive_without_room_is_refused_and_the_ring_keeps_all(tmp_path, monkeypatch):
    made = ring(tmp_path / "ring" / "cam1")
    put(made, 0, 100)
    monkeypatch.setattr(flushing, "SPARE_BYTES", 1 << 60)
    with pytest.raises(ResourceError, match="the ring keeps it"):
        flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
    made.close()
    assert len(numbers(*sorted((tmp_path / "ring/cam1").glob("*.seg")))) == 100


def test_the_archive_is_bounded_and_what_was_flushed_first_goes_first(tmp_path):
    archive, sizes = tmp_path / "archive", []
    for life in range(6):
        made = ring(tmp_path / str(life) / "cam1")
        put(made, 100 * life, 50)
        made.close()
        done = flush_rings(tmp_path / str(life), kept(archive, max_bytes=160_000))
        (new,) = [path for path in archived(archive) if numbers(path)[0] == 100 * life]
        os.utime(new, ns=(life, life))
        sizes.append(sum(path.stat().st_size for path in archived(archive)))
    assert max(sizes) <= 160_000
    assert sorted({number // 100 for number in numbers(*archived(archive))}) == [3, 4, 5]
    assert (done.dropped, done.dropped_bytes) == (1, new.stat().st_size)


def test_the_bound_touches_neither_another_nodes_files_nor_a_links_target(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("b_cam1_0_1.trace", "notes.txt", "elsewhere"):
        (archive / name).write_bytes(b"x" * 10_000)
    (archive / "n_cam1_link.trace").symlink_to(archive / "elsewhere")
    made = ring(tmp_path / "ring" / "cam1")
    put(made, 0, 5)
    made.close()
    assert flush_rings(tmp_path / "ring", kept(archive, max_bytes=1)).dropped == 0
    assert len(list(archive.glob("[!.]*"))) == 5


def test_a_disk_that_is_to_be_quiet_is_not_written_to(tmp_path):
    made = ring(tmp_path / "ring" / "cam1")
    put(made, 0, 150)
    made.close()
    words = iter(["", "", "/data is full", "/data is full"])
    with pytest.raises(ResourceError, match="/data is full"):  # it is asked before each file
        flush_rings(tmp_path / "ring", kept(tmp_path / "archive", quiet=lambda: next(words)))
    assert len(archived(tmp_path / "archive")) == 1
    with pytest.raises(ResourceError, match="must stay as it is"):
        flush_rings(tmp_path / "ring", kept(tmp_path / "archive", quiet=lambda: next(words)))
    flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
    assert numbers(*archived(tmp_path / "archive")) == list(range(150))


def test_a_damaged_file_is_said_and_left(tmp_path):
    folder = tmp_path / "ring" / "cam1"
    folder.mkdir(parents=True)
    (folder / "00000001-5.seg").write_bytes(b"nonsense" * 100)
    found = flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
    assert (found.files, found.damaged) == (0, 1)
    assert (folder / "00000001-5.seg").exists()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["put", "flush", "life"]), max_size=30))
def test_every_record_is_in_the_archive_or_in_the_ring_or_counted(tmp_path_factory, acts):
    base = tmp_path_factory.mktemp("ring")
    made, count, lost = ring(base / "ring" / "cam1"), 0, 0
    for act in acts:
        if act == "put":
            put(made, count, 60)
            count += 60
        elif act == "flush":
            flush_rings(base / "ring", kept(base / "archive"))
        else:
            lost += made.counts.overwritten
            made.close()
            made = ring(base / "ring" / "cam1")
    lost += made.counts.overwritten
    made.close()
    flush_rings(base / "ring", kept(base / "archive"))
    found = numbers(*archived(base / "archive"))
    assert len(found) == len(set(found))
    assert count - lost <= len(found) <= count, "what a flush took while it was dropped is counted as dropped too"


WRITER = """
import sys
from pathlib import Path
from thermal.trace.ring import RingBounds, Room, TraceRing
ring = TraceRing(Path(sys.argv[1]), RingBounds(8 << 20, 0), lambda _: Room(1 << 40, 1 << 40, "tmpfs"))
number = 0
while True:
    ring.put(number.to_bytes(8, "little") * 100, 0)
    number += 1
    if number == 500:
        print("going", flush=True)
"""


@pytest.mark.system
def test_kill_9_of_the_writer_costs_at_most_the_record_under_way(tmp_path):
    words = [sys.executable, "-c", WRITER, str(tmp_path / "ring/cam1")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
        writer.send_signal(signal.SIGKILL)
        writer.wait(60)
    flush_rings(tmp_path / "ring", kept(tmp_path / "archive"))
    found = numbers(*archived(tmp_path / "archive"))
    assert len(found) >= 500
    assert found == sorted(set(found))
    (open_file,) = (tmp_path / "ring/cam1").glob("*.open")
    fd = os.open(open_file, os.O_RDONLY)
    try:
        end, records, size = whole_part(fd)
    finally:
        os.close(fd)
    assert size - end < 1000
    assert records == 0 or end > HEAD_BYTES

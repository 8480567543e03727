"""What a power cut leaves: the log's format, and what may and may not be lost."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.machine.power import (
    DISCARD,
    FLUSH,
    FUA,
    MAGIC,
    SECTOR_BYTES,
    Entry,
    PowerCut,
    cut,
    parse_log,
    survive,
)
from touchline.errors import InputError

DISK_SECTORS = 16
SUPER = struct.pack("<QQQI", 0x6A736677736872, 1, 3, 512).ljust(512, b"\0")


def sectors(value: int, count: int = 1) -> bytes:
    return bytes([value]) * (SECTOR_BYTES * count)


def logged(*entries: Entry) -> bytes:
    parts = [SUPER]
    for entry in entries:
        count = 2 if entry.flags & DISCARD else len(entry.data) // SECTOR_BYTES
        parts += [struct.pack("<QQQQ", entry.sector, count, entry.flags, 0).ljust(512, b"\0"), bytes(entry.data)]
    return b"".join(parts)


def disk_after(entries: list[Entry], seed: int) -> tuple[bytearray, PowerCut]:
    disk = bytearray(DISK_SECTORS * SECTOR_BYTES)
    patches, result = survive(entries, seed)
    for patch in patches:
        disk[patch.offset : patch.offset + len(patch.data)] = patch.data
    return disk, result


@st.composite
def requests(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["write", "write", "write", "flush", "fua", "flush+write", "discard"]))
    if kind == "flush":
        return Entry(0, FLUSH, b"")
    first = draw(st.integers(0, DISK_SECTORS - 1))
    if kind == "discard":
        return Entry(first, DISCARD, b"")
    count = draw(st.integers(1, DISK_SECTORS - first))
    data = sectors(draw(st.integers(1, 255)), count)
    return Entry(first, {"write": 0, "fua": FUA, "flush+write": FLUSH}[kind], data)


def test_golden_bytes_of_a_log():
    log = bytes.fromhex("726873776673 6a00 0100000000000000 0300000000000000 00020000".replace(" ", "")) + bytes(484)
    log += bytes.fromhex("0300000000000000 0100000000000000 0000000000000000 0000000000000000".replace(" ", ""))
    log += bytes(480) + b"\xaa" * 512
    log += bytes.fromhex("0000000000000000 0000000000000000 0100000000000000 0000000000000000".replace(" ", ""))
    log += bytes(480)
    assert [(one.sector, one.flags, bytes(one.data)) for one in parse_log(log)] == [
        (3, 0, b"\xaa" * 512),
        (0, FLUSH, b""),
    ]


@given(st.lists(requests(), max_size=12), st.integers(0, 3), st.data())
def test_a_log_is_read_back_through_holes_and_a_cut_end(entries, hole, data):
    log = logged(*entries)
    tail = logged(Entry(2, 0, sectors(9, 3)))[512:]
    cut_tail = tail[: data.draw(st.integers(0, len(tail) - 1))]
    damaged = log + bytes(hole * SECTOR_BYTES) + cut_tail
    assert [(one.sector, one.flags, bytes(one.data)) for one in parse_log(damaged)] == [
        (one.sector, one.flags, bytes(one.data)) for one in entries
    ]


@given(st.binary(max_size=4000))
def test_any_bytes_are_a_log_or_an_input_error(blob):
    with suppress(InputError):
        list(parse_log(blob))


def test_a_foreign_superblock_is_refused():
    with pytest.raises(InputError, match="foreign"):
        list(parse_log(b"QFI\xfb".ljust(1024, b"\1")))


def test_a_log_of_other_sectors_is_refused():
    with pytest.raises(InputError, match="foreign"):
        list(parse_log(struct.pack("<QQQI", MAGIC, 1, 0, 4096).ljust(512, b"\0")))


@given(st.lists(requests(), max_size=20), st.integers())
def test_what_was_flushed_stays_and_the_rest_is_old_or_new_by_sector(entries, seed):
    disk, result = disk_after(entries, seed)
    durable = max((index for index, one in enumerate(entries) if one.flags & FLUSH), default=-1)
    for sector in range(DISK_SECTORS):
        allowed = {0}
        for index, one in enumerate(entries):
            if one.sector <= sector < one.sector + len(one.data) // SECTOR_BYTES:
                value = one.data[0]
                allowed = {value} if index < durable or one.flags & FUA else allowed | {value}
        content = bytes(disk[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
        assert content[0] in allowed
        assert content == sectors(content[0])
    writes = sum(bool(one.data) for one in entries)
    assert result.kept_writes + result.lost_writes == writes
    assert result.torn_writes <= result.lost_writes
    assert (result.lost_bytes == 0) == (result.lost_writes == 0)
    assert result.flushes == sum(bool(one.flags & FLUSH) for one in entries)


@given(st.lists(requests(), max_size=12), st.integers())
def test_the_same_seed_loses_the_same(entries, seed):
    assert disk_after(entries, seed) == disk_after(entries, seed)


def test_over_many_seeds_an_unflushed_write_is_lost_kept_and_torn():
    results = [disk_after([Entry(0, 0, sectors(1, 8))], seed)[1] for seed in range(60)]
    assert {(one.kept_writes, one.torn_writes) for one in results} >= {(1, 0), (0, 0), (0, 1)}


def test_the_disk_is_rebuilt_from_its_base(tmp_path):
    (tmp_path / "data.base.img").write_bytes(sectors(1, DISK_SECTORS))
    (tmp_path / "data.img").write_bytes(sectors(7, DISK_SECTORS))
    (tmp_path / "data.log").write_bytes(logged(Entry(4, 0, sectors(5, 2)), Entry(0, FLUSH, b"")))
    assert cut(tmp_path, 1) == PowerCut(0, 0, 1, 0, 1)
    disk = (tmp_path / "data.img").read_bytes()
    assert disk == sectors(1, 4) + sectors(5, 2) + sectors(1, 10)


def test_a_node_that_wrote_nothing_loses_nothing(tmp_path):
    (tmp_path / "data.base.img").write_bytes(sectors(1, 2))
    (tmp_path / "data.log").write_bytes(b"")
    assert cut(tmp_path, 1) == PowerCut(0, 0, 0, 0, 0)
    assert (tmp_path / "data.img").read_bytes() == sectors(1, 2)


def test_a_log_beyond_the_disk_is_refused_and_the_disk_stays(tmp_path):
    (tmp_path / "data.base.img").write_bytes(sectors(1, 2))
    (tmp_path / "data.img").write_bytes(sectors(7, 2))
    (tmp_path / "data.log").write_bytes(logged(Entry(2, FUA, sectors(5))))
    with pytest.raises(InputError, match="beyond the disk"):
        cut(tmp_path, 1)
    assert (tmp_path / "data.img").read_bytes() == sectors(7, 2)

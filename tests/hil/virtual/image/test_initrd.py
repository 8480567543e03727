"""The cpio writer: golden bytes, and what cpio itself reads."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import stat
import subprocess

import pytest

from hil.virtual.image.initrd import CpioEntry, initrd_entries, newc, write_initrd

GOLDEN = "0550a9b35d38876f48ceaf84c435685fa32b6089eb4e1fe63c427cda7c31bd02"
_ENTRIES = [
    CpioEntry("bin", stat.S_IFDIR | 0o755),
    CpioEntry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
    CpioEntry("init", stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
]


def members(archive: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """An independent reading of the format, by the kernel's documentation."""
    found: list[tuple[str, int, bytes, tuple[int, int]]] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        data_at = at + -(-(110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            assert -(-data_at // 4) * 4 == len(archive)
            return found
        found.append((name, fields[1], archive[data_at : data_at + fields[6]], (fields[9], fields[10])))
        at = data_at + -(-fields[6] // 4) * 4


def test_golden_bytes():
    archive = newc(_ENTRIES)
    assert archive[:116] == (
        b"070701"
        b"00000001"
        b"000041ED"
        b"00000000"
        b"00000000"
        b"00000002"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000000"
        b"00000004"
        b"00000000"
        b"bin\0\0\0"
    )
    assert hashlib.sha256(archive).hexdigest() == GOLDEN


def test_members_are_read_back():
    assert members(newc(_ENTRIES)) == [(one.name, one.mode, one.data, one.device) for one in _ENTRIES]


def test_equal_inputs_give_equal_files(tmp_path):
    for name in ("busybox", "init", "a.ko", "b.ko"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    files = [tmp_path / "b.ko", tmp_path / "a.ko"]
    for out in ("one.gz", "two.gz"):
        write_initrd(tmp_path / out, tmp_path / "busybox", tmp_path / "init", files)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    content = {name: data for name, _, data, _ in members(gzip.decompress((tmp_path / "one.gz").read_bytes()))}
    assert content["mod/order"] == b"b.ko\na.ko\n"
    assert content["mod/a.ko"] == b"a.ko" * 100


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_lists_it():
    entries = initrd_entries(b"box", b"init", [("ext4.ko", b"module")])
    listed = (
        subprocess.run(["cpio", "-t"], input=newc(entries), capture_output=True, check=True).stdout.decode().split()
    )
    assert listed == [entry.name for entry in entries]

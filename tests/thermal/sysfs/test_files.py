"""The kernel's files: a number or an errno, nothing in between."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.thermal.faketree import FakeTree
from tests.thermal.fuse import can_mount, mounted
from thermal.sysfs.files import RealFiles, read_number, read_word, write_number


class OneFile:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, path: str) -> bytes:
        return self.content

    def read_all(self, path: str) -> bytes:
        return self.content

    def write(self, path: str, text: str) -> None:
        raise OSError(errno.EACCES, "no")

    def names(self, folder: str) -> list[str]:
        return []


@given(st.binary(max_size=5000))
def test_any_content_is_a_finite_number_or_ebadmsg(content):
    raw = read_number(OneFile(content), "/x", 1e-3)
    assert (raw.value is not None and math.isfinite(raw.value)) or raw.errno == errno.EBADMSG


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_scaled(value):
    assert read_number(OneFile(b"%d\n" % value), "/x", 0.5).value == value * 0.5


def test_an_empty_file_is_not_zero():
    assert read_number(OneFile(b"\n"), "/x").errno == errno.EBADMSG


def test_real_files_below_a_root(tmp_path: Path):
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "pwm1").write_text("255\n")
    files = RealFiles(tmp_path)
    assert write_number(files, "/sys/pwm1", 76) is None
    assert (tmp_path / "sys" / "pwm1").read_text() == "76\n"
    assert read_number(files, "/sys/pwm1").value == 76
    assert read_number(files, "/sys/none").errno == errno.ENOENT
    assert read_word(files, "/sys/none") is None
    assert files.names("/none") == []
    assert write_number(files, "/sys/none", 1) == "/sys/none: No such file or directory"  # and makes none
    assert not (tmp_path / "sys" / "none").exists()


def test_names_are_in_numeric_order(tmp_path: Path):
    for name in ("hwmon10", "hwmon2", "hwmon1", "other"):
        (tmp_path / name).mkdir()
    assert RealFiles(tmp_path).names("/") == ["hwmon1", "hwmon2", "hwmon10", "other"]


@pytest.mark.system
@pytest.mark.skipif(not can_mount(), reason="needs /dev/fuse and the right to mount")
def test_a_gated_zone_is_eagain_through_a_real_read(tmp_path: Path):
    tree = FakeTree()
    tree.zone("gpu-thermal").read_errno = errno.EAGAIN
    path = f"{tree.folder('type', 'gpu-thermal')}/temp"
    with mounted(tree, tmp_path):
        with (tmp_path / path[1:]).open() as text, pytest.raises((TypeError, BlockingIOError)):
            text.read()  # the trap: buffered text
        assert read_number(RealFiles(tmp_path), path).errno == errno.EAGAIN

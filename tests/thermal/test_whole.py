"""Small files in a folder of another user: whole or not at all, and no link followed or replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thermal.protect import control, flush, quiet, status
from thermal.whole import home_of, write_whole
from touchline.errors import ResourceError


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """As tmpfiles.d has it: a folder that readers look into, and one that root writes in."""
    shown, kept = tmp_path / "touchline", tmp_path / "touchline-protect"
    shown.mkdir()
    kept.mkdir()
    return shown, kept


def test_a_file_is_replaced_and_what_lies_beside_it_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "a.json.new").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "a.json", b"1")
    write_whole(tmp_path / "a.json", b"2")
    assert (tmp_path / "a.json").read_bytes() == b"2"
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "other").read_text() == "theirs"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (status.FILE, lambda folder: status.write_status(folder / status.FILE, {"at_ns": 1})),
        (flush.FILE, lambda folder: flush.write_flush(folder / flush.FILE, {"at_ns": 1})),
        (quiet.FILE, lambda folder: quiet.write_quiet(folder, "/data", "full", 1)),
    ],
)
def test_a_link_is_never_replaced(folders, name, write):
    shown, kept = folders
    (shown / name).symlink_to(kept / name)
    with pytest.raises(OSError, match="--run-dir"):
        write(shown)
    assert (shown / name).is_symlink()
    assert not (kept / name).exists()
    write(home_of(shown / name))
    assert (kept / name).exists()


def test_nor_is_the_link_of_a_socket(folders):
    shown, kept = folders
    (shown / status.SOCKET).symlink_to(kept / status.SOCKET)
    with pytest.raises(ResourceError, match="is a link"):
        control.ControlServer(shown / status.SOCKET, dict)
    assert (shown / status.SOCKET).is_symlink()


def test_where_a_file_is_to_be_written(folders, monkeypatch):
    shown, kept = folders
    assert home_of(shown / "none.json") == shown
    (shown / "plain.json").touch()
    assert home_of(shown / "plain.json") == shown
    (shown / "near.json").symlink_to(Path("../touchline-protect/near.json"))
    assert home_of(shown / "near.json").resolve() == kept
    (shown / "far.json").symlink_to(kept / "far.json")
    assert home_of(shown / "far.json") == kept
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() == 0:
        os.chown(shown / "far.json", 65534, 65534, follow_symlinks=False)
    assert home_of(shown / "far.json") == shown, "a stranger's link is not followed"

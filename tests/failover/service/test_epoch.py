"""The epoch outlives the service; a disk that refuses or lies is named, and nobody waits for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.durable import checked_line, replace_file
from failover.service import epoch
from failover.service.epoch import EPOCH_FILE, EpochFile, from_text, to_text

DEADLINE_S = 60.0  # of a disk, and a thread, that others use too


def kept(folder: Path, *epochs: int) -> EpochFile:
    one = EpochFile(folder)
    for number in epochs:
        one.keep(number)
    one.close(DEADLINE_S)
    return one


def test_the_highest_is_read_back_by_the_next_life(tmp_path: Path) -> None:
    folder = tmp_path / "failover"
    first = kept(folder, 3, 7, 5)
    assert (first.found, first.damage, first.trouble) == (0, "", "")
    second = kept(folder, 6)
    assert second.found == 7
    assert EpochFile(folder).found == 7, "a lower one is not written"
    assert (folder / EPOCH_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [EPOCH_FILE]


def test_nothing_is_written_for_nothing(tmp_path: Path) -> None:
    kept(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "Expecting value"), ("{", "Expecting"), (to_text(7, "now").replace("7", "8", 1), "checksum"),
     (to_text(7, "now") * 2, "Extra data"), ("[" * 5000, "line of JSON"),
     (checked_line({"format": "touchline failover epoch 1", "epoch": -1}), "out of range")],
)  # fmt: skip
def test_a_damaged_file_is_named_counts_as_absent_and_is_written_anew(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / EPOCH_FILE).write_text(text)
    one = kept(tmp_path, 4)
    assert one.found == 0 and str(tmp_path / EPOCH_FILE) in one.damage and why in one.damage
    assert EpochFile(tmp_path).found == 4


def test_a_folder_in_its_place_is_named_too(tmp_path: Path) -> None:
    (tmp_path / EPOCH_FILE).mkdir()
    one = EpochFile(tmp_path)
    assert one.found == 0 and "Is a directory" in one.damage
    one.close()


def test_a_disk_that_refuses_is_said_once_tried_again_and_its_return_said(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    again, done, real, tries = threading.Event(), threading.Event(), replace_file, []

    def write(path: Path, text: str) -> None:
        tries.append(text)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        again.wait(DEADLINE_S)
        real(path, text)
        done.set()

    monkeypatch.setattr(epoch, "replace_file", write)
    one = EpochFile(tmp_path, retry_s=0.01)
    one.keep(9)
    again.set()
    assert done.wait(DEADLINE_S), "it is tried again by itself"
    one.close(DEADLINE_S)
    assert one.trouble == "" and EpochFile(tmp_path).found == 9
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "No space left" in said[0] and "written again" in said[1]


def test_a_hung_disk_is_not_waited_for(tmp_path, monkeypatch):
    """This test ends only if nobody waits."""
    hold, begun = threading.Event(), threading.Event()

    def write(path: Path, text: str) -> None:
        begun.set()
        hold.wait()

    monkeypatch.setattr(epoch, "replace_file", write)
    one = EpochFile(tmp_path)
    one.keep(1)
    assert begun.wait(DEADLINE_S)
    one.keep(2)
    one.close(wait_s=0.01)
    hold.set()


@given(st.integers(0, 2**62))
def test_what_is_written_is_read(number: int) -> None:
    assert from_text(to_text(number, "2026-11-21T10:00:00Z")) == number


@given(st.text(max_size=200) | st.from_regex(r'\{"format": "touchline failover epoch 1", .{0,60}', fullmatch=True))
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)

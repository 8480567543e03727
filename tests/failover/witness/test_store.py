"""Epochs on disk: never one twice, whatever dies when; damage is named with its fix."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.durable import checked_line
from failover.witness import store
from failover.witness.store import BLOCK, EpochStore, State, from_text, to_text
from touchline.errors import InputError, ResourceError

LEASE = 200_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epochs"


def opened(path, **more) -> EpochStore:
    return EpochStore(path, LEASE, **more)


def settled(epochs: EpochStore) -> None:
    """Wait for the disk's thread, as close does."""
    if epochs._worker is not None:
        epochs._worker.join()


def test_the_first_start_begins_at_one_and_says_that_it_is_the_first(path):
    with opened(path) as epochs:
        assert epochs.first_start
        assert [epochs.take(0) for _ in range(3)] == [1, 2, 3]
        assert epochs.last == 3
    assert json.loads(path.read_text())["reserved"] >= 3


def test_a_restart_goes_on_above_everything_reserved(path):
    with opened(path) as epochs:
        epochs.take(0)
    with opened(path) as epochs:
        assert not epochs.first_start
        assert epochs.take(0) == 1 + BLOCK + 1


def test_a_block_is_on_disk_before_any_of_it_is_given(path):
    with opened(path) as epochs:
        for _ in range(3 * BLOCK):
            epoch = epochs.take(0)
            if epoch is None:
                settled(epochs)
                continue
            for file in (path, path.with_name("epochs.copy")):
                if epoch % 200 == 0:
                    assert from_text(file.read_text()).reserved >= epoch


def test_a_slow_disk_is_not_waited_for(path, monkeypatch):
    with opened(path) as epochs:
        monkeypatch.setattr(EpochStore, "_try_to_reserve", lambda self, reserved: None)
        given_out = [epoch for epoch in (epochs.take(0) for _ in range(2 * BLOCK)) if epoch is not None]
        assert given_out == list(range(1, BLOCK + 2))
        assert epochs.take(0) is None
        settled(epochs)
        monkeypatch.undo()
        assert epochs.take(0) is None
        settled(epochs)
        assert epochs.take(0) == BLOCK + 2


def test_far_above_what_is_reserved_needs_the_disk_first(path):
    with opened(path) as epochs:
        assert epochs.take(1_000_000) is None
        settled(epochs)
        assert from_text(path.read_text()).reserved >= 1_000_001
        assert epochs.take(1_000_000) == 1_000_001
        assert epochs.take(0) == 1_000_002


def test_a_full_disk_is_said_and_what_is_reserved_is_used(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with opened(path) as epochs:
        monkeypatch.setattr(store, "replace_file", full)
        assert epochs.take(600) == 601
        settled(epochs)
        assert "No space left" in epochs.trouble
        assert epochs.take(0) == 602
        settled(epochs)
        monkeypatch.undo()
        assert epochs.take(0) == 603
        settled(epochs)
        assert epochs.trouble == ""
    with opened(path) as epochs:
        assert (epochs.take(0) or 0) > 603


@pytest.mark.parametrize("victim", ["epochs", "epochs.copy"])
@pytest.mark.parametrize("damage", [None, b"", b"{", b'{"format": "touchline witness 1"}\n', b"\xff\xfe", b"[" * 4000])
def test_one_good_file_is_enough_and_the_other_is_named_and_mended(path, victim, damage):
    with opened(path) as epochs:
        epochs.take(0)
    file = path.with_name(victim)
    file.unlink() if damage is None else file.write_bytes(damage)
    with opened(path) as epochs:
        assert epochs.take(0) == BLOCK + 2
        assert len(epochs.notes) == 1
        assert str(file) in epochs.notes[0]
    with opened(path) as epochs:
        assert epochs.notes == []


def test_an_older_file_put_back_does_not_count_against_the_newer(path):
    with opened(path) as epochs:
        epochs.take(0)
    before = path.read_bytes()
    with opened(path) as epochs:
        last = epochs.take(0)
    path.write_bytes(before)
    with opened(path) as epochs:
        assert (epochs.take(0) or 0) > (last or 0)


def test_with_both_bad_it_refuses_with_the_fix_and_changes_nothing(path):
    with opened(path):
        pass
    path.write_text(path.read_text().replace(str(BLOCK + 1), str(BLOCK + 9)))
    path.with_name("epochs.copy").unlink()
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        opened(path)
    assert "the checksum is wrong" in str(caught.value)
    assert "epochs.copy is missing" in str(caught.value)
    assert "first_epoch" in caught.value.hint
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before
    path.unlink()
    with opened(path, first_epoch=5_000) as epochs:
        assert epochs.take(0) == 5_000


def test_first_epoch_is_a_floor_and_never_steps_back(path):
    with opened(path, first_epoch=5_000) as epochs:
        assert epochs.take(0) == 5_000
    with opened(path, first_epoch=10) as epochs:
        assert (epochs.take(0) or 0) > 5_000


def test_the_quarantine_is_as_long_as_the_predecessors_leases(path):
    with EpochStore(path, 700_000_000):
        pass
    for _ in range(2):  # also a start that died within it leaves it as long for the next
        with EpochStore(path, 50_000_000) as epochs:
            assert epochs.quarantine_lease_ns == 700_000_000


def test_two_witnesses_do_not_share_a_file(path):
    with opened(path):
        with pytest.raises(ResourceError, match="another witness uses") as caught:
            opened(path)
        assert caught.value.exit_code == 5
    opened(path).close()


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(ResourceError, match="not mounted"):
        opened(tmp_path / "none" / "epochs")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written(path, monkeypatch):
    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store, "replace_file", refused)
    with pytest.raises(ResourceError, match="Read-only"):
        opened(path)
    monkeypatch.undo()
    opened(path).close()  # the lock was let go


KILLED = """
import os, sys
from pathlib import Path
from failover.witness.store import EpochStore
epochs = EpochStore(Path(sys.argv[1]), 1)
given = 0
while given < 2000:
    epoch = epochs.take(0)
    if epoch is not None:
        os.write(1, b"%d\\n" % epoch)
        given += 1
"""


def test_kill_9_at_any_moment_gives_no_epoch_twice(path):
    """Each life writes down every epoch before it uses the next; it is killed somewhere, mostly in a reservation."""
    seen: list[int] = []
    for life in range(6):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(300 + 97 * life)]
        child.kill()
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        seen += [int(line) for line in lines if line.endswith(b"\n")]
    assert len(seen) > 2_000
    assert seen == sorted(set(seen))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_what_is_written_is_read(reserved, lease_ns):
    assert from_text(to_text(State(reserved, lease_ns), "2026-11-21T10:00:00Z")) == State(reserved, lease_ns)


@given(st.text(max_size=300) | st.from_regex(r'\{"format": "touchline witness 1", "reserved": .{0,40}', fullmatch=True))
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError):
        from_text(text)


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, True, "7", None])
def test_numbers_out_of_range_are_refused_even_with_a_true_checksum(value):
    body = {"format": "touchline witness 1", "reserved": value, "longest_lease_ns": 1}
    with pytest.raises(ValueError, match="out of range"):
        from_text(checked_line(body))


def test_files_are_ours_alone(path):
    with opened(path):
        for name in ("epochs", "epochs.copy", "epochs.lock"):
            assert path.with_name(name).stat().st_mode & 0o777 == 0o600

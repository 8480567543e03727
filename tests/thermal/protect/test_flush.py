"""The flush of every 30 s: each file system once, measured, slow and failed ones counted and said."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.protect.flush import (
    LATE_S,
    FlushPorts,
    flush_once,
    flush_trouble,
    read_flush,
    sync_journal,
    syncfs,
    write_flush,
)

S = 1_000_000_000


class Machine:
    """A clock that a sync moves on by ``takes_ms``."""

    def __init__(self, takes_ms: float = 12.0, error: int = 0, journal: str = "") -> None:
        self.now_ns, self.synced = 1000 * S, 0
        self._takes_ms, self._error, self._journal = takes_ms, error, journal

    @property
    def ports(self) -> FlushPorts:
        return FlushPorts(lambda: self.now_ns, self._sync, lambda: self._journal)

    def _sync(self, descriptor):
        self.now_ns += round(self._takes_ms * 1e6)
        self.synced += 1
        if self._error:
            raise OSError(self._error, os.strerror(self._error))


def test_each_file_system_once_and_its_time(tmp_path):
    (tmp_path / "log").mkdir()
    machine = Machine()
    found = flush_once([str(tmp_path), str(tmp_path / "log")], 1000.0, machine.ports, {})
    assert machine.synced == 1
    assert found["total_ms"] == 12.0
    assert [one["path"] for one in found["paths"]] == [str(tmp_path)]
    assert (found["ok"], found["slow"], found["runs"]) == (True, False, 1)
    assert flush_trouble(found, machine.now_ns) == ""


def test_slow_and_failed_flushes_are_counted_over_runs(tmp_path):
    slow = flush_once([str(tmp_path)], 10.0, Machine(1500.0).ports, {})
    assert flush_trouble(slow, slow["at_ns"]) == "the last flush took 1500 ms"
    failed = flush_once([str(tmp_path), "/no/such/folder"], 1000.0, Machine(error=5).ports, slow)
    assert not failed["ok"]
    assert "Input/output error" in failed["trouble"]
    assert "/no/such/folder: No such file" in failed["trouble"]
    assert (failed["runs"], failed["slow_runs"], failed["failed_runs"], failed["worst_ms"]) == (2, 1, 1, 1500.0)
    assert "Input/output error" in flush_trouble(failed, failed["at_ns"])


def test_a_journal_that_does_not_answer_is_said_and_the_disk_is_synced_all_the_same(tmp_path):
    machine = Machine(journal="journalctl did not finish within 20 s")
    found = flush_once([str(tmp_path)], 1000.0, machine.ports, {})
    assert machine.synced == 1
    assert found["ok"]
    assert "journald" in found["trouble"]


def test_a_timer_that_does_not_run_is_said_but_not_right_after_the_boot():
    assert flush_trouble({}, 60 * S) == ""
    assert "no flush since the boot" in flush_trouble({}, round((LATE_S + 1) * S))
    old = {"at_ns": 1000 * S, "ok": True}
    assert "121 s ago" in flush_trouble(old, 1121 * S)
    assert flush_trouble({"at_ns": 10**18, "ok": True}, 60 * S) == "", "of the boot before"


def test_the_status_comes_back(tmp_path):
    path = tmp_path / "run" / "flush.json"
    assert read_flush(path) == {}
    found = flush_once([str(tmp_path)], 1000.0, Machine().ports, {})
    write_flush(path, found)
    assert read_flush(path) == found
    path.write_text("{")
    assert read_flush(path) == {}


def test_what_the_agents_user_puts_there_is_neither_waited_for_nor_believed(tmp_path, monkeypatch):
    path = tmp_path / "flush.json"
    os.mkfifo(path)
    assert read_flush(path) == {}
    path.unlink()
    write_flush(path, flush_once([str(tmp_path)], 1000.0, Machine().ports, {}))
    assert read_flush(path)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner != 0:
        assert read_flush(path) == {}
    elif os.getuid() == 0:
        os.chown(path, 65534, -1)
        assert read_flush(path) == {}


def test_words_where_a_number_should_be_do_no_harm():
    document = {"at_ns": 1000 * S, "ok": True, "slow": True, "total_ms": "x"}
    assert flush_trouble(document, 1001 * S) == "the last flush took 0 ms"


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5))))
def test_any_earlier_status_can_be_taken_over(before):
    found = flush_once([], 1000.0, Machine().ports, before)
    assert found["runs"] >= 1


def test_the_real_call(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs(descriptor)
    finally:
        os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(descriptor)


def test_without_journald_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert sync_journal() == ""

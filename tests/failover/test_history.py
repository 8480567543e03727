"""The history: bounded, on the disk, damaged lines counted, several writers, a disk that refuses."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover import history
from failover.actions.sequence import Start, Takeover, takeover_steps
from failover.core.types import Changed, Role, Settings, Trigger
from failover.history import HISTORY_FILE, ROTATED_FILE, HistoryWriter, encode, history_of, history_text, read_history
from touchline.timeline import monotonic_ns, sleep_until

DEADLINE_S = 120.0  # each line is on the disk before the next is written


def takeover() -> dict[str, Any]:
    change = Changed(Role.ACTIVE, 7, Trigger.SILENCE, "silent", 1, 2)
    return Takeover(change, Start("a", "b", 3), takeover_steps(Settings("a", "b"))).report().document()


def test_what_is_added_is_read_back_in_order(tmp_path):
    writer = HistoryWriter(tmp_path / "made")
    writer.add("takeover", takeover())
    writer.add("note", {"severity": "warning", "code": "twin-lost", "text": "twin lost"})
    writer.add("drill", {"ok": True, "summary": "switched in 92 ms"})
    writer.close(DEADLINE_S)
    found = read_history(tmp_path / "made")
    assert [one["kind"] for one in found.entries] == ["takeover", "note", "drill"]
    assert found.entries[0]["steps"] == takeover()["steps"]
    assert found.damaged == 0 and writer.lost == 0
    assert [one["kind"] for one in read_history(tmp_path / "made", kinds={"drill"}).entries] == ["drill"]
    assert [one["kind"] for one in read_history(tmp_path / "made", last=1).entries] == ["drill"]
    assert read_history(tmp_path / "made", last=0).entries == []
    text = history_text(found).splitlines()
    assert "takeover  with epoch 7, silence: NOT ok" in text[0]
    assert text[1].endswith("note      warning: twin lost") and text[2].endswith("drill     switched in 92 ms")


def test_nothing_is_said_of_no_history(tmp_path):
    assert history_text(read_history(tmp_path)) == "nothing has happened yet"


def test_two_files_are_all_that_there_ever_is(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_BYTES", 2_000)
    for number in range(100):
        history.append(tmp_path, encode("note", {"number": number}, "2026-11-21T10:00:00Z"))
    assert sorted(one.name for one in tmp_path.iterdir()) == [ROTATED_FILE, HISTORY_FILE, history.LOCK_FILE]
    assert all(one.stat().st_size <= 2_000 for one in tmp_path.iterdir())
    numbers = [one["number"] for one in read_history(tmp_path).entries]
    assert numbers == list(range(numbers[0], 100)) and len(numbers) > 25


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_cut_short_costs_only_itself(tmp_path, cut):
    for number in range(3):
        history.append(tmp_path, encode("note", {"number": number}, "2026-11-21T10:00:00Z"))
    path = tmp_path / HISTORY_FILE
    os.truncate(path, path.stat().st_size - cut)
    history.append(tmp_path, encode("note", {"number": 3}, "2026-11-21T10:00:00Z"))
    found = read_history(tmp_path)
    lost = 0 if cut == 1 else 1  # without its newline alone a line is whole
    assert [one["number"] for one in found.entries] == [*range(3 - lost), 3]
    assert found.damaged == lost


def test_writers_in_several_threads_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_BYTES", 20_000)
    writers = [HistoryWriter(tmp_path) for _ in range(4)]

    def write(number: int) -> None:
        for count in range(40):
            writers[number].add("note", {"number": number, "count": count})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for writer in writers:
        writer.close(DEADLINE_S)
    found = read_history(tmp_path)
    assert found.damaged == 0 and len(found.entries) == 160


def test_a_disk_that_refuses_is_said_once_and_its_end_too(tmp_path, monkeypatch, caplog):
    real = history.append

    def refuse(folder, raw):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "append", refuse)
    writer = HistoryWriter(tmp_path)
    caplog.set_level("INFO")
    for _ in range(5):
        writer.add("note", {"text": "x", "severity": "info"})
    writer.add("note", {"text": "x" * history.MAX_LINE_BYTES})
    writer.add("nonsense", {})
    begun_ns = monotonic_ns()
    while writer.lost < 7 and monotonic_ns() < begun_ns + DEADLINE_S * 1e9:
        sleep_until(monotonic_ns() + 1_000_000)
    monkeypatch.setattr(history, "append", real)
    writer.add("note", {"text": "good", "severity": "info"})
    writer.close(DEADLINE_S)
    assert caplog.text.count("goes on without it") == 1
    assert "written again, 7 lines were lost" in caplog.text
    assert read_history(tmp_path).entries[-1]["text"] == "good"


def test_a_hung_disk_never_holds_up_the_caller(tmp_path, monkeypatch):
    """This test ends only if nobody waits."""
    free = threading.Event()
    monkeypatch.setattr(history, "append", lambda folder, raw: free.wait())
    writer = HistoryWriter(tmp_path)
    for _ in range(3 * history.MAX_WAITING):
        writer.add("note", {})
    assert writer.lost >= 2 * history.MAX_WAITING - 1
    writer.close(0.05)
    free.set()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.tuples(st.sampled_from(history.KINDS), st.dictionaries(st.text(max_size=8), json_values, max_size=5)))
)
def test_every_document_comes_back_and_can_be_shown(wanted):
    lines = [encode(kind, document, "2026-11-21T10:00:00Z") for kind, document in wanted]
    found = history_of(b"".join(lines).split(b"\n"))
    assert found.damaged == 0
    for entry, (kind, document) in zip(found.entries, wanted, strict=True):
        assert entry == {**json.loads(json.dumps(document)), "kind": kind, "at": "2026-11-21T10:00:00Z"}
    assert history_text(found).count("\n") == max(0, len(wanted) - 1)


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_any_bytes_are_counted_and_never_raise(lines):
    found = history_of(lines)
    assert len(found.entries) + found.damaged <= len(lines)
    history_text(found)

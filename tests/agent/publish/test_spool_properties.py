"""The spool against a model, and against damage anywhere in its files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.publish.cursor import CursorFile, Mark
from agent.publish.segment import Entry, scan
from agent.publish.spool import Spool, SpoolSettings
from tests.agent.publish.helpers import batch

REPLAY_NS = 5_000_000_000
SETTINGS = SpoolSettings(max_bytes=1 << 20, replay_s=5.0, sync="off")


def read_numbers(spool: Spool) -> list[int]:
    """Take and read everything that is open."""
    found = []
    while (entry := spool.take()) is not None:
        got = spool.read(entry)
        if got is not None:
            found.append(got[0].batch_number)
    return found


class SpoolMachine(RuleBasedStateMachine):
    """Appends, acknowledges in any order, rewinds, crashes; the model is a list of batch numbers.

    A crash copies the folder as it stands (what kill -9 leaves) and opens the copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.runs = 0
        self.now_ns = 0
        self.next = 0
        self.waiting: list[int] = []  # neither acknowledged nor dropped, in order
        self.settled: set[int] = set()  # must never come back
        self.handed: dict[int, Entry] = {}
        self.acked_at: dict[int, int] = {}
        self.spool = Spool(self.root / "0", SETTINGS, 0)

    @rule(records=st.integers(1, 40), count=st.integers(1, 8))
    def append(self, records: int, count: int) -> None:
        for _ in range(count):
            assert self.spool.append(batch(self.next, records), records, self.now_ns)
            self.waiting.append(self.next)
            self.next += 1

    @rule(count=st.integers(1, 6))
    def take(self, count: int) -> None:
        for _ in range(count):
            entry = self.spool.take()
            if entry is None:
                assert set(self.waiting) <= set(self.handed)
                return
            got = self.spool.read(entry)
            assert got is not None
            assert got[0].batch_number in self.waiting
            assert got[0].count == entry.records
            self.handed[got[0].batch_number] = entry

    @precondition(lambda self: bool(self.handed))
    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.handed)))
        self.spool.acknowledge(self.handed[number])
        if number in self.waiting:
            self.waiting.remove(number)
            self.acked_at[number] = self.now_ns

    @rule(ms=st.sampled_from([1, 100, 3000, 6000]))
    def pass_time(self, ms: int) -> None:
        self.spool.tick(self.now_ns)
        self.now_ns += ms * 1_000_000
        self.spool.tick(self.now_ns)
        first_open = self.waiting[0] if self.waiting else self.next
        for number, at_ns in list(self.acked_at.items()):
            if at_ns + 2 * REPLAY_NS <= self.now_ns and number < first_open:
                self.settled.add(number)

    @rule()
    def rewind(self) -> None:
        self.spool.rewind()
        self._replayed()

    @rule()
    def crash(self) -> None:
        self.runs += 1
        folder = self.root / str(self.runs)
        shutil.copytree(self.root / str(self.runs - 1), folder)
        self.spool.close()
        self.spool = Spool(folder, SETTINGS, self.now_ns)
        assert self.spool.damage.corrupt_regions == 0
        self._replayed()

    def _replayed(self) -> None:
        """After a rewind or a crash: everything waiting is there, in order, and nothing settled long ago."""
        self.handed.clear()
        found = read_numbers(self.spool)
        assert found == sorted(set(found))
        assert set(self.waiting) <= set(found)
        assert not self.settled & set(found)
        self.spool.rewind()
        self.waiting = found
        for number in found:
            self.acked_at.pop(number, None)

    @invariant()
    def depth_is_what_waits(self) -> None:
        depth = self.spool.depth
        assert depth.batches == len(self.waiting)
        assert min(depth.batches, depth.records, depth.bytes) >= 0
        assert not self.spool.dropped

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.root)


TestSpoolModel = SpoolMachine.TestCase
TestSpoolModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def written(folder: Path) -> tuple[Path, list[int], bytes]:
    """A spool of six batches; return its segment, the end of each batch, and its bytes."""
    spool = Spool(folder, SETTINGS, 0)
    ends = [0]
    for number in range(6):
        data = batch(number, 1 + number % 3)
        spool.append(data, 1 + number % 3, 0)
        ends.append(ends[-1] + len(data))
    spool.close()
    (path,) = folder.glob("*.seg")
    return path, ends, path.read_bytes()


ENDS = 6 * 80 + (1 + 2 + 3 + 1 + 2 + 3) * 104


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, ENDS))
def test_truncated_anywhere_keeps_every_whole_batch(cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, ends, raw = written(Path(name))
        path.write_bytes(raw[:cut])
        spool = Spool(Path(name), SETTINGS, 0)
        whole = sum(1 for end in ends[1:] if end <= cut)
        assert read_numbers(spool) == list(range(whole))
        assert spool.damage.torn_bytes == cut - ends[whole]
        assert spool.append(batch(99), 2, 0)
        spool.close()
        again = Spool(Path(name), SETTINGS, 0)
        assert read_numbers(again) == [*range(whole), 99]
        assert again.damage.torn_bytes == 0, "the tail was cut the first time"
        again.close()


@settings(max_examples=100, deadline=None)
@given(
    start=st.integers(0, ENDS - 1),
    junk=st.one_of(st.binary(min_size=1, max_size=60), st.just(b"TLB1" * 40), st.just(bytes(300))),
    insert=st.booleans(),
)
def test_damaged_anywhere_loses_only_what_was_hit(start: int, junk: bytes, insert: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, ends, raw = written(Path(name))
        after = start if insert else start + len(junk)
        path.write_bytes(raw[:start] + junk + raw[after:])
        spool = Spool(Path(name), SETTINGS, 0)
        untouched = [i for i in range(6) if ends[i + 1] <= start or ends[i] >= max(after, start)]
        assert set(untouched) <= set(read_numbers(spool))
        if len(untouched) < 6 and raw[start:after] != junk:
            damage = spool.damage
            assert damage.torn_bytes + damage.corrupt_bytes > 0 or insert
        spool.close()


@settings(max_examples=200, deadline=None)
@given(raw=st.one_of(st.binary(max_size=400), st.lists(st.sampled_from([b"TLB1", bytes(7), batch(3), batch(4)[:100]]))))
def test_scan_is_total(raw: bytes | list[bytes]) -> None:
    data = raw if isinstance(raw, bytes) else b"".join(raw)
    found, damage = scan(memoryview(data))
    used = sum(80 + records * 104 for _, records in found)
    assert used + damage.torn_bytes + damage.corrupt_bytes == len(data)


@settings(max_examples=60, deadline=None)
@given(
    marks=st.lists(st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)), min_size=1, max_size=5),
    at=st.integers(0, 1023),
    flip=st.integers(1, 255),
)
def test_cursor_survives_one_damaged_slot(marks: list[tuple[int, int]], at: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cursor"
        cursor = CursorFile(path)
        assert cursor.mark is None
        for segment, offset in marks:
            cursor.write(Mark(segment, offset))
        cursor.close()
        written_marks = [Mark(*m) for m in marks]
        reread = CursorFile(path)
        assert reread.mark == written_marks[-1]
        reread.close()
        raw = bytearray(path.read_bytes())
        raw[at] ^= flip
        path.write_bytes(raw)
        damaged = CursorFile(path)
        allowed = {written_marks[-1], written_marks[-2] if len(marks) > 1 else None}
        assert damaged.mark in allowed
        damaged.write(Mark(7, 7))
        damaged.close()
        final = CursorFile(path)
        assert final.mark == Mark(7, 7)
        final.close()

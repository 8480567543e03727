"""Starts of a node: a bounded number is remembered, the oldest is retired with its totals, nothing is stored twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.dedupe import Deduper, Missing
from aggregator.export import audit
from aggregator.rack import Rack
from aggregator.store import Group, Store
from tests.aggregator.match import T0_NS, Node, rows
from tests.aggregator.rig import rack_config
from touchline.errors import ResourceError

STEP_NS = 40_000_000


def boot(number: int) -> bytes:
    return number.to_bytes(16, "big")


def key(number: int, node: str = "node-a") -> tuple[str, bytes]:
    return node, boot(number)


class Bench:
    """A rack over a real store; :meth:`restart` is what a kill leaves."""

    def __init__(self, folder: Path, **receive: Any) -> None:
        self.config = rack_config(folder, receive={"max_starts": 2, **receive}, accept={"rate_hz": 25.0})
        self.stored = 0
        self._open()

    def _open(self) -> None:
        self.store, self.rack = Store(self.config.store.path, "normal"), Rack(self.config)
        self.store.open()
        self.rack.restore(self.store.load(), 0)

    def restart(self) -> None:
        self.store.close()
        self._open()

    def put(self, data: bytes, node: str = "node-a", group: Group | None = None) -> Group:
        group = group or Group()
        self.rack.message(f"tl/v1/{node}/det", data, 0, T0_NS, group)
        return group

    def commit(self, group: Group) -> int:
        self.rack.prepare(group)
        written = self.store.write(group)
        self.rack.written(written, 1.0)
        self.stored += written.stored
        return written.stored

    def take(self, data: bytes, node: str = "node-a") -> int:
        return self.commit(self.put(data, node))

    def stats(self) -> dict[str, Any]:
        return self.rack.stats(0)

    def sources(self) -> list[tuple[bytes, str]]:
        return self.store._db.execute("SELECT boot_id, seen FROM sources ORDER BY id").fetchall()


def frame(number: int, people: int = 3) -> Any:
    return rows(0, number, T0_NS + number * STEP_NS, [(10 * i + 1, 5) for i in range(people)])


def test_a_node_has_so_many_starts_and_the_stalest_is_retired():
    deduper = Deduper(max_starts=3)
    for number in (1, 2, 3):
        deduper.observe(key(number), 0, 10, 0)
    deduper.observe(key(1), 10, 5, 0)  # start 1 still sends: it is not the stalest
    deduper.observe(key(4), 0, 10, 0)
    assert [deduper.is_retired(key(n)) for n in (1, 2, 3, 4)] == [False, True, False, False]
    assert deduper.starts == 3 and deduper.retired_starts == 1
    deduper.observe(key(1, "node-b"), 0, 10, 0)  # another node has its own
    assert deduper.starts == 4 and deduper.retired_starts == 1


def test_a_repeated_or_empty_batch_keeps_no_start_and_opens_none():
    deduper = Deduper(max_starts=2)
    deduper.observe(key(1), 0, 10, 0)
    deduper.observe(key(2), 0, 10, 0)
    assert deduper.observe(key(1), 0, 10, 0) == []
    assert deduper.observe(key(9), 0, 0, 0) == [] and deduper.starts == 2
    deduper.observe(key(3), 0, 10, 0)
    assert deduper.is_retired(key(1)) and not deduper.is_retired(key(2))


def test_what_a_retired_start_lacked_stays_lost():
    deduper = Deduper(close_ns=100, max_starts=2)
    deduper.observe(key(1), 5, 5, 0)
    deduper.observe(key(1), 13, 2, 0)
    assert deduper.missing(0) == Missing(open=3, before_first=5)
    deduper.observe(key(2), 0, 1, 0)
    deduper.observe(key(3), 0, 1, 0)
    assert deduper.missing(0) == Missing(lost=3, before_first=5)  # nobody waits for it any more
    assert deduper.missing(0, "node-a").lost == 3 and deduper.missing(0, "node-b") == Missing()


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), st.integers(0, 8)), max_size=80))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_memory_is_bounded_and_the_sums_are_right(batches):
    deduper = Deduper(max_starts=3, retired_per_start=2)
    given_out: dict[int, set[int]] = {}
    for number, first, count in batches:
        if deduper.is_retired(key(number)):
            continue
        for a, b in deduper.observe(key(number), first, count, 0):
            given_out.setdefault(number, set()).update(range(a, b))
        assert deduper.starts <= 3 and deduper.remembered_retired <= 6
    if deduper.retired_starts > 6:
        return  # some were forgotten: their numbers may be counted anew
    holes = sum(max(seen) + 1 - len(seen) for seen in given_out.values())
    found = deduper.missing(0)
    assert found.open + found.lost + found.before_first == holes


def test_changes_say_each_start_once_as_it_is_now():
    deduper = Deduper(max_starts=2, retired_per_start=1)
    for number in range(6):
        deduper.observe(key(number), 0, 10, 0)
    changes = deduper.take_changes()
    assert set(changes.kept) == {key(4), key(5)}
    assert changes.retired == [key(2), key(3)] and sorted(changes.forgotten) == [key(0), key(1)]
    assert not deduper.take_changes()


def test_the_order_survives_a_restart():
    one = Deduper(max_starts=2)
    one.observe(key(1), 0, 10, 0)
    one.observe(key(2), 0, 10, 0)
    one.observe(key(1), 10, 10, 0)
    two = Deduper(max_starts=2)
    for source, state in one.take_changes().kept.items():
        two.restore(source, json.loads(json.dumps(state)), 0)
    two.observe(key(3), 0, 10, 0)
    assert two.is_retired(key(2)) and not two.is_retired(key(1))


def test_fewer_starts_in_a_new_configuration_retire_the_rest():
    one, two = Deduper(max_starts=8), Deduper(max_starts=2)
    for number in range(8):
        one.observe(key(number), 0, 10, 0)
        one.observe(key(number), 12, 10, 0)
    for source, state in one.take_changes().kept.items():
        two.restore(source, state, 0)
    assert two.starts == 2 and two.retired_starts == 6
    assert two.missing(0).lost == 12 and two.missing(0).open == 4
    assert len(two.take_changes().retired) == 6


def test_a_retired_start_is_refused_counted_and_never_stored_twice(tmp_path):
    bench = Bench(tmp_path)
    sent = []
    for number in range(4):
        node = Node(boot_id=boot(number))
        sent.append(node.batch(frame(number)))
        assert bench.take(sent[-1]) == 3
    for _ in range(2):
        before = bench.stats()
        for data in sent[:2]:
            assert bench.take(data) == 0
        after = bench.stats()
        refused = after["messages"]["refused"]["start_retired"] - before["messages"]["refused"].get("start_retired", 0)
        assert refused == 2 and after["records"] == before["records"]
        assert after["starts"] == {"remembered": 2, "retired": 2}
        bench.restart()
        assert bench.stats()["starts"] == {"remembered": 2, "retired": 2}
    found = audit(bench.config.store.path)
    assert found.clean and found.records == bench.stored == bench.stats()["records"]["unique"] == 12


def test_gaps_of_retired_starts_are_lost_over_every_restart(tmp_path):
    bench = Bench(tmp_path)
    for number in range(5):
        node = Node(boot_id=boot(number))
        bench.take(node.batch(frame(3 * number)))
        node.batch(frame(3 * number + 1))  # never arrives: three numbers
        bench.take(node.batch(frame(3 * number + 2)))
    for _ in range(3):
        records = bench.stats()["records"]
        assert (records["open_gaps"], records["lost"], records["before_first"]) == (6, 9, 0)
        bench.restart()
    late = Node(boot_id=boot(0), next_record=3)
    bench.take(late.batch(frame(1)))
    assert bench.stats()["records"]["lost"] == 9  # refused, so it is still missing


def test_a_forgotten_start_meets_the_second_line_the_key(tmp_path):
    bench = Bench(tmp_path)
    first = Node(boot_id=boot(0)).batch(frame(0))
    assert bench.take(first) == 3
    for number in range(1, 2 * 16 + 3):
        bench.take(Node(boot_id=boot(number)).batch(frame(number)))
    assert not bench.rack._desk.deduper.is_retired(key(0))
    assert bench.take(first) == 0  # its start is new again; its keys are not
    records = bench.stats()["records"]
    assert records["same_key"] == 3 and records["unique"] == bench.stored
    assert audit(bench.config.store.path).clean


def test_any_number_of_starts_leaves_little_behind(tmp_path):
    """Starts without a stored record (here: a twin's copies) leave no row; others one row, as long as their records."""
    bench = Bench(tmp_path)
    bench.take(Node("node-b").batch(frame(0)), "node-b")
    for first in range(0, 500, 50):
        group = Group()
        for number in range(first, first + 50):  # more in one transaction than a node may have
            bench.put(Node(boot_id=boot(number)).batch(frame(0)), group=group)
        bench.commit(group)
        assert len(bench.sources()) <= 1 + 2 + 2 * 16
        assert len(bench.store._source_ids) <= 64
    assert bench.stats()["records"]["twin_copies"] == 1500
    bench.restart()
    deduper = bench.rack._desk.deduper
    assert (deduper.starts, deduper.remembered_retired, deduper.retired_starts) == (3, 32, 498)
    assert sum(seen not in ("", "retired") for _, seen in bench.sources()) == 3


def test_the_row_of_a_forgotten_start_goes_with_its_last_batch(tmp_path):
    bench = Bench(tmp_path)
    for number in range(60):
        bench.take(Node(boot_id=boot(number)).batch(frame(number)))
    assert len(bench.sources()) == 60  # the export needs the name as long as records have it
    assert sum(seen == "" for _, seen in bench.sources()) == 60 - 34
    bench.store.retain(T0_NS + 1000 * STEP_NS, 0)
    assert len(bench.sources()) == 34
    bench.restart()
    assert bench.take(Node(boot_id=boot(99)).batch(frame(99))) == 3


def test_a_parked_frame_outlives_the_retirement_of_its_start(tmp_path):
    bench = Bench(tmp_path)
    bench.take(Node("node-b").batch(frame(0)), "node-b")
    for number in range(40):
        bench.take(Node(boot_id=boot(number)).batch(rows(0, number + 1, T0_NS + (number + 1) * STEP_NS, [(1, 1)])))
    assert bench.stats()["parked_frames"] == 40
    bench.restart()
    group = Group()
    bench.rack.tick(10**12, T0_NS, group)
    assert bench.commit(group) == 40
    assert audit(bench.config.store.path).records == 43


def test_a_parked_frame_that_was_a_copy_leaves_no_row(tmp_path):
    bench, owner = Bench(tmp_path), Node("node-b")
    bench.take(owner.batch(frame(0)), "node-b")
    for number in range(40):
        bench.take(Node(boot_id=boot(number)).batch(frame(1)))
    bench.take(owner.batch(frame(1)), "node-b")
    assert len(bench.sources()) == 41
    group = Group()
    bench.rack.tick(10**12, T0_NS, group)
    assert bench.commit(group) == 0
    assert len(bench.sources()) == 1 + 2 + 32


def test_a_failed_transaction_retires_nothing(tmp_path):
    bench = Bench(tmp_path)
    for number in range(2):
        bench.take(Node(boot_id=boot(number)).batch(frame(number)))
    before = bench.sources()
    group = bench.put(Node(boot_id=boot(2)).batch(frame(2)))
    bench.rack.prepare(group)
    good = group.cameras[0]
    group.cameras[0] = replace(good, owner=None)  # type: ignore[arg-type]
    with pytest.raises(ResourceError, match="NOT NULL"):
        bench.store.write(group)
    assert bench.sources() == before
    group.cameras[0] = good
    assert bench.store.write(group).stored == 3
    assert [seen == "retired" for _, seen in bench.sources()] == [True, False, False]

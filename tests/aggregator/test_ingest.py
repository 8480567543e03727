"""Acknowledged only when it is on disk; a disk that refuses delays, and loses nothing."""

from pathlib import Path
from typing import Any

import pytest

from aggregator.export import audit
from aggregator.ingest import Ingest, Message
from aggregator.rack import Rack
from aggregator.store import Store
from tests.aggregator.match import T0_NS, Match, Node
from tests.aggregator.rig import rack_config, wait_for
from touchline.timeline import Stamp, SystemClock, monotonic_ns


class Bench:
    """An ingest thread over a real store, and a list of what it acknowledged."""

    def __init__(self, folder: Path, **store: Any) -> None:
        self.config = rack_config(folder, store=store)
        self.rack, self.store = Rack(self.config), Store(self.config.store.path, "normal")
        self.store.open()
        self.ingest = Ingest(self.config, self.rack, self.store, SystemClock())
        self.node, self.match = Node(), Match()
        self.acknowledged: list[tuple[int, int]] = []

    def put(self, frame: int) -> None:
        data = self.node.batch(self.match.seen(0, frame, frame / 25, T0_NS + frame * 40_000_000))
        done = lambda: self.acknowledged.append((frame, audit(self.store.path).records))  # noqa: E731
        self.ingest.queue.put(Message(self.node.topic, data, monotonic_ns(), T0_NS, done))


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.ingest.stop(60.0)
    made.store.close()


def test_nothing_is_acknowledged_before_it_is_stored(bench):
    for frame in range(60):
        bench.put(frame)
    bench.ingest.start()
    wait_for(lambda: len(bench.acknowledged) == 60, "60 acknowledgements")
    assert [frame for frame, _ in bench.acknowledged] == list(range(60))
    sizes = [len(bench.match.seen(0, f, f / 25, 0)) for f in range(60)]
    for frame, stored in bench.acknowledged:
        assert stored >= sum(sizes[: frame + 1])


def test_a_full_disk_holds_the_acknowledgements_back_until_there_is_room(bench):
    pages = bench.store._one("PRAGMA page_count")
    bench.store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    for frame in range(40):
        bench.put(frame)
    bench.ingest.start()
    wait_for(lambda: "full" in bench.rack.store_fault, "the fault to be told")
    before = len(bench.acknowledged)
    assert before < 40 and bench.ingest.alive()
    assert "free space" in bench.rack.status(monotonic_ns(), T0_NS)["store_fault"]
    bench.store._db.execute("PRAGMA max_page_count = 1000000")
    wait_for(lambda: len(bench.acknowledged) == 40, "all acknowledgements")
    found = audit(bench.store.path)
    assert found.records == bench.node.next_record and found.clean
    assert bench.rack.store_fault == ""
    assert any(e["code"] == "store" for e in bench.rack.status(monotonic_ns(), T0_NS)["events"])


def test_stopping_with_a_full_disk_acknowledges_nothing(bench):
    pages = bench.store._one("PRAGMA page_count")
    bench.store._db.execute(f"PRAGMA max_page_count = {pages}")
    for frame in range(200):
        bench.put(frame)
    bench.ingest.start()
    wait_for(lambda: bench.rack.store_fault, "the fault to be told")
    told = len(bench.acknowledged)
    assert bench.ingest.stop(60.0)
    assert bench.ingest.failed is not None and "full" in str(bench.ingest.failed)
    assert len(bench.acknowledged) == told and audit(bench.store.path).frames == told


def test_old_batches_are_retired_while_it_runs(tmp_path):
    bench = Bench(tmp_path, retention_days=1.0)  # the match is years old by the system's clock
    bench.ingest._clock = _Late()
    for frame in range(30):
        bench.put(frame)
    bench.ingest.start()
    wait_for(lambda: bench.store.totals().get("retired", 0) > 0, "retired records")
    assert bench.ingest.stop(60.0)
    bench.store.close()


class _Late(SystemClock):
    """A clock two days after the synthetic match."""

    def now(self) -> Stamp:
        stamp = super().now()
        return type(stamp)(T0_NS + 2 * 86_400_000_000_000, stamp.bound_ns, stamp.epoch, stamp.state)

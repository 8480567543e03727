"""The store: records and what recognises them in one transaction; restart, twins, retention, export, audit."""

import sqlite3
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from aggregator.core.accept import SavedCamera
from aggregator.core.dedupe import Changes
from aggregator.core.desk import Taken
from aggregator.core.nodes import Event
from aggregator.export import audit, export_events, export_records
from aggregator.rack import Rack
from aggregator.store import Arrival, Group, Store
from tests.aggregator.match import BOOT, T0_NS, Match, Node, rows
from tests.aggregator.rig import rack_config
from touchline.errors import InputError, ResourceError
from touchline.record import NIL_PLAYER

SOURCE = ("node-a", BOOT)
STEP_NS = 40_000_000


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "match.sqlite", "normal")
    made.open()
    yield made
    made.close()


def arrival(records: Any, first: int = 0, source: Any = SOURCE, number: int = 0) -> Arrival:
    return Arrival(Taken(source, 1, np.arange(first, first + len(records)), records), number, T0_NS)


def frames(count: int, start: int = 0) -> list[Any]:
    match = Match()
    return [match.seen(0, f, f / 25, T0_NS + f * STEP_NS) for f in range(start, start + count)]


def test_records_come_back_as_they_were(store):
    (records,) = frames(1)
    records["player"][2] = 9
    records["height_m"][3] = np.nan
    assert store.write(Group([arrival(records)])).stored == len(records)
    db = sqlite3.connect(store.path)
    found = db.execute("SELECT number, key, player, x_m, height_m, flags FROM records ORDER BY row").fetchall()
    assert [f[0] for f in found] == list(range(len(records)))
    assert [f[1] for f in found] == [k.tobytes() for k in records["key"]]
    assert [f[2] for f in found] == [bytes([9] * 16) if i == 2 else None for i in range(len(records))]
    assert [f[3] for f in found] == records["x_m"].tolist()
    assert found[3][4] is None and NIL_PLAYER not in [f[2] for f in found]


def test_a_key_is_stored_once_whoever_offers_it(store):
    (records,) = frames(1)
    store.write(Group([arrival(records)]))
    again = store.write(Group([arrival(records, first=500, source=("node-b", BOOT))], totals={"unique": len(records)}))
    assert (again.stored, again.same_key) == (0, len(records))
    assert store.totals()["same_key"] == len(records) and store.totals().get("unique", 0) == 0
    assert audit(store.path).clean


def test_a_group_is_written_whole_or_not_at_all(store):
    one, two = frames(2)
    broken = arrival(two, first=100)
    object.__setattr__(broken, "arrived_ptp_ns", "no number" * 3)
    seen = {"watermark": 1, "joined_at": 0, "given_up": 0, "ranges": []}
    bad = Group([arrival(one), broken], sources=Changes({SOURCE: seen}, [], []))
    bad.cameras = [SavedCamera(0, None, 1, [], [])]  # type: ignore[arg-type]
    with pytest.raises(ResourceError):
        store.write(bad)
    assert audit(store.path).records == 0 and store.load().sources == {}
    assert store.write(Group([arrival(one), arrival(two, 100)])).stored == len(one) + len(two)


def test_a_restart_takes_up_everything(tmp_path):
    config = rack_config(tmp_path)
    a, b = Node("a"), Node("b")
    match = Match()
    sent = []
    for f in range(12):
        ptp_ns = T0_NS + f * STEP_NS
        records = match.seen(0, f, f / 25, ptp_ns)
        sent.append((a.topic, a.batch(records)))
        if f > 3:
            sent.append((b.topic, b.batch(records)))
    stored, gap = 0, (a.topic, a.batch(rows(0, 50, T0_NS + 50 * STEP_NS, [(1, 1)] * 3)))
    early = (b.topic, b.batch(rows(0, 60, T0_NS + 60 * STEP_NS, [(5, 5)], salt=1)))
    for round_trip in (sent[:9], [*sent[4:], early], sent):
        store = Store(config.store.path)
        store.open()
        rack = Rack(config)
        rack.restore(store.load(), 0)
        for topic, data in round_trip:
            group = Group()
            rack.message(topic, data, 0, T0_NS, group)
            rack.prepare(group)
            written = store.write(group)
            rack.written(written, 1.0)
            stored += written.stored
        records = rack.stats(0)["records"]
        assert records["unique"] == stored == audit(config.store.path).records
        parked = rack.stats(0)["parked_frames"]
        store.close()
    assert parked == 1 and audit(config.store.path).clean
    assert stored == a.next_record - 3
    store = Store(config.store.path)
    store.open()
    rack = Rack(config)
    rack.restore(store.load(), 0)
    group = Group()
    rack.tick(10**12, T0_NS, group)  # the parked frame survived and nobody else had it
    assert sum(len(x.taken.records) for x in group.arrivals) == 1
    rack.prepare(group)
    store.write(group)
    assert store.load().parked == []
    group = Group()
    rack.message(*gap, 10**12, T0_NS, group)
    assert rack.stats(10**12)["records"]["open_gaps"] == 0
    store.close()


def test_the_oldest_go_first_by_age_and_by_size(store):
    for f, records in enumerate(frames(300)):
        store.write(Group([arrival(records, 100 * f, number=f)]))
    before = audit(store.path)
    assert store.retain(0, 0) == 0
    deleted = store.retain(T0_NS + 100 * STEP_NS, 0)
    after = audit(store.path)
    assert after.frames == 200 and before.records - after.records == deleted == store.totals()["retired"]
    size = store.size_bytes()
    while store.retain(0, size // 2, most_batches=20):
        pass
    assert store.size_bytes() <= size // 2 and audit(store.path).frames > 20


def test_two_aggregators_never_share_a_file(store):
    with pytest.raises(ResourceError, match="in use by another aggregator"):
        Store(store.path).open()


@pytest.mark.parametrize("content", [b"no database at all, only text " * 300, "foreign"])
def test_a_foreign_file_is_left_alone(tmp_path, content):
    path = tmp_path / "other.sqlite"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE other (x)")
        other.close()
    before = path.read_bytes()
    with pytest.raises(InputError):
        Store(path).open()
    with pytest.raises(InputError):
        audit(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResourceError, match="cannot write"):
        Store(tmp_path / "no" / "match.sqlite").open()
    with pytest.raises(InputError, match="does not exist"):
        audit(tmp_path / "no.sqlite")


def test_a_full_disk_loses_nothing_that_was_committed(store):
    store.write(Group([arrival(frames(1)[0])]))
    kept = audit(store.path).records
    pages = store._one("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    many = np.concatenate(frames(200, start=1))
    with pytest.raises(ResourceError, match="full"):
        store.write(Group([arrival(many, 1000)]))
    assert audit(store.path).records == kept
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert store.write(Group([arrival(many, 1000)])).stored == len(many)


def test_export_holds_ids_coordinates_and_event_codes(store, tmp_path):
    (records,) = frames(1)
    records["flags"][0] = 1 | 8 | (3 << 4)
    store.write(Group([arrival(records)], events=[Event(T0_NS, "node-a", "warning", "clock", "unlocked")]))
    seen = []
    result = export_records(store.path, tmp_path / "m.parquet", lambda done, total: seen.append((done, total)))
    assert result.records == len(records) and seen == [(len(records), len(records))]
    table = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert [r["x_m"] for r in table] == records["x_m"].tolist()
    first = table[0]
    assert (first["predicted"], first["clock_in_bound"], first["identity_confirmed"], first["class"]) == (
        True, False, True, 3,
    )  # fmt: skip
    assert (first["node"], first["key"], first["player"]) == ("node-a", records["key"][0].tobytes(), None)
    assert export_events(store.path, tmp_path / "e.parquet").events == 1
    assert pq.read_table(tmp_path / "e.parquet").to_pylist()[0]["code"] == "clock"
    with pytest.raises(ResourceError, match="cannot write"):
        export_records(store.path, tmp_path / "no" / "m.parquet")
    assert sorted(p.name for p in tmp_path.glob("*.parquet*")) == ["e.parquet", "m.parquet"]


def test_the_audit_finds_what_must_not_be_there(store):
    match = Match()
    for f in range(20):
        ptp_ns = T0_NS + f * STEP_NS
        store.write(Group([arrival(match.seen(0, f, f / 25, ptp_ns), 100 * f, number=f)]))
    doubled = match.seen(0, 5, 0.2, T0_NS + 5 * STEP_NS + 1000)
    store.write(Group([arrival(doubled, 0, source=("node-b", BOOT))]))
    assert audit(store.path).doubled_frames == 1
    repeat = rows(7, 0, T0_NS, [(1, 1)])
    store.write(Group([arrival(repeat, 0)]))
    assert audit(store.path).duplicated == 1

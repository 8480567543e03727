"""The match in SQLite: records, and in the same transaction all that recognises them when they come again.

One writer; readers (export, other programs) may look at any time. The file is locked against a second aggregator.
Opening and writing raise :class:`~touchline.errors.ResourceError` with the fix; a full disk leaves the file as it was
after the last commit and the group can be written again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from aggregator.core.accept import Exposure, SavedCamera
from aggregator.core.coverage import Interval
from aggregator.core.dedupe import Changes, SourceKey
from aggregator.core.desk import Parked, Taken
from aggregator.core.nodes import Event
from touchline.errors import InputError, ResourceError
from touchline.record import NIL_PLAYER, RECORD

APPLICATION_ID: Final = 0x544C4D31  # "TLM1", in the file's header
SCHEMA_VERSION: Final = 1
_NUMBERS: Final = np.dtype("<i8")
_RETIRED: Final = "retired"  # in sources.seen: its batches are refused; '' = forgotten, the row only names records
_UNUSED: Final = (
    "seen = '' AND NOT EXISTS (SELECT 1 FROM batches WHERE source = sources.id) "
    "AND NOT EXISTS (SELECT 1 FROM parked WHERE source = sources.id)"
)
_MAX_IDS: Final = 1024  # sources whose row number is kept at hand


@dataclass(frozen=True, slots=True)
class Arrival:
    """Records to store, with the batch they came in (None: frames of a twin after their wait) and when."""

    taken: Taken
    batch_number: int | None
    arrived_ptp_ns: int


@dataclass(slots=True)
class Group:
    """Everything that one transaction writes."""

    arrivals: list[Arrival] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[Parked] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sources: Changes = field(default_factory=lambda: Changes({}, [], []))
    cameras: list[SavedCamera] = field(default_factory=list)
    totals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction did: records stored, and those whose key was already there."""

    stored: int
    same_key: int


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a new start takes up again."""

    sources: dict[SourceKey, dict[str, Any]]
    retired: list[SourceKey]
    cameras: list[tuple[int, str, int, list[Interval]]]
    parked: list[tuple[int, Exposure, Taken]]
    totals: dict[str, int]


class Store:
    """The writer's side. Use from one thread; :meth:`open` creates the file."""

    def __init__(self, path: Path, synchronous: str = "full") -> None:
        self.path = path
        self._synchronous = synchronous
        self._lock_fd = -1
        self._db: sqlite3.Connection
        self._source_ids: dict[SourceKey, int] = {}
        self._next_row = 1
        self._next_batch = 1

    def open(self) -> None:
        """Lock and open the file, creating it when it is new."""
        self._lock()
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=2.0)
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise _explained(error, self.path) from error
        except InputError:
            self.close()
            raise

    def _lock(self) -> None:
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            self._lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ResourceError(
                f"{self.path} is in use by another aggregator", hint="stop it, or set another store.path"
            ) from None
        except OSError as error:
            hint = "create the folder, or correct store.path and its owner"
            raise ResourceError(f"cannot write beside {self.path}: {error.strerror}", hint=hint) from error

    def _prepare(self) -> None:
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        if self._one("SELECT count(*) FROM sqlite_master") == 0:
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._db.execute("PRAGMA journal_mode = WAL")
            schema = files("aggregator").joinpath("schema.sql").read_text()
            self._db.executescript(
                f"BEGIN;{schema}PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
            )
        elif application != APPLICATION_ID or version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path} is no match database of this version", hint="set another store.path; it was left alone"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._db.execute("PRAGMA cache_size = -65536")  # 64 MiB for the index of keys
        self._db.execute("PRAGMA journal_size_limit = 67108864")
        self._next_row = 1 + self._one("SELECT coalesce(max(row), 0) FROM records")
        self._next_batch = 1 + self._one("SELECT coalesce(max(id), 0) FROM batches")
        self._db.execute("CREATE INDEX IF NOT EXISTS batches_source ON batches (source)")  # younger than the schema

    def _one(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    def close(self) -> None:
        """Close the file and give up the lock; may be called twice."""
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._next_row, self._next_batch, dict(self._source_ids)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:  # also KeyboardInterrupt: roll back and restore our counters, then re-raise
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._next_row, self._next_batch, self._source_ids = before
            if isinstance(error, sqlite3.Error):
                raise _explained(error, self.path) from error
            raise

    def write(self, group: Group) -> Written:
        """Write a group in one transaction; when it fails nothing of it is there."""
        stored = same_key = 0
        with self._transaction():
            for arrival in group.arrivals:
                offered = len(arrival.taken.records)
                kept = self._records(arrival)
                stored += kept
                same_key += offered - kept
            self._parked(group)
            self._events(group.events)
            self._state(group)
            totals = Counter(group.totals)
            totals["same_key"] += same_key
            totals["unique"] -= same_key
            self._db.executemany(
                "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                [(name, value) for name, value in totals.items() if value],
            )
        return Written(stored, same_key)

    def _source(self, key: SourceKey) -> int:
        ident = self._source_ids.get(key)
        if ident is None:
            if len(self._source_ids) >= _MAX_IDS:
                self._source_ids.clear()
            query = "SELECT id FROM sources WHERE node = ? AND boot_id = ?"
            found = self._db.execute(query, key).fetchone()
            if found is None:
                cursor = self._db.execute("INSERT INTO sources (node, boot_id) VALUES (?, ?)", key)
                found = (cursor.lastrowid,)
            ident = self._source_ids[key] = int(found[0])
        return ident

    def _records(self, arrival: Arrival) -> int:
        taken, records = arrival.taken, arrival.taken.records
        if not len(records):
            return 0
        batch, first = self._next_batch, self._next_row
        self._next_batch += 1
        self._next_row += len(records)
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            _rows(taken, batch, first),
        )
        kept = self._db.total_changes - before
        self._db.execute(
            "INSERT INTO batches VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                batch,
                self._source(taken.source),
                taken.epoch,
                arrival.batch_number,
                int(taken.numbers[0]),
                kept,
                int(records["ptp_ns"].min()),
                int(records["ptp_ns"].max()),
                arrival.arrived_ptp_ns,
                self._next_row - 1,
            ),
        )
        return kept

    def _parked(self, group: Group) -> None:
        gone = {p.ident for p in group.unparked}
        rows = [
            (
                p.ident,
                self._source(p.taken.source),
                p.taken.epoch,
                p.taken.numbers.astype(_NUMBERS).tobytes(),
                p.taken.records.tobytes(),
            )
            for p in group.parked
            if p.ident not in gone
        ]
        self._db.executemany("INSERT INTO parked VALUES (?,?,?,?,?)", rows)
        self._db.executemany("DELETE FROM parked WHERE id = ?", [(ident,) for ident in gone])

    def _events(self, events: Iterable[Event]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO events (ptp_ns, node, severity, code, text) VALUES (?,?,?,?,?)",
            [(e.ptp_ns, e.node, e.severity, e.code, e.text) for e in events],
        )

    def _state(self, group: Group) -> None:
        self._starts(group.sources, {parked.taken.source for parked in group.unparked})
        for camera in group.cameras:
            self._db.execute(
                "INSERT OR REPLACE INTO cameras VALUES (?,?,?)", (camera.camera, camera.owner, camera.epoch)
            )
            self._db.executemany(
                "DELETE FROM coverage WHERE camera = ? AND start_ns = ?",
                [(camera.camera, start) for start in camera.forgotten],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO coverage VALUES (?,?,?,?)",
                [(camera.camera, *interval) for interval in camera.intervals],
            )

    def _starts(self, changes: Changes, unparked: set[SourceKey]) -> None:
        texts = [(json.dumps(state), self._source(key)) for key, state in changes.kept.items()]
        texts += [(_RETIRED, self._source(key)) for key in changes.retired]
        self._db.executemany("UPDATE sources SET seen = ? WHERE id = ?", texts)
        self._db.executemany("UPDATE sources SET seen = '' WHERE node = ? AND boot_id = ?", changes.forgotten)
        for key in {*changes.forgotten, *unparked}:
            self._db.execute(f"DELETE FROM sources WHERE node = ? AND boot_id = ? AND {_UNUSED}", key)
            self._source_ids.pop(key, None)

    def load(self) -> SavedState:
        """Read what a new start takes up again."""
        sources: dict[SourceKey, dict[str, Any]] = {}
        retired: list[SourceKey] = []
        for node, boot, seen in self._db.execute(
            "SELECT node, boot_id, seen FROM sources WHERE seen != '' ORDER BY id"
        ):
            if seen == _RETIRED:
                retired.append((node, boot))
            else:
                sources[node, boot] = json.loads(seen)
        cameras = []
        for camera, owner, epoch in self._db.execute("SELECT camera, owner, epoch FROM cameras").fetchall():
            query = "SELECT start_ns, end_ns, node FROM coverage WHERE camera = ?"
            cameras.append((camera, owner, epoch, self._db.execute(query, (camera,)).fetchall()))
        return SavedState(sources, retired, cameras, self._load_parked(), self.totals())

    def _load_parked(self) -> list[tuple[int, Exposure, Taken]]:
        found = []
        query = (
            "SELECT p.id, s.node, s.boot_id, p.epoch, p.numbers, p.records "
            "FROM parked p JOIN sources s ON s.id = p.source ORDER BY p.id"
        )
        for ident, node, boot, epoch, numbers, data in self._db.execute(query):
            records = np.frombuffer(data, RECORD)
            first = records[0]
            exposure = Exposure(int(first["camera"]), int(first["frame"]), int(first["ptp_ns"]))
            taken = Taken((node, boot), epoch, np.frombuffer(numbers, _NUMBERS).astype(np.int64), records)
            found.append((ident, exposure, taken))
        return found

    def totals(self) -> dict[str, int]:
        """The counters, over the life of the file."""
        return dict(self._db.execute("SELECT name, value FROM totals"))

    def size_bytes(self) -> int:
        """Bytes in use inside the file (free pages left out)."""
        pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        return pages * self._one("PRAGMA page_size")

    def retain(self, oldest_ptp_ns: int, max_bytes: int, most_batches: int = 200) -> int:
        """Delete the oldest batches that end before ``oldest_ptp_ns``, or as long as the file uses more than
        ``max_bytes`` (0: no bound); at most ``most_batches`` a call, so that receiving never waits long. Returns the
        number of records deleted.
        """
        over = max_bytes > 0 and self.size_bytes() > max_bytes
        query = "SELECT id, last_ptp_ns, last_row FROM batches ORDER BY id LIMIT ?"
        last = None
        for ident, last_ptp_ns, last_row in self._db.execute(query, (most_batches,)).fetchall():
            if last_ptp_ns >= oldest_ptp_ns and not over:
                break
            last = ident, last_row
        if last is None:
            return 0
        with self._transaction():
            deleted = self._db.execute("DELETE FROM records WHERE row <= ?", (last[1],)).rowcount
            left = self._db.execute("SELECT DISTINCT source FROM batches WHERE id <= ?", (last[0],)).fetchall()
            self._db.execute("DELETE FROM batches WHERE id <= ?", (last[0],))
            self._db.executemany(f"DELETE FROM sources WHERE id = ? AND {_UNUSED}", left)
            self._source_ids.clear()
            if deleted:
                self._db.execute(
                    "INSERT INTO totals VALUES ('retired', ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    (deleted,),
                )
        self._db.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        return int(deleted)


def _rows(taken: Taken, batch: int, first: int) -> Iterable[tuple[Any, ...]]:
    """The records as rows of the table, in its column order."""
    r = taken.records
    n = len(r)
    keys = r["key"].tobytes()
    players = r["player"].tobytes()
    blobs = [keys[i : i + 16] for i in range(0, 16 * n, 16)]
    names = [players[i : i + 16] for i in range(0, 16 * n, 16)]
    floats = [r[name].tolist() for name in ("x_m", "y_m", "vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "height_m")]
    return zip(
        range(first, first + n),
        [batch] * n,
        taken.numbers.tolist(),
        blobs,
        r["camera"].tolist(),
        r["frame"].tolist(),
        r["ptp_ns"].tolist(),
        r["flags"].tolist(),
        [None if name == NIL_PLAYER else name for name in names],
        *floats,
        strict=True,
    )


def _explained(error: sqlite3.Error, path: Path) -> ResourceError | InputError:
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return ResourceError(f"{path}: {text}", hint="free space on that disk; nothing committed was lost")
    if "not a database" in text or "malformed" in text:
        return InputError(f"{path}: {text}", hint="set another store.path, or restore the file; it was left alone")
    if "readonly" in text or "unable to open" in text:
        return ResourceError(f"{path}: {text}", hint="correct store.path, its owner or its mode")
    return ResourceError(f"{path}: {text}", hint="another program may hold the database; close it")

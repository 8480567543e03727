"""After the match: records and events to Parquet (MSG-3), and an audit that looks for what must not be there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from aggregator.store import APPLICATION_ID, SCHEMA_VERSION
from touchline.errors import InputError, ResourceError

_CHUNK_ROWS: Final = 100_000
_QUERY: Final = """
    SELECT r.row, r.ptp_ns, r.camera, r.frame, s.node, b.epoch, s.boot_id, r.number, r.flags, r.key, r.player,
           r.x_m, r.y_m, r.vx_mps, r.vy_mps, r.ax_mps2, r.ay_mps2, r.height_m, b.arrived_ptp_ns
    FROM records r JOIN batches b ON b.id = r.batch JOIN sources s ON s.id = b.source
    WHERE r.row > ? ORDER BY r.row LIMIT ?
"""
_FLAGS: Final = {"predicted": 1, "clock_in_bound": 2, "from_standby": 4, "identity_confirmed": 8}

Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    records: int
    events: int
    bytes: int


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a match database for reading, also while an aggregator writes it; InputError when it is none."""
    if not path.is_file():
        raise InputError(f"{path} does not exist", hint="give the file of store.path")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    except sqlite3.Error as error:
        raise InputError(f"{path}: {error}", hint="check owner and mode") from error
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID or version != SCHEMA_VERSION:
            raise InputError(f"{path} is no match database of this version", hint="give the file of store.path")
        yield db
    except sqlite3.Error as error:
        raise InputError(f"{path}: {error}", hint="the file is damaged; restore it from a copy") from error
    finally:
        db.close()


def export_records(database: Path, out: Path, progress: Progress = lambda done, total: None) -> Exported:
    """Write all records to ``out`` (Parquet, zstd), in order of arrival. The file appears only when complete."""
    with read_only(database) as db, _replacing(out) as part:
        total = int(db.execute("SELECT count(*) FROM records").fetchone()[0])
        done = _write_records(db, part, total, progress)
        size = part.stat().st_size
    return Exported(done, 0, size)


def _write_records(db: sqlite3.Connection, part: Path, total: int, progress: Progress) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _records_schema(pa)
    done, last_row = 0, 0
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        while rows := db.execute(_QUERY, (last_row, _CHUNK_ROWS)).fetchall():
            last_row = rows[-1][0]
            writer.write_table(_records_table(pa, schema, rows))
            done += len(rows)
            progress(done, total)
    return done


def _records_schema(pa: Any) -> Any:
    floats = ("x_m", "y_m", "vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "height_m")
    return pa.schema(
        [
            ("ptp_ns", pa.int64()),
            ("camera", pa.uint16()),
            ("frame", pa.uint32()),
            ("node", pa.string()),
            ("epoch", pa.int64()),
            ("boot_id", pa.binary(16)),
            ("number", pa.int64()),
            ("class", pa.uint8()),
            *[(name, pa.bool_()) for name in _FLAGS],
            ("key", pa.binary(16)),
            ("player", pa.binary(16)),
            *[(name, pa.float64()) for name in floats],
            ("arrived_ptp_ns", pa.int64()),
        ],
        metadata={"touchline": "match records; times are PTP (TAI) ns, metres on the pitch, player null = unknown"},
    )


def _records_table(pa: Any, schema: Any, rows: list[tuple[Any, ...]]) -> Any:
    columns = list(zip(*rows, strict=True))[1:]
    flags = np.array(columns[7], np.uint8)
    arrays = [*columns[:7], flags >> 4, *[(flags & bit) > 0 for bit in _FLAGS.values()], *columns[8:]]
    typed = [pa.array(a, type=f.type) for a, f in zip(arrays, schema, strict=True)]
    return pa.Table.from_arrays(typed, schema=schema)


def export_events(database: Path, out: Path) -> Exported:
    """Write all events to ``out`` (Parquet)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("ptp_ns", "node", "severity", "code", "text")
    with read_only(database) as db, _replacing(out) as part:
        rows = db.execute(f"SELECT {', '.join(names)} FROM events ORDER BY ptp_ns, id").fetchall()
        schema = pa.schema([("ptp_ns", pa.int64()), *[(name, pa.string()) for name in names[1:]]])
        table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)
        pq.write_table(table, part, compression="zstd")
        size = part.stat().st_size
    return Exported(0, len(rows), size)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A path beside ``out`` that becomes ``out`` when all went well, and is removed when not."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(out)
    except OSError as error:
        raise ResourceError(f"cannot write {out}: {error}", hint="correct --out, or free space there") from error
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Audit:
    """What a search of the whole store found. All three must be 0.

    ``duplicated``: records stored more than once under one (node, boot id, number). ``doubled_keys``: the same by key.
    ``doubled_frames``: camera frames stored from two nodes (exposures within half the smallest frame step).
    """

    records: int
    frames: int
    duplicated: int
    doubled_keys: int
    doubled_frames: int

    @property
    def clean(self) -> bool:
        """Whether every record is there exactly once."""
        return not (self.duplicated or self.doubled_keys or self.doubled_frames)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "clean": self.clean}


def audit(database: Path) -> Audit:
    """Search the store for duplicates without trusting what wrote it; reads everything."""
    with read_only(database) as db:
        db.execute("BEGIN")  # one consistent view while the aggregator goes on writing
        numbers = db.execute(
            "SELECT coalesce(sum(n), 0), coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM records r "
            "JOIN batches b ON b.id = r.batch GROUP BY b.source, r.number)"
        ).fetchone()
        keys = db.execute("SELECT count(*) - count(DISTINCT key) FROM records").fetchone()[0]
        frames = db.execute(
            "SELECT DISTINCT r.camera, r.ptp_ns, s.node FROM records r JOIN batches b ON b.id = r.batch "
            "JOIN sources s ON s.id = b.source ORDER BY r.camera, r.ptp_ns"
        ).fetchall()
    return Audit(int(numbers[0]), len(frames), int(numbers[1]), int(keys), _doubled_frames(frames))


def _doubled_frames(frames: list[tuple[int, int, str]]) -> int:
    """Neighbouring exposures of one camera from two nodes, closer than half the camera's usual step."""
    doubled = 0
    cameras = {camera for camera, _, _ in frames}
    for camera in cameras:
        own = [(ptp_ns, node) for c, ptp_ns, node in frames if c == camera]
        steps = [b[0] - a[0] for a, b in pairwise(own) if a[1] == b[1]]
        half_ns = float(np.median(steps)) / 2 if steps else 0.0
        doubled += sum(a[1] != b[1] and b[0] - a[0] <= half_ns for a, b in pairwise(own))
    return doubled

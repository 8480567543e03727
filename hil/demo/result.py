"""The demo's figures, from what the agent counted, what the aggregator stored, and the truth. Pure but for SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.export import read_only
from touchline.record import RECORD

FRAME_DROPS = ("camera", "ring", "late", "abandoned", "frames_refused")
STAGES = ("land", "ring", "letterbox", "infer", "decode", "track", "exposure_to_link", "spool", "puback")


@dataclass(frozen=True)
class Stored:
    """What the match database holds: records, arrival of each (PTP ns), and records of each batch."""

    records: NDArray[np.void]
    arrived_ptp_ns: NDArray[np.int64]
    batch_counts: NDArray[np.int64]
    doubled: int


def read_store(path: Path) -> Stored:
    """Read the whole match; a demo is small."""
    with read_only(path) as db:
        rows = db.execute(
            "SELECT r.camera, r.frame, r.ptp_ns, r.flags, r.x_m, r.y_m, r.vx_mps, r.vy_mps, b.arrived_ptp_ns "
            "FROM records r JOIN batches b ON b.id = r.batch"
        ).fetchall()
        counts = [count for (count,) in db.execute("SELECT count FROM batches")]
        doubled = _doubled(db)
    records = np.zeros(len(rows), RECORD)
    names = ("camera", "frame", "ptp_ns", "flags", "x_m", "y_m", "vx_mps", "vy_mps")
    for column, name in enumerate(names):
        records[name] = [row[column] for row in rows]
    arrived = np.array([row[-1] for row in rows], np.int64)
    return Stored(records, arrived, np.array(counts, np.int64), doubled)


def _doubled(db: sqlite3.Connection) -> int:
    """Records that are stored more than once, by (node, boot id, record number)."""
    row = db.execute(
        "SELECT COALESCE(SUM(n - 1), 0) FROM (SELECT COUNT(*) n FROM records r JOIN batches b ON b.id = r.batch "
        "GROUP BY b.source, r.number HAVING n > 1)"
    ).fetchone()
    return int(row[0])


def _latency(stored: Stored) -> dict[str, float | None]:
    if not len(stored.records):
        return {"p50": None, "p99": None, "max": None}
    latency_ms = (stored.arrived_ptp_ns - stored.records["ptp_ns"].astype(np.int64)) / 1e6
    p50, p99 = np.percentile(latency_ms, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(latency_ms.max()), 2)}


def _stages(status: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    stages = status.get("stages_ms", {})
    return {
        name: {"p50": round(stages[name]["p50"], 3), "p99": round(stages[name]["p99"], 3)}
        for name in STAGES
        if name in stages
    }


def _engine(status: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's name and the rate it can work at: one over its median inference time, of the slower camera."""
    names = [child["engine"]["name"] for child in status.get("children", {}).values() if "engine" in child]
    infer = status.get("stages_ms", {}).get("infer")
    return {"name": names[0] if names else None, "fps": round(1e3 / infer["p50"], 1) if infer else None}


def result_of(
    status: Mapping[str, Any],
    stored: Stored,
    position_error: Mapping[str, float | None] | None,
    seconds: float,
) -> dict[str, Any]:
    """The result document of the demo; ``status`` is the agent's last one.

    Every record that the tracker made counts as published, also one that never reached the spool: ``lost`` is what of
    these the rack does not have.
    """
    frames = status.get("frames", {"captured": 0, "processed": 0})
    dropped = status.get("dropped", {})
    published = status.get("records", 0) + dropped.get("link", 0)
    received = len(stored.records)
    counts = stored.batch_counts
    return {
        "seconds": round(seconds, 2),
        "frames": {
            "captured": frames["captured"],
            "processed": frames["processed"],
            "dropped": sum(dropped.get(reason, 0) for reason in FRAME_DROPS),
        },
        "records": {
            "published": published,
            "received": received,
            "lost": published - (received - stored.doubled),
            "duplicated": stored.doubled,
        },
        "latency_ms": _latency(stored),
        "stages_ms": _stages(status),
        "position_error_m": position_error,
        "burst": {
            "records_p50": int(np.percentile(counts, 50)) if len(counts) else 0,
            "records_max": int(counts.max()) if len(counts) else 0,
        },
        "spool": {"depth_max": status.get("spool", {}).get("depth_max", 0)},
        "engine": _engine(status),
        "dropped": dict(dropped),
    }

"""Batches for people and programs: streams of them, records as plain values, tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from touchline.errors import InputError
from touchline.record import (
    HEADER_BYTES,
    BatchHeader,
    Flag,
    TruncatedBatch,
    batch_bytes,
    class_of,
    read_header,
    unpack_batch,
)


def read_batches(stream: BinaryIO) -> Iterator[tuple[BatchHeader, NDArray[np.void]]]:
    """Yield every batch of a stream of concatenated batches.

    Raises a :class:`touchline.record.RecordError` whose message names the byte offset of the batch that is bad.
    """
    offset = 0
    while head := stream.read(HEADER_BYTES):
        try:
            header = read_header(head)
            yield unpack_batch(head + stream.read(batch_bytes(header) - HEADER_BYTES))
        except InputError as error:
            raise type(error)(f"batch at byte {offset}: {error.message}", hint=error.hint) from error
        offset += batch_bytes(header)
    if offset == 0:
        raise TruncatedBatch("the input is empty", hint="give a file that holds at least one batch")


def record_dict(one: np.void) -> dict[str, Any]:
    """One record as plain JSON-ready values."""
    flags = int(one["flags"])
    return {
        "camera": int(one["camera"]),
        "frame": int(one["frame"]),
        "ptp_ns": int(one["ptp_ns"]),
        "class": int(class_of(np.asarray([flags], np.uint8))[0]),
        "flags": [flag.name.lower() for flag in Flag if flags & flag and flag.name],
        "key": one["key"].tobytes().hex(),
        "player": str(uuid.UUID(bytes=one["player"].tobytes())),
        **{name: float(one[name]) for name in ("x_m", "y_m", "vx_mps", "vy_mps", "ax_mps2", "ay_mps2", "height_m")},
    }


def batch_dict(header: BatchHeader, records: NDArray[np.void], limit: int) -> dict[str, Any]:
    """One batch as plain values, its first ``limit`` records among them."""
    return {
        "node": header.node,
        "boot_id": header.boot_id.hex(),
        "epoch": header.epoch,
        "batch_number": header.batch_number,
        "first_record": header.first_record,
        "count": header.count,
        "records": [record_dict(one) for one in records[:limit]],
    }


def batch_text(batch: dict[str, Any]) -> str:
    """One batch as a table."""
    lines = [
        f"batch {batch['batch_number']} of node {batch['node']} boot {batch['boot_id'][:8]} epoch {batch['epoch']}: "
        f"records {batch['first_record']}..{batch['first_record'] + batch['count'] - 1} ({batch['count']})",
        f"{'camera':>6} {'frame':>8} {'ptp_ns':>20} {'x_m':>8} {'y_m':>8} {'vx':>6} {'vy':>6} {'h_m':>5}  flags",
    ]
    lines += [
        f"{r['camera']:>6} {r['frame']:>8} {r['ptp_ns']:>20} {r['x_m']:>8.2f} {r['y_m']:>8.2f} {r['vx_mps']:>6.2f} "
        f"{r['vy_mps']:>6.2f} {r['height_m']:>5.2f}  {','.join(r['flags']) or '-'}"
        for r in batch["records"]
    ]
    hidden = batch["count"] - len(batch["records"])
    return "\n".join(lines + ([f"  ... and {hidden} more (--limit)"] if hidden else []))
